package roll_test

import (
	"path"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// blast compares the blast radius that a journal tells with the simulator's own record
// of which member ran what, and both with what the plan predicted.
func (w *world) blast(events []rollout.Event, log string) {
	t := w.t
	t.Helper()
	plan, state, err := rollout.Fold(events)
	require.NoError(t, err)
	all, err := w.server.Disks()
	require.NoError(t, err)
	looked := events[len(events)-1].At // nobody knows of what came after
	key := func(set, member string) string { return path.Base(set) + "/" + member }
	var disks []arm.Disk
	really := make(map[string]bool)
	for _, d := range all {
		if d.Version == plan.Version && !d.Ran.IsZero() && !d.Ran.After(looked) {
			disks = append(disks, d)
			really[key(d.Set, d.Member)] = true
		}
	}
	told := make(map[string]bool)
	for _, row := range rollout.Accounting(state) {
		if told[key(row.Set, row.Member)] = true; row.Unseen {
			continue
		}
		require.True(t, slices.ContainsFunc(disks, func(d arm.Disk) bool {
			here := key(d.Set, d.Member) == key(row.Set, row.Member) && !d.Ran.After(row.From) && (d.Until.IsZero() || row.From.Before(d.Until))
			return here && (!state.Phase.Over() || row.To.IsZero() == (d.Until.IsZero() || d.Until.After(looked)))
		}), "%v\nis none of %v\n%s", row, disks, log)
	}
	if state.Phase.Over() {
		require.Equal(t, really, told, log)
	}

	// At no moment have more members run the version than the plan said for the wave.
	began := make([]time.Time, len(plan.Waves))
	for i := range events {
		if e := &events[i]; e.Kind == rollout.WaveTo && began[e.Wave].IsZero() {
			began[e.Wave] = e.At
		}
	}
	for _, at := range disks { // the number grows when one begins to run
		wave := 0
		for i, b := range began {
			if !b.IsZero() && !at.Ran.Before(b) {
				wave = i
			}
		}
		n := 0
		for _, d := range disks {
			if !d.Ran.After(at.Ran) && (d.Until.IsZero() || d.Until.After(at.Ran)) {
				n++
			}
		}
		require.LessOrEqualf(t, n, plan.Exposure[wave].Worst, "wave %d at %s\n%s", wave, at.Ran, log)
	}
}
