package roll_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// plan plans a rollout, and returns a member of vmss-authz.
func (w *world) plan(c *run) (rollout.Plan, string) {
	w.t.Helper()
	plan, refusals, err := c.Plan(w.t.Context(), version, rollout.Options{})
	require.NoError(w.t, err)
	require.Empty(w.t, refusals)
	for name := range w.members("vmss-authz") {
		return plan, name
	}
	w.t.Fatal("no member")
	return plan, ""
}

// What a node answers to Run Command, and what that comes to.
func TestNodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do            rollout.Verb
		stdout, fails string
		want          rollout.Outcome
		answer, text  string
	}{
		"drained":             {do: rollout.Drain, stdout: `drained\nfleetctl: exit 0\n`, want: rollout.Done, text: "drained"},
		"drains on":           {do: rollout.Drain, stdout: `draining\nfleetctl: exit 124\n`, want: rollout.Errored, text: "goes on"},
		"does not drain":      {do: rollout.Drain, stdout: `the plan is refused\nfleetctl: exit 1\n`, want: rollout.Errored, text: "the plan is refused"},
		"no agent":            {do: rollout.Drain, stdout: `\nfleetctl: exit 127\n`, want: rollout.Denied, text: "no fleet-agent"},
		"the end is not told": {do: rollout.Drain, stdout: `draining\n`, want: rollout.Errored, text: "does not say how the script ended"},
		"undrained":           {do: rollout.Undrain, stdout: `undrained\nfleetctl: exit 0\n`, want: rollout.Done},
		"not undrained":       {do: rollout.Undrain, stdout: `an event is coming\nfleetctl: exit 1\n`, want: rollout.Errored, text: "an event is coming"},
		"serves":              {do: rollout.AskAgent, stdout: `serving\nfleetctl: exit 0\n`, want: rollout.Done, answer: rollout.Serving},
		"degraded":            {do: rollout.AskAgent, stdout: `degraded\nfleetctl: exit 2\n`, want: rollout.Done, answer: rollout.Serving},
		"drains":              {do: rollout.AskAgent, stdout: `draining since 14:00\nfleetctl: exit 3\n`, want: rollout.Done, answer: "not serving", text: "draining since"},
		"unreachable":         {do: rollout.AskAgent, stdout: `no socket\nfleetctl: exit 4\n`, want: rollout.Done, answer: "no agent answers"},
		"odd":                 {do: rollout.AskAgent, stdout: `usage\nfleetctl: exit 1\n`, want: rollout.Errored, text: "usage"},
		"its words":           {do: rollout.Diagnose, stdout: `unhealthy\nhsm: \x1b[31mrefused\nfleetctl: exit 3\n`, want: rollout.Done, answer: "unhealthy\nhsm: \\u001b[31mrefused"},
		"no words":            {do: rollout.Diagnose, stdout: `\nfleetctl: exit 3\n`, want: rollout.Denied, text: "diagnosis not possible"},
		"no agent for words":  {do: rollout.Diagnose, stdout: `fleetctl: exit 127\n`, want: rollout.Denied, text: "not possible"},
		"no Run Command":      {do: rollout.Diagnose, fails: "the guest agent is gone", want: rollout.Denied, text: "diagnosis not possible"},
	} {
		t.Run(name, func(t *testing.T) {
			rule := `  - {set: vmss-authz, stdout: "` + c.stdout + "\"}\n"
			if c.fails != "" {
				rule = `  - {set: vmss-authz, fails: "` + c.fails + "\"}\n"
			}
			w := newWorld(t, setup{commands: rule})
			r := w.runner()
			plan, member := w.plan(r)
			got := r.Perform(t.Context(), plan, rollout.Action{Do: c.do, Set: "vmss-authz", Members: []string{member}})
			require.Equal(t, c.want, got.Outcome, got.Text)
			require.Equal(t, c.answer, got.Answer)
			require.Contains(t, got.Text, c.text)
		})
	}
}

// The writes of a rollout are the smallest that do it.
func TestWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	r := w.runner()
	plan, member := w.plan(r)
	set, err := w.reader.ScaleSet(t.Context(), plan.Sets["vmss-authz"].ID)
	require.NoError(t, err)
	perform := func(a rollout.Action) rollout.Result {
		a.Set = "vmss-authz"
		return r.Perform(t.Context(), plan, a)
	}

	require.Equal(t, rollout.Changed, perform(rollout.Action{Do: rollout.PatchModel, Version: version, IfMatch: `"odd"`}).Outcome)
	require.Equal(t, before, w.model("vmss-authz"))
	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.PatchModel, Version: version, IfMatch: set.ETag}).Outcome)
	require.Equal(t, version, w.model("vmss-authz"))
	require.Equal(t, rollout.Changed, perform(rollout.Action{Do: rollout.PatchModel, Version: before, IfMatch: set.ETag}).Outcome, "another one wrote meanwhile")

	for _, odd := range [][]string{nil, {"*"}, {""}} {
		require.Equal(t, rollout.Errored, perform(rollout.Action{Do: rollout.ManualUpgrade, Members: odd}).Outcome)
	}
	require.Zero(t, w.count("/manualupgrade"))
	require.Equal(t, rollout.Underway, perform(rollout.Action{Do: rollout.ManualUpgrade, Members: []string{member}}).Outcome)
	require.Equal(t, 1, w.count("/manualupgrade", `{"instanceIds":["`+member+`"]}`))
	require.Equal(t, rollout.Errored, perform(rollout.Action{Do: rollout.ManualUpgrade, Members: []string{"gone"}}).Outcome)

	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.CancelRolling}).Outcome, "there is none")
	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.SuspendRepairs}).Outcome)
	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.ResumeRepairs}).Outcome)
	w.patch(sets+"/vmss-authz", map[string]any{"properties": map[string]any{"automaticRepairsPolicy": map[string]any{"enabled": false}}})
	w.server.Advance(showing)
	require.Equal(t, rollout.Denied, perform(rollout.Action{Do: rollout.SuspendRepairs}).Outcome)
	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.ResumeRepairs}).Outcome)

	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.TagFailed, Why: "it is\nUnhealthy"}).Outcome)
	w.server.Advance(showing)
	require.Equal(t, "it is Unhealthy", w.image().Tags[fleet.TagFailed])
	require.Equal(t, rollout.Denied, perform(rollout.Action{Do: rollout.Include}).Outcome, "a version that failed is never released")
	require.Equal(t, rollout.Done, perform(rollout.Action{Do: rollout.Exclude}).Outcome, "it is already")

	// An action that is stopped in the middle was lost, or goes on.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := r.Perform(ctx, plan, rollout.Action{Do: rollout.TagGood})
	require.Equal(t, rollout.Done, got.Outcome, "what was begun gets a moment")
}

// A version is copied to a region where it stays excluded.
func TestReplicate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	r := w.runner()
	plan, _ := w.plan(r)
	a := rollout.Action{Do: rollout.Replicate, Region: "West US 2"}
	require.Equal(t, rollout.Done, r.Perform(t.Context(), plan, a).Outcome)
	image := w.image()
	region := image.Region("westus2")
	require.NotNil(t, region)
	require.True(t, region.Excluded)
	require.NotEqual(t, fleet.Replicated, region.State)
	require.Len(t, image.Regions, 3)
	require.False(t, slices.ContainsFunc(w.servedNow(), func(s string) bool { return strings.HasPrefix(s, "PUT") }))
}
