package health

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnknownCheck is returned for a name that no check has.
var ErrUnknownCheck = errors.New("unknown check")

// RunCheck runs the named check at once, beside its schedule, and returns the
// result of a run that began after the call. The result counts like any other;
// a check that is blocked is run too, but then its result decides nothing. A
// failed probe is a Result, not an error: errors are ErrUnknownCheck, the end
// of ctx, and a Monitor that is not running.
func (m *Monitor) RunCheck(ctx context.Context, name string) (Result, error) {
	result, err := m.ask(name)
	if err != nil {
		return Result{}, fmt.Errorf("run check %q: %w", name, err)
	}
	select {
	case r, ok := <-result:
		if !ok {
			return Result{}, fmt.Errorf("run check %q: stopped before it had a result", name)
		}
		return r, nil
	case <-ctx.Done():
		return Result{}, fmt.Errorf("run check %q: %w", name, context.Cause(ctx))
	}
}

// ask enters a waiter for the next run of a check and asks for that run.
func (m *Monitor) ask(name string) (<-chan Result, error) {
	m.mu.Lock()
	defer m.unlock()
	t, ok := m.byName[name]
	if !ok {
		return nil, ErrUnknownCheck
	}
	if !m.running {
		return nil, errors.New("the checks are not running")
	}
	waiter := make(chan Result, 1) // never blocks the run that answers it
	t.waiters = append(t.waiters, waiter)
	m.schedule(t, time.Now())
	m.wakeScheduler()
	return waiter, nil
}

// answer gives a result to all who wait for the next run.
func (t *task) answer(r Result) {
	answerAll(t.waiters, r)
	t.waiters = nil
}

// dismissWaiters tells all who wait for the next run that there is none.
func (t *task) dismissWaiters() {
	closeAll(t.waiters)
	t.waiters = nil
}

func answerAll(waiters []chan Result, r Result) {
	for _, w := range waiters {
		w <- r
	}
}

func closeAll(waiters []chan Result) {
	for _, w := range waiters {
		close(w)
	}
}
