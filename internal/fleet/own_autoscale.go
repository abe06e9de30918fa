package fleet

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// addAutoscale adds the step of the autoscale setting, if there is one to make.
func (p *setPlanner) addAutoscale(state StepState) {
	step := SetStep{Kind: StepAutoscale, State: state, Change: p.autoscaleChange()}
	if step.Change.Action == ActionNone {
		return
	}
	if step.Change.Action == ActionUnknown {
		step.State, step.Cause, step.Why = StepBlocked, StopFile, step.Change.Note
	}
	p.add(step)
}

// autoscaleChange is the autoscale setting. One that somebody else has named is brought to
// what the file says, in its usual profile; one that the file does not ask for stays.
//
// Azure's PATCH of a setting is for its tags, so the whole that was read is written back
// with the changes in it: it holds no secrets.
func (p *setPlanner) autoscaleChange() Change {
	a, there := p.file.Autoscale, p.seen.Autoscale
	none := Change{Action: ActionNone}
	if a == nil {
		if p.seen.AutoscaleID != "" {
			p.tell(PropertyChange{Path: "autoscaleSettings/" + p.seen.AutoscaleID.Name(), Is: p.seen.AutoscaleID.Name(), Category: DiffUnmanaged, Note: "the file has no autoscale: it stays"})
		}
		return none
	}
	id := p.seen.AutoscaleID
	if id == "" {
		id = AutoscaleID(p.plan.ID)
		if there.Body != nil { // Azure would let us write over it
			none.Action, none.Kind, none.Name, none.ID = ActionUnknown, ofAutoscale, id.Name(), id
			other := ReadAutoscale(there.Body)
			none.Note = "the autoscale setting " + other.ID.Name() + " scales " + other.Target.Name() + ", and this set has none: take that one away, or write it anew under another name"
			return none
		}
	}
	if profiles := listAt(there.Body, "properties", "profiles"); usualIn(there.Body) == nil && slices.ContainsFunc(profiles, func(one any) bool { return dig(one, "recurrence") != nil }) {
		none.Action, none.Kind, none.Name, none.ID = ActionUnknown, ofAutoscale, id.Name(), id
		none.Note = "every profile of " + id.Name() + " recurs or has a date, so that another one would not count: give it one without, or leave autoscale out of the file"
		return none
	}
	body := autoscaleBody(a, p.plan.ID, p.file.Location)
	hash := hashOf(body)
	if there.Body != nil {
		fitAutoscale(body, there.Body)
	}
	d := Desired{
		Kind: ofAutoscale, Name: id.Name(), ID: id, Body: body, Stays: []string{"location"},
		Usual: map[string]any{"properties.enabled": false, "properties.predictiveAutoscalePolicy.scaleMode": "Disabled"},
	}
	c := Diff(&d, there)
	drifted := textAt(there.Body, "tags", TagApplied) == hash
	p.categorize(&c, drifted)
	if c.Action == ActionCreate {
		c.Write.Body["tags"] = stamped(nil, Document{"tags": tagsBody(p.model.Tags)}, hash) // those of one that is there stay
		return c
	}
	if c.Action == ActionUpdate {
		p.plan.Drifted = p.plan.Drifted || drifted
		whole := overlaid(there.Body, c.Write.Body)
		for _, readOnly := range []string{"id", "name", "type", "systemData", "etag"} {
			delete(whole, readOnly)
		}
		whole["tags"] = stamped(there.Body, Document{}, hash)
		c.Write.Method, c.Write.Body, c.Write.IfMatch = http.MethodPut, whole, ""
	}
	return c
}

// AutoscaleID is the autoscale setting that a file makes for a scale set that has none.
func AutoscaleID(set ResourceID) ResourceID {
	group, _, _ := strings.Cut(string(set), "/providers/")
	return ResourceID(group + "/providers/Microsoft.Insights/autoscaleSettings/" + set.Name() + "-autoscale")
}

// usualProfile is the name of the profile that a new setting has.
const usualProfile = "default"

// autoscaleBody is an autoscale setting with one profile.
func autoscaleBody(a *AutoscaleSpec, target ResourceID, location string) Document {
	declared := declaredAutoscale(a)
	rules := []any{}
	for i := range declared.Rules {
		rules = append(rules, scaleRuleBody(&declared.Rules[i], target))
	}
	properties := Document{
		"enabled": true, "targetResourceUri": string(target),
		"profiles": []any{Document{
			"name":     usualProfile,
			"capacity": Document{"minimum": strconv.Itoa(a.Min), "maximum": strconv.Itoa(a.Max), "default": strconv.Itoa(a.Default)},
			"rules":    rules,
		}},
	}
	if declared.Predictive != "" {
		predictive := Document{"scaleMode": declared.Predictive}
		if declared.LookAhead > 0 && declared.Predictive != predictiveModes["off"] {
			predictive["scaleLookAheadTime"] = isoDuration(declared.LookAhead)
		}
		properties["predictiveAutoscalePolicy"] = predictive
	}
	return Document{"location": location, "properties": properties}
}

func scaleRuleBody(r *ScaleRule, target ResourceID) Document {
	return Document{
		"metricTrigger": Document{
			"metricName": r.Metric, "metricResourceUri": string(target), "timeGrain": "PT1M", "statistic": "Average",
			"timeWindow": isoDuration(r.Window), "timeAggregation": r.Aggregation, "operator": r.Operator, "threshold": r.Threshold,
		},
		"scaleAction": Document{"direction": scaleDirection(r.Out), "type": "ChangeCount", "value": strconv.Itoa(r.By), "cooldown": isoDuration(r.Cooldown)},
	}
}

func scaleDirection(out bool) string {
	if out {
		return "Increase"
	}
	return "Decrease"
}

// usualIn is the profile of a setting that counts when no other does, which has neither a
// date nor a recurrence; nil: there is none.
func usualIn(there Document) Document {
	for _, one := range objectsAt(there, "properties", "profiles") {
		if dig(one, "fixedDate") == nil && dig(one, "recurrence") == nil {
			return one
		}
	}
	return nil
}

// fitAutoscale gives what is declared the names and the order of a setting that is there:
// its usual profile, and the rules of that. Predictive autoscale that the file does not ask
// for is off.
func fitAutoscale(body, there Document) {
	properties, _ := body["properties"].(Document)
	profile, _ := listAt(body, "properties", "profiles")[0].(Document)
	if dig(there, "properties", "predictiveAutoscalePolicy", "scaleMode") != nil && properties["predictiveAutoscalePolicy"] == nil {
		properties["predictiveAutoscalePolicy"] = Document{"scaleMode": predictiveModes["off"]}
	}
	one := usualIn(there)
	if one == nil {
		return
	}
	profile["name"] = textAt(one, "name")
	rules, _ := profile["rules"].([]any)
	place := func(rule any) int {
		i := slices.IndexFunc(listAt(one, "rules"), func(r any) bool {
			return textAt(r, "scaleAction", "direction") == textAt(rule, "scaleAction", "direction")
		})
		if i < 0 {
			return len(rules)
		}
		return i
	}
	slices.SortStableFunc(rules, func(a, b any) int { return place(a) - place(b) })
}
