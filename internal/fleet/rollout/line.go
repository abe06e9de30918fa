package rollout

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Line says an event in words, in one line without its time. It is empty for an event
// that people need not see. What Azure, a node or an operator said is in it as it came:
// whoever shows the line makes it safe.
func Line(p *Plan, e *Event) string {
	switch e.Kind {
	case Planned:
		return fmt.Sprintf("planned: %s to %s in %s", p.Version, count(len(p.Sets), "scale set"), count(len(p.Waves), "wave"))
	case Began:
		if e.Action.Do.reads() {
			return ""
		}
		return e.Action.Line()
	case Ended:
		return endLine(e.Action, e.Result)
	case Requested:
		return requestLine(e.Request)
	case Observed:
		if len(e.Members) == 0 {
			return ""
		}
		return "could not read " + names(e.Members)
	case PhaseTo:
		why := e.Why
		if e.Phase == Returning || e.Phase == Demoting {
			why = "" // that of the halt
		}
		return because("rollout "+string(e.Phase), why)
	case WaveTo:
		return because("wave "+p.wave(e.Wave)+" "+string(e.Step), e.Why)
	case BatchTo:
		return batchLine(p, e)
	case Blocked:
		switch e.Class {
		case "":
			return "goes on"
		case ByOperator:
			return "" // the request says it
		default:
		}
		return because("paused, "+string(e.Class), e.Why)
	case Given:
		return because("gave up to "+Verb(e.Name).words()+of(e.Set, e.Member), e.Why)
	case ModelSeen:
		return fmt.Sprintf("the model of %s asks for %s, which the operator accepted", e.Set, orLatest(e.Version))
	case PolicySet:
		return "the upgrade policy of " + e.Set + " is what it was"
	default:
		return memberLine(p, e)
	}
}

func memberLine(p *Plan, e *Event) string {
	name := memberName(e.Set, e.Member)
	switch e.Kind {
	case Touched:
		return because(name+" runs "+p.Version, e.Why)
	case Well:
		return name + " is Healthy"
	case Ill:
		return name + " is not Healthy"
	case Verified:
		return name + " is verified"
	case Failing:
		return because(name+" failed", e.Why)
	case Departed:
		return because(name+" left", e.Why)
	case Returned:
		return name + " runs " + e.Version + " again"
	default:
		return ""
	}
}

func endLine(a *Action, r *Result) string {
	switch {
	case r.Outcome == Done && a.Do == QueryGate:
		return because("gate "+a.Name+": "+r.Answer, r.Text)
	case r.Outcome == Done && a.Do.reads():
		return because("the agent of "+memberName(a.Set, names(a.Members))+" says", r.Answer)
	case r.Outcome == Underway:
		return ""
	}
	return because(string(r.Outcome)+": "+a.Line(), r.Text)
}

func requestLine(r *Request) string {
	text := map[Order]string{Approve: "approved wave " + r.Wave, Pause: "paused", Resume: "resumed", Abort: "aborted"}[r.Do]
	if r.Do == Abort && r.Keep {
		text += ", members stay as they are,"
	}
	return cmp.Or(text, string(r.Do)) + " by " + who(r)
}

func batchLine(p *Plan, e *Event) string {
	if e.Step != Picked {
		return because(e.Set+": batch "+strings.ReplaceAll(strings.TrimPrefix(string(e.Step), "batch-"), "-", " "), e.Why)
	}
	way := "to"
	if e.Version != p.Version {
		way = "back to"
	}
	return fmt.Sprintf("%s: batch %s %s: %s", e.Set, way, e.Version, names(e.Members))
}

// Line says what an action does, in words.
func (a *Action) Line() string {
	member := names(a.Members)
	text := a.Do.words()
	switch a.Do {
	case PatchModel:
		text += " of " + a.Set + " to " + orLatest(a.Version)
		if a.Mode != "" {
			text += ", mode " + string(a.Mode)
		}
		if a.AutoOS != nil {
			text += ", automatic OS upgrade " + map[bool]string{true: "on", false: "off"}[*a.AutoOS]
		}
		return text
	case ManualUpgrade:
		return text + of(a.Set, member) + " to " + a.Version
	case QueryGate, Notify:
		return text + " " + a.Name
	case Replicate:
		return text + " to " + a.Region
	case Include, Exclude:
		if a.Region != "" {
			return text + " in " + a.Region
		}
		return text
	default:
		return text + of(a.Set, member)
	}
}

// words says a verb as people do.
func (v Verb) words() string {
	switch v {
	case PatchModel:
		return "point the model"
	case ManualUpgrade:
		return "upgrade"
	case CancelRolling:
		return "cancel the rolling upgrade"
	case SuspendRepairs:
		return "suspend the automatic repairs"
	case ResumeRepairs:
		return "resume the automatic repairs"
	case AskAgent, Diagnose:
		return "ask the agent"
	case QueryGate:
		return "ask gate"
	case Replicate:
		return "replicate the version"
	case Include:
		return "include the version in latest"
	case Exclude:
		return "exclude the version from latest"
	case TagFailed:
		return "tag the version failed"
	case TagGood:
		return "tag the version good"
	case Notify:
		return "tell the webhook:"
	default:
		return string(v)
	}
}

func of(set, member string) string {
	switch {
	case set == "":
		return ""
	case member == "":
		return " of " + set
	}
	return " " + memberName(set, member)
}

// memberName names a member. Most members have the name of their set in their own.
func memberName(set, member string) string {
	if strings.HasPrefix(member, set+"_") {
		return member
	}
	return set + "/" + member
}

func because(text, why string) string {
	if why == "" {
		return text
	}
	return text + ": " + why
}

// names lists names; of many it counts the rest.
func names(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// wave is the name of a wave, or its number where the plan has none.
func (p *Plan) wave(i int) string {
	if i >= 0 && i < len(p.Waves) {
		return p.Waves[i].Name
	}
	return strconv.Itoa(i + 1)
}
