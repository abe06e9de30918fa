package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxValues bounds how many values a file may have once its aliases are written
// out: a few lines of aliases can stand for billions.
const maxValues = 100_000

// Parse returns the root of the only document in a file's data; nil when there is
// nothing but comments. The errors know no file.
func Parse(data []byte) (*yaml.Node, Errors) {
	text, fault := decodeText(data)
	if fault != nil {
		return nil, Errors{fault}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, Errors{syntaxError(err, text)}
	}
	switch err := dec.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, Errors{syntaxError(err, text)}
	default:
		return nil, Errors{{
			Line: next.Line, Column: next.Column, Message: "a second document begins here",
			Hint: "put it in a file of its own, or remove the line ---",
		}}
	}
	root := doc.Content[0]
	if errs := oddScalars(root); len(errs) > 0 {
		return nil, errs
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if err := CheckSize(root); err != nil {
		return nil, Errors{err}
	}
	return root, nil
}

// CheckSize bounds how many values a document stands for. Parse has done it: it is
// for who has put more into a document since.
func CheckSize(root *yaml.Node) *Error {
	if size(root, 0) <= maxValues {
		return nil
	}
	return &Error{
		Line: root.Line, Column: root.Column,
		Message: fmt.Sprintf("has more than %d values, aliases written out", maxValues),
		Hint:    "split it, or use fewer aliases",
	}
}

// size counts the values below n, aliases written out, on top of have. It stops
// counting past maxValues; an alias may even stand for what it is part of.
func size(n *yaml.Node, have int) int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	have++
	for _, child := range n.Content {
		if have > maxValues {
			break
		}
		have = size(child, have)
	}
	return have
}

var (
	// yamlError matches the errors of the YAML library.
	yamlError = Lazily(`^(?:yaml: )?(?:line ([0-9]+): )?((?s).*)$`)
	// parserError matches those whose line the library counts from 0: its
	// parser's, not its scanner's.
	parserError = Lazily(`^(did not find expected (',' or|'-' indicator|key|node content|<)|found (undefined tag|duplicate %|incompatible))`)
	// badAlias matches an alias without its anchor, which comes without a line.
	badAlias = Lazily(`^unknown anchor '(.*)' referenced`)
)

// syntaxError makes an Error of one of the YAML library's, which tell the line in
// several ways, or don't.
func syntaxError(err error, text []byte) *Error {
	m := yamlError().FindStringSubmatch(err.Error())
	problem := m[2]
	e := &Error{Line: 1, Message: "is not YAML: " + Clip(problem)}
	if line, err := strconv.Atoi(m[1]); err == nil {
		e.Line = line
		if parserError().MatchString(problem) {
			e.Line++
		}
	}
	// What ends too soon is found past the last line.
	e.Line = min(e.Line, max(1, bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n"))+1))
	switch alias := badAlias().FindStringSubmatch(problem); {
	case alias != nil:
		e.Line = lineOf(text, bytes.Index(text, []byte("*"+alias[1])))
		e.Hint = "define it before it is used, or put text that begins with * in quotes"
	case oddAt(text, e.Line) != "":
		e.Hint = "this line has a " + oddAt(text, e.Line) + ": write an ordinary space or none"
	case tabAt(text, e.Line):
		e.Hint = "indent with spaces, not tabs"
	case strings.Contains(problem, "mapping values are not allowed"):
		e.Hint = "check the indentation, and put text that has a colon in quotes"
	case strings.Contains(problem, "did not find expected"), strings.Contains(problem, "could not find expected"), strings.Contains(problem, "end of stream"):
		e.Hint = "check indentation, brackets and quotes around this line"
	}
	return e
}

// lineOf returns the line of the byte at an index, 1 when there is none.
func lineOf(text []byte, index int) int {
	return 1 + bytes.Count(text[:max(0, index)], []byte("\n"))
}

func tabAt(text []byte, line int) bool { return strings.Contains(lineAt(text, line), "\t") }

// oddAt names the first odd character of a line.
func oddAt(text []byte, line int) string {
	name, _ := oddIn(lineAt(text, line))
	return name
}

func lineAt(text []byte, line int) string {
	lines := bytes.SplitAfterN(text, []byte("\n"), line+1)
	if line > len(lines) {
		return ""
	}
	return string(lines[line-1])
}
