package arm

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// restarted is the world after its process has ended and another one has taken up
// its state directory.
func (w *world) restarted(dir string, stopped bool) *world {
	w.Helper()
	if stopped {
		require.NoError(w, w.server.Close())
	} else {
		require.NoError(w, w.server.state.close()) // as when the process was killed
	}
	clock := NewClock(time.Now(), 0)
	s, err := New(Config{Clock: clock, Unthrottled: true, State: dir})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, s.Close()) })
	ts := httptest.NewServer(s)
	w.Cleanup(ts.Close)
	return &world{T: w.T, server: s, clock: clock, url: ts.URL}
}

func TestStateSurvives(t *testing.T) {
	for name, closed := range map[string]bool{"stopped": true, "killed": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := withDefinition(t, func(c *Config) { c.State = dir })
			w.do("PUT", thing, `{"properties":{"n":1.50}}`).want(201)
			put := w.do("PUT", versionID("1.8.0"), versionBody).want(201)
			w.clock.Advance(5 * time.Minute)
			before := w.get(versionID("1.8.0") + "?$expand=ReplicationStatus").raw
			if !closed {
				w.do("PUT", thing, `{"properties":{"n":1.50}}`).want(200) // the last write has the time
			}

			again := w.restarted(dir, closed)
			require.Equal(t, w.clock.Now(), again.clock.Now(), "time stood still")
			require.Equal(t, before, again.get(versionID("1.8.0")+"?$expand=ReplicationStatus").raw)
			require.Contains(t, again.get(thing).want(200).raw, `"n":1.50`)
			put.header.Set("Azure-AsyncOperation", strings.Replace(put.header.Get("Azure-AsyncOperation"), w.url, again.url, 1))
			again.finished(put)
			require.Equal(t, "1.8.0", again.latestIn("westus3"))
		})
	}
}

func TestStateIsForOne(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Config{State: dir})
	require.NoError(t, err)
	_, err = New(Config{State: dir})
	require.ErrorIs(t, err, ErrStateInUse)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time does nothing")
	_, err = New(Config{State: dir, Subscription: "22222222-2222-2222-2222-222222222222"})
	require.ErrorContains(t, err, "it is of the subscription "+DefaultSubscription)
	s, err = New(Config{State: dir})
	require.NoError(t, err, "the refused one let go of it")
	require.NoError(t, s.Close())
}

func TestStateThatDoesNotRead(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"store":null}`, `{"version":1,"store":{"resources":null}}`} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(text), 0o600))
		_, err := New(Config{State: dir})
		require.ErrorContains(t, err, filepath.Join(dir, "state.json"), text)
	}
}

// TestStateFullDisk: what cannot be saved now is saved with the next change.
func TestStateFullDisk(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, func(c *Config) { c.State = dir })
	moved := dir + "-moved"
	require.NoError(t, os.Rename(dir, moved))
	w.do("PUT", thing, `{}`).want(201)
	require.True(t, w.server.dirty)
	require.NoError(t, os.Rename(moved, dir))
	w.get(thing).want(200)
	require.False(t, w.server.dirty)
	again := w.restarted(dir, false)
	again.get(thing).want(200)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "lock and state")
}
