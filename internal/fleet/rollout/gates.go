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
	if len(m.on) == 0 && (!nobody || !m.mayBegin()) {
		return
	}
	for _, g := range m.plan.Gates {
		a := m.s.Gates[g.Name]
		query := Action{Do: QueryGate, Name: g.Name}
		if a.At.IsZero() || !m.now.Before(a.At.Add(g.Every)) {
			m.do(query)
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
		case m.old(&g, a) && m.asked[query.target()]: // as after a drain: the answer comes at once
			m.awaited = true
		case m.old(&g, a):
			m.blocked(Inconclusive, "gate "+g.Name+" was not asked lately")
		}
	}
}

// old says whether an answer is too old to go by.
func (m *machine) old(g *Gate, a Answer) bool {
	return m.now.Sub(a.At) > max(g.Every, m.plan.Limits.ObserveEvery)
}

// mayBegin says whether the wave under way takes members now.
func (m *machine) mayBegin() bool {
	return m.s.Phase == Rolling && m.s.Waves[m.s.Wave].Step == Batches && (!m.plan.Window || m.obs.WindowOpen)
}

// unasked says whether a gate was never asked, or not lately: until it was, nobody gets the
// version.
func (m *machine) unasked() bool {
	return m.awaited || slices.ContainsFunc(m.plan.Gates, func(g Gate) bool {
		a := m.s.Gates[g.Name]
		return a.At.IsZero() || len(m.on) == 0 && (a.Text == "" || m.old(&g, a))
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
		a := m.s.Gates[g.Name]
		if g.verdict(a) != Pass || m.old(&g, a) {
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
