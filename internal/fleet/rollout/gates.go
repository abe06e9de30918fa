package rollout

import (
	"fmt"
)

// gates asks Prometheus while members run the version, and judges its answers.
func (m *machine) gates() {
	if len(m.on) == 0 {
		return
	}
	for _, g := range m.plan.Gates {
		a := m.s.Gates[g.Name]
		if a.At.IsZero() || !m.now.Before(a.At.Add(g.Every)) {
			m.do(Action{Do: QueryGate, Name: g.Name})
		}
		verdict := g.verdict(a)
		switch {
		case verdict == Fail:
			m.halt(fmt.Sprintf("gate %s: %s", g.Name, a.Why))
			return
		case a.At.IsZero():
		case verdict != Pass:
			m.blocked(Inconclusive, fmt.Sprintf("gate %s does not answer: %s", g.Name, limit(a.Why)))
		case m.now.Sub(a.At) > max(g.Every, m.plan.Limits.ObserveEvery):
			m.blocked(Inconclusive, "gate "+g.Name+" was not asked lately")
		}
	}
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
		a := m.s.Gates[g.Name]
		if g.verdict(a) != Pass || m.now.Sub(a.At) > max(g.Every, m.plan.Limits.ObserveEvery) {
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
