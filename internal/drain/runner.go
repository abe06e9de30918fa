package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrInterrupted says that the context of a drain or undrain ended first,
	// as it does when the agent stops. The journal holds where it stood, and
	// Resume goes on from there.
	ErrInterrupted = errors.New("interrupted, and resumed when the agent starts again")
	// ErrSuperseded says that a new drain began before the undrain had ended.
	ErrSuperseded = errors.New("superseded by a new drain")

	errUndrain = errors.New("the drain was taken back")
	errLimit   = errors.New("its time is up")
)

// A Config configures a Runner.
type Config struct {
	Plan    *Plan
	Journal *Journal
	// Units starts what a drain stopped by a step that the plan no longer has;
	// nil: that fails and says so.
	Units Units
	// Settle is how long to wait after the cordon until traffic has gone
	// elsewhere. It shrinks with the steps when time is short.
	Settle time.Duration
	// Cordon takes the node out of service for the drain that the flag tells
	// of, and back in when that is nil. It is idempotent and does not hang: it
	// is called before anything else is done about a drain, the journal and
	// the log included, again for each cause that joins and when the drain is
	// resumed, and with nil last of all. An error is logged and reported in
	// Status; the drain goes on, for the node goes away in any case.
	Cordon func(ctx context.Context, f *Flag) error
	// Release, if set, is called before the steps of a drain are taken back. It
	// lets workloads start again while the node stays unready: it removes the
	// flag file that their ConditionPathExists= names. It is idempotent.
	Release func(ctx context.Context) error
	Logger  *slog.Logger
	// Registerer gets the metrics; nil: none.
	Registerer prometheus.Registerer
}

// A Runner drains the node and takes that back. It runs one drain at a time. All
// methods are safe for concurrent use.
type Runner struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	// admit is held while it is decided what a request means and until that
	// is journaled, so that entries are in the order of the decisions. It is
	// taken before mu, which guards everything that follows and is never held
	// during I/O.
	admit   turn
	mu      sync.Mutex
	plan    *Plan
	settle  time.Duration
	flight  *flight // the drain in effect; nil: none
	undoing *undoing
	changed chan struct{}
	undone  error // what the last undrain could not take back
}

// A turn is a mutex of capacity 1, for one that is held while time passes: the
// virtual time of tests passes beside who waits for it, which it does not for a
// sync.Mutex.
type turn chan struct{}

// Lock waits for the turn.
func (t turn) Lock() { t <- struct{}{} }

// Unlock gives it on.
func (t turn) Unlock() { <-t }

// undoing is an undrain under way.
type undoing struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at its end
	err    error         // valid then
}

// New returns a Runner that knows of the drain in effect, if the journal has
// one, and does nothing about it until Resume or Drain.
func New(cfg Config) (*Runner, error) {
	switch {
	case cfg.Plan == nil:
		return nil, errors.New("new drain runner: no plan")
	case cfg.Journal == nil:
		return nil, errors.New("new drain runner: no journal")
	case cfg.Cordon == nil:
		return nil, errors.New("new drain runner: no cordon")
	case cfg.Settle < 0:
		return nil, fmt.Errorf("new drain runner: settle %s is negative", cfg.Settle)
	}
	r := &Runner{
		cfg: cfg, log: cfg.Logger,
		plan: cfg.Plan, settle: cfg.Settle, changed: make(chan struct{}), admit: make(turn, 1),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.flight = r.restore()
	var err error
	if r.metrics, err = newMetrics(cfg.Registerer, r); err != nil {
		return nil, fmt.Errorf("register drain metrics: %w", err)
	}
	return r, nil
}

// SetPlan replaces the plan and the wait for the drains that begin later. A
// drain in effect goes on with its own.
func (r *Runner) SetPlan(p *Plan, settle time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan, r.settle = p, max(settle, 0)
}

// An Outcome says how a drain ended.
type Outcome struct {
	DrainID string
	Result  Result
	Error   string // what failed, for an operator
	Steps   []StepRecord
	// Resumed says that the drain began before the agent was restarted.
	Resumed bool
}

// Drain drains the node and returns when that has ended, well or not; the error
// is nil then. It is single-flight: while a drain is in effect, under way or
// ended, the request joins it, can only move its deadline earlier, and gets its
// outcome. An undrain under way is stopped.
//
// When ctx of the call that runs the drain ends, the drain is interrupted, not
// ended: nothing is journaled as finished, and every call returns ErrInterrupted.
// So ctx is that of the agent's life, not that of a client's request. A call
// that joined only stops waiting when its ctx ends.
func (r *Runner) Drain(ctx context.Context, req Request) (Outcome, error) {
	for {
		f, run, wait := r.request(ctx, req)
		switch {
		case wait != nil:
			select {
			case <-wait:
				continue // decide again
			case <-ctx.Done():
				return Outcome{}, fmt.Errorf("wait for the undrain to stop: %w", context.Cause(ctx))
			}
		case run:
			return r.drive(ctx, f)
		default:
			return r.join(ctx, f)
		}
	}
}

// request decides what a request means: the flight that it is part of, whether
// the caller has to run it, or what to wait for before it is decided again.
func (r *Runner) request(ctx context.Context, req Request) (f *flight, run bool, wait <-chan struct{}) {
	r.admit.Lock()
	defer r.admit.Unlock()

	r.mu.Lock()
	if u := r.undoing; u != nil {
		r.mu.Unlock()
		u.cancel(ErrSuperseded)
		return nil, false, u.done
	}
	f = r.flight
	var e Entry
	var more []Entry
	if old := f; old == nil || old.undraining || old.hopeless(req) {
		f = r.begin(req)
		if old != nil {
			f.inherit(old.begun()...)
		}
		e = Entry{Kind: DrainStarted, Urgent: req.Urgent, Inherited: f.begun()}
		if old != nil && !old.undraining {
			more = f.follow(old)
		}
		r.flight = f
	} else if f.joined(req) {
		e = Entry{Kind: CauseJoined, Urgent: req.Urgent}
	}
	if run = !f.driven && f.result == ResultNone; run {
		f.driven = true
	}
	r.notify()
	r.mu.Unlock()

	if e.Kind != "" || run {
		r.cordon(ctx, f)
	}
	if e.Kind == DrainStarted {
		r.cfg.Journal.SetPatience(f.patience())
	}
	if e.Kind != "" {
		e.DrainID, e.Cause = f.id, &req.Cause
		e.NotBefore, e.Deadline = pointer(req.NotBefore), pointer(req.Deadline)
		r.append(f, append([]Entry{e}, more...)...)
		r.mu.Lock()
		r.notify() // again: who waits for the entry looks now
		r.mu.Unlock()
		r.log.LogAttrs(ctx, slog.LevelInfo, "drain requested", slog.String("drain_id", f.id), slog.String("entry", string(e.Kind)),
			slog.String("cause", string(req.Cause.Kind)), slog.String("event_id", req.Cause.EventID),
			slog.String("event_type", req.Cause.EventType), slog.Time("deadline", req.Deadline), slog.String("reason", req.Cause.Reason))
	}
	if req.Journaled != nil {
		req.Journaled(r.cfg.Journal.Durable())
	}
	return f, run, nil
}

// join waits for the outcome of a flight that another call runs, or that has
// ended.
func (r *Runner) join(ctx context.Context, f *flight) (Outcome, error) {
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			return Outcome{}, fmt.Errorf("wait for the drain to end: %w", context.Cause(ctx))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.outcome(), f.err
}

// Resume takes up what the journal says is in effect in this boot, and returns
// when that has ended: it goes on with a drain that was interrupted, without
// repeating a finished step and with the deadline that it had; with an undrain
// that was; and keeps a node that is drained out of service. It reports false
// when nothing was in effect, and then lifts a cordon that may have been left
// behind, unless the journal was not read and does not know.
//
// Cordon is called before anything else.
func (r *Runner) Resume(ctx context.Context) (Outcome, bool, error) {
	r.admit.Lock()
	r.mu.Lock()
	if r.flight == nil {
		r.flight = r.restore() // the journal may have been read since New
	}
	f := r.flight
	if f == nil {
		r.mu.Unlock()
		defer r.admit.Unlock()
		if !r.cfg.Journal.Opened() {
			return Outcome{}, false, nil
		}
		if err := r.cfg.Cordon(ctx, nil); err != nil {
			return Outcome{}, false, fmt.Errorf("lift the cordon: %w", err)
		}
		return Outcome{}, false, nil
	}
	unfinished := f.result == ResultNone
	run := unfinished && !f.driven
	if run {
		f.driven = true
	}
	undo := f.undraining && r.undoing == nil
	keep := run || undo || !unfinished && !f.undraining
	r.mu.Unlock()
	if keep { // before admit is released: an undrain that comes next has the last word
		r.cordon(ctx, f)
	}
	if run {
		r.cfg.Journal.SetPatience(f.patience())
	}
	r.admit.Unlock()

	var o Outcome
	var err error
	switch {
	case undo:
		err = r.Undrain(ctx, f.undrainBy, f.undrainReason)
		r.mu.Lock()
		o = f.outcome()
		r.mu.Unlock()
	case run:
		o, err = r.drive(ctx, f)
	default:
		o, err = r.join(ctx, f)
	}
	return o, true, err
}

// begin returns the flight of a new drain.
func (r *Runner) begin(req Request) *flight {
	now := time.Now()
	f := newFlight(r.cfg.Journal.newDrainID(), r.plan, r.settle)
	f.startedAt = now
	f.causes = []Cause{req.Cause}
	f.notBefore, f.deadline, f.end = req.NotBefore, req.Deadline, anchor(now, req.Deadline)
	if req.Urgent {
		f.urgent, f.settle = true, 0
	}
	return f
}

// restore returns the flight that the journal has in effect, or nil.
func (r *Runner) restore() *flight {
	d := r.cfg.Journal.State().Drain
	if d == nil {
		return nil
	}
	now := time.Now()
	f := newFlight(d.ID, r.plan, r.settle)
	f.resumed = true
	f.causes, f.startedAt, f.endedAt = d.Causes, d.StartedAt, d.EndedAt
	f.notBefore, f.deadline, f.end = d.NotBefore, d.Deadline, anchor(now, d.Deadline)
	f.result, f.failure = d.Result, d.Error
	f.undraining, f.undrainBy, f.undrainReason = d.Undraining, d.UndrainBy, d.UndrainReason
	// The wait goes on where it was. What the clock says about that is only
	// believed within reason.
	f.settle = min(max(f.settle-now.Sub(d.StartedAt), 0), f.settle)
	f.urgent = d.Urgent
	if d.Urgent || len(d.Steps) > 0 {
		f.settle = 0
	}
	f.inherit(d.Inherited...)
	for _, s := range d.Steps {
		if !s.StartedAt.IsZero() {
			f.inherit(Leftover{s.Name, s.Unit})
		}
		i := slices.IndexFunc(f.steps, func(step stepState) bool { return step.Name == s.Name })
		if i < 0 { // no longer in the plan
			f.gone = append(f.gone, s)
			continue
		}
		if s.Status.final() {
			f.steps[i].StepRecord = s
		}
	}
	if f.result != ResultNone {
		close(f.done)
	}
	return f
}

// anchor ties a time of the wall clock to the monotonic one, so that a clock that
// is set while a drain is under way moves no deadline.
func anchor(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now.Round(0)))
}

// append journals entries, and waits until they are durable, but not past the
// time when a step that runs has to be looked after. An error is the journal's to
// report: the drain goes on.
func (r *Runner) append(f *flight, entries ...Entry) {
	limit := maxPatience
	if wake, running := r.nextWake(f); running {
		limit = min(limit, time.Until(wake))
	}
	last := len(entries) - 1
	for _, e := range entries[:last] {
		r.cfg.Journal.Note(e)
	}
	_ = r.cfg.Journal.AppendWithin(entries[last], limit) // logged and counted there, and shown by Degraded
}

// cordon takes the node out of service.
func (r *Runner) cordon(ctx context.Context, f *flight) {
	r.mu.Lock()
	flag := r.flag(f)
	r.mu.Unlock()
	err := r.cfg.Cordon(context.WithoutCancel(ctx), flag)
	r.mu.Lock()
	f.cordonErr = err
	r.notify()
	r.mu.Unlock()
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelError, "cordon failed, draining all the same", slog.String("drain_id", f.id), slog.Any("err", err))
	}
}

// notify tells those who wait for a change. mu is held.
func (r *Runner) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}
