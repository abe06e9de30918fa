package strict

import (
	"fmt"
	"strconv"
	"strings"
)

// An Error is one fault of a configuration and where it is. It never holds the
// value of a header, of an environment variable, or of a webhook's URL.
type Error struct {
	File         string // as it was opened; empty for a fault of the defaults
	Line, Column int    // from 1; 0 when the fault is that of the whole file
	Field        string // the path of the field in its file, "checks[1].interval"; empty for the whole file
	Message      string // what is wrong
	Hint         string // what to write or to run instead; may be empty
}

// Error returns "file:line:column: field: message; hint" without the parts that
// are empty.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
			if e.Column > 0 {
				b.WriteString(":" + strconv.Itoa(e.Column))
			}
		}
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors is every fault of a configuration, sorted by file, line and column. The
// files are in the order in which they apply.
type Errors []*Error

// maxShown is how many errors are worth printing: nobody reads on.
const maxShown = 100

// Error returns one line for each fault, and says how many more there are when
// there are very many.
func (es Errors) Error() string {
	lines := make([]string, 0, min(len(es), maxShown)+1)
	for i, e := range es {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(es)-i))
			break
		}
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults, for errors.As.
func (es Errors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}
