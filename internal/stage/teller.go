package stage

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// width is where lines are broken.
const width = 80

// A Teller tells what happens on a stage.
type Teller struct {
	out    io.Writer
	start  time.Time
	colour bool
}

// NewTeller returns one whose time begins now, and whose story standard output gets to
// see, sooner or later.
func NewTeller(out io.Writer) *Teller {
	return &Teller{out: out, start: time.Now(), colour: os.Getenv("NO_COLOR") == "" && terminal(os.Stdout)}
}

// Took is the time since the begin.
func (t *Teller) Took() time.Duration { return time.Since(t.start) }

// Say tells the next part of the story.
func (t *Teller) Say(format string, args ...any) {
	on, off := "", ""
	if t.colour {
		on, off = "\x1b[1m", "\x1b[0m"
	}
	mark := fmt.Sprintf("%4.1fs ", t.Took().Seconds())
	t.print("%s%s%s\n", on, wrap(mark, strings.Repeat(" ", len(mark)), fmt.Sprintf(format, args...)), off)
}

// Note tells something more of it.
func (t *Teller) Note(format string, args ...any) {
	t.print("%s\n", wrap("      ", "      ", fmt.Sprintf(format, args...)))
}

// Fact tells of something that was looked at, and is so.
func (t *Teller) Fact(format string, args ...any) {
	mark := fmt.Sprintf("%4.1fs ✓ ", t.Took().Seconds())
	t.print("%s\n", wrap(mark, strings.Repeat(" ", utf8.RuneCountInString(mark)), fmt.Sprintf(format, args...)))
}

// Show shows what a program has printed.
func (t *Teller) Show(text string) {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		b.WriteString(strings.TrimRight("      "+line, " \n") + "\n")
	}
	t.print("\n%s\n", b.String())
}

func (t *Teller) print(format string, args ...any) {
	_, _ = fmt.Fprintf(t.out, format, args...) // when it fails there is nobody to tell
}

// wrap breaks a text into lines, of which the first begins with one indent and the
// others with another. The lines that the text has stay.
func wrap(first, others, text string) string {
	var lines []string
	indent := first
	for line := range strings.Lines(text) {
		now := indent
		for i, word := range strings.Split(strings.TrimRight(line, " \n"), " ") {
			if i > 0 && utf8.RuneCountInString(now)+1+utf8.RuneCountInString(word) > width {
				lines, now = append(lines, strings.TrimRight(now, " ")), others+word
				continue
			}
			if i > 0 {
				now += " "
			}
			now += word
		}
		lines, indent = append(lines, now), others
	}
	return strings.Join(lines, "\n")
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
