package drain

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// A Step does one thing that lets the node go. It is idempotent: it may run
// again after a crash, also when it had done its work but the journal could not
// say so any more.
//
// The context ends when the step's time is up, or when the drain is taken back
// or the agent stops; its deadline, if a step cares, is never later than that
// but the end may come earlier. BriefFrom tells what the drain is about.
type Step interface {
	Run(ctx context.Context) error
}

// An Undoer is a step that can be taken back when the node stays after all. Undo
// is idempotent too, and is called for every step that has begun, also for one
// that failed.
type Undoer interface {
	Undo(ctx context.Context) error
}

// A StepConfig puts a step into a plan.
type StepConfig struct {
	Name string
	// Kind is target, unit, hook, exec, connections, webhook or sleep; it
	// chooses the default of Max and is a label of metrics.
	Kind string
	// Min is the least time with which the step is begun; 0: any.
	Min time.Duration
	// Max is the longest that the step may take. 0: 60s for target and unit,
	// 30s for hook, exec and connections, 5s for webhook, its length for sleep;
	// at least Min in any case.
	Max time.Duration
	// Optional steps are shed before a required one has too little, and do not
	// make the drain a failure.
	Optional bool
	// After names the steps that must have ended before this one begins,
	// whatever became of them. Unless AfterSet it is the step before this one;
	// with AfterSet and no names the step begins at once.
	After    []string
	AfterSet bool
	Step     Step
}

// maxStep bounds the time of one step.
const maxStep = 7 * 24 * time.Hour

// defaultMax is the longest that a step of a kind takes unless it says so.
var defaultMax = map[string]time.Duration{
	"target":      60 * time.Second,
	"unit":        60 * time.Second,
	"hook":        30 * time.Second,
	"exec":        30 * time.Second,
	"connections": 30 * time.Second,
	"webhook":     5 * time.Second,
}

// otherMax is defaultMax for every other kind.
const otherMax = 30 * time.Second

// A Plan is a valid list of steps. It is immutable.
type Plan struct {
	steps []StepConfig // as configured, with defaults filled in
	after [][]int      // per step, indices
	order []int        // what comes after comes after
}

// NewPlan checks the steps and fills in defaults. The error joins one for every
// fault: a missing or repeated name, an unknown name in After, a cycle, a
// minimum above the maximum, a time out of range. No steps at all make a valid
// plan.
func NewPlan(steps []StepConfig) (*Plan, error) {
	p := &Plan{steps: make([]StepConfig, len(steps)), after: make([][]int, len(steps))}
	var errs []error
	nodes := make([]graph.Node, len(steps))
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		if !s.AfterSet {
			s.After = nil
			if i > 0 {
				s.After = []string{steps[i-1].Name}
			}
		}
		if err := complete(&s); err != nil {
			errs = append(errs, fmt.Errorf("drain step %s: %w", label(i, s.Name), err))
		}
		p.steps[i] = s
		nodes[i] = graph.Node{Name: s.Name, DependsOn: s.After}
		if _, ok := index[s.Name]; !ok {
			index[s.Name] = i
		}
	}
	order, err := graph.Order(nodes)
	for _, err := range unjoin(err) {
		if g, ok := errors.AsType[*graph.Error](err); ok {
			err = fmt.Errorf("drain step %s: %w", label(g.Node, steps[g.Node].Name), g)
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p.order = order
	for i, s := range p.steps {
		for _, name := range s.After {
			p.after[i] = append(p.after[i], index[name])
		}
	}
	return p, nil
}

// complete fills in the defaults of a step and checks what is left.
func complete(s *StepConfig) error {
	if s.Max == 0 {
		limit, ok := defaultMax[s.Kind]
		if d, sleeps := s.Step.(sleepStep); sleeps {
			limit, ok = time.Duration(d), true
		}
		if !ok {
			limit = otherMax
		}
		s.Max = max(limit, s.Min)
	}
	switch {
	case s.Name == "":
		return errors.New("name is missing")
	case s.Step == nil:
		return errors.New("nothing to run")
	case s.Min < 0 || s.Max < 0:
		return errors.New("min and max must not be negative")
	case s.Min > s.Max:
		return fmt.Errorf("min %s is more than max %s", s.Min, s.Max)
	case s.Max > maxStep:
		return fmt.Errorf("max %s is more than %s", s.Max, maxStep)
	}
	return nil
}

func label(i int, name string) string {
	if name == "" {
		return strconv.Itoa(i + 1)
	}
	return strconv.Quote(name)
}

// unjoin returns the errors that were joined into err.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
