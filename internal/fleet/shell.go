package fleet

import "strings"

// A quote says how a part of a word was quoted.
type quote byte

const (
	bare   quote = iota
	single       // 'literal'
	double       // "with expansions"
)

type wordPart struct {
	text  string
	quote quote
}

// A shellWord is a word of a command, with its quoting.
type shellWord []wordPart

// text is the word without its quotes.
func (w shellWord) text() string {
	var b strings.Builder
	for _, p := range w {
		b.WriteString(p.text)
	}
	return b.String()
}

// A shellCommand is a simple command: words up to a separator.
type shellCommand struct {
	line  int // from 1
	words []shellWord
	depth int    // of command substitutions
	next  string // "&&" or "||" ahead of the next command; else ""
}

// maxNesting bounds command substitutions within each other that are looked into.
const maxNesting = 8

// shellCommands splits a POSIX shell script into simple commands, those in command
// substitutions included. It knows quotes, escapes, comments, continued lines and
// here-documents, and no grammar above that: a keyword is a word. An open quote ends
// with the script.
func shellCommands(script string) []shellCommand {
	l := &shellLexer{src: script, line: 1}
	l.commands(0)
	return l.found
}

type shellLexer struct {
	src     string
	pos     int
	line    int
	word    []openPart
	inWord  bool // an empty pair of quotes is a word, too
	current shellCommand
	found   []shellCommand
	depth   int       // of the command that is being read
	heredoc []hereDoc // begun on this line
}

// An openPart is a part of a word that is being read.
type openPart struct {
	text  []byte
	quote quote
}

type hereDoc struct {
	end  string
	tabs bool // <<-: leading tabs do not count
}

// commands reads up to the end, or in a substitution up to its parenthesis.
func (l *shellLexer) commands(depth int) {
	l.depth = depth
	open := 0 // parentheses of this level
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		switch {
		case c == '\\':
			l.escape()
		case c == '\'':
			l.singleQuoted()
		case c == '"':
			l.doubleQuoted(depth)
		case strings.HasPrefix(l.src[l.pos:], "$("):
			l.substitution(depth)
		case c == '#' && !l.inWord:
			l.skipLine()
		case c == ')' && open == 0 && depth > 0:
			l.endCommand()
			return
		case c == '\n':
			l.endCommand()
			l.newline()
			l.skipHereDocs()
		case strings.HasPrefix(l.src[l.pos:], "<<<"):
			l.endWord() // a word of bash's, and no here-document
			l.pos += len("<<<")
		case strings.HasPrefix(l.src[l.pos:], "<<"):
			l.beginHereDoc()
		case strings.HasPrefix(l.src[l.pos:], "&&"), strings.HasPrefix(l.src[l.pos:], "||"):
			l.endWord()
			l.current.next = l.src[l.pos : l.pos+2]
			l.endCommand()
			l.pos += 2
		case strings.IndexByte(";&|(){}", c) >= 0:
			// A brace within a word is a part of it: ${NAME}, {a,b}.
			if (c == '{' || c == '}') && l.inWord {
				l.add(l.src[l.pos:l.pos+1], bare)
				l.pos++
				continue
			}
			switch c {
			case '(':
				open++
			case ')':
				open = max(0, open-1)
			}
			l.endCommand()
			l.pos++
		case c == ' ' || c == '\t' || c == '\r':
			l.endWord()
			l.pos++
		default:
			l.add(l.src[l.pos:l.pos+1], bare)
			l.pos++
		}
	}
	l.endCommand()
}

// add appends to the word, and to its last part if that is quoted alike.
func (l *shellLexer) add(text string, q quote) {
	if len(l.current.words) == 0 && !l.inWord {
		l.current.line = l.line
	}
	l.inWord = true
	if n := len(l.word); n > 0 && l.word[n-1].quote == q {
		l.word[n-1].text = append(l.word[n-1].text, text...)
		return
	}
	l.word = append(l.word, openPart{[]byte(text), q})
}

func (l *shellLexer) endWord() {
	if l.inWord {
		word := make(shellWord, len(l.word))
		for i, p := range l.word {
			word[i] = wordPart{string(p.text), p.quote}
		}
		l.current.words = append(l.current.words, word)
	}
	l.word, l.inWord = nil, false
}

func (l *shellLexer) endCommand() {
	l.endWord()
	if len(l.current.words) > 0 {
		l.current.depth = l.depth
		l.found = append(l.found, l.current)
	}
	l.current = shellCommand{}
}

func (l *shellLexer) newline() {
	l.pos++
	l.line++
}

// escape takes a backslash with what it escapes; before a line break both are
// nothing.
func (l *shellLexer) escape() {
	l.pos++
	switch {
	case l.pos >= len(l.src):
	case l.src[l.pos] == '\n':
		l.newline()
	default:
		l.add(l.src[l.pos:l.pos+1], double) // it stands for itself, and somebody meant that
		l.pos++
	}
}

func (l *shellLexer) singleQuoted() {
	l.pos++
	text, _, _ := strings.Cut(l.src[l.pos:], "'")
	l.add(text, single)
	l.line += strings.Count(text, "\n")
	l.pos = min(l.pos+len(text)+1, len(l.src))
}

func (l *shellLexer) doubleQuoted(depth int) {
	l.pos++
	l.add("", double)
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == '"':
			l.pos++
			return
		case c == '\\' && l.pos+1 < len(l.src):
			l.add(l.src[l.pos+1:l.pos+2], double)
			if l.src[l.pos+1] == '\n' {
				l.line++
			}
			l.pos += 2
		case strings.HasPrefix(l.src[l.pos:], "$("):
			l.substitution(depth)
		default:
			if c == '\n' {
				l.line++
			}
			l.add(l.src[l.pos:l.pos+1], double)
			l.pos++
		}
	}
}

// substitution reads the commands of $(…) and leaves nothing of it in the word.
// Beyond maxNesting the parenthesis is a character.
func (l *shellLexer) substitution(depth int) {
	if depth >= maxNesting {
		l.add("$(", double)
		l.pos += len("$(")
		return
	}
	l.add("", double)
	word, current, outer := l.word, l.current, l.depth
	l.word, l.inWord, l.current = nil, false, shellCommand{}
	l.pos += len("$(")
	l.commands(depth + 1)
	if l.pos < len(l.src) {
		l.pos++ // the parenthesis
	}
	l.word, l.inWord, l.current, l.depth = word, true, current, outer
}

func (l *shellLexer) skipLine() {
	for l.pos < len(l.src) && l.src[l.pos] != '\n' {
		l.pos++
	}
}

// beginHereDoc reads the word that ends a here-document.
func (l *shellLexer) beginHereDoc() {
	l.endWord()
	l.pos += len("<<")
	doc := hereDoc{}
	if l.pos < len(l.src) && l.src[l.pos] == '-' {
		doc.tabs = true
		l.pos++
	}
	for l.pos < len(l.src) && (l.src[l.pos] == ' ' || l.src[l.pos] == '\t') {
		l.pos++
	}
	start := l.pos
	for l.pos < len(l.src) && strings.IndexByte(" \t\r\n;&|()<>", l.src[l.pos]) < 0 {
		l.pos++
	}
	doc.end = strings.NewReplacer("'", "", `"`, "", `\`, "").Replace(l.src[start:l.pos])
	if doc.end != "" {
		l.heredoc = append(l.heredoc, doc)
	}
}

// skipHereDocs skips the bodies of the here-documents that the line before began.
func (l *shellLexer) skipHereDocs() {
	for _, doc := range l.heredoc {
		for l.pos < len(l.src) {
			line, _, more := strings.Cut(l.src[l.pos:], "\n")
			l.pos += len(line)
			if more {
				l.newline()
			}
			if doc.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == doc.end {
				break
			}
		}
	}
	l.heredoc = nil
}

// shellPrefixes are words before the name of a command.
var shellPrefixes = map[string]bool{
	"sudo": true, "if": true, "then": true, "else": true, "elif": true, "do": true, "while": true, "until": true,
	"!": true, "time": true, "command": true, "builtin": true, "exec": true, "env": true,
}

// run returns the command's name and what follows it, without what stands before:
// keywords, sudo, assignments.
func (c *shellCommand) run() (name string, args []shellWord) {
	for i, w := range c.words {
		text := w.text()
		assignment := w[0].quote == bare && strings.Contains(w[0].text, "=")
		if !shellPrefixes[text] && !assignment {
			return text, c.words[i+1:]
		}
	}
	return "", nil
}

// pipefailLine returns the line on which the script itself sets pipefail, or 0. What
// another shell is given as text is that shell's business.
func pipefailLine(script string) int {
	for _, c := range shellCommands(script) {
		name, args := c.run()
		if name != "set" {
			continue
		}
		for i := range len(args) - 1 {
			option := args[i].text()
			if strings.HasPrefix(option, "-") && strings.HasSuffix(option, "o") && args[i+1].text() == "pipefail" {
				return c.line
			}
		}
	}
	return 0
}

// quotedSubstitution returns the line on which $(…) stands in single quotes of an
// echo or printf, which write it as it is, and the text in those quotes. Of other
// commands, awk or sh -c, it is not known to be a mistake.
func quotedSubstitution(script string) (line int, quoted string) {
	for _, c := range shellCommands(script) {
		name, args := c.run()
		if name != "echo" && name != "printf" {
			continue
		}
		for _, w := range args {
			for _, p := range w {
				if p.quote == single && strings.Contains(p.text, "$(") {
					return c.line, p.text
				}
			}
		}
	}
	return 0, ""
}

// conditions are words ahead of commands whose failure is an answer.
var conditions = map[string]bool{"if": true, "elif": true, "while": true, "until": true, "!": true}

// questions are commands that are run for their exit code.
var questions = map[string]bool{"[": true, "[[": true, "test": true, "command": true, "type": true, "grep": true, "cmp": true}

// andList returns the line of commands joined by && whose failure nobody sees, and the
// name of the first: under sh -e the script goes on when another than the last fails.
// It does not when the list is the last of the script, nor where || or a condition
// takes the failure.
func andList(script string) (line int, name string) {
	var list []shellCommand
	for _, c := range shellCommands(script) {
		if c.depth == 0 {
			list = append(list, c)
		}
	}
	for first := 0; first < len(list); first++ {
		last, handled := first, false
		for last+1 < len(list) && list[last].next != "" {
			handled = handled || list[last].next == "||"
			last++
		}
		if last > first && last+1 < len(list) && !handled {
			c := list[first]
			word := c.words[0].text()
			if name, _ := c.run(); name != "" && !conditions[word] && !questions[word] && !questions[name] {
				return c.line, name
			}
		}
		first = last
	}
	return 0, ""
}
