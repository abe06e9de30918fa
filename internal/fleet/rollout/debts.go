package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pay does what is owed on every way out: an undrain to members that keep their disk,
// and the automatic repairs that we suspended.
func (m *machine) pay() {
	replaced := m.replaced()
	for _, key := range sorted(m.s.Drains) {
		set, name := splitKey(key)
		member := m.members[set][name]
		if !replaced[key] || member != nil && !running(member) { // a drain ends with the boot
			m.undrain(key)
		}
	}
	for _, set := range m.setNames() {
		if m.s.Sets[set].Suspended != NotSuspended && m.owesRepairs(set) {
			m.resumeRepairs(set)
		}
	}
}

// Why an undrain is not owed any more. The first two need nobody's attention.
const (
	runsNoMore = "drained, and it runs no more"
	ranOut     = "the drain ended by itself"
	unanswered = ranOut + ": the agent did not answer the undrain"
)

// Noticed says whether the webhook was told of something since a time, or was tried for
// long enough. A notice that nobody has tried to send is owed, however late it is.
func (s *State) Noticed(p *Plan, name string, since, now time.Time) bool {
	last, tried := s.Last[string(Notify)+" "+name]
	return tried && !last.At.Before(since) && (last.Outcome == Done || now.Sub(later(since, last.Since)) >= p.Limits.Stuck)
}

// tell sends the notices that are owed: one for each time that somebody should look. One
// that gets no answer is sent again, for as long as an operation may take. What is to be
// done comes first: a webhook that hangs would hold the way back up.
func (m *machine) tell() {
	if !m.plan.Notify || slices.ContainsFunc(m.move.Actions, func(a Action) bool { return a.Effect() }) {
		return
	}
	notice := func(name, why string, since time.Time) {
		if !m.s.Noticed(m.plan, name, since, m.now) {
			m.do(Action{Do: Notify, Name: name, Why: why})
		}
	}
	switch s := &m.s; {
	case s.Phase.Over():
		notice(string(s.Phase), s.Why, s.Since)
	case !s.Phase.forward(): // on the way back, which is begun once in a rollout
		notice(string(Halting), s.Why, time.Time{})
	case s.Block != nil && m.now.Sub(s.Block.Since) >= m.plan.Limits.ObserveEvery: // not at every read that fails once
		notice("paused", s.Block.Why, s.Block.Since)
	case s.Phase == Rolling && s.Waves[s.Wave].Step == Asking && m.plan.Waves[s.Wave].Approve && !s.Waves[s.Wave].Approved:
		notice("approve "+m.waveName(), "wave "+m.waveName()+" waits for an approval", s.Waves[s.Wave].Since)
	}
	for i, l := range m.s.Unpaid {
		if l.Why != runsNoMore && l.Why != ranOut {
			notice(fmt.Sprintf("owed %d", i+1), cmp.Or(l.Member, l.Set)+": "+l.Why, time.Time{})
		}
	}
}

// replaced are the members whose disks a batch is about to replace, by memberKey: they
// stay drained.
func (m *machine) replaced() map[string]bool {
	keys := make(map[string]bool)
	for set, s := range m.s.Sets {
		if s.Batch == nil || s.Batch.Step == Verifying || m.s.Phase == Held {
			continue
		}
		for _, name := range s.Batch.Members {
			keys[memberKey(set, name)] = true
		}
	}
	return keys
}

// undrain pays one drain back.
func (m *machine) undrain(key string) {
	set, name := splitKey(key)
	d := m.s.Drains[key]
	seen, member := m.seen(set), m.members[set][name]
	switch {
	case seen != nil && (member == nil || !running(member)):
		m.note(Event{Kind: Given, Set: set, Member: name, Name: string(Undrain), Why: runsNoMore})
	case !m.now.Before(d.Until):
		why := ranOut
		if last := m.s.Last[drainTarget(set, name)]; last.Verb == Undrain && last.Outcome != Done {
			why = unanswered
		}
		m.note(Event{Kind: Given, Set: set, Member: name, Name: string(Undrain), Why: why})
	default:
		m.do(Action{Do: Undrain, Set: set, Members: []string{name}})
		m.wait("the undrain of "+name, d.Until)
	}
}

// owesRepairs says whether no wave needs the repairs of a set suspended any more.
func (m *machine) owesRepairs(set string) bool {
	switch m.s.Phase {
	case Pending, Rolling:
		step := m.s.Waves[m.s.Wave].Step
		return (step != Batches && step != Soaking) || !slices.Contains(m.plan.Waves[m.s.Wave].Sets, set)
	case Halting, Returning:
		return false
	default:
	}
	return true
}

func (m *machine) resumeRepairs(set string) {
	m.do(Action{Do: ResumeRepairs, Set: set})
	last := m.s.Last[repairsTarget(set)]
	since := last.Since
	if last.Verb != ResumeRepairs || since.IsZero() {
		since = m.now
	}
	until := since.Add(m.plan.Limits.Stuck)
	if !m.now.Before(until) {
		m.note(Event{Kind: Given, Set: set, Name: string(ResumeRepairs), Why: "automatic repairs are still suspended: " + last.Text})
		return
	}
	m.wait("the automatic repairs of "+set, until)
}

// splitKey takes a memberKey apart: no name of a member has a slash.
func splitKey(key string) (set, member string) {
	i := strings.LastIndexByte(key, '/')
	return key[:i], key[i+1:]
}

// Holding says whether a rollout that is held has a model to bring back yet, as far as is
// read, and has not tried for as long as it may.
func Holding(p *Plan, s *State, o *Observation, now time.Time) bool {
	m := newMachine(p, *s, o, now)
	return now.Before(s.Since.Add(2*p.Limits.Stuck)) && slices.ContainsFunc(m.setNames(), m.unheld)
}

// unheld says whether the model of a set may still give the version to members of a rollout
// that is held.
func (m *machine) unheld(set string) bool {
	s, seen := m.s.Sets[set], m.seen(set)
	if m.s.Phase != Held || m.plan.Sets[set].LastGood == "" || !s.points() {
		return false
	}
	return seen == nil || m.modelVersion(seen) == m.plan.Version || m.modelVersion(seen) == ""
}

// hold keeps a rollout still that stood still for too long: models back to last good,
// members as they are, nothing drained or suspended.
func (m *machine) hold() {
	for _, set := range m.setNames() {
		if m.s.Sets[set].Batch != nil && !m.underway(setTarget(set)) {
			m.note(Event{Kind: BatchTo, Set: set, Step: GivenUp})
		}
		if m.s.begun(m.plan, set) {
			driverOf(m.plan.Sets[set].Driver).stop(m, set)
		}
	}
	if m.obs.Version.Unknown == "" && !m.excluded("") {
		m.do(Action{Do: Exclude, Why: "the rollout is held"})
	}
}
