// Package roll answers: how is a rollout carried out, and gone on with after a crash?
//
// What is to happen is decided by the pure machine of internal/fleet/rollout. A
// [Runner] gives it what is read of Azure, and does what it says:
//
//	journal ──replay──▶ state ─┐
//	Azure, requests ─▶ observation ─▶ Next ─▶ events ─▶ journal
//	                       ▲               └▶ each action: began ─▶ journal
//	                       │                               guard, perform
//	                       └────────── again ◀──────────── ended ─▶ journal
//
// A tick ([Runner.Advance]) goes round until there is no action left. A rollout can be
// left at any point, also by SIGKILL: an action that began and did not end is one whose
// answer was lost, and what is read next decides what became of it.
//
// No write follows from a failed read: what could not be read is unknown in the
// observation, and the machine does nothing there. Every request has a bound.
package roll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
)

// A Journal keeps the entries of one rollout, and what operators ask of it: a
// [journal.Lock], or to look a [journal.Journal].
type Journal interface {
	// Entries returns all entries, the oldest first. None is a rollout that has not
	// begun.
	Entries(ctx context.Context) ([]json.RawMessage, error)
	// Append adds an entry, which is durable when it returns.
	Append(ctx context.Context, entry json.RawMessage) error
	// Guard returns nil while enough of the lock is left to begin a write to Azure.
	Guard() error
	// Used is how much of what the journal takes is used, of 1.
	Used() float64
	// Requests returns what operators asked and nobody dropped yet, the oldest first.
	Requests(ctx context.Context) ([]Asked, error)
	// Drop removes a request that was taken up. One that is not there is no error.
	Drop(ctx context.Context, name string) error
}

// Asked is a request of an operator as it lies in the journal. Its data is a
// rollout.Request, whose ID is the name of the request, whatever it says.
type Asked = journal.Request

// A Runner carries out the rollout of one journal. Azure, Spec, Journal, Now and Wait
// are needed. It is not for concurrent use.
type Runner struct {
	Azure *azure.Client
	// Spec is what a plan is made from. Once there is one, it holds, whatever the file
	// says by then. Only this is read from the file of the moment: what the gates ask and
	// whom, the window, the webhook, and how many replicas a region gets. Some of it is
	// secret, and a question that is wrong can be mended while the rollout is paused for
	// it.
	Spec    *fleet.Spec
	Journal Journal
	Now     func() time.Time
	// Wait sleeps; the error is that of the context. Several may wait at once.
	Wait func(ctx context.Context, d time.Duration) error
	Tell func(Event) // of progress, one call at a time; nil: nobody listens
	// HTTP asks Prometheus and the webhook; nil: a client of its own.
	HTTP *http.Client

	known  replayed // the journal as it was read last
	ledger *ledger  // of whoever has the lock; nil: the journal was not read for it yet
	// upgrades are those by name that this process has asked for, by the number of their
	// actions. Where Azure tells of their ends is no matter for a journal: it is signed.
	upgrades map[int]*azure.Operation
	unknown  map[string]bool // members of which was told how they left, by set and name
}

// An Event is what a Runner tells. One of Entry, Look and Note is set.
type Event struct {
	At    time.Time
	Entry *rollout.Event // it was just journaled
	Look  *Status        // what a tick came to
	Note  string         // something else that an operator may want to know
}

// A Status is how a rollout stands.
type Status struct {
	Plan   rollout.Plan
	State  rollout.State
	Events []rollout.Event // the whole journal
	// Observation is what was read last; nil when nothing was.
	Observation *rollout.Observation
	Waits       []rollout.Wait
	// Due says that something is to be done now, by whoever holds the journal.
	Due bool
	// Again is when there is something to do, or to see, next; zero: it is over.
	Again time.Time
	// Asked are the requests that nobody has taken up yet.
	Asked []rollout.Request
}

// overdueAfter is how many observations may be missing before a rollout is overdue.
const overdueAfter = 3

// Overdue says whether nobody has looked at a rollout that is not over for too long.
func (s *Status) Overdue(now time.Time) bool {
	if s.State.Phase.Over() || len(s.Events) == 0 {
		return false
	}
	last := s.Events[len(s.Events)-1].At
	return now.Sub(last) > overdueAfter*s.Plan.Limits.ObserveEvery
}

// Idle says whether the rollout is over and owes nothing: [Runner.Advance] has nothing to
// do for it.
func (s *Status) Idle(now time.Time) bool { return idle(&s.Plan, &s.State, now) }

// ErrNone says that a journal holds no rollout.
var ErrNone = errors.New("the journal holds no rollout")

// ErrBegun says that a journal holds one already.
var ErrBegun = errors.New("the journal holds a rollout already")

// Survey reads the fleet that a plan is made from.
func (r *Runner) Survey(ctx context.Context) (fleet.Fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, planWithin)
	defer cancel()
	began := r.now()
	read, err := r.Azure.Fleet(ctx, scopeOf(r.Spec))
	read.At = began
	return read, err
}

// Plan reads the fleet and plans the rollout of a version. It writes nothing.
func (r *Runner) Plan(ctx context.Context, version string, o rollout.Options) (rollout.Plan, []rollout.Refusal, error) {
	read, err := r.Survey(ctx)
	if err != nil {
		return rollout.Plan{}, nil, fmt.Errorf("plan a rollout of %s: %w", version, err)
	}
	plan, refusals := rollout.PlanFor(*r.Spec, read, version, o)
	return plan, refusals, nil
}

// planWithin bounds the reading of a fleet for a plan.
const planWithin = 10 * time.Minute

// scopeOf is what a plan is made from: what the file declares, and the other sets of
// its resource group, which may follow the same image.
func scopeOf(spec *fleet.Spec) azure.Scope {
	scope := azure.Scope{
		Subscription: spec.Subscription, ResourceGroup: spec.ResourceGroup,
		Members: true, Upgrades: true, Autoscale: true, Images: true,
	}
	for name := range spec.ScaleSets {
		scope.Sets = append(scope.Sets, spec.SetID(name))
	}
	if id := spec.GalleryID(); id != "" {
		scope.GalleryIDs = []fleet.ResourceID{id}
	}
	return scope
}

// Start begins a rollout, if nothing speaks against it: its plan is the journal's first
// entry. [Runner.Advance] takes it on.
func (r *Runner) Start(ctx context.Context, version string, o rollout.Options) (rollout.Plan, []rollout.Refusal, error) {
	l, err := r.replay(ctx)
	switch {
	case err == nil:
		return l.plan, nil, ErrBegun
	case !errors.Is(err, ErrNone):
		return rollout.Plan{}, nil, err
	}
	plan, refusals, err := r.Plan(ctx, version, o)
	if err != nil || len(refusals) > 0 {
		return plan, refusals, err
	}
	if err := r.Journal.Guard(); err != nil {
		return plan, nil, err
	}
	l = &ledger{journal: r.Journal, tell: r.tell}
	if err := l.append(ctx, rollout.Begin(plan, r.now())); err != nil {
		return plan, nil, err
	}
	r.ledger = l
	return plan, nil, nil
}

// Status returns how the rollout stands as the journal tells it. It needs no lock and
// asks nothing of Azure.
func (r *Runner) Status(ctx context.Context) (Status, error) {
	l, err := r.replay(ctx)
	if err != nil {
		return Status{}, err
	}
	s := l.status()
	s.Asked, err = r.asked(ctx, l)
	return s, err
}

// Look returns how the rollout stands, and how its sets are just now. It reads, writes
// nothing, and needs no lock.
func (r *Runner) Look(ctx context.Context) (Status, error) {
	l, err := r.replay(ctx)
	if err != nil {
		return Status{}, err
	}
	o, err := r.observe(ctx, l)
	if err != nil {
		return Status{}, err
	}
	move := rollout.Next(l.plan, l.state, o, r.now())
	s := l.status()
	s.Observation, s.Waits, s.Due = &o, move.Waits, due(&move)
	s.Again = again(l, &move, r.now())
	s.Asked = untaken(l, o.Requests)
	return s, nil
}

// due says whether a move has something to do beyond noting that it looked.
func due(m *rollout.Move) bool {
	for i := range m.Events {
		if m.Events[i].Kind != rollout.Observed {
			return true
		}
	}
	return len(m.Actions) > 0
}

// now is the time on the wall. Go would go on with the clock of the process, which stands
// still while the machine sleeps: a soak must not count what nobody looked at.
func (r *Runner) now() time.Time { return r.Now().Round(0) }

func (r *Runner) tell(e Event) {
	if r.Tell != nil {
		e.At = r.now()
		r.Tell(e)
	}
}

func (r *Runner) note(format string, args ...any) {
	r.tell(Event{Note: fmt.Sprintf(format, args...)})
}
