package strict

import (
	"errors"
	"io"
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
	return WriteYAML(w, s.Encode(from, origins))
}

// Encode is Marshal for who has something to change in the document.
func (s *Schema) Encode(from any, origins Origins) *yaml.Node {
	m := marshaler{schema: s, origins: origins}
	return m.mapping(reflect.ValueOf(from).Elem(), where{})
}

// WriteYAML writes a document.
func WriteYAML(w io.Writer, root *yaml.Node) error {
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
		if row := m.schema.row[at.key]; field.IsZero() && row.Default == "" && !row.Required && !shown(field) {
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
	default:
		switch v.Kind() {
		case reflect.Struct:
			return m.mapping(v, w)
		case reflect.Map:
			return m.entries(v, w)
		case reflect.Slice:
			if mapOf(v.Type()) == nil {
				n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
				for i := range v.Len() {
					n.Content = append(n.Content, m.scalar(v.Index(i), row))
				}
				break
			}
			n.Kind = yaml.SequenceNode
			for i := range v.Len() {
				n.Content = append(n.Content, m.mapping(v.Index(i), w.item(i, i)))
			}
			if v.Len() > 0 {
				return n
			}
			n.Style = yaml.FlowStyle
		default:
			n = m.scalar(v, row)
		}
	}
	m.comment(n, w)
	return n
}

// scalar writes a text, a number, a truth or a duration.
func (m *marshaler) scalar(v reflect.Value, row *Field) *yaml.Node {
	switch v.Kind() {
	case reflect.String:
		return text(redactURL(row.Secret, v.String()))
	case reflect.Bool:
		return plain(strconv.FormatBool(v.Bool()))
	case reflect.Int64:
		return plain(Duration(v.Int()).text(m.schema.days))
	case reflect.Float64:
		return plain(strconv.FormatFloat(v.Float(), 'f', -1, 64))
	default:
		number := strconv.FormatInt(v.Int(), 10)
		if row.Format == FormatPercent {
			number += "%"
		}
		return plain(number)
	}
}

// entries writes a map whose keys the user chose.
func (m *marshaler) entries(v reflect.Value, w where) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	row := m.schema.row[w.key]
	for _, key := range sortedKeys(v) {
		var value *yaml.Node
		switch item, at := v.MapIndex(key), w.entry(key.String()); {
		case item.Kind() == reflect.Struct:
			value = m.mapping(item, at)
		case item.Kind() == reflect.Interface:
			value = &yaml.Node{}
			if err := value.Encode(item.Interface()); err != nil {
				panic("strict: " + err.Error()) // maps, lists and scalars
			}
			m.comment(value, at)
		case row.Secret == MapValues:
			value = text(Redacted)
			m.comment(value, at)
		default:
			value = m.scalar(item, row)
			m.comment(value, at)
		}
		n.Content = append(n.Content, text(key.String()), value)
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
