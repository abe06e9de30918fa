package drain

import (
	"errors"
	"slices"
	"time"
)

// Phase says what a Runner is doing.
type Phase string

// The phases of a drain.
const (
	PhaseNone       Phase = "" // no drain is in effect
	PhaseSettling   Phase = "settling"
	PhaseRunning    Phase = "running"
	PhaseFinished   Phase = "finished"
	PhaseFailed     Phase = "failed"
	PhaseUndraining Phase = "undraining"
)

// Status is a snapshot of the drain in effect, for operators.
type Status struct {
	Phase   Phase
	DrainID string
	// Causes holds what began the drain first, then what joined.
	Causes             []Cause
	StartedAt, EndedAt time.Time // EndedAt is zero while it is under way
	NotBefore          time.Time // zero: not known
	Deadline           time.Time // zero: none
	// Error says what failed, of the steps or of the cordon.
	Error string
	// Resumed says that the drain began before the agent was restarted, Believed
	// that only its flag told so.
	Resumed, Believed bool
	Steps             []StepProgress
	// Starting names the units that an undrain has started and waits for.
	Starting []string
}

// StepProgress is one step of a Status.
type StepProgress struct {
	Name, Kind string
	Optional   bool
	Status     StepStatus
	Error      string
	// Elapsed is how long the step runs or ran; Limit what it may take, as
	// planned now for a step that has not begun, and 0 before it was planned.
	Elapsed, Limit time.Duration
}

// Status returns what is the case now.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flight
	if f == nil {
		return Status{}
	}
	now := time.Now()
	s := Status{
		Phase: f.phase(), DrainID: f.id, Causes: slices.Clone(f.causes),
		StartedAt: f.startedAt.Round(0), EndedAt: f.endedAt.Round(0),
		NotBefore: f.notBefore.Round(0), Deadline: f.deadline.Round(0),
		Error: f.failure, Resumed: f.resumed, Believed: f.believed,
		Starting: f.starting,
	}
	if s.Error == "" && f.cordonErr != nil {
		s.Error = "cordon: " + f.cordonErr.Error()
	}
	for _, step := range f.gone {
		s.Steps = append(s.Steps, progress(step, false, now))
	}
	for i, step := range f.steps {
		s.Steps = append(s.Steps, progress(step.StepRecord, f.plan.steps[i].Optional, now))
	}
	return s
}

func progress(s StepRecord, optional bool, now time.Time) StepProgress {
	p := StepProgress{Name: s.Name, Kind: s.Kind, Optional: optional, Status: s.Status, Error: s.Error, Limit: s.Limit}
	if !s.StartedAt.IsZero() {
		end := s.EndedAt
		if end.IsZero() {
			end = now
		}
		p.Elapsed = max(0, end.Sub(s.StartedAt))
	}
	return p
}

func (f *flight) phase() Phase {
	switch {
	case f.undraining:
		return PhaseUndraining
	case f.result == ResultSucceeded:
		return PhaseFinished
	case f.result != ResultNone:
		return PhaseFailed
	case f.settling, f.settle > 0:
		return PhaseSettling
	default:
		return PhaseRunning
	}
}

// UndrainError returns what the last undrain of this process could not take back;
// nil when it took back everything.
func (r *Runner) UndrainError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.undone, ErrSuperseded) || errors.Is(r.undone, ErrInterrupted) {
		return nil // it goes on in another way
	}
	return r.undone
}

// Changed returns a channel that is closed at the next change of Status. To miss
// none, call it before Status.
func (r *Runner) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
