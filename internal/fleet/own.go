package fleet

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// An OwnedSet is what was read of a scale set of a file, and of what belongs to it.
type OwnedSet struct {
	Seen Seen // the set as Azure gave it
	Set  *Set // the same with its members; nil: there is none
	// Autoscale is its autoscale setting, whoever named it; an empty id: there is none.
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
	Notes   []string
}

// A StepKind is what a step does.
type StepKind string

// The steps, in their order.
const (
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
	StepWaits   StepState = "waits"   // for what Why says, which ends by itself
	StepBlocked StepState = "blocked" // by what Why says, until somebody does something
	StepRefused StepState = "refused" // the file asks for what cannot be
)

// A SetStep is one step of a plan.
type SetStep struct {
	Kind  StepKind
	State StepState
	Why   string // it is not due
	// Change is what the step writes; of StepMembers, nothing.
	Change Change
	// Members are those that StepMembers brings to the model.
	Members []string
	// Override says what was not looked at because somebody said so; empty: nothing.
	Override string
}

// Next returns the step that is to be made now, or nil when there is none.
func (p *SetPlan) Next() *SetStep {
	for i := range p.Steps {
		if p.Steps[i].State == StepDue {
			return &p.Steps[i]
		}
	}
	return nil
}

// PlanSet says what brings a scale set to what the file says. Of a set that is not
// managed in full, nothing is written.
func PlanSet(s *Spec, name string, seen *OwnedSet, o *OwnOptions) SetPlan {
	set := s.ScaleSets[name]
	p := setPlanner{spec: s, name: name, file: &set, seen: seen, options: o, plan: SetPlan{Name: name, ID: s.SetID(name)}}
	switch {
	case set.Manage != ManageFull:
		p.others()
	case seen.Seen.Body == nil:
		p.create()
		p.after(StepMembers, StepPolicy, StepAutoscale)
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
	seen    *OwnedSet
	options *OwnOptions
	plan    SetPlan
}

func (p *setPlanner) add(step SetStep) { p.plan.Steps = append(p.plan.Steps, step) }

func (p *setPlanner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

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

// create is the PUT of a set that is not there. It begins in Manual mode, without repairs:
// both need evidence, which there is none of yet.
func (p *setPlanner) create() {
	step := SetStep{Kind: StepCreate, State: StepDue, Change: Change{Action: ActionCreate, Kind: kindSet, Name: p.name, ID: p.plan.ID, Absent: true}}
	if p.file.Create == nil {
		step.State, step.Why = StepBlocked, "it is not there, and the file has no create for it"
		p.add(step)
		return
	}
	image, why := p.image()
	if why != "" {
		step.State, step.Why = StepBlocked, why
		p.add(step)
		return
	}
	body := SetBody(p.spec, p.name, image, p.options.SSHKeys[p.name])
	properties, _ := body["properties"].(Document)
	delete(properties, "automaticRepairsPolicy")
	properties["upgradePolicy"] = Document{"mode": string(Manual)}
	step.Change.Write = &Write{Method: http.MethodPut, ID: p.plan.ID, Body: body, IfNew: true}
	step.Change.Note = "on " + beginsOn(image)
	p.add(step)
}

// beginsOn names what the members of a new set begin with.
func beginsOn(image ResourceID) string {
	if version := image.Part("versions"); version != "" {
		return imageName(ImageReference{ID: string(image)}) + " " + version
	}
	return "the latest " + image.Name()
}

// image chooses what the members of a new set begin with, or says why nothing can be
// chosen.
func (p *setPlanner) image() (id ResourceID, why string) {
	definition, d := p.spec.DefinitionID(), p.options.Definition
	if definition == "" {
		return "", "the file has no gallery whose image it could begin with"
	}
	version := p.options.Image
	if version == "" {
		latest, known := d.latestIn(p.file.Location)
		switch {
		case !known:
			return "", "which version is the latest in " + p.file.Location + " is not known: Azure does not say how far they are replicated"
		case latest == nil:
			return "", "no version of " + definition.Name() + " is promoted in " + p.file.Location + " yet: fleetctl bake makes one; the very first set begins on it with fleetctl apply --image VERSION"
		}
		version = latest.Name
	}
	if why := d.unusable(version, p.file.Location); why != "" {
		return "", why
	}
	if p.file.Tracks == TracksLatest {
		return definition, ""
	}
	return definition + ResourceID("/versions/"+version), ""
}

// latestIn is Latest of a definition that may be missing.
func (d *Definition) latestIn(region string) (*Version, bool) {
	if d == nil {
		return nil, true
	}
	return d.Latest(region)
}

// unusable says why no member can begin on a version in a region; empty: one can.
func (d *Definition) unusable(version, region string) string {
	v := d.Version(version)
	if v == nil {
		return "there is no version " + version + " of the image"
	}
	r := v.Region(region)
	switch failed, reason := v.Failed(); {
	case failed:
		return "version " + version + " is marked failed: " + reason
	case v.Provisioning != Succeeded && v.Provisioning != Updating:
		return "version " + version + " is " + v.Provisioning
	case r == nil:
		return "version " + version + " is not replicated to " + region
	case r.State != "" && r.State != Replicated:
		return fmt.Sprintf("version %s is not in %s yet: replication is %s, %d%%", version, region, r.State, r.Progress)
	}
	return ""
}

// after names what follows once what is before it has ended.
func (p *setPlanner) after(kinds ...StepKind) {
	for _, kind := range kinds {
		step := SetStep{Kind: kind, State: StepLater, Change: Change{Kind: kindSet, Name: p.name, ID: p.plan.ID}}
		switch {
		case kind == StepMembers:
			step.Why = "its members have to boot, and to report Healthy"
		case kind == StepPolicy && !p.needsPolicy(), kind == StepAutoscale && p.file.Autoscale == nil:
			continue
		}
		p.add(step)
	}
}

// needsPolicy says whether the file asks for anything that stands behind the gate.
func (p *setPlanner) needsPolicy() bool {
	return p.file.Repairs != nil || p.file.Upgrade.Driver.Platform()
}

// bring is the plan of a set that is there.
func (p *setPlanner) bring() {
	if state, busy := p.seen.Seen.Busy(); busy {
		p.add(SetStep{Kind: StepModel, State: StepWaits, Why: "it is " + strings.ToLower(state) + " now", Change: Change{Kind: kindSet, Name: p.name, ID: p.plan.ID}})
		return
	}
	declared := declaredModel(p.spec, p.name, p.file)
	model, policy := p.modelChange(&declared), p.policyChange(&declared)
	extension, autoscale := p.extensionChange(&declared), p.autoscaleChange()
	p.plan.Drifted = p.drifted(model, policy, extension)

	if model.Action == ActionRefused {
		p.add(SetStep{Kind: StepModel, State: StepRefused, Change: model})
		return
	}
	if extension.Action != ActionNone {
		p.add(SetStep{Kind: StepExtension, State: StepDue, Change: extension})
	}
	shut := p.gate(&model, &extension)
	open := len(shut) == 0
	if open && changesModel(&model) == "" && policy.Action == ActionUpdate && model.Action == ActionUpdate {
		policy = p.merged(&model, &policy) // one write in the place of two
		model.Action = ActionNone
	}
	if model.Action == ActionUpdate {
		p.add(SetStep{Kind: StepModel, State: StepDue, Change: model})
	}
	p.members(&model, &extension)
	if policy.Action == ActionUpdate {
		step := SetStep{Kind: StepPolicy, State: StepDue, Change: policy}
		switch {
		case open || !p.gated(&declared):
		case p.options.WithoutEvidence:
			step.Override = strings.Join(shut, "; ")
		default:
			step.State, step.Why = StepBlocked, strings.Join(shut, "; ")
		}
		p.add(step)
	}
	if autoscale.Action == ActionCreate || autoscale.Action == ActionUpdate {
		p.add(SetStep{Kind: StepAutoscale, State: StepDue, Change: autoscale})
	}
}

// order makes the first step due, and lets the others follow it. A rollout's hold, and
// what waits or is refused, stop what comes after.
func (p *setPlanner) order() {
	before := false
	for i := range p.plan.Steps {
		step := &p.plan.Steps[i]
		if p.seen.Held != "" && step.State == StepDue {
			step.State, step.Why = StepBlocked, p.seen.Held
		}
		if before && step.State == StepDue {
			step.State = StepLater
		}
		before = before || step.State != StepBlocked || step.Kind == StepCreate || step.Kind == StepMembers
	}
}

// merged is one PATCH of two changes.
func (p *setPlanner) merged(a, b *Change) Change {
	c := *b
	c.Properties = slices.Concat(a.Properties, b.Properties)
	c.Note = strings.Trim(a.Note+"; "+b.Note, "; ")
	w := *b.Write
	w.Body = overlaid(a.Write.Body, b.Write.Body)
	c.Write = &w
	return c
}

// drifted says whether the set was brought to what the file says, and is not any more.
func (p *setPlanner) drifted(changes ...Change) bool {
	if textAt(p.seen.Seen.Body, "tags", TagApplied) != p.spec.SetHash(p.name) {
		return false
	}
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Action != ActionNone })
}

// stamped adds to a PATCH that the set is then as this file says.
func (p *setPlanner) stamped(body Document) {
	tags := Document{}
	if there, ok := dig(p.seen.Seen.Body, "tags").(Document); ok {
		maps.Copy(tags, there)
	}
	if changed, ok := body["tags"].(Document); ok {
		tags = changed
	}
	tags[TagApplied] = p.spec.SetHash(p.name)
	body["tags"] = tags
}
