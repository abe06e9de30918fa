package health

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnknownCheck is returned for a name that no check has.
var ErrUnknownCheck = errors.New("unknown check")

// maxByHand bounds how many runs that somebody asked for are in flight. They have
// places of their own: who asks waits for no check that hangs, and no check of the
// schedule waits for who asks.
const maxByHand = 8

// RunCheck runs the named check once, now, beside its schedule, and returns the
// result of a run that began after the call, also for a check that is blocked.
// The result decides nothing: neither status nor verdict, counters or schedule
// know of it. Of one check there is at most one such run; others wait for its end.
//
// A failed probe is a Result, not an error: errors are ErrUnknownCheck, the end of
// ctx, which ends the run too, too many such runs, and a Monitor that is not
// running.
func (m *Monitor) RunCheck(ctx context.Context, name string) (Result, error) {
	result, err := m.runByHand(ctx, name)
	if err != nil {
		return Result{}, fmt.Errorf("run check %q: %w", name, err)
	}
	return result, nil
}

func (m *Monitor) runByHand(ctx context.Context, name string) (Result, error) {
	for {
		r, ours, stopped, err := m.startByHand(ctx, name)
		if err != nil {
			return Result{}, err
		}
		select {
		case <-r.done:
			switch {
			case !ours:
				continue
			case r.stale:
				return Result{}, errors.New("stopped before it had a result")
			}
			return r.result, nil
		case <-time.After(time.Until(r.expires)): // it ignores its time limit, and may do so for ever
			return r.task.check.overdue(r, time.Now()), nil
		case <-stopped:
			return Result{}, errors.New("stopped before it had a result")
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
	}
}

// startByHand begins a run of a check for somebody who asked, or returns the one
// that somebody else asked for and that has to end before. stopped is closed when
// the Monitor stops.
func (m *Monitor) startByHand(asker context.Context, name string) (r *run, ours bool, stopped <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.unlock()
	t, ok := m.byName[name]
	if !ok {
		return nil, false, nil, ErrUnknownCheck
	}
	if !m.running || m.ctx.Err() != nil {
		return nil, false, nil, errors.New("the checks are not running")
	}
	if t.byHand != nil {
		return t.byHand, false, m.ctx.Done(), nil
	}
	now, others := time.Now(), 0
	for r := range m.inFlight {
		if r.byHand && now.Before(r.expires) {
			others++
		}
	}
	if others >= maxByHand {
		return nil, false, nil, fmt.Errorf("%d checks are being run by hand already: try again when one has ended", others)
	}

	ctx, cancel := context.WithTimeout(m.ctx, t.check.Timeout)
	forget := context.AfterFunc(asker, cancel)
	r = &run{
		task: t, byHand: true, started: now, expires: now.Add(t.check.Timeout + overrun),
		cancel: cancel, done: make(chan struct{}),
	}
	t.byHand = r
	m.inFlight[r] = struct{}{}
	check := t.check
	m.workers.Go(func() {
		defer cancel()
		defer forget()
		_, err := check.measure(ctx)
		m.finishByHand(r, err)
	})
	return r, true, m.ctx.Done(), nil
}

func (m *Monitor) finishByHand(r *run, err error) {
	m.mu.Lock()
	defer m.unlock()
	defer m.wakeScheduler() // or end, which waits for the runs in flight
	delete(m.inFlight, r)
	r.task.byHand = nil
	r.stale = r.stale || m.ctx.Err() != nil
	r.result = Result{At: r.started, Latency: time.Since(r.started)}
	if err != nil {
		r.result.Error = errorLine(err)
	}
	close(r.done)
}
