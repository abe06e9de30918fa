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

// looks are how the values of a type look.
type looks []struct {
	of string
	look
}

func (l looks) find(of string) (look, bool) {
	for i := range l {
		if l[i].of == of {
			return l[i].look, true
		}
	}
	return look{class: quiet, glyph: "·"}, false
}

const (
	good    markup = "good"
	bad     markup = "bad"
	warning markup = "warning"
	busy    markup = "busy"
	quiet   markup = "quiet"
)

var phases = looks{
	{string(rollout.Pending), look{quiet, "…", "pending"}},
	{string(rollout.Rolling), look{busy, "↑", "rolling"}},
	{string(rollout.Promoting), look{busy, "↑", "promoting"}},
	{string(rollout.Succeeded), look{good, "✓", "succeeded"}},
	{string(rollout.Halting), look{bad, "✗", "halting"}},
	{string(rollout.Returning), look{bad, "↩", "returning"}},
	{string(rollout.Demoting), look{bad, "↩", "demoting"}},
	{string(rollout.Halted), look{bad, "✗", "halted"}},
	{string(rollout.Incomplete), look{bad, "✗", "halted, and not all is back"}},
	{string(rollout.Aborted), look{warning, "■", "aborted"}},
	{string(rollout.Held), look{warning, "‖", "held"}},
}

var classes = looks{
	{string(rollout.Bad), look{words: "Class failed: it speaks against the version."}},
	{string(rollout.Inconclusive), look{words: "Class inconclusive: it says nothing of the version."}},
	{string(rollout.NoCapacity), look{words: "Class capacity: it says nothing of the version."}},
	{string(rollout.NotOurs), look{words: "Class not ours: somebody else changed what the rollout works on."}},
	{string(rollout.ByOperator), look{words: "An operator asked for it."}},
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
	f := r.facts()
	f.fact("Begun").moment(v.Begun, time.DateTime)
	if v.Ended.IsZero() {
		f.fact("As of").moment(v.At, time.DateTime)
	} else {
		f.fact("Ended").moment(v.Ended, time.DateTime)
	}
	f.fact("Duration").duration(r.lasted())
	ever, now := rollout.Reached(v.Ran)
	f.fact("Members that ran it").number(ever)
	f.fact("Members that run it now").number(now)
	f.end()
	r.html("</header>\n")
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
	l, ok := phases.find(string(r.v.Phase))
	if r.v.Paused != "" && !r.v.Phase.Over() {
		l.class, l.glyph = warning, "‖"
	}
	r.html(`<span class="badge `, l.class, `"><span aria-hidden="true">`, l.glyph, "</span> ")
	if ok {
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
	if l, ok := classes.find(string(c)); ok {
		r.html(l.words)
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
	f := r.facts()
	f.fact("Phase since").time(v.Since)
	if v.Paused != "" {
		f.fact("Paused since").time(v.PausedSince)
	}
	f.fact("Azure last read").time(v.Observed)
	f.fact("Next due").time(v.Next)
	if v.Overdue {
		r.html(" <strong>overdue</strong>: nobody has looked at it for too long")
	}
	if v.Lock != "" {
		f.fact("At work on it").text(v.Lock)
	}
	f.end()
	if len(v.Waits) > 0 {
		t := r.table("What it waits for", "For", "Until at most")
		for _, w := range v.Waits[:min(len(v.Waits), maxNotes)] {
			t.row("")
			t.cell().text(w.For)
			t.cell().time(w.Until)
		}
		t.end()
		r.rest(maxNotes, len(v.Waits), "waits")
	}
	if len(v.Asked) > 0 {
		t := r.table("What operators asked for, and nobody took up yet", "Asked", "By", "At", "Why")
		for i := range v.Asked[:min(len(v.Asked), maxNotes)] {
			a := &v.Asked[i]
			t.row("")
			t.cell().text(string(a.Do) + " " + a.Wave)
			t.cell().text(a.By)
			t.cell().time(a.At)
			t.cell().text(a.Why)
		}
		t.end()
		r.rest(maxNotes, len(v.Asked), "requests")
	}
}

func (r *report) owes() bool { return len(r.v.Left)+len(r.v.Owed) > 0 }

// left lists what is not as it should be.
func (r *report) left() {
	r.lefts("What the rollout had to leave at its end", r.v.Left)
	r.lefts("What it still owes, or gave up to pay", r.v.Owed)
}

func (r *report) lefts(caption markup, list []rollout.Left) {
	if len(list) == 0 {
		return
	}
	t := r.table(caption, "What", "Why")
	for _, l := range list[:min(len(list), maxLeft)] {
		t.row("")
		t.cell().place(l.Set, l.Member)
		t.cell().text(l.Why)
	}
	t.end()
	r.rest(maxLeft, len(list), "entries")
}

// place names a member, a scale set, or the version.
func (p *page) place(set, member string) {
	switch {
	case member != "":
		p.name(member)
		p.html(" of ")
		p.name(set)
	case set != "":
		p.html("scale set ")
		p.name(set)
	default:
		p.html("the version")
	}
}
