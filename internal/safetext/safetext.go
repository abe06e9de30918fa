// Package safetext answers: how is text from outside shown without harm?
//
// An event of Azure, the answer of a server, the output of a program may hold
// anything: a megabyte, a line break that begins a forged log line, an escape
// sequence that a terminal obeys, a NUL that ends an environment variable. What
// comes from outside is bounded and made safe here, and nowhere else, before it
// goes into a log, a terminal or an environment. What has to be compared or sent
// back, such as an event's id, is kept as it came and made safe where it is
// shown.
//
// Everything here is a pure function.
package safetext

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds, in bytes.
const (
	MaxWord = 128     // a name, a type, a status
	MaxID   = 512     // an identifier
	MaxText = 1 << 10 // a sentence
	MaxLog  = 4 << 10 // one attribute of a log line
)

// Hidden reports whether a terminal may obey r, or a reader not see it: control
// and format characters, which include the marks that reorder text, and the
// breaks of lines and paragraphs. A space is not hidden.
func Hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Line returns text in one line of at most limit bytes that does nothing to a
// terminal, a log or an environment. Hidden characters and bytes that are no
// UTF-8 are written as escapes, so that different texts look different; text that
// is cut ends in "...".
func Line(text string, limit int) string {
	if len(text) <= limit && !strings.ContainsFunc(text, Hidden) && utf8.ValidString(text) {
		return text
	}
	const mark = "..."
	var b strings.Builder
	whole := 0 // how much fits together with the mark
	for i, r := range text {
		if b.Len() <= limit-len(mark) {
			whole = b.Len()
		}
		if b.Len() > limit {
			break
		}
		switch _, width := utf8.DecodeRuneInString(text[i:]); {
		case r == utf8.RuneError && width == 1:
			b.WriteString(`\x` + hex(uint(text[i]), 2))
		case Hidden(r):
			b.WriteString(Escape(r))
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() <= limit {
		return b.String()
	}
	return b.String()[:whole] + mark[:min(len(mark), max(0, limit))]
}

// Escape writes r in the escapes that JSON knows: \u and four digits, twice for
// a character beyond the first 65,536.
func Escape(r rune) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune{r}) {
		b.WriteString(`\u` + hex(uint(unit), 4))
	}
	return b.String()
}

func hex(n uint, digits int) string {
	const alphabet = "0123456789abcdef"
	out := make([]byte, digits)
	for i := range out {
		out[digits-1-i] = alphabet[n%16]
		n /= 16
	}
	return string(out)
}
