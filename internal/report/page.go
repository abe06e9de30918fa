package report

import (
	"bufio"
	"html"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// markup is text that a browser obeys. It is made of constants.
type markup string

// A page is HTML that is being written. An error of its writer stays until the flush.
type page struct {
	w  *bufio.Writer
	at time.Time // when what is shown was so
}

func (p *page) html(parts ...markup) {
	for _, m := range parts {
		_, _ = p.w.WriteString(string(m)) // the flush says it
	}
}

// text writes one line of outside text.
func (p *page) text(s string) {
	// A text of a megabyte is cut before it is looked at.
	if len(s) > 4*safetext.MaxText {
		s = s[:4*safetext.MaxText]
	}
	_, _ = p.w.WriteString(html.EscapeString(safetext.Line(cli.Clean(s), safetext.MaxText))) // the flush says it
}

// el writes an element of one line of text.
func (p *page) el(tag markup, s string) {
	p.html("<", tag, ">")
	p.text(s)
	p.html("</", tag, ">")
}

// said writes what somebody said, with its lines.
func (p *page) said(s string) {
	const most = 12
	p.html(`<span class="said">`)
	lines := strings.SplitN(strings.TrimSpace(s), "\n", most+1)
	for i, line := range lines {
		if i > 0 {
			p.html("\n")
		}
		if i == most {
			p.html("…")
			break
		}
		p.text(line)
	}
	p.html("</span>")
}

func (p *page) number(n int) { p.text(strconv.Itoa(n)) }

// count writes "1 member", "3 members".
func (p *page) count(n int, noun string) { p.text(cli.Plural(n, noun)) }

// time writes a moment in UTC, with its year where that is not the year of what is shown.
func (p *page) time(t time.Time) {
	layout := "2 Jan 15:04:05"
	if t.UTC().Year() != p.at.UTC().Year() {
		layout = "2 Jan 2006 15:04:05"
	}
	p.moment(t, layout)
}

func (p *page) moment(t time.Time, layout string) {
	if t.IsZero() {
		p.html("–")
		return
	}
	p.html(`<time datetime="`)
	p.text(t.UTC().Format(time.RFC3339))
	p.html(`">`)
	p.text(t.UTC().Format(layout))
	p.html("</time>")
}

func (p *page) duration(d time.Duration) {
	p.html(`<span class="n">`)
	p.text(cli.Duration(d))
	p.html("</span>")
}

// names lists names; of many it counts the rest.
func (p *page) names(list []string) {
	for i, name := range list[:min(len(list), maxNames)] {
		if i > 0 {
			p.html(", ")
		}
		p.name(name)
	}
	if more := len(list) - maxNames; more > 0 {
		p.html(" and ")
		p.number(more)
		p.html(" more")
	}
}

// name writes the name of a thing. It may be broken anywhere, it may be long.
func (p *page) name(s string) { p.el("code", s) }

// rest says that there is more than is shown.
func (p *page) rest(shown, all int, what markup) {
	if all <= shown {
		return
	}
	p.html(`<p class="note">The first `)
	p.number(shown)
	p.html(" of ")
	p.number(all)
	p.html(" ", what, " are shown; <code>fleetctl rollout show -o json</code> has them all.</p>\n")
}

// A table is one that is being written. On a narrow screen each row becomes a card, and
// each cell says what it is.
type table struct {
	*page

	heads []markup
}

func (p *page) table(caption markup, heads ...markup) *table {
	p.html("<table>\n<caption>", caption, "</caption>\n<thead><tr>")
	for _, h := range heads {
		p.html(`<th scope="col">`, h, "</th>")
	}
	p.html("</tr></thead>\n<tbody>\n")
	return &table{page: p, heads: heads}
}

// row writes a row, cell by cell. What writes nothing is an empty cell.
func (t *table) row(class markup, cells ...func()) {
	t.html("<tr")
	if class != "" {
		t.html(` class="`, class, `"`)
	}
	t.html(">")
	for i, cell := range cells {
		end := markup("</td>")
		if i == 0 {
			t.html(`<th scope="row">`)
			end = "</th>"
		} else {
			t.html(`<td data-label="`, t.heads[i], `">`)
		}
		if cell != nil {
			cell()
		}
		t.html(end)
	}
	t.html("</tr>\n")
}

func (t *table) end() { t.html("</tbody>\n</table>\n") }

// fact writes a name and what it is worth.
func (p *page) fact(name markup, value func()) {
	p.html("<div><dt>", name, "</dt><dd>")
	value()
	p.html("</dd></div>\n")
}
