package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A setView is the plan of a scale set, for people and for programs.
type setView struct {
	Action setAction        `json:"action"`
	Name   string           `json:"name"` // in the file
	ID     fleet.ResourceID `json:"id"`
	Manage fleet.Manage     `json:"manage"`
	// Steps are in the order in which they are made.
	Steps []stepView `json:"steps"`
	// Drifted: it was as the file says, and somebody else changed it.
	Drifted bool         `json:"drifted"`
	Writers []writerView `json:"last_written,omitempty"` // of what has drifted, as far as it is known
	// Stays is what differs and is not written.
	Stays []fleet.PropertyChange `json:"stays,omitempty"`
	Notes []string               `json:"notes,omitempty"`
	// IgnoreChanges is what the owner of the set writes in another tool.
	IgnoreChanges []fleet.IgnoreRule `json:"ignore_changes,omitempty"`

	next    bool               // apply makes a step, or waits for one
	drifted []fleet.ResourceID // what somebody else changed
}

// A setAction is what happens to a scale set first.
type setAction string

// The actions, of which the first three are those of all resources.
const (
	setCreate  = setAction(fleet.ActionCreate)
	setUpdate  = setAction(fleet.ActionUpdate)
	setNone    = setAction(fleet.ActionNone) // also of a set that somebody else owns
	setRefused = setAction(fleet.ActionRefused)
	setWaits   = setAction("waits")   // for Azure, for a member or for an image
	setBlocked = setAction("blocked") // until somebody does something
)

// A stepView is a step of the plan of a scale set.
type stepView struct {
	Step        fleet.StepKind         `json:"step"`
	State       fleet.StepState        `json:"state"`
	Cause       fleet.StopCause        `json:"cause,omitempty"`
	Why         string                 `json:"why,omitempty"`
	WaitSeconds float64                `json:"wait_seconds,omitempty"`
	Overridden  string                 `json:"overridden,omitempty"` // what was not looked at because somebody said so
	Note        string                 `json:"note,omitempty"`
	Members     []string               `json:"members,omitempty"` // that are brought to the model
	Properties  []fleet.PropertyChange `json:"properties,omitempty"`
	Request     *requestView           `json:"request,omitempty"`
	// Places are those of the file that ask for what cannot be.
	Places []fleet.Place `json:"places,omitempty"`

	waits bool     // it may come by itself; see actionOf
	extra []string // raw properties of a new set, a line each
}

// A writerView says who wrote a resource last.
type writerView struct {
	ID     fleet.ResourceID `json:"id"`
	Caller string           `json:"caller"`
	At     time.Time        `json:"at"`
}

func newSetView(spec *fleet.Spec, plan *fleet.SetPlan, named bool) setView {
	v := setView{
		Action: actionOf(plan, named), Name: plan.Name, ID: plan.ID, Manage: spec.ScaleSets[plan.Name].Manage, Steps: []stepView{},
		Drifted: plan.Drifted, Stays: plan.Told, Notes: plan.Notes, next: plan.Next() != nil,
	}
	v.IgnoreChanges = fleet.IgnoreChanges(v.Manage)
	for i := range plan.Steps {
		s := &plan.Steps[i]
		step := stepView{
			Step: s.Kind, State: s.State, waits: s.State == fleet.StepWaits || s.Cause == fleet.StopImage && !named, Cause: s.Cause, Why: s.Why, WaitSeconds: s.Wait.Seconds(), Overridden: s.Override,
			Note: stepNote(spec, plan.Name, s), Members: s.Members, Properties: s.Change.Properties, Request: newRequestView(s.Change.Write),
		}
		if create := spec.ScaleSets[plan.Name].Create; s.Kind == fleet.StepCreate && create != nil {
			step.extra = extraLines(create.Extra)
		}
		v.Steps = append(v.Steps, step)
		if slices.ContainsFunc(s.Change.Properties, func(p fleet.PropertyChange) bool { return p.Category == fleet.DiffDrifted }) && !slices.Contains(v.drifted, s.Change.ID) {
			v.drifted = append(v.drifted, s.Change.ID)
		}
	}
	return v
}

// actionOf says what happens to a scale set first. Without a version for a new one it waits
// until there is one, unless somebody has named the version.
func actionOf(plan *fleet.SetPlan, named bool) setAction {
	next, stopped := plan.Next(), plan.Stopped()
	refused := func(s fleet.SetStep) bool { return s.State == fleet.StepRefused }
	noImage := func(s fleet.SetStep) bool { return s.Cause == fleet.StopImage && !named }
	switch {
	case len(plan.Steps) == 0:
		return setNone
	case slices.ContainsFunc(stopped, refused):
		return setRefused
	case next == nil && slices.ContainsFunc(stopped, noImage), next != nil && next.State == fleet.StepWaits:
		return setWaits
	case next == nil:
		return setBlocked
	case next.Kind == fleet.StepCreate:
		return setCreate
	default:
		return setUpdate
	}
}

// stepNote says what a step makes, where it is made whole.
func stepNote(spec *fleet.Spec, name string, s *fleet.SetStep) string {
	set := spec.ScaleSets[name]
	switch {
	case s.Kind == fleet.StepCreate && set.Create != nil:
		text := fmt.Sprintf("%d of %s in %s", set.Create.Capacity, set.Create.VMSize, set.Location)
		if zones := set.Create.Zones; len(zones) > 0 {
			text += ", zones " + strings.Trim(fmt.Sprint(zones), "[]")
		}
		if s.Change.Note != "" {
			text += ", " + s.Change.Note
		}
		return text
	case s.Kind == fleet.StepAutoscale && s.Change.Action == fleet.ActionCreate && set.Autoscale != nil:
		a := set.Autoscale
		return fmt.Sprintf("%s: %d to %d members, default %d", s.Change.Name, a.Min, a.Max, a.Default)
	case s.Kind == fleet.StepExtension, s.Kind == fleet.StepAutoscale:
		return s.Change.Name
	}
	return ""
}

// extraLines are the raw properties that a new scale set is made with, one a line and
// without secrets.
func extraLines(extra map[string]any) []string {
	var lines []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		below, ok := value.(map[string]any)
		if !ok || len(below) == 0 {
			lines = append(lines, path+": "+valueText(value))
			return
		}
		for _, key := range slices.Sorted(maps.Keys(below)) {
			walk(path+"."+key, below[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		walk(key, fleet.Redacted(extra)[key])
	}
	return lines
}
