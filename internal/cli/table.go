package cli

import (
	"strings"
	"unicode/utf8"
)

// gap returns the space after a column: none after one that is empty, and little
// after one of marks, which belong to what follows.
func gap(width int) int { return min(width, 2) }

// minWrap is the room that a cell needs to be wrapped: below it, words are torn.
const minWrap = 12

// Cell is one field of a table.
type Cell struct {
	Text  string
	Color Color
}

// Table lays out rows in columns that are as wide as their widest cell. The
// last cell of a row may be of any length: it is cut at the end of the line.
type Table struct {
	Indent int // spaces before each row
	// Wrap is how many lines the last cell of a row may take; 0 is one.
	Wrap int
	rows [][]Cell
}

// Add appends a row. Rows need not be equally long.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Lines returns the rows as lines of at most width characters.
func (t *Table) Lines(s Style, width int) []string {
	widths := t.widths()
	lines := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		var line strings.Builder
		used, pending := 0, t.Indent // pending: spaces owed before the next text
		var rest []string            // lines that the last cell goes on in, at column
		column := 0
		for i, cell := range row {
			room := width - used - pending
			if room <= 0 {
				break
			}
			text := Clean(cell.Text)
			if i == len(row)-1 && t.Wrap > 1 && room >= minWrap {
				if wrapped := Wrap(text, room, t.Wrap, s); len(wrapped) > 1 {
					text, rest, column = wrapped[0], wrapped[1:], used+pending
				}
			}
			text = Cut(text, room, s)
			n := utf8.RuneCountInString(text)
			if n > 0 {
				line.WriteString(strings.Repeat(" ", pending))
				line.WriteString(s.Paint(cell.Color, text))
				used += pending + n
				pending = 0
			}
			if i < len(widths) {
				pending += widths[i] - n + gap(widths[i])
			}
		}
		lines = append(lines, line.String())
		for _, text := range rest {
			lines = append(lines, strings.Repeat(" ", column)+s.Paint(row[len(row)-1].Color, text))
		}
	}
	return lines
}

// widths returns the width of every column that some row goes on after.
func (t *Table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i := range len(row) - 1 {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(Clean(row[i].Text)))
		}
	}
	return widths
}
