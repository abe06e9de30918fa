package roll_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// What is no request does not hide the one that comes after it, and is told in one line.
func TestRequestAmongLitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rollout: twoWaves})
	c := w.start()
	for n := range 1000 {
		w.journal.ask(fmt.Sprintf("a%04d", n), `{"do":"dance"}`)
	}
	for n := range 150 {
		w.journal.ask(fmt.Sprintf("b%04d", n), `{"do":"approve","wave":"none"}`)
	}
	w.journal.ask("c", `{"do":"abort"}`)
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, s.Asked, 100, "the newest")
	require.Equal(t, rollout.Abort, s.Asked[99].Do)
	require.Equal(t, 1, strings.Count(c.log(), "1000 requests are not understood, a0000 and others, and are left where they are"), c.log())
	s, err = c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Aborted, s.State.Phase)
}
