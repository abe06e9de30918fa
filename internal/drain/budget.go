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
	// Enough is false when the minimums of the required steps alone do not
	// fit. They then get what is left, in order.
	Enough bool
}

// Scheduled is one step of a Schedule.
type Scheduled struct {
	Name, Kind string
	Optional   bool
	// Offset is when the step begins at the latest, Budget the longest that it
	// may take.
	Offset, Budget time.Duration
	Min, Max       time.Duration
	// Shed says that the optional step is left out.
	Shed bool
	// Why says what was done to the step to make the plan fit; empty when
	// nothing was.
	Why string
}

// Fit fits the plan into the time that is available; unbounded lets every step
// have its maximum. It is pure, and the same input gives the same Schedule.
//
// When the maximums do not fit, every step gets its minimum and the same share
// of what lies between its minimum and its maximum, as large as fits; what steps
// beside the longest path leave over, they may use. When the minimums do not
// fit, optional steps are shed, the last first, but one whose minimum costs
// nothing stays.
func (p *Plan) Fit(available time.Duration, unbounded bool) Schedule {
	return p.FitAfter(0, available, unbounded)
}

// FitAfter is Fit with a wait before the first steps. The wait is a step with no
// minimum: it shrinks with the others and is never paid for with a step.
func (p *Plan) FitAfter(settle, available time.Duration, unbounded bool) Schedule {
	parts := make([]part, len(p.steps))
	for i, s := range p.steps {
		parts[i] = part{min: s.Min, max: s.Max, optional: s.Optional, after: p.after[i]}
	}
	f := fit(parts, p.order, max(settle, 0), available, unbounded)
	s := Schedule{Settle: f.settle, Steps: make([]Scheduled, len(p.steps)), Enough: f.enough}
	starts, total := f.times(parts, p.order)
	s.Total = total
	for i, c := range p.steps {
		s.Steps[i] = Scheduled{
			Name: c.Name, Kind: c.Kind, Optional: c.Optional, Min: c.Min, Max: c.Max,
			Offset: starts[i], Budget: f.budget[i], Shed: f.shed[i], Why: f.why(c, i),
		}
	}
	return s
}

// A part is a step as the planner sees it.
type part struct {
	min, max time.Duration
	optional bool
	after    []int
}

// A fitting is the planner's answer.
type fitting struct {
	settle time.Duration
	budget []time.Duration
	shed   []bool
	enough bool
}

// fine is the number of shares into which the room between minimum and maximum
// is divided.
const fine = 1 << 30

// fit is the planner. order lists parts after what they come after.
func fit(parts []part, order []int, settle, available time.Duration, unbounded bool) fitting {
	f := fitting{budget: make([]time.Duration, len(parts)), shed: make([]bool, len(parts)), enough: true}
	if unbounded {
		f.settle = settle
		for i, p := range parts {
			f.budget[i] = p.max
		}
		return f
	}
	available = max(available, 0)

	// Which steps: all required ones, and of the optional ones, from the first
	// to the last, each whose minimum fits beside those before it. That is
	// shedding the last first, without shedding what costs nothing.
	for i, p := range parts {
		f.shed[i] = p.optional
	}
	f.share(parts, 0, 0)
	if f.total(parts, order) > available {
		f.enough = false
		f.truncate(parts, order, available)
		return f
	}
	for i, p := range parts {
		if !p.optional {
			continue
		}
		f.shed[i] = false
		f.share(parts, 0, 0)
		f.shed[i] = f.total(parts, order) > available
	}

	// How long: the largest share that fits.
	low, high := uint64(0), uint64(fine)
	for low < high {
		mid := (low + high + 1) / 2
		if f.share(parts, settle, mid); f.total(parts, order) <= available {
			low = mid
		} else {
			high = mid - 1
		}
	}
	f.share(parts, settle, low)
	f.spread(parts, order, settle, available)
	for i, p := range parts {
		if p.optional && p.max > 0 && f.budget[i] == 0 {
			f.shed[i] = true
		}
	}
	return f
}

// share gives every step that is not shed its minimum and k of the fine shares
// of the rest.
func (f *fitting) share(parts []part, settle time.Duration, k uint64) {
	f.settle = portion(settle, k)
	for i, p := range parts {
		f.budget[i] = 0
		if !f.shed[i] {
			f.budget[i] = p.min + portion(p.max-p.min, k)
		}
	}
}

// portion returns k fine shares of d, rounded down. k is at most fine.
func portion(d time.Duration, k uint64) time.Duration {
	hi, lo := bits.Mul64(uint64(d), k)
	q, _ := bits.Div64(hi, lo, fine)
	return time.Duration(q)
}

// truncate gives required steps their minimums as long as there is time.
func (f *fitting) truncate(parts []part, order []int, available time.Duration) {
	f.settle = 0
	ends := make([]time.Duration, len(parts))
	for _, i := range order {
		start := latest(ends, parts[i].after)
		f.budget[i] = 0
		if !f.shed[i] {
			f.budget[i] = min(parts[i].min, available-start)
		}
		ends[i] = start + f.budget[i]
	}
}

// spread gives each step in turn, and the settling last, what no path through
// it needs.
func (f *fitting) spread(parts []part, order []int, settle, available time.Duration) {
	tails := make([]time.Duration, len(parts)) // the longest path that follows a step
	for _, i := range order {
		if f.shed[i] || f.budget[i] == parts[i].max {
			continue
		}
		clear(tails)
		for _, j := range slices.Backward(order) {
			for _, before := range parts[j].after {
				tails[before] = max(tails[before], tails[j]+f.budget[j])
			}
		}
		starts, _ := f.times(parts, order)
		slack := available - starts[i] - f.budget[i] - tails[i]
		f.budget[i] += max(0, min(slack, parts[i].max-f.budget[i]))
	}
	f.settle += max(0, min(available-f.total(parts, order), settle-f.settle))
}

// times returns when each step begins, and when the last ends.
func (f *fitting) times(parts []part, order []int) (starts []time.Duration, total time.Duration) {
	starts = make([]time.Duration, len(parts))
	ends := make([]time.Duration, len(parts))
	total = f.settle
	for _, i := range order {
		starts[i] = max(f.settle, latest(ends, parts[i].after))
		ends[i] = starts[i] + f.budget[i]
		total = max(total, ends[i])
	}
	return starts, total
}

func (f *fitting) total(parts []part, order []int) time.Duration {
	_, total := f.times(parts, order)
	return total
}

// why says what was done to step i.
func (f *fitting) why(s StepConfig, i int) string {
	switch b := f.budget[i]; {
	case f.shed[i] && s.Min > 0:
		return fmt.Sprintf("shed: its minimum of %s does not fit", s.Min)
	case f.shed[i]:
		return "shed: no time is left for it"
	case b < s.Min:
		return fmt.Sprintf("less than its minimum of %s", s.Min)
	case b < s.Max:
		return fmt.Sprintf("cut from %s", s.Max)
	default:
		return ""
	}
}

// latest returns the latest of some ends.
func latest(ends []time.Duration, which []int) time.Duration {
	var t time.Duration
	for _, i := range which {
		t = max(t, ends[i])
	}
	return t
}
