package health

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	// patience is how long a run counts against MaxConcurrent. A probe that
	// takes longer waits for something rather than working, and must not
	// keep others from starting.
	patience = 100 * time.Millisecond
	// overrun is how long after its timeout a probe may take to return before
	// it is reported as one that ignores its context.
	overrun = time.Second
	// minGap is the shortest time between two starts of one check, however
	// often it is woken.
	minGap = 50 * time.Millisecond
	// maxPause bounds the time between two passes of the scheduler, so that
	// Beat shows a loop that is alive and not one that has nothing to do.
	maxPause = time.Second
	// stopPatience is how long Run waits for probes after its context ended.
	stopPatience = 2 * time.Second
	// firstStep apart start the first runs of a set of checks, but all of
	// them within firstSpread.
	firstStep   = time.Millisecond
	firstSpread = 500 * time.Millisecond
)

// Run runs the checks until ctx is done and then waits for its goroutines. It
// returns nil, unless probes ignore their context for 2 s: then it returns an
// error that names them and leaves those goroutines behind. Run must not be
// called while it runs.
func (m *Monitor) Run(ctx context.Context) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(maxPause)
	defer timer.Stop()
	var in inputs
	for ctx.Err() == nil {
		pause := m.pass(time.Now())
		m.beat()
		timer.Reset(pause)
		m.refresh(ctx, timer, &in)
		if woken := in.wait(); woken != nil {
			m.wake(woken)
		}
	}
	return m.end()
}

// begin takes the Monitor for one Run.
func (m *Monitor) begin(ctx context.Context) error {
	m.mu.Lock()
	defer m.unlock()
	if m.running {
		return errors.New("run checks: already running")
	}
	now := time.Now()
	m.running, m.ctx = true, ctx
	if m.started.IsZero() {
		m.started = now
	}
	for place, t := range m.tasks {
		t.stagger(place, len(m.tasks), now)
	}
	m.queue.reset(m.tasks)
	return nil
}

// end waits, within bounds, for the probes in flight.
func (m *Monitor) end() error {
	m.mu.Lock()
	m.running = false
	for r := range m.inFlight {
		r.stale = true
	}
	for _, t := range m.tasks {
		t.dismissWaiters()
	}
	m.mu.Unlock()

	timeout := time.NewTimer(stopPatience)
	defer timeout.Stop()
	for {
		stuck := m.stuck()
		if len(stuck) == 0 {
			m.workers.Wait()
			return nil
		}
		select {
		case <-m.poke:
		case <-timeout.C:
			return fmt.Errorf("stop checks: probes ignore their context and still run: %s", strings.Join(stuck, ", "))
		}
	}
}

// stuck names the checks whose probes have not returned.
func (m *Monitor) stuck() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for r := range m.inFlight {
		names = append(names, r.task.check.Name)
	}
	slices.Sort(names)
	return names
}

// inputs are what the scheduler sleeps on. One select over all wake channels
// spares a goroutine for each.
type inputs struct {
	generation int // of the configuration that the cases are from
	cases      []reflect.SelectCase
	tasks      []*task // of cases[fixedInputs:]
}

const fixedInputs = 3 // the context, the timer, the poke

// refresh brings the inputs up to date with the configuration.
func (m *Monitor) refresh(ctx context.Context, timer *time.Timer, in *inputs) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if in.generation == m.generation {
		return
	}
	in.generation = m.generation
	in.cases, in.tasks = in.cases[:0], in.tasks[:0]
	add := func(ch any) {
		in.cases = append(in.cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	add(ctx.Done())
	add(timer.C)
	add(m.poke)
	for _, t := range m.tasks {
		if t.check.Wake != nil {
			add(t.check.Wake)
			in.tasks = append(in.tasks, t)
		}
	}
}

// wait sleeps until something happens and returns the task whose wake channel
// it was, or nil.
func (in *inputs) wait() *task {
	chosen, _, open := reflect.Select(in.cases)
	if chosen < fixedInputs {
		return nil
	}
	if !open {
		in.cases[chosen].Chan = reflect.Value{} // Select ignores it from now on
		return nil
	}
	return in.tasks[chosen-fixedInputs]
}

// pass starts everything that is due, reports what is overdue, and returns how
// long the scheduler may sleep.
func (m *Monitor) pass(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.unlock()
	if m.starting() && m.judge(now) { // there may be no checks, or the start grace has ended
		m.publish()
	}
	m.forgetFresh(now)
	for len(m.queue) > 0 && !m.queue[0].at.After(now) {
		t := m.queue[0]
		switch {
		case t.run != nil:
			m.reportOverdue(t, now)
		case !t.free && len(t.waiters) == 0:
			t.advance(now)
			m.queue.move(t, t.due)
		case len(m.fresh) >= m.maxConcurrent:
			return m.fresh[0].started.Add(patience).Sub(now)
		default:
			m.start(t, now)
		}
	}
	pause := maxPause
	if len(m.queue) > 0 {
		pause = min(pause, m.queue[0].at.Sub(now))
	}
	if left := m.started.Add(m.grace).Sub(now); left > 0 {
		pause = min(pause, left)
	}
	return pause
}

// forgetFresh drops the runs that no longer count against maxConcurrent.
func (m *Monitor) forgetFresh(now time.Time) {
	kept := m.fresh[:0]
	for _, r := range m.fresh {
		if !r.done && now.Sub(r.started) < patience {
			kept = append(kept, r)
		}
	}
	clear(m.fresh[len(kept):])
	m.fresh = kept
}

// schedule asks for a run of t at once.
func (m *Monitor) schedule(t *task, now time.Time) {
	if t.run != nil {
		t.again = true // the run in flight may have looked before the change
		return
	}
	at := now
	if newest := t.history.newest(); newest.At.Add(minGap).After(now) {
		at = newest.At.Add(minGap)
	}
	if at.Before(t.at) {
		m.queue.move(t, at)
	}
}

// wake asks for a run of a task whose wake channel said so.
func (m *Monitor) wake(t *task) {
	m.mu.Lock()
	defer m.unlock()
	if m.byName[t.check.Name] == t {
		m.schedule(t, time.Now())
	}
}

// wakeScheduler asks the scheduler for a pass.
func (m *Monitor) wakeScheduler() {
	select {
	case m.poke <- struct{}{}:
	default: // it was asked already
	}
}

// stagger sets the first run of t, the place'th of n checks: soon, because the
// first verdict waits for it, but not all at the same moment. The runs after it
// keep to a grid of the check's own, which spreads all checks over the interval.
func (t *task) stagger(place, n int, now time.Time) {
	t.at = now.Add(time.Duration(place) * min(firstStep, firstSpread/time.Duration(n)))
	t.due = now.Add(time.Duration(float64(t.check.Interval) * float64(place+1) / float64(n)))
}

// advance moves due to the first time of the grid that is after now. What was
// missed is not made up for.
func (t *task) advance(now time.Time) {
	if late := now.Sub(t.due); late >= 0 {
		t.due = t.due.Add((late/t.check.Interval + 1) * t.check.Interval)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// queue is a heap of all tasks by when they next need the scheduler: an idle
// one to be started, one in flight to be found overdue.
type queue []*task

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = i, j
}

// Push and Pop complete heap.Interface; tasks come and go with reset alone.
func (q *queue) Push(any) { panic("not used") }
func (q *queue) Pop() any { panic("not used") }

func (q *queue) reset(tasks []*task) {
	*q = append((*q)[:0:0], tasks...)
	for i, t := range *q {
		t.position = i
	}
	heap.Init(q)
}

func (q *queue) move(t *task, at time.Time) {
	t.at = at
	heap.Fix(q, t.position)
}
