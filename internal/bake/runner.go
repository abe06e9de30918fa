package bake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// pollEvery is the time between two looks when Azure does not ask for another.
	pollEvery = 10 * time.Second
	// maxNumbers bounds the numbers that one call reaches for: more are taken by others
	// only when something is wrong.
	maxNumbers = 20
	// maxBlind bounds the looks in a row that fail while there is nothing to do but wait.
	maxBlind = 5
	// remakeWithin bounds the wait for the end of a template that failed.
	remakeWithin = 5 * time.Minute
	// maxSteps bounds the steps of one number that are no waits.
	maxSteps = 50
)

// A Runner bakes. All fields but Tell, NoBootTest, NoWait and Follow are needed.
type Runner struct {
	Azure   *azure.Client
	Spec    *fleet.Spec
	Content *fleet.Content
	Now     func() time.Time
	// Wait sleeps; the error is that of the context.
	Wait func(ctx context.Context, d time.Duration) error
	Tell func(Event) // of progress; nil: nobody listens
	// Call is a random id of this call: what it has reserved is told from what another
	// one has.
	Call string
	// NoBootTest leaves the boot test out. The version is not proven then, and a later
	// bake of the same content goes on with its test.
	NoBootTest bool
	// NoWait ends the call once the build runs.
	NoWait bool
	// Follow tells the lines of customization.log as they come.
	Follow bool

	ahead   time.Duration // of Azure's clock before this machine's
	call    fleet.BakeCall
	version string
	made    *azure.Operation // of this call's PUT of the template; nil: none
	log     *logReader
	stage   string
	blind   int             // looks in a row that failed
	cleaned bool            // the template was deleted, or cannot be
	left    map[string]bool // versions that were told to be left behind
	verdict *fleet.BootVerdict
	again   bool // the instance of a boot test was gone, and there was another try
}

// An Outcome says how far a bake has come.
type Outcome string

// The outcomes.
const (
	Proven   Outcome = "proven"   // the version passed its boot test
	Untested Outcome = "untested" // it is complete, and no boot test was made
	Started  Outcome = "started"  // the build goes on in Azure
)

// A Result is what a bake has made.
type Result struct {
	Outcome Outcome
	Version string
	Image   *fleet.Version // nil of Started
	// Verdict is that of the boot test; nil when this call made none.
	Verdict *fleet.BootVerdict
}

// errLeft says that the number was left behind.
var errLeft = errors.New("left behind")

// Run bakes, and returns when the version is proven, or complete where no boot test is
// made. The error is a *fleet.BakeError when the bake came to an end without a
// version that may be used; that of the context when it was interrupted, and then the
// build goes on in Azure.
func (r *Runner) Run(ctx context.Context) (*Result, error) {
	if err := r.upload(ctx); err != nil {
		return nil, err
	}
	r.call = fleet.BakeCall{
		ID: r.Call, Content: r.Content.Hash,
		BootTest: r.Spec.Bake.BootTest != nil && !r.NoBootTest,
	}
	for range maxNumbers {
		if err := r.choose(ctx); errors.Is(err, errLeft) {
			continue
		} else if err != nil {
			return nil, err
		}
		result, err := r.carry(ctx)
		if errors.Is(err, errLeft) {
			continue
		}
		return result, err
	}
	return nil, fmt.Errorf("%d numbers in a row were taken by others, or hang: %s is the last", maxNumbers, r.version)
}

// Version is the number of the bake; "" before it has one.
func (r *Runner) Version() string { return r.version }

// Verdict is that of the boot test; nil when none was made.
func (r *Runner) Verdict() *fleet.BootVerdict { return r.verdict }

// carry takes one step after the other until the bake of the number has ended.
func (r *Runner) carry(ctx context.Context) (*Result, error) {
	steps := 0
	for {
		look, after, err := r.look(ctx)
		if err == nil {
			r.blind = 0
		} else if err = r.see(ctx, err); err != nil {
			return nil, err
		} else {
			continue
		}
		step := fleet.NextBake(look)
		r.tellStep(ctx, look, step)
		switch waits := step.Until; {
		case !waits.IsZero():
			if r.NoWait && step.Do != fleet.BakeAwaitTemplate {
				return &Result{Outcome: Started, Version: r.version}, nil
			}
			err = r.Wait(ctx, minWait(after))
		case step.Do == fleet.BakeDone:
			if err := r.sweep(ctx); err != nil {
				return nil, err
			}
			r.at(StageDone)
			return r.result(look), nil
		case step.Do == fleet.BakeFail:
			return nil, r.failed(ctx, look, step.Failure)
		case steps >= maxSteps:
			err = fmt.Errorf("the bake of %s does not come forward: %d steps, and the next is %q again", r.version, steps, step.Do)
		default:
			steps++
			err = r.perform(ctx, look, step)
		}
		if err != nil {
			return nil, err
		}
	}
}

// minWait is how long to wait when Azure does not say.
func minWait(after time.Duration) time.Duration {
	if after > 0 {
		return after
	}
	return pollEvery
}

// see takes a look that failed. What may pass is waited for, a few times.
func (r *Runner) see(ctx context.Context, err error) error {
	e, ok := errors.AsType[*azure.Error](err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	passes := ok && (e.Kind == azure.Unreachable || e.Kind == azure.Throttled || e.Kind == azure.Failed || e.Kind == azure.Garbled)
	if r.blind++; !passes || r.blind > maxBlind || r.stage == "" {
		return err
	}
	r.note("%v; looking again in %s", err, pollEvery)
	return r.Wait(ctx, max(pollEvery, e.After))
}

// look reads what is needed for the next step, and how long Azure asks to wait before
// it is asked again.
func (r *Runner) look(ctx context.Context) (*fleet.BakeLook, time.Duration, error) {
	l := &fleet.BakeLook{Spec: r.Spec, Call: r.call, Version: r.version}
	var after time.Duration
	if !r.cleaned {
		read, err := r.Azure.Resource(ctx, r.Spec.TemplateID(r.version), "")
		switch {
		case err == nil:
			r.set(read.At)
			l.Template = fleet.ReadBakeTemplate(r.Spec, read.Body)
			after = read.After
		case !errors.Is(err, &azure.Error{Kind: azure.NotFound}):
			return nil, 0, err
		}
		if l.Template != nil && l.Template.Provisioning == "Deleting" {
			l.Template = nil
		}
	}
	if l.Template.NeedsImage() {
		read, err := r.Azure.Resource(ctx, r.VersionID(), "ReplicationStatus")
		switch {
		case err == nil:
			r.set(read.At)
			v := fleet.ReadVersion(read.Body)
			l.Image, after = &v, read.After
		case !errors.Is(err, &azure.Error{Kind: azure.NotFound}):
			return nil, 0, err
		}
	}
	l.Now = r.now()
	return l, after, nil
}

// VersionID is the id of the image version.
func (r *Runner) VersionID() fleet.ResourceID {
	return r.Spec.DefinitionID() + fleet.ResourceID("/versions/"+r.version)
}

// perform takes a step that is no wait.
func (r *Runner) perform(ctx context.Context, l *fleet.BakeLook, step fleet.BakeStep) error {
	switch step.Do {
	case fleet.BakeLeave:
		r.tellLeft(r.version, step.Why)
		return errLeft
	case fleet.BakeRetry:
		r.note("the identity may not do its work yet; a role that was just assigned takes some minutes: %s", fleet.Failure{Message: step.Why})
		return r.remake(ctx)
	case fleet.BakeRun:
		return r.start(ctx)
	case fleet.BakeReject:
		return r.reject(ctx, r.version, step.Why)
	case fleet.BakeSeal:
		return r.seal(ctx)
	case fleet.BakeBoot:
		return r.boot(ctx)
	case fleet.BakeClean:
		r.cleaned = true
		return r.deleteTemplate(ctx, l.Template.ID)
	default: // the others are no deeds
	}
	return fmt.Errorf("the bake of %s has no way to %q", r.version, step.Do)
}

// start starts the build. Azure refuses a second run beside one that is under way: then
// the next look sees that.
func (r *Runner) start(ctx context.Context) error {
	_, err := r.Azure.Send(ctx, fleet.Write{Method: http.MethodPost, ID: r.Spec.TemplateID(r.version), Action: "run"})
	e, ok := errors.AsType[*azure.Error](err)
	if ok && (e.Kind == azure.Conflict || e.Kind == azure.Unreachable) && ctx.Err() == nil {
		r.note("the build was not started, or the answer was lost: %v; looking again", err)
		return r.Wait(ctx, pollEvery)
	}
	return err
}

// remake deletes the template that failed and waits until its number is free for the
// next try.
func (r *Runner) remake(ctx context.Context) error {
	id := r.Spec.TemplateID(r.version)
	if err := r.deleteTemplate(ctx, id); err != nil {
		return err
	}
	for until := r.now().Add(remakeWithin); r.now().Before(until); {
		read, err := r.Azure.Resource(ctx, id, "")
		if isNotFound(err) {
			return errLeft
		}
		if err != nil {
			return err
		}
		if err := r.Wait(ctx, minWait(read.After)); err != nil {
			return err
		}
	}
	return errLeft // the next number, then
}

// deleteTemplate asks for the end of a template. What Azure does about it takes
// minutes, and needs nobody. A template that cannot be deleted now is swept by the
// next bake.
func (r *Runner) deleteTemplate(ctx context.Context, id fleet.ResourceID) error {
	_, err := r.Azure.Send(ctx, fleet.Write{Method: http.MethodDelete, ID: id})
	switch {
	case errors.Is(err, &azure.Error{Kind: azure.NotFound}):
		return nil
	case errors.Is(err, &azure.Error{Kind: azure.Conflict}):
		r.note("%s cannot be deleted now, which the next bake does: %v", id.Name(), err)
		return nil
	}
	return err
}

// Cancel cancels the build and waits until it has ended.
func (r *Runner) Cancel(ctx context.Context) error {
	if r.version == "" {
		return nil
	}
	_, err := r.Azure.Send(ctx, fleet.Write{Method: http.MethodPost, ID: r.Spec.TemplateID(r.version), Action: "cancel"})
	if err != nil {
		return err
	}
	for {
		read, err := r.Azure.Resource(ctx, r.Spec.TemplateID(r.version), "")
		if err != nil {
			return err
		}
		t := fleet.ReadBakeTemplate(r.Spec, read.Body)
		if t == nil || t.RunState != "Running" && t.RunState != "Canceling" {
			return nil
		}
		if err := r.Wait(ctx, minWait(read.After)); err != nil {
			return err
		}
	}
}

func (r *Runner) result(l *fleet.BakeLook) *Result {
	result := &Result{Outcome: Untested, Version: r.version, Image: l.Image, Verdict: r.verdict}
	if _, booted := l.Image.Tags[fleet.TagBooted]; booted {
		result.Outcome = Proven
	}
	return result
}

// now is the time by Azure's clock: what hangs is told by times of Azure's, and a
// machine whose clock is wrong must not leave behind what is well.
func (r *Runner) now() time.Time { return r.Now().Add(r.ahead) }

// set sets Azure's clock.
func (r *Runner) set(at time.Time) {
	if !at.IsZero() {
		r.ahead = at.Sub(r.Now())
	}
}

// tell tells of progress.
func (r *Runner) tell(e Event) {
	if r.Tell == nil {
		return
	}
	e.At, e.Version = r.Now(), r.version
	r.Tell(e)
}

func (r *Runner) note(format string, args ...any) {
	r.tell(Event{Kind: Note, Text: fmt.Sprintf(format, args...)})
}

// at tells the stage when it is another one than before.
func (r *Runner) at(stage string) {
	if stage != r.stage {
		r.stage = stage
		r.tell(Event{Kind: Stage, Text: stage})
	}
}

// printing are the sub-states of a run in which its log grows.
var printing = []string{"Building", "Customizing", "Validating"}

// tellStep tells what is seen before a step.
func (r *Runner) tellStep(ctx context.Context, l *fleet.BakeLook, step fleet.BakeStep) {
	switch step.Do {
	case fleet.BakeAwaitTemplate:
		r.at(StageCreating)
	case fleet.BakeRun:
		r.at(StageRunning)
	case fleet.BakeAwaitRun:
		if sub := strings.TrimSpace(l.Template.RunSubState); sub != "" {
			r.at(sub)
		}
		if slices.Contains(printing, l.Template.RunSubState) {
			r.follow(ctx, l.Template)
		}
	case fleet.BakeAwaitVersion, fleet.BakeAwaitReplication, fleet.BakeSeal:
		r.at(StageReplicating)
		if l.Image != nil {
			r.tell(Event{Kind: Regions, Regions: l.Image.Regions})
		}
	case fleet.BakeBoot:
		r.at(StageBootTest)
	default: // nothing to tell
	}
}
