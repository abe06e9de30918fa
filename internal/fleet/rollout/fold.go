package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
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
	if err := s.FoldIn(&plan, events, 0); err != nil {
		return Plan{}, State{}, err
	}
	return plan, s, nil
}

// FoldIn takes in the events of a journal from one on: what the events before it came to
// is the state. It changes the state's maps in place, also when there is an error.
func (s *State) FoldIn(p *Plan, events []Event, from int) error {
	for i := from; i < len(events); i++ {
		if wave := events[i].Wave; wave >= len(p.Waves) {
			return fmt.Errorf("fold a journal: event %d is of wave %d, and the plan has %d", i+1, wave+1, len(p.Waves))
		}
		s.Apply(p, &events[i])
	}
	return nil
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
		s.waveTo(p, e)
	case BatchTo:
		s.batchTo(p, e)
	case Blocked:
		s.blocked(e)
	case ModelSeen:
		set := s.Sets[e.Set]
		set.Model, set.Maybe, set.Profile = e.Version, nil, e.Name
		set.pointed(p, e.Version, e.At)
		s.Sets[e.Set] = set
	case PolicySet:
		set := s.Sets[e.Set]
		set.Policy = false
		s.Sets[e.Set] = set
	case Given:
		s.given(e)
	default:
		s.member(e)
	}
}

func newState(p *Plan, at time.Time) State {
	s := State{
		Phase: Pending, Since: at, Released: p.Released, Waves: make([]WaveState, len(p.Waves)), Sets: make(map[string]SetState, len(p.Sets)),
		Runs: make(map[string]MemberState), Drains: make(map[string]DrainState), Ops: make(map[int]Op), Last: make(map[string]Ending),
		Gates: make(map[string]Answer), Agents: make(map[string]Answer), Told: make(map[string]Answer), Taken: make(map[string]bool), Read: make(map[string]time.Time, len(p.Sets)),
	}
	for name, set := range p.Sets {
		s.Sets[name] = SetState{Model: set.Model}
	}
	return s
}

func (s *State) requested(e *Event) {
	r := e.Request
	s.Taken[r.ID] = true
	switch r.Do {
	case Approve:
		if w := s.Wave; w < len(s.Waves) {
			s.Waves[w].Approved = true
		}
	case Abort:
		s.Final = s.Final || s.Phase == Returning || s.Phase == Demoting || s.Phase == Incomplete
	case Pause:
		if s.Phase.forward() {
			s.Paused = r
		}
	case Resume:
		s.Paused, s.Block, s.Resumed, s.Released = nil, nil, cmp.Or(e.Since, e.At), e.Members
		s.Waves[s.Wave].Missed = 0
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
		if m.Verified {
			m.Anew = e.At
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
	if w := &s.Waves[s.Wave]; w.Step == Soaking && s.Phase == Rolling && s.Block == nil && s.Paused == nil {
		if passed <= p.Limits.ObserveEvery {
			w.Soaked += max(0, passed) // the clock of another runner may be behind
		} else {
			w.Missed += passed
		}
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
	s.Again = e.Phase == Returning && s.Phase == Demoting || e.Phase == Demoting && s.Again
	s.Phase, s.Since, s.Why, s.Left = e.Phase, e.At, e.Why, e.Left
	if e.Phase == Halting {
		s.Class = e.Class
		s.Keep = e.Request != nil && e.Request.Keep
		s.Final, s.Block, s.Paused = false, nil, nil
	}
	if e.Request != nil && e.Phase == Returning {
		s.Keep = e.Request.Keep
	}
	if e.Phase == Returning { // whoever was given up on is tried again
		for name, set := range s.Sets {
			set.Stays = nil
			s.Sets[name] = set
		}
	}
}

func (s *State) waveTo(p *Plan, e *Event) {
	s.Wave = e.Wave
	w := &s.Waves[e.Wave]
	w.Step, w.Since = e.Step, e.At
	switch e.Step {
	case Replicating: // when the waves begin again, nothing of those behind it has begun
		w.Approved, w.Evidence = false, nil
		clear(s.Waves[e.Wave+1:])
		for name, set := range s.Sets {
			if p.Sets[name].LastWave >= e.Wave {
				set.Whole = false
				s.Sets[name] = set
			}
		}
	case Soaking:
		w.Soaked, w.Missed = 0, 0
	case WaveDone, Skipped:
		w.Evidence = e.Members
	default:
	}
}

func (s *State) batchTo(p *Plan, e *Event) {
	set := s.Sets[e.Set]
	if e.Step != Picked && e.Step != Upgrading { // what became of its upgrades is of no matter any more
		delete(s.Last, upgradeTarget(e.Set))
	}
	switch e.Step {
	case Picked:
		set.Numbers++
		set.Batch = &Batch{Number: set.Numbers, Members: e.Members, Step: Picked, Since: e.At, Back: e.Version != p.Version, Undrain: e.Name != ""}
	case BatchDone, GivenUp:
		if b := set.Batch; b != nil && b.Back && e.Step == GivenUp {
			set.Stays = append(slices.Clip(set.Stays), b.Members...)
		}
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
		s.Block, s.Freed = nil, e.At
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
