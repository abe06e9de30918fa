package rollout

import (
	"maps"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

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
	case Undrain: // it may take effect, whatever is heard of it
		key := memberKey(a.Set, a.Members[0])
		if d, ok := s.Drains[key]; ok {
			d.Done = false
			s.Drains[key] = d
		}
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
	case version != p.Version && version != "" && s.points():
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
	now := Ending{Epoch: s.Epoch, At: e.At, Outcome: r.Outcome, Text: r.Text, Verb: a.Do}
	s.Last[t] = now.after(s.Last[t])
	if a.Do == ManualUpgrade {
		s.Last[upgradeTarget(a.Set)] = now.after(s.Last[upgradeTarget(a.Set)])
	}
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

// after is an ending behind the last one on its target.
func (now Ending) after(last Ending) Ending {
	switch {
	case now.Outcome == Done:
	case last.Outcome != Done && !last.Since.IsZero():
		now.Since = last.Since
	default:
		now.Since = now.At
	}
	return now
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
