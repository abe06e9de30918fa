package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Why a member runs the version.
const (
	becauseUpgraded  = "upgraded by wave "
	becauseBorn      = "made while the model pointed at the version"
	becausePlatform  = "upgraded by the platform in wave "
	becauseBefore    = "ran it before its set was touched"
	becauseRestarted = "started again with the version on its disk"
)

// ranBack begins why a member's run ended that runs another version.
const ranBack = "runs "

// account compares who ran the version with who runs it.
func (m *machine) account() {
	for _, set := range m.setNames() {
		seen := m.seen(set)
		if seen == nil {
			continue
		}
		for i := range seen.Members {
			member := &seen.Members[i]
			if !m.runs(member) || member.Vanished {
				continue
			}
			m.touch(set, member)
			if running(member) {
				m.on[set] = append(m.on[set], member.Name)
			}
		}
		slices.Sort(m.on[set])
		m.unseen(set, seen)
	}
	for _, key := range sorted(m.s.Runs) {
		r := m.s.Runs[key]
		if seen := m.seen(r.Set); seen != nil {
			m.follow(key, &r, seen)
		}
	}
}

// touch counts a member that runs the version, or that was stopped before it was seen
// to.
func (m *machine) touch(set string, member *fleet.Member) {
	key := memberKey(set, member.Name)
	r, known := m.s.Runs[key]
	if known && (r.Runs[len(r.Runs)-1].To.IsZero() || !running(member)) {
		return
	}
	state := m.s.Sets[set]
	e := Event{Kind: Touched, Set: set, Member: member.Name, Wave: m.s.Wave, Since: m.obs.At, Version: m.plan.Version}
	switch {
	case state.Pointed.IsZero() && !known:
		e.Why = becauseBefore
	case known && r.Down:
		e.Why = becauseRestarted
	case state.Asked[member.Name]:
		e.Why = becauseUpgraded + m.waveName()
	case m.plan.Sets[set].Driver.Platform() && !bornSince(member.Created, state.Pointed):
		e.Why = becausePlatform + m.waveName()
	default:
		e.Why = becauseBorn
		if !member.Created.IsZero() && member.Created.After(m.plan.Made) {
			e.Since = member.Created
		}
	}
	m.note(e)
	m.settleMember(key, member)
}

func bornSince(created, pointed time.Time) bool {
	return !created.IsZero() && !pointed.IsZero() && !created.Before(pointed)
}

func (m *machine) waveName() string {
	if m.s.Wave < len(m.plan.Waves) {
		return m.plan.Waves[m.s.Wave].Name
	}
	return ""
}

// settleMember notes that the platform has done with a member. Health that was told
// before we last saw it at work may be of the old disk.
func (m *machine) settleMember(key string, member *fleet.Member) {
	r := m.s.Runs[key]
	if r.Settled.IsZero() && !moving(member) {
		m.note(Event{Kind: Settled, Set: r.Set, Member: r.Name, Since: m.s.Read[r.Set]})
	}
}

// unseen counts members that may have run the version and were gone before they were
// seen on it.
func (m *machine) unseen(set string, seen *SetSeen) {
	state := m.s.Sets[set]
	for _, d := range seen.Gone {
		if _, known := m.s.Runs[memberKey(set, d.Member)]; known || m.members[set][d.Member] != nil {
			continue
		}
		born := !state.Pointed.IsZero() && bornSince(d.Born, state.Pointed) && (state.Unpointed.IsZero() || d.Born.Before(state.Unpointed))
		upgraded := state.Asked[d.Member] || m.plan.Sets[set].Driver.Platform() && bornSince(d.At, state.Pointed)
		if !born && !upgraded {
			continue
		}
		e := Event{Kind: Touched, Set: set, Member: d.Member, Wave: m.s.Wave, Since: cmp.Or(d.Born, m.obs.At), Why: becauseBorn}
		if !born {
			e.Since, e.Why = m.obs.At, becauseUpgraded+m.waveName()
		}
		m.note(e)
	}
	may := sorted(state.Asked)
	if b := state.Batch; b != nil && !b.Back && m.plan.Sets[set].Driver.Platform() {
		may = append(may, b.Members...)
	}
	for _, name := range may { // and those of whom nobody says that they left
		if _, known := m.s.Runs[memberKey(set, name)]; !known && m.members[set][name] == nil {
			m.note(Event{Kind: Touched, Set: set, Member: name, Wave: m.s.Wave, Since: m.obs.At, Why: becauseUpgraded + m.waveName()})
		}
	}
}

// follow notes that a member does not run the version any more.
func (m *machine) follow(key string, r *MemberState, seen *SetSeen) {
	member := m.members[r.Set][r.Name]
	on := r.Runs[len(r.Runs)-1].To.IsZero()
	switch {
	case member != nil && running(member) && m.runs(member):
		m.settleMember(key, member)
	case member != nil && running(member) && member.Image.ExactVersion != "":
		if on || r.Down {
			m.note(Event{Kind: Returned, Set: r.Set, Member: r.Name, Version: member.Image.ExactVersion, Since: m.s.Read[r.Set], Why: ranBack + member.Image.ExactVersion})
		}
	case member != nil && running(member):
		m.blocked(Inconclusive, "Azure does not say which version "+key+" runs")
	case on:
		m.depart(r, member, seen)
	case r.Down && member == nil: // its disk went with it
		m.note(Event{Kind: Departed, Set: r.Set, Member: r.Name, Why: "gone"})
	}
}

// depart judges a member on the version that vanished or was stopped: it has failed,
// unless the cause is known and is not its health.
func (m *machine) depart(r *MemberState, member *fleet.Member, seen *SetSeen) {
	e := Event{Kind: Departed, Set: r.Set, Member: r.Name}
	if member != nil {
		e.Name = down
	}
	cause := NotKnown
	for _, d := range seen.Gone {
		if d.Member == r.Name {
			cause = d.Cause
		}
	}
	e.Why = string(cause)
	accepted := m.s.Resumed.After(m.s.Read[r.Set]) || !m.s.Phase.forward()
	switch {
	case cause == Repaired && !r.Runs[len(r.Runs)-1].Unseen:
		m.note(Event{Kind: Failing, Set: r.Set, Member: r.Name, Why: "the platform repaired it"})
		m.note(e)
	case cause != NotKnown && cause != Repaired:
		m.note(e)
	case accepted:
		e.Why = cmp.Or(e.Why, "not known")
		m.note(e)
	default:
		m.blocked(Inconclusive, r.Name+" of "+r.Set+" ran the version, or may have, and is gone: "+cmp.Or(e.Why, "the activity log does not say why"))
	}
}
