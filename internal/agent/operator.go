package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// maxReason bounds an operator's words, in bytes.
	maxReason = 512
	// maxMaintenance bounds maintenance: a node that is out of service for
	// longer should not be in the scale set.
	maxMaintenance = 7 * 24 * time.Hour
	// journaledBound is how long an operator's drain may take to get into the
	// journal before the answer goes without.
	journaledBound = 3 * time.Second
)

// ask runs f in the coordinator's goroutine and returns its answer when that has
// been acted on.
func ask[T any](ctx context.Context, c *coordinator, f func(context.Context) (T, error)) (T, error) {
	var answer T
	var err error
	t := task{do: func(ctx context.Context) { answer, err = f(ctx) }, done: make(chan struct{})}
	if err := c.hand(ctx, t); err != nil {
		return answer, err
	}
	<-t.done // soon: it was taken
	return answer, err
}

// askDurably is ask, and waits until what was done about it is on disk.
func (c *coordinator) askDurably(ctx context.Context, f func(context.Context) (control.Accepted, error)) (control.Accepted, error) {
	accepted, err := ask(ctx, c, f)
	if err != nil {
		return accepted, err
	}
	return durably(accepted, c.journal.Durable()), nil
}

// Drain begins an operator's drain, or joins the one under way.
func (c *coordinator) Drain(ctx context.Context, by string, r control.DrainRequest) (control.Accepted, error) {
	timeout, err := seconds("timeout_seconds", r.TimeoutSeconds)
	if err != nil {
		return control.Accepted{}, err
	}
	reason, err := oneLine(r.Reason)
	if err != nil {
		return control.Accepted{}, err
	}
	length, err := seconds("for_seconds", r.ForSeconds)
	if err != nil {
		return control.Accepted{}, err
	}
	if length > maxMaintenance {
		return control.Accepted{}, badRequest("for_seconds: a drain undoes itself after at most %s", maxMaintenance)
	}
	journaled := make(chan error, 1)
	accepted, err := ask(ctx, c, func(ctx context.Context) (control.Accepted, error) {
		message := "drain begun"
		switch d := c.journal.State().Drain; {
		case d != nil && d.Result == drain.ResultFailed:
			message = "the drain had failed; what is not done is tried again"
		case d != nil:
			message = "the node drains already; joined as one more cause"
		}
		req := drain.Request{Cause: drain.Cause{Kind: drain.Operator, By: by, Reason: reason}}
		req.Journaled = func(err error) { journaled <- err }
		if timeout > 0 {
			req.Deadline = time.Now().Add(timeout)
		}
		if length > 0 {
			until := time.Now().Add(length).UTC().Round(0)
			req.Cause.Until = &until
			message += "; it undoes itself at " + until.Format(time.RFC3339)
		}
		c.lifted = nil
		c.ask(ctx, operatorDrain, req)
		return control.Accepted{Version: control.Version, Message: message}, nil
	})
	if err != nil {
		return accepted, err
	}
	wait, stop := context.WithTimeout(ctx, journaledBound)
	defer stop()
	select {
	case err := <-journaled:
		return durably(accepted, err), nil
	case <-wait.Done(): // an undrain is in the way
		return durably(accepted, errNotJournaled), nil
	}
}

// errNotJournaled says that the drain waits for something to end.
var errNotJournaled = errors.New("what is under way has to end first")

// durably has the answer say so when what was asked for is not on disk.
func durably(a control.Accepted, err error) control.Accepted {
	if err != nil {
		a.Message += fmt.Sprintf("; it is not on disk yet, and a crash of the machine would forget it: %v", err)
	}
	return a
}

// Undrain ends an operator's drain. While a scheduled event or a shutdown asks
// for it too, only force does, which dismisses the events for good.
func (c *coordinator) Undrain(ctx context.Context, by string, r control.UndrainRequest) (control.Accepted, error) {
	reason, err := oneLine(r.Reason)
	if err != nil {
		return control.Accepted{}, err
	}
	return c.askDurably(ctx, func(context.Context) (control.Accepted, error) {
		s, events := c.journal.State().Drain, c.judge()
		var standing []drain.Cause // the events that keep the node out of service
		if s != nil {
			for _, cause := range s.Causes {
				switch {
				case !c.holds(cause, events):
				case cause.Kind == drain.Shutdown:
					return control.Accepted{}, conflict("cancel the shutdown: shutdown -c", "the system is going down")
				case cause.Kind == drain.ScheduledEvent:
					standing = append(standing, cause)
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(c.cordoned)) {
			standing = append(standing, drain.Cause{EventID: id, EventType: c.cordoned[id]})
		}
		_, asked := c.asked[operatorDrain]
		switch {
		case s != nil || asked || len(standing) > 0:
		case c.gate.isCordoned():
			return control.Accepted{}, conflict("fleet-agent status says why it is blind", "the node is cordoned, and without the metadata service nobody knows for which event")
		case c.gate.isDrained(): // for a drain that the journal does not know
			c.forgotten = false
			return control.Accepted{Version: control.Version, Message: "returning to service"}, nil
		default:
			return control.Accepted{}, conflict("fleet-agent status says what it does", "the node is not draining")
		}
		if len(standing) > 0 && !r.Force {
			return control.Accepted{}, conflict("--force dismisses the event: it is not acked, and the node serves when it happens",
				"event %s (%s) still keeps the node out of service", safetext.Line(standing[0].EventID, safetext.MaxID), standing[0].EventType)
		}
		for _, cause := range standing {
			c.journal.Note(drain.Entry{Kind: drain.EventDismissed, EventID: cause.EventID, By: by, Reason: reason})
			c.logger.Warn("event dismissed", "event_id", cause.EventID, "event_type", cause.EventType, "by", by)
		}
		if s != nil || asked {
			c.lifted = &drain.Cause{Kind: drain.Operator, By: by, Reason: reason}
		}
		return control.Accepted{Version: control.Version, Message: "returning to service"}, nil
	})
}

// Maintenance takes the node out of service without touching a unit, for a
// bounded time, or ends that.
func (c *coordinator) Maintenance(ctx context.Context, by string, r control.MaintenanceRequest) (control.Accepted, error) {
	length, err := seconds("for_seconds", r.ForSeconds)
	if err != nil {
		return control.Accepted{}, err
	}
	reason, err := oneLine(r.Reason)
	if err != nil {
		return control.Accepted{}, err
	}
	if r.On && (length <= 0 || length > maxMaintenance) {
		return control.Accepted{}, badRequest("for_seconds: maintenance lasts between 1s and %s", maxMaintenance)
	}
	return c.askDurably(ctx, func(context.Context) (control.Accepted, error) {
		if !r.On {
			if c.journal.State().Maintenance == nil {
				return control.Accepted{}, conflict("", "the node is not in maintenance")
			}
			c.journal.Note(drain.Entry{Kind: drain.MaintenanceOff, By: by, Reason: reason})
			return control.Accepted{Version: control.Version, Message: "maintenance ended"}, nil
		}
		until := time.Now().Add(length)
		c.journal.Note(drain.Entry{Kind: drain.MaintenanceOn, Until: &until, By: by, Reason: reason})
		return control.Accepted{Version: control.Version, Message: "in maintenance until " + until.UTC().Format(time.RFC3339)}, nil
	})
}

// Shutdown drains because the system goes down at the deadline; it returns when
// the drain has ended, the deadline has passed or ctx is done.
func (c *coordinator) Shutdown(ctx context.Context, deadline time.Time) {
	_ = c.do(ctx, func(context.Context) { c.shutdown = deadline }) // only fails when the agent stops
	wait, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	for {
		changed := c.runner.Changed()
		// The journal knows of the cause, and the runner of the end once that is
		// durable.
		phase := c.runner.Status().Phase
		over := phase == drain.PhaseFinished || phase == drain.PhaseFailed
		if over && hasCause(c.journal.State().Drain, drain.Cause{Kind: drain.Shutdown}) {
			return
		}
		select {
		case <-changed:
		case <-wait.Done():
			return
		}
	}
}

// ShutdownCalledOff says that the shutdown will not happen after all.
func (c *coordinator) ShutdownCalledOff(ctx context.Context) {
	_ = c.do(ctx, func(context.Context) { c.shutdown = time.Time{} }) // only fails when the agent stops
}

// seconds converts a number of seconds of the wire.
func seconds(field string, s float64) (time.Duration, error) {
	const most = float64(365 * 24 * time.Hour / time.Second)
	if s < 0 || s > most || s != s {
		return 0, badRequest("%s: %v is not a number of seconds between 0 and a year", field, s)
	}
	d := time.Duration(s * float64(time.Second))
	if d == 0 && s != 0 { // 0 has a meaning of its own
		return 0, badRequest("%s: %v is less than a nanosecond", field, s)
	}
	return d, nil
}

// oneLine bounds an operator's words and keeps them on one line of a log.
func oneLine(s string) (string, error) {
	if len(s) > maxReason {
		return "", badRequest("reason: %d bytes, at most %d", len(s), maxReason)
	}
	return strings.Join(strings.Fields(s), " "), nil
}
