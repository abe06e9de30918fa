package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// lookEvery is how often something that goes on is looked at when Azure does not
	// say, and longest how long it is waited for.
	lookEvery = 10 * time.Second
	longest   = 15 * time.Minute
	// lateEvery and lateTries bound the wait for a role or an identity that Azure has
	// just made and does not know everywhere yet.
	lateEvery = 10 * time.Second
	lateTries = 18
	// maxSteps bounds the changes of one run: there are about ten resources.
	maxSteps = 200

	actionRegister = "register" // of a resource provider
)

// An Applier brings Azure to what a file says. All fields but Register are needed.
type Applier struct {
	Azure *azure.Client
	Spec  *fleet.Spec
	// Register lets it register resource providers.
	Register bool
	// Wait returns after a time, or with the context's error.
	Wait func(context.Context, time.Duration) error
	Tell func(Event)
}

// A Kind is a sort of event.
type Kind string

// The kinds of events.
const (
	Begun   Kind = "begun"   // a write is about to be sent
	Done    Kind = "done"    // the resource is as it was planned
	Waiting Kind = "waiting" // something has to end first, as Text says
	Again   Kind = "again"   // the resource was changed by something else meanwhile
	Denied  Kind = "denied"  // the caller may not; the plan has the commands for who may
	Kept    Kind = "kept"    // Azure took the write, and the resource is not as it was planned
	Stopped Kind = "stopped" // an error ended what is done for a scale set, as Text says; the others go on
)

// An Event is what an Applier tells while it works.
type Event struct {
	Kind   Kind
	Change fleet.Change
	Text   string
}

// A Result is what was done, and what is left.
type Result struct {
	Written []fleet.Change       // in the order in which they were made
	Left    fleet.FoundationPlan // planned from what is there now
}

// Count returns how many resources were created, or updated.
func (r *Result) Count(action fleet.Action) int {
	n := 0
	for i := range r.Written {
		if r.Written[i].Action == action {
			n++
		}
	}
	return n
}

// ErrRefused says that the plan has a change that Azure never makes. Nothing was written.
var ErrRefused = errors.New("the file asks for something that cannot be changed")

// Apply makes the changes that can be made, from what was read. After an error, and
// after an end at any moment, it can be called again on what is read then.
func (a *Applier) Apply(ctx context.Context, live *fleet.Live) (Result, error) {
	run := run{Applier: a, live: live, register: a.Register, written: make(map[string]bool), again: make(map[string]bool)}
	err := run.settle(ctx)
	for steps := 0; err == nil && steps < maxSteps; steps++ {
		run.result.Left = fleet.PlanFoundation(a.Spec, run.live, run.register)
		if steps == 0 && refused(run.result.Left) {
			return run.result, ErrRefused
		}
		c := run.next()
		if c == nil {
			return run.result, nil
		}
		err = run.make(ctx, c)
	}
	return run.result, err
}

func refused(plan fleet.FoundationPlan) bool {
	for i := range plan.Changes {
		if plan.Changes[i].Action == fleet.ActionRefused {
			return true
		}
	}
	return false
}

// A run is one call of Apply.
type run struct {
	*Applier

	live     *fleet.Live
	register bool            // providers, as long as Azure lets us
	written  map[string]bool // what this run has written, by key
	again    map[string]bool // what was planned again, since something else had changed it
	result   Result
}

// next is the first change of the plan that can be made. What was written once in this
// run is not written again: Azure has made of it what it wants.
func (r *run) next() *fleet.Change {
	for i := range r.result.Left.Changes {
		c := &r.result.Left.Changes[i]
		if c.Write != nil && !r.written[fleet.Key(c.ID)] {
			return c
		}
	}
	return nil
}

// make makes one change, or finds out why it is none any more.
func (r *run) make(ctx context.Context, c *fleet.Change) error {
	r.Tell(Event{Kind: Begun, Change: *c})
	err := r.send(ctx, c)
	switch {
	case err == nil:
	case is(err, azure.Denied) && c.Scope != "":
		r.Tell(Event{Kind: Denied, Change: *c, Text: err.Error()})
		r.live.Permissions[fleet.Key(c.Scope)] = nil // nothing, as is known now
		return nil
	case is(err, azure.Denied) && c.Write.Action == actionRegister:
		r.Tell(Event{Kind: Denied, Change: *c, Text: err.Error()})
		r.register = false
		return nil
	case is(err, azure.Conflict) && r.unread(c.ID): // there it is
		r.live.Resources[fleet.Key(c.ID)] = fleet.Seen{Body: c.Write.Body}
		r.Tell(Event{Kind: Done, Change: *c})
		return nil
	case is(err, azure.Conflict) && !says(err, "MissingSubscriptionRegistration") && !r.again[fleet.Key(c.ID)]:
		r.again[fleet.Key(c.ID)] = true
		r.Tell(Event{Kind: Again, Change: *c, Text: err.Error()})
		unread := r.readAgain(ctx)
		if unread == nil && azure.Resent(err) && r.right(c) { // its own deed, whose answer was lost
			r.result.Written = append(r.result.Written, *c)
			r.Tell(Event{Kind: Done, Change: *c})
		}
		return unread
	default:
		return err
	}
	r.written[fleet.Key(c.ID)] = true
	r.result.Written = append(r.result.Written, *c)
	return r.confirm(ctx, c)
}

// send sends the write of a change and waits until Azure is done with it.
func (r *run) send(ctx context.Context, c *fleet.Change) error {
	for try := 1; ; try++ {
		op, err := r.Azure.Send(ctx, *c.Write)
		if err == nil {
			err = finish(ctx, op, func(why string) error {
				r.Tell(Event{Kind: Waiting, Change: *c, Text: why})
				return r.Wait(ctx, lookEvery)
			})
		}
		late := says(err, "PrincipalNotFound", "RoleDefinitionDoesNotExist")
		if !late || try == lateTries {
			return err
		}
		r.Tell(Event{Kind: Waiting, Change: *c, Text: "Azure does not know everywhere yet what was just made"})
		if err := r.Wait(ctx, lateEvery); err != nil {
			return err
		}
	}
}

// confirm reads what came of a write.
func (r *run) confirm(ctx context.Context, c *fleet.Change) error {
	if c.Write.Action == actionRegister {
		return r.registered(ctx, c)
	}
	seen, err := r.settled(ctx, c.ID)
	if is(err, azure.Denied) && r.unread(c.ID) {
		seen, err = fleet.Seen{Body: c.Write.Body}, nil
	}
	if err != nil {
		return err
	}
	r.live.Resources[fleet.Key(c.ID)] = seen
	kind := Done
	if !r.right(c) {
		kind = Kept
	}
	r.Tell(Event{Kind: kind, Change: *c})
	return nil
}

// right says whether what a change is about is as the file says now.
func (r *run) right(c *fleet.Change) bool {
	return !slices.ContainsFunc(fleet.PlanFoundation(r.Spec, r.live, r.register).Changes, func(now fleet.Change) bool {
		return now.ID.Same(c.ID) && now.Action != fleet.ActionNone
	})
}

// unread says whether a resource is a role assignment where those may not be read.
func (r *run) unread(id fleet.ResourceID) bool {
	return r.live.GrantsUnread != "" && typeOf(id, roleAssignment)
}

// registered waits until a resource provider is registered, which takes minutes.
func (r *run) registered(ctx context.Context, c *fleet.Change) error {
	err := r.until(ctx, func() (azure.Resource, string, error) {
		found, err := r.Azure.Resource(ctx, c.ID, "")
		state, _ := found.Body["registrationState"].(string)
		if err == nil && state == "Registered" {
			return found, "", nil
		}
		return found, c.Kind + " " + c.Name + " is " + state, err
	})
	if err != nil {
		return err
	}
	r.live.Providers[strings.ToLower(c.Name)] = "registered"
	r.Tell(Event{Kind: Done, Change: *c})
	return nil
}

// settle waits for the writes that go on when a run begins: of another one, or of one
// that was killed.
func (r *run) settle(ctx context.Context) error {
	for _, d := range fleet.Foundation(r.Spec, r.live) {
		if _, busy := r.live.Resources[fleet.Key(d.ID)].Busy(); !busy {
			continue
		}
		seen, err := r.settled(ctx, d.ID)
		if err != nil {
			return err
		}
		r.live.Resources[fleet.Key(d.ID)] = seen
	}
	return nil
}

// settled reads a resource when no write of it goes on any more.
func (r *run) settled(ctx context.Context, id fleet.ResourceID) (fleet.Seen, error) {
	var seen fleet.Seen
	err := r.until(ctx, func() (found azure.Resource, going string, err error) {
		seen, found, err = see(ctx, r.Azure, id)
		if state, busy := seen.Busy(); busy && err == nil {
			going = fmt.Sprintf("%s is %s", id.Name(), state)
		}
		return found, going, err
	})
	return seen, err
}

// until looks until nothing goes on any more, as often as Azure says.
func (r *run) until(ctx context.Context, look func() (found azure.Resource, going string, err error)) error {
	told := ""
	for waited := time.Duration(0); ; {
		found, going, err := look()
		if err != nil || going == "" {
			return err
		}
		if waited >= longest {
			return fmt.Errorf("%s for %s now: it was not waited for any longer", going, longest)
		}
		if going != told {
			r.Tell(Event{Kind: Waiting, Text: going})
			told = going
		}
		pause := found.After
		if pause <= 0 {
			pause = lookEvery
		}
		waited += max(pause, longest/10_000)
		if err := r.Wait(ctx, pause); err != nil {
			return err
		}
	}
}

// readAgain reads all of it, when nothing is written any more.
func (r *run) readAgain(ctx context.Context) error {
	live, err := Read(ctx, r.Azure, r.Spec)
	if err != nil {
		return err
	}
	for scope, permissions := range r.live.Permissions {
		if permissions == nil { // that Azure said no counts for more than what it lists
			live.Permissions[scope] = nil
		}
	}
	r.live = live
	return r.settle(ctx)
}
