package arm

import (
	"errors"
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
	half := filepath.Join(dir, "state.1.tmp")
	require.NoError(t, os.WriteFile(half, []byte("{"), 0o600))
	s, err := New(Config{State: dir})
	require.NoError(t, err)
	require.NoFileExists(t, half, "a process that was killed has left it")
	require.NoError(t, os.WriteFile(half, []byte("{"), 0o600))
	_, err = New(Config{State: dir})
	require.ErrorIs(t, err, ErrStateInUse)
	require.FileExists(t, half, "the other one may be writing it")
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

// TestStateFullDisk: a write that is not saved is not answered as if it were. What
// cannot be saved now is saved with the next request.
func TestStateFullDisk(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, func(c *Config) { c.State = dir })
	moved := dir + "-moved"
	require.NoError(t, os.Rename(dir, moved))
	require.Contains(t, w.do("PUT", thing, `{}`).want(500).raw, "fleetsim failed: write the state")
	require.True(t, w.server.dirty)
	w.get(thing).want(200)
	require.NoError(t, os.Rename(moved, dir))
	w.get(thing).want(200)
	require.False(t, w.server.dirty)
	again := w.restarted(dir, false)
	again.get(thing).want(200)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "lock and state")
}

// TestStateNotSavedAtTheEnd: the last words of a simulation are that it is lost.
func TestStateNotSavedAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Config{State: dir})
	require.NoError(t, err)
	require.NoError(t, os.Rename(dir, dir+"-moved"))
	require.ErrorContains(t, s.Close(), "write the state")
	again, err := New(Config{State: dir + "-moved"})
	require.NoError(t, err, "it let go of the directory")
	require.NoError(t, again.Close())
}

// TestStateHasNothingHalfDone: what a failed write has changed before it failed is not
// saved with what happened by itself.
func TestStateHasNothingHalfDone(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, func(c *Config) { c.State = dir })
	w.server.dirty = true // something has happened by itself
	failure := errors.New("half done")
	err := w.server.within(func(tx *txn) error {
		tx.put(resource{ID: thing, Type: "Foo.Bar/things", Body: object{}})
		return failure
	})
	require.ErrorIs(t, err, failure)
	w.restarted(dir, false).get(thing).want(404)
}

// TestStateOfOddRequests: whatever a request may bring can be read again.
func TestStateOfOddRequests(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, func(c *Config) { c.State = dir })
	nested := func(depth int) string {
		return `{"properties":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
	}
	w.do("PUT", thing, nested(maxDepth)).want(201)
	require.Contains(t, w.do("PUT", thing, nested(maxDepth+1)).want(400).raw, "InvalidRequestContent")
	require.Contains(t, w.do("PUT", thing, nested(9999)).want(400).raw, "InvalidRequestContent")
	control := httptest.NewRecorder()
	w.server.Control().ServeHTTP(control, httptest.NewRequestWithContext(t.Context(), "POST", "http://127.0.0.1/v1/patch",
		strings.NewReader(`{"id":"`+thing+`","body":`+nested(9990)+`}`)))
	require.Equal(t, 400, control.Code, control.Body.String())
	w.restarted(dir, false).get(thing).want(200)
}
