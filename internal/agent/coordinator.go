package agent

import (
	"context"
	"fmt"
	"log/slog"
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
	// named tells the poller what this VM is called.
	named  func(string)
	uptime func() time.Duration
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
	self       string                    // compute.name; empty until IMDS or the journal told
	asked      map[string]time.Time      // calls to the runner under way: event id -> deadline
	asking     []func()                  // those that begin at the end of reconcile
	acks       map[string]*ackAttempt
	cordoned   map[string]string // the events that the node is cordoned for: event id -> type
	undraining chan struct{}     // closed at the end of the undrain under way; nil: there is none
	// forgotten: the gate was found closed for a drain that neither the journal
	// nor the flag names.
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
	dismissed bool // nothing is done about it any more
	kept      bool // what was begun for it stays, although nothing would begin now
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

// reconcile closes the gap between what is wanted and what is.
func (c *coordinator) reconcile(ctx context.Context) {
	now := time.Now()
	next := time.Time{} // when to look again
	c.meetName()
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
	c.view.Store(&view{self: c.self, events: c.kept(events)})

	if !next.IsZero() {
		// Not in one go: the clock may be set, or the machine paused.
		c.timer.Reset(min(max(0, next.Sub(now)), longestWait))
	}
}

// meetName takes the name that this VM had in this boot from the journal, until the
// metadata service says another: it may be silent after a restart of the agent.
func (c *coordinator) meetName() {
	if c.self == "" {
		c.rename(c.journal.State().Name)
	}
}

// rename takes a name of this VM, unless it is empty.
func (c *coordinator) rename(name string) {
	if name == "" {
		return
	}
	c.self = name
	c.named(name)
	if c.journal.State().Name != name {
		c.journal.Note(drain.Entry{Kind: drain.NameSeen, Name: name})
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
		drains := hasCause(state.Drain, drain.Cause{Kind: drain.ScheduledEvent, EventID: e.ID}) // since this boot
		if v.decision.Mine && e.Status == scheduledevents.Started && impact && rebooted && !drains {
			c.journal.Note(drain.Entry{Kind: drain.EventDismissed, EventID: e.ID, Reason: "the node was started by it"})
			c.logger.Info("event has happened already", "event_id", e.ID, "event_type", e.Type)
		}
	}
	c.journal.Note(drain.Entry{Kind: drain.BootSeen})
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
		v := eventView{event: e, decision: c.policy.events.Decide(e, c.self), dismissed: c.dismissed(e.ID)}
		if v.decision.Mine && v.decision.Known {
			if own++; own > maxOwnEvents {
				v.decision = scheduledevents.Decision{Mine: true, Unsure: true, Reason: fmt.Sprintf("more than %d events name this VM", maxOwnEvents)}
			}
		}
		views = append(views, v)
	}
	return views
}

// kept marks the events that keep the node out of service without asking for it.
func (c *coordinator) kept(events []eventView) []eventView {
	d := c.journal.State().Drain
	for i := range events {
		e := &events[i]
		_, cordoned := c.cordoned[e.event.ID]
		e.kept = !c.acts(*e) && !e.dismissed &&
			(cordoned || hasCause(d, drain.Cause{Kind: drain.ScheduledEvent, EventID: e.event.ID}))
	}
	return events
}

// acts reports whether the agent acts on the event at all.
func (c *coordinator) acts(e eventView) bool {
	return e.decision.Mine && e.decision.Known && !c.dismissed(e.event.ID)
}

// dismissed reports whether nothing is to be done about an event any more.
func (c *coordinator) dismissed(id string) bool {
	state := c.journal.State()
	return state.Events[id].Dismissed || state.PreviousEvents[id].Dismissed
}

// maintain follows the journal, which forgets maintenance when its time is
// over, and returns when that is.
func (c *coordinator) maintain() time.Time {
	m := c.journal.State().Maintenance
	if m != nil || c.journal.Opened() { // else the flag has the last word
		if err := c.gate.maintain(m != nil); err != nil {
			c.logger.Error("maintenance flag not kept", "err", err)
		}
	}
	if m == nil {
		return time.Time{}
	}
	return m.Until
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
