package strict

import (
	"errors"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redacted stands for what is not shown.
const Redacted = "REDACTED"

// Marshal writes what from, a pointer to the type of the table, holds as YAML that
// Read reads. Optional keys that were left out and have no default are left out here
// as well. What may be secret is replaced by REDACTED: see Secrecy.
//
// With origins, a comment behind each value says where it was written ("file:line")
// or that it is the default.
func (s *Schema) Marshal(w io.Writer, from any, origins Origins) error {
	m := marshaler{schema: s, origins: origins}
	root := m.mapping(reflect.ValueOf(from).Elem(), where{})
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(root), enc.Close())
}

type marshaler struct {
	schema  *Schema
	origins Origins // nil: don't say
}

func (m *marshaler) mapping(v reflect.Value, w where) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		at, field := w.field(f.name), v.Field(f.index)
		if field.IsZero() && m.schema.row[at.key].Default == "" && !shown(field) {
			continue
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		n.Content = append(n.Content, text(f.name), m.value(field, at))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
		m.comment(n, w)
	}
	return n
}

// shown says that a zero value is shown although it has no default: a section, so
// that the reader sees that there is one, and a list of maps.
func shown(v reflect.Value) bool {
	return v.Kind() != reflect.Pointer && v.Kind() != reflect.Map && mapOf(v.Type()) != nil
}

func (m *marshaler) value(v reflect.Value, w where) *yaml.Node {
	row := m.schema.row[w.key]
	n := &yaml.Node{}
	switch x := v.Interface().(type) {
	case Size:
		n = text(x.String())
		if row.Format == FormatCount {
			n = plain(x.Count())
		}
	case Statuses:
		n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, r := range x {
			n.Content = append(n.Content, plain(r.String()))
		}
	case Duration:
		n = plain(x.String())
	case map[string]string:
		return m.texts(x, w)
	case string:
		n = text(redactURL(row.Secret, x))
	case bool:
		n = plain(strconv.FormatBool(x))
	case int:
		n = plain(strconv.Itoa(x))
	case float64:
		n = plain(strconv.FormatFloat(x, 'f', -1, 64))
	case []string:
		n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, s := range x {
			n.Content = append(n.Content, text(s))
		}
	case []int:
		n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, i := range x {
			n.Content = append(n.Content, plain(strconv.Itoa(i)))
		}
	default:
		switch v.Kind() {
		case reflect.Struct:
			return m.mapping(v, w)
		case reflect.Map:
			n.Kind = yaml.MappingNode
			for _, key := range sortedKeys(v) {
				n.Content = append(n.Content, text(key.String()), m.mapping(v.MapIndex(key), w.entry(key.String())))
			}
			return n
		default:
			n.Kind = yaml.SequenceNode
			for i := range v.Len() {
				n.Content = append(n.Content, m.mapping(v.Index(i), w.item(i, i)))
			}
			if v.Len() > 0 {
				return n
			}
			n.Style = yaml.FlowStyle
		}
	}
	m.comment(n, w)
	return n
}

// texts writes a map of texts, none of which is shown.
func (m *marshaler) texts(values map[string]string, w where) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := text(Redacted)
		m.comment(value, w.entry(key))
		n.Content = append(n.Content, text(key), value)
	}
	return n
}

// sortedKeys are the keys of a map, which are texts, for an order that does not
// change.
func sortedKeys(v reflect.Value) []reflect.Value {
	return slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
}

// comment says behind the value where it is from.
func (m *marshaler) comment(n *yaml.Node, w where) {
	if m.origins == nil {
		return
	}
	n.LineComment = "default"
	if p, ok := m.origins[w.path]; ok {
		n.LineComment = p.File + ":" + strconv.Itoa(p.Line)
	}
}

// text is a scalar that is read as text whatever it looks like.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// plain is a scalar without quotes: a number, a truth, a duration.
func plain(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: s}
}

// redactURL replaces the secret parts of a URL.
func redactURL(secret Secrecy, s string) string {
	if secret != URLLogin && secret != URLPath {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Redacted // not for Load, which refuses it, but for a Config made by hand
	}
	if secret == URLPath && strings.Trim(u.EscapedPath(), "/")+u.RawQuery+u.Fragment != "" {
		u.Path, u.RawPath, u.RawQuery, u.Fragment, u.RawFragment = "/"+Redacted, "", "", "", ""
	}
	if u.User != nil {
		u.User = url.User(Redacted)
	}
	if u.RawQuery != "" {
		u.RawQuery = Redacted
	}
	return u.String()
}
