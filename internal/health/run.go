package health

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// run is one execution of a probe.
type run struct {
	task    *task
	epoch   int // of the task at the start
	returns int // of the Monitor at the start
	started time.Time
	expires time.Time // when it has ignored its time limit
	process bool      // has a process
	hung    bool      // has one of the places for checks that hang
	cancel  context.CancelFunc
	overdue bool // reported as failed already: it ignores its context
	stale   bool // its task or its Run is gone: the result is nobody's
	cut     bool // cut short in favour of one that begins later

	// Of a run that somebody asked for, which the schedule knows nothing of.
	byHand bool
	done   chan struct{} // closed when there is a result
	result Result
}

// start begins a run of t, which is not running.
func (m *Monitor) start(t *task, now time.Time) {
	ctx, cancel := context.WithTimeout(m.ctx, t.check.Timeout)
	r := &run{
		task: t, epoch: t.epoch, returns: m.returns, started: now, expires: now.Add(t.check.Timeout + overrun),
		process: t.check.Process, hung: t.hung, cancel: cancel,
	}
	t.run, t.again = r, false
	t.advance(now)
	m.queue.move(t, r.expires)
	m.inFlight[r] = struct{}{}

	check := t.check
	m.workers.Go(func() {
		defer cancel()
		late, err := check.measure(ctx)
		m.finish(r, err, late)
	})
}

// measure runs the probe and words what it found. late says that it ran into its
// time limit.
func (c *Check) measure(ctx context.Context) (late bool, err error) {
	err = c.call(ctx)
	if ctx.Err() != nil {
		return true, c.timedOut(err)
	}
	return false, err
}

// call runs the probe and turns a panic into an error: one check with a bug must
// not take the agent with it.
func (c *Check) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = c.finding(fmt.Sprintf("probe panicked: %v: %s", v, origin(debug.Stack())))
		}
	}()
	return c.Probe(ctx)
}

// finding words what the Monitor itself has seen of a run, as probes word what
// they see: where, what, and what was wanted in its place.
func (c *Check) finding(seen string) error {
	return fmt.Errorf("%s: %s, want a result within %s", strings.TrimSpace(c.Kind+" "+c.Target), seen, c.Timeout)
}

// origin finds in a stack the place where the panic was raised.
func origin(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	for i, line := range lines {
		// After panic's own frame (two lines) comes the function that called it.
		if strings.HasPrefix(line, "panic(") && i+3 < len(lines) {
			place, _, _ := strings.Cut(strings.TrimSpace(lines[i+3]), " ")
			return place
		}
	}
	return "unknown place"
}

// timedOut words the result of a probe that returned after its time limit.
func (c *Check) timedOut(err error) error {
	switch {
	case err == nil:
		return c.finding("passed, but too late")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("timed out after %s: %w", c.Timeout, err)
	default:
		return err
	}
}

// finish takes in the result of a run. late says that it ran into its time limit.
func (m *Monitor) finish(r *run, err error, late bool) {
	m.mu.Lock()
	defer m.unlock()
	defer m.wakeScheduler()
	now := time.Now()
	t := r.task
	delete(m.inFlight, r)
	if t.run == r {
		t.run = nil
	}
	if r.stale || m.ctx.Err() != nil { // cut short, which says nothing about the check
		return
	}
	if r.cut {
		m.queue.move(t, later(now, r.started.Add(minGap)))
		return
	}
	t.hung = late
	result := Result{At: r.started, Latency: now.Sub(r.started)}
	if err != nil {
		result.Error = errorLine(err)
	}
	if undecided(err) {
		t.history.add(result)
	} else {
		m.record(r, result, now)
	}
	switch {
	case t.again:
		m.queue.move(t, later(now, r.started.Add(minGap)))
	default:
		t.advance(now)
		m.queue.move(t, earlier(t.due, now.Add(m.retryAfter(t, now))))
	}
}

// reportOverdue counts a failure against a probe that ignores its context: at
// once, and again for every interval that it goes on. It is not run again
// before it has returned, and no longer has a place.
func (m *Monitor) reportOverdue(t *task, now time.Time) {
	r := t.run
	if !r.overdue {
		name, limit := t.check.Name, t.check.Timeout
		m.notes = append(m.notes, func() {
			m.log.Warn("probe ignores its time limit", "check", name, "timeout", limit)
		})
	}
	r.epoch = t.epoch // that it still hangs is news of today
	m.record(r, t.check.overdue(r, now), now)
	r.overdue, t.hung = true, true
	t.advance(now)
	m.queue.move(t, t.due)
}

// overdue is the result of a run that ignores its time limit. Its text does not
// say for how long: it must not change while nothing does.
func (c *Check) overdue(r *run, now time.Time) Result {
	return Result{
		At:      r.started,
		Latency: now.Sub(r.started),
		Error:   errorLine(c.finding(fmt.Sprintf("still running more than %s after its timeout", overrun))),
	}
}

// record enters a result and draws the conclusions.
func (m *Monitor) record(r *run, result Result, now time.Time) {
	t := r.task
	t.history.add(result)
	if !r.overdue { // a run counts once, however long it lasts
		t.busy += result.Latency
		if result.Passed() {
			t.passes++
		} else {
			t.failures++
		}
	}
	if r.epoch != t.epoch {
		return
	}
	before, failure, passedIn := t.tracker.status, t.lastFailure, t.passedIn
	t.tracker.add(result.Passed(), t.check.FailAfter, t.check.PassAfter)
	if result.Passed() {
		t.passedIn = r.returns
	} else {
		t.lastFailure = result.Error
	}
	if t.tracker.status == before && t.lastFailure == failure && t.passedIn == passedIn {
		return // by far the most results: nothing for anyone to hear about
	}
	if m.settle(now) || t.passedIn != passedIn {
		m.unpublished = true
	}
	if m.judge(now) {
		m.publish() // the scheduler publishes the rest, for many at a time
	}
}
