// Package report answers: how is a rollout told to somebody who was not there?
//
// A report is one page of HTML that needs nothing else: no script, no font, no request
// to anywhere, and it says so itself by its Content-Security-Policy. It can be mailed,
// kept with a pipeline's artifacts, read on a phone, printed. It is made from what
// everybody else shows too, a [rollout.View], and from the journal.
//
// What is markup is a constant of this package, which the type markup sees to: a string
// that came from anywhere does not compile in its place. All other text (names, Azure's
// messages, a node's own words) may be hostile. It goes through page.text, which bounds
// and escapes it, or through page.said.
//
// The same view and events make the same page, to the byte. Its size is bounded: what
// there is too much of is left out, and the page says so.
package report

import (
	"bufio"
	_ "embed"
	"io"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// The bounds of a page.
const (
	maxRan     = 1000 // members of the blast radius
	maxEntries = 400  // of the timeline
	maxBatches = 300
	maxCells   = 2000 // members that are drawn
	maxRemarks = 100  // members that are named with what is to be said of them
	maxLeft    = 200
	maxNotes   = 50
	maxNames   = 12 // in one line
)

//go:embed style.css
var style string

// Write writes the report of a rollout: of the view, and of its whole journal. Without
// events the page has no timeline, and nothing that the plan foresaw.
func Write(w io.Writer, v rollout.View, events []rollout.Event) error {
	p := &page{w: bufio.NewWriter(w), at: v.At}
	r := &report{page: p, v: &v, events: events}
	if len(events) > 0 && events[0].Kind == rollout.Planned {
		r.plan = events[0].Plan
	}
	r.write()
	return p.w.Flush()
}

// A report is one that is being written.
type report struct {
	*page

	v      *rollout.View
	plan   *rollout.Plan // nil: not known
	events []rollout.Event
}

// sections are those of a page, in their order. One that has nothing to say is left out.
var sections = []struct {
	id    markup
	title markup
	has   func(r *report) bool
	write func(r *report)
}{
	{"now", "Just now", (*report).goesOn, (*report).now},
	{"left", "Left and owed", (*report).owes, (*report).left},
	{"blast", "Blast radius", always, (*report).blast},
	{"foreseen", "Foreseen and seen", (*report).planned, (*report).foreseen},
	{"waves", "Waves", always, (*report).waves},
	{"gates", "Gates", always, (*report).gates},
	{"members", "Members", always, (*report).members},
	{"timeline", "Timeline", (*report).planned, (*report).timeline},
	{"notes", "Notes", always, (*report).notes},
}

func always(*report) bool { return true }

func (r *report) planned() bool { return r.plan != nil }

func (r *report) write() {
	r.html(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>`)
	r.text(r.v.Fleet + ": " + r.v.Image + " " + r.v.ImageVersion + " " + string(r.v.Phase))
	r.html("</title>\n<style>\n", markup(style), "</style>\n</head>\n<body>\n")
	r.headline()
	r.html("<nav aria-label=\"Sections\"><ul>\n")
	for _, s := range sections {
		if s.has(r) {
			r.html(`<li><a href="#`, s.id, `">`, s.title, "</a></li>\n")
		}
	}
	r.html("</ul></nav>\n<main>\n")
	for _, s := range sections {
		if s.has(r) {
			r.html(`<section id="`, s.id, `" aria-labelledby="`, s.id, "-title\">\n", `<h2 id="`, s.id, `-title">`, s.title, "</h2>\n")
			s.write(r)
			r.html("</section>\n")
		}
	}
	r.html("</main>\n</body>\n</html>\n")
}
