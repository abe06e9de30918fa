package aib

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// template is an ARM deployment template.
type template struct {
	Schema         string                     `json:"$schema"`
	ContentVersion string                     `json:"contentVersion"`
	Parameters     map[string]*parameter      `json:"parameters"`
	Resources      []map[string]any           `json:"resources"`
	Outputs        map[string]json.RawMessage `json:"outputs"`
}

type parameter struct {
	Type         string         `json:"type"`
	DefaultValue any            `json:"defaultValue"`
	MaxLength    int            `json:"maxLength"`
	Metadata     map[string]any `json:"metadata"`

	used bool
}

// parameterFile is what `az deployment group create --parameters @FILE` reads.
type parameterFile struct {
	Schema         string                    `json:"$schema"`
	ContentVersion string                    `json:"contentVersion"`
	Parameters     map[string]parameterValue `json:"parameters"`
}

type parameterValue struct {
	Value any `json:"value"`
}

// decode reads a JSON file strictly, with numbers as they are written.
func decode(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(v), path)
}

// deployment is a template with values for its parameters.
type deployment struct {
	template *template
	values   map[string]parameterValue
}

// load reads the template and the parameters that come with it as an example.
func load(t *testing.T) *deployment {
	t.Helper()
	var tmpl template
	decode(t, filepath.Join(repo(t), "aib/templates/ubuntu-app.json"), &tmpl)
	var params parameterFile
	decode(t, filepath.Join(repo(t), "aib/templates/ubuntu-app.parameters.json"), &params)
	return &deployment{template: &tmpl, values: params.Parameters}
}

// resource returns the template's only resource as ARM would send it on.
func (d *deployment) resource(t *testing.T) map[string]any {
	t.Helper()
	require.Len(t, d.template.Resources, 1)
	v, err := d.resolve(d.template.Resources[0])
	require.NoError(t, err)
	// Values of parameters were decoded apart: one more round makes all alike.
	data, err := json.Marshal(v)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var body map[string]any
	require.NoError(t, dec.Decode(&body))
	return body
}

// resolve replaces the expressions in keys and values.
func (d *deployment) resolve(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return d.evaluate(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = d.resolve(v[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, value := range v {
			k, err := d.evaluate(key)
			if err != nil {
				return nil, err
			}
			name, ok := k.(string)
			if !ok {
				return nil, fmt.Errorf("%s: a key is a string", key)
			}
			if object[name], err = d.resolve(value); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return v, nil
}

// evaluate returns the value of a string, which is an expression when it is in
// brackets.
func (d *deployment) evaluate(s string) (any, error) {
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "]") || strings.HasPrefix(s, "[[") {
		return s, nil
	}
	e := expression{deployment: d, rest: s[1 : len(s)-1]}
	v, err := e.value()
	if err == nil && e.rest != "" {
		err = fmt.Errorf("%q is left over", e.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", s, err)
	}
	return v, nil
}

// expression reads the part of ARM's template language that the template uses:
// strings, whole numbers, calls, and members as .name and ['name'].
type expression struct {
	deployment *deployment
	rest       string
}

func (e *expression) take(token string) bool {
	rest := strings.TrimLeft(e.rest, " ")
	after, ok := strings.CutPrefix(rest, token)
	if ok {
		e.rest = after
	}
	return ok
}

func (e *expression) name() string {
	e.rest = strings.TrimLeft(e.rest, " ")
	i := strings.IndexFunc(e.rest, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r)
	})
	if i < 0 {
		i = len(e.rest)
	}
	name := e.rest[:i]
	e.rest = e.rest[i:]
	return name
}

// text reads a string up to its end; two quotes in it are one.
func (e *expression) text() (any, error) {
	var b strings.Builder
	for {
		s, rest, ok := strings.Cut(e.rest, "'")
		if !ok {
			return nil, errors.New("a string does not end")
		}
		b.WriteString(s)
		if e.rest = rest; !strings.HasPrefix(rest, "'") {
			return b.String(), nil
		}
		b.WriteByte('\'')
		e.rest = rest[1:]
	}
}

func (e *expression) value() (any, error) {
	if e.take("'") {
		return e.text()
	}
	if digits := len(e.rest) - len(strings.TrimLeft(strings.TrimLeft(e.rest, " "), "0123456789")); strings.Trim(e.rest[:digits], " ") != "" {
		n, err := strconv.Atoi(strings.Trim(e.rest[:digits], " "))
		e.rest = e.rest[digits:]
		return n, err
	}
	function := e.name()
	if function == "" || !e.take("(") {
		return nil, fmt.Errorf("no call at %q", e.rest)
	}
	var args []any
	for !e.take(")") {
		if len(args) > 0 && !e.take(",") {
			return nil, fmt.Errorf("no comma at %q", e.rest)
		}
		arg, err := e.value()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	v, err := e.deployment.call(function, args)
	for err == nil {
		var member any
		switch {
		case e.take("."):
			member = e.name()
		case e.take("["):
			if member, err = e.value(); err == nil && !e.take("]") {
				err = fmt.Errorf("no bracket at %q", e.rest)
			}
		default:
			return v, nil
		}
		object, _ := v.(map[string]any)
		name, _ := member.(string)
		inner, there := object[name]
		if err == nil && !there {
			err = fmt.Errorf("there is no member %q", name)
		}
		v = inner
	}
	return nil, err
}

func (d *deployment) call(function string, args []any) (any, error) {
	switch function {
	case "parameters":
		if len(args) != 1 {
			return nil, errors.New("parameters takes one name")
		}
		name, _ := args[0].(string)
		p, declared := d.template.Parameters[name]
		if !declared {
			return nil, fmt.Errorf("parameter %q is not declared", name)
		}
		p.used = true
		if v, given := d.values[name]; given {
			return v.Value, nil
		}
		if p.DefaultValue == nil {
			return nil, fmt.Errorf("parameter %q has no value", name)
		}
		return d.resolve(p.DefaultValue)
	case "format":
		text, ok := args[0].(string)
		if !ok {
			return nil, errors.New("format takes a string")
		}
		pairs := []string{"{{", "{", "}}", "}"}
		for i, arg := range args[1:] {
			place := "{" + strconv.Itoa(i) + "}"
			if !strings.Contains(text, place) {
				return nil, fmt.Errorf("format: %s is not used", place)
			}
			pairs = append(pairs, place, fmt.Sprint(arg))
		}
		return strings.NewReplacer(pairs...).Replace(text), nil
	case "if":
		if args[0] == true {
			return args[1], nil
		}
		return args[2], nil
	case "empty":
		return args[0] == "", nil
	case "createObject":
		object := make(map[string]any)
		for i := 0; i < len(args); i += 2 {
			object[args[i].(string)] = args[i+1]
		}
		return object, nil
	case "union":
		all := make(map[string]any)
		for _, object := range args {
			maps.Copy(all, object.(map[string]any))
		}
		return all, nil
	case "resourceGroup":
		return map[string]any{"location": "eastus", "name": "rg-images"}, nil
	}
	return nil, fmt.Errorf("function %s is not known to this test", function)
}
