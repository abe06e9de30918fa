package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/node"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// drainTries is how often a member is asked to drain that is not drained yet.
	drainTries = 8
	// payWithin bounds what is still done after somebody has ended the run: members that
	// were drained, and keep what they are, return to service.
	payWithin = 3 * time.Minute
	// maxUnread is how often in a row the set may be unreadable while members are brought.
	maxUnread = 30

	// drainReason is what agents are told.
	drainReason = "fleetctl: apply"
)

// ErrDrained says that members were drained, and could not be returned to service.
var ErrDrained = errors.New("drained, and not undrained")

// members brings the members of a set to its model, in batches by name.
func (r *setRun) members(ctx context.Context, step fleet.SetStep) error {
	b := bringing{setRun: r, Bringing: fleet.NewBringing(r.Spec, r.name, r.options), step: step, model: modelOf(r.seen), ctx: ctx}
	err := b.run(ctx)
	if verified := b.Verified(); len(verified) > 0 {
		r.wrote(SetWrite{Set: r.name, Step: step, Members: verified})
		clear(r.waits)
	}
	return err
}

// modelOf is what members are made from.
func modelOf(seen *fleet.OwnedSet) [2]any {
	properties, _ := seen.Seen.Body["properties"].(fleet.Document)
	sku, _ := seen.Seen.Body["sku"].(fleet.Document)
	return [2]any{properties["virtualMachineProfile"], sku["name"]}
}

// A bringing carries out what brings the members of a set.
type bringing struct {
	*setRun
	*fleet.Bringing

	step     fleet.SetStep
	model    [2]any          // that the members are brought to
	ctx      context.Context //nolint:containedctx // that of the run, or after its end one in which debts are paid
	unread   int             // how often in a row the set could not be read
	verified int             // how many members were told of
	cause    error           // of an end that is not the members' fault
	refused  []error         // what Azure and agents have said no to, or failed at
}

// stop ends it because of something else than the members.
func (b *bringing) stop(err error) {
	if b.cause == nil {
		b.cause = err
	}
	b.Stop(err.Error())
}

func (b *bringing) run(ctx context.Context) error {
	for range maxLooks {
		if ctx.Err() != nil && b.ctx == ctx {
			defer b.interrupt()()
		}
		move := b.Next(b.seen.Set, b.Now())
		b.tellVerified()
		switch move.Do {
		case fleet.BringDone:
			b.tell(SetEvent{Kind: Done, Set: b.name, Step: b.step, Do: move.Do, Members: b.Verified()})
			return nil
		case fleet.BringStopped:
			return b.stopped(move.Why)
		case fleet.BringWait:
			b.rest(move)
		case fleet.BringDrain, fleet.BringUndrain, fleet.BringUpgrade:
			b.carryOut(move)
		}
		if b.ctx != ctx && b.ctx.Err() != nil {
			return b.stopped(b.cause.Error())
		}
		b.readAgain()
	}
	return b.stopped(fmt.Sprintf("the members are not all on the model after %d looks", maxLooks))
}

// interrupt ends it because the run has ended: what is owed is paid all the same, for some
// time. The function that it returns is to be called after that.
func (b *bringing) interrupt() context.CancelFunc {
	b.stop(b.ctx.Err())
	paying, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), payWithin)
	b.ctx = paying
	return cancel
}

// stopped is the error of a bringing that has stopped.
func (b *bringing) stopped(why string) error {
	err := b.cause
	if err == nil {
		err = errors.New(why)
		for _, refused := range b.refused { // which says more than its words
			if before, last := strings.CutSuffix(why, refused.Error()); last {
				err = fmt.Errorf("%s%w", before, refused)
			}
		}
	}
	if owed := b.Owed(); len(owed) > 0 {
		return fmt.Errorf("%w; %w: %s: a drain ends by itself after %s", err, ErrDrained, strings.Join(owed, ", "), b.Rules().DrainFor)
	}
	return err
}

// tellVerified tells who was brought since it was told last.
func (b *bringing) tellVerified() {
	all := b.Verified()
	if len(all) > b.verified {
		b.verified = len(all)
		b.tell(SetEvent{Kind: Done, Set: b.name, Step: b.step, Do: fleet.BringUpgrade, Members: all})
	}
}

// rest waits until it makes sense to look again.
func (b *bringing) rest(move fleet.BringMove) {
	if move.Why != b.told {
		b.tell(SetEvent{Kind: Waiting, Set: b.name, Step: b.step, Do: move.Do, Members: move.Members, Text: move.Why})
		b.told = move.Why
	}
	_ = b.Wait(b.ctx, min(lookEvery, max(move.Until.Sub(b.Now()), time.Second))) // the loop looks at the context
}

// readAgain reads the set. What cannot be read for long stops it; nothing is done on what
// was read before but to pay debts.
func (b *bringing) readAgain() {
	for {
		seen, err := b.reader.again(b.ctx, b.name, b.seen)
		switch {
		case err == nil && seen.Set == nil:
			b.stop(errors.New("it is not there any more"))
			seen.Set = &fleet.Set{} // and nobody is who is owed something
			b.seen = seen
			return
		case err == nil:
			b.seen, b.unread = seen, 0
			return
		case b.ctx.Err() != nil:
			return
		}
		b.unread++
		if b.unread > maxUnread {
			b.stop(err)
			return
		}
		b.tell(SetEvent{Kind: Waiting, Set: b.name, Step: b.step, Do: fleet.BringWait, Text: err.Error()})
		if b.Wait(b.ctx, lookEvery) != nil {
			return
		}
	}
}

// carryOut makes a move, and tells how it went.
func (b *bringing) carryOut(move fleet.BringMove) {
	if move.Do != fleet.BringUndrain && !b.mayGoOn() {
		return
	}
	b.tell(SetEvent{Kind: Begun, Set: b.name, Step: b.step, Do: move.Do, Members: move.Members, Text: move.Why})
	b.told = ""
	var failed map[string]error
	var err error
	switch move.Do {
	case fleet.BringDrain:
		failed = b.each(move.Members, b.drain)
	case fleet.BringUndrain:
		failed = b.each(move.Members, b.undrain)
	default:
		if err = b.upgrade(move.Members); is(err, azure.Conflict) && b.inTheWay(err) {
			b.tell(SetEvent{Kind: Again, Set: b.name, Step: b.step, Do: move.Do, Members: move.Members, Text: err.Error()})
			_ = b.Wait(b.ctx, lookEvery) // the loop looks at the context
			return                       // and asks for the same once more
		}
	}
	if b.ctx.Err() != nil {
		b.stop(cmp.Or(err, b.ctx.Err())) // an upgrade may go on
	}
	b.refused = slices.AppendSeq(b.refused, maps.Values(failed))
	if err != nil {
		b.refused = append(b.refused, err)
	}
	b.Did(move, b.Now(), failed, err)
}

// mayGoOn says whether the set is still ours to bring, with the model that it had.
func (b *bringing) mayGoOn() bool {
	held, err := b.Held(b.ctx, b.name)
	switch {
	case err != nil:
		b.stop(err)
	case held != "":
		b.stop(errors.New(held))
	case !reflect.DeepEqual(modelOf(b.seen), b.model):
		b.stop(fmt.Errorf("%w: the model of its members is another one", ErrChanged))
	default:
		return true
	}
	return false
}

// upgrade brings members to the model, by their names, and waits for the end. Where no
// answer says what became of it, the members will.
func (b *bringing) upgrade(members []string) error {
	names := make([]any, len(members))
	for i, name := range members {
		if name == "" || strings.Contains(name, "*") {
			return errors.New("a member has no name")
		}
		names[i] = name
	}
	err := b.send(b.ctx, b.step, fleet.Write{
		Method: http.MethodPost, ID: b.Spec.SetID(b.name), Action: "manualupgrade", Body: fleet.Document{"instanceIds": names},
	})
	if inDoubt(err) && b.ctx.Err() == nil {
		b.tell(SetEvent{Kind: Waiting, Set: b.name, Step: b.step, Do: fleet.BringUpgrade, Members: members, Text: err.Error()})
		return nil
	}
	return err
}

// each does something to members, all at the same time, and returns who could not do it.
func (b *bringing) each(members []string, do func(context.Context, fleet.ResourceID) error) map[string]error {
	failed := make(map[string]error)
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(setsAtOnce)
	for _, name := range members {
		all.Go(func() error {
			if err := do(b.ctx, node.Machine(b.Spec.SetID(b.name), name)); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[name] = err
			}
			return nil
		})
	}
	_ = all.Wait() // each has its own
	return failed
}

// drain has a node drained by its agent, and waits for the end.
func (b *bringing) drain(ctx context.Context, machine fleet.ResourceID) error {
	for try := 1; ; try++ {
		said, err := ask(ctx, b.Azure, machine, node.Drain(b.Rules().DrainFor, drainReason), node.DrainWithin+node.CommandTakes)
		busy := is(err, azure.Conflict) // another Run Command
		switch {
		case err == nil && said.Code == 0:
			return nil
		case try < drainTries && (busy || err == nil && said.Code == node.Late):
			if err := b.Wait(ctx, lookEvery); err != nil {
				return err
			}
		case err != nil:
			return err
		case said.Code == node.Late:
			return errors.New("it is not drained yet, and goes on")
		default:
			return errors.New("the agent did not drain: " + safetext.Line(said.Output, safetext.MaxText))
		}
	}
}

// undrain returns a node to service.
func (b *bringing) undrain(ctx context.Context, machine fleet.ResourceID) error {
	said, err := ask(ctx, b.Azure, machine, node.Undrain(drainReason), node.Within)
	if err == nil && said.Code != 0 {
		err = errors.New("the agent did not undrain: " + safetext.Line(said.Output, safetext.MaxText))
	}
	return err
}

// ask asks a node, with a bound.
func ask(ctx context.Context, client *azure.Client, machine fleet.ResourceID, script []string, within time.Duration) (node.Said, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return node.Ask(ctx, client, machine, script)
}
