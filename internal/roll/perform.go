package roll

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/node"
	"github.com/fleet-agent/fleet-agent/internal/release"
)

// A doing is how an action of some verb is carried out.
type doing struct {
	do     func(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result
	within time.Duration // its bound
	aside  bool          // it may go on beside others: it asks nodes or others, not the control plane
}

var verbs = map[rollout.Verb]doing{
	rollout.PatchModel:     {do: patchModel, within: 3 * time.Minute},
	rollout.ManualUpgrade:  {do: manualUpgrade, within: time.Minute},
	rollout.CancelRolling:  {do: cancelRolling, within: time.Minute},
	rollout.SuspendRepairs: {do: repairs("Suspend"), within: 2 * time.Minute},
	rollout.ResumeRepairs:  {do: repairs("Resume"), within: 2 * time.Minute},
	rollout.Drain:          {do: drain, within: node.DrainWithin + node.CommandTakes, aside: true},
	rollout.Undrain:        {do: undrain, within: node.Within, aside: true},
	rollout.AskAgent:       {do: askAgent, within: node.Within, aside: true},
	rollout.Diagnose:       {do: diagnose, within: node.Within, aside: true},
	rollout.QueryGate:      {do: queryGate, within: gateWithin, aside: true},
	rollout.Replicate:      {do: edit(replication), within: editWithin},
	rollout.Include:        {do: edit(inclusion), within: editWithin},
	rollout.Exclude:        {do: edit(exclusion), within: editWithin},
	rollout.TagFailed:      {do: edit(failed), within: editWithin},
	rollout.TagGood:        {do: edit(good), within: editWithin},
	rollout.Notify:         {do: notify, within: notifyWithin, aside: true},
}

// editWithin bounds a write of the version. It is not waited for: the next observation
// shows it.
const editWithin = 3 * time.Minute

// patchModel writes the smallest body that says what is to change, and waits a moment
// for the end, unless the platform's rolling upgrade goes on until then.
func patchModel(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	image := string(p.Definition)
	if a.Version != "" {
		image += "/versions/" + a.Version
	}
	properties := fleet.Document{
		"virtualMachineProfile": fleet.Document{"storageProfile": fleet.Document{"imageReference": fleet.Document{"id": image}}},
	}
	policy := fleet.Document{}
	if a.Mode != "" {
		policy["mode"] = string(a.Mode)
	}
	if a.AutoOS != nil {
		policy["automaticOSUpgradePolicy"] = fleet.Document{"enableAutomaticOSUpgrade": *a.AutoOS}
	}
	if len(policy) > 0 {
		properties["upgradePolicy"] = policy
	}
	lasts := p.Sets[a.Set].Driver == fleet.DriverPlatformRolling && a.Mode != fleet.Manual
	return r.send(ctx, fleet.Write{
		Method: http.MethodPatch, ID: p.Sets[a.Set].ID, Body: fleet.Document{"properties": properties}, IfMatch: a.IfMatch,
	}, !lasts)
}

// manualUpgrade brings members to the model, by their names. All members at once are
// never asked for.
func manualUpgrade(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	names := make([]any, len(a.Members))
	for i, name := range a.Members {
		if name == "" || strings.Contains(name, "*") {
			return rollout.Result{Outcome: rollout.Errored, Text: "a member has no name"}
		}
		names[i] = name
	}
	if len(names) == 0 {
		return rollout.Result{Outcome: rollout.Errored, Text: "no member is named"}
	}
	op, err := r.Azure.Send(ctx, fleet.Write{
		Method: http.MethodPost, ID: p.Sets[a.Set].ID, Action: "manualupgrade", Body: fleet.Document{"instanceIds": names},
	})
	if err != nil {
		return outcome(err)
	}
	if r.upgrades == nil {
		r.upgrades = make(map[int]*azure.Operation)
	}
	r.upgrades[a.Op] = op
	return rollout.Result{Outcome: rollout.Underway}
}

// cancelRolling cancels the platform's upgrade of a set. That there is none is what was
// wanted.
func cancelRolling(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	result := r.send(ctx, fleet.Write{Method: http.MethodPost, ID: p.Sets[a.Set].ID, Action: "rollingUpgrades/cancel"}, false)
	if result.Outcome == rollout.Changed && strings.Contains(strings.ToLower(result.Text), "no ongoing") {
		result.Outcome = rollout.Done
	}
	return result
}

// repairs suspends or resumes the automatic repairs of a set. Where there are none,
// none can be suspended, and none are.
func repairs(action string) func(context.Context, *Runner, *rollout.Plan, *rollout.Action) rollout.Result {
	return func(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
		result := r.send(ctx, fleet.Write{
			Method: http.MethodPost, ID: p.Sets[a.Set].ID, Action: "setOrchestrationServiceState",
			Body: fleet.Document{"serviceName": "AutomaticRepairs", "action": action},
		}, true)
		if result.Outcome == rollout.Changed && strings.Contains(strings.ToLower(result.Text), "not enabled") {
			result.Outcome = rollout.Denied
			if action == "Resume" {
				result.Outcome = rollout.Done
			}
		}
		return result
	}
}

// send sends a write. What Azure has accepted goes on, whatever happens here: it is
// under way, unless its end is waited for and comes in time.
func (r *Runner) send(ctx context.Context, w fleet.Write, wait bool) rollout.Result {
	op, err := r.Azure.Send(ctx, w)
	if err != nil {
		return outcome(err)
	}
	if !wait {
		return rollout.Result{Outcome: rollout.Underway}
	}
	if _, err = op.Wait(ctx); err == nil {
		return rollout.Result{Outcome: rollout.Done}
	}
	result := outcome(err)
	if result.Outcome == rollout.Lost {
		result.Outcome = rollout.Underway
	}
	return result
}

// edit changes the version as another function says.
func edit(how func(*Runner, *rollout.Plan, *rollout.Action) fleet.VersionEdit) func(context.Context, *Runner, *rollout.Plan, *rollout.Action) rollout.Result {
	return func(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
		editor := release.NewEditor(r.Azure, r.Wait, func(text string) { r.note("%s", text) })
		_, err := editor.Edit(ctx, versionID(p), how(r, p, a), true)
		return outcome(err)
	}
}

func replication(r *Runner, _ *rollout.Plan, a *rollout.Action) fleet.VersionEdit {
	g := r.Spec.Gallery
	if g == nil {
		return func(fleet.Document) (fleet.Document, error) {
			return nil, &fleet.RefusedError{Reasons: []string{"the file has no gallery any more, which tells how many replicas a region gets"}}
		}
	}
	region := fleet.NormalLocation(a.Region)
	replicas := g.Replicas
	for name, n := range g.Regions {
		if fleet.NormalLocation(name) == region {
			replicas = n
		}
	}
	return fleet.ReplicateTo(region, replicas, g.Storage)
}

// inclusion releases a version: the waves of the rollout have proven it.
func inclusion(_ *Runner, _ *rollout.Plan, a *rollout.Action) fleet.VersionEdit {
	return fleet.Promotion(regions(a), true)
}

func exclusion(_ *Runner, _ *rollout.Plan, a *rollout.Action) fleet.VersionEdit {
	return fleet.Demotion(regions(a))
}

func regions(a *rollout.Action) []string {
	if a.Region == "" {
		return nil
	}
	return []string{a.Region}
}

func failed(_ *Runner, _ *rollout.Plan, a *rollout.Action) fleet.VersionEdit {
	return fleet.Mark(map[string]string{fleet.TagFailed: fleet.TagText(a.Why)})
}

func good(r *Runner, _ *rollout.Plan, _ *rollout.Action) fleet.VersionEdit {
	return fleet.Mark(map[string]string{fleet.TagGood: r.now().UTC().Format(time.RFC3339)})
}

// outcomes say what an error of Azure comes to, by its kind.
var outcomes = map[azure.Kind]rollout.Outcome{
	azure.Failed:      rollout.Errored,
	azure.Usage:       rollout.Errored,
	azure.SignIn:      rollout.Denied,
	azure.Denied:      rollout.Denied,
	azure.NotFound:    rollout.Errored,
	azure.Conflict:    rollout.Changed,
	azure.Throttled:   rollout.Capacity,
	azure.Unreachable: rollout.Lost,
	azure.Garbled:     rollout.Lost,
}

// causesOf say what an error comes to by what it is about, whatever its kind: Azure
// tells of a quota with a conflict.
var causesOf = map[fleet.Cause]rollout.Outcome{
	fleet.CauseCapacity:  rollout.Capacity,
	fleet.CauseQuota:     rollout.Capacity,
	fleet.CauseThrottled: rollout.Capacity,
	fleet.CauseDenied:    rollout.Denied,
}

// outcome says what became of an action.
func outcome(err error) rollout.Result {
	if err == nil {
		return rollout.Result{Outcome: rollout.Done}
	}
	result := rollout.Result{Outcome: rollout.Errored, Text: line(err.Error())}
	known, ok := errors.AsType[*azure.Error](err)
	_, refused := errors.AsType[*fleet.RefusedError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded): // of the action: the time of a command is none of its matter
		result.Outcome, result.Text = rollout.Lost, "no end was seen in the time that it was given"
	case errors.Is(err, context.Canceled):
		result.Outcome = rollout.Lost
	case refused:
		result.Outcome = rollout.Denied
	case ok:
		result.Outcome = outcomes[known.Kind]
		if known.Kind == azure.Failed && azure.Unsure(err) {
			result.Outcome = rollout.Lost
		}
		failure := azure.FailureOf(err)
		if by, ok := causesOf[fleet.CauseOf(failure.Code, failure.Message)]; ok && result.Outcome != rollout.Lost {
			result.Outcome = by
		}
	}
	return result
}
