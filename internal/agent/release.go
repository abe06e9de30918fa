package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

// How the node returns to service, or only leaves it.

// cordon keeps the node unready while an event asks for just that.
func (c *coordinator) cordon(events []eventView, now time.Time) {
	if c.doc == nil || c.self == "" {
		return // blind: what was stays
	}
	for _, e := range events {
		if c.cordons(e, now) {
			c.cordoned[e.event.ID] = e.event.Type
		}
	}
	cordoned := c.gate.isCordoned()
	if len(c.cordoned) == 0 && cordoned && !c.certain(events) {
		return // by the agent before this one, and for whichever event
	}
	maps.DeleteFunc(c.cordoned, func(id, eventType string) bool {
		return !c.stands(id, eventType, events, func(e eventView) bool { return c.cordons(e, now) })
	})
	want := len(c.cordoned) > 0
	if want == cordoned {
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
		c.openGate(events)
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
func (c *coordinator) openGate(events []eventView) {
	if !c.gate.isDrained() || len(c.asked) > 0 || c.forgotten && !c.certain(events) {
		return
	}
	err := c.gate.setDrain(nil)
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
		return c.stands(cause.EventID, cause.EventType, events, func(e eventView) bool {
			return e.decision.Action == scheduledevents.ActionDrain
		})
	case drain.Shutdown:
		return !c.shutdown.IsZero() || !c.staysUp()
	default: // an operator's drain lasts until an operator ends it, or its time is over
		return c.lifted == nil && !expired(cause)
	}
}

// expired reports whether a cause has ended by itself. The coordinator looks once a
// second while the node drains.
func expired(cause drain.Cause) bool { return cause.Until != nil && !cause.Until.After(time.Now()) }

// stands reports whether an event still asks for what is in effect because of it. It
// does until a document without it, an operator, or a configuration that wants
// something else for its type: that it has another type or status now, no longer
// names this VM, or does not read, does not mean that it is over.
func (c *coordinator) stands(id, eventType string, events []eventView, asks func(eventView) bool) bool {
	switch i := slices.IndexFunc(events, func(e eventView) bool { return e.event.ID == id }); {
	case c.doc == nil || c.self == "": // what is not known holds
		return true
	case c.dismissed(id):
		return false
	case i < 0:
		return !c.doc.Absent(id)
	case events[i].decision.Unsure || !events[i].decision.Mine || events[i].event.Type != eventType:
		return true
	default:
		return asks(events[i])
	}
}

// certain reports whether it is known of all events what they ask of this VM.
func (c *coordinator) certain(events []eventView) bool {
	return c.doc != nil && c.self != "" && !c.doc.Partial && c.doc.Blind(c.self) == nil &&
		!slices.ContainsFunc(events, func(e eventView) bool { return e.decision.Mine && e.decision.Unsure && !e.dismissed })
}

// released says who or what ended a drain.
func (c *coordinator) released(causes []drain.Cause) (by, reason string) {
	if c.lifted != nil {
		return c.lifted.By, c.lifted.Reason
	}
	for _, cause := range causes {
		if expired(cause) {
			return "fleet-agent", "the time that it was asked for is over"
		}
		if cause.Kind == drain.ScheduledEvent {
			return "fleet-agent", fmt.Sprintf("event %s (%s) is gone", safetext.Line(cause.EventID, safetext.MaxID), cause.EventType)
		}
	}
	return "fleet-agent", "the shutdown was called off"
}
