package cli

import (
	"strconv"
	"strings"
)

// Screen shows successive states of a page: on a terminal in place, elsewhere
// one after the other.
type Screen struct {
	Output *Output
	shown  int // lines on the terminal that belong to the screen
}

// Show replaces what was shown by lines. On a terminal, lines beyond its height
// are left out: a screen that scrolls cannot be redrawn.
func (s *Screen) Show(lines []string) error {
	var text strings.Builder
	if !s.Output.Terminal() {
		for _, line := range lines {
			text.WriteString(line + "\n")
		}
		text.WriteString("\n")
	} else {
		if _, rows := s.Output.Size(); rows > 2 && len(lines) > rows-1 {
			left := len(lines) - (rows - 2)
			lines = append(lines[:rows-2:rows-2], s.Output.Style.Paint(Dim, Plural(left, "more line")))
		}
		if s.shown > 0 {
			text.WriteString("\x1b[" + strconv.Itoa(s.shown) + "A")
		}
		// Each line is erased as it is written, not the whole screen
		// before: that would flicker.
		for _, line := range lines {
			text.WriteString("\r" + line + "\x1b[K\n")
		}
		text.WriteString("\x1b[J")
		s.shown = len(lines)
	}
	_, err := s.Output.Out.Write([]byte(text.String()))
	return err
}
