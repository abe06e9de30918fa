package report

import (
	"cmp"
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
		t.row(class,
			func() { r.text(e.Wave) },
			func() { r.number(e.Worst) },
			func() {
				if began {
					r.number(seen)
				}
			},
			func() {
				switch {
				case !began:
					r.html("not begun")
				case seen > e.Worst:
					r.html(`<span aria-hidden="true">✗</span> more than foreseen`)
				default:
					r.html(`<span aria-hidden="true">✓</span> within what was foreseen`)
				}
			},
			func() { r.exposure(e) },
		)
	}
	t.end()
	t = r.table("Times", "What", "Foreseen", "Seen")
	t.row("", func() { r.html("Shortest time, when nothing waits") }, func() { r.duration(r.plan.Shortest) }, func() {
		r.duration(r.lasted())
		switch {
		case r.v.Phase == rollout.Succeeded:
		case r.v.Phase.Over():
			r.html(", to another end")
		default:
			r.html(" so far")
		}
	})
	t.row("", func() { r.html("Slowest reaction, from a member that is not well to the halt") }, func() { r.duration(r.plan.Reaction) }, func() {
		if d, ok := r.reaction(); ok {
			r.duration(d)
		} else {
			r.html("no member’s health halted it")
		}
	})
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

// waveEnd is when the next wave began, or the moment that is shown.
func (r *report) waveEnd(begun []time.Time, i int) time.Time {
	for _, next := range begun[i+1:] {
		if !next.IsZero() {
			return next
		}
	}
	return r.v.At
}

// most is how many members at most were on the version at one moment from a time on
// until before another.
func (r *report) most(from, to time.Time) int {
	type step struct {
		at time.Time
		n  int
	}
	var steps []step
	for i := range r.v.Ran {
		ran := &r.v.Ran[i]
		end := r.end(ran).Add(1) // one that still runs it, runs it just now
		if !ran.To.IsZero() {
			end = ran.To
		}
		if ran.From.Before(to) && end.After(from) {
			steps = append(steps, step{ran.From, 1}, step{end, -1})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.n, b.n)) })
	n, worst := 0, 0
	for _, s := range steps {
		if !s.at.Before(to) {
			break
		}
		if n += s.n; !s.at.Before(from) {
			worst = max(worst, n)
		}
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
