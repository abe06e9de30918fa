package rollout

import (
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// exposures predicts the worst case of every wave.
func exposures(p *Plan) []Exposure {
	var list []Exposure
	worst := make(map[string]int) // by set
	for i := range p.Waves {
		w := &p.Waves[i]
		e := Exposure{Wave: w.Name}
		for _, name := range w.Sets {
			s := p.Sets[name]
			x := setExposure(&s, w)
			x.Set = name
			e.Sets = append(e.Sets, x)
			worst[name] = max(worst[name], x.Worst)
		}
		for _, n := range worst {
			e.Worst += n
		}
		list = append(list, e)
	}
	return list
}

// setExposure predicts what a wave may do to a set. A wave that takes all exposes all
// that there may be. Another exposes what it takes; beyond that, while the model points
// at the version, every scale-out, from as few members as autoscale goes down to, and
// every member that is made anew: Spot members,
// and one in twenty, which repairs may replace, if they were under way when they were
// suspended.
func setExposure(s *Set, w *Wave) SetExposure {
	x := SetExposure{Births: s.Max - s.Min}
	if !w.partial() {
		x.Taken = s.Members
		x.Worst = s.Max
		return x
	}
	x.Taken = min(w.Instances, s.Members)
	x.Others = s.Spot
	if s.Repairs {
		x.Others += max(1, s.Members/20)
	}
	x.Others = min(x.Others, s.Members-x.Taken)
	x.Worst = min(s.Max, x.Taken+x.Births+x.Others)
	return x
}

// shortest is the time of a rollout in which nothing waits.
func shortest(p *Plan) time.Duration {
	var total time.Duration
	for i := range p.Waves {
		w := &p.Waves[i]
		var slowest time.Duration
		for _, name := range w.Sets {
			s := p.Sets[name]
			_, batches := s.batches(w, 0, p.Drain)
			if batches == 0 {
				continue
			}
			slowest = max(slowest, time.Duration(batches)*p.Limits.HealthyFor+time.Duration(batches-1)*s.Pause)
		}
		total += slowest + w.Soak
	}
	return total
}

// batches is how many members of a set a wave takes, and in how many batches, when
// waves before took some. The platform's own batches count as one.
func (s *Set) batches(w *Wave, taken int, drained bool) (members, batches int) {
	members = s.Members - len(s.LeftOut) - taken
	if w.partial() {
		members = min(members, w.Instances-taken)
	}
	if members <= 0 {
		return 0, 0
	}
	size := fleet.BatchSize(s.Batch, s.Members, drained)
	if s.Driver.Platform() {
		size = members
	}
	return members, (members + size - 1) / size
}
