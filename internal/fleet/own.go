package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An OwnedSet is what was read of a scale set of a file, and of what belongs to it.
type OwnedSet struct {
	Seen Seen // the set as Azure gave it
	Set  *Set // the same with its members; nil: there is none
	// Autoscale is its autoscale setting, whoever named it; an empty id: there is none. Then
	// it is one of something else that has the name of AutoscaleID, if there is such a one.
	AutoscaleID ResourceID
	Autoscale   Seen
	// Held says which unfinished rollout holds the set; empty: none does.
	Held string
}

// OwnOptions are what a plan of scale sets goes by beside the file.
type OwnOptions struct {
	// Image is the version that sets begin with that are not there; empty: the newest
	// one that is promoted in their region.
	Image string
	// Definition is the image definition as it was read; nil: there is none.
	Definition *Definition
	// SSHKeys are the texts of the administrators' public keys, by the name of the set.
	SSHKeys map[string]string
	// WithImage lets members be brought to the model whose disk is of another version
	// than the model asks for.
	WithImage bool
	// WithoutEvidence opens the gate that asks for healthy members on the latest model.
	WithoutEvidence bool
}

// A SetPlan is what brings a scale set to what a file says, in the order in which it is
// done.
type SetPlan struct {
	Name  string // in the file
	ID    ResourceID
	Steps []SetStep
	// Drifted says that the set was as the file says, and somebody else changed it.
	Drifted bool
	// Told are differences that no step writes.
	Told  []PropertyChange
	Notes []string
}

// A StepKind is what a step does.
type StepKind string

// The steps. StepModel and StepExtension come in either order.
const (
	StepPlatform  StepKind = "platform" // what Azure does with the set now is over: it writes nothing
	StepCreate    StepKind = "create"
	StepExtension StepKind = "extension" // the health extension of the model
	StepModel     StepKind = "model"     // what needs no evidence
	StepMembers   StepKind = "members"   // are brought to the model
	StepPolicy    StepKind = "policy"    // repairs and who upgrades, behind the gate
	StepAutoscale StepKind = "autoscale"
)

// A StepState says whether a step can be made.
type StepState string

// The states of a step.
const (
	StepDue     StepState = "due"
	StepLater   StepState = "later"   // after those before it
	StepWaits   StepState = "waits"   // for what Why says, which may end by itself
	StepBlocked StepState = "blocked" // by what Why says, until somebody does something
	StepRefused StepState = "refused" // the file asks for what cannot be
)

// A StopCause is what a step waits for, or is blocked by.
type StopCause string

// The causes.
const (
	StopFile     StopCause = "file"     // it does not say enough
	StopImage    StopCause = "image"    // there is none that a new set could begin with
	StopPlatform StopCause = "platform" // Azure is at work, or has stopped
	StopAlong    StopCause = "along"    // an image would come along with the model
	StopEvidence StopCause = "evidence" // the gate
	StopRollout  StopCause = "rollout"  // one holds the set
)

// A SetStep is one step of a plan.
type SetStep struct {
	Kind  StepKind
	State StepState
	Cause StopCause     // of what waits or is blocked
	Why   string        // it is not due
	Wait  time.Duration // how long what waits is worth waiting for
	// Change is what the step writes; of StepMembers, nothing.
	Change Change
	// Members are those that StepMembers brings to the model.
	Members []string
	// Override says what was not looked at because somebody said so; empty: nothing.
	Override string
}

// Next returns the step that is to be made now, or else the one that is waited for; nil:
// there is none, because all is done or the rest is blocked.
func (p *SetPlan) Next() *SetStep {
	for _, state := range []StepState{StepDue, StepWaits} {
		for i := range p.Steps {
			if p.Steps[i].State == state {
				return &p.Steps[i]
			}
		}
	}
	return nil
}

// Stopped returns the steps that nobody can make as things are.
func (p *SetPlan) Stopped() []SetStep {
	var all []SetStep
	for _, step := range p.Steps {
		if step.State == StepBlocked || step.State == StepRefused {
			all = append(all, step)
		}
	}
	return all
}

// PlanSet says what brings a scale set to what the file says. Of a set that is not
// managed in full, nothing is written.
func PlanSet(s *Spec, name string, seen *OwnedSet, o *OwnOptions) SetPlan {
	file := s.ScaleSets[name]
	p := setPlanner{
		spec: s, name: name, file: &file, seen: seen, options: o, model: declaredModel(s, name, &file),
		set: seen.Set, plan: SetPlan{Name: name, ID: s.SetID(name)},
	}
	if p.set == nil {
		p.set = &Set{}
	}
	switch {
	case file.Manage != ManageFull:
		p.others()
	case seen.Seen.Body == nil:
		p.create()
	default:
		p.bring()
	}
	p.order()
	return p.plan
}

// A setPlanner makes the plan of one set.
type setPlanner struct {
	spec    *Spec
	name    string
	file    *SetSpec
	model   ScaleSet // that the file declares
	seen    *OwnedSet
	set     *Set // of seen
	options *OwnOptions
	plan    SetPlan
}

func (p *setPlanner) add(step SetStep) {
	if step.Change.Kind == "" {
		step.Change = p.change()
	}
	p.plan.Steps = append(p.plan.Steps, step)
}

// change is one of the set that writes nothing.
func (p *setPlanner) change() Change {
	return Change{Action: ActionNone, Kind: kindSet, Name: p.name, ID: p.plan.ID}
}

func (p *setPlanner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

func (p *setPlanner) tell(c PropertyChange) { p.plan.Told = append(p.plan.Told, c) }

// live is what stands in the set as it was read.
func (p *setPlanner) live(keys ...string) any { return dig(p.seen.Seen.Body, keys...) }

// others notes what is left to the owner of a set that is not ours.
func (p *setPlanner) others() {
	switch {
	case p.seen.Seen.Body == nil:
		p.note("it is not there, and manage: %s makes none", p.file.Manage)
	case p.file.Manage == ManageImage:
		p.note("manage: image: its image is written by rollouts, and nothing else of it")
	default:
		p.note("manage: observe: nothing of it is written")
	}
}

// bring is the plan of a set that is there.
func (p *setPlanner) bring() {
	if shape := p.diff(p.shapeBody()); shape.Action == ActionRefused {
		p.categorize(&shape, false)
		p.add(SetStep{Kind: StepModel, State: StepRefused, Cause: StopFile, Why: "what the file says needs " + anotherSet, Change: shape})
		return
	}
	extension := p.extensionChange()
	if extension.Action == ActionRefused {
		p.add(SetStep{Kind: StepExtension, State: StepRefused, Cause: StopFile, Why: extension.Note, Change: extension})
		return
	}
	if what := p.busy(); what != "" {
		wait := p.spec.limits().Stuck
		if pause := p.set.Model.Upgrade.Rolling.Pause; pause != nil {
			wait += *pause // a rolling upgrade makes no progress in it
		}
		p.add(SetStep{Kind: StepPlatform, State: StepWaits, Cause: StopPlatform, Why: what, Wait: wait})
	}
	p.tellCreateOnly()
	w := p.writes(&extension)
	gate := p.gate(w.pending(&extension))
	w.join(gate.open())
	p.stamp(&w)

	model := SetStep{Kind: StepModel, State: StepDue, Change: w.free}
	first := w.free.changes("properties.upgradePolicy.mode") // before anything else makes members stale
	if w.free.Action == ActionUpdate && first {
		p.add(model)
	}
	if extension.Action != ActionNone {
		p.add(SetStep{Kind: StepExtension, State: StepDue, Change: extension})
	}
	if w.free.Action == ActionUpdate && !first {
		p.add(model)
	}
	p.members(w.pending(&extension) != "", w.mode(p.set))
	if w.gated.Action == ActionUpdate {
		p.add(gate.step(w.gated, p.options.WithoutEvidence, p.spec.limits().HealthyWithin))
	}
	if w.again.Action == ActionUpdate {
		p.add(SetStep{Kind: StepPolicy, State: StepLater, Change: w.again})
	}
	p.addAutoscale(StepDue)
	p.restrain(w.mode(p.set))
}

// busy says what Azure does with the set just now, in which nothing is written; empty:
// nothing.
func (p *setPlanner) busy() string {
	if u := p.set.Rolling; u.Active() { // first: it says how far it is, and the set is updating meanwhile
		return fmt.Sprintf("a rolling upgrade of the platform is under way: %d of %d members are done", u.Successful, u.Successful+u.Failed+u.InProgress+u.Pending)
	}
	if state, busy := p.seen.Seen.Busy(); busy {
		return "it is " + strings.ToLower(state) + " now"
	}
	return ""
}

// restrain keeps writes from a set in mode Rolling whose members are on another image
// than the model asks for: any write lets the platform bring it to them.
func (p *setPlanner) restrain(mode UpgradeMode) {
	if mode != Rolling || p.options.WithImage {
		return
	}
	along, target := p.along(p.running())
	if len(along) == 0 {
		return
	}
	for i := range p.plan.Steps {
		if step := &p.plan.Steps[i]; step.State == StepDue && step.Kind != StepAutoscale {
			step.State, step.Cause = StepBlocked, StopAlong
			step.Why = "in mode Rolling any write brings " + target.text() + " along to " + names(along) + ": that is for a rollout to do, or for --with-image"
		}
	}
}

// order lets one step follow the other. A rollout's hold, and what is done, waited for or
// refused, stop what comes after; autoscale does not wait for what is blocked.
func (p *setPlanner) order() {
	stopped := false
	for i := range p.plan.Steps {
		step := &p.plan.Steps[i]
		if p.seen.Held != "" && (step.State == StepDue || step.State == StepWaits) {
			step.State, step.Cause, step.Why, step.Wait = StepBlocked, StopRollout, p.seen.Held, 0
		}
		if stopped && (step.State == StepDue || step.State == StepWaits || step.Cause == StopEvidence) {
			step.State = StepLater // what is missing of the evidence may come with what is before it
		}
		stopped = stopped || step.State != StepBlocked || !slices.Contains([]StepKind{StepMembers, StepPolicy}, step.Kind)
	}
}

// limits are the gates of rollouts, which hold for members that apply brings, too.
func (s *Spec) limits() GatesSpec {
	g := GatesSpec{HealthyWithin: 10 * time.Minute, HealthyFor: time.Minute, Stuck: 30 * time.Minute}
	if s.Rollout != nil && s.Rollout.Gates.HealthyWithin > 0 {
		g = s.Rollout.Gates
	}
	return g
}
