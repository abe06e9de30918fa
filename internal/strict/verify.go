package strict

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Verify returns what is wrong with a table: it is for a test of each. The table and
// the Go types say the same, every row is told about in sentences, and every default
// and every example is one that Read takes.
func (s *Schema) Verify() []string {
	var faults []string
	fail := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for path := range s.types {
		if s.row[path] == nil {
			fail("the field at %s has no row", path)
		}
	}
	for i := range s.rows {
		row := &s.rows[i]
		if s.row[row.Path] != row {
			fail("%s has two rows", row.Path)
		}
		if !strings.HasSuffix(row.Doc, ".") {
			fail("the doc of %s is no sentence: %q", row.Path, row.Doc)
		}
		if (row.Min == "" && row.Type != "list of maps") != (row.Max == "") {
			fail("%s has one bound", row.Path)
		}
		if s.keysOf(row.Path) == "" && row.Sample() == "" {
			fail("%s has neither default nor example", row.Path)
		}
		for _, text := range []string{row.Example, row.Default} {
			if err := s.try(row, text); err != nil {
				fail("%s: %s: %v", row.Path, text, err)
			}
		}
	}
	return faults
}

// try reads the text as a value of the row.
func (s *Schema) try(row *Field, text string) error {
	if text == "" {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	d := decoder{schema: s}
	d.value(doc.Content[0], reflect.New(s.types[row.Path]).Elem(), where{row.Path, row.Path, row.Path})
	if len(d.errs) > 0 {
		return d.errs
	}
	return nil
}
