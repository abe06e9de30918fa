package drain

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOldJournalsAreRead: of a journal of agent 0.1 that was cut after any of its
// entries, or in the middle of one, nothing is lost that was whole.
func TestOldJournalsAreRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/journals-0.1/*.journal")
	require.NoError(t, err)
	require.Len(t, files, 12)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		lines := slices.Collect(bytes.Lines(data))
		var states []State
		for k := range len(lines) + 1 {
			j := openOld(t, bytes.Join(lines[:k], nil), "boot-1")
			require.NoError(t, j.Degraded(), file)
			require.Zero(t, j.Skipped(), file)
			states = append(states, j.State())
			require.NoError(t, j.Append(Entry{Kind: BootSeen}), "and it goes on")
			require.NoError(t, j.Close())
		}
		for k, line := range lines { // a torn line is what a loss of power leaves
			torn := slices.Concat(bytes.Join(lines[:k], nil), line[:len(line)/2])
			j := openOld(t, torn, "boot-1")
			require.Equal(t, states[k], j.State(), "%s, torn in entry %d", file, k+1)
			require.NoError(t, j.Close())
		}
	}
}

func openOld(t *testing.T, data []byte, boot string) *Journal {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "journal"), data, 0o600))
	j, err := OpenJournal(JournalConfig{Dir: dir, BootID: boot})
	require.NoError(t, err)
	return j
}

// TestOldUnitsAreStartedAgain: what a drain of agent 0.1 stopped is started by the
// undrain of a newer one, whose plan no longer has it.
func TestOldUnitsAreStartedAgain(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/journals-0.1/units.journal")
	require.NoError(t, err)
	lines := slices.Collect(bytes.Lines(data))
	for k := 3; k <= len(lines); k++ {
		var want []string
		if k >= 6 {
			want = append(want, "db.service")
		}
		if k >= 4 {
			want = append(want, "fleet-serving.target")
		}
		plan, err := NewPlan(nil)
		require.NoError(t, err)
		j := openOld(t, bytes.Join(lines[:k], nil), "boot-1")
		units, cordoned := &fakeUnits{}, false
		r, err := New(Config{
			Plan: plan, Journal: j, Units: units,
			Cordon: func(_ context.Context, flag *Flag) error { cordoned = flag != nil; return nil },
		})
		require.NoError(t, err)
		if j.State().Drain.Finished() {
			_, resumed, err := r.Resume(t.Context())
			require.NoError(t, err)
			require.True(t, resumed)
			require.True(t, cordoned)
		}
		require.NoError(t, r.Undrain(t.Context(), "test", "gone"))
		require.Equal(t, want, units.started(), "after entry %d", k)
		require.False(t, cordoned)
		require.Nil(t, j.State().Drain)
		require.NoError(t, j.Close())
	}
}
