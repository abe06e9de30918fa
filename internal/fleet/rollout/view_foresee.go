package rollout

import (
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Foreseen is the batches of one set in one wave, in their order, as far as they can be
// told before.
type Foreseen struct {
	Wave, Set string
	// Batches are names of members. There are none under a driver of the platform, which
	// picks them itself.
	Batches [][]string
}

// Foresee says which members a rollout will take in which order, if everything stays as
// it was when the plan was made: they are picked as the rollout picks them.
func Foresee(p Plan, f fleet.Fleet) []Foreseen {
	o := Observation{At: p.Made, Sets: make(map[string]SetSeen, len(p.Sets))}
	for name, set := range p.Sets {
		seen := SetSeen{Unknown: notThere}
		for i := range f.Sets {
			if f.Sets[i].Model.ID.Same(set.ID) {
				seen = SetSeen{Set: f.Sets[i]}
				seen.Members = slices.Clone(seen.Members)
			}
		}
		o.Sets[name] = seen
	}
	m := newMachine(&p, newState(&p, p.Made), &o, p.Made)
	for _, set := range m.setNames() { // those that run it already
		for _, name := range sorted(m.members[set]) {
			if m.runs(m.members[set][name]) {
				m.on[set] = append(m.on[set], name)
			}
		}
	}
	list := []Foreseen{}
	for i := range p.Waves {
		w := &p.Waves[i]
		for _, set := range w.Sets {
			s, planned := p.Sets[set]
			if !planned {
				continue
			}
			next := Foreseen{Wave: w.Name, Set: set}
			for !s.Driver.Platform() {
				names := m.pick(w, set)
				if len(names) == 0 {
					break
				}
				for _, name := range names { // so that it is not picked again
					m.members[set][name].Image = fleet.ImageReference{ID: string(p.Definition), ExactVersion: p.Version}
				}
				m.on[set] = append(m.on[set], names...)
				next.Batches = append(next.Batches, names)
			}
			list = append(list, next)
		}
	}
	return list
}
