package roll

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
)

// A journal takes what the end of a wave of ten full scale sets says, and of a halt that
// could take nobody back: a rollout whose next entry is refused could not go on.
func TestLargestEntries(t *testing.T) {
	t.Parallel()
	place, err := journal.At(t.TempDir(), nil, nil)
	require.NoError(t, err)
	j, err := place.Journal("1")
	require.NoError(t, err)
	lock, err := j.Acquire(t.Context(), journal.Owner{Name: "ada"})
	require.NoError(t, err)
	defer func() { require.NoError(t, lock.Release(t.Context())) }()

	done := rollout.Event{Format: rollout.Format, Kind: rollout.WaveTo, Step: rollout.WaveDone}
	halted := rollout.Event{Format: rollout.Format, Kind: rollout.PhaseTo, Phase: rollout.Incomplete}
	for set := range 10 {
		for member := range 1000 {
			name := fmt.Sprintf("vmss-authz-%d", set)
			done.Members = append(done.Members, fmt.Sprintf("%s/%s_%08x", name, name, member))
			halted.Left = append(halted.Left, rollout.Left{Set: name, Member: fmt.Sprintf("%s_%08x", name, member), Why: "it could not be taken back in time"})
		}
	}
	l := &ledger{journal: lock, tell: func(Event) {}}
	plan := rollout.Plan{Waves: []rollout.Wave{{Name: "all"}}}
	require.NoError(t, l.append(t.Context(), rollout.Begin(plan, time.Now())))
	require.NoError(t, l.append(t.Context(), done))
	require.NoError(t, l.append(t.Context(), halted))
	require.Len(t, l.state.Left, 10_000)
}
