package strict

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// byteOrderMark is what some editors put ahead of UTF-8.
const byteOrderMark = "\ufeff"

// decodeText returns the text of a file without its byte order mark. What is not
// UTF-8, and control characters, which no editor shows, are named with their
// place.
func decodeText(data []byte) ([]byte, *Error) {
	if encoding := otherUnicode(data); encoding != "" {
		return nil, &Error{
			Message: "is " + encoding + ", not UTF-8",
			Hint:    "save it as UTF-8: iconv -f " + encoding + " -t UTF-8",
		}
	}
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	line, column := 1, 1
	for rest := data; len(rest) > 0; column++ {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, &Error{
				Line: line, Column: column, Message: fmt.Sprintf("the byte 0x%02X is not UTF-8", rest[0]),
				Hint: "save the file as UTF-8",
			}
		case r == '\n':
			line, column = line+1, 0
		case unicode.IsControl(r) && r != '\t' && r != '\r' && r != '\u0085':
			return nil, &Error{
				Line: line, Column: column, Message: fmt.Sprintf("has a control character (U+%04X)", r),
				Hint: `remove it, or write it in double quotes as "\x` + fmt.Sprintf("%02x", r) + `"`,
			}
		}
		rest = rest[size:]
	}
	return data, nil
}

// otherUnicode names the encoding of a text that is Unicode, but not UTF-8. In
// UTF-16, every other byte of what a configuration begins with is zero.
func otherUnicode(data []byte) string {
	mark := func(s string) bool { return bytes.HasPrefix(data, []byte(s)) }
	switch {
	case mark("\xff\xfe\x00\x00"):
		return "UTF-32LE"
	case mark("\x00\x00\xfe\xff"):
		return "UTF-32BE"
	case mark("\xff\xfe"), len(data) > 1 && data[0] != 0 && data[1] == 0:
		return "UTF-16LE"
	case mark("\xfe\xff"), len(data) > 1 && data[0] == 0 && data[1] != 0:
		return "UTF-16BE"
	default:
		return ""
	}
}

// oddCharacters are those that look like others or like nothing, and that come
// with text that was copied from a web page or a word processor.
var oddCharacters = map[rune]string{
	'\u00a0': "no-break space",
	'\u00ad': "soft hyphen",
	'\u2007': "figure space",
	'\u2009': "thin space",
	'\u200b': "zero width space",
	'\u200c': "zero width non-joiner",
	'\u200d': "zero width joiner",
	'\u202f': "narrow no-break space",
	'\u2060': "word joiner",
	'\u3000': "ideographic space",
	'\ufeff': "byte order mark",
}

// oddIn finds the first odd character of a text: its name, and where it is, in
// characters from 0. The name is empty when there is none.
func oddIn(s string) (name string, at int) {
	for _, r := range s {
		if name, odd := oddCharacters[r]; odd {
			return fmt.Sprintf("%s (U+%04X)", name, r), at
		}
		at++
	}
	return "", 0
}

// oddScalars names the odd characters of keys and values without quotes, where
// nobody sees them. In quotes they may be meant. Aliases are not followed: what
// they stand for is looked at where it is.
func oddScalars(n *yaml.Node) Errors {
	const quotes = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	var errs Errors
	if n.Kind == yaml.ScalarNode && n.Style&quotes == 0 {
		if name, at := oddIn(n.Value); name != "" {
			errs = append(errs, &Error{
				Line: n.Line, Column: n.Column + at, Message: "has a " + name,
				Hint: "write an ordinary space or none, or put the text in quotes",
			})
		} else if strings.HasPrefix(n.Value, "“") || strings.HasPrefix(n.Value, "‘") {
			errs = append(errs, &Error{
				Line: n.Line, Column: n.Column, Message: "begins with a typographic quote, which is not one in YAML",
				Hint: `write " or '`,
			})
		}
	}
	for _, child := range n.Content {
		errs = append(errs, oddScalars(child)...)
	}
	return errs
}
