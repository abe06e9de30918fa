package config

import (
	"encoding/json"
	"reflect"
	"strconv"
)

// schemaID names the JSON Schema; it is not an address.
const schemaID = "urn:fleet-agent:config"

// Schema returns the JSON Schema (draft 2020-12) of one configuration file. It is
// for editors, and Load has the last word: the schema does not know how values go
// together, and refuses a few spellings that Load reads, such as a number where
// text is asked for.
func Schema() []byte {
	s := newSchema()
	root := s.object("", nil)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = schemaID
	root["title"] = "fleet-agent configuration"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("config: " + err.Error()) // maps of texts and numbers
	}
	return append(out, '\n')
}

// object is the schema of the map at path, whose keys are the fields of t when it
// is not nil.
func (s *schema) object(path string, t reflect.Type) map[string]any {
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
	if t == nil {
		return o
	}
	var oneOf []any
	for _, kind := range kindsOf(t) {
		oneOf = append(oneOf, map[string]any{"required": []string{kind}})
	}
	if oneOf != nil {
		o["oneOf"] = oneOf
	}
	return o
}

// property is the schema of one key.
func (s *schema) property(row *FieldDoc) map[string]any {
	p := s.valueOf(row)
	p["description"] = row.Doc
	if def := s.defaults[row.Path]; def != nil {
		var value any
		if err := def.Decode(&value); err != nil {
			panic("config: the default of " + row.Path + ": " + err.Error())
		}
		p["default"] = value
	}
	return p
}

const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	bytesPattern    = `^[0-9]+(\.[0-9]+)? ?(%|([kKMGT]i?)?[bB])$`
	statusPattern   = `^[1-5](xx|XX|[0-9]{2}(-[1-5][0-9]{2})?)$`
)

func (s *schema) valueOf(row *FieldDoc) map[string]any {
	t := s.types[row.Path]
	switch t {
	case reflect.TypeFor[Duration]():
		return map[string]any{"type": "string", "pattern": durationPattern}
	case reflect.TypeFor[Size]():
		if row.Format == formatCount {
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
		return s.object(row.Path, t)
	case reflect.Map:
		values := s.textOf(row)
		if item := mapOf(t); item != nil {
			values = s.object(row.Path+".*", item)
		}
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": values}
	case reflect.Slice:
		if item := mapOf(t); item != nil {
			return map[string]any{"type": []string{"array", "null"}, "maxItems": row.maxItems(), "items": s.object(row.Path+"[]", item)}
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

func (s *schema) scalarOf(row *FieldDoc, t reflect.Type) map[string]any {
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
		return bounded("integer")
	case reflect.Float64:
		return bounded("number")
	default:
		return s.textOf(row)
	}
}

func (s *schema) textOf(row *FieldDoc) map[string]any {
	switch {
	case row.OneOf != nil:
		return map[string]any{"type": "string", "enum": row.OneOf}
	case row.Format == formatEnv || row.Format == formatHeaders || row.Format == formatCommand:
		return map[string]any{"type": []string{"string", "number", "boolean"}} // read as they are written
	}
	p := map[string]any{"type": "string"}
	if row.Required {
		p["minLength"] = 1
	}
	switch row.Format {
	case formatName, formatNames:
		p["pattern"] = nameRE().String()
	case formatHook:
		p["pattern"] = hookRE().String()
	case formatPath, formatRunDir:
		p["pattern"] = "^(/|$)"
	case formatURL, formatEndpoint:
		p["pattern"] = "^https?://"
	case formatAddress, formatListen:
		p["pattern"] = "(^$|:[0-9]+$)"
	case formatAPIVersion:
		p["pattern"] = apiVersionRE().String()
	default:
	}
	return p
}
