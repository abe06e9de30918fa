package agent

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/imds"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

const (
	// doubtLook is how often an ack that may have arrived looks for a newer
	// document.
	doubtLook = 100 * time.Millisecond
	// ackBackoff is the wait after the first attempt; it doubles up to what
	// the decision allows, which for a Preempt is a second.
	ackBackoff = 250 * time.Millisecond
)

// The states of an acknowledgement, as the control socket reports them.
const (
	ackPending  = "pending"
	ackSending  = "sending"
	ackAccepted = "accepted"
	ackFailed   = "failed"
	ackNever    = "never"
)

// An ackAttempt is the sending of one ack, retries and all.
type ackAttempt struct {
	stop context.CancelFunc
	// failed is why it was given up; nil while it goes on.
	failed error
}

// acknowledge sends each ack that is due, and stops those that no longer are.
// It fills in the state of each ack for the view.
func (c *coordinator) acknowledge(ctx context.Context, events []eventView) {
	due := map[string]bool{}
	for i := range events {
		e := &events[i]
		if !c.acts(*e) {
			continue
		}
		e.ack, e.ackReason = c.ackState(*e)
		if e.ack == ackSending {
			due[e.event.ID] = true
			c.startAck(ctx, e.event, e.decision.MaxRetrySleep)
		}
	}
	for id, attempt := range c.acks {
		if !due[id] { // gone, Started, accepted or failed
			attempt.stop()
			if attempt.failed == nil || c.doc.Absent(id) {
				delete(c.acks, id)
			}
		}
	}
}

// ackState says where the ack of an event stands and why.
func (c *coordinator) ackState(e eventView) (state, reason string) {
	journal := c.journal.State()
	done := journal.Events[e.event.ID]
	if done.Ack == drain.Acked || journal.PreviousEvents[e.event.ID].Ack == drain.Acked {
		return ackAccepted, ""
	}
	if e.event.Status != scheduledevents.Scheduled {
		if done.Ack == drain.AckIntended {
			// It did arrive; the answer or the journal entry was lost.
			c.journal.Note(drain.Entry{Kind: drain.Acked, EventID: e.event.ID, Reason: "the event has started"})
			return ackAccepted, "the event has started"
		}
		return ackNever, "the event has started without our ack"
	}
	if attempt := c.acks[e.event.ID]; attempt != nil && attempt.failed != nil {
		return ackFailed, attempt.failed.Error()
	}
	inEffect := hasCause(journal.Drain, drain.Cause{Kind: drain.ScheduledEvent, EventID: e.event.ID})
	switch d := e.decision; {
	case !d.AckAllowed:
		return ackNever, d.AckReason
	case d.ActAt.After(time.Now()):
		return ackPending, "until " + d.ActAt.UTC().Format(time.RFC3339)
	case d.Ack == scheduledevents.AckImmediately:
	case !inEffect || done.Drained == drain.ResultNone: // not by a drain that was taken back
		return ackPending, "until the drain has ended"
	case done.Drained == drain.ResultSucceeded:
	case len(c.asked) > 0: // another cause, for which what failed is tried again
		return ackPending, "until the drain has ended"
	case d.Ack != scheduledevents.AckAfterDrainEvenIfFailed:
		return ackNever, "the drain did not succeed"
	}
	return ackSending, ""
}

// startAck begins to send the ack of an event, unless that is under way.
func (c *coordinator) startAck(ctx context.Context, e scheduledevents.Event, longest time.Duration) {
	if c.acks[e.ID] != nil {
		return
	}
	doubt := c.journal.State().Events[e.ID].Ack == drain.AckIntended
	actx, stop := context.WithCancel(ctx)
	attempt := &ackAttempt{stop: stop}
	c.acks[e.ID] = attempt
	c.work.Go(func() {
		defer stop()
		if err := c.sendAck(actx, e, longest, doubt); err != nil {
			c.journal.Note(drain.Entry{Kind: drain.AckFailed, EventID: e.ID, Error: err.Error()})
			_ = c.do(ctx, func(context.Context) { attempt.failed = err })
			return
		}
		_ = c.do(ctx, func(context.Context) {})
	})
}

// sendAck posts the ack, with waits of at most longest between two attempts,
// until it is accepted or NotBefore has passed. It ends without an error when
// ctx is done: the event was seen to start or vanish, or the agent stops and
// goes on after its restart. When an ack is in doubt, because its answer was lost
// or the agent was killed, it waits for a newer document before the next.
func (c *coordinator) sendAck(ctx context.Context, e scheduledevents.Event, longest time.Duration, doubt bool) error {
	if doubt && !c.awaitDocument(ctx, e.NotBefore) {
		return errDoubt
	}
	if ctx.Err() == nil {
		// Durable, and with it the end of the drain, as long as the disk answers;
		// the journal tells if it does not, and the VM goes away in any case.
		_ = c.journal.Append(drain.Entry{Kind: drain.AckIntended, EventID: e.ID})
	}
	var last imds.Class
	for backoff := ackBackoff; ctx.Err() == nil; backoff = min(2*backoff, longest) {
		err := c.ack(ctx, e.ID)
		if err == nil {
			c.journal.Note(drain.Entry{Kind: drain.Acked, EventID: e.ID})
			c.logger.Info("event acked", "event_id", e.ID, "event_type", e.Type)
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		if class := imds.Classify(err); class != last {
			last = class
			c.logger.Warn("ack not accepted, trying again", "event_id", e.ID, "class", class, "err", err)
		}
		wait := backoff
		if left := time.Until(e.NotBefore); !e.NotBefore.IsZero() {
			if left <= 0 {
				c.logger.Error("ack given up, the notice is over", "event_id", e.ID, "err", err)
				return err
			}
			wait = min(wait, left)
		}
		next := time.Now().Add(wait)
		if mayHaveArrived(err) && !c.awaitDocument(ctx, e.NotBefore) {
			return err
		}
		sleep(ctx, time.Until(next))
	}
	return nil //nolint:nilerr // ctx is done, which is no failure
}

// mayHaveArrived reports whether Azure may have taken an ack whose answer did
// not come through.
func mayHaveArrived(err error) bool {
	switch imds.Classify(err) {
	case imds.ClassTimeout, imds.ClassUnreachable, imds.ClassServerError:
		return true
	default:
		return false
	}
}

// errDoubt says that it will not be known whether an ack has arrived.
var errDoubt = errors.New("the ack may have arrived before the agent was restarted, and the notice is over")

// awaitDocument waits for a poll that began after now. If the ack in doubt did
// arrive, that document shows the event as Started, and reconcile ends ctx. It
// reports false when the notice was over first.
func (c *coordinator) awaitDocument(ctx context.Context, notBefore time.Time) bool {
	for since := time.Now(); ctx.Err() == nil; sleep(ctx, doubtLook) {
		attempted, succeeded := c.polled()
		if attempted.After(since) && !succeeded.Before(attempted) {
			sleep(ctx, doubtLook)                   // the poller hands it on
			_ = c.do(ctx, func(context.Context) {}) // and reconcile has seen it
			return true
		}
		if !notBefore.IsZero() && time.Now().After(notBefore) {
			return false
		}
	}
	return true
}

// sleep waits for d, or less when ctx is done, which it reports with false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
