package cli

// Style is what a reader can show: nothing but ASCII, more, or colours too.
type Style struct {
	Color   bool
	Unicode bool
}

// Color is the parameter of an ANSI "select graphic rendition" sequence. Only
// the eight colours that every terminal lets its user choose are used.
type Color string

// The colours, by number; what they are used for is the commands' business.
const (
	Plain     Color = ""
	Bold      Color = "1"
	Dim       Color = "2"
	Red       Color = "31"
	Green     Color = "32"
	Yellow    Color = "33"
	Blue      Color = "34"
	Cyan      Color = "36"
	BoldRed   Color = "1;31"
	BoldGreen Color = "1;32"
	BoldAmber Color = "1;33"
	BoldBlue  Color = "1;34"
)

// Paint returns text in the given colour, or text itself where colours cannot
// be shown.
func (s Style) Paint(c Color, text string) string {
	if !s.Color || c == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Glyph returns the first form where it can be shown, and the second elsewhere.
func (s Style) Glyph(unicode, ascii string) string {
	if s.Unicode {
		return unicode
	}
	return ascii
}

// A Mark is a glyph with its stand-in in ASCII and its colour.
type Mark struct {
	Unicode, ASCII string
	Color          Color
}

// Cell returns the mark as s can show it.
func (m Mark) Cell(s Style) Cell { return Cell{Text: s.Glyph(m.Unicode, m.ASCII), Color: m.Color} }
