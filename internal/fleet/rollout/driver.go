package rollout

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A driver is how the members of a set get the version, and what has to be done so that
// they get it no more. Each method asks for what is to be done next, and is called again
// until it says that nothing is left; what it does shows in the next observation.
type driver interface {
	// refuses says why the driver cannot work with a set of this policy; empty: it can.
	refuses(u *fleet.UpgradePolicy) string
	// forward takes a set on in a wave, and says whether all that the wave takes has the
	// version.
	forward(m *machine, w *Wave, set string) bool
	// stop makes sure that no more members get the version.
	stop(m *machine, set string) bool
	// restore brings back what stop changed besides the version.
	restore(m *machine, set string) bool
}

func driverOf(d fleet.Driver) driver {
	switch d {
	case fleet.DriverPlatformRolling:
		return rolling{}
	case fleet.DriverPlatformAutoOS:
		return autoOS{}
	default:
	}
	return batches{}
}

// models brings the model of every set under the driver batches to what it is to be.
func (m *machine) models() {
	for _, set := range m.setNames() {
		p, seen := m.plan.Sets[set], m.seen(set)
		if p.Driver.Platform() {
			if m.s.Phase == Promoting && m.proven() && m.s.Sets[set].Pointed.IsZero() && p.Driver == fleet.DriverPlatformRolling && !m.blockedNow() {
				m.patch(set, Action{Version: m.plan.Version, Mode: p.Mode}) // its wave was skipped
			}
			if last := &m.s.Waves[p.LastWave]; m.s.Sets[set].Policy && (last.Step == WaveDone || last.Step == Skipped) && seen != nil {
				driverOf(p.Driver).forward(m, &m.plan.Waves[p.LastWave], set)
			}
			continue
		}
		want, ok := m.wanted(set)
		if seen != nil && p.LastGood != "" && driverOf(p.Driver).refuses(&seen.Model.Upgrade) != "" && ok {
			want = p.LastGood // in another mode the platform hands the version to everybody
		}
		switch {
		case !ok:
			continue
		case want == m.plan.Version && m.blockedNow():
			continue // back at any time, forward only when nothing speaks against it
		case want == m.plan.Version && slices.ContainsFunc(m.move.Actions, func(a Action) bool { return a.Do == Drain }):
			continue // not before those are drained, which takes minutes
		case want != m.plan.Version && seen != nil && m.modelVersion(seen) != m.plan.Version:
			continue // it is back, or somebody else's
		}
		m.patch(set, Action{Version: want})
	}
}

// wanted is the version that the model of a set is to point at: the version no longer
// than it must, until the set's last wave has begun to upgrade. It is not ok for a set
// that we have nothing to do with yet.
func (m *machine) wanted(set string) (version string, ok bool) {
	p, s := m.plan.Sets[set], m.s.Sets[set]
	switch {
	case m.keeps(set), m.upgrades[set]:
		return m.plan.Version, true
	case s.Model == m.plan.Version && p.Model != m.plan.Version, s.points():
		return p.LastGood, p.LastGood != ""
	}
	return "", false
}

// keeps says whether the model of a set is to point at the version for good.
func (m *machine) keeps(set string) bool {
	last := m.s.Waves[m.plan.Sets[set].LastWave].Step
	// A wave that nobody stood for says nothing: others must.
	return m.s.Sets[set].Whole || last == WaveDone || last == Skipped && m.s.Phase == Promoting && m.proven()
}

// patch brings the model of a set to a version, and to a mode if one is given; it says
// whether the model is so.
func (m *machine) patch(set string, a Action) bool {
	seen := m.seen(set)
	if seen == nil || m.underway(setTarget(set)) || m.epoch < m.s.Last[setTarget(set)].Epoch {
		return false
	}
	if m.modelIs(seen, &a) {
		return true
	}
	if moves(seen) {
		m.wait(set+" is busy", m.now.Add(m.plan.Limits.Stuck))
		return false
	}
	a.Do, a.Set, a.IfMatch = PatchModel, set, seen.Model.ETag
	m.do(a)
	return false
}

// open says whether new batches may begin at this time of the week.
func (m *machine) open(atMost time.Duration) bool {
	if !m.plan.Window || m.obs.WindowOpen {
		return true
	}
	until := m.obs.Opens
	if until.IsZero() {
		until = m.now.Add(atMost)
	}
	m.wait("the window", until)
	return false
}
