package rollout

import (
	"fmt"
	"slices"
)

// gates asks Prometheus before a batch where no member runs the version, and while members
// run it, and judges its answers. What a gate says while nobody runs the version says
// nothing of the version: a gate that fails then only keeps the batch from beginning.
func (m *machine) gates() {
	nobody := m.s.nobody()
	if len(m.on) == 0 && (!nobody || !m.takes()) {
		return
	}
	for _, g := range m.plan.Gates {
		a := m.s.Gates[g.Name]
		if a.At.IsZero() || nobody && a.Text == "" || !m.now.Before(a.At.Add(g.Every)) {
			m.do(Action{Do: QueryGate, Name: g.Name})
		}
		verdict := g.verdict(a)
		switch {
		case a.Text == "": // it was not asked since
		case nobody && Verdict(a.Text) == NoData: // no series yet, no traffic yet
		case nobody && verdict == Fail:
			m.blocked(Inconclusive, fmt.Sprintf("gate %s fails, and no member runs the version: %s", g.Name, limit(a.Why)))
		case verdict == Fail:
			m.halt(fmt.Sprintf("gate %s: %s", g.Name, a.Why))
			return
		case verdict != Pass:
			m.blocked(Inconclusive, fmt.Sprintf("gate %s does not answer: %s", g.Name, limit(a.Why)))
		}
	}
}

// old says whether an answer is too old to go by, as after a drain or a gap, or there is none:
// the gate is asked, and nobody gets the version before it has answered.
func (m *machine) old(g *Gate, a Answer) bool {
	return m.now.Sub(a.At) > max(g.Every, m.plan.Limits.ObserveEvery)
}

// takes says whether the wave under way takes members. The window does not matter: a gate
// that is asked only while it is open would be waited for each night anew, for ever.
func (m *machine) takes() bool {
	return m.s.Phase == Rolling && m.s.Waves[m.s.Wave].Step == Batches
}

// mayTake says whether somebody else may get the version now: not while the rollout
// stands still, and not before every gate was asked lately.
func (m *machine) mayTake() bool { return !m.blockedNow() && !m.unasked() }

// unasked says whether a gate was never asked, or not lately.
func (m *machine) unasked() bool {
	return slices.ContainsFunc(m.plan.Gates, func(g Gate) bool {
		a := m.s.Gates[g.Name]
		return m.old(&g, a) || len(m.on) == 0 && a.Text == ""
	})
}

// verdict is what an answer comes to.
func (g *Gate) verdict(a Answer) Verdict {
	if v := Verdict(a.Text); v != NoData {
		return v
	}
	return g.NoData
}

// gatesPass says whether every gate has passed lately, if there is anybody to ask about.
func (m *machine) gatesPass() bool {
	if len(m.on) == 0 {
		return true
	}
	for _, g := range m.plan.Gates {
		if a := m.s.Gates[g.Name]; g.verdict(a) != Pass || m.old(&g, a) {
			return false
		}
	}
	return true
}

// marked halts a rollout whose version somebody else has marked failed.
func (m *machine) marked() {
	if failed, why := m.obs.Version.Failed(); failed && m.obs.Version.Unknown == "" {
		m.halt("somebody marked the version failed: " + why)
	}
}
