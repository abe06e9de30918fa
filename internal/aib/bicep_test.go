package aib

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

// types is a file of Bicep types: a closed description of the bodies that one
// resource provider takes at one API version. References are indexes into it.
type types []*typeDef

type typeDef struct {
	Kind                 string              `json:"$type"`
	Name                 string              `json:"name"`
	Value                string              `json:"value"`   // of a StringLiteralType
	Pattern              string              `json:"pattern"` // of a StringType
	MinLength            *int                `json:"minLength"`
	MaxLength            *int                `json:"maxLength"`
	MinValue             *int64              `json:"minValue"`
	MaxValue             *int64              `json:"maxValue"`
	Properties           map[string]property `json:"properties"`
	AdditionalProperties *reference          `json:"additionalProperties"`
	ItemType             reference           `json:"itemType"`
	Discriminator        string              `json:"discriminator"`
	BaseProperties       map[string]property `json:"baseProperties"`
	// Elements are a list of references in a UnionType, and references by the
	// discriminator's value in a DiscriminatedObjectType.
	Elements json.RawMessage `json:"elements"`
	Body     reference       `json:"body"` // of a ResourceType
}

type property struct {
	Type  reference `json:"type"`
	Flags int       `json:"flags"`
}

const (
	flagRequired = 1
	flagReadOnly = 2
)

type reference struct {
	Ref string `json:"$ref"` // "#/12"
}

func (r reference) index() int {
	i, err := strconv.Atoi(strings.TrimPrefix(r.Ref, "#/"))
	if err != nil {
		panic(fmt.Sprintf("reference %q", r.Ref))
	}
	return i
}

// loadTypes reads a type file from the folder beside the repository. Where it is
// absent the test is skipped, but never in CI.
func loadTypes(t *testing.T, name string) types {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repo(t), "..", "shared", "azure", "types", name))
	testkit.Need(t, !os.IsNotExist(err), "Azure's type files beside the repository")
	require.NoError(t, err)
	var ts types
	require.NoError(t, json.Unmarshal(data, &ts))
	return ts
}

// resource returns the body of a resource type, named as TYPE@VERSION.
func (ts types) resource(t *testing.T, name string) reference {
	t.Helper()
	for _, def := range ts {
		if def.Kind == "ResourceType" && def.Name == name {
			return def.Body
		}
	}
	t.Fatalf("the type file does not describe %s", name)
	return reference{}
}

// check returns what is wrong with a value, which was decoded with UseNumber.
func (ts types) check(path string, v any, r reference) []string {
	def := ts[r.index()]
	fail := func(format string, args ...any) []string {
		return []string{path + ": " + fmt.Sprintf(format, args...)}
	}
	switch def.Kind {
	case "AnyType":
		return nil
	case "BooleanType":
		if _, ok := v.(bool); !ok {
			return fail("%v is not a boolean", v)
		}
	case "IntegerType":
		n, ok := v.(json.Number)
		if !ok {
			return fail("%v is not a number", v)
		}
		i, err := n.Int64()
		if err != nil || def.MinValue != nil && i < *def.MinValue || def.MaxValue != nil && i > *def.MaxValue {
			return fail("%v is not an integer in the range", v)
		}
	case "StringType":
		s, ok := v.(string)
		if !ok {
			return fail("%v is not a string", v)
		}
		if def.MinLength != nil && len(s) < *def.MinLength || def.MaxLength != nil && len(s) > *def.MaxLength {
			return fail("%q has the wrong length", s)
		}
		if def.Pattern != "" && !regexp.MustCompile(def.Pattern).MatchString(s) {
			return fail("%q does not match %s", s, def.Pattern)
		}
	case "StringLiteralType":
		if v != def.Value {
			return fail("%v is not %q", v, def.Value)
		}
	case "UnionType":
		return ts.checkUnion(path, v, def)
	case "ArrayType":
		list, ok := v.([]any)
		if !ok {
			return fail("not an array")
		}
		var faults []string
		for i, item := range list {
			faults = append(faults, ts.check(fmt.Sprintf("%s/%d", path, i), item, def.ItemType)...)
		}
		return faults
	case "ObjectType":
		object, ok := v.(map[string]any)
		if !ok {
			return fail("not an object")
		}
		return ts.checkObject(path, object, def.Properties, def.AdditionalProperties)
	case "DiscriminatedObjectType":
		return ts.checkDiscriminated(path, v, def)
	default:
		return fail("unknown kind of type %s", def.Kind)
	}
	return nil
}

// checkUnion takes a union that lists values and ends with "or any string" for
// the values only: that end is there for values of the future.
func (ts types) checkUnion(path string, v any, def *typeDef) []string {
	var elements []reference
	if err := json.Unmarshal(def.Elements, &elements); err != nil {
		return []string{path + ": " + err.Error()}
	}
	var known []string
	for _, e := range elements {
		el := ts[e.index()]
		if el.Kind == "StringLiteralType" {
			known = append(known, el.Value)
		}
	}
	for _, e := range elements {
		if len(known) > 0 && ts[e.index()].Kind == "StringType" {
			continue
		}
		if len(ts.check(path, v, e)) == 0 {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %v is none of %s", path, v, strings.Join(known, ", "))}
}

func (ts types) checkObject(path string, object map[string]any, properties map[string]property, additional *reference) []string {
	var faults []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		p, known := properties[key]
		switch {
		case known && p.Flags&flagReadOnly != 0:
			faults = append(faults, fmt.Sprintf("%s/%s: is read-only", path, key))
		case known:
			faults = append(faults, ts.check(path+"/"+key, object[key], p.Type)...)
		case additional != nil:
			faults = append(faults, ts.check(path+"/"+key, object[key], *additional)...)
		default:
			faults = append(faults, fmt.Sprintf("%s/%s: unknown property", path, key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if _, there := object[key]; !there && properties[key].Flags&flagRequired != 0 {
			faults = append(faults, fmt.Sprintf("%s/%s: is required", path, key))
		}
	}
	return faults
}

func (ts types) checkDiscriminated(path string, v any, def *typeDef) []string {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{path + ": not an object"}
	}
	var elements map[string]reference
	if err := json.Unmarshal(def.Elements, &elements); err != nil {
		return []string{path + ": " + err.Error()}
	}
	kind, _ := object[def.Discriminator].(string)
	element, ok := elements[kind]
	if !ok {
		return []string{fmt.Sprintf("%s/%s: %q is none of %s", path, def.Discriminator, kind,
			strings.Join(slices.Sorted(maps.Keys(elements)), ", "))}
	}
	properties := maps.Clone(def.BaseProperties)
	if properties == nil {
		properties = make(map[string]property)
	}
	maps.Copy(properties, ts[element.index()].Properties)
	return ts.checkObject(path, object, properties, ts[element.index()].AdditionalProperties)
}
