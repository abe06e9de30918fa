package rollout

import (
	"slices"
	"time"
)

// member is what happens to one member.
func (s *State) member(e *Event) {
	key := memberKey(e.Set, e.Member)
	m, known := s.Runs[key]
	if e.Kind == Touched {
		if s.nobody() { // what gates said until now says nothing of the version: they are asked in their time
			for name := range s.Gates {
				s.Gates[name] = Answer{At: e.At}
			}
		}
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
		m.Verified, m.Well, m.NotBefore = false, time.Time{}, e.Since
		m.Down = e.Kind == Departed && e.Name == down
		delete(s.Drains, key)
	default:
	}
	s.Runs[key] = m
}

// down marks the departure of a member whose disk is still there.
const down = "down"
