package strict

import (
	"reflect"
	"strconv"
)

// A Field is all that there is to know about one key of a document.
type Field struct {
	// Path is the place of the key: "listen.probe"; [] stands for an item of
	// a list and * for a key that the user chooses.
	Path string
	// Type is the kind of value, in words: "duration", "list of strings".
	Type string
	// Default is the value when the key is left out, as YAML. Empty: none.
	Default string
	// Required keys must be there, and must not be empty, when the map that
	// holds them is.
	Required bool
	// OneOf are the only values allowed, of the key or of each item of its list.
	OneOf []string
	// Min and Max bound a number, a duration, or the length of a list of maps;
	// both are included. Empty: no bound.
	Min, Max string
	// Format is a further condition on a text, in words: one of this package or of
	// the table.
	Format string
	// Example is a value as one might write it, where the default is none.
	Example string
	// Doc is what the key means: sentences in Markdown.
	Doc string
	// Secret says what of the value is not shown.
	Secret Secrecy
	// Like is the path of another map whose keys this one has, none of them required
	// and none with a default. They are not told again in the reference.
	Like string
	// Off says that the word off may stand for the value, to take away what would be
	// inherited. Whoever merges maps sees to it: the decoder does not know the word.
	Off bool
}

// Secrecy says what of a value may be secret, and is replaced when the document is
// printed and left out of errors.
type Secrecy int

// What of a value may be secret.
const (
	Open      Secrecy = iota // nothing
	MapValues                // the values of a map; its keys are shown
	URLLogin                 // user, password and query of a URL
	URLPath                  // all of a URL but scheme and host: webhooks carry their secret in the path
)

// A Table is what a Schema is made of.
type Table struct {
	// Type is the struct that the document is read into. Its fields have the tag
	// yaml with their key.
	Type reflect.Type
	// Fields are the keys in the order in which they are printed, a map ahead of its
	// keys. Their Type is left out: it comes from the Go type.
	Fields []Field
	// Formats are those of the document, beside those of this package, by their
	// words.
	Formats map[string]Format
	// Kinds are the keys of which exactly one must be given, by the path of the map
	// that has them: "checks[]".
	Kinds map[string][]string
	// Days says that durations may be in days: "180d".
	Days bool
	// Variables says that ${NAME} may stand in any value: whoever reads the document
	// puts variables in ahead of the decoder.
	Variables bool
	// TopKey is a key of the document, for the hint to who wrote none.
	TopKey string
}

// Sample returns a value as one might write it.
func (f *Field) Sample() string {
	switch {
	case f.Example != "":
		return f.Example
	case len(f.OneOf) > 0 && f.Default == "":
		return f.OneOf[0]
	default:
		return f.Default
	}
}

// Write returns the key with an example of a value.
func (f *Field) Write() string {
	_, name := split(f.Path)
	return name + ": " + f.Sample()
}

// number returns an example of a number.
func (f *Field) number() string {
	if _, err := strconv.Atoi(f.Sample()); err == nil {
		return f.Sample()
	}
	return f.Min
}

// maxItems is how many items a list of maps may have.
func (f *Field) maxItems() int {
	n, err := strconv.Atoi(f.Max)
	if err != nil {
		panic("strict: no bound for the list " + f.Path)
	}
	return n
}
