package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// page is text about a fleet at a moment. Times are shown as seen from now.
type page struct {
	cli.Page
	now time.Time // in the reader's time zone
}

// newPage returns an empty page for standard output.
func (g *globals) newPage(now time.Time) *page {
	columns, _ := g.out.Size()
	return &page{Page: cli.Page{Style: g.out.Style, Width: columns}, now: now.In(g.zone)}
}

// print writes the page to standard output.
func (g *globals) print(p *page) error {
	_, err := p.WriteTo(g.out.Out)
	return err
}

// The marks, by what they mean.
var (
	markGood    = cli.Mark{Unicode: "✓", ASCII: "+", Color: cli.Green}
	markNote    = cli.Mark{Unicode: "·", ASCII: ".", Color: cli.Dim}
	markWarning = cli.Mark{Unicode: "▲", ASCII: "!", Color: cli.BoldAmber}
	markBad     = cli.Mark{Unicode: "✗", ASCII: "x", Color: cli.BoldRed}
	markUnknown = cli.Mark{Unicode: "?", ASCII: "?", Color: cli.BoldAmber}
)

// levelMark is the mark of a level. A scale set with nothing but notes is good.
func levelMark(l fleet.Level) cli.Mark {
	switch l {
	case fleet.LevelError:
		return markBad
	case fleet.LevelWarning:
		return markWarning
	default:
		return markGood
	}
}

func plain(text string) cli.Cell                { return cli.Cell{Text: text} }
func dim(text string) cli.Cell                  { return cli.Cell{Text: text, Color: cli.Dim} }
func painted(c cli.Color, text string) cli.Cell { return cli.Cell{Text: text, Color: c} }

// leading is a mark that begins a line.
func (p *page) leading(indent int, m cli.Mark) cli.Cell {
	c := m.Cell(p.Style)
	c.Text = strings.Repeat(" ", indent) + c.Text + " "
	return c
}

// headings is a row of a table that names its columns.
func headings(names ...string) []cli.Cell {
	cells := make([]cli.Cell, len(names))
	for i, name := range names {
		cells[i] = painted(cli.Dim, name)
	}
	return cells
}

// cut shortens a name for a column of a table.
func (p *page) cut(text string, width int) string {
	return cli.Cut(cli.Clean(text), width, p.Style)
}

const (
	// shownNames are named in one line; the rest is counted.
	shownNames = 3
	// nameWidth is how much of a name is shown where several stand in a line.
	nameWidth = 36
	// problemLines are shown of one problem: Azure hides causes at the ends of texts.
	problemLines = 8
)

// withNames is a problem's text with the members that it is about.
func (p *page) withNames(text string, names []string) string {
	if len(names) == 0 {
		return text
	}
	var shown []string
	for i, name := range names {
		if i == shownNames {
			break
		}
		shown = append(shown, p.cut(name, nameWidth))
	}
	list := strings.Join(shown, ", ")
	if more := len(names) - len(shown); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return text + ": " + list
}

// problem adds a problem with its mark.
func (p *page) problem(indent int, problem fleet.Problem) {
	mark, color := levelMark(problem.Level), cli.Plain
	if problem.Level == fleet.LevelInfo {
		mark, color = markNote, cli.Dim
	}
	lead := p.leading(indent, mark)
	first := p.Style.Paint(lead.Color, lead.Text)
	for _, line := range cli.Wrap(cli.Clean(p.withNames(problem.Text, problem.Members)), max(p.Width-indent-2, 1), problemLines, p.Style) {
		p.Raw(first + p.Style.Paint(color, line))
		first = strings.Repeat(" ", indent+2)
	}
}

// notes adds what was not read, and why that is no error.
func (p *page) notes(notes []string) {
	if len(notes) > 0 {
		p.Blank()
	}
	for _, note := range notes {
		p.problem(0, fleet.Problem{Level: fleet.LevelInfo, Text: note})
	}
}

// width is the number of characters of the widest text in a column.
func columnWidth(texts []string) int {
	width := 0
	for _, text := range texts {
		width = max(width, utf8.RuneCountInString(text))
	}
	return width
}
