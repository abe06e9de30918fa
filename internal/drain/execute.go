package drain

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	// stopGrace is how long before its limit a step that has something to
	// kill is told to stop, at most; a tenth of a short limit otherwise.
	stopGrace = time.Second
	// patience is how long a step that should end at once may take, before it
	// is abandoned.
	patience = 500 * time.Millisecond
	// lookEvery is how often the clocks are looked at while nothing happens.
	lookEvery = time.Second
)

// A stopper is a step for which stopping is work that belongs into its limit:
// something has to be killed.
type stopper interface {
	stopping()
}

// A stepEnd is what a step's goroutine says last.
type stepEnd struct {
	step int
	err  error
	at   time.Time
}

// drive runs a flight to its end. The caller has set driven.
func (r *Runner) drive(ctx context.Context, f *flight) (Outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	f.cancel = cancel
	if f.undraining { // asked for between request and now
		cancel(errUndrain)
	}
	r.mu.Unlock()

	complete := r.settleDown(ctx, f) && r.runSteps(ctx, f)

	r.mu.Lock()
	result, failure := ResultNone, ""
	switch {
	case complete && !f.cancelled():
		result, failure = f.verdict()
	case errors.Is(context.Cause(ctx), errUndrain):
		result = ResultCancelled // undrain-started says so in the journal
		f.cancelRest()
	}
	r.mu.Unlock()

	if result == ResultSucceeded || result == ResultFailed {
		r.append(f, Entry{Kind: DrainFinished, DrainID: f.id, Result: string(result), Error: failure})
	}
	r.finish(ctx, f, result, failure)

	r.mu.Lock()
	defer r.mu.Unlock()
	return f.outcome(), f.err
}

// finish gives a flight its result, or takes note that it was interrupted.
func (r *Runner) finish(ctx context.Context, f *flight, result Result, failure string) {
	r.mu.Lock()
	f.result, f.failure, f.endedAt = result, failure, time.Now()
	if result == ResultNone {
		f.err, f.endedAt = ErrInterrupted, time.Time{}
		if r.flight == f {
			r.flight = r.restore()
		}
	}
	close(f.done)
	r.notify()
	cause, took := f.causes[0].Kind, f.endedAt.Sub(f.startedAt)
	r.mu.Unlock()

	switch result {
	case ResultNone:
		r.log.LogAttrs(ctx, slog.LevelInfo, "drain interrupted", slog.String("drain_id", f.id))
		return
	case ResultFailed:
		r.log.LogAttrs(ctx, slog.LevelError, "drain failed", slog.String("drain_id", f.id), slog.String("err", failure))
	default:
		r.log.LogAttrs(ctx, slog.LevelInfo, "drain ended", slog.String("drain_id", f.id), slog.String("result", string(result)))
	}
	r.metrics.drainEnded(cause, result, took)
}

// settleDown waits until traffic has gone elsewhere, within what the plan and the
// deadline leave. It reports whether ctx lasted.
func (r *Runner) settleDown(ctx context.Context, f *flight) bool {
	r.mu.Lock()
	until := time.Now().Add(f.settle)
	f.settling = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		f.settling, f.settle = false, 0
		r.notify()
		r.mu.Unlock()
	}()
	for ctx.Err() == nil {
		now := time.Now()
		r.mu.Lock()
		if f.urgent {
			until = now
		}
		f.settle = f.refit(now, max(0, until.Sub(now))).settle
		until = now.Add(f.settle)
		r.notify()
		r.mu.Unlock()
		if !until.After(now) {
			return true
		}
		if r.pause(ctx, f, until) {
			return ctx.Err() == nil
		}
	}
	return false
}

// pause waits until t. It returns earlier, with false, when the deadline moves or ctx
// ends.
func (r *Runner) pause(ctx context.Context, f *flight, t time.Time) bool {
	for left := time.Until(t); left > 0; left = time.Until(t) {
		timer := time.NewTimer(min(left, lookEvery))
		select {
		case <-timer.C:
			r.look(f) // which nudges
			continue
		case <-f.nudge:
		case <-ctx.Done():
		}
		timer.Stop()
		return false
	}
	return true
}

// look looks at the clocks.
func (r *Runner) look(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.look(time.Now())
}

// runSteps runs the steps that have not ended. It returns when all have, which it
// reports, or when ctx has ended and no step runs any more.
func (r *Runner) runSteps(ctx context.Context, f *flight) bool {
	ends := make(chan stepEnd, len(f.steps))
	gone := ctx.Done()
	for {
		for len(ends) > 0 { // before enforce, which would call them lost
			r.stepEnded(ctx, f, <-ends)
		}
		r.enforce(ctx, f)
		if ctx.Err() == nil {
			r.advance(ctx, f, ends)
		}
		wake, running := r.nextWake(f)
		if !running && (ctx.Err() != nil || f.allFinal()) {
			return f.allFinal()
		}
		timer := time.NewTimer(min(time.Until(wake), lookEvery))
		select {
		case end := <-ends:
			r.stepEnded(ctx, f, end)
		case <-timer.C:
			r.look(f) // which nudges
		case <-f.nudge:
			r.tighten(f)
		case <-gone:
			gone = nil // enforce has seen to it that the steps stop
		}
		timer.Stop()
	}
}

// advance begins every step that is due, or decides that it does not run.
func (r *Runner) advance(ctx context.Context, f *flight, ends chan<- stepEnd) {
	for again := true; again && ctx.Err() == nil; {
		again = false
		for _, i := range f.plan.order {
			r.mu.Lock()
			due, dropped := f.due(i), false
			var limit time.Duration
			if due {
				dropped = f.refit(time.Now(), 0).dropped[i]
				limit = f.steps[i].Limit
			}
			r.mu.Unlock()
			switch {
			case !due:
				continue
			case dropped:
				status, why := f.plan.steps[i].leftOut()
				r.decide(ctx, f, i, status, why)
			default:
				r.begins(ctx, f, i, limit, ends)
			}
			again = true
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// begins starts a step in its own goroutine. What ends it is in enforce.
func (r *Runner) begins(ctx context.Context, f *flight, i int, limit time.Duration, ends chan<- stepEnd) {
	c := f.plan.steps[i]
	r.append(f, Entry{Kind: StepStarted, DrainID: f.id, Step: c.Name, StepKind: c.Kind, Unit: undoneBy(c.Step), Limit: limit})
	if ctx.Err() != nil {
		return // it did not begin; to run it again does no harm
	}
	now := time.Now()
	grace := time.Duration(0)
	within := patience
	if _, ok := c.Step.(stopper); ok {
		grace = min(stopGrace, limit/10)
		within = grace
	}
	stopAt := now.Add(limit - grace)
	sctx, cancel := context.WithCancelCause(ctx)
	dctx, release := context.WithDeadlineCause(sctx, stopAt, errLimit)

	r.mu.Lock()
	s := &f.steps[i]
	s.Status, s.StartedAt, s.Limit, s.began = StepRunning, now, limit, true
	s.stopAt, s.giveUpAt = stopAt, now.Add(limit)
	s.cancel = func(cause error) { cancel(cause); release() }
	dctx = withBrief(dctx, f.brief(within))
	r.notify()
	r.mu.Unlock()
	r.log.LogAttrs(ctx, slog.LevelInfo, "step begun", slog.String("drain_id", f.id), slog.String("step", c.Name), slog.Duration("limit", limit))

	go func() { // waited for in runSteps, or abandoned there
		err := c.Step.Run(dctx)
		ends <- stepEnd{i, err, time.Now()}
	}()
}

// enforce tells steps to stop whose time is up, or all when ctx has ended, and
// abandons those that were told and go on.
func (r *Runner) enforce(ctx context.Context, f *flight) {
	now := time.Now()
	var lost []int
	r.mu.Lock()
	for i := range f.steps {
		s := &f.steps[i]
		if s.Status != StepRunning {
			continue
		}
		switch over := !s.stopAt.After(now); {
		case s.told:
		case ctx.Err() != nil:
			s.told = true
			s.giveUpAt = now.Add(stopGrace)
			s.cancel(context.Cause(ctx))
		case over:
			s.told = true
			if _, ok := f.plan.steps[i].Step.(stopper); !ok {
				s.giveUpAt = now.Add(patience)
			}
			s.cancel(errLimit)
		}
		if s.told && !s.giveUpAt.After(now) {
			lost = append(lost, i)
		}
	}
	r.mu.Unlock()
	for _, i := range lost {
		r.stepEnded(ctx, f, stepEnd{i, errAbandoned, now})
	}
}

var errAbandoned = errors.New("it was told to stop and did not: abandoned")

// tighten cuts running steps short after the deadline moved.
func (r *Runner) tighten(f *flight) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	fitted := f.refit(now, 0)
	for i := range f.steps {
		s := &f.steps[i]
		if s.Status != StepRunning || s.told {
			continue
		}
		giveUpAt := now.Add(fitted.budget[i])
		if !giveUpAt.Before(s.giveUpAt) {
			continue
		}
		s.giveUpAt, s.stopAt = giveUpAt, giveUpAt
		if _, ok := f.plan.steps[i].Step.(stopper); ok {
			s.stopAt = giveUpAt.Add(-min(stopGrace, fitted.budget[i]/10))
		}
		s.Limit = giveUpAt.Sub(s.StartedAt)
	}
	r.notify()
}

// nextWake returns when enforce has to look again, and whether any step runs.
func (r *Runner) nextWake(f *flight) (wake time.Time, running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range f.steps {
		if s.Status != StepRunning {
			continue
		}
		running = true
		at := s.stopAt
		if s.told {
			at = s.giveUpAt
		}
		wake = earlier(wake, at)
	}
	return wake, running
}

// stepEnded takes the end of a step.
func (r *Runner) stepEnded(ctx context.Context, f *flight, end stepEnd) {
	r.mu.Lock()
	s := &f.steps[end.step]
	if s.Status != StepRunning { // abandoned before
		r.mu.Unlock()
		return
	}
	cause := context.Cause(ctx)
	over := s.told || !s.stopAt.After(end.at)
	s.cancel(nil)
	r.mu.Unlock()

	switch {
	case end.err == nil:
		r.decide(ctx, f, end.step, StepDone, "")
	case cause != nil && errors.Is(cause, errUndrain):
		r.decide(ctx, f, end.step, StepCancelled, "")
	case cause != nil:
		// The agent stops. The journal keeps the step as begun, so that it
		// runs again.
		r.mu.Lock()
		s.Status = StepPending
		r.notify()
		r.mu.Unlock()
	case over:
		r.decide(ctx, f, end.step, StepTimedOut, timeUp(end.err, s.Limit))
	default:
		r.decide(ctx, f, end.step, StepFailed, end.err.Error())
	}
}

// timeUp says that a step did not end in time, and what it says itself unless
// that is just the same.
func timeUp(err error, limit time.Duration) string {
	text := "not done after " + limit.Round(time.Millisecond).String()
	switch err {
	case errLimit, context.DeadlineExceeded, context.Canceled: //nolint:errorlint // only the bare ones say nothing more
		return text
	default:
		return text + ": " + err.Error()
	}
}

// decide gives a step its final status.
func (r *Runner) decide(ctx context.Context, f *flight, i int, status StepStatus, text string) {
	c := f.plan.steps[i]
	text = cut(text)
	r.append(f, Entry{Kind: StepFinished, DrainID: f.id, Step: c.Name, StepKind: c.Kind, Result: string(status), Error: text})
	r.mu.Lock()
	s := &f.steps[i]
	s.Status, s.Error, s.EndedAt = status, text, time.Now()
	ran, took := !s.StartedAt.IsZero(), time.Duration(0)
	if ran {
		took = s.EndedAt.Sub(s.StartedAt)
	}
	r.notify()
	r.mu.Unlock()
	level := slog.LevelInfo
	if status != StepDone && status != StepCancelled {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("drain_id", f.id), slog.String("step", c.Name),
		slog.String("result", string(status)), slog.Duration("took", took),
	}
	if text != "" {
		attrs = append(attrs, slog.String("err", text))
	}
	r.log.LogAttrs(ctx, level, "step ended", attrs...)
	if ran {
		r.metrics.stepEnded(c.Kind, status, took)
	}
}

// allFinal reports whether every step has ended. Only the goroutine that drives
// the flight changes that.
func (f *flight) allFinal() bool {
	for _, s := range f.steps {
		if !s.Status.final() {
			return false
		}
	}
	return true
}

// cancelled reports whether an undrain stopped a step.
func (f *flight) cancelled() bool {
	return slices.ContainsFunc(f.steps, func(s stepState) bool { return s.Status == StepCancelled })
}

// cancelRest marks the steps that never began.
func (f *flight) cancelRest() {
	for i := range f.steps {
		if s := &f.steps[i]; !s.Status.final() {
			s.Status = StepCancelled
		}
	}
}
