package rollout

import (
	"fmt"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// advance takes the rollout one step on.
func (m *machine) advance() {
	switch m.s.Phase {
	case Pending, Rolling:
		m.roll()
	case Promoting:
		m.promote()
	case Halting, Returning, Demoting, Incomplete:
		m.goBack()
	case Held:
		m.hold()
	default:
	}
}

// roll takes the waves on.
func (m *machine) roll() {
	if m.s.Phase == Pending {
		m.note(Event{Kind: PhaseTo, Phase: Rolling, Why: "begun"})
	}
	for range 4 * len(m.plan.Waves) { // a wave has that many steps that may follow at once
		if !m.wave() {
			break
		}
	}
	m.models()
}

// blockedNow says whether nothing new may begin.
func (m *machine) blockedNow() bool { return m.s.Block != nil || m.s.Paused != nil }

// wave takes the wave under way one step on, and says whether it took one that leads to
// another at once.
func (m *machine) wave() bool {
	i := m.s.Wave
	w, ws := &m.plan.Waves[i], m.s.Waves[i]
	to := func(step Step, why string) bool {
		e := Event{Kind: WaveTo, Wave: i, Step: step, Why: why}
		if step == WaveDone {
			e.Members = m.evidence(w)
		}
		m.note(e)
		return true
	}
	switch ws.Step {
	case "":
		return to(Replicating, "")
	case Replicating:
		return !m.blockedNow() && m.replicated(w) && to(Asking, "")
	case Asking:
		return !m.blockedNow() && m.admitted(w, &ws) && to(Batches, "")
	case Batches:
		if !m.lanes(w) {
			return false
		}
		if m.empty(w) {
			return to(Skipped, "its sets have no running member that could be taken")
		}
		return to(Soaking, "")
	case Soaking:
		if m.evidenceFell(w) {
			return to(Batches, "a member that stood for the wave is gone: another is taken, and the soak starts again")
		}
		ready := m.lanes(w)
		if ws.Soaked < w.Soak || !ready || m.blockedNow() || !m.gatesPass() {
			m.wait("the soak of wave "+w.Name, m.now.Add(max(m.plan.Limits.ObserveEvery, w.Soak-ws.Soaked)))
			return false
		}
		if m.empty(w) {
			return to(Skipped, "nobody is left to stand for it")
		}
		return to(WaveDone, "")
	case WaveDone, Skipped:
		return m.nextWave(i)
	default:
	}
	return false
}

// nextWave begins the wave behind i, or the promotion.
func (m *machine) nextWave(i int) bool {
	if i+1 < len(m.plan.Waves) {
		m.note(Event{Kind: WaveTo, Wave: i + 1, Step: Replicating})
		return true
	}
	m.note(Event{Kind: PhaseTo, Phase: Promoting, Why: "all waves are done"})
	return false
}

// replicated says whether the version is in all regions of a wave, and asks for it
// where waves are replicated one by one.
func (m *machine) replicated(w *Wave) bool {
	if m.obs.Version.Unknown != "" {
		m.wait("to read the version: "+m.obs.Version.Unknown, m.s.Waves[m.s.Wave].Since.Add(m.plan.Limits.Pause))
		return false
	}
	all := true
	for _, name := range w.Sets {
		region := m.plan.Sets[name].Location
		r := m.obs.Version.Region(region)
		if r != nil && r.State == fleet.Replicated && m.obs.Version.Provisioning == fleet.Succeeded {
			continue
		}
		all = false
		if r == nil && m.plan.ByWave && m.obs.Version.Provisioning != fleet.Updating {
			m.do(Action{Do: Replicate, Region: region, Why: "wave " + w.Name})
		}
		m.wait("the replication to "+region, m.s.Waves[m.s.Wave].Since.Add(m.plan.Limits.Pause))
	}
	return all
}

// late blocks a wave that waits for something for longer than may be.
func (m *machine) late() {
	if m.s.Phase == Pending {
		return
	}
	ws := &m.s.Waves[m.s.Wave]
	l := &m.plan.Limits
	since := later(ws.Since, m.s.Resumed)
	switch {
	case m.s.Phase == Promoting && m.proven() && m.now.Sub(later(m.s.Since, m.s.Resumed)) >= l.Stuck:
		m.blocked(Inconclusive, "the version could not be promoted in "+l.Stuck.String())
	case ws.Step == Replicating && m.now.Sub(since) >= l.Pause:
		m.blocked(Inconclusive, "the version is still not replicated")
	case m.s.Phase == Promoting && !m.proven():
		m.blocked(Inconclusive, "no member stands for the version: every wave was skipped")
	case ws.Step == Asking && m.now.Sub(since) >= l.Approval:
		m.blocked(ByOperator, "nobody approved, or the window did not open")
	}
}

// admitted says whether a wave may begin its batches.
func (m *machine) admitted(w *Wave, ws *WaveState) bool {
	until := ws.Since.Add(m.plan.Limits.Approval)
	if w.Approve && !ws.Approved {
		m.wait("the approval of wave "+w.Name, until)
		return false
	}
	return m.open(until.Sub(m.now))
}

// lanes takes every set of a wave on, and says whether each has what the wave takes.
func (m *machine) lanes(w *Wave) bool {
	ready := true
	for _, name := range w.Sets {
		if !m.lane(w, name) {
			ready = false
		}
	}
	return ready
}

// lane takes one set on, and says whether it has what the wave takes: members verified,
// and none left to take.
func (m *machine) lane(w *Wave, set string) bool {
	if m.seen(set) == nil {
		return false
	}
	if !driverOf(m.plan.Sets[set].Driver).forward(m, w, set) {
		return false
	}
	for _, name := range m.on[set] {
		if r := m.s.Runs[memberKey(set, name)]; !r.serves() && r.Failed == "" {
			return false
		}
	}
	return len(m.serving(set)) >= m.need(w, set)
}

// standing says why a wave cannot go on as things are: nobody is left to take, or too
// many are not Healthy to take any.
func (m *machine) standing() {
	if m.s.Phase != Rolling {
		return
	}
	i := m.s.Wave
	w, step := &m.plan.Waves[i], m.s.Waves[i].Step
	if step != Batches && step != Soaking {
		return
	}
	for _, set := range w.Sets {
		if m.seen(set) == nil {
			continue
		}
		if m.plan.Sets[set].Driver.Platform() {
			if m.s.Sets[set].Batch == nil {
				continue
			}
			switch class, why := m.verdict(set); class {
			case "":
			case Bad:
				m.halt(why)
				return
			default:
				m.blocked(class, why)
			}
			continue
		}
		if b := m.s.Sets[set].Batch; b != nil {
			if m.stuck(b) && m.block.Class == "" { // a refusal says more
				m.blocked(Inconclusive, fmt.Sprintf("batch %d of %s (%s) is %s since %s", b.Number, set, some(b.Members), b.Step, b.Since.UTC().Format("15:04")))
			}
			continue
		}
		serving, need := len(m.serving(set)), m.need(w, set)
		waits := slices.ContainsFunc(m.on[set], func(name string) bool {
			r := m.s.Runs[memberKey(set, name)]
			return !r.serves() && r.Failed == ""
		})
		pick := m.pick(w, set)
		if ill, runs := m.unhealthy(set); len(pick) > 0 && ill*100 > int(m.plan.Sets[set].MaxUnhealthy)*runs {
			m.blocked(Inconclusive, fmt.Sprintf("%d of %d members of %s that do not run the version are not Healthy", ill, runs, set))
		}
		if serving < need && !waits && len(pick) == 0 {
			until := later(later(m.s.Waves[i].Since, m.s.Sets[set].BatchEnd), m.s.Resumed).Add(m.plan.Limits.Stuck)
			if m.anyMoving(set) && m.now.Before(until) {
				m.wait("members of "+set+" that the platform works on", until)
				continue
			}
			m.blocked(Inconclusive, fmt.Sprintf("%d of %d members that wave %s needs in %s are verified, and no other can be taken", serving, need, w.Name, set))
		}
	}
}

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

// need is how many members of a set must stand for a wave.
func (m *machine) need(w *Wave, set string) int {
	takeable := 0
	for _, member := range m.members[set] {
		if untakeable(member) == "" {
			takeable++
		}
	}
	if w.partial() {
		return min(w.Instances, takeable)
	}
	return min(1, takeable)
}

// serving are the members of a set that stand for the version, by memberKey.
func (m *machine) serving(set string) []string {
	var list []string
	for _, name := range m.on[set] {
		key := memberKey(set, name)
		if r := m.s.Runs[key]; r.serves() {
			list = append(list, key)
		}
	}
	return list
}

func (m *machine) evidence(w *Wave) []string {
	var list []string
	for _, set := range w.Sets {
		list = append(list, m.serving(set)...)
	}
	return list
}

// empty says whether a wave has nobody to stand for it.
func (m *machine) empty(w *Wave) bool { return len(m.evidence(w)) == 0 }

// evidenceFell says whether a wave that soaks has lost members that it needs.
func (m *machine) evidenceFell(w *Wave) bool {
	for _, set := range w.Sets {
		if m.seen(set) == nil {
			return false // not known
		}
		on := 0
		for _, name := range m.on[set] {
			if r := m.s.Runs[memberKey(set, name)]; r.Failed == "" {
				on++
			}
		}
		if on < m.need(w, set) {
			return true
		}
	}
	return false
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
	slices.SortFunc(list, func(a, b *fleet.Member) int { return m.compare(&p, a, b) })
	size := p.Batch.Of(runs)
	if w.partial() {
		on := 0
		for _, name := range m.on[set] {
			if m.s.Runs[memberKey(set, name)].Failed == "" {
				on++
			}
		}
		size = min(size, w.Instances-on)
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

// compare orders members: who comes first is taken first.
func (m *machine) compare(p *Set, a, b *fleet.Member) int {
	weak := func(x *fleet.Member) int {
		if x.Health != fleet.Healthy || slices.Contains(p.Unhealthy, x.Name) {
			return 1
		}
		return 0
	}
	if c := weak(a) - weak(b); c != 0 {
		return c
	}
	if p.ByZone && a.Zone != b.Zone {
		if a.Zone < b.Zone {
			return -1
		}
		return 1
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}
