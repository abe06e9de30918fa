package rollout

import (
	"fmt"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// observe lets time count, and takes in how members on the version are.
func (m *machine) observe() {
	var unread []string
	anew := false
	for _, set := range m.setNames() {
		if m.seen(set) != nil {
			anew = anew || m.obs.At.After(m.s.Read[set])
			continue
		}
		unread = append(unread, set)
		if m.s.begun(m.plan, set) {
			m.blocked(Inconclusive, fmt.Sprintf("%s could not be read: %s", set, limit(m.obs.Sets[set].Unknown)))
		}
	}
	if anew {
		m.note(Event{Kind: Observed, At: m.obs.At, Members: unread})
	}
	for _, set := range sorted(m.on) {
		for _, name := range m.on[set] {
			m.health(set, name)
		}
	}
}

// health takes in how a member on the version is.
func (m *machine) health(set, name string) {
	key := memberKey(set, name)
	r, member := m.s.Runs[key], m.members[set][name]
	if r.Settled.IsZero() {
		return
	}
	well := r.well(member)
	switch {
	case well && r.Well.IsZero():
		m.note(Event{Kind: Well, At: m.obs.At, Set: set, Member: name})
	case !well && (!r.Well.IsZero() || r.Ill.IsZero()):
		m.note(Event{Kind: Ill, At: m.obs.At, Set: set, Member: name})
	}
	if r = m.s.Runs[key]; well && !r.Verified && m.obs.At.Sub(r.Well) >= m.plan.Limits.HealthyFor && m.serves(set, name, &r) {
		m.note(Event{Kind: Verified, Set: set, Member: name})
	}
}

// well says whether a member was Healthy on the disk that it has now.
func (r *MemberState) well(member *fleet.Member) bool {
	return member.Health == fleet.Healthy && !member.HealthAt.IsZero() && !member.HealthAt.Before(r.NotBefore)
}

// serves asks the agent of a member whether it serves, where Run Command is allowed: a
// node that drains holds its health.
func (m *machine) serves(set, name string, r *MemberState) bool {
	if !m.plan.Drain || !m.s.Phase.forward() {
		return true
	}
	a := m.s.Agents[memberKey(set, name)]
	fresh := a.At.After(r.Settled) || a.At.Equal(r.Settled)
	switch {
	case fresh && a.Text == Serving, fresh && a.Text == "" && !a.At.IsZero():
		return true // or it cannot be asked
	case !fresh || !m.now.Before(m.answered.Add(m.plan.Limits.Retry)):
		m.do(Action{Do: AskAgent, Set: set, Members: []string{name}})
	}
	m.wait("the agent of "+name, r.Settled.Add(m.plan.Limits.HealthyWithin))
	return false
}

// judge says which members have failed, and whether the rollout may go on.
func (m *machine) judge() {
	if !m.s.Phase.forward() {
		return
	}
	for _, set := range sorted(m.on) {
		for _, name := range m.on[set] {
			m.member(set, name)
		}
	}
	m.failures()
	if !m.s.Phase.forward() {
		return
	}
	m.gates()
	m.marked()
	if !m.s.Phase.forward() {
		return
	}
	m.foreign()
	m.refusals()
	m.late()
	m.standing()
	m.idle()
	if m.s.Phase.forward() {
		m.pause()
	}
}

// member judges one member on the version.
func (m *machine) member(set, name string) {
	r := m.s.Runs[memberKey(set, name)]
	member := m.members[set][name]
	l := &m.plan.Limits
	fail := func(why string) {
		if r.Failed == "" {
			m.note(Event{Kind: Failing, Set: set, Member: name, Why: why})
		}
	}
	wait := func(what string, until time.Time) {
		from := later(later(r.Runs[len(r.Runs)-1].From, r.Anew), m.s.Resumed)
		if most := l.HealthyWithin + 2*l.Stuck; m.now.Sub(from) >= most { // it was looked at too seldom
			m.blocked(Inconclusive, fmt.Sprintf("%s could not be verified in %s, and nothing speaks against it", name, short(most)))
			return
		}
		m.wait(what, until)
	}
	switch {
	case member.Provisioning == fleet.Failed:
		switch f := m.obs.Sets[set].Faults[name]; f.Class {
		case NoCapacity, Inconclusive:
			m.blocked(f.Class, name+": "+limit(f.Text))
		default:
			fail("it failed to provision: " + limit(f.Text))
		}
	case r.Settled.IsZero():
		until := r.Runs[len(r.Runs)-1].From.Add(l.Stuck)
		m.wait("the platform to have done with "+name, until)
		if !m.now.Before(until) {
			fail(fmt.Sprintf("the platform is still at work on it after %s", l.Stuck))
		}
	case r.Verified && moving(member) && !r.Ill.IsZero() && m.now.Sub(r.Ill) < l.Stuck: // it may be evicted, or scaled in
		wait("the platform to have done with "+name, r.Ill.Add(l.Stuck))
	case r.Verified && member.Health == fleet.Unhealthy:
		fail("it was verified, and became Unhealthy")
	case r.serves():
	case !r.Well.IsZero() && m.now.Sub(r.Settled) < l.HealthyWithin+l.Stuck:
		wait(name+" to be verified", r.Settled.Add(l.HealthyWithin+l.Stuck))
	case !r.Well.IsZero():
		m.blocked(Inconclusive, name+" is Healthy now, and could not be verified: its health or its agent's word does not stay")
	case r.Verified && m.now.Sub(r.Ill) < l.HealthyWithin, !r.Verified && m.now.Sub(r.Settled) < l.HealthyWithin,
		member.Health == fleet.Initializing && m.now.Sub(r.Ill) < l.HealthyWithin: // it began anew
		wait(name+" to be Healthy", m.now.Add(l.HealthyWithin))
	case member.Health == fleet.Healthy && member.HealthAt.IsZero():
		m.blocked(Inconclusive, "Azure does not say when it saw "+name+" Healthy")
	case member.Health == fleet.Unhealthy || m.othersReport(set, name):
		fail(fmt.Sprintf("%s %s after its upgrade", health(member), l.HealthyWithin))
	default:
		m.blocked(Inconclusive, "no member reports its health")
	}
}

func health(member *fleet.Member) string {
	if member.Health == "" || member.Health == fleet.HealthMissing {
		return "it reports no health"
	}
	if member.Health == fleet.Healthy {
		return "its last health is from before its upgrade,"
	}
	return "it is " + string(member.Health)
}

// othersReport says whether some other member of the fleet has a health: if none has,
// it is the reporting that failed.
func (m *machine) othersReport(set, name string) bool {
	others := m.reporting
	if reports(m.members[set][name]) {
		others--
	}
	return others > 0
}

// reports says whether a member runs and has a health.
func reports(member *fleet.Member) bool {
	return running(member) && member.Health != "" && member.Health != fleet.HealthMissing
}

// failures halts the rollout if more have failed than may.
func (m *machine) failures() {
	failed := make(map[string][]string)
	all := make(map[string]int)
	for _, key := range sorted(m.s.Runs) {
		r := m.s.Runs[key]
		all[r.Set]++
		if r.Failed != "" {
			failed[r.Set] = append(failed[r.Set], key)
		}
	}
	for _, set := range sorted(failed) {
		list := failed[set]
		first := m.s.Runs[list[0]]
		p := m.plan.Sets[set]
		// A set that was taken in part has no failure to spare.
		if m.s.Sets[set].Whole && len(list)*100 <= int(p.MaxUnhealthyUpgraded)*all[set] {
			continue
		}
		m.halt(fmt.Sprintf("%s of %s: %s (%d of %d on %s failed)", first.Name, set, first.Failed, len(list), all[set], m.plan.Version))
		return
	}
}

// halt begins the way back because of the image.
func (m *machine) halt(why string) {
	m.note(Event{Kind: PhaseTo, Phase: Halting, Class: Bad, Why: limit(why)})
}
