// Package armtypes answers: does this JSON body keep to the types that Azure publishes?
//
// The types are Bicep's type files: one JSON array a provider and version, a closed
// world of objects with flags (required, read-only), literals, unions, ranges, lengths
// and patterns. Nobody here wrote them, which is why they judge the simulated control
// plane and what is sent to it. They describe the bodies of resources (PUT and GET) and
// of some actions; a list is judged item by item, and a PATCH as a PUT with nothing
// required.
//
// The package starts no goroutines; Types may be used by many at once.
package armtypes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Mode says which way a body travels.
type Mode int

const (
	// Request is the whole body of a PUT or of an action: what is required is there,
	// and nothing that only Azure says.
	Request Mode = iota + 1
	// Patch is a Request with nothing required.
	Patch
	// Response is what Azure answers: read-only properties are welcome, secrets are not.
	Response
)

// A Kind is what is wrong with a value.
type Kind string

// The kinds of findings.
const (
	Untyped   Kind = "untyped"    // no type file knows the resource, version or action
	Unknown   Kind = "unknown"    // the type has no such property
	Missing   Kind = "missing"    // a required property is not there
	ReadOnly  Kind = "read-only"  // sent, though only Azure says it
	WriteOnly Kind = "write-only" // answered, though it is a secret
	WrongType Kind = "type"       // a string for a number, and so on
	Value     Kind = "value"      // not one of a closed list
	Unlisted  Kind = "unlisted"   // not one of a list that may grow
	Case      Kind = "case"       // right but for upper and lower case, which Azure mostly forgives
	Range     Kind = "range"      // below the least or above the most
	Length    Kind = "length"     // too short or too long
	Pattern   Kind = "pattern"    // a string that does not match
)

// A Finding is one way in which a body does not keep to its type.
type Finding struct {
	Kind    Kind
	Path    string // a JSON path, from $
	Message string // what is there, and what the type says
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Path, f.Kind, f.Message) }

// Types is what a directory of type files knows.
type Types struct {
	resources map[string]resource
	actions   map[string]action
}

// A resource is a type of resource at one version.
type resource struct {
	ID   ID
	file file
	body ref
}

type action struct {
	file          file
	input, output *ref
}

// An ID names a type of resource at a version, as the files spell it.
type ID struct {
	Type       string // Microsoft.Compute/virtualMachineScaleSets
	APIVersion string
}

// Load reads every .json file of dir. What it does not understand in a file is an
// error: a type that is read half judges half.
func Load(dir string) (*Types, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list type files: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no type files in %s", dir)
	}
	types := &Types{resources: map[string]resource{}, actions: map[string]action{}}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read type file: %w", err)
		}
		f, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("type file %s: %w", name, err)
		}
		types.add(f)
	}
	return types, nil
}

func (t *Types) add(f file) {
	for _, n := range f {
		switch n.Kind {
		case resourceType:
			name, version, _ := strings.Cut(n.Name, "@")
			t.resources[key(name, version, "")] = resource{ID: ID{name, version}, file: f, body: *n.Body}
		case functionType:
			t.actions[key(n.ResourceType, n.APIVersion, n.Name)] = action{file: f, input: n.Input, output: n.Output}
		}
	}
}

func key(resourceType, apiVersion, action string) string {
	return strings.ToLower(resourceType + "@" + apiVersion + "/" + action)
}

// Resources lists the types of resources in order of name and version.
func (t *Types) Resources() []ID {
	var ids []ID
	for _, k := range slices.Sorted(maps.Keys(t.resources)) {
		ids = append(ids, t.resources[k].ID)
	}
	return ids
}

// Nearest is the version at which to judge a type that was asked for at a version: that
// one, or else the next that is known, or else the newest. "" means that the type is not
// known.
func (t *Types) Nearest(resourceType, apiVersion string) string {
	next, newest := "", ""
	for _, r := range t.resources {
		if !strings.EqualFold(r.ID.Type, resourceType) {
			continue
		}
		newest = max(newest, r.ID.APIVersion)
		if r.ID.APIVersion >= apiVersion && (next == "" || r.ID.APIVersion < next) {
			next = r.ID.APIVersion
		}
	}
	return cmp.Or(next, newest)
}

// HasAction says whether the input and output of an action are known.
func (t *Types) HasAction(resourceType, apiVersion, name string) bool {
	_, known := t.actions[key(resourceType, apiVersion, name)]
	return known
}

// Check judges the body of a resource, decoded from JSON (see Decode). A type or
// version that no file knows is a finding.
func (t *Types) Check(resourceType, apiVersion string, body any, mode Mode) []Finding {
	r, known := t.resources[key(resourceType, apiVersion, "")]
	if !known {
		return []Finding{{Untyped, "$", fmt.Sprintf("no type file knows %s at %s", resourceType, apiVersion)}}
	}
	j := judge{file: r.file, mode: mode, top: r.body}
	j.value(r.body, body, "$")
	return j.found
}

// CheckAction judges the body of a POST to a resource, such as runCommand: the input
// as a Request, the output as a Response. No body at all is nil.
func (t *Types) CheckAction(resourceType, apiVersion, name string, body any, mode Mode) []Finding {
	a, known := t.actions[key(resourceType, apiVersion, name)]
	if !known {
		return []Finding{{Untyped, "$", fmt.Sprintf("no type file knows the action %s of %s at %s", name, resourceType, apiVersion)}}
	}
	at := a.input
	if mode == Response {
		at = a.output
	}
	switch {
	case at == nil && body == nil:
		return nil
	case at == nil:
		return []Finding{{Unknown, "$", "the action " + name + " takes no body"}}
	}
	j := judge{file: a.file, mode: mode, top: none}
	j.value(*at, body, "$")
	return j.found
}

// Decode reads one JSON value and keeps its numbers as they were written.
func Decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode JSON: more than one value")
	}
	return v, nil
}
