package report

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// foreseen compares what the plan predicted with what came.
func (r *report) foreseen() {
	t := r.table("Members on the version at one moment, from the beginning of a wave until the next one begins", "Wave", "Foreseen at worst", "Seen at most", "Verdict", "How the worst case comes about")
	begun := r.waveBegins()
	for i := range r.plan.Exposure {
		e := &r.plan.Exposure[i]
		seen, began := 0, i < len(begun) && !begun[i].IsZero()
		if began {
			seen = r.most(begun[i], r.waveEnd(begun, i))
		}
		class := markup("")
		if seen > e.Worst {
			class = bad
		}
		t.row(class)
		t.cell().text(e.Wave)
		t.cell().number(e.Worst)
		if t.cell(); began {
			r.number(seen)
		}
		t.cell()
		switch {
		case !began:
			r.html("not begun")
		case seen > e.Worst:
			r.html(`<span aria-hidden="true">✗</span> more than foreseen`)
		default:
			r.html(`<span aria-hidden="true">✓</span> within what was foreseen`)
		}
		t.cell()
		r.exposure(e)
	}
	t.end()
	t = r.table("Times", "What", "Foreseen", "Seen")
	t.row("")
	t.cell().html("Shortest time, when nothing waits")
	t.cell().duration(r.plan.Shortest)
	t.cell().duration(r.lasted())
	switch {
	case r.v.Phase == rollout.Succeeded:
	case r.v.Phase.Over():
		r.html(", to another end")
	default:
		r.html(" so far")
	}
	t.row("")
	t.cell().html("Slowest reaction, from a member that is not well to the halt")
	t.cell().duration(r.plan.Reaction)
	t.cell()
	if d, ok := r.reaction(); ok {
		r.duration(d)
	} else {
		r.html("no member’s health halted it")
	}
	t.end()
}

func (r *report) exposure(e *rollout.Exposure) {
	for i := range e.Sets[:min(len(e.Sets), maxNames)] {
		s := &e.Sets[i]
		if i > 0 {
			r.html("; ")
		}
		r.name(s.Set)
		r.html(": ")
		r.number(s.Taken)
		r.html(" taken")
		if s.Births > 0 {
			r.html(", ")
			r.number(s.Births)
			r.html(" by scale-out")
		}
		if s.Others > 0 {
			r.html(", ")
			r.number(s.Others)
			r.html(" made anew")
		}
	}
	if more := len(e.Sets) - maxNames; more > 0 {
		r.html(" and ")
		r.number(more)
		r.html(" more")
	}
}

// waveBegins returns when each wave first began; zero: it did not.
func (r *report) waveBegins() []time.Time {
	begun := make([]time.Time, len(r.plan.Waves))
	for i := range r.events {
		if e := &r.events[i]; e.Kind == rollout.WaveTo && e.Wave < len(begun) && begun[e.Wave].IsZero() {
			begun[e.Wave] = e.At
		}
	}
	return begun
}

// waveEnd is when the next wave began, or behind the moment that is shown: who begins to
// run the version in that moment is counted.
func (r *report) waveEnd(begun []time.Time, i int) time.Time {
	for _, next := range begun[i+1:] {
		if !next.IsZero() {
			return next
		}
	}
	return r.v.At.Add(1)
}

// most is how many members at most were on the version at one moment from a time on
// until before another.
func (r *report) most(from, to time.Time) int {
	var begins, ends []*rollout.Ran
	for i := range r.v.Ran {
		if ran := &r.v.Ran[i]; ran.From.Before(to) && (ran.To.IsZero() || ran.To.After(from)) {
			begins, ends = append(begins, ran), append(ends, ran)
		}
	}
	slices.SortFunc(begins, func(a, b *rollout.Ran) int { return a.From.Compare(b.From) })
	slices.SortFunc(ends, func(a, b *rollout.Ran) int { return r.end(a).Compare(r.end(b)) })
	ended, worst := 0, 0
	for i, ran := range begins {
		for ended < len(ends) && !ends[ended].To.IsZero() && !ends[ended].To.After(ran.From) {
			ended++ // who goes as another comes is not there with it
		}
		worst = max(worst, i+1-ended)
	}
	return worst
}

// reaction is how long it took from the moment since when a member was not well to the
// halt that its failure led to.
func (r *report) reaction() (time.Duration, bool) {
	since := make(map[who]time.Time)
	var ill time.Time
	for i := range r.events {
		e := &r.events[i]
		switch {
		case e.Kind == rollout.Touched || e.Kind == rollout.Settled || e.Kind == rollout.Ill:
			since[who{e.Set, e.Member}] = e.At
		case e.Kind == rollout.Failing && ill.IsZero():
			ill = since[who{e.Set, e.Member}]
		case e.Kind == rollout.PhaseTo && e.Phase == rollout.Halting:
			return e.At.Sub(ill), !ill.IsZero() && e.Class == rollout.Bad
		}
	}
	return 0, false
}
