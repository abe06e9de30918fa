package drain

import (
	"context"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// CauseKind says who wants the node drained.
type CauseKind string

// The kinds of cause.
const (
	ScheduledEvent CauseKind = "scheduled-event" // the platform announced an impact
	Shutdown       CauseKind = "shutdown"        // the system goes down and nobody announced it
	Operator       CauseKind = "operator"        // somebody asked
)

// A Cause says why a node drains.
type Cause struct {
	Kind      CauseKind `json:"kind"`
	EventID   string    `json:"event_id,omitempty"`
	EventType string    `json:"event_type,omitempty"`
	By        string    `json:"by,omitempty"` // an operator: "uid 1000 (alice)"
	Reason    string    `json:"reason,omitempty"`
	// Until is when the cause ends by itself; nil: it does not.
	Until *time.Time `json:"until,omitempty"`
}

// same reports whether two causes are one, asked for twice. What was said last
// about its end counts.
func (c Cause) same(other Cause) bool {
	return c.Kind == other.Kind && c.EventID == other.EventID && c.By == other.By
}

// add puts a cause to others, and reports whether that changed anything.
func add(causes *[]Cause, c Cause) bool {
	i := slices.IndexFunc(*causes, c.same)
	if i < 0 {
		*causes = append(*causes, c)
		return true
	}
	if until := (*causes)[i].Until; value(until).Equal(value(c.Until)) {
		return false
	}
	*causes = slices.Clone(*causes) // copies of a flight's are elsewhere
	(*causes)[i].Until = c.Until
	return true
}

// A Request asks for a drain.
type Request struct {
	Cause Cause
	// NotBefore is when the impact may begin, for the record and for steps.
	// Zero: not known.
	NotBefore time.Time
	// Deadline is when the plan must have ended. Zero: every step may have its
	// maximum. A deadline that has passed drains nothing and says so.
	Deadline time.Time
	// Urgent leaves out the wait for traffic to settle: the impact may come at
	// any moment.
	Urgent bool
	// Journaled, if set, is called once, when the request is in the journal,
	// with why it is not durable; nil: it is.
	Journaled func(error)
}

// A Brief is what a step may know of the drain that it is part of.
type Brief struct {
	DrainID string
	// Cause is what began the drain; causes that joined later are left out.
	Cause Cause
	// NotBefore and Deadline are those of the drain when the step began; zero
	// when there are none.
	NotBefore, Deadline time.Time
	// StopWithin is how long the step may take to stop once its context has
	// ended; after that it is abandoned.
	StopWithin time.Duration
}

type briefKey struct{}

// BriefFrom returns the brief of the drain that a step runs in, and the zero
// Brief outside of one.
func BriefFrom(ctx context.Context) Brief {
	b, _ := ctx.Value(briefKey{}).(Brief)
	return b
}

// CauseFrom returns what began the drain that a step runs in, and the zero
// Cause outside of one.
func CauseFrom(ctx context.Context) Cause { return BriefFrom(ctx).Cause }

// withBrief returns a context for a step.
func withBrief(ctx context.Context, b Brief) context.Context {
	return context.WithValue(ctx, briefKey{}, b)
}

// environment returns what steps tell the programs that they run: the cause as
// FLEET_* variables, always all four, the unknown ones empty. What Azure chose is
// made safe: a NUL would keep the program from being started at all.
func environment(b Brief) []string {
	deadline := ""
	if !b.Deadline.IsZero() {
		deadline = b.Deadline.UTC().Format(time.RFC3339)
	}
	return []string{
		"FLEET_CAUSE=" + string(b.Cause.Kind),
		"FLEET_EVENT_ID=" + safetext.Line(b.Cause.EventID, safetext.MaxID),
		"FLEET_EVENT_TYPE=" + safetext.Line(b.Cause.EventType, safetext.MaxWord),
		"FLEET_DEADLINE=" + deadline,
	}
}
