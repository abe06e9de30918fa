package drain

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// A Schedule says how a plan fits into a time.
type Schedule struct {
	// Settle is what is left of the wait before the first steps.
	Settle time.Duration
	// Steps are in the order of the plan as configured.
	Steps []Scheduled
	// Total is when the last step ends at the latest.
	Total time.Duration
	// Enough is false when not even the minimums of the required steps fit:
	// one or more of them are left out, and all optional ones.
	Enough bool
}

// Scheduled is one step of a Schedule.
type Scheduled struct {
	Name, Kind string
	Optional   bool
	// Offset is when the step begins at the latest, Budget the longest that it
	// may take: between Min and Max, or 0 when it is left out.
	Offset, Budget time.Duration
	Min, Max       time.Duration
	// Shed says that the step is left out.
	Shed bool
	// Why says what was done to the step to make the plan fit; empty when
	// nothing was.
	Why string
}

const (
	// instant is the least time with which any step is begun.
	instant = time.Millisecond
	// fair bounds what a required step has before an optional one has anything:
	// a tenth of its maximum, but no more than this.
	fair = time.Second
	// forever is the time until no deadline.
	forever = time.Duration(1) << 62
	// fine is the number of shares into which the room up to a maximum is divided.
	fine = 1 << 30
)

// Fit fits the plan into the time that is available; unbounded lets every step
// have its maximum. It is pure, and the same input gives the same Schedule.
//
// First it chooses the steps. Required ones come before optional ones, which are
// shed, the last first, unless their minimums fit beside what is fair for all
// required ones. When even the minimums of the required steps do not fit, each of
// them, in order, is kept that fits beside those before it.
//
// Then it divides the time. Every step gets its minimum, or what is fair, and the
// same share of what lies between that and its maximum, as large as fits; what steps
// beside the longest path leave over, they may use.
func (p *Plan) Fit(available time.Duration, unbounded bool) Schedule {
	return p.FitAfter(0, available, unbounded)
}

// FitAfter is Fit with a wait before the first steps. The wait is a step with no
// minimum: it shrinks with the others and is never paid for with a step.
func (p *Plan) FitAfter(settle, available time.Duration, unbounded bool) Schedule {
	if unbounded {
		available = forever
	}
	parts := make([]part, len(p.steps))
	for i, c := range p.steps {
		parts[i] = newPart(c, p.after[i])
	}
	f := fit(parts, p.order, max(settle, 0), available, 0)
	s := Schedule{Settle: f.settle, Steps: make([]Scheduled, len(p.steps)), Enough: f.enough}
	starts, total := f.times()
	s.Total = total
	for i, c := range p.steps {
		s.Steps[i] = Scheduled{
			Name: c.Name, Kind: c.Kind, Optional: c.Optional, Min: c.Min, Max: c.Max,
			Offset: starts[i], Budget: f.budget[i], Shed: f.dropped[i],
		}
		switch {
		case f.dropped[i]:
			status, why := c.leftOut()
			s.Steps[i].Why = fmt.Sprintf("%s: %s", status, why)
		case f.budget[i] < c.Max:
			s.Steps[i].Why = fmt.Sprintf("cut from %s", c.Max)
		}
	}
	return s
}

// leftOut says what becomes of a step that does not fit, and why.
func (s StepConfig) leftOut() (status StepStatus, why string) {
	status, why = StepSkipped, "no time is left for it"
	if s.Optional {
		status = StepShed
	}
	if s.Min > 0 {
		why = fmt.Sprintf("its minimum of %s does not fit", s.Min)
	}
	return status, why
}

// A part is a step as the planner sees it. Unless it is dropped it has least: its
// minimum, or what is fair if there is enough for that.
type part struct {
	min, least, max time.Duration
	optional        bool
	after           []int
}

func newPart(c StepConfig, after []int) part {
	p := part{min: max(c.Min, min(c.Max, instant)), max: c.Max, optional: c.Optional, after: after}
	p.least = p.min
	if !p.optional {
		p.least = max(p.min, min(p.max/10, fair))
	}
	return p
}

// A fitting is the planner's answer.
type fitting struct {
	parts   []part
	order   []int // what comes after comes after
	settle  time.Duration
	budget  []time.Duration
	dropped []bool
	enough  bool
}

// fit is the planner. The minimums of required steps may pass the time that is
// available by late, or by a tenth of it if that is less.
func fit(parts []part, order []int, settle, available, late time.Duration) fitting {
	f := fitting{parts: parts, order: order, budget: make([]time.Duration, len(parts)), dropped: make([]bool, len(parts))}
	available = max(available, 0)
	f.choose(available, min(late, available/10))
	available = max(available, f.atLeast())
	if !f.enough {
		settle = 0 // a step that ends early may yet make room for one that is left out
	}

	low, high := uint64(0), uint64(fine) // the largest share that fits
	for low < high {
		mid := (low + high + 1) / 2
		if f.share(settle, mid) <= available {
			low = mid
		} else {
			high = mid - 1
		}
	}
	f.share(settle, low)
	f.spread(settle, available)
	return f
}

// choose decides which parts are dropped, and whether the others have what is fair.
func (f *fitting) choose(available, late time.Duration) {
	for i, p := range f.parts {
		f.dropped[i] = p.optional
	}
	ample := f.atLeast() <= available
	if !ample {
		available += late
		for i, p := range f.parts {
			f.parts[i].least, f.dropped[i] = p.min, true
		}
	}
	f.enough = true
	for _, i := range f.order {
		if f.parts[i].optional != ample {
			continue // that is decided
		}
		f.dropped[i] = false
		f.dropped[i] = f.atLeast() > available
		f.enough = f.enough && (ample || !f.dropped[i])
	}
}

// atLeast gives every part the least that it may have, and returns when the last
// one ends.
func (f *fitting) atLeast() time.Duration { return f.share(0, 0) }

// share gives every part that is not dropped its least and k of the fine shares of
// the rest, and returns when the last one ends.
func (f *fitting) share(settle time.Duration, k uint64) time.Duration {
	f.settle = portion(settle, k)
	for i, p := range f.parts {
		f.budget[i] = 0
		if !f.dropped[i] {
			f.budget[i] = p.least + portion(p.max-p.least, k)
		}
	}
	_, total := f.times()
	return total
}

// portion returns k fine shares of d, rounded down. k is at most fine.
func portion(d time.Duration, k uint64) time.Duration {
	hi, lo := bits.Mul64(uint64(d), k)
	q, _ := bits.Div64(hi, lo, fine)
	return time.Duration(q)
}

// spread gives each part in turn, and the settling last, what no path through it
// needs.
func (f *fitting) spread(settle, available time.Duration) {
	tails := make([]time.Duration, len(f.parts)) // the longest path that follows a part
	for _, i := range f.order {
		if f.dropped[i] || f.budget[i] == f.parts[i].max {
			continue
		}
		clear(tails)
		for _, j := range slices.Backward(f.order) {
			for _, before := range f.parts[j].after {
				tails[before] = max(tails[before], tails[j]+f.budget[j])
			}
		}
		starts, _ := f.times()
		slack := available - starts[i] - f.budget[i] - tails[i]
		f.budget[i] += max(0, min(slack, f.parts[i].max-f.budget[i]))
	}
	_, total := f.times()
	f.settle += max(0, min(available-total, settle-f.settle))
}

// times returns when each part begins, and when the last ends.
func (f *fitting) times() (starts []time.Duration, total time.Duration) {
	starts = make([]time.Duration, len(f.parts))
	ends := make([]time.Duration, len(f.parts))
	total = f.settle
	for _, i := range f.order {
		starts[i] = f.settle
		for _, before := range f.parts[i].after {
			starts[i] = max(starts[i], ends[before])
		}
		ends[i] = starts[i] + f.budget[i]
		total = max(total, ends[i])
	}
	return starts, total
}
