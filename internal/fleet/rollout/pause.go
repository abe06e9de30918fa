package rollout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// unpromoted blocks a promotion that takes long. That is no reason not to go on with it.
const unpromoted = "the version is still not promoted"

// late blocks a wave that waits for something for longer than may be.
func (m *machine) late() {
	if m.s.Phase == Pending {
		return
	}
	ws := &m.s.Waves[m.s.Wave]
	l := &m.plan.Limits
	since := later(ws.Since, m.s.Resumed)
	switch {
	case m.s.Phase == Promoting && m.proven() && m.block.Class == "" && m.now.Sub(later(m.s.Since, m.s.Resumed)) >= l.Stuck:
		m.blocked(Inconclusive, unpromoted)
	case ws.Step == Replicating && m.unreplicated() != "":
		m.blocked(Inconclusive, m.unreplicated())
	case ws.Step == Replicating && m.now.Sub(since) >= l.Pause && !m.has(m.plan.Waves[m.s.Wave].Sets):
		m.blocked(Inconclusive, "the version is still not replicated")
	case m.unproven():
		m.blocked(Inconclusive, "no member stands for the version: every wave was skipped")
	case ws.Step == Soaking && m.block.Class == "" && ws.Missed >= l.Pause+3*ws.Soaked:
		m.stays(Inconclusive, fmt.Sprintf("the soak of wave %s has counted %s and not %s: it was looked at more than %s apart", m.waveName(), ws.Soaked, ws.Missed, l.ObserveEvery))
	case ws.Step == Asking && m.now.Sub(since) >= l.Approval && (m.plan.Waves[m.s.Wave].Approve && !ws.Approved || m.plan.Window && !m.obs.WindowOpen):
		m.blocked(ByOperator, "nobody approved, or the window did not open")
	}
}

// idle blocks a wave of which no batch begins or ends for too long.
func (m *machine) idle() {
	ws, l := &m.s.Waves[m.s.Wave], &m.plan.Limits
	if m.s.Phase != Rolling || ws.Step != Batches || m.block.Class != "" { // another reason says more
		return
	}
	since, atMost, works := later(later(ws.Since, m.s.Resumed), m.s.Freed), l.Pause, false
	for _, set := range m.plan.Waves[m.s.Wave].Sets {
		p, s := m.plan.Sets[set], m.s.Sets[set]
		since, atMost = later(since, s.BatchEnd), max(atMost, p.Pause+l.Stuck)
		if s.Batch != nil {
			since, works = later(since, s.Batch.Since), true
		}
		if p.Driver.Platform() {
			atMost = max(atMost, m.patience(&p)+l.Stuck)
		}
	}
	closed := m.plan.Window && !m.obs.WindowOpen && !works // a batch under way does not wait for it
	if !closed && !works {
		since = later(since, m.obs.Opens) // no batch could begin before
	}
	switch {
	case closed && m.now.Sub(since) >= max(atMost, l.Approval):
		m.blocked(ByOperator, "the window did not open")
	case !closed && m.now.Sub(since) >= atMost:
		m.stays(Inconclusive, fmt.Sprintf("no batch of wave %s began or ended in %s", m.waveName(), atMost))
	}
}

// unproven says whether all waves are over, and nobody stands for the version: there is
// nothing to wait for.
func (m *machine) unproven() bool { return m.s.Phase == Promoting && !m.proven() }

// unreplicated names a region of the wave that the version failed to reach; empty: none.
func (m *machine) unreplicated() string {
	for _, set := range m.plan.Waves[m.s.Wave].Sets {
		region := m.plan.Sets[set].Location
		if r := m.obs.Version.Region(region); r != nil && r.State == fleet.ReplicationFailed {
			return "the version did not replicate to " + region + ": " + limit(r.Details)
		}
	}
	return ""
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
				why := fmt.Sprintf("batch %d of %s (%s) is %s since %s", b.Number, set, some(b.Members), b.Step, b.Since.UTC().Format("15:04"))
				if last := m.s.Last[upgradeTarget(set)]; b.Step == Upgrading && last.Outcome == Done && !m.underway(setTarget(set)) {
					why += ": Azure took the upgrade, and it did nothing; the activity log of the scale set says why"
				}
				m.stays(Inconclusive, why)
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

// foreign looks for what others do to the version, and to the sets of the waves begun.
func (m *machine) foreign() {
	if regions := m.released(); len(regions) > 0 {
		m.blocked(NotOurs, "somebody else made the version the latest in "+names(regions)+": exclude it there again, or resume")
	}
	if regions := m.withdrawn(); len(regions) > 0 {
		m.blocked(NotOurs, "somebody else excluded the version in "+names(regions)+", where its wave had released it: resume releases it again, abort takes members back")
	}
	for _, set := range m.setNames() {
		seen := m.seen(set)
		if seen == nil || !m.s.begun(m.plan, set) || m.underway(setTarget(set)) {
			continue
		}
		if why := m.notOurs(set, seen); why != "" {
			m.blocked(NotOurs, why)
		}
	}
}

// released are the regions in which somebody else made the version the latest.
func (m *machine) released() []string {
	var list []string
	if m.s.Phase == Promoting || m.obs.Version.Unknown != "" || m.excluded("") {
		return nil
	}
	for i := range m.obs.Version.Regions {
		region := fleet.NormalLocation(m.obs.Version.Regions[i].Name)
		ours := slices.ContainsFunc(m.setNames(), func(set string) bool { // its wave releases it there
			p, s := m.plan.Sets[set], m.s.Sets[set]
			return p.Driver == fleet.DriverPlatformAutoOS && fleet.NormalLocation(p.Location) == region && s.points()
		})
		if !ours && !m.excluded(region) && !slices.Contains(m.s.Released, region) {
			list = append(list, region)
		}
	}
	return list
}

// withdrawn are the regions of the wave in which somebody else excluded the version since
// we released it there.
func (m *machine) withdrawn() []string {
	last := m.s.Last[versionTarget]
	if m.s.Phase != Rolling || m.obs.Version.Unknown != "" || last.Verb != Include || last.Outcome != Done || !last.At.After(m.s.Resumed) || m.epoch < last.Epoch {
		return nil
	}
	var list []string
	for _, set := range m.plan.Waves[m.s.Wave].Sets {
		p, s := m.plan.Sets[set], m.s.Sets[set]
		if p.Driver == fleet.DriverPlatformAutoOS && s.points() && m.excluded(p.Location) && !slices.Contains(list, p.Location) {
			list = append(list, p.Location)
		}
	}
	return list
}

// notOurs says what is not as we left it; empty: nothing.
func (m *machine) notOurs(set string, seen *SetSeen) string {
	p, s := m.plan.Sets[set], m.s.Sets[set]
	if seen.Busy != "" {
		return fmt.Sprintf("%s is busy: %s", set, limit(seen.Busy))
	}
	if m.epoch < m.s.Last[setTarget(set)].Epoch {
		return ""
	}
	version := m.modelVersion(seen)
	switch {
	case version != s.Model && !slices.Contains(s.Maybe, version):
		return fmt.Sprintf("the model of %s asks for %s, and we left it at %s", set, orLatest(version), orLatest(s.Model))
	case Profile(&seen.Model) != cmp.Or(s.Profile, p.Profile):
		return "the model of " + set + " was changed by somebody else"
	case !s.Policy && driverOf(p.Driver).refuses(&seen.Model.Upgrade) != "":
		return set + ": " + driverOf(p.Driver).refuses(&seen.Model.Upgrade)
	}
	return ""
}

func orLatest(version string) string {
	if version == "" {
		return "the latest"
	}
	return version
}

// refusals stops a rollout whose actions are refused for longer than a wait may last.
func (m *machine) refusals() {
	classes := map[Outcome]Class{Capacity: NoCapacity, Changed: NotOurs, Denied: Inconclusive, Errored: Inconclusive}
	for _, t := range sorted(m.s.Last) {
		last := m.s.Last[t]
		if v := last.Verb; v.reads() || v == Notify || v == Undrain || v == ResumeRepairs {
			continue
		}
		if last.Outcome == Done || last.Since.IsZero() {
			continue
		}
		l := &m.plan.Limits
		until := last.Since.Add(l.Stuck)
		switch {
		case m.now.Before(until):
			m.wait(t+" not to be refused: "+limit(last.Text), until)
		case last.At.Before(until.Add(-min(l.ObserveEvery, l.Stuck/2))): // it was not tried again to the end: it is wanted no more
		default:
			m.stays(classes[last.Outcome], fmt.Sprintf("%s is refused: %s", t, limit(last.Text)))
		}
	}
}

// pause notes why the rollout stands still, or that it does not any more, and holds one
// that has stood still for too long.
func (m *machine) pause() {
	if p := m.s.Paused; p != nil {
		m.blocked(ByOperator, "paused by "+who(p))
	}
	b := m.s.Block
	switch {
	case b == nil && m.block.Class != "", b != nil && b.Class != m.block.Class:
		m.note(Event{Kind: Blocked, Class: m.block.Class, Why: m.block.Why})
	}
	if b = m.s.Block; b == nil {
		return
	}
	m.move.Block = Block{Class: b.Class, Why: m.block.Why, Since: b.Since, Stays: m.block.Stays}
	until := b.Since.Add(m.plan.Limits.Pause)
	if m.now.Before(until) && !m.unproven() {
		m.wait("paused ("+string(b.Class)+"): "+m.block.Why, until)
		return
	}
	m.note(Event{Kind: PhaseTo, Phase: Held, Class: b.Class, Why: m.block.Why})
}
