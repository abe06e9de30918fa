package arm

import (
	"maps"
	"reflect"
	"strings"
	"time"
)

// ScenarioSchema returns the JSON Schema of a scenario file, made from the structs
// that it is read into.
func ScenarioSchema() map[string]any {
	schema := structSchema(reflect.TypeFor[scenarioFile]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "A scenario of fleetsim arm"
	return schema
}

func structSchema(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []any
	for field := range t.Fields() {
		key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if options == "inline" {
			inner, _ := structSchema(field.Type)["properties"].(map[string]any)
			maps.Copy(properties, inner)
			continue
		}
		if key == "" {
			continue
		}
		properties[key] = fieldSchema(field)
		if field.Tag.Get("required") != "" {
			required = append(required, key)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func fieldSchema(field reflect.StructField) map[string]any {
	schema := typeSchema(field.Type)
	if doc := field.Tag.Get("doc"); doc != "" {
		schema["description"] = doc
	}
	if allowed := field.Tag.Get("enum"); allowed != "" {
		var values []any
		for value := range strings.SplitSeq(allowed, ",") {
			values = append(values, value)
		}
		at := schema
		for _, inner := range []string{"items", "additionalProperties"} {
			if deeper, ok := schema[inner].(map[string]any); ok {
				at = deeper
			}
		}
		at["enum"] = values
	}
	return schema
}

func typeSchema(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[age]():
		return map[string]any{"type": "string", "pattern": `^-?([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$`}
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.Struct:
		return structSchema(t)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return map[string]any{"type": "object"}
		}
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	default:
		return map[string]any{"type": "string"}
	}
}
