package fleet

import (
	"fmt"
	"net/http"
)

// create is the plan of a set that is not there. It begins in Manual mode, without repairs:
// both need evidence, which there is none of yet.
func (p *setPlanner) create() {
	step := SetStep{Kind: StepCreate, State: StepBlocked, Change: p.change()}
	step.Change.Action, step.Change.Absent = ActionCreate, true
	image, why := p.image()
	switch {
	case p.file.Create == nil:
		step.Cause, step.Why = StopFile, "it is not there, and the file has no create for it"
	case why != "":
		step.Cause, step.Why = StopImage, why
	case p.options.SSHKeys[p.name] == "":
		step.Cause, step.Why = StopFile, "the public key of its administrator was not read"
	default:
		body := p.createBody(image)
		step.State, step.Change.Note = StepDue, "on "+beginsOn(image)
		step.Change.Write = &Write{Method: http.MethodPut, ID: p.plan.ID, Body: body, IfNew: true}
		p.seen = &OwnedSet{Seen: Seen{Body: body}, AutoscaleID: p.seen.AutoscaleID, Autoscale: p.seen.Autoscale, Held: p.seen.Held}
	}
	p.add(step)
	if p.file.Create == nil {
		return
	}
	after := "after the gate"
	if n := intAt(SetBody(p.spec, p.name, image, ""), "sku", "capacity"); n > 0 { // extra is in it
		p.add(SetStep{Kind: StepMembers, State: StepLater, Why: "they have to boot, and to report Healthy"})
	} else {
		after += ", which needs a member first"
	}
	if w := p.writes(&Change{}); step.Change.Write != nil && w.gated.Action == ActionUpdate {
		p.stamp(&w)
		w.gated.Write.IfMatch = ""
		p.add(SetStep{Kind: StepPolicy, State: StepLater, Why: after, Change: w.gated})
	} else if step.Change.Write != nil {
		p.stampNew(step.Change.Write.Body)
	}
	p.addAutoscale(StepLater)
}

// createBody is the PUT of a new set.
func (p *setPlanner) createBody(image ResourceID) Document {
	body := SetBody(p.spec, p.name, image, p.options.SSHKeys[p.name])
	properties, _ := body["properties"].(Document)
	delete(properties, "automaticRepairsPolicy")
	properties["upgradePolicy"] = Document{"mode": string(Manual)}
	return body
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
	definition, d, region := p.spec.DefinitionID(), p.options.Definition, p.file.Location
	if definition == "" {
		return "", "the file has no gallery whose image it could begin with"
	}
	version := p.options.Image
	if version == "" {
		latest, known := d.latestIn(region)
		switch {
		case !known:
			return "", "Azure does not say how far the versions of " + definition.Name() + " are replicated, so that the latest in " + region + " is not known"
		case latest == nil:
			return "", "no version of " + definition.Name() + " is promoted in " + region + " yet: the very first set begins with fleetctl apply --image VERSION"
		}
		version = latest.Name
	}
	if why := d.unusable(version, region); why != "" {
		return "", why
	}
	if p.file.Tracks == TracksLatest {
		if latest, known := d.latestIn(region); known && latest == nil {
			return "", "it tracks the latest, and every version of " + definition.Name() + " is excluded in " + region + ": fleetctl promote " + version
		}
		return definition, ""
	}
	return definition + ResourceID("/versions/"+version), ""
}

// latestIn is Latest of a definition that may be missing.
func (d *Definition) latestIn(region string) (latest *Version, known bool) {
	if d == nil {
		return nil, true
	}
	for _, v := range d.Newest() { // Azure's latest, but for those that nobody should run
		if failed, _ := v.Failed(); failed {
			continue
		}
		one := Definition{Versions: []Version{*v}}
		if latest, known = one.Latest(region); latest != nil || !known {
			return latest, known
		}
	}
	return nil, true
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
		return "version " + version + " is marked failed" + because(reason)
	case v.Provisioning != Succeeded && v.Provisioning != Updating:
		return "version " + version + " is " + v.Provisioning
	case r == nil:
		return "version " + version + " is not replicated to " + region
	case r.State != "" && r.State != Replicated:
		return fmt.Sprintf("version %s is not in %s yet: its replication is %s, %d%%", version, region, r.State, r.Progress)
	}
	return ""
}
