package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A halted rollout, as people read it.
func TestLines(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	a.Image = neverWell
	r := newRig(planned(a, twoWaves(), nil), a)
	r.run(time.Minute, 24*time.Hour)
	require.Empty(t, r.broken)
	var lines []string
	for i := range r.journal {
		if line := Line(&r.plan, &r.journal[i]); line != "" {
			lines = append(lines, line)
		}
	}
	require.Equal(t, strings.Split(strings.TrimSpace(haltedLines), "\n"), lines)
}

const haltedLines = `
planned: 2.0.0 to 2 scale sets in 2 waves
rollout rolling: begun
wave canary replicating
wave canary asking
wave canary batches
a: batch to 2.0.0: a_03
suspend the automatic repairs of a
done: suspend the automatic repairs of a
drain a_03
done: drain a_03
a: batch upgrading
point the model of a to 2.0.0
done: point the model of a to 2.0.0
upgrade a_03 to 2.0.0
done: upgrade a_03 to 2.0.0
a_03 runs 2.0.0: upgraded by wave canary
a_03 is not Healthy
a: batch verifying
point the model of a to 1.0.0
done: point the model of a to 1.0.0
a_03 failed: it is Unhealthy 10m0s after its upgrade
rollout halting: a_03 of a: it is Unhealthy 10m0s after its upgrade (1 of 1 on 2.0.0 failed)
a: batch given up
rollout returning
a: batch back to 1.0.0: a_03
a: batch upgrading
upgrade a_03 to 1.0.0
done: upgrade a_03 to 1.0.0
a_03 runs 1.0.0 again
a: batch verifying
a: batch done
rollout demoting
tag the version failed
done: tag the version failed
resume the automatic repairs of a
done: resume the automatic repairs of a
rollout halted: a_03 of a: it is Unhealthy 10m0s after its upgrade (1 of 1 on 2.0.0 failed)
`

// Every kind and every verb has words of its own.
func TestEveryEventHasALine(t *testing.T) {
	p := &Plan{Version: "2.0.0", Waves: []Wave{{Name: "canary"}}}
	for _, kind := range kinds {
		e := Event{Kind: kind, Set: "a", Member: "a_1", Name: string(Undrain), Version: "1.0.0", Members: []string{"a"}, Class: Bad, Action: &Action{Do: Drain, Set: "a", Members: []string{"a_1"}}, Result: &Result{Outcome: Lost}, Request: &Request{Do: Abort}}
		line := Line(p, &e)
		require.Equal(t, kind == Settled, line == "", "%s: %q", kind, line)
		require.NotContains(t, line, "  ", kind)
	}
	for line, a := range map[string]Action{
		"point the model of a to 2.0.0":                       {Do: PatchModel, Set: "a", Version: "2.0.0"},
		"point the model of a to the latest":                  {Do: PatchModel, Set: "a"},
		"upgrade a_1, a_2 to 2.0.0":                           {Do: ManualUpgrade, Set: "a", Members: []string{"a_1", "a_2"}, Version: "2.0.0"},
		"upgrade a_1, a_2, a_3, a_4, a_5 and 2 more to 2.0.0": {Do: ManualUpgrade, Set: "a", Members: []string{"a_1", "a_2", "a_3", "a_4", "a_5", "a_6", "a_7"}, Version: "2.0.0"},
		"suspend the automatic repairs of a":                  {Do: SuspendRepairs, Set: "a"},
		"drain a_1":                                           {Do: Drain, Set: "a", Members: []string{"a_1"}},
		"undrain b/a_1":                                       {Do: Undrain, Set: "b", Members: []string{"a_1"}},
		"replicate the version to westus3":                    {Do: Replicate, Region: "westus3"},
		"exclude the version from latest":                     {Do: Exclude},
		"include the version in latest in eastus":             {Do: Include, Region: "eastus"},
		"ask gate errors":                                     {Do: QueryGate, Name: "errors"},
	} {
		require.Equal(t, line, a.Line())
	}
	require.Equal(t, "approved wave west by kim: looks good", Line(p, &Event{Kind: Requested, Request: &Request{Do: Approve, Wave: "west", By: "kim", Why: "looks good"}}))
	require.Equal(t, "gate errors: fail: 0.2 is above 0.01", Line(p, &Event{Kind: Ended, Action: &Action{Do: QueryGate, Name: "errors"}, Result: &Result{Outcome: Done, Answer: "fail", Text: "0.2 is above 0.01"}}))
}
