package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// rolloutLine is an entry of a journal as one line for people. It is not ok for an entry
// that says nothing to them.
func rolloutLine(plan *rollout.Plan, e *rollout.Event) (line string, ok bool) {
	switch e.Kind {
	case rollout.Planned:
		line = fmt.Sprintf("planned: %s to %s in %s", plan.Version, cli.Plural(len(plan.Sets), "scale set"), cli.Plural(len(plan.Waves), "wave"))
	case rollout.Began:
		line = beganLine(plan, e.Action)
	case rollout.Ended:
		line = endedLine(e.Action, e.Result)
	case rollout.Requested:
		line = requestLine(e.Request)
	case rollout.PhaseTo:
		line = "the rollout is " + withWhy(string(e.Phase), e.Why)
	case rollout.WaveTo:
		if e.Wave < len(plan.Waves) {
			line = "wave " + plan.Waves[e.Wave].Name + ": " + withWhy(stepText(e.Step), e.Why)
		}
	case rollout.BatchTo:
		line = batchLine(plan, e)
	case rollout.Touched:
		line = fmt.Sprintf("%s of %s runs %s: %s", e.Member, e.Set, plan.Version, e.Why)
		if e.Version == "" {
			line = fmt.Sprintf("%s of %s may have run %s: %s", e.Member, e.Set, plan.Version, e.Why)
		}
	case rollout.Verified:
		line = fmt.Sprintf("%s of %s is verified", e.Member, e.Set)
	case rollout.Failing:
		line = fmt.Sprintf("%s of %s has FAILED: %s", e.Member, e.Set, e.Why)
	case rollout.Departed:
		line = fmt.Sprintf("%s of %s is not there any more: %s", e.Member, e.Set, cmp.Or(e.Why, "nobody says why"))
	case rollout.Returned:
		line = fmt.Sprintf("%s of %s runs %s", e.Member, e.Set, e.Version)
	case rollout.ModelSeen:
		line = fmt.Sprintf("the model of %s is accepted as it is: it asks for %s", e.Set, cmp.Or(e.Version, "the latest"))
	case rollout.PolicySet:
		line = fmt.Sprintf("the upgrade policy of %s is what it was", e.Set)
	case rollout.Blocked:
		line = "it goes on"
		if e.Class != "" {
			line = fmt.Sprintf("it stands still (%s): %s", e.Class, e.Why)
		}
	case rollout.Given:
		line = fmt.Sprintf("given up: %s: %s", strings.Trim(e.Set+"/"+e.Member, "/"), e.Why)
	case rollout.Observed, rollout.Settled, rollout.Well, rollout.Ill:
	}
	return line, line != ""
}

// beganLine says what is being done. What only asks says nothing.
func beganLine(plan *rollout.Plan, a *rollout.Action) string {
	members := andMore(a.Members, shownNames)
	switch a.Do {
	case rollout.PatchModel:
		text := fmt.Sprintf("the model of %s is pointed at %s", a.Set, cmp.Or(a.Version, "the latest"))
		if a.Mode != "" {
			text += ", its upgrade mode set to " + string(a.Mode)
		}
		return text
	case rollout.ManualUpgrade:
		return fmt.Sprintf("upgrade of %s of %s to %s", members, a.Set, a.Version)
	case rollout.CancelRolling:
		return "the rolling upgrade of " + a.Set + " is cancelled"
	case rollout.SuspendRepairs:
		return "the automatic repairs of " + a.Set + " are suspended"
	case rollout.ResumeRepairs:
		return "the automatic repairs of " + a.Set + " are resumed"
	case rollout.Drain:
		return fmt.Sprintf("%s of %s is drained", members, a.Set)
	case rollout.Undrain:
		return fmt.Sprintf("%s of %s is undrained", members, a.Set)
	case rollout.Replicate:
		return plan.Version + " is replicated to " + a.Region
	case rollout.Include:
		return plan.Version + " is made available " + where(a.Region)
	case rollout.Exclude:
		return plan.Version + " is excluded " + where(a.Region)
	case rollout.TagFailed:
		return plan.Version + " is marked failed"
	case rollout.TagGood:
		return plan.Version + " is marked good"
	case rollout.AskAgent, rollout.Diagnose, rollout.QueryGate, rollout.Notify:
	}
	return ""
}

func where(region string) string {
	if region == "" {
		return "everywhere"
	}
	return "in " + region
}

// endedLine says what became of an action, where that is not what was to be expected.
func endedLine(a *rollout.Action, r *rollout.Result) string {
	what := strings.Join(append([]string{string(a.Do)}, nonEmpty(a.Set, andMore(a.Members, shownNames), a.Region, a.Name)...), " ")
	switch {
	case r.Outcome == rollout.Done && a.Do == rollout.Diagnose:
		return fmt.Sprintf("%s of %s says: %s", andMore(a.Members, 1), a.Set, r.Answer)
	case r.Outcome == rollout.Done && a.Do == rollout.QueryGate && r.Answer != string(rollout.Pass):
		return fmt.Sprintf("gate %s: %s: %s", a.Name, r.Answer, r.Text)
	case r.Outcome == rollout.Done, r.Outcome == rollout.Underway:
		return ""
	case r.Outcome == rollout.Lost:
		return withWhy(what+" got no answer", r.Text)
	}
	return withWhy(fmt.Sprintf("%s did not happen (%s)", what, r.Outcome), r.Text)
}

func nonEmpty(texts ...string) []string {
	var list []string
	for _, text := range texts {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}

func requestLine(r *rollout.Request) string {
	text := fmt.Sprintf("%s asks to %s", cmp.Or(r.By, "an operator"), r.Do)
	if r.Do == rollout.Approve {
		text += " wave " + r.Wave
	}
	if r.Keep {
		text += ", members stay as they are"
	}
	return withWhy(text, r.Why)
}

func batchLine(plan *rollout.Plan, e *rollout.Event) string {
	switch e.Step {
	case rollout.Picked:
		how := "a batch"
		if e.Version != plan.Version {
			how = "on their way back to " + e.Version
		}
		return fmt.Sprintf("%s: %s: %s", e.Set, how, andMore(e.Members, shownNames))
	case rollout.GivenUp:
		return withWhy(e.Set+": the batch is given up", e.Why)
	case rollout.BatchDone:
		return e.Set + ": the batch is done"
	case rollout.Upgrading, rollout.Verifying:
		return fmt.Sprintf("%s: the batch is %s", e.Set, e.Step)
	default:
	}
	return ""
}

// stepText is a step of a wave for people.
func stepText(s rollout.Step) string {
	switch s {
	case "":
		return "not begun"
	case rollout.Asking:
		return "may it begin?"
	case rollout.Batches:
		return "in batches"
	default:
	}
	return string(s)
}

// withWhy is a text with its reason, if there is one.
func withWhy(text, why string) string {
	if why == "" {
		return text
	}
	return text + ": " + why
}
