package rollout

import (
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// unhealthy counts the running members of a set, and those that are not Healthy though
// they do not run the version.
func (m *machine) unhealthy(set string) (ill, runs int) {
	for _, member := range m.members[set] {
		if !running(member) {
			continue
		}
		runs++
		if !m.runs(member) && member.Health != fleet.Healthy && member.Health != fleet.Initializing && !moving(member) {
			ill++
		}
	}
	return ill, runs
}

func (m *machine) anyMoving(set string) bool {
	for _, member := range m.members[set] {
		if running(member) && m.works(set, member) {
			return true
		}
	}
	return false
}

// works says whether the platform is at work on a member, and may come to an end: one
// that hangs on the version is not waited for.
func (m *machine) works(set string, member *fleet.Member) bool {
	if !moving(member) {
		return false
	}
	r, ran := m.s.Runs[memberKey(set, member.Name)]
	return !ran || !r.Settled.IsZero() || m.now.Sub(r.Runs[len(r.Runs)-1].From) < m.plan.Limits.Stuck
}

// pick chooses the members of the next batch: those that were Healthy at the baseline
// and are so now first, in the order of zones, one zone at a time.
func (m *machine) pick(w *Wave, set string) []string {
	p := m.plan.Sets[set]
	var list []*fleet.Member
	runs := 0
	for _, member := range m.members[set] {
		if running(member) {
			runs++
		}
		if untakeable(member) == "" && !moving(member) && member.Image.ExactVersion != "" && !m.runs(member) {
			list = append(list, member)
		}
	}
	fleet.SortForBatch(list, p.ByZone, func(x *fleet.Member) bool {
		return x.Health != fleet.Healthy || slices.Contains(p.Unhealthy, x.Name)
	})
	size := fleet.BatchSize(p.Batch, runs, m.plan.Drain)
	if w.partial() {
		size = min(size, m.room(w, set))
	}
	var names []string
	for _, member := range list {
		if len(names) >= size || p.ByZone && member.Zone != list[0].Zone {
			break
		}
		names = append(names, member.Name)
	}
	return names
}

// room is how many members more a wave that takes a part of a set may bring to the
// version.
func (m *machine) room(w *Wave, set string) int {
	on := 0
	for _, name := range m.on[set] {
		if m.s.Runs[memberKey(set, name)].Failed == "" {
			on++
		}
	}
	return w.Instances - on
}
