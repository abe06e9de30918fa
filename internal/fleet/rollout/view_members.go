package rollout

import (
	"cmp"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// sets shows every set of the plan with its members.
func (l *looker) sets() []SetView {
	list := []SetView{}
	for _, name := range l.m.setNames() {
		p := l.plan.Sets[name]
		v := SetView{Name: name, Location: p.Location, Driver: string(p.Driver), Model: l.s.Sets[name].Model, LastGood: p.LastGood, Members: []MemberView{}}
		if seen := l.m.seen(name); seen != nil {
			v.Model, v.Busy = l.m.modelVersion(seen), seen.Busy
			for i := range seen.Members {
				v.Members = append(v.Members, l.present(name, &seen.Members[i]))
			}
		} else if l.read {
			v.Unknown = cmp.Or(l.m.obs.Sets[name].Unknown, "it was not read")
		}
		v.Members = append(v.Members, l.absent(name)...)
		if l.m.seen(name) == nil {
			v.Unnamed = max(0, p.Members-len(v.Members))
		}
		slices.SortFunc(v.Members, func(a, b MemberView) int { return cmp.Compare(a.Name, b.Name) })
		list = append(list, v)
	}
	return list
}

// present shows a member that was read.
func (l *looker) present(set string, member *fleet.Member) MemberView {
	key := memberKey(set, member.Name)
	r, ran := l.s.Runs[key]
	if ran && l.s.Read[set].After(l.m.obs.At) { // the journal knows better
		v := l.journaled(key, &r)
		v.Zone = member.Zone
		return v
	}
	v := MemberView{
		Name: member.Name, Zone: member.Zone, Version: member.Image.ExactVersion, Health: string(member.Health),
		Why: r.Failed, Node: l.node(key),
	}
	on := l.m.runs(member)
	switch {
	case !running(member) && (on || ran && r.on()):
		v.Cell = CellGone
	case !running(member):
		v.Cell = CellStopped
	case on:
		v.Cell = l.forward(&r, member.Health == fleet.Healthy)
	case l.upgrading(set, member):
		v.Cell = CellUpgrading
	case member.Image.ExactVersion == "":
		v.Cell = CellUnknown
		v.Why = cmp.Or(v.Why, "Azure does not say which version it runs")
	case member.Health == fleet.Healthy && ran:
		v.Cell = CellReturned
	case member.Health == fleet.Healthy:
		v.Cell = CellOther
	case moving(member) || member.Health == fleet.Initializing:
		v.Cell = CellStarting
	default:
		v.Cell = CellUnhealthy
		if slices.Contains(l.plan.Sets[set].Unhealthy, member.Name) {
			v.Why = cmp.Or(v.Why, "it was not Healthy before the rollout")
		}
	}
	if !on {
		v.Why = cmp.Or(v.Why, untakeable(member))
	}
	return v
}

// forward is the cell of a member on the version.
func (l *looker) forward(r *MemberState, healthy bool) Cell {
	switch {
	case r.Failed != "":
		return CellFailed
	case len(r.Runs) > 0 && r.serves() && healthy:
		return CellVerified
	}
	return CellVerifying
}

// upgrading says whether a member that does not run the version is being taken to it.
func (l *looker) upgrading(set string, member *fleet.Member) bool {
	b := l.s.Sets[set].Batch
	if b == nil || b.Back || b.Step == Verifying {
		return false
	}
	return slices.Contains(b.Members, member.Name) && (!l.plan.Sets[set].Driver.Platform() || moving(member))
}

// absent shows the members of a set that the journal knows and that were not read.
func (l *looker) absent(set string) []MemberView {
	var list []MemberView
	named := make(map[string]bool)
	add := func(v MemberView) {
		if l.m.members[set][v.Name] == nil && !named[v.Name] {
			named[v.Name] = true
			list = append(list, v)
		}
	}
	read := l.m.seen(set) != nil
	for _, key := range sorted(l.s.Runs) {
		r := l.s.Runs[key]
		if r.Set != set {
			continue
		}
		v := l.journaled(key, &r)
		if read && v.Cell != CellGone {
			v.Version, v.Cell = "", CellGone
		}
		add(v)
	}
	if read {
		return list
	}
	if b := l.s.Sets[set].Batch; b != nil {
		for _, name := range b.Members {
			add(MemberView{Name: name, Cell: CellUpgrading})
		}
	}
	for _, left := range l.plan.Sets[set].LeftOut {
		if left.Member != "" {
			add(MemberView{Name: left.Member, Cell: CellUnknown, Why: left.Why})
		}
	}
	return list
}

// journaled shows a member that ran the version as the journal tells it.
func (l *looker) journaled(key string, r *MemberState) MemberView {
	run := &r.Runs[len(r.Runs)-1]
	v := MemberView{Name: r.Name, Why: cmp.Or(r.Failed, run.Ended), Node: l.node(key), Cell: CellGone}
	switch back := l.back[key]; {
	case run.To.IsZero():
		v.Version, v.Cell = l.plan.Version, l.forward(r, true)
	case back != "" && !r.Down && run.Ended == ranBack+back:
		v.Version, v.Cell, v.Why = back, CellReturned, r.Failed
	}
	return v
}

// node is what the agent of a member said of it: why it fails, or that it does not
// serve.
func (l *looker) node(key string) string {
	if said := l.s.Told[key].Text; said != "" {
		return said
	}
	if said := l.s.Agents[key].Text; said != Serving {
		return said
	}
	return ""
}
