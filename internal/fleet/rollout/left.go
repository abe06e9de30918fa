package rollout

import (
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	tooLong = "it could not be taken back in time"
	unwell  = "it serves, and those that went back before it are not Healthy"
)

// over ends a halt: for good if nothing is left, or if an operator has seen what is.
func (m *machine) over() {
	left := m.left()
	phase := Halted
	switch {
	case !m.s.Final && slices.ContainsFunc(left, func(l Left) bool { return l.Why != keptManual }):
		phase = Incomplete
	case m.s.Class == ByOperator, m.s.Keep, len(left) > 0:
		phase = Aborted
	}
	m.note(Event{Kind: PhaseTo, Phase: phase, Class: m.s.Class, Why: m.s.Why, Left: left})
}

const keptManual = "its upgrade mode stays Manual: in Rolling the platform would take back the members that were kept"

// keepsManual says whether a set stays in another mode than it was, for its members to
// stay on the version.
func (m *machine) keepsManual(set string) bool {
	return m.s.Keep && m.s.Sets[set].Policy && m.plan.Sets[set].Driver == fleet.DriverPlatformRolling && len(m.on[set]) > 0
}

// left lists what a halt could not bring back, and why.
func (m *machine) left() []Left {
	var list []Left
	for _, set := range m.scope() {
		seen := m.seen(set)
		switch {
		case seen == nil:
			list = append(list, Left{Set: set, Why: "it could not be read"})
		case m.modelVersion(seen) == m.plan.Version:
			list = append(list, Left{Set: set, Why: "its model points at the version"})
		case m.brought(set):
			list = append(list, Left{Set: set, Why: "the platform upgrades it, maybe to the version"})
		}
		if m.keepsManual(set) {
			list = append(list, Left{Set: set, Why: keptManual})
		} else if m.s.Sets[set].Policy {
			list = append(list, Left{Set: set, Why: "its upgrade policy is not what it was"})
		}
	}
	if failed, _ := m.obs.Version.Failed(); m.obs.Version.Unknown != "" || !m.excluded("") || m.s.Class == Bad && !failed {
		list = append(list, Left{Why: "the version is not marked and excluded"})
	}
	if m.s.Keep {
		return list
	}
	scope := m.scope()
	for _, key := range sorted(m.s.Runs) {
		r := m.s.Runs[key]
		if !r.on() || !slices.Contains(scope, r.Set) {
			continue
		}
		why := tooLong
		member := m.members[r.Set][r.Name]
		switch {
		case m.plan.Sets[r.Set].LastGood == "":
			why = "there is no version to go back to"
		case member != nil && untakeable(member) != "":
			why = untakeable(member)
		case member != nil && m.modelVersion(m.seen(r.Set)) != m.plan.Sets[r.Set].LastGood:
			why = "the model asks for " + orLatest(m.modelVersion(m.seen(r.Set))) + ", which is not ours"
		case m.fallen(r.Set):
			why = unwell
		}
		list = append(list, Left{Set: r.Set, Member: r.Name, Why: why})
	}
	return list
}

// canComplete says whether something that a halt had to leave can be done now: at once
// when a member is in reach that was not, or turns up on the version, and after a while
// whatever it is.
func (m *machine) canComplete() bool {
	listed := make(map[string]bool, len(m.s.Left))
	for _, l := range m.s.Left {
		listed[memberKey(l.Set, l.Member)] = true
	}
	for _, set := range m.scope() {
		for _, name := range m.on[set] {
			if !m.s.Keep && !listed[memberKey(set, name)] {
				return true
			}
		}
	}
	again := !m.now.Before(m.s.Since.Add(m.plan.Limits.Stuck))
	return slices.ContainsFunc(m.s.Left, func(l Left) bool {
		return l.Why != keptManual && (again || slices.Contains(outOfReach, l.Why)) && m.inReach(&l)
	})
}

// inReach says whether something can be done about what was left.
func (m *machine) inReach(l *Left) bool {
	switch {
	case l.Set == "":
		return m.obs.Version.Unknown == ""
	case m.seen(l.Set) == nil || m.plan.Sets[l.Set].LastGood == "":
		return false
	case l.Member == "":
		return true
	}
	member := m.members[l.Set][l.Member]
	return member == nil || untakeable(member) == ""
}
