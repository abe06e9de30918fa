package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SetHash is the hash of what a file says of a scale set beside what create says, which
// counts once: twelve digits.
func (s *Spec) SetHash(name string) string {
	set := s.ScaleSets[name]
	set.Create = nil
	text, err := json.Marshal(struct {
		Set  SetSpec
		Tags map[string]string
	}{set, mergedTags(s.Tags, set.Tags)})
	if err != nil {
		panic(err) // of plain values alone: it cannot fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

const anotherSet = "another scale set, under another name"

// fixedOfSet are the properties of a scale set that Azure never changes.
var fixedOfSet = map[string]string{
	"location":                                             anotherSet,
	"zones":                                                anotherSet,
	"properties.orchestrationMode":                         anotherSet,
	"properties.platformFaultDomainCount":                  anotherSet,
	"properties.singlePlacementGroup":                      anotherSet,
	"properties.virtualMachineProfile.priority":            anotherSet,
	"properties.virtualMachineProfile.evictionPolicy":      anotherSet,
	"properties.virtualMachineProfile.osProfile.adminUser": anotherSet,
}

// usualOfSet is what Azure means where a scale set shows nothing.
var usualOfSet = map[string]any{
	"properties.virtualMachineProfile.priority":                                                   "Regular",
	"properties.singlePlacementGroup":                                                             false,
	"properties.platformFaultDomainCount":                                                         float64(1),
	"properties.automaticRepairsPolicy.enabled":                                                   false,
	"properties.automaticRepairsPolicy.gracePeriod":                                               "PT10M",
	"properties.automaticRepairsPolicy.repairAction":                                              "Replace",
	"properties.upgradePolicy.mode":                                                               string(Manual),
	"properties.upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade":                  false,
	"properties.upgradePolicy.automaticOSUpgradePolicy.disableAutomaticRollback":                  false,
	"properties.upgradePolicy.automaticOSUpgradePolicy.useRollingUpgradePolicy":                   false,
	"properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent":                       float64(20),
	"properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyInstancePercent":                   float64(20),
	"properties.upgradePolicy.rollingUpgradePolicy.pauseTimeBetweenBatches":                       "PT0S",
	"properties.upgradePolicy.rollingUpgradePolicy.prioritizeUnhealthyInstances":                  false,
	"properties.upgradePolicy.rollingUpgradePolicy.maxSurge":                                      false,
	"properties.upgradePolicy.rollingUpgradePolicy.enableCrossZoneUpgrade":                        false,
	"properties.spotRestorePolicy.enabled":                                                        false,
	"properties.priorityMixPolicy.baseRegularPriorityCount":                                       float64(0),
	"properties.priorityMixPolicy.regularPriorityPercentageAboveBase":                             float64(0),
	"properties.virtualMachineProfile.scheduledEventsProfile.osImageNotificationProfile.enable":   false,
	"properties.virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile.enable": false,
}

// wholeOfSet are the objects of a scale set that a PATCH gives whole.
var wholeOfSet = [][]string{
	{"properties", "automaticRepairsPolicy"},
	{"properties", "priorityMixPolicy"},
	{"properties", "spotRestorePolicy"},
	{"properties", "virtualMachineProfile", "scheduledEventsProfile", "terminateNotificationProfile"},
	{"properties", "virtualMachineProfile", "scheduledEventsProfile", "osImageNotificationProfile"},
}

// setChange compares a part of a set that is there.
func (p *setPlanner) setChange(body Document) Change {
	d := Desired{Kind: kindSet, Name: p.name, ID: p.plan.ID, Body: body, Fixed: fixedOfSet, Usual: usualOfSet, Stays: []string{"sku.name"}}
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

// modelChange is what needs no evidence, and what cannot be changed.
func (p *setPlanner) modelChange(m *ScaleSet) Change {
	profile := Document{"priority": "Regular"}
	properties := Document{"orchestrationMode": "Flexible", "virtualMachineProfile": profile}
	body := Document{"location": m.Location, "properties": properties}
	if len(m.Tags) > 0 {
		body["tags"] = tagsBody(m.Tags)
	}
	if m.Spot {
		profile["priority"], profile["evictionPolicy"] = "Spot", m.EvictionPolicy
	}
	if mix := m.PriorityMix; mix != nil {
		properties["priorityMixPolicy"] = priorityMixBody(mix)
	}
	switch restore := dig(p.seen.Seen.Body, "properties", "spotRestorePolicy", "enabled"); {
	case m.SpotRestore != nil:
		properties["spotRestorePolicy"] = spotRestoreBody(m.SpotRestore)
	case restore == true:
		properties["spotRestorePolicy"] = Document{"enabled": false}
	}
	events := Document{}
	for name, notice := range m.notices() {
		switch {
		case notice != nil:
			events[name] = noticeBody(notice)
		case dig(p.seen.Seen.Body, "properties", "virtualMachineProfile", "scheduledEventsProfile", name, "enable") == true:
			events[name] = Document{"enable": false}
		}
	}
	if len(events) > 0 {
		profile["scheduledEventsProfile"] = events
	}
	if c := p.file.Create; c != nil {
		body["sku"] = Document{"name": m.VMSize}
		properties["platformFaultDomainCount"], properties["singlePlacementGroup"] = float64(c.FaultDomains), false
		if len(c.Zones) > 0 {
			body["zones"] = zonesBody(c.Zones)
		}
	}
	c := p.setChange(body)
	if c.Action == ActionUpdate && !p.needsPolicy() {
		p.stamped(c.Write.Body)
	}
	return c
}

// changesModel names what of the members' model a change of a set changes; empty:
// nothing, and no member becomes stale by it.
func changesModel(c *Change) string {
	for i := range c.Properties {
		if strings.HasPrefix(c.Properties[i].Path, "properties.virtualMachineProfile.") {
			return c.Properties[i].Path
		}
	}
	return ""
}

// policyChange is what stands behind the gate: repairs, and who upgrades.
func (p *setPlanner) policyChange(m *ScaleSet) Change {
	properties := Document{"upgradePolicy": upgradeBody(m, p.file.Upgrade.Driver)}
	if !m.Upgrade.AutoOS && dig(p.seen.Seen.Body, "properties", "upgradePolicy", "automaticOSUpgradePolicy", "enableAutomaticOSUpgrade") == true {
		putAt(properties, Document{"enableAutomaticOSUpgrade": false}, "upgradePolicy", "automaticOSUpgradePolicy")
	}
	switch {
	case m.Repairs.Enabled:
		properties["automaticRepairsPolicy"] = repairsBody(&m.Repairs)
	case dig(p.seen.Seen.Body, "properties", "automaticRepairsPolicy", "enabled") == true:
		properties["automaticRepairsPolicy"] = Document{"enabled": false}
	}
	c := p.setChange(Document{"properties": properties})
	if c.Action == ActionUpdate {
		p.stamped(c.Write.Body)
	}
	return c
}

// gated says whether a policy needs evidence: one that lets the platform upgrade or
// repair members. To take that away from it needs none.
func (p *setPlanner) gated(m *ScaleSet) bool {
	return m.Repairs.Enabled || m.Upgrade.Mode == Rolling || m.Upgrade.AutoOS
}

// gate says what is missing of the evidence that every running member carries the latest
// model and reports Healthy through the extension, in a phrase each. No member is no
// evidence.
func (p *setPlanner) gate(model, extension *Change) []string {
	var shut []string
	if extension.Action != ActionNone {
		shut = append(shut, "the health extension is not yet what the file says")
	}
	if path := changesModel(model); path != "" {
		shut = append(shut, "the model is not yet what the file says")
	}
	running := 0
	var stale, ill, silent []string
	for i := range p.seen.Set.Members {
		m := &p.seen.Set.Members[i]
		if !m.runs() {
			continue
		}
		running++
		switch {
		case !isTrue(m.LatestModel):
			stale = append(stale, m.Name)
		case !m.hasHealthExtension():
			silent = append(silent, m.Name)
		case m.Health != Healthy:
			ill = append(ill, m.Name)
		}
	}
	if running == 0 {
		return append(shut, "no member runs, which is no evidence")
	}
	for _, lack := range []struct {
		names []string
		what  string
	}{{stale, "not on the latest model"}, {silent, "without the health extension"}, {ill, "not Healthy"}} {
		if len(lack.names) > 0 {
			slices.Sort(lack.names)
			shut = append(shut, fmt.Sprintf("%d of %d running members are %s: %s", len(lack.names), running, lack.what, firstOf(lack.names)))
		}
	}
	return shut
}

// hasHealthExtension says whether a member has the extension, as far as it is told.
func (m *Member) hasHealthExtension() bool {
	for typ := range m.Extensions {
		if strings.EqualFold(typ, HealthTypeLinux) || strings.EqualFold(typ, HealthTypeWindows) || strings.HasSuffix(strings.ToLower(typ), "."+strings.ToLower(HealthTypeLinux)) {
			return true
		}
	}
	return false
}

// firstOf names the first few.
func firstOf(names []string) string {
	const few = 3
	if more := len(names) - few; more > 0 {
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// members is the step that brings members to the model.
func (p *setPlanner) members(model, extension *Change) {
	step := SetStep{Kind: StepMembers, State: StepDue, Change: Change{Kind: kindSet, Name: p.name, ID: p.plan.ID}}
	var image []string
	id, err := p.seen.Set.Model.Image.Gallery()
	for i := range p.seen.Set.Members {
		m := &p.seen.Set.Members[i]
		if !m.runs() || m.ProtectSetActions {
			continue
		}
		if path := changesModel(model); m.stale() || path != "" || extension.Action != ActionNone {
			step.Members = append(step.Members, m.Name)
			if err == nil && id.Version != "" && m.Image.ExactVersion != id.Version {
				image = append(image, m.Name)
			}
		}
	}
	slices.Sort(step.Members)
	slices.Sort(image)
	switch {
	case len(step.Members) == 0:
		return
	case p.seen.Set.Model.Upgrade.Mode != Manual:
		step.State, step.Why = StepWaits, "in mode "+string(p.seen.Set.Model.Upgrade.Mode)+" the platform brings them"
		if changesModel(model) != "" || extension.Action != ActionNone {
			step.State = StepLater
		}
	case len(image) > 0 && !p.options.WithImage:
		step.State = StepBlocked
		step.Why = fmt.Sprintf("it would bring image %s along to %s, which is for a rollout to do; --with-image brings it", id.Version, firstOf(image))
	}
	p.add(step)
}

// extensionChange is the health extension of a set that is there. It is a resource of its
// own: what others have set in it stays, protected settings too.
func (p *setPlanner) extensionChange(m *ScaleSet) Change {
	none := Change{Action: ActionNone}
	if len(m.Extensions) == 0 {
		return none
	}
	declared := m.Extensions[0]
	seen := Seen{}
	for _, one := range listAt(p.seen.Seen.Body, "properties", "virtualMachineProfile", "extensionProfile", "extensions") {
		if isHealthExtension(textAt(one, "properties", "publisher"), textAt(one, "properties", "type")) {
			declared.Name = textAt(one, "name")
			seen.Body, _ = one.(Document)
		}
	}
	body := extensionBody(&declared)
	delete(body, "name")
	d := Desired{Kind: "health extension", Name: p.name + "/" + declared.Name, ID: p.plan.ID + ResourceID("/extensions/"+declared.Name), Body: body}
	c := Diff(&d, seen)
	if c.Action == ActionUpdate {
		c.Write.IfMatch = ""
		if settings, ok := dig(c.Write.Body, "properties", "settings").(Document); ok { // they are replaced as a whole
			putAt(c.Write.Body, overlaid(dig(seen.Body, "properties", "settings"), settings), "properties", "settings")
		}
	}
	return c
}

// autoscaleChange is the autoscale setting. One that somebody else has named is brought to
// what the file says; one that the file does not ask for stays.
func (p *setPlanner) autoscaleChange() Change {
	a := p.file.Autoscale
	if a == nil {
		if p.seen.AutoscaleID != "" {
			p.note("autoscale setting %s is not in the file, and stays", p.seen.AutoscaleID.Name())
		}
		return Change{Action: ActionNone}
	}
	id := p.seen.AutoscaleID
	if id == "" {
		group, _, _ := strings.Cut(string(p.plan.ID), "/providers/")
		id = ResourceID(group + "/providers/Microsoft.Insights/autoscaleSettings/" + p.plan.ID.Name() + "-autoscale")
	}
	profile := "default"
	if there := listAt(p.seen.Autoscale.Body, "properties", "profiles"); len(there) > 0 {
		profile = textAt(there[0], "name")
	}
	d := Desired{
		Kind: "autoscale setting", Name: id.Name(), ID: id, Body: autoscaleBody(a, p.plan.ID, p.file.Location, profile), Stays: []string{"location"},
		Usual: map[string]any{"properties.enabled": true, "properties.predictiveAutoscalePolicy.scaleMode": "Disabled"},
	}
	return Diff(&d, p.seen.Autoscale)
}

// autoscaleBody is an autoscale setting with one profile.
func autoscaleBody(a *AutoscaleSpec, target ResourceID, location, profile string) Document {
	declared := declaredAutoscale(a)
	var rules []any
	for i := range declared.Rules {
		rules = append(rules, scaleRuleBody(&declared.Rules[i], target))
	}
	properties := Document{
		"name": target.Name() + "-autoscale", "enabled": true, "targetResourceUri": string(target), "targetResourceLocation": location,
		"profiles": []any{Document{
			"name":     profile,
			"capacity": Document{"minimum": strconv.Itoa(a.Min), "maximum": strconv.Itoa(a.Max), "default": strconv.Itoa(a.Default)},
			"rules":    rules,
		}},
	}
	delete(properties, "name")
	if declared.Predictive != "" {
		predictive := Document{"scaleMode": declared.Predictive}
		if declared.LookAhead > 0 {
			predictive["scaleLookAheadTime"] = isoDuration(declared.LookAhead)
		}
		properties["predictiveAutoscalePolicy"] = predictive
	}
	return Document{"location": location, "properties": properties}
}

func scaleRuleBody(r *ScaleRule, target ResourceID) Document {
	direction := "Decrease"
	if r.Out {
		direction = "Increase"
	}
	return Document{
		"metricTrigger": Document{
			"metricName": r.Metric, "metricResourceUri": string(target), "timeGrain": "PT1M", "statistic": "Average",
			"timeWindow": isoDuration(r.Window), "timeAggregation": r.Aggregation, "operator": r.Operator, "threshold": r.Threshold,
		},
		"scaleAction": Document{"direction": direction, "type": "ChangeCount", "value": strconv.Itoa(r.By), "cooldown": isoDuration(r.Cooldown)},
	}
}
