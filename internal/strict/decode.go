package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// A Source says where a document is from.
type Source struct {
	File string // empty for the defaults
	// Append says that lists of maps append to what there is; otherwise they take
	// its place.
	Append bool
	// Origins is told where values were written; it may be nil.
	Origins Origins
}

// Read reads the text of a document over what into, a pointer to the type of the
// table, has. It returns false when nothing could be read of it.
func (s *Schema) Read(text []byte, into any, from Source) (Errors, bool) {
	root, errs := Parse(text)
	for _, err := range errs {
		err.File = from.File
	}
	if len(errs) > 0 {
		return errs, false
	}
	if root == nil {
		return nil, true
	}
	return s.Decode(root, into, from), true
}

// Decode is Read for a document that Parse read.
func (s *Schema) Decode(root *yaml.Node, into any, from Source) Errors {
	d := decoder{schema: s, Source: from}
	d.mapping(root, reflect.ValueOf(into).Elem(), where{})
	return d.errs
}

// decoder reads the tree of one YAML document into a value, and notes every fault
// on the way.
type decoder struct {
	Source
	schema *Schema
	errs   Errors
}

func (d *decoder) fail(n *yaml.Node, w where, hint, format string, args ...any) {
	d.errs = append(d.errs, &Error{
		File: d.File, Line: n.Line, Column: n.Column,
		Field: w.shown, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// value reads n into v, which is at w.
func (d *decoder) value(n *yaml.Node, v reflect.Value, w where) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n, w, "remove the tag", "the tag %s is not supported", Clip(n.Tag))
		return
	}
	if v.Kind() == reflect.Pointer {
		// Filled before the value is read, which may be empty: "clock: {}".
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
		if mapOf(v.Type()) != nil {
			d.schema.fill(v, w.key)
		}
	}
	sections := mapOf(v.Type()) != nil
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		if !sections && v.Kind() != reflect.Map {
			d.fail(n, w, "write one or remove the key", "has no value")
			return
		}
		// A section whose every line is commented out: as if it were {}, but a
		// list of maps stays what it is.
		if v.Kind() != reflect.Struct {
			return
		}
		n = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	}
	if d.Origins != nil {
		d.Origins[w.path] = Place{d.File, n.Line, n.Column, w.shown}
	}

	switch v.Kind() {
	case reflect.Struct:
		if sections {
			d.mapping(n, v, w)
		} else {
			d.size(n, v, w)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Interface {
			if n.Kind != yaml.MappingNode {
				d.notMap(n, w)
				return
			}
			v.Set(reflect.ValueOf(d.raw(n, w)))
			return
		}
		d.entries(n, v, w)
	case reflect.Slice:
		switch {
		case v.Type() == reflect.TypeFor[Statuses]():
			d.statuses(n, v, w)
		case sections:
			d.items(n, v, w)
		default:
			d.list(n, v, w)
		}
	default:
		d.scalar(n, v, w)
	}
}

// pairs yields the keys and values of a mapping, and notes what is no mapping and
// what is given twice.
func (d *decoder) pairs(n *yaml.Node, w where) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			d.notMap(n, w)
			return
		}
		seen := make(map[string]int)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			switch first, twice := seen[key.Value]; {
			case key.Kind != yaml.ScalarNode:
				d.fail(key, w, "write a name", "a key must be a name, not %s", kindWord(key))
				continue
			case key.Value == "<<" && key.Tag == "!!merge":
				d.fail(key, w, "write the keys out", "merge keys (<<) are not supported")
				continue
			case twice:
				d.fail(key, w, "keep one of the two", "the key %q is given twice, first on line %d", Clip(key.Value), first)
				continue
			}
			seen[key.Value] = key.Line
			if !yield(key, value) {
				return
			}
		}
	}
}

func (d *decoder) notMap(n *yaml.Node, w where) {
	d.fail(n, w, "write "+d.schema.mapExample(w.key), "must be a map, not %s", kindWord(n))
}

// mapping reads the keys of struct v.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, w where) {
	fields := fieldsOf(v.Type())
	given, unknown := make(map[string]bool), false
	for key, value := range d.pairs(n, w) {
		name := key.Value
		given[name] = true
		i := slices.IndexFunc(fields, func(f structField) bool { return f.name == name })
		if i < 0 {
			d.unknownKey(key, w)
			unknown = true
			continue
		}
		d.value(value, v.Field(fields[i].index), w.field(name))
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, name := range d.schema.children[w.key] {
		row := d.schema.row[join(w.key, name)]
		if row.Required && row.Default == "" && !given[name] {
			d.fail(n, w.field(name), "write "+row.Write(), "is missing")
		}
	}
	d.oneKind(n, w, given, unknown)
}

// oneKind requires that exactly one of the kinds is among the given keys, when the
// map is a thing that has kinds. An unknown key may have been meant as one.
func (d *decoder) oneKind(n *yaml.Node, w where, given map[string]bool, unknown bool) {
	kinds := d.schema.kinds[w.key]
	if kinds == nil {
		return
	}
	var got []string
	for _, kind := range kinds {
		if given[kind] {
			got = append(got, kind)
		}
	}
	switch {
	case len(got) > 1:
		d.fail(n, w, "keep one, and give the other a name of its own", "has %d kinds: %s", len(got), strings.Join(got, ", "))
	case len(got) == 0 && !unknown:
		d.fail(n, w, "add one of "+OrList(kinds), "has no kind")
	}
}

func (d *decoder) unknownKey(key *yaml.Node, w where) {
	known := d.schema.children[w.key]
	hint := "known keys: " + strings.Join(known, ", ")
	if elsewhere := d.schema.elsewhere(w.key, key.Value); elsewhere != "" {
		hint = elsewhere
	} else if near := graph.Nearest(key.Value, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	d.fail(key, w, hint, "unknown key %+q", Clip(key.Value)) // letters that look like others are told apart
}

// entries reads a map whose keys the user chose.
func (d *decoder) entries(n *yaml.Node, v reflect.Value, w where) {
	row := d.schema.row[w.key]
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for key, value := range d.pairs(n, w) {
		if msg, hint := d.schema.checkKey(row, key.Value, w.key); msg != "" {
			d.fail(key, w, hint, "%s", msg)
			continue
		}
		name := reflect.ValueOf(key.Value)
		item := reflect.New(v.Type().Elem()).Elem()
		if have := v.MapIndex(name); have.IsValid() {
			item.Set(have)
		} else if item.Kind() == reflect.Struct {
			d.schema.fill(item, w.key+".*")
		}
		d.value(value, item, w.entry(key.Value))
		v.SetMapIndex(name, item)
	}
}

// items reads a list of maps, in place of what there is or behind it.
func (d *decoder) items(n *yaml.Node, v reflect.Value, w where) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, w, `write each item on a line of its own, with "- " before it`, "must be a list of maps, not %s", kindWord(n))
		return
	}
	if !d.Append {
		v.SetZero()
	}
	row := d.schema.row[w.key]
	for i, item := range n.Content {
		at := w.item(v.Len(), i)
		if v.Len() >= row.maxItems() {
			d.fail(item, at, "", "%s may have at most %s items", row.Path, row.Max)
			return
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.schema.fill(elem, at.key)
		d.value(item, elem, at)
		v.Set(reflect.Append(v, elem))
	}
	if v.IsNil() { // written as []: none, also where the default is some
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
}
