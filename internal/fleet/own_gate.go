package fleet

import (
	"slices"
	"strings"
	"time"
)

// A gate asks for evidence that every running member carries the latest model and reports
// Healthy through the extension. No member is no evidence.
type gate struct {
	shut   []string // what is missing, in a phrase each
	passes bool     // it may come by itself
}

func (g *gate) open() bool { return len(g.shut) == 0 }

// gate looks at the members of a set. Pending is what is not yet written of its model.
func (p *setPlanner) gate(pending string) gate {
	g := gate{passes: true}
	lacks := func(what string, passes bool) {
		g.shut, g.passes = append(g.shut, what), g.passes && passes
	}
	if pending != "" {
		lacks(pending, false)
	}
	running := p.running()
	if len(running) == 0 {
		lacks("no member runs, which is no evidence", p.set.Model.Capacity > 0)
		return g
	}
	var stale, other, shielded, silent, ill []string
	along, target := p.along(running)
	for _, m := range running {
		switch {
		case !isTrue(m.LatestModel) && m.ProtectSetActions:
			shielded = append(shielded, m.Name)
		case !isTrue(m.LatestModel):
			stale = append(stale, m.Name)
		case slices.Contains(along, m.Name):
			other = append(other, m.Name)
		case m.Extensions != nil && m.Provisioning == Succeeded && !m.hasHealthExtension():
			silent = append(silent, m.Name)
		case m.Health != Healthy || !m.hasHealthExtension():
			ill = append(ill, m.Name)
		}
	}
	for _, lack := range []struct {
		names  []string
		what   string
		passes bool
	}{
		{stale, "are not on the latest model", false},
		{shielded, "are not on the latest model, and protected from it", false},
		{other, "are on another image than " + target.text(), false},
		{silent, "are without the health extension", false},
		{ill, "are not Healthy", true},
	} {
		if len(lack.names) > 0 {
			lacks(of(len(lack.names), len(running))+" "+lack.what+": "+names(lack.names), lack.passes)
		}
	}
	return g
}

// step is the step behind the gate.
func (g *gate) step(c Change, override bool, within time.Duration) SetStep {
	step := SetStep{Kind: StepPolicy, State: StepDue, Change: c}
	switch why := strings.Join(g.shut, "; "); {
	case g.open():
	case override:
		step.Override = why
	case g.passes:
		step.State, step.Cause, step.Why, step.Wait = StepWaits, StopEvidence, why, within
	default:
		step.State, step.Cause, step.Why = StepBlocked, StopEvidence, why
	}
	return step
}

// hasHealthExtension says whether a member has the extension, as far as it is told.
func (m *Member) hasHealthExtension() bool {
	for typ := range m.Extensions {
		short := typ[strings.LastIndexByte(typ, '.')+1:]
		if strings.EqualFold(short, HealthTypeLinux) || strings.EqualFold(short, HealthTypeWindows) {
			return true
		}
	}
	return false
}
