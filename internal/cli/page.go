package cli

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Page is text under construction that keeps within a width: what doesn't fit
// is continued on the next line, indented, and never left to the terminal to
// break. The zero Page is not usable; make one with its Style and Width.
type Page struct {
	Style Style
	Width int // characters; at least 20 are assumed
	lines []string
}

// Blank adds an empty line, unless the page is empty or ends in one.
func (p *Page) Blank() {
	if n := len(p.lines); n > 0 && p.lines[n-1] != "" {
		p.lines = append(p.lines, "")
	}
}

// Text adds a paragraph, indented and wrapped into at most maxLines lines.
func (p *Page) Text(indent int, c Color, text string, maxLines int) {
	for _, line := range Wrap(Clean(text), p.width()-indent, maxLines, p.Style) {
		p.lines = append(p.lines, strings.Repeat(" ", indent)+p.Style.Paint(c, line))
	}
}

// Flow adds lead followed by the segments that are not empty, with a dot
// between them. Lines are broken between segments if possible, and go on
// indented by hang characters.
func (p *Page) Flow(lead Cell, hang int, segments ...Cell) {
	dot := p.Style.Glyph(" · ", " - ")
	var line strings.Builder
	line.WriteString(p.Style.Paint(lead.Color, lead.Text))
	used := utf8.RuneCountInString(lead.Text)
	first := true // nothing but the lead or the indent is on the line
	feed := func() {
		p.lines = append(p.lines, strings.TrimRight(line.String(), " "))
		line.Reset()
		line.WriteString(strings.Repeat(" ", hang))
		used, first = hang, true
	}
	for _, segment := range segments {
		text := Clean(segment.Text)
		if text == "" {
			continue
		}
		if !first && used+utf8.RuneCountInString(dot+text) > p.width() {
			feed()
		}
		if !first {
			line.WriteString(p.Style.Paint(Dim, dot))
			used += utf8.RuneCountInString(dot)
		}
		for i, part := range Wrap(text, p.width()-max(used, hang), 4, p.Style) {
			if i > 0 {
				feed()
			}
			line.WriteString(p.Style.Paint(segment.Color, part))
			used += utf8.RuneCountInString(part)
		}
		first = false
	}
	p.lines = append(p.lines, strings.TrimRight(line.String(), " "))
}

// Table adds the rows of t.
func (p *Page) Table(t *Table) {
	p.lines = append(p.lines, t.Lines(p.Style, p.width())...)
}

// Raw adds a line that is laid out already, as those of a Table are.
func (p *Page) Raw(line string) { p.lines = append(p.lines, line) }

// Lines returns the page so far.
func (p *Page) Lines() []string { return p.lines }

// WriteTo writes the page to w.
func (p *Page) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	for _, line := range p.lines {
		text.WriteString(line)
		text.WriteByte('\n')
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// width is Width, but wide enough for the indents that pages use.
func (p *Page) width() int { return max(p.Width, 20) }
