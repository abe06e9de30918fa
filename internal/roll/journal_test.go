package roll_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
)

// Two runners at once on one journal: one works, and the other is told who does. It can
// look, and ask.
func TestTwoRunners(t *testing.T) {
	w := newWorld(t, setup{})
	place, err := journal.At(t.TempDir(), nil, nil)
	require.NoError(t, err)
	shared, err := place.Journal("1")
	require.NoError(t, err)
	lock, err := shared.Acquire(t.Context(), journal.Owner{Name: "ada", Host: "ops-1", PID: 7})
	require.NoError(t, err)

	first := w.runner()
	first.Journal = lock
	_, refusals, err := first.Start(t.Context(), version, rollout.Options{})
	require.NoError(t, err)
	require.Empty(t, refusals)
	_, err = first.Advance(t.Context())
	require.NoError(t, err)

	_, err = shared.Acquire(t.Context(), journal.Owner{Name: "bob"})
	var held *journal.HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, "ada", held.Name)
	second := w.runner()
	second.Journal = shared
	s, err := second.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Rolling, s.State.Phase)
	text, err := json.Marshal(rollout.Request{Do: rollout.Abort, By: "bob", Why: "not today"})
	require.NoError(t, err)
	name, err := shared.Ask(t.Context(), text)
	require.NoError(t, err)
	s, err = second.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, name, s.Asked[0].ID)
	writes := w.writes()
	_, err = second.Advance(t.Context())
	require.Error(t, err, "it has no lock")
	require.Equal(t, writes, w.writes())

	s, err = first.Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.ByOperator, s.State.Class, first.log())
	require.Contains(t, s.State.Why, "bob: not today")
	require.Empty(t, s.Asked)
	require.NoError(t, lock.Release(t.Context()))

	// Who comes next goes on from the files.
	lock, err = shared.Acquire(t.Context(), journal.Owner{Name: "bob"})
	require.NoError(t, err)
	third := w.runner()
	third.Journal = lock
	s, err = third.Run(t.Context())
	require.NoError(t, err, third.log())
	require.Equal(t, rollout.Aborted, s.State.Phase, third.log())
	require.Equal(t, 3, w.on("vmss-authz", before))
	require.NoError(t, lock.Release(t.Context()))
}
