package main

import (
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

// labelWidth is the width of the labels that begin the lines of a page.
const labelWidth = 9

// page is text about a node at a moment. Times are shown as seen from now, the
// agent's clock, never from the clock of whoever reads.
type page struct {
	cli.Page
	now time.Time // in the reader's time zone
}

// newPage returns an empty page for standard output.
func (g *globals) newPage(now time.Time) *page {
	columns, _ := g.out.Size()
	return &page{Page: cli.Page{Style: g.out.Style, Width: columns}, now: now.In(g.zone)}
}

// field adds a labelled line of segments.
func (p *page) field(label string, segments ...cli.Cell) {
	lead := cli.Cell{Text: label + strings.Repeat(" ", max(labelWidth-len(label), 1)), Color: cli.Dim}
	p.Flow(lead, labelWidth, segments...)
}

// heading adds the first line of a section.
func (p *page) heading(title string, segments ...cli.Cell) {
	p.Blank()
	lead := cli.Cell{Text: title, Color: cli.Bold}
	if len(segments) > 0 {
		lead.Text += "  "
	}
	p.Flow(lead, 2, segments...)
}

// mark is a glyph with its ASCII stand-in.
type mark struct {
	unicode, ascii string
	color          cli.Color
}

func (p *page) glyph(m mark) cli.Cell {
	return cli.Cell{Text: p.Style.Glyph(m.unicode, m.ascii), Color: m.color}
}

// leading is a glyph that begins a line.
func (p *page) leading(indent int, m mark) cli.Cell {
	c := p.glyph(m)
	c.Text = strings.Repeat(" ", indent) + c.Text + " "
	return c
}

var (
	markGood    = mark{"✓", "+", cli.Green}
	markBad     = mark{"✗", "x", cli.Red}
	markBlocked = mark{"○", "o", cli.Yellow}
	markUnknown = mark{"·", ".", cli.Dim}
	markRunning = mark{"▶", ">", cli.BoldBlue}
	markSkipped = mark{"–", "-", cli.Dim}
	markWarning = mark{"▲", "!", cli.BoldAmber}
)

func plain(text string) cli.Cell                    { return cli.Cell{Text: text} }
func painted(c cli.Color, text string) cli.Cell     { return cli.Cell{Text: text, Color: c} }
func (p *page) clock(t time.Time) string            { return cli.Clock(t, p.now) }
func (p *page) relative(t time.Time) string         { return cli.Relative(t, p.now) }
func (p *page) clockAndRelative(t time.Time) string { return p.clock(t) + " (" + p.relative(t) + ")" }

// age says for how long something has been so.
func (p *page) age(since time.Time) string {
	return cli.Countdown(max(p.now.Sub(since), 0))
}

// milliseconds formats a latency.
func milliseconds(ms float64) string {
	return cli.Duration(time.Duration(ms * float64(time.Millisecond)))
}
