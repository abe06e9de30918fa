// Package manual answers: what documentation does a command bring along?
//
// It writes manual pages, of the commands and of whatever else has a Page, and
// the completions of the commands for three shells. Pages are laid out from the
// texts of the commands as a terminal shows them: paragraphs are filled, lines
// that are indented by two spaces or more stay as they are.
//
// It is linked into programs of the repository only, never into what ships, and
// starts no goroutines.
package manual

import (
	"fmt"
	"strings"
	"time"
)

// An Edition is what every page of one release has in common.
type Edition struct {
	Project string    // the foot of the page: "fleet-agent"
	Version string    // "1.2.3"
	Date    time.Time // of the release; only its day is shown, in UTC
}

// A Page is one manual page as it is written, in the order of the calls.
type Page struct {
	b strings.Builder
}

// NewPage begins a page: fleet-agent(1), "node agent".
func NewPage(e Edition, name string, section int, summary string) *Page {
	p := &Page{}
	fmt.Fprintf(&p.b, ".TH %s %d %s %s\n", quote(strings.ToUpper(name)), section,
		quote(e.Date.UTC().Format(time.DateOnly)), quote(e.Project+" "+e.Version))
	p.b.WriteString(".nh\n.ad l\n") // neither hyphens nor stretched lines: commands are copied from pages
	p.Section("NAME")
	// mandb and lintian want exactly this form.
	fmt.Fprintf(&p.b, "%s \\- %s\n", escape(name), escape(summary))
	return p
}

// String returns the page as roff.
func (p *Page) String() string { return p.b.String() }

// Section begins a section; its title is written as given.
func (p *Page) Section(title string) { fmt.Fprintf(&p.b, ".SH %s\n", quote(title)) }

// Subsection begins a subsection.
func (p *Page) Subsection(title string) { fmt.Fprintf(&p.b, ".SS %s\n", quote(title)) }

// Text writes paragraphs, separated by empty lines, as a terminal shows them.
func (p *Page) Text(text string) {
	var filled, verbatim []string
	flush := func() {
		if len(filled) > 0 {
			p.b.WriteString(".PP\n")
			for _, line := range filled {
				p.b.WriteString(escape(line) + "\n")
			}
		}
		if len(verbatim) > 0 {
			p.Verbatim(strings.Join(verbatim, "\n"))
		}
		filled, verbatim = nil, nil
	}
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "  "):
			if len(filled) > 0 {
				flush()
			}
			verbatim = append(verbatim, strings.TrimPrefix(line, "  "))
		case strings.TrimSpace(line) == "":
			flush()
		default:
			if len(verbatim) > 0 {
				flush()
			}
			filled = append(filled, line)
		}
	}
	flush()
}

// Verbatim writes lines as they are, indented.
func (p *Page) Verbatim(text string) {
	p.b.WriteString(".PP\n.RS 4\n.nf\n")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		p.b.WriteString(escape(line) + "\n")
	}
	p.b.WriteString(".fi\n.RE\n")
}

// Bold writes one line in bold, such as a synopsis.
func (p *Page) Bold(line string) { fmt.Fprintf(&p.b, ".PP\n\\fB%s\\fR\n", escape(line)) }

// Item writes a term in bold, what kind of value it takes, and what it means.
// In the meaning, `code` becomes bold.
func (p *Page) Item(term, value, meaning string) {
	p.b.WriteString(".TP\n\\fB" + escape(term) + "\\fR")
	if value != "" {
		p.b.WriteString(" " + inline(value))
	}
	p.b.WriteString("\n" + inline(meaning) + "\n")
}

// Note writes one filled paragraph in which `code` becomes bold.
func (p *Page) Note(text string) { p.b.WriteString(".PP\n" + inline(text) + "\n") }

// Also writes the section that leads to other pages: "fleet-agent(1)".
func (p *Page) Also(pages ...string) {
	if len(pages) == 0 {
		return
	}
	p.Section("SEE ALSO")
	for i, page := range pages {
		name, section, _ := strings.Cut(page, "(")
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		fmt.Fprintf(&p.b, ".BR %s (%s%s\n", escape(name), section, end)
	}
}

// inline escapes one line of text and makes `code` bold.
func inline(text string) string {
	parts := strings.Split(text, "`")
	if len(parts)%2 == 0 { // one that is never closed is a character
		return escape(text)
	}
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 {
			b.WriteString("\\fB" + characters.Replace(part) + "\\fR")
		} else {
			b.WriteString(characters.Replace(part))
		}
	}
	return begin(b.String())
}

// characters are those that roff takes for something else. The hyphen-minus stays
// one, so that what is copied from a page works.
var characters = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// escape makes a line of text safe for roff.
func escape(line string) string { return begin(characters.Replace(line)) }

// begin keeps a line from being taken for a request.
func begin(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

// quote makes one argument of a macro.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
