package bake_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A bake ends with a version that is proven and excluded, and leaves nothing else.
func TestRun(t *testing.T) {
	w := newWorld(t, setup{answers: true})
	c := w.newCall("a", "1.8.{n}", "one")
	result, err := c.Run(t.Context())
	require.NoError(t, err, c.told)
	require.Equal(t, bake.Proven, result.Outcome)
	require.Equal(t, "1.8.0", result.Version)
	require.Equal(t, fleet.BootPassed, result.Verdict.Outcome)
	require.Equal(t, c.Content.Hash, w.tags("1.8.0")[fleet.TagContent])

	report := w.judge.Report()
	require.Equal(t, map[string]int{"PUT": 2, "PATCH": 2}, map[string]int{"PUT": w.count("PUT "), "PATCH": w.count("PATCH ")})
	require.Equal(t, w.count("PUT "), report.Judged["PUT bodies"], "each body was judged")
	require.Equal(t, w.count("PATCH "), report.Judged["PATCH bodies"], "each body was judged")
}

// A machine whose clock is wrong leaves nothing behind that is well, and takes nothing
// for new that hangs: what counts is Azure's clock.
func TestWrongClock(t *testing.T) {
	for _, wrong := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
		w := newWorld(t, setup{builds: "  - {fails: stuck-creating, count: 1}\n"})
		c := w.newCall("a", "1.8.{n}", "one")
		c.Now = func() time.Time { return w.clock.Now().Add(wrong) }
		result, err := c.Run(t.Context())
		require.NoError(t, err, c.told)
		require.Equal(t, "1.8.1", result.Version)
		require.Less(t, w.clock.Now().Sub(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)), 30*time.Minute)
		at, err := time.Parse(time.RFC3339, w.tags("1.8.1")[fleet.TagBooted].(string))
		require.NoError(t, err)
		require.WithinDuration(t, w.clock.Now(), at, 10*time.Minute)
	}
}
