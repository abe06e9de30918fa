package rollout

import (
	"cmp"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// promote releases the version, last of all.
func (m *machine) promote() {
	m.models()
	v := &m.obs.Version
	if m.blockedNow() || v.Unknown != "" || !m.s.paid() || m.underway(versionTarget) || m.epoch < m.s.Last[versionTarget].Epoch {
		m.wait("to promote", later(m.s.Since, m.s.Resumed).Add(m.plan.Limits.Stuck))
		return
	}
	for _, set := range m.setNames() {
		if seen := m.seen(set); seen == nil || m.s.Sets[set].Policy || m.plan.Sets[set].Driver != fleet.DriverPlatformAutoOS && m.modelVersion(seen) != m.plan.Version {
			m.wait("the model of "+set, later(m.s.Since, m.s.Resumed).Add(m.plan.Limits.Stuck))
			return
		}
	}
	switch {
	case v.Provisioning == fleet.Updating:
		m.wait("the version is being updated", later(m.s.Since, m.s.Resumed).Add(m.plan.Limits.Stuck))
	case v.Excluded || m.anywhereExcluded():
		m.do(Action{Do: Include, Why: "all waves are done"})
	case !v.Good():
		m.do(Action{Do: TagGood, Why: "all waves are done"})
	default:
		m.note(Event{Kind: PhaseTo, Phase: Succeeded, Why: "every wave is done", Left: append(m.behindAll(), m.s.Unpaid...)})
	}
}

// anywhereExcluded says whether some region is still without the version.
func (m *machine) anywhereExcluded() bool {
	for i := range m.obs.Version.Regions {
		if m.obs.Version.Regions[i].Excluded {
			return true
		}
	}
	return false
}

// behindAll lists the members that did not get the version.
func (m *machine) behindAll() []Left {
	var list []Left
	for _, set := range m.setNames() {
		for _, name := range sorted(m.members[set]) {
			if member := m.members[set][name]; !m.runs(member) {
				list = append(list, Left{Set: set, Member: name, Why: cmp.Or(untakeable(member), "no wave took it")})
			}
		}
	}
	return list
}

// proven says whether members stood for the version in some wave.
func (m *machine) proven() bool {
	for i := range m.s.Waves {
		if len(m.s.Waves[i].Evidence) > 0 {
			return true
		}
	}
	return false
}
