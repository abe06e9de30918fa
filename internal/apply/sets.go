package apply

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// operationWithin bounds the wait for one write of a scale set: Azure makes its
	// members in it.
	operationWithin = time.Hour
	// beginsWithin is how long the platform may take to begin the rolling upgrade that a
	// changed model asks for.
	beginsWithin = 2 * time.Minute
	// maxConflicts is how often others may be in the way of one set.
	maxConflicts = 5
	// maxSetSteps bounds what is done for one set, and maxLooks how often it is looked at.
	maxSetSteps = 30
	maxLooks    = 10_000
)

// A SetApplier brings the scale sets of a file to what it says: several at the same time,
// and of each one write at a time. All fields but Confirm are needed. Functions that are
// called more than once are called one after the other, but for Held, Wait and Now.
type SetApplier struct {
	Azure *azure.Client
	Spec  *fleet.Spec
	// Held says which rollout holds a set; empty: none. It is asked right before anything
	// of a set is written.
	Held func(ctx context.Context, name string) (string, error)
	// Confirm says whether a plan is to be made that is not the one that was confirmed,
	// because somebody else has changed the set since, as Why says. Nil: nobody can be
	// asked, and no such plan is made.
	Confirm func(ctx context.Context, plan *fleet.SetPlan, why string) (bool, error)
	// Wait returns after a time, or with the context's error.
	Wait func(context.Context, time.Duration) error
	// Now is the time that Azure goes by.
	Now  func() time.Time
	Tell func(SetEvent)
}

// A SetEvent is what a SetApplier tells while it works.
type SetEvent struct {
	Kind Kind
	Set  string        // its name in the file
	Step fleet.SetStep // that it is about
	// Do is what is done to Members, of a step that brings them.
	Do      fleet.BringVerb
	Members []string
	Text    string
}

// A SetResult is what was done, and what is left.
type SetResult struct {
	Written []SetWrite      // in the order in which they were made
	Left    []fleet.SetPlan // of all sets, in the order of their names, as last read
	Failed  []SetError      // in the order of their names
}

// A SetWrite is a step of a set that was made.
type SetWrite struct {
	Set  string
	Step fleet.SetStep
	// Members were brought to the model.
	Members []string
}

// A SetError is why a set is not as the file says.
type SetError struct {
	Set string
	Err error
}

func (e *SetError) Error() string { return e.Set + ": " + e.Err.Error() }

func (e *SetError) Unwrap() error { return e.Err }

// ErrChanged says that somebody else changed a set, so that its plan is not the one that
// was confirmed any more, and nobody said yes to it.
var ErrChanged = errors.New("somebody else has changed it since: its plan is not the one that was confirmed")

// ErrInDoubt says that no answer tells what became of a write.
var ErrInDoubt = errors.New("it may be done in Azure all the same")

// ErrGoesOn says that the run has ended, and a write of it has not.
var ErrGoesOn = errors.New("what it has begun goes on in Azure")

// inDoubt says whether an error leaves open what became of what was asked for.
func inDoubt(err error) bool {
	return is(err, azure.Unreachable) || is(err, azure.Garbled) || azure.Unsure(err)
}

// passes says whether a question that got this error for an answer may be asked again.
func passes(err error) bool { return inDoubt(err) || is(err, azure.Throttled) }

// finish waits until Azure is done with a write. That it cannot be asked for some time is no
// end of it: it goes on. Pause tells why, and waits until it is asked again.
func finish(ctx context.Context, op *azure.Operation, pause func(why string) error) error {
	for unread := 0; ; unread++ {
		_, err := op.Wait(ctx)
		if ctx.Err() != nil || unread == maxUnread || !passes(err) {
			return err
		}
		if err := pause(unasked(err)); err != nil {
			return err
		}
	}
}

func unasked(err error) string {
	return fmt.Sprintf("it goes on in Azure, and cannot be asked for now (%v)", err)
}

// Apply makes what can be made of the plans of what was read. An error of one set stops
// that set alone; all are returned, joined. After an error, and after an end at any
// moment, it can be called again on what is read then.
func (a *SetApplier) Apply(ctx context.Context, read *Sets) (SetResult, error) {
	shared := &sharedRun{SetApplier: a, reader: setReader{client: a.Azure, spec: a.Spec}, options: read.Options}
	names := setNames(a.Spec)
	runs := make([]*setRun, len(names))
	errs := make([]error, len(names))
	var all errgroup.Group
	all.SetLimit(setsAtOnce)
	for i, name := range names {
		run := &setRun{sharedRun: shared, name: name, seen: read.Owned[name], waits: make(map[string]time.Duration)}
		run.plan = run.planned()
		run.confirmed, runs[i] = run.plan, run
		if run.plan.Next() == nil {
			continue
		}
		all.Go(func() error {
			errs[i] = run.bring(ctx)
			if errs[i] != nil && run.under != nil && ctx.Err() != nil {
				errs[i] = fmt.Errorf("%w; %w", errs[i], ErrGoesOn)
			}
			if errs[i] != nil && ctx.Err() == nil {
				shared.tell(SetEvent{Kind: Stopped, Set: name, Text: errs[i].Error()})
			}
			return nil
		})
	}
	_ = all.Wait() // each run has its own
	result := SetResult{Written: shared.written}
	for i, run := range runs {
		result.Left = append(result.Left, run.plan)
		if errs[i] != nil {
			result.Failed = append(result.Failed, SetError{Set: run.name, Err: errs[i]})
		}
	}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	return result, joined(result.Failed)
}

func joined(failed []SetError) error {
	all := make([]error, len(failed))
	for i := range failed {
		all[i] = &failed[i]
	}
	return errors.Join(all...)
}

// A sharedRun is one call of Apply.
type sharedRun struct {
	*SetApplier

	reader  setReader
	options *fleet.OwnOptions

	mu      sync.Mutex // guards what follows, and what is told
	written []SetWrite
	asks    sync.Mutex // one question at a time
}

func (s *sharedRun) tell(e SetEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Tell(e)
}

func (s *sharedRun) wrote(w SetWrite) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, w)
}

// A setRun brings one set.
type setRun struct {
	*sharedRun

	name      string
	seen      *fleet.OwnedSet
	plan      fleet.SetPlan // of seen
	confirmed fleet.SetPlan
	made      []fleet.SetStep          // that were written
	under     *upgrading               // a write that lasts as long as the rolling upgrade that it began; nil: none
	modelAt   time.Time                // when its model was written last, as far as is known; zero: not in this run
	waits     map[string]time.Duration // how long something was waited for since the last deed
	told      string                   // the last wait
	blind     int                      // how often in a row it could not be read
	conflicts int
	lost      *fleet.SetStep // a write that found something in its way, which may be its own deed; nil: none
}

func (r *setRun) planned() fleet.SetPlan { return fleet.PlanSet(r.Spec, r.name, r.seen, r.options) }

// bring makes one step after the other, each of them planned from what was read right
// before it.
func (r *setRun) bring(ctx context.Context) error {
	steps := 0
	for range maxLooks {
		began := r.Now()
		again, err := r.look(ctx)
		if err != nil {
			return err
		}
		if !again {
			r.found()
		}
		step := r.plan.Next()
		switch {
		case again:
		case r.under != nil && !r.rolls():
			err = r.settle(ctx)
		case step == nil && r.begins():
			err = r.pause(ctx, fleet.SetStep{Kind: fleet.StepMembers}, "the platform begins its rolling upgrade")
		case step == nil:
			return nil
		case step.State == fleet.StepWaits:
			err = r.wait(ctx, step, began)
		case r.makes(step):
			r.tell(SetEvent{Kind: Kept, Set: r.name, Step: *step})
			return nil
		case steps == maxSetSteps:
			return fmt.Errorf("it is not as the file says after %d writes", steps)
		case step.Kind == fleet.StepMembers:
			steps++
			err = r.members(ctx, *step)
		default:
			steps++
			err = r.write(ctx, *step)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("it is not as the file says after %d looks", maxLooks)
}

// look reads the set, and asks when its plan is not what was confirmed. Again: that took
// its time, or the set could not be read.
func (r *setRun) look(ctx context.Context) (again bool, err error) {
	seen, err := r.reader.again(ctx, r.name, r.seen)
	if err != nil {
		return r.unseen(ctx, err)
	}
	r.blind = 0
	if seen.Held, err = r.Held(ctx, r.name); err != nil {
		return false, err
	}
	r.seen = seen
	if r.under != nil && r.rolls() {
		r.under.seen = r.Now()
	}
	r.plan = r.planned()
	why := r.plan.Beyond(&r.confirmed)
	if why == "" {
		return false, nil
	}
	return true, r.confirm(ctx, why)
}

// unseen waits some time for a set that cannot be read: nothing is done meanwhile.
func (r *setRun) unseen(ctx context.Context, err error) (again bool, _ error) {
	if r.blind++; r.blind > maxUnread || !passes(err) {
		return false, err
	}
	return true, r.pause(ctx, fleet.SetStep{}, err.Error())
}

// confirm asks whether another plan than the one that was confirmed is to be made.
func (r *setRun) confirm(ctx context.Context, why string) error {
	if r.Confirm == nil {
		return fmt.Errorf("%w: %s", ErrChanged, why)
	}
	r.asks.Lock()
	defer r.asks.Unlock()
	switch yes, err := r.Confirm(ctx, &r.plan, why); {
	case err != nil:
		return err
	case !yes:
		return fmt.Errorf("%w: %s", ErrChanged, why)
	}
	r.confirmed = r.plan
	return nil
}

// makes says whether a step was made already: Azure has made something else of it.
func (r *setRun) makes(step *fleet.SetStep) bool {
	return step.Kind != fleet.StepMembers && slices.ContainsFunc(r.made, func(made fleet.SetStep) bool { return sameWrite(made, *step) })
}

// begins says whether the platform may be about to bring the model that was just written.
func (r *setRun) begins() bool {
	return !r.modelAt.IsZero() && r.Now().Before(r.modelAt.Add(beginsWithin)) &&
		slices.ContainsFunc(r.plan.Stopped(), func(s fleet.SetStep) bool {
			return s.Kind == fleet.StepMembers && s.Cause == fleet.StopPlatform
		})
}

// wait waits some time for what a step waits for, and not for ever. What the platform does
// is waited for as long as it goes on. Began is when the set was looked at.
func (r *setRun) wait(ctx context.Context, step *fleet.SetStep, began time.Time) error {
	what := string(step.Kind) + " " + string(step.Cause)
	if step.Cause == fleet.StopPlatform {
		what += " " + step.Why
	}
	if r.waits[what] >= step.Wait {
		return fmt.Errorf("%s, for %s now: it was not waited for any longer", step.Why, step.Wait)
	}
	err := r.pause(ctx, *step, step.Why)
	r.waits[what] += r.Now().Sub(began)
	return err
}

// pause waits until it makes sense to look again.
func (r *setRun) pause(ctx context.Context, step fleet.SetStep, why string) error {
	if why != r.told {
		r.tell(SetEvent{Kind: Waiting, Set: r.name, Step: step, Text: why})
		r.told = why
	}
	return r.Wait(ctx, lookEvery)
}

// write makes a step that is one write.
func (r *setRun) write(ctx context.Context, step fleet.SetStep) error {
	r.tell(SetEvent{Kind: Begun, Set: r.name, Step: step})
	if r.seen.Set == nil || r.seen.Set.Model.Upgrade.Mode != fleet.Rolling {
		return r.ended(ctx, step, r.send(ctx, step, *step.Change.Write))
	}
	op, err := r.Azure.Send(ctx, *step.Change.Write)
	if err != nil {
		return r.ended(ctx, step, err)
	}
	r.under = &upgrading{step: step, op: op, seen: r.Now()}
	r.waitAnew()
	return nil
}

// ended ends a write.
func (r *setRun) ended(ctx context.Context, step fleet.SetStep, err error) error {
	if step.Kind == fleet.StepModel || step.Kind == fleet.StepExtension || step.Kind == fleet.StepPolicy {
		r.modelAt = r.Now() // by us, or by whoever is in the way
	}
	if is(err, azure.Conflict) && r.inTheWay(err) {
		if azure.Resent(err) {
			r.lost = &step
		}
		r.tell(SetEvent{Kind: Again, Set: r.name, Step: step, Text: err.Error()})
		return r.Wait(ctx, lookEvery)
	}
	if inDoubt(err) {
		return fmt.Errorf("%w; %w", err, ErrInDoubt)
	}
	if err != nil {
		return err
	}
	r.did(step)
	return nil
}

// did notes a write that was made.
func (r *setRun) did(step fleet.SetStep) {
	r.made = append(r.made, step)
	r.waitAnew()
	r.wrote(SetWrite{Set: r.name, Step: step})
	r.tell(SetEvent{Kind: Done, Set: r.name, Step: step})
}

// found notes a write whose answer was lost, when the set is then as it makes it.
func (r *setRun) found() {
	lost := r.lost
	if r.lost = nil; lost != nil && !slices.ContainsFunc(r.plan.Steps, func(s fleet.SetStep) bool { return sameWrite(s, *lost) }) {
		r.did(*lost)
	}
}

// sameWrite says whether two steps write the same.
func sameWrite(a, b fleet.SetStep) bool {
	return a.Kind == b.Kind && a.Change.Action == b.Change.Action && reflect.DeepEqual(a.Change.Properties, b.Change.Properties)
}

// waitAnew forgets what was waited for before a deed.
func (r *setRun) waitAnew() {
	r.told = ""
	clear(r.waits)
}

// upgrading is a write under Rolling. Its end comes when the rolling upgrade that it began is
// over, which may be after hours. So that is watched as any other is, and the end is asked for
// when none goes on.
type upgrading struct {
	step   fleet.SetStep
	op     *azure.Operation
	seen   time.Time // when it was sent, or a rolling upgrade was seen last
	unread int       // how often in a row its end could not be asked for
}

func (r *setRun) rolls() bool { return r.seen.Set != nil && r.seen.Set.Rolling.Active() }

// settle ends the write that is under way, if Azure is done with it by now.
func (r *setRun) settle(ctx context.Context) error {
	w := r.under
	over, err := w.op.Poll(ctx)
	switch {
	case passes(err) && ctx.Err() == nil && w.unread < maxUnread:
		w.unread++
		return r.pause(ctx, w.step, unasked(err))
	case over || err != nil:
		r.under = nil
		return r.ended(ctx, w.step, goesOn(w.op, err))
	case r.Now().After(w.seen.Add(operationWithin)):
		return unended(*w.step.Change.Write)
	}
	w.unread = 0
	return r.Wait(ctx, lookEvery)
}

// inTheWay says whether a conflict is because of somebody else, and may end. Azure tells of
// a quota in the same way.
func (r *setRun) inTheWay(err error) bool {
	failure := azure.FailureOf(err)
	r.conflicts++
	return r.conflicts <= maxConflicts && fleet.CauseOf(failure.Code, failure.Message) == fleet.CauseUnknown
}

// send sends a write of a step, and waits until Azure is done with it.
func (r *setRun) send(ctx context.Context, step fleet.SetStep, w fleet.Write) error {
	bounded, cancel := context.WithTimeout(ctx, operationWithin)
	defer cancel()
	op, err := r.Azure.Send(bounded, w)
	if err == nil {
		err = finish(bounded, op, func(why string) error { return r.pause(bounded, step, why) })
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w; %w", err, ErrGoesOn)
		}
		err = goesOn(op, err)
	}
	if bounded.Err() != nil && ctx.Err() == nil {
		return unended(w)
	}
	return err
}

// goesOn is an error in the place of the end of a write, such as a token that has expired.
func goesOn(op *azure.Operation, err error) error {
	if err == nil || op.Over() || passes(err) {
		return err
	}
	return fmt.Errorf("%w; %w", err, ErrGoesOn)
}

func unended(w fleet.Write) error {
	return fmt.Errorf("%s is not over after %s, and goes on in Azure", w, operationWithin)
}
