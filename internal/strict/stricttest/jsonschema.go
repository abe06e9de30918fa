package stricttest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// Invalid returns what a JSON Schema finds wrong with a YAML text.
func Invalid(t *testing.T, schema []byte, text string) []string {
	t.Helper()
	var parsed map[string]any
	require.NoError(t, json.Unmarshal(schema, &parsed))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", parsed["$schema"])
	var value any
	require.NoError(t, yaml.Unmarshal([]byte(text), &value))
	return validate(parsed, value, "")
}

// validate is as much of JSON Schema as package strict uses; a keyword that it does not
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
