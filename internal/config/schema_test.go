package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The table and the Go types say the same: every key has a field and every field
// a key.
func TestTableIsComplete(t *testing.T) {
	s := newSchema()
	for path := range s.types {
		require.Contains(t, s.row, path, "the field has no row")
	}
	seen := make(map[string]bool)
	for _, row := range s.rows {
		require.Contains(t, s.types, row.Path, "the row has no field")
		require.False(t, seen[row.Path], "two rows for %s", row.Path)
		seen[row.Path] = true
		require.NotEmpty(t, row.Type, row.Path)
		require.True(t, strings.HasSuffix(row.Doc, "."), "the doc of %s is no sentence: %q", row.Path, row.Doc)
		require.Equal(t, row.Min == "" && row.Type != "list of maps", row.Max == "", "%s has one bound", row.Path)
		if s.keysOf(row.Path) == "" {
			require.NotEmpty(t, row.example(), "%s has neither default nor example", row.Path)
		}
	}
}

// Every default and every example is one that the loader takes.
func TestExamplesAreRead(t *testing.T) {
	s := newSchema()
	for _, row := range s.rows {
		for _, text := range []string{row.Example, row.Default} {
			if text == "" {
				continue
			}
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal([]byte(text), &doc), row.Path)
			d := decoder{schema: s, main: true}
			d.value(doc.Content[0], reflect.New(s.types[row.Path]).Elem(), where{row.Path, row.Path, row.Path})
			require.Empty(t, d.errs, "%s: %s", row.Path, text)
		}
	}
}

// The kinds are those of the structs, in their order, and Kind knows them.
func TestKinds(t *testing.T) {
	value := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.String:
			v.SetString("x")
		default:
			v.SetInt(1)
		}
	}
	for _, kind := range kindsOf(reflect.TypeFor[Check]()) {
		var c Check
		for _, f := range fieldsOf(reflect.TypeFor[Check]()) {
			if f.name == kind {
				value(reflect.ValueOf(&c).Elem().Field(f.index))
			}
		}
		require.Equal(t, kind, c.Kind())
	}
	for _, kind := range kindsOf(reflect.TypeFor[Step]()) {
		var s Step
		for _, f := range fieldsOf(reflect.TypeFor[Step]()) {
			if f.name == kind {
				value(reflect.ValueOf(&s).Elem().Field(f.index))
			}
		}
		require.Equal(t, kind, s.Kind())
	}
	require.Empty(t, Check{}.Kind())
	require.Empty(t, Step{}.Kind())
	for _, f := range fieldsOf(reflect.TypeFor[Check]()) {
		require.Equal(t, f.typ.Kind() == reflect.Pointer, slices.Contains(kindsOf(reflect.TypeFor[Check]()), f.name), f.name)
	}
}

func TestReferenceIsACopy(t *testing.T) {
	rows := Reference()
	require.Equal(t, "listen", rows[0].Path)
	rows[0].Doc = ""
	require.NotEmpty(t, Reference()[0].Doc)
}

func TestWriteReference(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteReference(&b))
	text := b.String()

	anchors := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^#+ `?([^`\n]+)`?$").FindAllStringSubmatch(text, -1) {
		require.False(t, anchors[anchor(m[1])], "two headings %s", m[1])
		anchors[anchor(m[1])] = true
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, links)
	for _, m := range links {
		require.True(t, anchors[m[1]], "the link #%s leads nowhere", m[1])
	}
	for _, row := range Reference() {
		_, name := split(row.Path)
		require.Contains(t, text, "`"+name+"`", row.Path)
		if row.Type != "map" && row.Type != "list of maps" && row.Type != "map of maps" {
			require.Contains(t, text, cell(row.Doc), row.Path)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| ") {
			cells := regexp.MustCompile(`[^\\]\|`).FindAllString(line, -1)
			require.Len(t, cells, 4, "a row of another number of cells: %s", line)
		}
	}
}

func TestSchemaAccepts(t *testing.T) {
	var schema map[string]any
	require.NoError(t, json.Unmarshal(Schema(), &schema))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", schema["$schema"])

	example, err := os.ReadFile("testdata/example.yaml")
	require.NoError(t, err)
	full := regexp.MustCompile(`(?m)^#((?:  )+\S)`).ReplaceAllString(string(example), "$1")
	full = regexp.MustCompile(`(?m)^(checks|notify): \[\]$`).ReplaceAllString(full, "$1:")
	short, err := os.ReadFile("testdata/short.yaml")
	require.NoError(t, err)
	for name, text := range map[string]string{
		"example":      string(example),
		"full example": full,
		"short":        string(short),
		"defaults":     marshal(t, Default(), true),
		"empty":        "checks:\nlisten:\n",
		"statuses":     "checks: [{name: a, http: {url: 'http://a/', expect_status: 204}}]",
	} {
		require.Empty(t, invalid(t, schema, text), name)
	}
	for name, text := range map[string]string{
		"unknown key":   "listne: {}",
		"two kinds":     "checks: [{name: a, clock: {}, tcp: {address: 'a:1'}}]",
		"no kind":       "checks: [{name: a}]",
		"no name":       "checks: [{clock: {}}]",
		"bare duration": "drain: {settle: 5}",
		"enum":          "scheduled_events: {shared_ack: maybe}",
		"range":         "health: {max_concurrent: 0}",
		"missing port":  "listen: {probe: localhost}",
		"relative path": "state_dir: x",
		"event key":     "scheduled_events: {events: {Reboot: {acton: drain}}}",
		"size":          "checks: [{name: a, disk: {path: /, min_free: 5}}]",
		"status":        "checks: [{name: a, http: {url: 'http://a/', expect_status: 99}}]",
	} {
		require.NotEmpty(t, invalid(t, schema, text), name)
	}
}

func invalid(t *testing.T, schema map[string]any, text string) []string {
	t.Helper()
	var value any
	require.NoError(t, yaml.Unmarshal([]byte(text), &value))
	return validate(schema, value, "")
}

// validate is as much of JSON Schema as Schema uses; a keyword that it does not
// know fails.
func validate(schema map[string]any, value any, path string) []string {
	var faults []string
	fail := func(format string, args ...any) {
		faults = append(faults, path+": "+fmt.Sprintf(format, args...))
	}
	number := func(v any) float64 {
		if i, ok := v.(int); ok {
			return float64(i)
		}
		f, _ := v.(float64)
		return f
	}
	object, _ := value.(map[string]any)
	array, _ := value.([]any)
	text, isText := value.(string)
	for key, want := range schema {
		switch key {
		case "$schema", "$id", "title", "description", "default":
		case "type":
			types, ok := want.([]any)
			if !ok {
				types = []any{want}
			}
			if !slices.ContainsFunc(types, func(typ any) bool { return typ == typeOf(value) || (typ == "number" && typeOf(value) == "integer") }) {
				fail("is %s, not %v", typeOf(value), types)
			}
		case "properties":
			for name, sub := range want.(map[string]any) {
				if v, ok := object[name]; ok {
					faults = append(faults, validate(sub.(map[string]any), v, path+"."+name)...)
				}
			}
		case "additionalProperties":
			properties, _ := schema["properties"].(map[string]any)
			for name, v := range object {
				if _, ok := properties[name]; ok {
					continue
				}
				if sub, ok := want.(map[string]any); ok {
					faults = append(faults, validate(sub, v, path+"."+name)...)
				} else {
					fail("has the unknown key %s", name)
				}
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; !ok && object != nil {
					fail("lacks %s", name)
				}
			}
		case "oneOf", "anyOf":
			matches := 0
			for _, sub := range want.([]any) {
				if len(validate(sub.(map[string]any), value, path)) == 0 {
					matches++
				}
			}
			if matches == 0 || (key == "oneOf" && matches > 1) {
				fail("matches %d of %s", matches, key)
			}
		case "items":
			for i, v := range array {
				faults = append(faults, validate(want.(map[string]any), v, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "minItems":
			if array != nil && float64(len(array)) < want.(float64) {
				fail("has %d items", len(array))
			}
		case "maxItems":
			if float64(len(array)) > want.(float64) {
				fail("has %d items", len(array))
			}
		case "minLength":
			if isText && float64(len(text)) < want.(float64) {
				fail("has %d bytes", len(text))
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				fail("%q does not match %s", text, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), value) {
				fail("%v is not one of %v", value, want)
			}
		case "minimum":
			if n := typeOf(value); (n == "integer" || n == "number") && number(value) < want.(float64) {
				fail("%v is too small", value)
			}
		case "maximum":
			if number(value) > want.(float64) {
				fail("%v is too large", value)
			}
		default:
			fail("unknown keyword %s", key)
		}
	}
	return faults
}

func typeOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}
