package fleetfile

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// maxVariable bounds what a variable may bring in, in bytes.
const maxVariable = 8 << 10

// A place in the text of the file.
type position struct{ line, column int }

// interpolation puts variables of the environment into the values of a document.
// What they hold is text: it never becomes a key, a list or a map.
type interpolation struct {
	getenv func(string) (string, bool)
	errs   strict.Errors
	// written is what stands in the file where a variable was put in, by place, and
	// became what came of it. Errors tell the first: the second may be a secret.
	written, became map[position]string
}

// In a map or list of one line, YAML takes the braces of ${NAME} for its own. So they
// are replaced ahead of the parser, by characters that stand for nothing and take as
// much room, and put back into what was parsed.
const openBrace, closeBrace = '\uE000', '\uE001'

var variableRE = strict.Lazily(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// shield hides the braces of variables from YAML.
func shield(text []byte) ([]byte, *strict.Error) {
	if i := bytes.IndexFunc(text, func(r rune) bool { return r == openBrace || r == closeBrace }); i >= 0 {
		return nil, &strict.Error{
			Line: 1 + bytes.Count(text[:i], []byte("\n")), Message: "has a character of private use (U+E000 or U+E001)", Hint: "remove it",
		}
	}
	return variableRE().ReplaceAll(text, []byte("$$"+string(openBrace)+"$1"+string(closeBrace))), nil
}

// unshield puts the braces back.
func unshield(n *yaml.Node) {
	n.Value = strings.Map(func(r rune) rune {
		switch r {
		case openBrace:
			return '{'
		case closeBrace:
			return '}'
		default:
			return r
		}
	}, n.Value)
	for _, child := range n.Content {
		unshield(child)
	}
}

// values puts variables into every value below n, which is at path. Aliases are not
// followed: what they stand for is looked at where it is.
func (in *interpolation) values(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.ScalarNode:
		in.scalar(n, path)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			in.values(n.Content[i+1], below(path, n.Content[i].Value))
		}
	case yaml.SequenceNode:
		for i, value := range n.Content {
			in.values(value, item(path, i))
		}
	default:
	}
}

func (in *interpolation) scalar(n *yaml.Node, path string) {
	if !strings.Contains(n.Value, "${") {
		return
	}
	at := position{n.Line, n.Column}
	value, variables, err := expand(n.Value, in.getenv)
	if err != nil {
		err.Line, err.Column, err.Field = n.Line, n.Column, path
		in.errs = append(in.errs, err)
		return
	}
	if variables {
		in.written[at], in.became[at] = n.Value, value
	}
	n.Value = value
	if !quoted(n) && value != "" {
		n.Tag = ""
		n.Tag = n.ShortTag() // 3 is a number, wherever it comes from
	}
}

// quoted says whether a scalar was written as text, or with a tag.
func quoted(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0
}

// hide puts what is written in the file in place of what variables brought in.
func (in *interpolation) hide(e *strict.Error) {
	at := position{e.Line, e.Column}
	written, ok := in.written[at]
	if !ok {
		return
	}
	value := strict.Clip(in.became[at])
	written = strict.Clip(written)
	for _, s := range []*string{&e.Message, &e.Hint} {
		*s = strings.ReplaceAll(*s, strconv.Quote(value), strconv.Quote(written))
		*s = strings.ReplaceAll(*s, "["+value+"]", "["+written+"]")
		if rest, ok := strings.CutPrefix(*s, value+" "); ok {
			*s = written + " " + rest
		}
	}
	const telling = 3 // bytes: less is no secret, and is part of many a word
	if len(value) >= telling && strings.Contains(e.Hint, value) {
		e.Hint = "change what the variable holds"
	}
}

// expand puts variables into a text, and says whether there were any.
func expand(text string, getenv func(string) (string, bool)) (value string, variables bool, fault *strict.Error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), variables, nil
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			text = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !isVariable(name) {
			return "", false, &strict.Error{
				Message: strconv.Quote(strict.Clip("${"+rest)) + " is not a variable",
				Hint:    "write ${NAME}, or $${ for the two characters",
			}
		}
		v, set := getenv(name)
		if !set {
			return "", false, &strict.Error{
				Message: "the variable " + name + " is not set",
				Hint:    "run: export " + name + "=…, or write $${ for the two characters",
			}
		}
		if fault := checkVariable(name, v); fault != nil {
			return "", false, fault
		}
		b.WriteString(before + v)
		text, variables = after, true
	}
}

func isVariable(name string) bool {
	for i, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// checkVariable refuses what a file may not hold either.
func checkVariable(name, value string) *strict.Error {
	if len(value) > maxVariable {
		return &strict.Error{Message: fmt.Sprintf("the variable %s has more than %d bytes", name, maxVariable), Hint: "shorten it"}
	}
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return &strict.Error{
			Message: "the variable " + name + " has a line break, a control character, or what is not UTF-8",
			Hint:    "set it to one line of text",
		}
	}
	return nil
}
