package rollout

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Begin is the first event of a rollout.
func Begin(p Plan, now time.Time) Event {
	return Event{Format: Format, At: now, Kind: Planned, Plan: &p}
}

// Fold returns the plan of a journal and what its events come to.
func Fold(events []Event) (Plan, State, error) {
	if len(events) == 0 || events[0].Kind != Planned || events[0].Plan == nil {
		return Plan{}, State{}, errors.New("fold a journal: it does not begin with a plan")
	}
	plan := *events[0].Plan
	var s State
	for i := range events {
		s.Apply(&plan, &events[i])
	}
	return plan, s, nil
}

// Apply takes one more event in. It changes the state's maps in place.
func (s *State) Apply(p *Plan, e *Event) {
	switch e.Kind {
	case Planned:
		*s = newState(p, e.At)
	case Began:
		s.began(p, e)
	case Ended:
		s.ended(p, e)
	case Requested:
		s.requested(e)
	case Observed:
		s.observed(p, e)
	case PhaseTo:
		s.phaseTo(e)
	case WaveTo:
		s.waveTo(e)
	case BatchTo:
		s.batchTo(p, e)
	case Blocked:
		s.blocked(e)
	case ModelSeen:
		set := s.Sets[e.Set]
		set.Model, set.Maybe, set.Profile = e.Version, nil, e.Name
		set.pointed(p, e.Version, e.At)
		s.Sets[e.Set] = set
	case Given:
		s.given(e)
	default:
		s.member(e)
	}
}

func newState(p *Plan, at time.Time) State {
	s := State{
		Phase: Pending, Since: at, Waves: make([]WaveState, len(p.Waves)), Sets: make(map[string]SetState, len(p.Sets)),
		Runs: make(map[string]MemberState), Drains: make(map[string]DrainState), Ops: make(map[int]Op), Last: make(map[string]Ending),
		Gates: make(map[string]Answer), Agents: make(map[string]Answer), Told: make(map[string]Answer), Taken: make(map[string]bool), Read: make(map[string]time.Time, len(p.Sets)),
	}
	for name, set := range p.Sets {
		s.Sets[name] = SetState{Model: set.Model}
	}
	return s
}

// began is an intent: from here on it may have happened.
func (s *State) began(p *Plan, e *Event) {
	a := e.Action
	s.Op = max(s.Op, a.Op)
	s.Ops[a.Op] = Op{Action: *a, Began: e.At}
	set, ours := s.Sets[a.Set]
	switch a.Do {
	case PatchModel:
		set.Maybe = append(slices.Clip(set.Maybe), a.Version)
		if a.Version == p.Version {
			set.pointed(p, a.Version, e.At)
		}
		if a.Mode != "" && !p.original(a) {
			set.Policy = true
		}
	case ManualUpgrade:
		if a.Version == p.Version {
			set.Asked = maps.Clone(set.Asked)
			if set.Asked == nil {
				set.Asked = make(map[string]bool)
			}
			for _, name := range a.Members {
				set.Asked[name] = true
			}
		}
	case SuspendRepairs:
		set.Suspended, set.Unsure = MaybeSuspended, set.Unsure+1
	case Include:
		for name, planned := range p.Sets {
			if s := s.Sets; planned.Model == "" && (a.Region == "" || a.Region == planned.Location) {
				follows := s[name]
				follows.Pointed, follows.Unpointed = e.At, time.Time{}
				s[name] = follows
			}
		}
	case Drain:
		s.Drains[memberKey(a.Set, a.Members[0])] = DrainState{Until: e.At.Add(p.Limits.Drained)}
	default:
	}
	if ours {
		s.Sets[a.Set] = set
	}
}

// original says whether a PATCH sets the policy as it was when the plan was made.
func (p *Plan) original(a *Action) bool {
	set := p.Sets[a.Set]
	return a.Mode == set.Mode && (a.AutoOS == nil || *a.AutoOS == (set.Driver == fleet.DriverPlatformAutoOS))
}

// pointed notes whether the model points at the version.
func (s *SetState) pointed(p *Plan, version string, at time.Time) {
	switch {
	case version == p.Version && (s.Pointed.IsZero() || !s.Unpointed.IsZero()):
		s.Pointed, s.Unpointed = at, time.Time{}
	case version != p.Version && version != "" && !s.Pointed.IsZero() && s.Unpointed.IsZero():
		s.Unpointed = at
	}
}

// ended is what became of an action.
func (s *State) ended(p *Plan, e *Event) {
	a, r := e.Action, e.Result
	s.Epoch++
	if r.Outcome == Underway || r.Outcome == Lost { // the observations say what it comes to
		op := s.Ops[a.Op]
		op.Result = r
		s.Ops[a.Op] = op
		return
	}
	delete(s.Ops, a.Op)
	t := a.target()
	last := s.Last[t]
	now := Ending{Epoch: s.Epoch, At: e.At, Outcome: r.Outcome, Text: r.Text, Verb: a.Do}
	if r.Outcome != Done {
		now.Since = e.At
		if last.Outcome != Done && !last.Since.IsZero() {
			now.Since = last.Since
		}
	}
	s.Last[t] = now
	if r.Outcome == Done {
		s.done(p, e)
		return
	}
	switch a.Do {
	case PatchModel:
		s.forgetPatch(a)
	case SuspendRepairs:
		set := s.Sets[a.Set]
		if r.Outcome != Errored { // it was refused: it did not happen, this time
			set.Unsure--
		}
		if set.Unsure == 0 {
			set.Suspended = NotSuspended
		}
		set.NoSuspend = set.NoSuspend || r.Outcome == Denied
		s.Sets[a.Set] = set
	case AskAgent:
		if r.Outcome == Denied { // it may not be asked
			s.Agents[memberKey(a.Set, a.Members[0])] = Answer{At: e.At, Why: r.Text}
		}
	case Diagnose:
		s.Told[memberKey(a.Set, a.Members[0])] = Answer{At: e.At, Text: "diagnosis not possible", Why: r.Text}
	case QueryGate:
		s.Gates[a.Name] = Answer{At: e.At, Text: string(Unknown), Why: r.Text}
	default:
	}
}

// forgetPatch takes back the intent of a PATCH that did not happen.
func (s *State) forgetPatch(a *Action) {
	set := s.Sets[a.Set]
	if i := slices.Index(set.Maybe, a.Version); i >= 0 {
		set.Maybe = slices.Delete(slices.Clone(set.Maybe), i, i+1)
	}
	s.Sets[a.Set] = set
}

// done is an action that did what it was to do.
func (s *State) done(p *Plan, e *Event) {
	a, r := e.Action, e.Result
	set := s.Sets[a.Set]
	switch a.Do {
	case PatchModel:
		set.Model, set.Maybe = a.Version, nil
		if a.Mode != "" {
			set.Policy = !p.original(a)
		}
		set.pointed(p, a.Version, e.At)
		s.Sets[a.Set] = set
	case SuspendRepairs:
		set.Suspended = IsSuspended
		s.Sets[a.Set] = set
	case ResumeRepairs:
		set.Suspended, set.Unsure = NotSuspended, 0
		s.Sets[a.Set] = set
	case Drain:
		key := memberKey(a.Set, a.Members[0])
		if d, ok := s.Drains[key]; ok {
			d.Done = true
			s.Drains[key] = d
		}
	case Undrain:
		delete(s.Drains, memberKey(a.Set, a.Members[0]))
	case AskAgent:
		s.Agents[memberKey(a.Set, a.Members[0])] = Answer{At: e.At, Text: r.Answer, Why: r.Text}
	case Diagnose:
		s.Told[memberKey(a.Set, a.Members[0])] = Answer{At: e.At, Text: r.Answer}
	case QueryGate:
		s.Gates[a.Name] = Answer{At: e.At, Text: r.Answer, Why: r.Text}
	default:
	}
}

func (s *State) requested(e *Event) {
	r := e.Request
	s.Taken[r.ID] = true
	switch r.Do {
	case Approve:
		if w := s.Wave; w < len(s.Waves) {
			s.Waves[w].Approved = true
		}
	case Pause:
		if s.Phase.forward() {
			s.Paused = r
		}
	case Resume:
		s.Paused, s.Block, s.Resumed = nil, nil, e.At
		for t, last := range s.Last { // what was refused is tried anew, with all its time
			last.Since = time.Time{}
			s.Last[t] = last
		}
	default:
	}
}

// observed lets time count. After a gap, nothing that was verified in a set is any more.
func (s *State) observed(p *Plan, e *Event) {
	whole := true
	gap := make(map[string]bool)
	for set := range s.Sets {
		if slices.Contains(e.Members, set) {
			whole = whole && !s.begun(p, set)
			continue
		}
		last := s.Read[set]
		gap[set] = last.IsZero() || e.At.Sub(last) > p.Limits.ObserveEvery
		s.Read[set] = e.At
	}
	for key, m := range s.Runs {
		if !gap[m.Set] {
			continue
		}
		m.Verified, m.Well, m.Ill = false, time.Time{}, time.Time{}
		if !m.Settled.IsZero() {
			m.Settled = e.At
		}
		s.Runs[key] = m
	}
	if !whole {
		return
	}
	passed := e.At.Sub(s.Observed)
	if w := &s.Waves[s.Wave]; w.Step == Soaking && passed <= p.Limits.ObserveEvery && s.Phase == Rolling && s.Block == nil && s.Paused == nil {
		w.Soaked += passed
	}
	s.Observed = e.At
}

// begun says whether a wave that a set stands in has begun.
func (s *State) begun(p *Plan, set string) bool {
	first := p.nextWave(set, 0)
	return first >= 0 && s.Phase != Pending && first <= s.Wave
}

func (s *State) phaseTo(e *Event) {
	if e.Phase == Held {
		s.From = s.Phase
	}
	s.Phase, s.Since, s.Why, s.Left = e.Phase, e.At, e.Why, e.Left
	if e.Phase == Halting {
		s.Class = e.Class
		s.Keep = e.Request != nil && e.Request.Keep
		s.Block, s.Paused = nil, nil
	}
}

func (s *State) waveTo(e *Event) {
	s.Wave = e.Wave
	w := &s.Waves[e.Wave]
	w.Step, w.Since = e.Step, e.At
	switch e.Step {
	case Soaking:
		w.Soaked = 0
	case WaveDone, Skipped:
		w.Evidence = e.Members
	default:
	}
}

func (s *State) batchTo(p *Plan, e *Event) {
	set := s.Sets[e.Set]
	switch e.Step {
	case Picked:
		set.Numbers++
		set.Batch = &Batch{Number: set.Numbers, Members: e.Members, Step: Picked, Since: e.At, Back: e.Version != p.Version, Undrain: e.Name != ""}
	case BatchDone, GivenUp:
		set.Batch, set.BatchEnd = nil, e.At
	default:
		if set.Batch == nil {
			break
		}
		b := *set.Batch
		b.Step, b.Since = e.Step, e.At
		set.Batch = &b
		if e.Step == Upgrading && !b.Back && e.Wave == p.Sets[e.Set].LastWave {
			set.Whole = true
		}
	}
	s.Sets[e.Set] = set
}

func (s *State) blocked(e *Event) {
	switch {
	case e.Class == "":
		s.Block = nil
	case s.Block == nil:
		s.Block = &Block{Class: e.Class, Why: e.Why, Since: e.At}
	default:
		s.Block = &Block{Class: e.Class, Why: e.Why, Since: s.Block.Since}
	}
}

// given is a debt that is given up.
func (s *State) given(e *Event) {
	s.Unpaid = append(slices.Clip(s.Unpaid), Left{Set: e.Set, Member: e.Member, Why: e.Why})
	switch Verb(e.Name) {
	case Undrain:
		delete(s.Drains, memberKey(e.Set, e.Member))
	case ResumeRepairs:
		set := s.Sets[e.Set]
		set.Suspended, set.Unsure = NotSuspended, 0
		s.Sets[e.Set] = set
	default:
	}
}

// member is what happens to one member.
func (s *State) member(e *Event) {
	key := memberKey(e.Set, e.Member)
	m, known := s.Runs[key]
	if e.Kind == Touched {
		if !known {
			m = MemberState{Set: e.Set, Name: e.Member, Wave: e.Wave}
		}
		m.Runs = append(slices.Clip(m.Runs), Run{From: e.Since, Why: e.Why, Unseen: e.Version == ""})
		m.Settled, m.NotBefore, m.Well, m.Ill, m.Verified, m.Down = time.Time{}, time.Time{}, time.Time{}, time.Time{}, false, false
		s.Runs[key] = m
		delete(s.Drains, key) // its disk is another
		return
	}
	if !known {
		if e.Kind == Departed || e.Kind == Returned {
			delete(s.Drains, key)
		}
		return
	}
	switch e.Kind {
	case Settled:
		m.Settled, m.NotBefore = e.At, e.Since
	case Well:
		m.Well, m.Ill = e.At, time.Time{}
	case Ill:
		m.Well, m.Ill = time.Time{}, e.At
	case Verified:
		m.Verified = true
	case Failing:
		m.Failed = e.Why
	case Departed, Returned:
		m.Runs = slices.Clone(m.Runs)
		run := &m.Runs[len(m.Runs)-1]
		if run.To.IsZero() {
			run.To, run.Ended = e.At, e.Why
		}
		m.Verified, m.Well = false, time.Time{}
		m.Down = e.Kind == Departed && e.Name == down
		delete(s.Drains, key)
	default:
	}
	s.Runs[key] = m
}

// down marks the departure of a member whose disk is still there.
const down = "down"
