// Package strict answers: what does this YAML say, and where does it say something
// else than it may?
//
// A Table says for every key what it means, what it may be and what it is when
// nobody says. Bound to the Go types of a document it is a Schema, from which come
// the reading of files, the defaults, a JSON Schema for editors, the reference
// documentation and the printing of what was read. A reader refuses unknown keys,
// other types, values out of range and whatever YAML's versions disagree on, all at
// once, each with file, line, field and what to write instead.
//
// The package reads what it is given and starts no goroutines. A Schema is not
// changed after New and is for one goroutine at a time.
package strict
