package report

import (
	"cmp"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// A look is how something is told by sight. The glyphs differ, so that nothing hangs on
// colour alone.
type look struct {
	class, glyph, words markup
}

const (
	good    markup = "good"
	bad     markup = "bad"
	warning markup = "warning"
	busy    markup = "busy"
	quiet   markup = "quiet"
)

var phases = map[rollout.Phase]look{
	rollout.Pending:    {quiet, "…", "pending"},
	rollout.Rolling:    {busy, "↑", "rolling"},
	rollout.Promoting:  {busy, "↑", "promoting"},
	rollout.Succeeded:  {good, "✓", "succeeded"},
	rollout.Halting:    {bad, "✗", "halting"},
	rollout.Returning:  {bad, "↩", "returning"},
	rollout.Demoting:   {bad, "↩", "demoting"},
	rollout.Halted:     {bad, "✗", "halted"},
	rollout.Incomplete: {bad, "✗", "halted, and not all is back"},
	rollout.Aborted:    {warning, "■", "aborted"},
	rollout.Held:       {warning, "‖", "held"},
}

var classes = map[rollout.Class]markup{
	rollout.Bad:          "failed: the version is marked, and kept from everybody",
	rollout.Inconclusive: "inconclusive: it says nothing of the version",
	rollout.NoCapacity:   "capacity: it says nothing of the version",
	rollout.NotOurs:      "not ours: somebody else changed what the rollout works on",
	rollout.ByOperator:   "an operator asked for it",
}

func (r *report) headline() {
	v := r.v
	r.html("<header>\n<p class=\"kind\">Rollout ")
	r.text(v.ID)
	r.html(" of fleet ")
	r.text(v.Fleet)
	r.html("</p>\n<h1>")
	r.text(v.Image + " " + v.ImageVersion)
	r.html(" ")
	r.phase()
	r.html("</h1>\n")
	if why := cmp.Or(v.Why, v.Paused); why != "" {
		r.html(`<p class="why">`)
		r.text(why)
		r.html("</p>\n")
	}
	r.html(`<dl class="facts">` + "\n")
	if v.Class != "" {
		r.fact("Class", func() { r.class(v.Class) })
	}
	r.fact("Begun", func() { r.time(v.Begun) })
	if !v.Ended.IsZero() {
		r.fact("Ended", func() { r.time(v.Ended) })
	} else {
		r.fact("As of", func() { r.time(v.At) })
	}
	r.fact("Duration", func() { r.duration(r.lasted()) })
	r.fact("Members that ran it", func() { r.number(reached(v.Ran)) })
	r.fact("Members that run it now", func() { r.number(running(v.Ran)) })
	r.html("</dl>\n</header>\n")
}

func (r *report) phase() {
	l, ok := phases[r.v.Phase]
	if !ok {
		l = look{class: quiet, glyph: "?"}
	}
	if r.v.Paused != "" && !r.v.Phase.Over() {
		l.class, l.glyph = warning, "‖"
	}
	r.html(`<span class="badge `, l.class, `"><span aria-hidden="true">`, l.glyph, "</span> ")
	if l.words != "" {
		r.html(l.words)
	} else {
		r.text(string(r.v.Phase))
	}
	if r.v.Paused != "" && !r.v.Phase.Over() {
		r.html(", paused")
	}
	r.html("</span>")
}

func (r *report) class(c rollout.Class) {
	if words, ok := classes[c]; ok {
		r.html(words)
		return
	}
	r.text(string(c))
}

func (r *report) lasted() time.Duration {
	if r.v.Begun.IsZero() {
		return 0
	}
	end := r.v.Ended
	if end.IsZero() {
		end = r.v.At
	}
	return max(0, end.Sub(r.v.Begun))
}

// goesOn says whether there is something to say of the moment.
func (r *report) goesOn() bool { return !r.v.Phase.Over() || r.v.Phase == rollout.Held }

func (r *report) now() {
	v := r.v
	r.html(`<dl class="facts">` + "\n")
	r.fact("Phase since", func() { r.time(v.Since) })
	if v.Paused != "" {
		r.fact("Paused", func() { r.text(v.Paused) })
	}
	r.fact("Azure last read", func() { r.time(v.Observed) })
	r.fact("Next due", func() {
		r.time(v.Next)
		if v.Overdue {
			r.html(" <strong>overdue</strong>: nobody has looked at it for too long")
		}
	})
	if v.Lock != "" {
		r.fact("At work on it", func() { r.text(v.Lock) })
	}
	r.html("</dl>\n")
	if len(v.Waits) > 0 {
		t := r.table("What it waits for", "For", "Until at most")
		for _, w := range v.Waits[:min(len(v.Waits), maxNotes)] {
			t.row("", func() { r.text(w.For) }, func() { r.time(w.Until) })
		}
		t.end()
		r.rest(maxNotes, len(v.Waits), "waits")
	}
	if len(v.Asked) > 0 {
		t := r.table("What operators asked for, and nobody took up yet", "Asked", "By", "At", "Why")
		for i := range v.Asked[:min(len(v.Asked), maxNotes)] {
			a := &v.Asked[i]
			t.row("", func() { r.text(string(a.Do) + " " + a.Wave) }, func() { r.text(a.By) }, func() { r.time(a.At) }, func() { r.text(a.Why) })
		}
		t.end()
		r.rest(maxNotes, len(v.Asked), "requests")
	}
}

func (r *report) owes() bool { return len(r.v.Left)+len(r.v.Owed) > 0 }

// left lists what is not as it should be.
func (r *report) left() {
	list := func(caption markup, left []rollout.Left) {
		if len(left) == 0 {
			return
		}
		t := r.table(caption, "What", "Why")
		for _, l := range left[:min(len(left), maxLeft)] {
			t.row("", func() { r.place(l.Set, l.Member) }, func() { r.text(l.Why) })
		}
		t.end()
		r.rest(maxLeft, len(left), "entries")
	}
	list("What the rollout had to leave at its end", r.v.Left)
	list("What it still owes, or gave up to pay", r.v.Owed)
}

// place names a member, a scale set, or the version.
func (r *report) place(set, member string) {
	switch {
	case member != "":
		r.name(member)
		r.html(" of ")
		r.name(set)
	case set != "":
		r.html("scale set ")
		r.name(set)
	default:
		r.html("the version")
	}
}
