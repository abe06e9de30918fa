package armtypes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The kinds of types in a file.
const (
	anyType           = "AnyType"
	booleanType       = "BooleanType"
	integerType       = "IntegerType"
	stringType        = "StringType"
	literalType       = "StringLiteralType"
	unionType         = "UnionType"
	arrayType         = "ArrayType"
	objectType        = "ObjectType"
	discriminatedType = "DiscriminatedObjectType"
	resourceType      = "ResourceType"
	functionType      = "ResourceFunctionType"
)

// The flags of a property.
const (
	required  = 1
	readOnly  = 2
	writeOnly = 4
	fromURL   = 8 // a constant of the deployment: over HTTP the path says it
	allFlags  = required | readOnly | writeOnly | fromURL
)

// A file is a provider's types; they refer to each other by place.
type file []*node

// A ref is the place of a type in its file.
type ref int

// none is the place of no type.
const none ref = -1

// A node is a type. Which fields it has depends on its kind.
type node struct {
	Kind string `json:"$type"`
	Name string `json:"name"`

	Value         string `json:"value"` // literal
	Elements      elements
	MinValue      *int64 `json:"minValue"`
	MaxValue      *int64 `json:"maxValue"`
	MinLength     *int   `json:"minLength"`
	MaxLength     *int   `json:"maxLength"`
	Pattern       string `json:"pattern"`
	Sensitive     bool   `json:"sensitive"`
	ItemType      *ref   `json:"itemType"`
	Additional    *ref   `json:"additionalProperties"`
	Discriminator string `json:"discriminator"`

	Properties     map[string]property `json:"properties"`
	BaseProperties map[string]property `json:"baseProperties"`

	Body           *ref `json:"body"`
	Input          *ref `json:"input"`
	Output         *ref `json:"output"`
	ResourceType   string
	APIVersion     string
	ReadableScopes int
	WritableScopes int

	pattern *pattern
}

type property struct {
	Type        ref    `json:"type"`
	Flags       int    `json:"flags"`
	Description string `json:"description"`
}

// elements are the members of a union, in order, or of a discriminated object, by
// the discriminator's value.
type elements struct {
	list  []ref
	named map[string]ref
}

func (e *elements) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("[")) {
		return json.Unmarshal(text, &e.list)
	}
	return json.Unmarshal(text, &e.named)
}

func (r *ref) UnmarshalJSON(text []byte) error {
	var link struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(text, &link); err != nil {
		return err
	}
	place, local := strings.CutPrefix(link.Ref, "#/")
	n, err := strconv.Atoi(place)
	if !local || err != nil {
		return fmt.Errorf("reference %q does not lead into this file", link.Ref)
	}
	*r = ref(n)
	return nil
}

// parse reads a type file and refuses what would not be judged.
func parse(text []byte) (file, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var f file
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	for i, n := range f {
		if err := f.complete(n); err != nil {
			return nil, fmt.Errorf("type %d: %w", i, err)
		}
	}
	return f, nil
}

// complete compiles a type's pattern, checks that its references lead somewhere, and
// takes out what is Bicep's and never on the wire.
func (f file) complete(n *node) error {
	for _, r := range n.refs() {
		if r < 0 || int(r) >= len(f) {
			return fmt.Errorf("reference to type %d of %d", r, len(f))
		}
	}
	for _, p := range n.Properties {
		if p.Flags&^allFlags != 0 {
			return fmt.Errorf("flags %d are not understood", p.Flags)
		}
	}
	switch n.Kind {
	case anyType, booleanType, integerType, literalType, arrayType, objectType, discriminatedType, functionType:
	case stringType:
		var err error
		n.pattern, err = compile(n.Pattern)
		return err
	case unionType:
		for _, r := range n.Elements.list {
			if k := f[r].Kind; k != literalType && k != stringType {
				return fmt.Errorf("a union with a %s is not understood", k)
			}
		}
	case resourceType:
		if n.Body == nil || f[*n.Body].Kind != objectType {
			return errors.New("the body of a resource is not an object")
		}
		delete(f[*n.Body].Properties, "apiVersion")
	default:
		return fmt.Errorf("a %q is not understood", n.Kind)
	}
	return nil
}

func (n *node) refs() []ref {
	refs := append([]ref(nil), n.Elements.list...)
	for _, r := range n.Elements.named {
		refs = append(refs, r)
	}
	for _, p := range n.Properties {
		refs = append(refs, p.Type)
	}
	for _, p := range n.BaseProperties {
		refs = append(refs, p.Type)
	}
	for _, r := range []*ref{n.ItemType, n.Additional, n.Body, n.Input, n.Output} {
		if r != nil {
			refs = append(refs, *r)
		}
	}
	return refs
}

// A pattern is a regular expression of the files. Go's have no look-behind; the files
// have one, at the end, which is said as a second expression that must not match.
type pattern struct {
	want, not *regexp.Regexp
}

func compile(text string) (*pattern, error) {
	if text == "" {
		return nil, nil
	}
	// A class takes a bare hyphen after another class there, and not here.
	text = strings.NewReplacer(`\w-._`, `\w\-._`, `0-9-_`, `0-9\-_`).Replace(text)
	var p pattern
	var err error
	if head, tail, found := strings.Cut(text, "(?<!"); found {
		tail, ends := strings.CutSuffix(tail, ")$")
		if !ends {
			return nil, fmt.Errorf("pattern %s is not understood", text)
		}
		if p.not, err = regexp.Compile("(?:" + tail + ")$"); err != nil {
			return nil, fmt.Errorf("compile pattern: %w", err)
		}
		text = head + "$"
	}
	if p.want, err = regexp.Compile(text); err != nil {
		return nil, fmt.Errorf("compile pattern: %w", err)
	}
	return &p, nil
}

func (p *pattern) match(s string) bool {
	return p.want.MatchString(s) && (p.not == nil || !p.not.MatchString(s))
}
