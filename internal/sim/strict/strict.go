// Package strict answers: what is wrong with a simulator's YAML file, and in which
// line? It decodes into structs, refuses what they do not know, and collects what
// the caller finds wrong afterwards, each with its place. It starts no goroutines.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the size of a file.
const maxFile = 1 << 20

// ReadFile reads a file of at most 1 MB; what says what it is, for errors.
func ReadFile(what, file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s %s: it is larger than %d bytes", what, file, maxFile)
	}
	return data, nil
}

// Decode reads the first document of data into the struct behind into. Its error
// joins all that the decoder found, each with file and line. An empty file leaves
// the struct as it was.
func Decode(file string, data []byte, into any) (*Checker, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return nil, placed(file, err, reflect.TypeOf(into))
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, placed(file, err, reflect.TypeOf(into))
	}
	return &Checker{file: file, root: &root}, nil
}

// A Checker collects what is wrong with a file that could be decoded.
type Checker struct {
	file string
	root *yaml.Node
	errs []error
}

// Err joins what was found, or is nil.
func (c *Checker) Err() error { return errors.Join(c.errs...) }

// Check reports each of the errors that err joins.
func (c *Checker) Check(err error, at ...any) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			c.Check(err, at...)
		}
	} else if err != nil {
		c.Fail(err.Error(), at...)
	}
}

// Fail reports one fault. The place is a path of keys (string) and indexes (int).
func (c *Checker) Fail(text string, at ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s: %s", c.file, c.line(at), pathText(at), text))
}

// line is the line of the deepest node of a path that is there.
func (c *Checker) line(at []any) int {
	node := c.root
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	line := max(node.Line, 1)
	for _, step := range at {
		key, next := child(node, step)
		if next == nil {
			return line
		}
		line = key.Line
		if next.Kind == yaml.AliasNode {
			next = next.Alias
		}
		if _, ok := step.(int); ok {
			line = next.Line
		}
		node = next
	}
	return line
}

// child returns the node of a step, and the node whose line is its place.
func child(node *yaml.Node, step any) (key, value *yaml.Node) {
	switch step := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return node.Content[step], node.Content[step]
		}
	case string:
		if node.Kind != yaml.MappingNode {
			break
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				key, value = node.Content[i], node.Content[i+1]
			}
		}
	}
	return key, value
}

func pathText(at []any) string {
	var b strings.Builder
	for i, step := range at {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// LineError is an error in the form that the YAML decoder collects: what an
// UnmarshalYAML of a value returns.
func LineError(line int, text string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", line, text)}}
}

// ParseDuration reads a span that is written like "30s".
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write a number with a unit, like 30s or 5m", text)
	}
	return d, nil
}

// DecodeDuration reads a span from a node.
func DecodeDuration(node *yaml.Node) (time.Duration, error) {
	if node.Kind != yaml.ScalarNode {
		return 0, LineError(node.Line, `not a duration: write a number with a unit, like 30s`)
	}
	d, err := ParseDuration(node.Value)
	if err != nil {
		return 0, LineError(node.Line, err.Error())
	}
	return d, nil
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (?s:(.*))$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type (\S+)$`)
	yamlType    = regexp.MustCompile(`^cannot unmarshal !!(\w+)(?: (.*))? into (\S+)$`)
)

// placed turns the decoder's errors into ones with file and line, in the words
// of somebody who writes the file.
func placed(file string, err error, root reflect.Type) error {
	texts := []string{err.Error()}
	if typeErr, ok := errors.AsType[*yaml.TypeError](err); ok {
		texts = typeErr.Errors
	}
	var errs []error
	for _, text := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits
			text = m[2]
		}
		if m := yamlUnknown.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("unknown key %q; known are %s", m[1], strings.Join(keysOf(root, m[2], map[reflect.Type]bool{}), ", "))
		} else if m := yamlType.FindStringSubmatch(text); m != nil {
			text = strings.TrimSpace(m[2]+" ("+m[1]+")") + " is not the kind of value that belongs here"
		}
		text = strings.Join(strings.Fields(strings.TrimPrefix(text, "yaml: ")), " ") // a key may have lines
		errs = append(errs, fmt.Errorf("%s:%d: %s", file, line, text))
	}
	return errors.Join(errs...)
}

// keysOf returns the keys of the struct of that name ("imds.Instance") that t
// leads to.
func keysOf(t reflect.Type, name string, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return nil
	}
	seen[t] = true
	var keys []string
	for field := range t.Fields() {
		if t.String() == name {
			keys = append(keys, fieldKeys(field)...)
		} else if found := keysOf(field.Type, name, seen); found != nil {
			return found
		}
	}
	return keys
}

// fieldKeys returns the key of a field, or the keys of a struct that is inlined.
func fieldKeys(field reflect.StructField) []string {
	key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	if options != "inline" {
		if key == "-" || key == "" {
			return nil
		}
		return []string{key}
	}
	var keys []string
	for inner := range field.Type.Fields() {
		keys = append(keys, fieldKeys(inner)...)
	}
	return keys
}
