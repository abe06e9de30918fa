package rollout

import (
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// advance takes the rollout one step on.
func (m *machine) advance() {
	switch m.s.Phase {
	case Pending, Rolling:
		m.roll()
	case Promoting:
		m.promote()
	case Halting, Returning, Demoting, Incomplete:
		m.goBack()
	case Held:
		m.hold()
	default:
	}
}

// roll takes the waves on.
func (m *machine) roll() {
	if m.s.Phase == Pending {
		m.note(Event{Kind: PhaseTo, Phase: Rolling, Why: "begun"})
	}
	for range 4 * len(m.plan.Waves) { // a wave has that many steps that may follow at once
		if !m.wave() {
			break
		}
	}
	m.models()
}

// blockedNow says whether nothing new may begin.
func (m *machine) blockedNow() bool {
	return m.s.Paused != nil || m.s.Block != nil && m.block.Why != unpromoted
}

// wave takes the wave under way one step on, and says whether it took one that leads to
// another at once.
func (m *machine) wave() bool {
	i := m.s.Wave
	w, ws := &m.plan.Waves[i], m.s.Waves[i]
	to := func(step Step, why string) bool {
		e := Event{Kind: WaveTo, Wave: i, Step: step, Why: why}
		if step == WaveDone {
			e.Members = m.evidence(w)
		}
		m.note(e)
		return true
	}
	switch ws.Step {
	case "":
		return to(Replicating, "")
	case Replicating:
		return !m.blockedNow() && m.replicated(w) && to(Asking, "")
	case Asking:
		return !m.blockedNow() && m.admitted(w, &ws) && to(Batches, "")
	case Batches:
		if !m.lanes(w) {
			return false
		}
		if m.empty(w) {
			return to(Skipped, "its sets have no running member that could be taken")
		}
		return to(Soaking, "")
	case Soaking:
		if m.evidenceFell(w) {
			return to(Batches, "a member that stood for the wave is gone: another is taken, and the soak starts again")
		}
		ready := m.lanes(w)
		for _, set := range w.Sets { // one that was held has repairs as before
			if m.s.Sets[set].Numbers > 0 && !m.blockedNow() {
				m.suspended(set)
			}
		}
		if ws.Soaked < w.Soak || !ready || m.blockedNow() || !m.gatesPass() {
			m.wait("the soak of wave "+w.Name, m.now.Add(max(m.plan.Limits.ObserveEvery, w.Soak-ws.Soaked)))
			return false
		}
		if m.empty(w) {
			return to(Skipped, "nobody is left to stand for it")
		}
		return to(WaveDone, "")
	case WaveDone, Skipped:
		return m.nextWave(i)
	default:
	}
	return false
}

// nextWave begins the wave behind i, or the promotion.
func (m *machine) nextWave(i int) bool {
	if i+1 < len(m.plan.Waves) {
		m.note(Event{Kind: WaveTo, Wave: i + 1, Step: Replicating})
		return true
	}
	m.note(Event{Kind: PhaseTo, Phase: Promoting, Why: "all waves are done"})
	return false
}

// replicated says whether the version is in all regions of a wave, and asks for it
// where waves are replicated one by one.
func (m *machine) replicated(w *Wave) bool {
	if m.obs.Version.Unknown != "" {
		m.wait("to read the version: "+m.obs.Version.Unknown, later(m.s.Waves[m.s.Wave].Since, m.s.Resumed).Add(m.plan.Limits.Pause))
		return false
	}
	all := true
	for _, name := range w.Sets {
		region := m.plan.Sets[name].Location
		if m.has([]string{name}) {
			continue
		}
		all = false
		r := m.obs.Version.Region(region)
		if r == nil && m.plan.ByWave && m.obs.Version.Provisioning != fleet.Updating {
			m.do(Action{Do: Replicate, Region: region, Why: "wave " + w.Name})
		}
		m.wait("the replication to "+region, later(m.s.Waves[m.s.Wave].Since, m.s.Resumed).Add(m.plan.Limits.Pause))
	}
	return all
}

// has says whether the version can be had in the regions of these sets.
func (m *machine) has(sets []string) bool {
	v := &m.obs.Version
	return !slices.ContainsFunc(sets, func(name string) bool {
		r := v.Region(m.plan.Sets[name].Location)
		return v.Unknown != "" || r == nil || r.State != fleet.Replicated || v.Provisioning != fleet.Succeeded
	})
}

// admitted says whether a wave may begin its batches.
func (m *machine) admitted(w *Wave, ws *WaveState) bool {
	until := later(ws.Since, m.s.Resumed).Add(m.plan.Limits.Approval)
	if w.Approve && !ws.Approved {
		m.wait("the approval of wave "+w.Name, until)
		return false
	}
	return m.open(until.Sub(m.now))
}

// lanes takes every set of a wave on, and says whether each has what the wave takes.
func (m *machine) lanes(w *Wave) bool {
	ready := true
	for _, name := range w.Sets {
		if !m.lane(w, name) {
			ready = false
		}
	}
	return ready
}

// lane takes one set on, and says whether it has what the wave takes: members verified,
// and none left to take.
func (m *machine) lane(w *Wave, set string) bool {
	if m.seen(set) == nil {
		return false
	}
	if !driverOf(m.plan.Sets[set].Driver).forward(m, w, set) {
		return false
	}
	for _, name := range m.on[set] {
		if r := m.s.Runs[memberKey(set, name)]; !r.serves() && r.Failed == "" {
			return false
		}
	}
	return len(m.serving(set)) >= m.need(w, set)
}
