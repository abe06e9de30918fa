package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

// longestWait is how long the coordinator waits for a time to come before it looks
// at the clock again.
const longestWait = 10 * time.Second

// rebootedWithin is how long after boot an event that is already Started is
// taken for the cause of that boot, when no journal tells.
const rebootedWithin = 15 * time.Minute

// A coordinator brings together what is wanted of the node (the last valid
// document of scheduled events, a shutdown, an operator) and what the journal
// says was done, and closes the gap: it begins drains, joins causes to the one
// under way, acks, and undrains.
//
// It is level-triggered. Every change, whatever it is, ends in reconcile, which
// looks at the whole of what is known and remembers nothing that it could look
// up; it can run at any time, and twice as well as once. That is what makes a
// killed agent go on where it stood.
//
//	document ─┐
//	shutdown ─┼─▶ reconcile ──▶ wanted causes ──▶ drain / join / undrain
//	operator ─┤       ▲                                │
//	timer ────┘       └── journal ◀── runner, acks ◀───┘
//
// All state below "owned by Run" belongs to the goroutine of Run; others reach
// it by do. Run waits for every goroutine that it started.
type coordinator struct {
	runner  *drain.Runner
	journal *drain.Journal
	gate    *gate
	ack     func(ctx context.Context, eventID string) error
	// polled says when the last poll began and when the last valid document came.
	polled func() (attempted, succeeded time.Time)
	// setMaintenance tells the health monitor.
	setMaintenance func(bool)
	uptime         func() time.Duration
	// staysUp reports whether it is known that no shutdown is under way.
	staysUp func() bool
	loop    *loop
	logger  *slog.Logger

	inbox chan task
	view  atomic.Pointer[view]
	work  sync.WaitGroup

	// Owned by Run.
	policy     policy
	doc        *scheduledevents.Document // nil before the first valid one
	self       string                    // compute.name; empty until IMDS told
	asked      map[string]time.Time      // calls to the runner under way: event id -> deadline
	asking     []func()                  // those that begin at the end of reconcile
	acks       map[string]*ackAttempt
	undraining chan struct{} // closed at the end of the undrain under way; nil: there is none
	// forgotten: the gate was found closed for a drain that the journal does not
	// know.
	forgotten bool
	// lifted is the wish of an operator to end an operator's drain; nil: none.
	lifted *drain.Cause
	// stuck is what was logged of a gate that could not be moved.
	stuck string
	// shutdown is by when a drain must end that delays a shutdown; zero when
	// none is in preparation.
	shutdown time.Time
	timer    *time.Timer
}

// A task is something to do in Run's goroutine; done, if not nil, is closed when
// reconcile has seen it.
type task struct {
	do   func(context.Context)
	done chan struct{}
}

// policy is the part of the configuration that the coordinator follows.
type policy struct {
	events  scheduledevents.Policy
	reserve time.Duration
}

// A view is what the coordinator knows, for status; it is immutable.
type view struct {
	self   string
	events []eventView
}

type eventView struct {
	event     scheduledevents.Event
	decision  scheduledevents.Decision
	ack       string
	ackReason string
}

// do runs f in Run's goroutine and then reconciles.
func (c *coordinator) do(ctx context.Context, f func(context.Context)) error {
	return c.hand(ctx, task{do: f})
}

// hand gives Run a task, and returns when it has taken it.
func (c *coordinator) hand(ctx context.Context, t task) error {
	select {
	case c.inbox <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// observe takes the newest document.
func (c *coordinator) observe(ctx context.Context, doc scheduledevents.Document) {
	_ = c.do(ctx, func(context.Context) { c.doc = &doc }) // only fails when the agent stops
}

// Run coordinates until ctx is done. A drain under way is interrupted then, not
// ended: the journal lets the next start of the agent go on with it.
func (c *coordinator) Run(ctx context.Context) error {
	defer c.work.Wait()
	defer c.loop.end()
	c.timer = time.NewTimer(0)
	defer c.timer.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	c.resume(ctx)
	for {
		c.loop.beat()
		select {
		case <-ctx.Done():
			return nil
		case t := <-c.inbox:
			t.do(ctx)
			c.reconcile(ctx)
			if t.done != nil {
				close(t.done)
			}
		case <-c.timer.C:
			c.reconcile(ctx)
		case <-tick.C: // for the beat, and for what nobody announces: staysUp
			if c.draining() || c.gate.isDrained() || c.gate.isCordoned() {
				c.reconcile(ctx)
			}
		}
	}
}

// resume takes up a drain that was interrupted. The gate was closed before the
// probe listener opened, so that there is nothing to do about one that has ended;
// an undrain that was interrupted goes on in release.
func (c *coordinator) resume(ctx context.Context) {
	if d := c.journal.State().Drain; d == nil || d.Finished() {
		return
	}
	c.work.Go(func() {
		_, _, err := c.runner.Resume(ctx)
		c.drainEnded(ctx, "", err)
	})
}

// reconcile closes the gap between what is wanted and what is.
func (c *coordinator) reconcile(ctx context.Context) {
	now := time.Now()
	next := time.Time{} // when to look again
	c.meetDocument()
	events := c.judge()

	c.adoptLate(ctx)
	wanted := !c.shutdown.IsZero() || c.operatorAsks()
	for _, e := range events {
		switch {
		case !c.acts(e):
		case e.decision.ActAt.After(now):
			next = earlier(next, e.decision.ActAt)
		case e.decision.Action == scheduledevents.ActionDrain:
			wanted = true
			c.drainFor(ctx, e.event)
		}
	}
	if !c.shutdown.IsZero() {
		c.startDrain(ctx, "shutdown", drain.Request{
			Cause:    drain.Cause{Kind: drain.Shutdown, Reason: "the system is going down"},
			Deadline: c.shutdown,
		})
	}
	c.cordon(events, now)
	next = earlier(next, c.maintain())
	// Acks come first: what begins after may forbid one, which is then stopped.
	c.acknowledge(ctx, events)
	for _, begin := range c.asking {
		c.work.Go(begin)
	}
	c.asking = nil
	if !wanted { // else a cause that the journal may not have yet takes over
		c.release(ctx, events)
	}
	c.view.Store(&view{self: c.self, events: events})

	if !next.IsZero() {
		// Not in one go: the clock may be set, or the machine paused.
		c.timer.Reset(min(max(0, next.Sub(now)), longestWait))
	}
}

// operatorDrain is the key of an operator's drain in asked.
const operatorDrain = "operator"

// operatorAsks reports whether an operator's drain is on its way to the journal.
func (c *coordinator) operatorAsks() bool {
	_, asked := c.asked[operatorDrain]
	return asked && !hasCause(c.journal.State().Drain, drain.Cause{Kind: drain.Operator})
}

// adoptLate takes up a drain of a journal that could not be read when the agent
// started, and now was.
func (c *coordinator) adoptLate(ctx context.Context) {
	if c.draining() && c.runner.Status().Phase == drain.PhaseNone && len(c.asked) == 0 && c.undraining == nil {
		c.work.Go(func() {
			_, _, err := c.runner.Resume(ctx)
			c.drainEnded(ctx, "", err)
		})
	}
}

// meetDocument marks, with the first document of this boot, the events that
// this boot is the result of: a Reboot that is Started when the node comes up
// has happened, and the node returns to service.
func (c *coordinator) meetDocument() {
	if c.doc == nil || c.self == "" {
		return
	}
	state := c.journal.State()
	if state.BootSeen {
		return
	}
	for _, v := range c.judge() {
		e := v.event
		_, handled := state.PreviousEvents[e.ID]
		rebooted := handled || c.uptime() < rebootedWithin
		impact := e.Type == scheduledevents.Reboot || e.Type == scheduledevents.Redeploy
		if v.decision.Mine && e.Status == scheduledevents.Started && impact && rebooted {
			c.append(drain.Entry{Kind: drain.EventDismissed, EventID: e.ID, Reason: "the node was started by it"})
			c.logger.Info("event has happened already", "event_id", e.ID, "event_type", e.Type)
		}
	}
	c.append(drain.Entry{Kind: drain.BootSeen})
}

// maxOwnEvents bounds how many events of this VM are acted on at once: the journal
// remembers no more than a few hundred.
const maxOwnEvents = 32

// judge decides on every event of the document.
func (c *coordinator) judge() []eventView {
	if c.doc == nil {
		return nil
	}
	views, own := make([]eventView, 0, len(c.doc.Events)), 0
	for _, e := range c.doc.Events {
		v := eventView{event: e}
		if c.self != "" {
			v.decision = c.policy.events.Decide(e, c.self)
		}
		if v.decision.Mine && v.decision.Known {
			if own++; own > maxOwnEvents {
				v.decision = scheduledevents.Decision{Mine: true, Reason: fmt.Sprintf("more than %d events name this VM", maxOwnEvents)}
			}
		}
		views = append(views, v)
	}
	return views
}

// acts reports whether the agent acts on the event at all.
func (c *coordinator) acts(e eventView) bool {
	if !e.decision.Mine || !e.decision.Known {
		return false
	}
	state := c.journal.State()
	return !state.Events[e.event.ID].Dismissed && !state.PreviousEvents[e.event.ID].Dismissed
}

// drainFor asks for a drain because of an event.
func (c *coordinator) drainFor(ctx context.Context, e scheduledevents.Event) {
	req := drain.Request{Cause: drain.Cause{Kind: drain.ScheduledEvent, EventID: e.ID, EventType: e.Type, Reason: e.Description}}
	if left := time.Until(e.NotBefore); left > 0 {
		req.NotBefore = e.NotBefore
		// What was seen late leaves less, but not only the reserve.
		req.Deadline = e.NotBefore.Add(-eventReserve(c.policy.reserve, left))
	} else {
		// Started, or overdue, and nobody knows how long is left: no time for
		// traffic to settle, but no deadline either at which to stop work that
		// may yet end.
		req.Urgent = true
	}
	c.startDrain(ctx, e.ID, req)
}

// startDrain begins a drain or joins the one in effect, unless that has this
// cause already and a deadline that is no later, or the runner was just asked
// for it. An undrain under way gives way to it.
func (c *coordinator) startDrain(ctx context.Context, key string, req drain.Request) {
	if d := c.journal.State().Drain; hasCause(d, req.Cause) && !sooner(req.Deadline, d.Deadline) && (d.Urgent || !req.Urgent || d.Finished()) {
		return
	}
	if last, ok := c.asked[key]; !ok || sooner(req.Deadline, last) || (req.Urgent && !last.IsZero()) {
		c.ask(ctx, key, req)
	}
}

// ask hands a request to the runner, at the end of reconcile.
func (c *coordinator) ask(ctx context.Context, key string, req drain.Request) {
	c.asked[key] = req.Deadline
	undraining := c.undraining
	c.asking = append(c.asking, func() {
		c.awaitUndrain(undraining)
		_, err := c.runner.Drain(ctx, req)
		c.drainEnded(ctx, key, err)
	})
}

// awaitUndrain waits until an undrain that is about to begin has begun, or has
// ended: a drain that is asked for earlier would join the one that is taken back.
func (c *coordinator) awaitUndrain(ended <-chan struct{}) {
	for ended != nil {
		changed := c.runner.Changed()
		if c.runner.Status().Phase == drain.PhaseUndraining {
			return
		}
		select {
		case <-changed:
		case <-ended:
			return
		}
	}
}

// hasCause reports whether a drain is in effect because of a cause, too.
func hasCause(d *drain.Record, cause drain.Cause) bool {
	return d != nil && !d.Undraining && slices.ContainsFunc(d.Causes, func(c drain.Cause) bool {
		return c.Kind == cause.Kind && c.EventID == cause.EventID
	})
}

// sooner reports whether a deadline is earlier than another; zero is none.
func sooner(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// drainEnded takes note that a call to the runner has ended; the journal says how.
func (c *coordinator) drainEnded(ctx context.Context, key string, err error) {
	if err != nil && ctx.Err() == nil {
		c.logger.Error("drain ended with an error", "err", err)
	}
	_ = c.do(ctx, func(context.Context) { delete(c.asked, key) }) // only fails when the agent stops
}

// cordon keeps the node unready while an event asks for just that.
func (c *coordinator) cordon(events []eventView, now time.Time) {
	if c.doc == nil || c.self == "" {
		return // blind: what was stays
	}
	want := slices.ContainsFunc(events, func(e eventView) bool { return c.cordons(e, now) })
	if want == c.gate.isCordoned() {
		return
	}
	c.noteGate(c.gate.setCordon(want))
	if c.gate.isCordoned() == want {
		c.logger.Info("cordon changed", "on", want)
	}
}

// cordons reports whether an event keeps the node unready, and no more.
func (c *coordinator) cordons(e eventView, now time.Time) bool {
	return c.acts(e) && e.decision.Action == scheduledevents.ActionCordon && !e.decision.ActAt.After(now)
}

// noteGate logs that the gate could not be moved, or left no trace for a restart,
// when that is news.
func (c *coordinator) noteGate(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != c.stuck {
		c.logger.Error("flag not kept", "err", err)
	}
	c.stuck = text
}

// release undrains when no cause of the drain holds any longer.
func (c *coordinator) release(ctx context.Context, events []eventView) {
	s := c.journal.State().Drain
	if c.undraining != nil {
		return
	}
	if s == nil {
		c.openGate()
		return
	}
	if !s.Undraining && slices.ContainsFunc(s.Causes, func(cause drain.Cause) bool { return c.holds(cause, events) }) {
		return
	}
	ended := make(chan struct{})
	c.undraining = ended
	by, reason := c.released(s.Causes)
	c.work.Go(func() {
		err := c.runner.Undrain(ctx, by, reason)
		close(ended)
		if err != nil && ctx.Err() == nil && !errors.Is(err, drain.ErrSuperseded) {
			c.logger.Error("undrain ended with an error", "err", err)
		}
		_ = c.do(ctx, func(context.Context) { // only fails when the agent stops
			c.undraining = nil
			if !errors.Is(err, drain.ErrSuperseded) { // else it belongs to the drain that came after
				c.lifted = nil
			}
		})
	})
}

// openGate opens a gate that is closed although no drain is in effect: that of a
// drain which nothing knows of any more, once it is known that no event asks for
// one, and one that could not be opened at the end of an undrain.
func (c *coordinator) openGate() {
	if !c.gate.isDrained() || len(c.asked) > 0 || c.forgotten && (c.doc == nil || c.self == "") {
		return
	}
	err := c.gate.setDrain(false)
	c.noteGate(err)
	if err == nil {
		c.logger.Warn("returned to service", "forgotten", c.forgotten)
		c.forgotten = false
	}
}

// draining reports whether a drain is in effect, ended or not.
func (c *coordinator) draining() bool { return c.journal.State().Drain != nil }

// holds reports whether a cause still asks for the drain. What is not known
// holds: only a valid document says that an event has vanished.
func (c *coordinator) holds(cause drain.Cause, events []eventView) bool {
	switch cause.Kind {
	case drain.ScheduledEvent:
		if c.doc == nil || c.self == "" {
			return true
		}
		return slices.ContainsFunc(events, func(e eventView) bool {
			return e.event.ID == cause.EventID && c.acts(e) && e.decision.Action == scheduledevents.ActionDrain
		})
	case drain.Shutdown:
		return !c.shutdown.IsZero() || !c.staysUp()
	default: // an operator's drain lasts until an operator ends it
		return c.lifted == nil
	}
}

// released says who or what ended a drain.
func (c *coordinator) released(causes []drain.Cause) (by, reason string) {
	if c.lifted != nil {
		return c.lifted.By, c.lifted.Reason
	}
	for _, cause := range causes {
		if cause.Kind == drain.ScheduledEvent {
			return "fleet-agent", fmt.Sprintf("event %s (%s) is gone", cause.EventID, cause.EventType)
		}
	}
	return "fleet-agent", "the shutdown was called off"
}

// maintain follows the journal, which forgets maintenance when its time is
// over, and returns when that is.
func (c *coordinator) maintain() time.Time {
	m := c.journal.State().Maintenance
	c.setMaintenance(m != nil)
	if m == nil {
		return time.Time{}
	}
	return m.Until
}

// append journals an entry. A journal that cannot be written is reported by the
// journal itself and does not stop the agent.
func (c *coordinator) append(e drain.Entry) {
	if err := c.journal.Append(e); err != nil {
		c.logger.Warn("journal entry not durable", "kind", e.Kind, "err", err)
	}
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
