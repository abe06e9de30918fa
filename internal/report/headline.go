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
	rollout.Bad:          "Class failed: it speaks against the version.",
	rollout.Inconclusive: "Class inconclusive: it says nothing of the version.",
	rollout.NoCapacity:   "Class capacity: it says nothing of the version.",
	rollout.NotOurs:      "Class not ours: somebody else changed what the rollout works on.",
	rollout.ByOperator:   "An operator asked for it.",
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
	if why := r.why(); why != "" {
		r.html(`<p class="why">`)
		r.text(why)
		r.html("</p>\n")
	}
	if v.Class != "" {
		r.html(`<p class="class">`)
		r.class(v.Class)
		r.html("</p>\n")
	}
	r.html(`<dl class="facts">` + "\n")
	r.fact("Begun", func() { r.moment(v.Begun, time.DateTime) })
	if !v.Ended.IsZero() {
		r.fact("Ended", func() { r.moment(v.Ended, time.DateTime) })
	} else {
		r.fact("As of", func() { r.moment(v.At, time.DateTime) })
	}
	r.fact("Duration", func() { r.duration(r.lasted()) })
	r.fact("Members that ran it", func() { r.number(reached(v.Ran)) })
	r.fact("Members that run it now", func() { r.number(running(v.Ran)) })
	r.html("</dl>\n</header>\n")
}

// why is why the rollout stands where it stands. That it goes on has no reason.
func (r *report) why() string {
	v := r.v
	if v.Paused == "" && (v.Phase == rollout.Pending || v.Phase == rollout.Rolling) {
		return ""
	}
	return cmp.Or(v.Paused, v.Why)
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
	if v.Phase == rollout.Held {
		r.html("<p>It stays as it is until an operator says how it goes on: <code>fleetctl rollout resume</code>, or <code>fleetctl rollout abort</code>.</p>\n")
	}
	r.html(`<dl class="facts">` + "\n")
	r.fact("Phase since", func() { r.time(v.Since) })
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
