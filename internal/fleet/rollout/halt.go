package rollout

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// scope are the sets that a halt takes back, sorted.
func (m *machine) scope() []string {
	var list []string
	on, failed := make(map[string]bool), make(map[string]bool)
	for _, r := range m.s.Runs {
		on[r.Set] = on[r.Set] || r.on()
		failed[r.Set] = failed[r.Set] || r.Failed != ""
	}
	for _, set := range m.setNames() {
		s := m.s.Sets[set]
		// When the waves have begun again, what they did before is still to be taken back.
		ours := m.s.begun(m.plan, set) || on[set] || s.Policy || s.points()
		// A member that fails may be of a wave that is done.
		if ours && (!m.plan.WaveOnly || m.s.Class != Bad || slices.Contains(m.plan.Waves[m.s.Wave].Sets, set) || failed[set] || s.Policy) {
			list = append(list, set)
		}
	}
	return list
}

// goBack takes a halt on: nobody gets the version any more, then the members on it go
// back, then the version is marked.
func (m *machine) goBack() {
	if m.s.Phase == Halting && m.obs.Version.Unknown == "" && !m.excluded("") {
		m.do(Action{Do: Exclude, Why: m.s.Why}) // whoever follows the latest does not wait for the way back
	}
	if m.s.Phase == Demoting && !m.s.Again && slices.ContainsFunc(m.scope(), m.brought) {
		m.note(Event{Kind: PhaseTo, Phase: Returning, Class: m.s.Class, Why: m.s.Why})
	}
	stopped := m.stopped()
	if m.s.Phase == Incomplete && !m.canComplete() {
		return
	}
	if m.s.Phase == Incomplete {
		m.note(Event{Kind: PhaseTo, Phase: Returning, Class: m.s.Class, Why: m.s.Why})
	}
	if m.s.Phase == Halting {
		if !m.quiet(stopped) {
			return
		}
		for _, set := range m.setNames() {
			if b := m.s.Sets[set].Batch; b != nil && !b.Back {
				m.note(Event{Kind: BatchTo, Set: set, Step: GivenUp})
			}
		}
		m.note(Event{Kind: PhaseTo, Phase: Returning, Class: m.s.Class, Why: m.s.Why})
	}
	if m.s.Phase == Returning {
		if !m.returned() {
			return
		}
		m.note(Event{Kind: PhaseTo, Phase: Demoting, Class: m.s.Class, Why: m.s.Why})
	}
	// What was asked for just now may be to be brought back before it is over.
	if m.demoted() && !slices.ContainsFunc(m.move.Actions, func(a Action) bool { return a.Effect() }) {
		m.over()
	}
}

// stopped keeps the sets of the scope from getting the version; it says whether none
// gets it any more.
func (m *machine) stopped() bool {
	all := true
	for _, set := range m.scope() {
		if m.atRest(set) {
			continue
		}
		if !driverOf(m.plan.Sets[set].Driver).stop(m, set) {
			all = false
		}
	}
	return all
}

// atRest says whether nobody of a set gets the version as it is: it was stopped, and is
// being restored, or was restored before another set is completed.
func (m *machine) atRest(set string) bool {
	seen := m.seen(set)
	switch {
	case m.s.Phase == Halting, seen == nil, m.modelVersion(seen) == m.plan.Version:
		return false
	case m.s.Phase != Returning:
		return true
	case m.s.Sets[set].Batch != nil, seen.Rolling.Active(), m.modelVersion(seen) == "" && !m.excluded(m.plan.Sets[set].Location):
		return false
	}
	ill, well := m.toReturn(set)
	return m.s.Keep || len(ill)+len(well) == 0
}

// quiet waits until operations under way have ended, bounded, and until the nodes that
// fail were asked why.
func (m *machine) quiet(stopped bool) bool {
	until := m.s.Since.Add(m.plan.Limits.Stuck)
	if !m.now.Before(until) {
		return true
	}
	m.wait("operations under way", until)
	told := m.told()
	for _, set := range m.scope() {
		if m.seen(set) == nil || m.underway(setTarget(set)) || m.arriving(set) {
			return false
		}
	}
	return stopped && told
}

// arriving says whether members of a set may be on their way to the version.
func (m *machine) arriving(set string) bool {
	for _, member := range m.members[set] {
		if m.works(set, member) && (m.s.Sets[set].Asked[member.Name] || m.plan.Sets[set].Driver.Platform()) {
			return true
		}
	}
	return false
}

// brought says whether the platform may be bringing the version to a set that was taken
// back: somebody has released it meanwhile.
func (m *machine) brought(set string) bool {
	return !m.s.Keep && m.plan.Sets[set].Driver == fleet.DriverPlatformAutoOS && m.seen(set) != nil && m.seen(set).Rolling.Active()
}

// told asks at most three failing members what is wrong with them, before their disks
// are replaced.
func (m *machine) told() bool {
	const most = 3
	if !m.plan.Diagnose || m.s.Class != Bad {
		return true
	}
	asked, done := 0, true
	for _, key := range sorted(m.s.Runs) {
		r := m.s.Runs[key]
		if r.Failed == "" || m.members[r.Set][r.Name] == nil || asked == most {
			continue
		}
		asked++
		if _, ok := m.s.Told[key]; !ok {
			m.do(Action{Do: Diagnose, Set: r.Set, Members: []string{r.Name}})
			done = false
		}
	}
	return done
}

// returned takes every member of the scope back that can be; it says whether nothing is
// left to try.
func (m *machine) returned() bool {
	if m.s.Keep {
		return true
	}
	done := true
	for _, set := range m.scope() {
		if !m.back(set) {
			done = false
		}
	}
	return done
}

// back takes the members of one set back: those that do not serve at once, the others
// drained and in batches.
func (m *machine) back(set string) bool {
	s := m.s.Sets[set]
	if s.Batch != nil {
		if !m.givesUpReturn(s.Batch.Since) {
			if m.seen(set) == nil {
				m.wait("to read "+set, s.Batch.Since.Add(2*m.plan.Limits.Stuck))
				return false
			}
			m.batch(set)
			return false
		}
		m.note(Event{Kind: BatchTo, Set: set, Step: GivenUp})
		s = m.s.Sets[set]
	}
	if m.seen(set) == nil {
		since := later(m.s.Since, s.BatchEnd)
		if m.givesUpReturn(since) {
			return true
		}
		m.wait("to read "+set, since.Add(2*m.plan.Limits.Stuck))
		return false
	}
	ill, well := m.toReturn(set)
	names, why := ill, "ill"
	if len(names) == 0 {
		p := m.plan.Sets[set]
		names, why = well[:min(len(well), fleet.BatchSize(p.Batch, len(m.members[set]), m.plan.Drain))], ""
	}
	if len(names) == 0 {
		return !m.pendingReturn(set)
	}
	since := later(m.s.Since, s.BatchEnd)
	if m.givesUpReturn(since) {
		return true
	}
	if len(ill) == 0 && m.fallen(set) {
		m.wait("members of "+set+" to be Healthy on the last good version", since.Add(2*m.plan.Limits.Stuck))
		return false
	}
	if !driverOf(m.plan.Sets[set].Driver).stop(m, set) {
		m.wait(set+" to be at its last good version", since.Add(m.plan.Limits.Stuck))
		return false
	}
	m.note(Event{Kind: BatchTo, Set: set, Members: names, Step: Picked, Version: m.plan.Sets[set].LastGood, Name: why})
	m.batch(set)
	return false
}

// fallen says whether too many members of a set that had not failed are not Healthy since
// they went back: then those that serve stay, for now.
func (m *machine) fallen(set string) bool {
	n, runs := 0, 0
	for name, member := range m.members[set] {
		if !running(member) {
			continue
		}
		runs++
		r, ran := m.s.Runs[memberKey(set, name)]
		if ran && r.Failed == "" && !m.runs(member) && !moving(member) && reports(member) && member.Health != fleet.Healthy && member.Health != fleet.Initializing {
			n++
		}
	}
	return n*100 > int(m.plan.Sets[set].MaxUnhealthy)*runs
}

// givesUpReturn says whether a set has made no step back for too long.
func (m *machine) givesUpReturn(since time.Time) bool {
	return !m.now.Before(since.Add(2 * m.plan.Limits.Stuck))
}

// pendingReturn says whether members of a set are at work and may come out of it on the
// version.
func (m *machine) pendingReturn(set string) bool {
	until := m.s.Since.Add(m.plan.Limits.Stuck)
	if !m.now.Before(until) {
		return false
	}
	if m.underway(setTarget(set)) || m.arriving(set) || m.anyOnMoving(set) {
		m.wait("members of "+set+" to settle", until)
		return true
	}
	return false
}

// anyOnMoving says whether a member that runs the version cannot be taken back yet.
func (m *machine) anyOnMoving(set string) bool {
	return slices.ContainsFunc(m.on[set], func(name string) bool { return m.works(set, m.members[set][name]) })
}

// toReturn are the members of a set that run the version and can be taken back, sorted:
// those that do not serve, and those that do.
func (m *machine) toReturn(set string) (ill, well []string) {
	if m.plan.Sets[set].LastGood == "" {
		return nil, nil
	}
	stays := make(map[string]bool)
	for _, name := range m.s.Sets[set].Stays {
		stays[name] = true
	}
	for _, name := range m.on[set] {
		member := m.members[set][name]
		if untakeable(member) != "" || m.works(set, member) || stays[name] {
			continue
		}
		if member.Health == fleet.Healthy || m.reporting == 0 { // where nobody reports, they may all serve
			well = append(well, name)
		} else {
			ill = append(ill, name)
		}
	}
	return ill, well
}

// demoted marks the version, keeps it from everybody, and brings back what was changed
// besides: it says whether all that is done.
func (m *machine) demoted() bool {
	until := m.s.Since.Add(2 * m.plan.Limits.Stuck)
	if !m.now.Before(until) {
		return true // what is not done is listed
	}
	m.wait("the version to be marked", until)
	v := &m.obs.Version
	if v.Unknown != "" || m.underway(versionTarget) || m.epoch < m.s.Last[versionTarget].Epoch {
		return false
	}
	if failed, _ := v.Failed(); m.s.Class == Bad && !failed {
		m.do(Action{Do: TagFailed, Why: m.s.Why})
		return false
	}
	if !m.excluded("") {
		m.do(Action{Do: Exclude, Why: m.s.Why})
		return false
	}
	restored := true
	for _, set := range m.scope() {
		if !m.keepsManual(set) && !driverOf(m.plan.Sets[set].Driver).restore(m, set) {
			restored = false
		}
	}
	return restored && m.s.paid()
}
