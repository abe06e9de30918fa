package fleet

import (
	"slices"
	"strings"
)

// running are the members that run, or of which nothing else is known, by name.
func (p *setPlanner) running() []*Member { return p.set.running() }

func (s *Set) running() []*Member {
	var list []*Member
	for i := range s.Members {
		if m := &s.Members[i]; m.runs() {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *Member) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// along names those whose disk is of another version than the model asks for, or of one
// that is not known, and says what the model asks for.
func (p *setPlanner) along(members []*Member) ([]string, Target) {
	return p.set.along(members, p.options.Definition)
}

func (s *Set) along(members []*Member, d *Definition) (others []string, t Target) {
	known := catalog{}
	if d != nil {
		known[Key(d.ID)] = d
	}
	t = known.target(&s.Model)
	for _, m := range members {
		if t.Version == "" || t.runs(m) != t.Version {
			others = append(others, m.Name)
		}
	}
	return others, t
}

// text names what a model asks for.
func (t *Target) text() string {
	if t.Version == "" {
		return "an unknown image (" + t.Unknown + ")"
	}
	return "image version " + t.Version
}

// members is the step that brings members to the model, in the mode that the set is then
// in. Pending: the model changes before it, for all of them.
func (p *setPlanner) members(pending bool, mode UpgradeMode) {
	step := SetStep{Kind: StepMembers, State: StepDue}
	var brought []*Member
	var shielded, off []string
	for i := range p.set.Members {
		m := &p.set.Members[i]
		switch {
		case !m.stale() && !pending || m.Vanished:
		case !m.runs():
			off = append(off, m.Name)
		case m.ProtectSetActions:
			shielded = append(shielded, m.Name)
		default:
			brought, step.Members = append(brought, m), append(step.Members, m.Name)
		}
	}
	slices.Sort(step.Members)
	if len(shielded) > 0 {
		p.note("protected from scale set actions, and left on an older model: %s", names(shielded))
	}
	if len(off) > 0 {
		p.note("not running, and left on an older model: %s", names(off))
	}
	if len(brought) == 0 {
		return
	}
	switch along, target := p.along(brought); {
	case mode != Manual && (pending || p.set.Rolling.Active()):
		step.State, step.Why = StepLater, "in mode "+string(mode)+" the platform brings them"
	case mode != Manual:
		step.State, step.Cause, step.Why = StepBlocked, StopPlatform, p.idle(mode)
	case len(along) > 0 && !p.options.WithImage:
		step.State, step.Cause = StepBlocked, StopAlong
		step.Why = "it brings " + target.text() + " along to " + names(along) + ": that is for a rollout to do, or for --with-image"
	case len(along) > 0:
		step.Override = "it brings " + target.text() + " along to " + names(along)
	}
	p.add(step)
}

// idle says why the platform brings no member to the model at this time.
func (p *setPlanner) idle(mode UpgradeMode) string {
	why := "in mode " + string(mode) + " the platform brings them, and is not at it"
	if u := p.set.Rolling; u != nil && u.Code != "Completed" {
		why += ": its last rolling upgrade is " + u.Code + because(u.ErrorCode)
	}
	return why + "; the next change of the model begins another one"
}
