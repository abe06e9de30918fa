package strict

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// A Schema is a Table bound to the Go types of its document.
type Schema struct {
	rows     []Field
	row      map[string]*Field        // by path
	types    map[string]reflect.Type  // by path, pointers removed
	children map[string][]string      // the keys of a map, by its path, in the order of the table
	defaults map[string]*yaml.Node    // the parsed defaults, by path
	plain    map[string]reflect.Value // the defaults that have been read and nothing is added to, by path
	formats  map[string]Format
	kinds    map[string][]string
	days     bool
	vars     bool
	topKey   string
}

// New binds a table. It panics when the table is wrong, which is the programmer's
// fault.
func New(t Table) *Schema {
	s := &Schema{
		rows:     t.Fields,
		row:      make(map[string]*Field),
		types:    make(map[string]reflect.Type),
		children: make(map[string][]string),
		defaults: make(map[string]*yaml.Node),
		plain:    make(map[string]reflect.Value),
		formats:  t.Formats,
		kinds:    t.Kinds,
		days:     t.Days,
		vars:     t.Variables,
		topKey:   t.TopKey,
	}
	s.bind(t.Type, "")
	for i := range s.rows {
		s.add(&s.rows[i])
	}
	for i := range s.rows {
		if s.rows[i].Like != "" {
			s.copyKeys(s.rows[i].Like, s.rows[i].Path)
		}
	}
	return s
}

// add makes a row known.
func (s *Schema) add(row *Field) {
	row.Type = s.typeWords(row)
	s.row[row.Path] = row
	parent, name := split(row.Path)
	s.children[parent] = append(s.children[parent], name)
	if row.Default != "" {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(row.Default), &doc); err != nil {
			panic(fmt.Sprintf("strict: the default of %s is not YAML: %v", row.Path, err))
		}
		s.defaults[row.Path] = doc.Content[0]
	}
}

// copyKeys gives the map at path the keys of the map at like.
func (s *Schema) copyKeys(like, path string) {
	for _, row := range s.rows {
		if below, ok := strings.CutPrefix(row.Path, like+"."); ok {
			row.Path, row.Required, row.Default, row.Off = join(path, below), false, "", false
			s.add(&row)
		}
	}
}

// Fields returns every key, in the order of the table, with its type.
func (s *Schema) Fields() []Field { return s.rows }

// Fill sets the fields of into, a pointer to the type of the table, to their
// defaults.
func (s *Schema) Fill(into any) { s.fill(reflect.ValueOf(into).Elem(), "") }

// bind records the types of the fields of struct t, which is at path.
func (s *Schema) bind(t reflect.Type, path string) {
	for _, f := range fieldsOf(t) {
		p := join(path, f.name)
		ft := f.typ
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		s.types[p] = ft
		switch item := mapOf(ft); {
		case item == nil:
		case ft.Kind() == reflect.Slice:
			s.bind(item, p+"[]")
		case ft.Kind() == reflect.Map:
			s.bind(item, p+".*")
		default:
			s.bind(item, p)
		}
	}
}

// mapOf returns the struct that the keys of a value of type t belong to, itself
// or that of its items; nil when it has no keys of its own.
func mapOf(t reflect.Type) reflect.Type {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		t = t.Elem()
	default:
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[Size]() || t == reflect.TypeFor[StatusRange]() {
		return nil
	}
	return t
}

// structField is one field of a struct that has a key.
type structField struct {
	name  string // the key
	index int
	typ   reflect.Type
}

// fieldsByType remembers what fieldsOf found, []structField by reflect.Type.
var fieldsByType sync.Map

// fieldsOf returns the fields of t that have a key.
func fieldsOf(t reflect.Type) []structField {
	if known, ok := fieldsByType.Load(t); ok {
		return known.([]structField)
	}
	var fields []structField
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("yaml"); name != "" {
			fields = append(fields, structField{name, i, f.Type})
		}
	}
	fieldsByType.Store(t, fields)
	return fields
}

// numbers is the type of a list of whole numbers, in words.
const numbers = "list of whole numbers"

// typeWords says in words what kind of value the row takes.
func (s *Schema) typeWords(row *Field) string {
	t := s.types[row.Path]
	if t == nil {
		panic("strict: no field for " + row.Path)
	}
	switch t {
	case reflect.TypeFor[Size]():
		if row.Format == FormatCount {
			return "percentage or number"
		}
		return "percentage or size"
	case reflect.TypeFor[Statuses]():
		return "status or list of statuses"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		if row.Format == FormatPercent {
			return "percentage"
		}
		return "whole number"
	case reflect.Int64:
		return "duration"
	case reflect.Float64:
		return "number"
	case reflect.Struct:
		return "map"
	case reflect.Map:
		switch t.Elem().Kind() {
		case reflect.String:
			return "map of text"
		case reflect.Int:
			return "map of whole numbers"
		case reflect.Interface:
			return "map of anything"
		default:
			return "map of maps"
		}
	case reflect.Slice:
		switch t.Elem().Kind() {
		case reflect.String:
			return "list of text"
		case reflect.Int:
			return numbers
		default:
			return "list of maps"
		}
	default:
		return "text"
	}
}

// fill sets the fields of struct v, which is at path, to their defaults. Fields
// that are pointers stay nil: their maps are filled when they are given.
func (s *Schema) fill(v reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		field, p := v.Field(f.index), join(path, f.name)
		if def := s.defaults[p]; def != nil {
			field.Set(s.readDefault(p, def, field.Type()))
			continue
		}
		if field.Kind() == reflect.Struct && mapOf(field.Type()) != nil {
			s.fill(field, p)
		}
	}
}

// readDefault reads a default, and but once when it can be shared: a hundred checks
// have the same interval.
func (s *Schema) readDefault(path string, def *yaml.Node, t reflect.Type) reflect.Value {
	if v, ok := s.plain[path]; ok {
		return v
	}
	v := reflect.New(t).Elem()
	d := decoder{schema: s}
	d.value(def, v, where{key: path, path: path, shown: path})
	if len(d.errs) > 0 {
		panic("strict: the default is refused: " + d.errs.Error())
	}
	if t.Kind() != reflect.Map && t.Kind() != reflect.Slice && t.Kind() != reflect.Pointer {
		s.plain[path] = v
	}
	return v
}

// elsewhere says where the key name, which the map at path does not have, would
// be right: in the map around it or in one directly below it. It is empty when
// nowhere near.
func (s *Schema) elsewhere(path, name string) string {
	if path == "" {
		return s.below("", name)
	}
	parent, self := split(path)
	self = strings.TrimSuffix(self, "[]")
	if _, ok := s.row[join(parent, name)]; ok && self != "*" {
		return fmt.Sprintf("it belongs one level up, beside %q", self)
	}
	return s.below(path, name)
}

func (s *Schema) below(path, name string) string {
	var in []string
	for _, child := range s.children[path] {
		if _, ok := s.row[join(join(path, child), name)]; ok {
			in = append(in, child)
		}
	}
	if len(in) == 0 {
		return ""
	}
	return "it belongs one level down, in " + OrList(in)
}

// OrList writes "a", "a or b", "a, b or c".
func OrList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
