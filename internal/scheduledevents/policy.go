package scheduledevents

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what the node does about an event of its own.
type Action string

// The actions.
const (
	ActionDrain  Action = "drain"  // go unready and run the plan
	ActionCordon Action = "cordon" // only go unready
	ActionIgnore Action = "ignore" // show it
)

// AckPolicy says when the agent tells Azure that an event may start early.
type AckPolicy string

// The ack policies.
const (
	AckAfterDrain             AckPolicy = "after-drain" // only when the drain succeeded
	AckAfterDrainEvenIfFailed AckPolicy = "after-drain-even-if-failed"
	AckImmediately            AckPolicy = "immediately"
	AckNever                  AckPolicy = "never"
	AckUserInitiated          AckPolicy = "user-initiated" // only when Source is User: somebody waits for it
)

// SharedAck says who acks an event that names several VMs: an ack releases it
// for all of them.
type SharedAck string

// The policies for shared events.
const (
	SharedAckNever  SharedAck = "never"
	SharedAckFirst  SharedAck = "first" // the VM that Resources lists first
	SharedAckAlways SharedAck = "always"
)

// Rule is what to do about one type of event.
type Rule struct {
	Action Action
	Ack    AckPolicy
	// LeadTime is how long before NotBefore to act; 0 means as soon as the
	// event is seen. An event without a NotBefore, or already started, is
	// acted on at once.
	LeadTime time.Duration
	// MinDuration is the shortest interruption worth acting on: an event that
	// is expected to take less is ignored. One whose duration Azure does not
	// know (-1, or absent) may be a long one and is acted on. 0 means all.
	MinDuration time.Duration
}

// Policy decides about events. The zero value knows no type and does nothing.
type Policy struct {
	// Rules is by event type, in any letter case, whether or not it is one of
	// the constants. A type without a rule is unknown: its events are shown and
	// otherwise ignored.
	Rules map[string]Rule
	// SharedAck is SharedAckNever when empty.
	SharedAck SharedAck
}

// Decision is what a Policy says about one event. It depends on nothing but the
// event, so that it is the same in every document and after every restart.
type Decision struct {
	// Mine says whether the event names this VM.
	Mine bool
	// Known says whether there is a rule for the event's type and its status
	// is one that Azure documents.
	Known bool
	// Unsure says that it cannot be told what the event asks for: it does not
	// read, or has a status that Azure does not document. What is in effect
	// because of it stays.
	Unsure bool
	// Action is empty unless the event is Mine and Known.
	Action Action
	// Reason says in a phrase why the action is what it is.
	Reason string
	// ActAt is when to begin, with the action as with an ack; zero means now.
	ActAt time.Time
	// MaxRetrySleep bounds every sleep between two attempts at anything that
	// is done for the event, such as sending its ack.
	MaxRetrySleep time.Duration

	// AckAllowed says whether the event may be acked at all, Ack when:
	// AckAfterDrain, AckAfterDrainEvenIfFailed or AckImmediately. Ack is
	// AckNever when AckAllowed is false.
	Ack        AckPolicy
	AckAllowed bool
	// AckReason says in a phrase why the event is or is not acked.
	AckReason string
}

const (
	// Preempt is often less than ten seconds away.
	preemptRetrySleep = time.Second
	retrySleep        = 10 * time.Second
)

// Decide says what the VM named self does about an event. An empty self, for a
// VM that does not know its name yet, owns no event.
//
// Spot and regular VMs are not told apart: Azure sends Preempt to the ones and
// Terminate to the others only, so that the event's type already says it.
func (p Policy) Decide(e Event, self string) Decision {
	d := Decision{Ack: AckNever, MaxRetrySleep: retrySleep}
	if e.Type == Preempt {
		d.MaxRetrySleep = preemptRetrySleep
	}
	d.Mine = self != "" && containsFold(e.Resources, self)
	rule, known := p.rule(e.Type)
	unread, status := e.Unread(), slices.Contains(knownStatuses, e.Status)
	d.Known = known && status && unread == ""
	d.Unsure = !status || unread != ""
	switch {
	case self == "":
		d.Reason = "this VM's name is not known yet"
	case unread != "" && e.concerns(self):
		d.Reason = unread
	case !d.Mine:
		d.Reason = "names other VMs only"
	case !known:
		d.Reason = fmt.Sprintf("unknown type %q", e.Type)
	case !d.Known:
		d.Reason = fmt.Sprintf("unknown status %q", e.Status)
	default:
		d.Action, d.Reason = rule.action(e)
		d.ActAt = rule.actAt(e)
		d.Ack, d.AckReason = rule.ack(e, d.Action)
		if d.Ack != AckNever {
			d.AckAllowed, d.AckReason = p.mayAck(e, self, d.AckReason)
		}
	}
	if d.AckReason == "" {
		d.AckReason = d.Reason
	}
	if !d.AckAllowed {
		d.Ack = AckNever
	}
	return d
}

func (p Policy) rule(eventType string) (Rule, bool) {
	if rule, ok := p.Rules[eventType]; ok {
		return rule, true
	}
	for name, rule := range p.Rules {
		if lower(name) == lower(eventType) {
			return rule, true
		}
	}
	return Rule{}, false
}

// action applies MinDuration.
func (r Rule) action(e Event) (Action, string) {
	if r.Action == ActionIgnore || r.Action == "" {
		return ActionIgnore, fmt.Sprintf("policy for %s: ignore", e.Type)
	}
	if r.MinDuration > 0 && e.DurationSeconds != nil && *e.DurationSeconds >= 0 {
		// Compared in seconds: a duration of a huge number of them overflows.
		if seconds := *e.DurationSeconds; float64(seconds) < r.MinDuration.Seconds() {
			return ActionIgnore, fmt.Sprintf("expected to take %d s, less than min_duration %s", seconds, r.MinDuration)
		}
	}
	return r.Action, fmt.Sprintf("policy for %s: %s", e.Type, r.Action)
}

// actAt applies LeadTime.
func (r Rule) actAt(e Event) time.Time {
	if e.Status == Started || e.NotBefore.IsZero() || r.LeadTime <= 0 {
		return time.Time{}
	}
	return e.NotBefore.Add(-r.LeadTime)
}

// ack resolves the rule's ack policy for one event to when, or to never.
func (r Rule) ack(e Event, action Action) (AckPolicy, string) {
	policy := r.Ack
	if policy == "" {
		policy = AckNever
	}
	reason := "policy: " + string(policy)
	if policy == AckUserInitiated {
		if lower(e.Source) != lower(SourceUser) {
			return AckNever, "policy: user-initiated, and nobody asked for this event"
		}
		policy, reason = AckAfterDrain, "user-initiated: after-drain"
		if action != ActionDrain {
			policy, reason = AckImmediately, "user-initiated: immediately"
		}
	}
	switch {
	case policy == AckNever:
		return AckNever, reason
	case e.Status == Started:
		return AckNever, "already started: nothing is left to release"
	case policy != AckImmediately && action != ActionDrain:
		return AckNever, fmt.Sprintf("%s, and action %s drains nothing", reason, action)
	}
	return policy, reason
}

// mayAck applies SharedAck: an ack is for every VM in Resources.
func (p Policy) mayAck(e Event, self, reason string) (bool, string) {
	named := make(map[string]struct{}, len(e.Resources))
	for _, name := range e.Resources {
		named[strings.ToLower(name)] = struct{}{}
	}
	others := len(named) - 1
	switch {
	case others == 0:
		return true, reason
	case p.SharedAck == SharedAckAlways:
		return true, reason + ", shared_ack: always"
	case p.SharedAck != SharedAckFirst:
		return false, fmt.Sprintf("an ack would also release %s (shared_ack: never)", otherVMs(others))
	case strings.EqualFold(e.Resources[0], self):
		return true, reason + ", shared_ack: first"
	default:
		return false, fmt.Sprintf("shared with %s: %s acks, which is listed first (shared_ack: first)", otherVMs(others), e.Resources[0])
	}
}

func otherVMs(n int) string {
	if n == 1 {
		return "another VM"
	}
	return fmt.Sprintf("%d other VMs", n)
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
