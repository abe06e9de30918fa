package main

import (
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// setMarks are actionMarks for scale sets, and stepMarks for their steps.
var (
	setMarks = map[setAction]cli.Mark{
		setCreate: actionMarks[fleet.ActionCreate], setUpdate: actionMarks[fleet.ActionUpdate], setNone: actionMarks[fleet.ActionNone],
		setRefused: actionMarks[fleet.ActionRefused], setBlocked: actionMarks[fleet.ActionRefused], setWaits: actionMarks[fleet.ActionUnknown],
	}
	stepMarks = map[fleet.StepState]cli.Mark{
		fleet.StepDue: actionMarks[fleet.ActionUpdate], fleet.StepLater: markNote, fleet.StepWaits: actionMarks[fleet.ActionUnknown],
		fleet.StepBlocked: actionMarks[fleet.ActionRefused], fleet.StepRefused: actionMarks[fleet.ActionRefused],
	}
)

// stepWidth is the width of the column of steps, the longest of which are "extension" and
// "autoscale".
const stepWidth = 10

// set adds a scale set: what happens to it, its steps in their order, and what is told of
// it.
func (p *page) set(v *setView) {
	mark := setMarks[v.Action]
	p.resource(mark, v.Action == setNone, "scale set", v.Name)
	if v.Drifted {
		p.Text(4, mark.Color, "somebody else changed it"+p.writers(v), planLines)
	}
	for i := range v.Steps {
		p.step(&v.Steps[i])
	}
	p.stays(v.Stays)
	for _, note := range v.Notes {
		p.Text(4, cli.Dim, note, planLines)
	}
}

// writers are who wrote last what has drifted.
func (p *page) writers(v *setView) string {
	var all []string
	for _, w := range v.Writers {
		what := ""
		if !w.ID.Same(v.ID) {
			what = w.ID.Name() + " "
		}
		all = append(all, fmt.Sprintf("%swas last written by %s, %s", what, w.Caller, w.At.In(p.now.Location()).Format("2006-01-02 15:04 MST")))
	}
	if len(all) == 0 {
		return ""
	}
	return ": it " + strings.TrimPrefix(strings.Join(all, "; "), "it ")
}

// step adds a step: its name, what it makes or why it cannot be made, and what it writes.
func (p *page) step(s *stepView) {
	mark := stepMarks[s.State]
	if s.Step == fleet.StepCreate && s.State == fleet.StepDue {
		mark = actionMarks[fleet.ActionCreate]
	}
	if s.waits {
		mark = stepMarks[fleet.StepWaits]
	}
	lead := p.leading(4, mark)
	name, text := fmt.Sprintf("%-*s ", stepWidth, s.Step), setStepText(s)
	first := p.Style.Paint(lead.Color, lead.Text) + name
	if text == "" { // the name says it all
		p.Raw(strings.TrimRight(first, " "))
	}
	p.hang(first, 6+len(name), cli.Plain, text)
	const indent = 8
	if s.State != fleet.StepDue && s.State != fleet.StepLater && s.Note != "" {
		p.Text(indent, cli.Dim, s.Note, planLines)
	}
	if s.Overridden != "" {
		p.Text(indent, cli.BoldAmber, "OVERRIDDEN: "+s.Overridden, planLines)
	}
	for i := range s.Properties {
		p.property(indent, mark.Color, &s.Properties[i], shortPath(s.Properties[i].Path))
	}
	p.places(indent, s.Places)
	for _, line := range s.extra {
		p.Text(indent, cli.Dim, "extra: "+line, planLines)
	}
}

// setStepText says what a step makes or, when it cannot be made, why.
func setStepText(s *stepView) string {
	what := s.Note
	if n := len(s.Members); n > 0 {
		what = cli.Plural(n, "member") + ": " + andMore(s.Members, shownNames)
	}
	if s.State == fleet.StepDue {
		return what
	}
	state := map[fleet.StepState]string{fleet.StepLater: "then", fleet.StepRefused: "refused", fleet.StepBlocked: "blocked"}[s.State]
	switch {
	case s.waits:
		state = "waits"
	case s.State == fleet.StepLater:
		state = strings.TrimSpace(state + " " + what)
	}
	if s.Why == "" {
		return state
	}
	return state + ": " + s.Why
}

// shortPath is the path of a property of a scale set without what all of them begin with.
func shortPath(path string) string {
	path = strings.TrimPrefix(path, "properties.")
	return strings.TrimPrefix(path, "virtualMachineProfile.")
}

// shownStays are listed of what differs and is not written; JSON has all.
const shownStays = 12

// stays adds what differs and is not written, and why.
func (p *page) stays(all []fleet.PropertyChange) {
	for i := range all[:min(len(all), shownStays)] {
		one := &all[i]
		path := shortPath(one.Path)
		text := path + ": " + one.Note
		if one.Note == "" {
			text = fmt.Sprintf("%s stays %s (the file: %s)", path, valueText(one.Is), valueText(one.Want))
		}
		p.Text(4, cli.Dim, text, planLines)
	}
	if more := len(all) - shownStays; more > 0 {
		p.Text(4, cli.Dim, fmt.Sprintf("and %d more; -o json has them all", more), 1)
	}
}

// ignores adds what the owners of scale sets write in other tools, in lines that can be
// copied: they are not broken.
func (p *page) ignores(sets []setView) {
	var names []string
	var rules []fleet.IgnoreRule
	for i := range sets {
		if len(sets[i].IgnoreChanges) > 0 {
			names, rules = append(names, sets[i].Name), sets[i].IgnoreChanges
		}
	}
	if len(names) == 0 {
		return
	}
	p.Blank()
	p.Text(0, cli.Bold, "Rollouts write the image of "+andMore(names, shownNames)+". So that whoever owns the rest leaves it alone:", planLines)
	for _, rule := range rules {
		p.Text(2, cli.Dim, rule.Tool, planLines)
		for _, line := range rule.Lines {
			p.Raw("    " + line)
		}
	}
}
