package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

const anotherSet = "another scale set, under another name"

// fixedOfSet are the properties of a scale set that Azure never changes.
var fixedOfSet = map[string]string{
	"location":                                        anotherSet,
	"zones":                                           anotherSet,
	"properties.orchestrationMode":                    anotherSet,
	"properties.platformFaultDomainCount":             anotherSet,
	"properties.singlePlacementGroup":                 anotherSet,
	"properties.virtualMachineProfile.priority":       anotherSet,
	"properties.virtualMachineProfile.evictionPolicy": anotherSet,
}

// usualPercent is what Azure means where a rolling policy shows a share of the members not.
const usualPercent = 20

// usualOfSet is what Azure means where a scale set shows nothing.
var usualOfSet = map[string]any{
	"properties.singlePlacementGroup":     false,
	"properties.platformFaultDomainCount": float64(1),

	"properties.automaticRepairsPolicy.enabled":      false,
	"properties.automaticRepairsPolicy.gracePeriod":  "PT10M",
	"properties.automaticRepairsPolicy.repairAction": "Replace",

	"properties.upgradePolicy.mode":                                                     string(Manual),
	"properties.upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade":        false,
	"properties.upgradePolicy.automaticOSUpgradePolicy.disableAutomaticRollback":        false,
	"properties.upgradePolicy.automaticOSUpgradePolicy.useRollingUpgradePolicy":         false,
	"properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent":             float64(usualPercent),
	"properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyInstancePercent":         float64(usualPercent),
	"properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyUpgradedInstancePercent": float64(usualPercent),
	"properties.upgradePolicy.rollingUpgradePolicy.pauseTimeBetweenBatches":             "PT0S",
	"properties.upgradePolicy.rollingUpgradePolicy.prioritizeUnhealthyInstances":        false,
	"properties.upgradePolicy.rollingUpgradePolicy.maxSurge":                            false,
	"properties.upgradePolicy.rollingUpgradePolicy.enableCrossZoneUpgrade":              false,
	"properties.spotRestorePolicy.enabled":                                              false,
	"properties.priorityMixPolicy.baseRegularPriorityCount":                             float64(0),
	"properties.priorityMixPolicy.regularPriorityPercentageAboveBase":                   float64(0),
	"properties.virtualMachineProfile.priority":                                         "Regular",
	"properties.virtualMachineProfile.evictionPolicy":                                   "Deallocate",
	profileOfEvents + ".osImageNotificationProfile.enable":                              false,
	profileOfEvents + ".osImageNotificationProfile.notBeforeTimeout":                    "PT15M",
	profileOfEvents + ".terminateNotificationProfile.enable":                            false,
	profileOfEvents + ".terminateNotificationProfile.notBeforeTimeout":                  "PT5M",
}

const profileOfEvents = "properties.virtualMachineProfile.scheduledEventsProfile"

// wholeOfSet are the objects of a scale set that a PATCH gives whole: Azure checks one part
// of them against the other.
var wholeOfSet = [][]string{
	{"properties", "automaticRepairsPolicy"},
	{"properties", "priorityMixPolicy"},
	{"properties", "spotRestorePolicy"},
	{"properties", "virtualMachineProfile", "scheduledEventsProfile", "terminateNotificationProfile"},
	{"properties", "virtualMachineProfile", "scheduledEventsProfile", "osImageNotificationProfile"},
}

// managedBody is what a file keeps right of a set that is there. What the file does not
// ask for is off.
func (p *setPlanner) managedBody() Document {
	m, off := &p.model, Document{"enabled": false}
	upgrade := upgradeBody(m, p.file.Upgrade.Driver)
	if !m.Upgrade.AutoOS {
		upgrade["automaticOSUpgradePolicy"] = Document{"enableAutomaticOSUpgrade": false}
	}
	events := Document{}
	for name, notice := range m.notices() {
		events[name] = Document{"enable": false}
		if notice != nil {
			events[name] = noticeBody(notice)
		}
	}
	properties := Document{
		"upgradePolicy": upgrade, "automaticRepairsPolicy": off, "spotRestorePolicy": off,
		"virtualMachineProfile": Document{"scheduledEventsProfile": events},
	}
	if m.Repairs.Enabled {
		properties["automaticRepairsPolicy"] = repairsBody(&m.Repairs)
	}
	if m.PriorityMix != nil {
		properties["priorityMixPolicy"] = priorityMixBody(m.PriorityMix)
	}
	if m.SpotRestore != nil {
		properties["spotRestorePolicy"] = spotRestoreBody(m.SpotRestore)
	}
	body := Document{"properties": properties}
	if len(m.Tags) > 0 {
		body["tags"] = tagsBody(m.Tags)
	}
	return body
}

// shapeBody is what nothing can change of a set that is there.
func (p *setPlanner) shapeBody() Document {
	m := &p.model
	profile := Document{"priority": "Regular"}
	if m.Spot {
		profile["priority"], profile["evictionPolicy"] = "Spot", m.EvictionPolicy
	}
	properties := Document{"orchestrationMode": "Flexible", "virtualMachineProfile": profile}
	shape := Document{"location": m.Location, "properties": properties}
	if p.file.Create == nil {
		return shape
	}
	made := SetBody(p.spec, p.name, "", "") // extra is in it
	if zones, ok := made["zones"]; ok {
		shape["zones"] = zones
	}
	for _, name := range []string{"platformFaultDomainCount", "singlePlacementGroup"} {
		if value := dig(made, "properties", name); value != nil {
			properties[name] = value
		}
	}
	return shape
}

// diff compares a part of a set that is there.
func (p *setPlanner) diff(body Document) Change {
	d := Desired{Kind: kindSet, Name: p.name, ID: p.plan.ID, Body: body, Fixed: fixedOfSet, Usual: usualOfSet}
	c := Diff(&d, Seen{Body: withoutState(p.seen.Seen.Body), ETag: p.seen.Seen.ETag})
	if c.Action != ActionUpdate {
		return c
	}
	for _, path := range wholeOfSet {
		if dig(c.Write.Body, path...) != nil {
			putAt(c.Write.Body, dig(body, path...), path...)
		}
	}
	return c
}

// withoutState is a set without how its last write went: a set that failed is not put
// anew as a whole, its members are what failed.
func withoutState(body Document) Document {
	return overlay(body, Document{"properties": Document{"provisioningState": nil}})
}

// putAt sets what stands below the keys of a document, which has all but the last.
func putAt(d Document, value any, keys ...string) {
	last := len(keys) - 1
	below, _ := dig(d, keys[:last]...).(Document)
	below[keys[last]] = value
}

// changes says whether a property, or one below it, is among those that a change writes.
func (c *Change) changes(path string) bool {
	return slices.ContainsFunc(c.Properties, func(p PropertyChange) bool {
		return p.Path == path || strings.HasPrefix(p.Path, path+".")
	})
}

// changesModel says whether a change makes the members stale.
func (c *Change) changesModel() bool { return c.changes("properties.virtualMachineProfile") }

// SetHash is the hash of what a file keeps right of a scale set that is there, in twelve
// digits. The health extension and the autoscale setting are resources of their own, and
// not in it.
func (s *Spec) SetHash(name string) string {
	file := s.ScaleSets[name]
	p := setPlanner{spec: s, name: name, file: &file, model: declaredModel(s, name, &file)}
	return hashOf(p.managedBody())
}

func hashOf(body Document) string {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // of plain values alone: it cannot fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// maxTags is how many tags a resource can have.
const maxTags = 50

// stamp adds to the last PATCH of a set that the set is then as this file says, and says
// of each change whether the file made it necessary or somebody else.
func (p *setPlanner) stamp(w *setWrites) {
	hash := p.spec.SetHash(p.name)
	drifted := textAt(p.seen.Seen.Body, "tags", TagApplied) == hash
	for _, c := range []*Change{&w.free, &w.gated, &w.again} {
		p.categorize(c, drifted)
		p.plan.Drifted = p.plan.Drifted || drifted && len(c.Properties) > 0
	}
	last := &w.gated
	switch {
	case w.again.Action == ActionUpdate:
		last = &w.again
	case w.gated.Action != ActionUpdate:
		last = &w.free
	}
	if last.Action == ActionUpdate {
		last.Write.Body["tags"] = stamped(p.seen.Seen.Body, last.Write.Body, hash)
	}
}

// stampNew is stamp for a set that is as the file says from the first.
func (p *setPlanner) stampNew(body Document) {
	body["tags"] = stamped(nil, body, p.spec.SetHash(p.name))
}

// stamped are the tags of a write with the hash among them. A PATCH takes the place of all
// tags; one that says some has them all already.
func stamped(is, body Document, hash string) Document {
	there, ok := body["tags"].(Document)
	if !ok {
		there, _ = dig(is, "tags").(Document)
	}
	tags := maps.Clone(there)
	if tags == nil {
		tags = Document{}
	}
	maps.DeleteFunc(tags, func(name string, _ any) bool { return strings.EqualFold(name, TagApplied) })
	if len(tags) < maxTags {
		tags[TagApplied] = hash
	}
	return tags
}

// categorize says why each property of a change differs.
func (p *setPlanner) categorize(c *Change, drifted bool) {
	for i := range c.Properties {
		property := &c.Properties[i]
		switch {
		case property.Note != "":
			property.Category = DiffImmutable
		case drifted:
			property.Category = DiffDrifted
		case property.Is == nil:
			property.Category = DiffAdded
		default:
			property.Category = DiffChanged
		}
	}
}
