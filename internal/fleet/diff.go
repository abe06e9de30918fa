package fleet

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// An Action is what has to happen to a resource so that it is as it is wanted.
type Action string

// The actions. Refused means that nothing can make it so; unknown, that it is not for
// this program or this caller to do, as the note says.
const (
	ActionCreate  Action = "create"
	ActionUpdate  Action = "update"
	ActionNone    Action = "none"
	ActionRefused Action = "refused"
	ActionUnknown Action = "unknown"
)

// A Change is what has to happen to one resource.
type Change struct {
	Action     Action
	Kind, Name string
	ID         ResourceID
	Absent     bool       // the resource is not there, or is being deleted
	Scope      ResourceID // where the caller needs the right; empty: see Desired
	Properties []PropertyChange
	Stays      []PropertyChange // what differs, and is left: see Desired.Stays
	Note       string
	Write      *Write // of a create or an update that can be sent; nil: not yet, or none
	// Commands do it, for whoever may.
	Commands []string
}

// A PropertyChange is a property that is not as it is wanted. What is not there is nil.
type PropertyChange struct {
	Path string `json:"path"`
	Is   any    `json:"is"`
	Want any    `json:"want"`
	Note string `json:"note,omitempty"`
	// Category is why it differs, where a plan says so.
	Category Category `json:"category,omitempty"`
}

// A Category is why a property is not as the file says, and what becomes of it.
type Category string

// The categories. The first three are written; the others are told.
const (
	DiffAdded         Category = "added"          // it is not there
	DiffChanged       Category = "changed"        // the file says something else than before
	DiffDrifted       Category = "drifted"        // somebody else changed it
	DiffImmutable     Category = "immutable"      // nothing can change it
	DiffCreateOnly    Category = "create-only"    // the file says it for a new one alone
	DiffNotComparable Category = "not-comparable" // Azure does not show it
	DiffUnmanaged     Category = "unmanaged"      // the file does not say it
)

// Diff says what has to happen to a resource. It compares what is declared with what
// was read, property by property, and nothing else: what others have set stays.
func Diff(d *Desired, seen Seen) Change {
	c := Change{Kind: d.Kind, Name: d.label(), ID: d.ID, Absent: seen.Body == nil, Scope: d.Scope, Action: ActionNone}
	switch {
	case c.Absent && d.Met != "":
		c.Note = d.Met
		return c
	case c.Absent && d.Observed != "":
		c.Action, c.Note, c.Commands = ActionUnknown, "not there, and not ours to make: "+d.Observed, d.Commands
		return c
	case d.Observed != "":
		c.Note = "not ours: " + d.Observed
		return c
	case c.Absent:
		c.Action, c.Note = ActionCreate, d.Pending
		if d.Pending == "" {
			c.Write = &Write{Method: http.MethodPut, ID: d.ID, Body: d.Body, IfNew: true}
		}
		return c
	case seen.state() == "Deleting":
		c.Action, c.Absent, c.Note = ActionUnknown, true, "it is being deleted"
		return c
	}
	c.compare(d, seen)
	return c
}

// compare looks at a resource that is there and ours.
func (c *Change) compare(d *Desired, seen Seen) {
	found := comparison{desired: d}
	patch, _ := found.object("", seen.Body, d.Body).(Document)
	c.Properties, c.Stays = found.changes, found.stays
	var stays []string
	for _, p := range found.stays {
		stays = append(stays, fmt.Sprintf("%s stays %v (the file: %v)", p.Path, p.Is, p.Want))
	}
	c.Note = strings.Join(stays, "; ")
	if state, busy := seen.Busy(); busy {
		c.Note = strings.Trim(c.Note+"; it is "+strings.ToLower(state)+" now", "; ")
	}
	if slices.ContainsFunc(c.Properties, func(p PropertyChange) bool { return p.Note != "" }) {
		c.Action = ActionRefused
		return
	}
	w := &Write{Method: http.MethodPatch, ID: d.ID, Body: patch, IfMatch: seen.ETag}
	if seen.state() == stateFailed {
		c.Properties = append(c.Properties, PropertyChange{Path: "properties.provisioningState", Is: stateFailed, Want: "Succeeded", Note: "the last write failed"})
		w.Method, w.Body = http.MethodPut, d.Body
	}
	if d.Whole {
		w.Method, w.Body = http.MethodPut, d.Body
	}
	if len(c.Properties) > 0 {
		c.Action, c.Write = ActionUpdate, w
	}
}

// fixedBy returns what a change of a property would take, or "" when it can be changed.
func fixedBy(fixed map[string]string, path string) string {
	for prefix, takes := range fixed {
		if path == prefix || strings.HasPrefix(path, prefix+".") || strings.HasPrefix(path, prefix+"[") {
			return takes
		}
	}
	return ""
}

// A comparison finds the properties that differ. Each of its methods returns what a
// PATCH has to say of its part, or nil when the part is right.
type comparison struct {
	desired *Desired
	changes []PropertyChange
	stays   []PropertyChange
}

// differs notes that a property is not as it is wanted.
func (c *comparison) differs(path string, is, want any) any {
	p := PropertyChange{Path: path, Is: is, Want: want}
	if slices.Contains(c.desired.Stays, path) {
		c.stays = append(c.stays, p)
		return nil
	}
	if takes := fixedBy(c.desired.Fixed, path); takes != "" {
		if sameFolded(is, want) {
			return nil // a name in other letters is no reason for a new one
		}
		p.Note = "cannot be changed: it takes " + takes
	}
	c.changes = append(c.changes, p)
	return want
}

func (c *comparison) value(path string, is, want any) any {
	if is == nil {
		is = c.desired.Usual[path]
	}
	switch want := want.(type) {
	case Document:
		return c.object(path, is, want)
	case []any:
		if named(want) {
			return c.members(path, is, want)
		}
		return c.list(path, is, want)
	default:
		if sameScalar(path, is, want) {
			return nil
		}
		return c.differs(path, is, want)
	}
}

func (c *comparison) object(path string, is any, want Document) any {
	patch := Document{}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if part := c.value(pathTo(path, key), dig(is, key), want[key]); part != nil {
			patch[key] = part
		}
	}
	if len(patch) == 0 {
		return nil
	}
	if path == "tags" { // a PATCH takes the place of all tags
		if there, ok := is.(Document); ok {
			patch = maps.Clone(there)
			maps.DeleteFunc(patch, func(name string, _ any) bool { return lookUp(want, name) != nil }) // in whatever letters
			maps.Copy(patch, want)
		}
	}
	return patch
}

// members compares lists whose elements have names. Elements that are not declared
// stay; a PATCH has to name them all.
func (c *comparison) members(path string, is any, want []any) any {
	there, _ := is.([]any)
	all, changed := slices.Clone(there), false
	for _, w := range want {
		name := textAt(w, "name")
		i := slices.IndexFunc(all, func(e any) bool { return strings.EqualFold(NormalLocation(textAt(e, "name")), NormalLocation(name)) })
		if i < 0 {
			c.differs(path+"["+name+"]", nil, w)
			all, changed = append(all, w), true
			continue
		}
		element, _ := w.(Document)
		declared := maps.Clone(element)
		delete(declared, "name") // which is the same, in whatever letters
		part, _ := c.object(path+"["+name+"]", all[i], declared).(Document)
		if part != nil {
			all[i], changed = overlaid(all[i], part), true
		}
	}
	if !changed {
		return nil
	}
	return all
}

// list compares lists as a whole: of plain values as sets, of others one by one. A PATCH
// gives the whole list; what is not declared of its elements stays.
func (c *comparison) list(path string, is any, want []any) any {
	there, _ := is.([]any)
	if len(want) > 0 {
		if _, objects := want[0].(Document); objects && len(there) == len(want) {
			all, changed := slices.Clone(there), false
			for i := range want {
				if part, ok := c.value(fmt.Sprintf("%s[%d]", path, i), there[i], want[i]).(Document); ok {
					all[i], changed = overlaid(there[i], part), true
				}
			}
			if !changed {
				return nil
			}
			return all
		}
	}
	same := func(is, want any) bool { // plain or not, and without a note of what differs
		apart := comparison{desired: &Desired{}}
		return apart.value(path, is, want) == nil
	}
	missing := func(w any) bool { return !slices.ContainsFunc(there, func(is any) bool { return same(is, w) }) }
	more := func(is any) bool { return !slices.ContainsFunc(want, func(w any) bool { return same(is, w) }) }
	if !slices.ContainsFunc(want, missing) && !slices.ContainsFunc(there, more) {
		return nil
	}
	if objects := func(v any) bool { _, object := v.(Document); return object }; slices.ContainsFunc(there, objects) && len(want) != len(there) {
		for i, v := range there { // by themselves: both lists whole hide what goes and comes
			if more(v) {
				c.differs(fmt.Sprintf("%s[%d]", path, i), v, nil)
			}
		}
		for i, w := range want {
			if missing(w) {
				c.differs(fmt.Sprintf("%s[%d]", path, i), nil, w)
			}
		}
		return want
	}
	return c.differs(path, is, want)
}

// overlaid is a part as it was read, with a PATCH over it.
func overlaid(is any, patch Document) Document {
	there, _ := is.(Document)
	merged := maps.Clone(there)
	if merged == nil {
		merged = Document{}
	}
	for key, value := range patch {
		if inner, ok := value.(Document); ok {
			value = overlaid(merged[key], inner)
		}
		merged[key] = value
	}
	return merged
}

// named says whether all elements of a list are objects with names.
func named(list []any) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool { return textAt(v, "name") == "" })
}

func pathTo(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// sameScalar compares plain values as Azure does: regions in both ways of writing,
// durations by their length, ids, types and actions without regard to case, everything
// else to the letter, and tags always.
func sameScalar(path string, is, want any) bool {
	a, isText := is.(string)
	b, wantText := want.(string)
	if isText && wantText {
		switch {
		case a == b:
			return true
		case strings.HasPrefix(path, "tags."):
			return false
		case path == "location" || strings.HasSuffix(path, ".location"):
			return NormalLocation(a) == NormalLocation(b)
		case strings.HasPrefix(a, "/") || strings.HasPrefix(strings.ToLower(a), "microsoft."):
			return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
		}
		x, isDuration := parseISO(a)
		y, wantDuration := parseISO(b)
		return isDuration && wantDuration && x == y
	}
	m, isNumber := integer(is)
	n, wantNumber := integer(want)
	if isNumber && wantNumber {
		return m == n
	}
	switch is.(type) {
	case nil, bool, float64:
		return is == want
	}
	return false
}

// sameFolded is equality without regard to case.
func sameFolded(is, want any) bool {
	a, isText := is.(string)
	b, wantText := want.(string)
	return isText && wantText && strings.EqualFold(a, b)
}
