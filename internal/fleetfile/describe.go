package fleetfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// Describe returns the text of a file that describes a fleet that was read, to look
// at it: every scale set has manage: observe. The scale sets are those of the
// resource group. What a file cannot say of them is left out and told in a comment.
func Describe(f *fleet.Fleet, subscription, group string) ([]byte, error) {
	if len(f.Sets) == 0 {
		return nil, fmt.Errorf("there is no scale set in the resource group %s", group)
	}
	d := description{
		fleet:   f,
		remarks: Remarks{},
		spec: &fleet.Spec{
			Version: 1, Name: nameOf(group), Subscription: subscription, ResourceGroup: group, Location: homeOf(f.Sets),
			ScaleSets: make(map[string]fleet.SetSpec),
		},
	}
	d.remarks.add("", "What runs in the resource group %s, as it was at %s.", group, f.At.UTC().Format("2006-01-02 15:04 MST"))
	d.remarks.add("", "fleetctl init without --from writes a file with all that can be said.")
	d.remarks.add("", "manage says how much of a scale set is for this file, and can be raised set by set:")
	d.remarks.add("", "  observe  nothing is written")
	d.remarks.add("", "  image    rollouts bring the image; fleetctl plan says what Terraform or Bicep")
	d.remarks.add("", "           have to leave alone then")
	d.remarks.add("", "  full     fleetctl apply keeps the set as it is here. Raise it, and look at fleetctl")
	d.remarks.add("", "           plan before any apply: what a comment says is left out would be off.")
	for i := range f.Sets {
		d.set(&f.Sets[i])
	}
	d.gallery()
	return d.text()
}

// A description is a Spec while it is made of what was read.
type description struct {
	fleet   *fleet.Fleet
	spec    *fleet.Spec
	remarks Remarks
}

// text writes the file and reads it again. A section of a scale set that a file may
// not say like that is left out, with the reason: the table of keys alone knows what
// may be said.
func (d *description) text() ([]byte, error) {
	for {
		text, err := Write(d.spec, d.remarks)
		if err != nil {
			return nil, err
		}
		_, err = Read(DefaultPath, text, func(string) (string, bool) { return "", false })
		if err == nil {
			return text, nil
		}
		faults, ok := errors.AsType[strict.Errors](err)
		if !ok || !d.leaveOut(faults) {
			return nil, fmt.Errorf("describe the fleet: %w", err)
		}
	}
}

// leaveOut takes away the sections that have a fault, and says whether there were
// any: each is taken away once, so that this ends.
func (d *description) leaveOut(faults strict.Errors) bool {
	left := false
	for _, name := range slices.Sorted(maps.Keys(d.spec.ScaleSets)) {
		set, path := d.spec.ScaleSets[name], "scale_sets."+name
		for _, e := range faults {
			below, ok := strings.CutPrefix(e.Field, path+".")
			if !ok {
				continue
			}
			section, _, _ := strings.Cut(below, ".")
			if !clearSection(&set, section) {
				continue
			}
			left = true
			d.remarks.add(path, "%s is left out: %s %s.", section, below, e.Message)
		}
		d.spec.ScaleSets[name] = set
	}
	if !left && d.spec.Gallery != nil && slices.ContainsFunc(faults, func(e *strict.Error) bool { return strings.HasPrefix(e.Field, "gallery") }) {
		d.spec.Gallery, left = nil, true
		d.remarks.add("scale_sets", "gallery is left out: %s.", faults[0].Message)
	}
	return left
}

// clearSection takes away a section of a set, and says whether it was there.
func clearSection(s *fleet.SetSpec, section string) bool {
	before := *s
	switch section {
	case "health":
		s.Health = nil
		return before.Health != nil
	case "upgrade":
		s.Upgrade = defaultUpgrade
		s.Tracks = fleet.TracksPinned
		return before.Upgrade != defaultUpgrade
	case "tracks":
		s.Tracks = fleet.TracksPinned
		return before.Tracks != fleet.TracksPinned
	case "repairs":
		s.Repairs = nil
		return before.Repairs != nil
	case "terminate_notice":
		s.TerminateNotice = 0
		return before.TerminateNotice != 0
	case "autoscale":
		s.Autoscale = nil
		return before.Autoscale != nil
	case "spot":
		s.Spot = nil
		return before.Spot != nil
	default:
		return false
	}
}

// nameOf makes a name of that of a resource group.
func nameOf(group string) string {
	name := strings.Trim(strings.NewReplacer("(", "-", ")", "-").Replace(group), "-._")
	return name[:min(len(name), 63)]
}

// homeOf returns the region of most scale sets; of two with as many the first by
// name.
func homeOf(sets []fleet.Set) string {
	count := make(map[string]int)
	for i := range sets {
		count[sets[i].Model.Location]++
	}
	return mostOf(count)
}

// mostOf returns the key that is counted most often, of two the lesser.
func mostOf[K ~string | ~int](count map[K]int) K {
	var most K
	for _, key := range slices.Sorted(maps.Keys(count)) {
		if count[key] > count[most] {
			most = key
		}
	}
	return most
}
