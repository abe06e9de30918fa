package rollout

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Move is what Next answers: what was decided, and what is to be done because of it.
type Move struct {
	// Events are to be in the journal before any action is made.
	Events  []Event
	Actions []Action
	// Waits say what the rollout waits for when there is nothing to do.
	Waits []Wait
	// Block is why it stands still, as it was seen now: the journal has the first cause of
	// a class, which may be gone by now. A Class of "": it does not.
	Block Block
}

// A Wait is something that the rollout waits for, and until when at most.
type Wait struct {
	For   string
	Until time.Time
}

// Next says what must happen next in a rollout. It changes none of its arguments. With
// an observation in which nothing is new it answers the same again.
//
// The caller appends the events to the journal, then carries out every action between
// its Began and its Ended, then reads Azure again and asks again, until there are no
// actions.
func Next(p Plan, s State, o Observation, now time.Time) Move {
	m := newMachine(&p, s.Clone(), &o, now)
	m.requests()
	m.resolve()
	m.account()
	m.observe()
	m.judge()
	m.advance()
	m.pay()
	m.tell()
	return m.move
}

// machine is one call of Next.
type machine struct {
	plan *Plan
	s    State // what it comes to, the events of this call included
	obs  *Observation
	now  time.Time
	// epoch is State.Epoch as far as the observation shows what was done.
	epoch int
	move  Move
	// members are those observed, by set and name.
	members   map[string]map[string]*fleet.Member
	on        map[string][]string // members on the version, by set, sorted
	reporting int                 // members of the fleet that run and have a health
	asked     map[string]bool     // targets of the actions of this call
	busy      map[string]int      // actions under way, by target
	// refused is when an action of a verb was last not done, on whatever target. All of them
	// are tried again at once: where a try takes long, one would be due when the next has
	// ended, and a tick would go round and round.
	refused map[Verb]time.Time
	// answered is when an agent last said that it does not serve: those are asked again at
	// once, for the same reason.
	answered time.Time
	upgrades map[string]bool // sets whose model has to be at the version for an upgrade by name
	block    Block           // the weightiest of this call; Class "" is none
}

func newMachine(p *Plan, s State, o *Observation, now time.Time) *machine {
	m := &machine{plan: p, s: s, obs: o, now: now, epoch: o.Epoch, members: make(map[string]map[string]*fleet.Member), on: make(map[string][]string), asked: make(map[string]bool), busy: make(map[string]int), refused: make(map[Verb]time.Time), upgrades: make(map[string]bool)}
	for _, last := range s.Last {
		if last.Outcome != Done {
			m.refused[last.Verb] = later(m.refused[last.Verb], last.At)
		}
	}
	for _, op := range s.Ops {
		m.busy[op.Action.target()]++
	}
	for _, a := range s.Agents {
		if a.Text != Serving && a.Text != "" {
			m.answered = later(m.answered, a.At)
		}
	}
	for name := range p.Sets {
		seen, ok := o.Sets[name]
		if !ok || seen.Unknown != "" {
			continue
		}
		byName := make(map[string]*fleet.Member, len(seen.Members))
		for i := range seen.Members {
			byName[seen.Members[i].Name] = &seen.Members[i]
			if reports(&seen.Members[i]) {
				m.reporting++
			}
		}
		m.members[name] = byName
	}
	return m
}

// setNames are the sets of the plan, sorted.
func (m *machine) setNames() []string { return slices.Sorted(maps.Keys(m.plan.Sets)) }

// sorted are the keys of a map in order: what is decided must not hang on chance.
func sorted[V any](by map[string]V) []string { return slices.Sorted(maps.Keys(by)) }

// seen returns a set as it was read, or nil when it was not.
func (m *machine) seen(set string) *SetSeen {
	if m.members[set] == nil {
		return nil
	}
	seen := m.obs.Sets[set]
	return &seen
}

// note journals an event, and takes it in.
func (m *machine) note(e Event) {
	e.Format = Format
	if e.At.IsZero() {
		e.At = m.now
	}
	m.move.Events = append(m.move.Events, e)
	if e.Kind == PhaseTo {
		m.move.Waits = nil // they were of the phase before
	}
	m.s.Apply(m.plan, &e)
}

// wait tells what is waited for, and until when at most.
func (m *machine) wait(what string, until time.Time) {
	m.move.Waits = append(m.move.Waits, Wait{For: what, Until: until})
}

// blocked says why the rollout may not go on.
func (m *machine) blocked(class Class, why string) {
	if class.rank() > m.block.Class.rank() {
		m.block = Block{Class: class, Why: why}
	}
}

// stays says why the rollout may not go on until an operator says so: what it waited for is
// not tried any more.
func (m *machine) stays(class Class, why string) {
	if class.rank() > m.block.Class.rank() {
		m.block = Block{Class: class, Why: why, Stays: true}
	}
}

// do asks for an action, unless one on the same target is under way, was refused just
// now, or was made after the observation was read: no write follows from what is not
// known.
func (m *machine) do(a Action) {
	t := a.target()
	if m.underway(t) || m.asked[t] {
		return
	}
	last, tried := m.s.Last[t]
	if a.Effect() && tried && m.epoch < last.Epoch {
		return
	}
	if tried && last.Outcome != Done && last.Verb == a.Do {
		if again := m.refused[a.Do].Add(m.plan.Limits.Retry); m.now.Before(again) {
			m.wait("to try again: "+string(a.Do)+" "+cmp.Or(a.Set, a.Name), again)
			return
		}
	}
	if a.Set != "" && m.seen(a.Set) == nil {
		return
	}
	if t == versionTarget && m.obs.Version.Unknown != "" {
		return
	}
	m.asked[t] = true
	m.s.Op++
	a.Op = m.s.Op
	m.move.Actions = append(m.move.Actions, a)
}

// underway says whether an action on a target has no final result yet.
func (m *machine) underway(target string) bool { return m.busy[target] > 0 }

// requests takes up what operators ask, once each.
func (m *machine) requests() {
	for i := range m.obs.Requests {
		if m.s.Taken[m.obs.Requests[i].ID] {
			continue
		}
		r := m.obs.Requests[i]
		if r.Do == Approve && !m.approves(&r) {
			continue // for a wave that does not ask yet: it stays where it is
		}
		e := Event{Kind: Requested, Request: &r}
		if r.Do == Resume {
			e.Members, e.Since = append(slices.Clone(m.s.Released), m.released()...), m.obs.At
		}
		m.note(e)
		switch {
		case r.Do == Resume:
			m.accept()
			if m.s.Phase == Held {
				m.note(Event{Kind: PhaseTo, Phase: m.s.From, Why: "resumed by " + who(&r)})
			}
			if m.unproven() {
				m.note(Event{Kind: PhaseTo, Phase: Rolling, Why: "resumed by " + who(&r)})
				m.note(Event{Kind: WaveTo, Wave: 0, Step: Replicating, Why: "nobody stood for the version: the waves begin again"})
			}
		case r.Do == Abort && (m.s.Phase.forward() || m.s.Phase == Held || m.s.Phase == Halting && m.s.Keep && !r.Keep):
			m.note(Event{Kind: PhaseTo, Phase: Halting, Class: ByOperator, Request: &r, Why: "aborted by " + who(&r)})
		case r.Do == Abort && m.s.Phase == Incomplete: // once more, and for the last time
			m.note(Event{Kind: PhaseTo, Phase: Returning, Class: m.s.Class, Request: &r, Why: "aborted by " + who(&r) + "; it had halted: " + m.s.Why})
		}
	}
}

// accept takes the models for what they are: the operator who resumes has seen them.
func (m *machine) accept() {
	for _, set := range m.setNames() {
		if seen := m.seen(set); seen != nil && !m.underway(setTarget(set)) {
			m.note(Event{Kind: ModelSeen, Set: set, Version: m.modelVersion(seen), Name: Profile(&seen.Model)})
		}
	}
}

// approves says whether an approval is for the wave that waits for one.
func (m *machine) approves(r *Request) bool {
	w := m.s.Wave
	return m.s.Phase == Rolling && w < len(m.plan.Waves) && m.s.Waves[w].Step == Asking && r.Wave == m.plan.Waves[w].Name
}

func who(r *Request) string {
	text := cmp.Or(r.By, "an operator")
	if r.Why != "" {
		text += ": " + r.Why
	}
	return text
}

// resolve finds out what became of actions under way.
func (m *machine) resolve() {
	for _, n := range slices.Sorted(maps.Keys(m.s.Ops)) {
		op := m.s.Ops[n]
		if r, ok := m.obs.Operations[n]; ok && r.Outcome != Underway {
			m.end(&op, r)
			continue
		}
		if r, known := m.comes(&op); known {
			m.end(&op, r)
			continue
		}
		until := m.shows(&op)
		if !m.now.Before(until) { // it was not looked at in time, or Azure is still at work: the next look may say
			until = m.now.Add(m.plan.Limits.ObserveEvery)
		}
		m.wait("the end of "+string(op.Action.Do)+" "+op.Action.Set, until)
	}
}

// shows is when the effect of an action under way shows in what is read, if it has any.
func (m *machine) shows(op *Op) time.Time {
	if op.Result != nil && op.Result.Outcome == Underway {
		return op.Began.Add(m.plan.Limits.Stuck)
	}
	return op.Began.Add(m.plan.Limits.Settle)
}

// end notes what the observation says that an action came to: it shows that, too.
func (m *machine) end(op *Op, r Result) {
	if m.epoch == m.s.Epoch {
		m.epoch++
	}
	m.note(Event{Kind: Ended, Action: &op.Action, Result: &r})
	m.busy[op.Action.target()]--
}

// comes says what an action without a result comes to, if that can be told from what is
// read: its effect is there, or it is not and had the time to show.
func (m *machine) comes(op *Op) (Result, bool) {
	a, seen := &op.Action, m.seen(op.Action.Set)
	switch {
	case m.obs.At.Before(m.shows(op)) || m.epoch != m.s.Epoch:
		return Result{}, false // it may still show
	case a.Set != "" && seen == nil:
		return Result{}, false
	case a.Do == PatchModel && m.modelIs(seen, a) && seen.Rolling.Active():
		return Result{Outcome: Done, Text: "seen in the model"}, true // the set is at work until the platform has done with all
	case a.target() == setTarget(a.Set) && moves(seen) && m.now.Before(op.Began.Add(m.plan.Limits.Pause)):
		return Result{}, false // whoever moves it: wait, but not for ever
	case a.Do == PatchModel && m.modelIs(seen, a):
		return Result{Outcome: Done, Text: "seen in the model"}, true
	case a.Do == ManualUpgrade:
		return Result{Outcome: Done, Text: "its members say what it did"}, true
	}
	return Result{Outcome: Errored, Text: "no answer, and no effect was seen"}, true
}

// modelIs says whether a model is as a PATCH makes it.
func (m *machine) modelIs(seen *SetSeen, patch *Action) bool {
	u := &seen.Model.Upgrade
	return m.modelVersion(seen) == patch.Version && (patch.Mode == "" || u.Mode == patch.Mode) && (patch.AutoOS == nil || u.AutoOS == *patch.AutoOS)
}

// moves says whether Azure is at work on a set, for whomever.
func moves(seen *SetSeen) bool {
	return fleet.AtWork(seen.Model.Provisioning) || seen.Busy != ""
}

// modelVersion is the version that a model asks for by its reference: "" is the latest,
// and an image of another definition is named whole.
func (m *machine) modelVersion(seen *SetSeen) string {
	id, err := seen.Model.Image.Gallery()
	if err != nil || !id.Definition.Same(m.plan.Definition) {
		return cmp.Or(seen.Model.Image.ID, "another image")
	}
	return id.Version
}

// runs says whether the version is on a member's disk.
func (m *machine) runs(member *fleet.Member) bool {
	return member.Image.ExactVersion == m.plan.Version && isOf(member, m.plan.Definition)
}

// isOf says whether a member's disk is of an image definition.
func isOf(member *fleet.Member, definition fleet.ResourceID) bool {
	id, n := member.Image.ID, len(definition)
	return len(id) >= n && strings.EqualFold(id[:n], string(definition)) && (len(id) == n || id[n] == '/')
}

// limit caps how long texts of Azure's become in a journal.
func limit(text string) string {
	const most = 500
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
