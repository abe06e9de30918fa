package report

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// An entry is a line of the timeline: an event, with its end if it is an action.
type entry struct {
	e     *rollout.Event
	ended *rollout.Event
	// turn says that the rollout took another way: such entries are left out last.
	turn bool
}

// timeline tells the journal in words.
func (r *report) timeline() {
	entries := r.entries()
	shown := thin(entries, maxEntries)
	if len(shown) < len(entries) {
		r.html(`<p class="note">`)
		r.number(len(shown))
		r.html(" of ")
		r.number(len(entries))
		r.html(" entries are shown; those that changed the rollout’s way are left out last.</p>\n")
	}
	day := ""
	last := -1
	for _, i := range shown {
		en := &entries[i]
		if d := en.e.At.UTC().Format(time.DateOnly); d != day {
			if day != "" {
				r.html("</ol>\n")
			}
			r.html("<h3>")
			r.moment(en.e.At, "Monday, 2 January 2006")
			r.html("</h3>\n" + `<ol class="timeline">` + "\n")
			day = d
		}
		r.gap(i - last - 1)
		last = i
		r.entry(en)
	}
	r.gap(len(entries) - last - 1)
	if day != "" {
		r.html("</ol>\n")
	}
}

func (r *report) gap(n int) {
	if n > 0 {
		r.html(`<li class="gap">… `)
		r.number(n)
		r.html(" more left out</li>\n")
	}
}

func (r *report) entry(en *entry) {
	l := mark(en.e)
	r.html(`<li class="`, l.class)
	if en.e.Kind == rollout.PhaseTo {
		r.html(" turn")
	}
	r.html(`">`)
	r.moment(en.e.At, time.TimeOnly)
	r.html(` <span class="glyph" aria-hidden="true">`, l.glyph, "</span> <span>")
	r.text(rollout.Line(r.plan, en.e))
	if en.e.Kind == rollout.Began {
		r.outcome(en)
	}
	r.html("</span></li>\n")
}

// outcome writes how an action ended, behind its begin.
func (r *report) outcome(en *entry) {
	r.html(`<span class="outcome">`)
	defer r.html("</span>")
	if en.ended == nil {
		r.html(" — has no end yet")
		return
	}
	result := en.ended.Result
	r.html(" — ")
	if result.Outcome == rollout.Done {
		r.html("done")
	} else {
		r.html("<strong>")
		r.text(string(result.Outcome))
		r.html("</strong>")
	}
	if d := en.ended.At.Sub(en.e.At); d >= time.Second {
		r.html(" after ")
		r.duration(d)
	}
	if result.Text != "" {
		r.html(": ")
		r.text(result.Text)
	}
}

// mark is how an event looks.
func mark(e *rollout.Event) look {
	switch e.Kind {
	case rollout.PhaseTo:
		return phases[e.Phase]
	case rollout.Failing:
		return look{class: bad, glyph: "✗"}
	case rollout.Given, rollout.Departed, rollout.Ill:
		return look{class: warning, glyph: "!"}
	case rollout.Blocked:
		if e.Class == "" {
			return look{class: busy, glyph: "↑"}
		}
		return look{class: warning, glyph: "‖"}
	case rollout.Requested:
		return look{class: busy, glyph: "☞"}
	case rollout.Verified:
		return look{class: good, glyph: "✓"}
	case rollout.Touched:
		return look{class: busy, glyph: "→"}
	case rollout.Returned:
		return look{class: quiet, glyph: "↩"}
	case rollout.WaveTo:
		return look{class: busy, glyph: "≋"}
	default:
		return look{class: quiet, glyph: "·"}
	}
}

// entries are the lines of the timeline. The end of an action stands at its begin. Of
// questions that are asked again and again, only answers that differ from the one before
// are told.
func (r *report) entries() []entry {
	var list []entry
	begun := make(map[int]int)         // entries of actions, by their numbers
	answers := make(map[string]string) // by what was asked
	for i := range r.events {
		e := &r.events[i]
		if e.Kind == rollout.Ended {
			if at, ok := begun[e.Action.Op]; ok {
				list[at].ended = e
				continue
			}
			if a := e.Action; a.Do == rollout.QueryGate || a.Do == rollout.AskAgent {
				about, said := a.Line(), string(e.Result.Outcome)+" "+e.Result.Answer
				if answers[about] == said {
					continue
				}
				answers[about] = said
			}
		}
		if rollout.Line(r.plan, e) == "" {
			continue
		}
		if n := len(list); n > 0 && passes(list[n-1].e, e) {
			list[n-1].e = e
			continue
		}
		if e.Kind == rollout.Began {
			begun[e.Action.Op] = len(list)
		}
		list = append(list, entry{e: e, turn: turns(e)})
	}
	return list
}

// passes says whether a wave left a step in the moment in which it came to it.
func passes(before, after *rollout.Event) bool {
	return before.Kind == rollout.WaveTo && after.Kind == rollout.WaveTo && before.Wave == after.Wave && before.At.Equal(after.At)
}

// turns says whether with an event the rollout takes another way.
func turns(e *rollout.Event) bool {
	switch e.Kind {
	case rollout.Planned, rollout.PhaseTo, rollout.WaveTo, rollout.Requested, rollout.Failing, rollout.Blocked, rollout.Given:
		return true
	default:
		return false
	}
}

// thin returns which entries to show, in their order: all, or those that turn and, of
// what has no room, the first and the last.
func thin(entries []entry, most int) []int {
	var turning, others []int
	for i := range entries {
		if entries[i].turn {
			turning = append(turning, i)
		} else {
			others = append(others, i)
		}
	}
	turning = ends(turning, most)
	return slices.Sorted(slices.Values(append(turning, ends(others, most-len(turning))...)))
}

// ends returns the first and the last of a list.
func ends(list []int, most int) []int {
	if len(list) <= most {
		return list
	}
	return append(list[:(most+1)/2:(most+1)/2], list[len(list)-most/2:]...)
}
