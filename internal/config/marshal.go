package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// redacted stands for what is not shown.
const redacted = "REDACTED"

// Marshal writes the effective configuration as YAML that Load reads. Optional
// keys that were left out and have no default are left out here as well.
//
// What may be secret is replaced by REDACTED: the values of headers and of
// environment variables, user, password and query of the URLs of http checks, and
// all but scheme and host of the URLs of webhooks.
//
// With origin, a comment behind each value says where it was written
// ("file:line") or that it is the default.
func (c *Config) Marshal(w io.Writer, origin bool) error {
	m := marshaler{schema: newSchema()}
	if origin {
		m.origins = c.origins
	}
	root := m.mapping(reflect.ValueOf(c).Elem(), where{})
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

type marshaler struct {
	schema  *schema
	origins map[string]place // nil: don't say
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
		if row.Format == formatCount {
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
		n = text(redactURL(row.secret, x))
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
			policies := v.Interface().(map[string]EventPolicy)
			for _, key := range sortedKeys(policies) {
				n.Content = append(n.Content, text(key), m.mapping(reflect.ValueOf(policies[key]), w.entry(key)))
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
	for _, key := range sortedKeys(values) {
		value := text(redacted)
		m.comment(value, w.entry(key))
		n.Content = append(n.Content, text(key), value)
	}
	return n
}

// comment says behind the value where it is from.
func (m *marshaler) comment(n *yaml.Node, w where) {
	if m.origins == nil {
		return
	}
	n.LineComment = "default"
	if p, ok := m.origins[w.path]; ok {
		n.LineComment = p.file + ":" + strconv.Itoa(p.line)
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
func redactURL(secret secrecy, s string) string {
	if secret != urlLogin && secret != urlPath {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return redacted // not for Load, which refuses it, but for a Config made by hand
	}
	if secret == urlPath && strings.Trim(u.EscapedPath(), "/")+u.RawQuery+u.Fragment != "" {
		u.Path, u.RawPath, u.RawQuery, u.Fragment, u.RawFragment = "/"+redacted, "", "", "", ""
	}
	if u.User != nil {
		u.User = url.User(redacted)
	}
	if u.RawQuery != "" {
		u.RawQuery = redacted
	}
	return u.String()
}
