package fleet

import (
	"reflect"
	"slices"
)

// Beyond says what a plan writes that is not in one that was confirmed for the same set
// and by the same file: somebody else changed the set since. Empty: nothing is.
//
// What the file says is the same, so what counts is what there was: a property is as it
// was confirmed when it is still what it was, or already what the plan makes of it.
func (p *SetPlan) Beyond(confirmed *SetPlan) string {
	for i := range p.Steps {
		step := &p.Steps[i]
		if step.State == StepRefused || step.State == StepBlocked {
			continue
		}
		if what := confirmed.lacks(step); what != "" {
			return what
		}
	}
	return ""
}

// lacks says what of a step a plan has not; empty: nothing.
func (p *SetPlan) lacks(step *SetStep) string {
	creates := false
	known := make(map[string][]any) // what a property may be, by its path
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.State == StepRefused || s.State == StepBlocked && s.Cause != StopEvidence {
			continue // nobody has said yes to it
		}
		creates = creates || s.Kind == StepCreate
		switch {
		case s.Kind == StepMembers && step.Kind == StepMembers:
			return ""
		case s.Change.Absent && step.Change.Absent && s.Change.ID.Same(step.Change.ID) && reflect.DeepEqual(s.Change.body(), step.Change.body()):
			return ""
		}
		for _, c := range s.Change.Properties {
			path := string(s.Change.ID) + " " + c.Path
			known[path] = append(known[path], c.Is, c.Want)
		}
	}
	switch {
	case step.Kind == StepMembers && creates: // those that were born before the last write
		return ""
	case step.Kind == StepMembers:
		return "members are to be brought to the model: " + names(step.Members)
	case step.Change.Absent:
		return step.Change.Kind + " " + step.Change.Name + " is to be made"
	}
	for _, c := range step.Change.Properties {
		may, there := known[string(step.Change.ID)+" "+c.Path]
		same := func(v any) bool { return reflect.DeepEqual(v, c.Is) }
		if !there || !creates && !slices.ContainsFunc(may, same) {
			return c.Path + " is something else than before"
		}
	}
	return ""
}
