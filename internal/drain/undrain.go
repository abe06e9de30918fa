package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	// undoLimit bounds the time for taking back one step.
	undoLimit = 60 * time.Second
	// cordonLimit bounds the last step of an undrain when its context is gone.
	cordonLimit = 5 * time.Second
)

// Undrain returns the node to service: it journals the intent, stops the drain
// if one runs, takes back the steps that began in reverse order, journals the
// end, and lifts the cordon last. With no drain in effect it only lifts the
// cordon. A second call waits for the first.
//
// The error joins what could not be taken back, which does not keep the node out
// of service: health checks tell whether it can serve. What a check has seen counts
// when it was seen after the units were up that the steps started, for which
// Undrain waits, within a bound, before it lifts the cordon. ErrInterrupted means that
// ctx ended first, and ErrSuperseded that a new drain did not wait; the cordon
// stays then.
func (r *Runner) Undrain(ctx context.Context, by, reason string) error {
	r.admit.Lock()
	r.mu.Lock()
	if u := r.undoing; u != nil {
		r.mu.Unlock()
		r.admit.Unlock()
		select {
		case <-u.done:
			return u.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the undrain to end: %w", context.Cause(ctx))
		}
	}
	f := r.flight
	if f == nil {
		r.mu.Unlock()
		defer r.admit.Unlock()
		return r.lift(ctx)
	}
	uctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u := &undoing{cancel: cancel, done: make(chan struct{})}
	r.undoing = u
	known := f.undraining // resumed
	f.undraining, f.undrainBy, f.undrainReason = true, by, reason
	stop := f.cancel
	r.notify()
	r.mu.Unlock()
	if !known {
		r.append(f, Entry{Kind: UndrainStarted, DrainID: f.id, By: by, Reason: reason})
		r.log.LogAttrs(ctx, slog.LevelInfo, "undrain begun", slog.String("drain_id", f.id), slog.String("by", by), slog.String("reason", reason))
	}
	r.admit.Unlock()

	if stop != nil {
		stop(errUndrain)
	}
	err := r.undo(uctx, f)

	r.mu.Lock()
	u.err, r.undone = err, err
	r.undoing = nil
	r.notify()
	r.mu.Unlock()
	close(u.done)
	return err
}

// undo takes back a flight.
func (r *Runner) undo(ctx context.Context, f *flight) error {
	r.mu.Lock()
	idle := !f.driven && f.result == ResultNone // begun by an agent that was killed
	if idle {
		f.driven = true // by this call: Resume is not to begin with it
		f.cancelRest()
	}
	r.mu.Unlock()
	if idle {
		r.finish(ctx, f, ResultCancelled, "")
	}
	<-f.done // soon: its context has ended, and what goes on is abandoned

	var errs []error
	var started []starter
	if r.cfg.Release != nil {
		if err := r.cfg.Release(ctx); err != nil {
			errs = append(errs, fmt.Errorf("let workloads start: %w", err))
		}
	}
	// takeBack takes back one step and then forgets that it began: a drain that
	// supersedes the undrain need not start it.
	takeBack := func(name string, step Undoer, forget func()) {
		if ctx.Err() != nil {
			return
		}
		if s, ok := step.(starter); ok {
			started = append(started, s)
		}
		sctx, cancel := context.WithTimeout(withBrief(ctx, f.brief(patience)), undoLimit)
		err := step.Undo(sctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("not done within %s, and perhaps since: %w", undoLimit, err)
		}
		if err != nil {
			err = fmt.Errorf("take back step %s: %w", name, err)
			r.log.LogAttrs(ctx, slog.LevelError, "step not taken back", slog.String("drain_id", f.id), slog.Any("err", err))
			errs = append(errs, err)
			return
		}
		r.mu.Lock()
		forget()
		r.mu.Unlock()
	}
	for _, l := range slices.Backward(slices.Clone(f.leftovers)) {
		takeBack(l.Step+", which the plan no longer has", unitStep{r.cfg.Units, l.Unit}, func() {
			f.leftovers = slices.DeleteFunc(f.leftovers, func(other Leftover) bool { return other == l })
		})
	}
	for _, i := range slices.Backward(f.plan.order) {
		if step, ok := f.plan.steps[i].Step.(Undoer); ok && f.steps[i].began {
			takeBack(f.steps[i].Name, step, func() { f.steps[i].began = false })
		}
	}
	r.awaitStarted(ctx, f, started)
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, ErrSuperseded) {
			return fmt.Errorf("undrain: %w", ErrSuperseded)
		}
		return fmt.Errorf("undrain: %w", ErrInterrupted)
	}
	err := errors.Join(errs...)
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.append(f, Entry{Kind: UndrainFinished, DrainID: f.id, Error: text})
	// A drain that is asked for from here on waits until this is over, and
	// begins anew.
	err = errors.Join(err, r.lift(ctx))
	r.mu.Lock()
	r.flight = nil
	r.mu.Unlock()
	r.cfg.Journal.SetPatience(maxPatience)
	r.log.LogAttrs(ctx, slog.LevelInfo, "undrain ended", slog.String("drain_id", f.id))
	return err
}

// lift takes the node back into service.
func (r *Runner) lift(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cordonLimit)
	defer cancel()
	if err := r.cfg.Cordon(ctx, nil); err != nil {
		return fmt.Errorf("lift the cordon: %w", err)
	}
	return nil
}
