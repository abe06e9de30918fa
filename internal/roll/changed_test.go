package roll_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// A rollout goes on as it was planned when the file says something else by then.
func TestFileChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rollout: twoWaves})
	w.start()
	c := w.runner()
	c.Spec.Name, c.Spec.Location = "other", "westus2"
	delete(c.Spec.ScaleSets, "vmss-authz-west")
	authz := c.Spec.ScaleSets["vmss-authz"]
	authz.Manage, authz.ID = fleet.ManageObserve, sets+"/vmss-other"
	authz.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformRolling, Batch: 100}
	c.Spec.ScaleSets["vmss-authz"] = authz
	c.Spec.Gallery.Name, c.Spec.Gallery.Image.Name = "galOther", "other-app"
	c.Spec.Rollout.Waves = []fleet.WaveSpec{{Name: "at once", ScaleSets: []string{"vmss-authz"}, Soak: time.Hour, Approve: true}}
	c.Spec.Rollout.Drain, c.Spec.Rollout.ObserveEvery = "run-command", time.Hour
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz", version))
	require.Equal(t, 3, w.on("vmss-authz-west", version))
	require.Zero(t, w.count("fleet-agent drain"))
	require.Equal(t, "canary", s.Plan.Waves[0].Name)
}

// What a rollout needs of the file of the moment, and what it does without.
func TestFileLacks(t *testing.T) {
	t.Parallel()
	gated := setup{rollout: twoWaves + "  gates: {prometheus: [{name: errors, url: 'http://127.0.0.1:1', query: '0', above: 1}]}\n"}
	for name, c := range map[string]struct {
		setup  setup
		change func(s *fleet.Spec)
		why    string // it is paused
	}{
		"a gate":           {gated, func(s *fleet.Spec) { s.Rollout.Gates.Prometheus[0].Name = "latency" }, "gate errors does not answer: the file has no gate errors any more"},
		"the rollout":      {gated, func(s *fleet.Spec) { s.Rollout = nil }, "gate errors does not answer: the file has no rollout any more"},
		"a gate's address": {gated, func(s *fleet.Spec) { s.Rollout.Gates.Prometheus[0].URL = "::" }, "gate errors does not answer: the URL of the gate is none"},
		"the gallery":      {setup{gallery: "  replicate: by-wave\n", regions: "{westus3: {}}"}, func(s *fleet.Spec) { s.Gallery = nil }, "version is refused: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.setup)
			w.start()
			r := w.runner()
			c.change(r.Spec)
			var s roll.Status
			for range 16 {
				var err error
				s, err = r.Advance(t.Context())
				require.NoError(t, err, r.log())
				if s.State.Block != nil {
					break
				}
				w.server.Advance(4 * time.Minute)
			}
			require.NotNil(t, s.State.Block, r.log())
			require.Equal(t, rollout.Inconclusive, s.State.Block.Class, r.log())
			require.Contains(t, s.State.Block.Why, c.why)
		})
	}
}

// The webhook of the moment is told, and a rollout whose file has none any more ends all
// the same.
func TestWebhookChanged(t *testing.T) {
	t.Parallel()
	first, second := &webhook{}, &webhook{}
	at, then := first.start(t), second.start(t)
	for name, address := range map[string]string{"moved": then, "gone": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{health: "Unhealthy", rollout: strings.Replace(quickly, "  drain: run-command\n", "  on_halt: {notify: "+at+"}\n", 1)})
			w.start()
			c := w.runner()
			c.Spec.Rollout.OnHalt.Notify = address
			s, err := c.Run(t.Context())
			require.NoError(t, err, c.log())
			require.Equal(t, rollout.Halted, s.State.Phase)
			require.Empty(t, first.told())
		})
	}
	require.NotEmpty(t, second.told())
	require.Contains(t, second.told()[len(second.told())-1], `"event":"halted"`)
}

// A journal that cannot be gone on with says where and why, and nothing is done.
func TestOddJournals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	begun := w.start()
	_, err := begun.Advance(t.Context())
	require.NoError(t, err)
	good := w.journal.entries
	wrote := w.writes()
	for name, c := range map[string]struct {
		entries []json.RawMessage
		want    string
	}{
		"of a later program":  {append(good[:1:1], json.RawMessage(`{"format":2,"at":"2026-03-05T14:00:00Z","kind":"observed"}`)), "entry 2 of the journal: read an event: it has format 2, and this program knows 1: use the program that began the rollout"},
		"with a later kind":   {append(good[:1:1], json.RawMessage(`{"format":1,"at":"2026-03-05T14:00:00Z","kind":"danced"}`)), `entry 2 of the journal: read an event: kind "danced" is not known`},
		"with a later field":  {append(good[:1:1], json.RawMessage(`{"format":1,"at":"2026-03-05T14:00:00Z","kind":"observed","mood":"good"}`)), `entry 2 of the journal: read an event: json: unknown field "mood"`},
		"without its plan":    {good[1:], "fold a journal: it does not begin with a plan"},
		"of something else":   {[]json.RawMessage{json.RawMessage(`"hello"`)}, "entry 1 of the journal: read an event: "},
		"that holds no event": {[]json.RawMessage{json.RawMessage(`[]`)}, "the journal holds no rollout"},
	} {
		t.Run(name, func(t *testing.T) {
			w.journal.entries = c.entries
			r := w.runner()
			_, err := r.Advance(t.Context())
			require.ErrorContains(t, err, c.want)
			_, err = r.Look(t.Context())
			require.ErrorContains(t, err, c.want)
			_, err = r.Status(t.Context())
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Equal(t, wrote, w.writes())
}

// A journal whose file was damaged, or that a later program has written, is not gone on
// with, and the error names the line.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	s := &site{newWorld(t, setup{}), func() string { return "" }}
	dir := t.TempDir()
	s.address = func() string { return dir }
	p := s.process()
	p.begins(t.Context(), "ada")
	_, err := p.Advance(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.lock.Release(t.Context()))
	name := filepath.Join(dir, "1", "journal")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	wrote := s.writes()
	for odd, c := range map[string]struct {
		text string
		want string
	}{
		"a bit":           {strings.Replace(string(text), `"fleet":"pay"`, `"fleet":"bay"`, 1), ":2: the line is damaged: its checksum is not that of what stands there; restore the journal from a copy, or put it aside and begin a new rollout"},
		"a line":          {lines[0] + strings.Join(lines[2:], ""), ":2: the line is damaged: it says that it is line 3"},
		"half a line":     {lines[0] + lines[1][:40] + "\n", ":2: the line is damaged"},
		"a later program": {string(text) + "2 something new\n", fmt.Sprintf(":%d: the line is of format 2, and this fleetctl reads format 1", len(lines))},
	} {
		t.Run(odd, func(t *testing.T) {
			require.NoError(t, os.WriteFile(name, []byte(c.text), 0o600))
			p := s.process()
			require.ErrorContains(t, p.take(t.Context(), "bob"), name+c.want)
			_, err := p.status()
			require.ErrorContains(t, err, name+c.want)
		})
	}
	require.Equal(t, wrote, s.writes())

	// What a crash has cut is left out, and written anew.
	require.NoError(t, os.WriteFile(name, text[:len(text)-20], 0o600))
	p = s.process()
	require.NoError(t, p.take(t.Context(), "bob"))
	status, err := p.Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Rolling, status.State.Phase)

	// A journal that was moved is not there; it goes on where it is now.
	moved := t.TempDir()
	require.NoError(t, p.lock.Release(t.Context()))
	require.NoError(t, os.Rename(filepath.Join(dir, "1"), filepath.Join(moved, "1")))
	_, err = s.process().status()
	require.ErrorIs(t, err, roll.ErrNone)
	place, err := journal.At(moved, nil, nil)
	require.NoError(t, err)
	j, err := place.Journal("1")
	require.NoError(t, err)
	lock, err := j.Acquire(context.Background(), journal.Owner{Name: "bob"})
	require.NoError(t, err)
	defer func() { _ = lock.Release(context.Background()) }()
	status, err = s.runnerOn(lock, s.client()).Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Rolling, status.State.Phase)
}
