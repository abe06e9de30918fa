package strict

import (
	"encoding/json"
	"reflect"
	"strconv"
)

// JSONSchema returns a JSON Schema (draft 2020-12) of a document. id names it, and is
// not an address. It is for editors, and Read has the last word: the schema does not
// know how values go together, and refuses a few spellings that Read takes, such as a
// number where text is asked for.
func (s *Schema) JSONSchema(id, title string) []byte {
	root := s.object("")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = id
	root["title"] = title
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("strict: " + err.Error()) // maps of texts and numbers
	}
	return append(out, '\n')
}

// object is the schema of the map at path.
func (s *Schema) object(path string) map[string]any {
	properties := make(map[string]any)
	var required []string
	for _, name := range s.children[path] {
		row := s.row[join(path, name)]
		properties[name] = s.property(row)
		if row.Required && row.Default == "" {
			required = append(required, name)
		}
	}
	o := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		o["required"] = required
	} else {
		o["type"] = []string{"object", "null"} // every line of it commented out
	}
	var oneOf []any
	for _, kind := range s.kinds[path] {
		oneOf = append(oneOf, map[string]any{"required": []string{kind}})
	}
	if oneOf != nil {
		o["oneOf"] = oneOf
	}
	return o
}

// property is the schema of one key.
func (s *Schema) property(row *Field) map[string]any {
	p := s.valueOf(row)
	if row.Off {
		p = map[string]any{"anyOf": []any{p, map[string]any{"type": "string", "enum": []string{"off"}}}}
	}
	p["description"] = row.Doc
	if def := s.defaults[row.Path]; def != nil {
		var value any
		if err := def.Decode(&value); err != nil {
			panic("strict: the default of " + row.Path + ": " + err.Error())
		}
		p["default"] = value
	}
	return p
}

const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	daysPattern     = `^([0-9]+d|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`
	variablePattern = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`
	bytesPattern    = `^[0-9]+(\.[0-9]+)? ?(%|([kKMGT]i?)?[bB])$`
	statusPattern   = `^[1-5](xx|XX|[0-9]{2}(-[1-5][0-9]{2})?)$`
)

func (s *Schema) valueOf(row *Field) map[string]any {
	t := s.types[row.Path]
	switch t {
	case reflect.TypeFor[Size]():
		if row.Format == FormatCount {
			return map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9]+(\.[0-9]+)?%?$`}
		}
		return map[string]any{"type": "string", "pattern": bytesPattern}
	case reflect.TypeFor[Statuses]():
		one := []any{
			map[string]any{"type": "integer", "minimum": 100, "maximum": 599},
			map[string]any{"type": "string", "pattern": statusPattern},
		}
		list := map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"anyOf": one}}
		return map[string]any{"anyOf": append(one, list)}
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.object(row.Path)
	case reflect.Map:
		values := map[string]any{} // anything
		switch t.Elem().Kind() {
		case reflect.Struct:
			values = s.object(row.Path + ".*")
		case reflect.Interface:
		default:
			values = s.scalarOf(row, t.Elem())
		}
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": values}
	case reflect.Slice:
		if mapOf(t) != nil {
			return map[string]any{"type": []string{"array", "null"}, "maxItems": row.maxItems(), "items": s.object(row.Path + "[]")}
		}
		list := map[string]any{"type": "array", "items": s.scalarOf(row, t.Elem())}
		if row.Required {
			list["minItems"] = 1
		}
		return list
	default:
		return s.scalarOf(row, t)
	}
}

// scalarOf is the schema of a scalar. Where variables may stand in it, that is all
// that an editor can ask for.
func (s *Schema) scalarOf(row *Field, t reflect.Type) map[string]any {
	p := s.literalOf(row, t)
	if !s.vars {
		return p
	}
	return map[string]any{"anyOf": []any{p, map[string]any{"type": "string", "pattern": variablePattern}}}
}

func (s *Schema) literalOf(row *Field, t reflect.Type) map[string]any {
	bounded := func(typ string) map[string]any {
		p := map[string]any{"type": typ}
		if low, err := strconv.ParseFloat(row.Min, 64); err == nil {
			p["minimum"] = low
		}
		if high, err := strconv.ParseFloat(row.Max, 64); err == nil {
			p["maximum"] = high
		}
		return p
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		if row.Format == FormatPercent {
			return map[string]any{"type": "string", "pattern": "^[0-9]{1,3}%$"}
		}
		return bounded("integer")
	case reflect.Int64:
		if s.days {
			return map[string]any{"type": "string", "pattern": daysPattern}
		}
		return map[string]any{"type": "string", "pattern": durationPattern}
	case reflect.Float64:
		return bounded("number")
	default:
		return s.textOf(row)
	}
}

func (s *Schema) textOf(row *Field) map[string]any {
	switch {
	case row.OneOf != nil:
		return map[string]any{"type": "string", "enum": row.OneOf}
	case row.Format == FormatCommand || s.formats[row.Format].Loose:
		return map[string]any{"type": []string{"string", "number", "boolean"}} // read as they are written
	}
	p := map[string]any{"type": "string"}
	if row.Required {
		p["minLength"] = 1
	}
	if pattern := s.patternOf(row.Format); pattern != "" {
		p["pattern"] = pattern
	}
	return p
}

func (s *Schema) patternOf(format string) string {
	switch format {
	case FormatName, FormatNames:
		return namePattern
	case FormatPath:
		return "^(/|$)"
	case FormatURL, FormatEndpoint:
		return "^https?://"
	case FormatAddress, FormatListen:
		return "(^$|:[0-9]+$)"
	default:
		return s.formats[format].Pattern
	}
}
