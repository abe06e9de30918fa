package agent

import (
	"context"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

// How drains are asked for.

// operatorDrain is the key of an operator's drain in asked.
const operatorDrain = "operator"

// operatorAsks reports whether an operator's drain is on its way to the journal.
func (c *coordinator) operatorAsks() bool {
	_, asked := c.asked[operatorDrain]
	return asked && !hasCause(c.journal.State().Drain, drain.Cause{Kind: drain.Operator})
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
