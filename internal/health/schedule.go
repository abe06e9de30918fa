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
	// maxBeginning bounds how many runs are younger than beginning, which is
	// when a probe works: later it waits for somebody's answer.
	maxBeginning = 32
	beginning    = 100 * time.Millisecond
	// maxProcesses bounds how many runs with a process are in flight. TasksMax=
	// of the packaged unit is made for it.
	maxProcesses = 32
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
	if m.graceFrom.IsZero() {
		m.graceFrom = now
	}
	for place, t := range m.tasks {
		t.stagger(place, len(m.tasks), now)
	}
	m.requeue()
	return nil
}

// end waits, within bounds, for the probes in flight.
func (m *Monitor) end() error {
	m.mu.Lock()
	m.running = false
	for r := range m.inFlight {
		r.stale = true
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
	return slices.Compact(names) // one may have a run by hand as well
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

// pass starts everything that is due, reports what is overdue, publishes what has
// changed, and returns how long the scheduler may sleep.
func (m *Monitor) pass(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.unlock()
	if m.starting() && m.judge(now) { // there may be no checks, or the start grace has ended
		m.unpublished = true
	}
	pause := m.startDue(now)
	if m.unpublished {
		m.publish()
	}
	if left := m.graceFrom.Add(m.grace).Sub(now); left > 0 {
		pause = min(pause, left)
	}
	return pause
}

// startDue starts every check that is due and for which there is a place, and
// returns when it has to be called again, unless a run ends before.
func (m *Monitor) startDue(now time.Time) time.Duration {
	p := m.places(now)
	m.waiting = slices.DeleteFunc(m.waiting, func(t *task) bool { return m.attend(t, p, now) })
	for len(m.queue) > 0 && !m.queue[0].at.After(now) {
		if t := m.queue[0]; !m.attend(t, p, now) {
			heap.Pop(&m.queue)
			m.waiting = append(m.waiting, t)
		}
	}
	pause := maxPause
	if len(m.queue) > 0 {
		pause = min(pause, m.queue[0].at.Sub(now))
	}
	if len(m.waiting) > 0 && p.beginning >= maxBeginning {
		pause = min(pause, p.begun.Sub(now))
	}
	return pause
}

// attend does what t needs now. It returns false when t is to be run and there is
// no place for it.
func (m *Monitor) attend(t *task, p *places, now time.Time) bool {
	switch {
	case t.run != nil:
		m.reportOverdue(t, now)
	case !t.free:
		t.advance(now)
		m.queue.move(t, t.due)
	case p.open(t):
		m.start(t, now)
		p.take(t.run, now)
	default:
		return false
	}
	return true
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
	if at.Before(t.at) { // which it is not when t waits for a place
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

// stagger sets the runs of t, the place'th of n checks. The first is at once, for
// the first verdict waits for it; places bound how many begin together. The runs
// after it keep to a grid of the check's own, which spreads all checks over the
// interval.
func (t *task) stagger(place, n int, now time.Time) {
	t.at = now
	t.due = now.Add(time.Duration(float64(t.check.Interval) * float64(place+1) / float64(n)))
}

// advance moves due to the first time of the grid that is after now. What was
// missed is not made up for.
func (t *task) advance(now time.Time) {
	if late := now.Sub(t.due); late >= 0 {
		t.due = t.due.Add((late/t.check.Interval + 1) * t.check.Interval)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// requeue puts every task into the queue.
func (m *Monitor) requeue() {
	m.waiting = nil
	m.queue = slices.Clone(m.tasks)
	for i, t := range m.queue {
		t.position = i
	}
	heap.Init(&m.queue)
}

// queue is a heap of tasks by when they next need the scheduler: an idle one to
// be started, one in flight to be found overdue.
type queue []*task

// notQueued is the position of a task that waits for a place.
const notQueued = -1

// Len, Less and Swap implement heap.Interface.
func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) { // as at the start: in the order of the grid
		return q[i].due.Before(q[j].due)
	}
	return q[i].at.Before(q[j].at)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*task)
	t.position = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	t.position = notQueued
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}

// move sets when a task needs the scheduler next.
func (q *queue) move(t *task, at time.Time) {
	t.at = at
	if t.position == notQueued {
		heap.Push(q, t)
		return
	}
	heap.Fix(q, t.position)
}
