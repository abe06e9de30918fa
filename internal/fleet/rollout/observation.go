package rollout

import (
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// An Observation is what was read of Azure for one call of Next. What could not be read
// says so: it is unknown, and nothing is written because of it.
type Observation struct {
	At time.Time // when the reading began
	// Epoch is State.Epoch when the reading began. What was written later does not show
	// in the observation, so nothing more is written there because of it.
	Epoch int
	Sets  map[string]SetSeen // by their names in the plan
	// Version is the version of the rollout in its gallery.
	Version    VersionSeen
	Operations map[int]Result // what became of operations under way that were asked about, by Action.Op
	Requests   []Request      // of operators; one that was taken up may be given again
	WindowOpen bool
	Opens      time.Time // when the window opens next, or has opened; zero: not known
}

// SetSeen is a scale set as it was read.
type SetSeen struct {
	Unknown string // why it could not be read; empty: it was
	fleet.Set
	// Busy says what somebody else does with the set just now, and who: the platform's
	// own upgrade, a write of another tool. Empty: nothing.
	Busy   string
	Gone   []Departure      // members that left since the rollout began, from the activity log
	Faults map[string]Fault // of members that failed to provision, by name
}

// VersionSeen is the version as it was read.
type VersionSeen struct {
	Unknown string
	fleet.Version
}

// A Departure is a member that left, or was stopped.
type Departure struct {
	Member string
	Born   time.Time // zero: not known
	At     time.Time
	Cause  Cause
}

// A Cause is why a member left.
type Cause string

// The causes. All but Repaired have nothing to do with the image.
const (
	NotKnown Cause = ""
	Evicted  Cause = "evicted"
	ScaledIn Cause = "scaled in"
	Operator Cause = "an operator"
	Repaired Cause = "repaired"
)

// A Fault is why a member failed to provision.
type Fault struct {
	Class Class // Bad, NoCapacity, or Inconclusive when it says nothing of the image
	Text  string
}

// A Request is what an operator asks of a rollout.
type Request struct {
	ID   string    `json:"id"`
	Do   Order     `json:"do"`
	Wave string    `json:"wave,omitempty"` // of Approve
	Keep bool      `json:"keep,omitempty"` // of Abort: members stay as they are
	By   string    `json:"by,omitempty"`
	Why  string    `json:"why,omitempty"`
	At   time.Time `json:"at"`
}

// An Order is what an operator may ask for. Another version supersedes this one by
// Abort.
type Order string

// The orders.
const (
	Approve Order = "approve"
	Pause   Order = "pause"
	Resume  Order = "resume"
	Abort   Order = "abort"
)

// running says whether a member runs, as far as Azure says.
func running(m *fleet.Member) bool { return !m.Vanished && m.Power != fleet.Deallocated }

// moving says whether the platform is at work on a member.
func moving(m *fleet.Member) bool { return fleet.AtWork(m.Provisioning) }

// untakeable says why no upgrade can reach a member as it is; empty: one can.
func untakeable(m *fleet.Member) string {
	switch {
	case m.Vanished:
		return notThere
	case m.Power == fleet.Deallocated:
		return deallocated
	case m.ProtectSetActions:
		return protected
	}
	return ""
}

// Why a member is out of reach.
const (
	notThere    = "its virtual machine is not there"
	deallocated = "it is deallocated"
	protected   = "it is protected from scale set actions"
)

var outOfReach = []string{notThere, deallocated, protected}
