package rollout

import (
	"fmt"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// batches is the driver that picks members by name: the model points at the version,
// the members that were picked are upgraded, and each is verified.
type batches struct{}

func (batches) refuses(u *fleet.UpgradePolicy) string {
	switch {
	case u.AutoOS:
		return "automatic OS upgrade is on, and the driver batches picks the members itself"
	case u.Mode != fleet.Manual:
		return fmt.Sprintf("the upgrade mode is %s, and the driver batches needs Manual", u.Mode)
	}
	return ""
}

func (batches) forward(m *machine, w *Wave, set string) bool {
	if m.s.Sets[set].Batch == nil && !m.nextBatch(w, set) {
		return len(m.pick(w, set)) == 0
	}
	m.batch(set)
	return false
}

// nextBatch picks the next batch, if one may begin; it says whether there is one.
func (m *machine) nextBatch(w *Wave, set string) bool {
	names := m.pick(w, set)
	if len(names) == 0 || !m.mayTake() || m.doubted() {
		return false
	}
	p, s := m.plan.Sets[set], m.s.Sets[set]
	for _, name := range m.on[set] { // one batch after the other: births are waited for, too
		if r := m.s.Runs[memberKey(set, name)]; !r.serves() && r.Failed == "" {
			return false
		}
	}
	if until := s.BatchEnd.Add(p.Pause); s.Numbers > 0 && m.now.Before(until) {
		m.wait("the pause between batches of "+set, until)
		return false
	}
	if !m.open(m.plan.Limits.Approval) || m.plan.Drain && m.awaited(set) {
		return false
	}
	m.note(Event{Kind: BatchTo, Set: set, Members: names, Step: Picked, Version: m.plan.Version})
	return true
}

// doubted says whether a member of any set was verified, is not Healthy now, and is not
// judged yet: until it is, nobody else gets the version.
func (m *machine) doubted() bool {
	for set, names := range m.on {
		for _, name := range names {
			if r := m.s.Runs[memberKey(set, name)]; r.Verified && !r.serves() && r.Failed == "" {
				return true
			}
		}
	}
	return false
}

// batch takes the batch of a set on, forward or back.
func (m *machine) batch(set string) {
	b := m.s.Sets[set].Batch
	if b.Step == Picked && m.readied(set, b) {
		m.note(Event{Kind: BatchTo, Set: set, Step: Upgrading, Wave: m.s.Wave})
		b = m.s.Sets[set].Batch
	}
	if b.Step == Upgrading && m.upgraded(set, b) {
		m.note(Event{Kind: BatchTo, Set: set, Step: Verifying})
		b = m.s.Sets[set].Batch
	}
	if b.Step == Verifying && m.checked(set, b) {
		m.note(Event{Kind: BatchTo, Set: set, Step: BatchDone})
	}
}

// readied suspends repairs, and drains the members of a batch whose disks are to be
// replaced.
func (m *machine) readied(set string, b *Batch) bool {
	if !b.Back && (m.blockedNow() || m.surplus(set, b)) {
		m.giveUp(set, b)
		return false
	}
	if !b.Back && (m.unasked() || !m.suspended(set)) {
		return false
	}
	return m.drainedAll(set, b, b.Members)
}

// drainedAll drains members of a batch whose disks are to be replaced.
func (m *machine) drainedAll(set string, b *Batch, names []string) bool {
	if !m.plan.Drain || b.Undrain {
		return true
	}
	ready := true
	for _, name := range names {
		if member := m.members[set][name]; member != nil && untakeable(member) == "" && !m.drained(set, name, b) {
			ready = false
		}
	}
	return ready
}

// giveUp leaves a batch before anything was done to its disks. Its members are owed an
// undrain. One that is stuck stays, and keeps the rollout from going on.
func (m *machine) giveUp(set string, b *Batch) {
	if !m.underway(setTarget(set)) && (!m.stuck(b) || m.surplus(set, b)) {
		m.note(Event{Kind: BatchTo, Set: set, Step: GivenUp})
	}
}

// surplus says whether a batch would bring the version to more members than its wave
// takes: since it was picked, one came back that has it already.
func (m *machine) surplus(set string, b *Batch) bool {
	w := &m.plan.Waves[m.s.Wave]
	if !w.partial() {
		return false
	}
	more := 0
	for _, name := range b.Members {
		if member := m.members[set][name]; member != nil && untakeable(member) == "" && !m.runs(member) {
			more++
		}
	}
	return more > 0 && more > m.room(w, set)
}

// stuck says whether a step of a batch on its way forward takes too long.
func (m *machine) stuck(b *Batch) bool {
	return !b.Back && b.Step != Verifying && !m.now.Before(m.deadline(b))
}

// deadline is when a step of a batch takes too long.
func (m *machine) deadline(b *Batch) time.Time {
	return later(b.Since, m.s.Resumed).Add(m.plan.Limits.Stuck)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// suspended suspends the automatic repairs of a set: a repair in the middle of a wave
// would hide what the image does.
func (m *machine) suspended(set string) bool {
	s := m.s.Sets[set]
	if !m.plan.Sets[set].Repairs || s.NoSuspend || s.Suspended == IsSuspended {
		return true
	}
	m.do(Action{Do: SuspendRepairs, Set: set})
	return false
}

// awaited says whether the model of another set points at the version until an upgrade by
// name has ended. A drain takes minutes, and whoever makes it would come too late to put
// that model back.
func (m *machine) awaited(set string) bool {
	for _, other := range m.setNames() {
		p, s, seen := m.plan.Sets[other], m.s.Sets[other], m.seen(other)
		if other == set || seen == nil || p.Driver.Platform() || p.LastGood == "" || m.keeps(other) {
			continue
		}
		if m.upgrades[other] || s.points() && m.modelVersion(seen) == m.plan.Version {
			m.wait("the model of "+other+" to be back", m.now.Add(m.plan.Limits.Stuck))
			return true
		}
	}
	return false
}

// drained drains a member by its own agent.
func (m *machine) drained(set, name string, b *Batch) bool {
	d, asked := m.s.Drains[memberKey(set, name)]
	if asked && d.Done && m.now.Before(d.Until) {
		return true
	}
	last := m.s.Last[drainTarget(set, name)]
	if b.Back && last.Verb == Drain && last.Outcome != Done && !last.At.Before(b.Since) {
		return true // the way back does not wait for a node that does not answer
	}
	if !b.Back && m.awaited(set) {
		return false
	}
	m.do(Action{Do: Drain, Set: set, Members: []string{name}})
	m.wait("the drain of "+name, m.deadline(b))
	return false
}

// upgraded upgrades the members of a batch by name, and says whether each that is still
// there runs what it is to run.
func (m *machine) upgraded(set string, b *Batch) bool {
	seen := m.seen(set)
	version := m.plan.Version
	if b.Back {
		version = m.plan.Sets[set].LastGood
	}
	var todo []string
	last := m.s.Last[upgradeTarget(set)]
	asked := !last.At.Before(b.Since)
	again := m.again(set)
	done, works := 0, m.underway(setTarget(set))
	for _, name := range b.Members {
		member := m.members[set][name]
		switch {
		case member == nil || untakeable(member) != "":
		case m.works(set, member) || moving(member) && m.now.Before(last.At.Add(m.plan.Limits.Stuck)):
			works = true
		case m.runs(member) == b.Back:
			todo = append(todo, name)
		default:
			done++
		}
	}
	switch {
	case works:
		m.upgrades[set] = !b.Back && last.Outcome == Done
		m.wait("the upgrade of "+some(b.Members), m.deadline(b))
		return false
	case len(todo) == 0:
		return true
	case !b.Back && (m.blockedNow() || m.surplus(set, b)):
		if done == 0 {
			m.giveUp(set, b)
		}
		return done > 0 // the others are picked again
	case m.epoch < m.s.Last[setTarget(set)].Epoch:
		return false // what was read is older than what was done
	case asked && m.now.Before(again):
		m.upgrades[set] = !b.Back && last.Outcome == Done // one that was refused is over
		m.wait("the upgrade of "+some(todo)+" to show, or to be tried again", again)
		return false
	case b.Back && m.modelVersion(seen) != version:
		return false // stop points it there
	}
	m.wait("the upgrade of "+some(todo), m.deadline(b))
	if !m.drainedAll(set, b, todo) { // a drain ends by itself
		return false
	}
	m.upgrades[set] = !b.Back
	if m.modelVersion(seen) != version || !b.Back && m.s.Sets[set].Model != version {
		return false // models points it there
	}
	m.do(Action{Do: ManualUpgrade, Set: set, Members: todo, Version: version})
	return false
}

// again is when an upgrade by name is asked for again. Those that were refused are tried at
// once, when every model that was put back for one has rested: a PATCH takes longer than
// that at times, and a tick would go round and round.
func (m *machine) again(set string) time.Time {
	last := m.s.Last[upgradeTarget(set)]
	since := last.At
	for name, s := range m.s.Sets {
		if other, tried := m.s.Last[upgradeTarget(name)]; last.Outcome != Done && tried && other.Outcome != Done {
			since = later(since, later(other.At, s.Unpointed))
		}
	}
	return since.Add(m.plan.Limits.Retry)
}

// checked says whether each member of a batch that is still there was judged: verified
// or failed on the way forward; Healthy, or given the time to be, on the way back.
func (m *machine) checked(set string, b *Batch) bool {
	done := true
	for _, name := range b.Members {
		member := m.members[set][name]
		if member == nil || untakeable(member) != "" {
			continue
		}
		r, on := m.s.Runs[memberKey(set, name)]
		if b.Back {
			if !r.well(member) && m.now.Before(b.Since.Add(m.plan.Limits.HealthyWithin)) {
				m.wait(name+" to be Healthy on the last good version", b.Since.Add(m.plan.Limits.HealthyWithin))
				done = false
			}
			continue
		}
		if on && m.runs(member) && !r.serves() && r.Failed == "" {
			m.wait("the verdict on "+name, m.now.Add(m.plan.Limits.HealthyWithin))
			done = false
		}
	}
	return done
}

func (batches) stop(m *machine, set string) bool {
	good := m.plan.Sets[set].LastGood
	seen := m.seen(set)
	if seen == nil {
		return false
	}
	if good == "" || m.modelVersion(seen) != m.plan.Version && !m.underway(setTarget(set)) {
		return true
	}
	return m.patch(set, Action{Version: good})
}

func (batches) restore(*machine, string) bool { return true }
