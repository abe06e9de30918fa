package cli

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// Clean returns text in one line that does nothing to a terminal: line breaks
// and control characters become spaces, runs of which become one.
func Clean(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || safetext.Hidden(r) || r == utf8.RuneError
	}), " ")
}

// Cut shortens text to at most width characters, the last of which then says
// that something is missing.
func Cut(text string, width int, s Style) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	mark := s.Glyph("…", "...")
	keep := width - utf8.RuneCountInString(mark)
	if keep < 0 {
		keep, mark = max(width, 0), ""
	}
	return string([]rune(text)[:keep]) + mark
}

// Wrap breaks text between words into at most maxLines lines of at most width
// characters; what doesn't fit is cut.
func Wrap(text string, width, maxLines int, s Style) []string {
	var lines []string
	rest := strings.Fields(text)
	for len(rest) > 0 {
		if len(lines) == maxLines-1 {
			return append(lines, Cut(strings.Join(rest, " "), width, s))
		}
		line := rest[0]
		rest = rest[1:]
		for len(rest) > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(rest[0]) <= width {
			line += " " + rest[0]
			rest = rest[1:]
		}
		// A word longer than a line is broken, not cut: it may be an
		// address that somebody wants to copy.
		if utf8.RuneCountInString(line) > width && width > 0 {
			runes := []rune(line)
			line = string(runes[:width])
			rest = append([]string{string(runes[width:])}, rest...)
		}
		lines = append(lines, line)
	}
	return lines
}

// Plural returns "1 check" or "3 checks".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
