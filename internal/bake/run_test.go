package bake_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A bake ends with a version that is proven and excluded, and leaves nothing else.
func TestRun(t *testing.T) {
	w := newWorld(t, setup{})
	c := w.newCall("a", "1.8.{n}", "one")
	result, err := c.Run(t.Context())
	require.NoError(t, err, c.told)
	require.Equal(t, bake.Proven, result.Outcome)
	require.Equal(t, "1.8.0", result.Version)
	require.Equal(t, fleet.BootPassed, result.Verdict.Outcome)
	require.Equal(t, c.Content.Hash, w.tags("1.8.0")[fleet.TagContent])
}
