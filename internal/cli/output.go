package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// defaultColumns is the width of text for a reader whose width is unknown.
const defaultColumns = 80

// Output is where a command writes: data to Out, talk to Err.
type Output struct {
	Out, Err io.Writer
	// Style is what Out's reader can show, ErrStyle what Err's can.
	Style, ErrStyle Style

	terminal *os.File // nil: Out is not one
	columns  int      // from the environment; 0: not set
}

// OutputConfig describes an Output.
type OutputConfig struct {
	Out, Err io.Writer
	// Getenv looks up NO_COLOR, TERM, COLUMNS and the locale.
	Getenv  func(string) string
	NoColor bool // the user said so
}

// NewOutput finds out what the two streams can show.
func NewOutput(c OutputConfig) *Output {
	o := &Output{Out: c.Out, Err: c.Err}
	unicode := utf8Locale(c.Getenv)
	color := !c.NoColor && c.Getenv("NO_COLOR") == "" && c.Getenv("TERM") != "dumb"
	o.Style = Style{Color: color && isTerminal(c.Out), Unicode: unicode}
	o.ErrStyle = Style{Color: color && isTerminal(c.Err), Unicode: unicode}
	if isTerminal(c.Out) && c.Getenv("TERM") != "dumb" {
		o.terminal, _ = c.Out.(*os.File)
	}
	if n, err := strconv.Atoi(c.Getenv("COLUMNS")); err == nil && n > 0 {
		o.columns = n
	}
	return o
}

// Terminal reports whether Out is a terminal on which the cursor can be moved.
func (o *Output) Terminal() bool { return o.terminal != nil }

// Size returns the size of Out in characters. It is asked anew each time, since
// windows change; rows is 0 when Out is not a terminal.
func (o *Output) Size() (columns, rows int) {
	if o.terminal != nil {
		if columns, rows, err := term.GetSize(int(o.terminal.Fd())); err == nil && columns > 0 {
			return columns, rows
		}
	}
	if o.columns > 0 {
		return o.columns, 0
	}
	return defaultColumns, 0
}

// Say writes a line of talk to Err.
func (o *Output) Say(format string, args ...any) { say(o.Err, format, args...) }

// say writes a line of talk. When that fails there is nobody to tell.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

// JSON writes v to Out, indented for people.
func (o *Output) JSON(v any) error { return o.encode(v, "  ") }

// JSONLine writes v to Out in one line, for a stream of documents.
func (o *Output) JSONLine(v any) error { return o.encode(v, "") }

func (o *Output) encode(v any, indent string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	if err == nil {
		_, err = io.WriteString(o.Out, escapeHidden(text.String()))
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// escapeHidden writes control and format characters of JSON as escapes: encoding/json
// leaves those above ASCII as they are, and a terminal may obey them.
func escapeHidden(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r >= 0x7f && safetext.Hidden(r) {
			b.WriteString(safetext.Escape(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// utf8Locale follows the C library: the first of the three that is set counts.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}
