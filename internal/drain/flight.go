package drain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A flight is a drain in effect. Runner.mu guards its fields, except those that
// are set before it is shared.
type flight struct {
	id    string
	plan  *Plan
	done  chan struct{} // closed when the drain has ended or was interrupted
	nudge chan struct{} // a token: the deadline has moved

	resumed            bool
	believed           bool // known from the flag alone
	driven             bool // a call runs it
	urgent             bool // no time to settle
	causes             []Cause
	startedAt, endedAt time.Time
	notBefore          time.Time
	deadline           time.Time     // the earliest that was asked for, as the wall clock says
	end                time.Time     // the same on the monotonic clock, or earlier: what is acted on, see look
	settle             time.Duration // what is left of the wait
	settling           bool
	steps              []stepState  // as plan.steps
	gone               []StepRecord // of a plan before a restart
	leftovers          []Leftover   // begun, and not in the plan
	result             Result
	failure            string
	cordonErr          error
	err                error // why there is no result

	cancel                   context.CancelCauseFunc // nil until driven
	undraining               bool
	undrainBy, undrainReason string
	starting                 []string // units that the undrain started and that are not up
}

// stepState is a step of a flight.
type stepState struct {
	StepRecord
	began bool // it may have effects that have to be taken back
	// stopAt is when its context ends, giveUpAt when it is abandoned; both
	// only while it runs. told says that its context was ended.
	stopAt, giveUpAt time.Time
	told             bool
	cancel           context.CancelCauseFunc
}

func newFlight(id string, plan *Plan, settle time.Duration) *flight {
	f := &flight{
		id: id, plan: plan, settle: settle,
		done: make(chan struct{}), nudge: make(chan struct{}, 1),
		steps: make([]stepState, len(plan.steps)),
	}
	for i, s := range plan.steps {
		f.steps[i].StepRecord = StepRecord{Name: s.Name, Kind: s.Kind, Status: StepPending}
	}
	return f
}

// inherit takes over what a drain that is being taken back has stopped and not
// started again: to take this one back means to start that too. What the plan no
// longer has, or now has with another unit, is kept apart.
func (f *flight) inherit(begun ...Leftover) {
	for _, b := range begun {
		i := slices.IndexFunc(f.plan.steps, func(s StepConfig) bool {
			return s.Name == b.Step && (b.Unit == "" || b.Unit == undoneBy(s.Step))
		})
		switch {
		case i >= 0:
			f.steps[i].began = true
		case b.Unit != "" && !slices.Contains(f.leftovers, b):
			f.leftovers = append(f.leftovers, b)
		}
	}
}

// patience is what a disk that hangs may cost the drain: a tenth of what is left
// now, and no more than a second.
func (f *flight) patience() time.Duration {
	if f.end.IsZero() {
		return maxPatience
	}
	return min(max(0, time.Until(f.end)/10), maxPatience)
}

// hopeless reports whether the drain has failed, and the request is an operator's
// or brings a cause of its own: then what is not done is tried again, in the time
// that it brings.
func (f *flight) hopeless(req Request) bool {
	return f.result == ResultFailed && (req.Cause.Kind == Operator || !slices.ContainsFunc(f.causes, req.Cause.same))
}

// follow makes the flight the next try of one that has failed: its causes still
// want the drain, and what it has done is not done again. It returns the entries
// that tell the journal so, after the one that began the flight.
func (f *flight) follow(failed *flight) []Entry {
	f.settle = 0 // traffic has gone
	var entries []Entry
	for _, cause := range failed.causes {
		if slices.ContainsFunc(f.causes, cause.same) {
			continue
		}
		f.causes = append(f.causes, cause)
		entries = append(entries, Entry{Kind: CauseJoined, DrainID: f.id, Cause: &cause})
	}
	for i := range f.steps {
		s := &f.steps[i]
		for _, old := range failed.steps {
			if old.Name == s.Name && old.Status == StepDone {
				s.StepRecord = old.StepRecord
				entries = append(entries, Entry{Kind: StepFinished, DrainID: f.id, Step: s.Name, StepKind: s.Kind, Result: string(StepDone)})
			}
		}
	}
	return entries
}

// begun returns the steps that may have effects that have to be taken back.
func (f *flight) begun() []Leftover {
	begun := slices.Clone(f.leftovers)
	for i, s := range f.steps {
		if s.began {
			begun = append(begun, Leftover{s.Name, undoneBy(f.plan.steps[i].Step)})
		}
	}
	return begun
}

// joined adds the cause and the times of a request, and reports whether that
// changed anything.
func (f *flight) joined(req Request) bool {
	changed := add(&f.causes, req.Cause)
	if req.Urgent && !f.urgent {
		f.urgent, changed = true, true
		f.nudged()
	}
	if t := earlier(f.notBefore, req.NotBefore); !t.Equal(f.notBefore) {
		f.notBefore, changed = t, true
	}
	if t := earlier(f.deadline, req.Deadline); !t.Equal(f.deadline) {
		f.deadline, changed = t, true
		f.end = earlier(f.end, anchor(time.Now(), t))
		f.nudged()
	}
	return changed
}

// lateness is how much less than its minimum a step may begin with: what fsyncs
// and timers took of a plan that did fit.
const lateness = 100 * time.Millisecond

// look takes the deadline from the clock that leaves less time: the one on the wall
// may have been set, and the monotonic one stands still while the machine is
// suspended. It only moves earlier.
func (f *flight) look(now time.Time) {
	before := f.end
	if f.end = earlier(f.end, anchor(now, f.deadline)); before.Sub(f.end) > lateness {
		f.nudged()
	}
}

// nudged tells who runs the flight that there is less time.
func (f *flight) nudged() {
	select {
	case f.nudge <- struct{}{}:
	default:
	}
}

// refit fits what is left of the plan into what is left of the time. A step that
// runs may be cut short, but not below its minimum unless the deadline is.
func (f *flight) refit(now time.Time, settle time.Duration) fitting {
	f.look(now)
	available := forever
	if !f.end.IsZero() {
		available = max(0, f.end.Sub(now))
	}
	parts := make([]part, len(f.steps))
	for i := range f.steps {
		s, c := &f.steps[i], f.plan.steps[i]
		switch {
		case s.Status == StepRunning:
			p := part{max: max(0, s.giveUpAt.Sub(now)), optional: c.Optional}
			p.min = max(0, min(c.Min-now.Sub(s.StartedAt), p.max, available))
			p.least = p.min
			parts[i] = p
		case !s.Status.final():
			parts[i] = newPart(c, nil)
		}
		parts[i].after = f.plan.after[i]
	}
	fitted := fit(parts, f.plan.order, settle, available, lateness)
	for i := range f.steps {
		if f.steps[i].Status == StepPending {
			f.steps[i].Limit = min(fitted.budget[i], available)
		}
	}
	return fitted
}

// due reports whether everything that step i comes after has ended.
func (f *flight) due(i int) bool {
	return f.steps[i].Status == StepPending &&
		!slices.ContainsFunc(f.plan.after[i], func(before int) bool { return !f.steps[before].Status.final() })
}

// verdict returns the result that the steps add up to, and what failed.
func (f *flight) verdict() (Result, string) {
	var failed []string
	for i, s := range f.steps {
		if s.Status == StepDone || f.plan.steps[i].Optional {
			continue
		}
		what := fmt.Sprintf("step %s: %s", s.Name, s.Status)
		if s.Error != "" {
			what += ": " + s.Error
		}
		failed = append(failed, what)
	}
	if len(failed) > 0 {
		return ResultFailed, cut(strings.Join(failed, "; "))
	}
	return ResultSucceeded, ""
}

// records returns the steps, those of an earlier plan first.
func (f *flight) records() []StepRecord {
	records := slices.Clone(f.gone)
	for _, s := range f.steps {
		records = append(records, s.StepRecord)
	}
	return records
}

func (f *flight) outcome() Outcome {
	return Outcome{DrainID: f.id, Result: f.result, Error: f.failure, Steps: f.records(), Resumed: f.resumed}
}

func (f *flight) brief(within time.Duration) Brief {
	b := Brief{DrainID: f.id, NotBefore: f.notBefore, Deadline: f.deadline, StopWithin: within}
	if len(f.causes) > 0 {
		b.Cause = f.causes[0]
	}
	return b
}
