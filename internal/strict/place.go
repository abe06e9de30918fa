package strict

import (
	"fmt"
	"strconv"
	"strings"
)

// A Place is where a value was written.
type Place struct {
	File         string // empty for a default
	Line, Column int
	Field        string // its path in that file
}

// String says where the place is, for the middle of a sentence.
func (p Place) String() string {
	if p.File == "" {
		return "in the defaults"
	}
	return fmt.Sprintf("at %s:%d:%d", p.File, p.Line, p.Column)
}

// Origins is where values were written, by their path in the whole document; there
// is none for a default.
type Origins map[string]Place

// Given says whether the value at path was written.
func (o Origins) Given(path string) bool {
	_, ok := o[path]
	return ok
}

// At returns where the value at path was written or, when it was not, where the map
// was that would hold it.
func (o Origins) At(path string) Place {
	for outer := path; outer != ""; outer = outer[:max(0, strings.LastIndexAny(outer, ".["))] {
		if p, ok := o[outer]; ok {
			p.Field += path[len(outer):]
			return p
		}
	}
	return Place{Field: path}
}

// Fault makes an Error of what is wrong with the value at path.
func (o Origins) Fault(path, hint, format string, args ...any) *Error {
	p := o.At(path)
	return &Error{
		File: p.File, Line: p.Line, Column: p.Column,
		Field: p.Field, Message: fmt.Sprintf(format, args...), Hint: hint,
	}
}

// where is a place in the tree of values.
type where struct {
	key   string // the row of the field table: "checks[].interval"
	path  string // in the whole document: "checks[3].interval"
	shown string // in the file that is being read: "checks[1].interval"
}

func (w where) field(name string) where {
	return where{join(w.key, name), join(w.path, name), join(w.shown, name)}
}

// entry is the value under a key that the user chose.
func (w where) entry(name string) where {
	return where{w.key + ".*", w.path + "." + name, w.shown + "." + name}
}

// item is the item of a list that is number i of the document and number shown of
// the file.
func (w where) item(i, shown int) where {
	return where{w.key + "[]", w.path + "[" + strconv.Itoa(i) + "]", w.shown + "[" + strconv.Itoa(shown) + "]"}
}

// split cuts a path into that of the map that holds the key and the key. The map
// of "checks[].name" is "checks[]".
func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// join is the inverse of split.
func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}
