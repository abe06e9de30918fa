package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// newHeldWorld is a releaseWorld whose file has rollouts, with their journal in a
// directory that is not there yet.
func newHeldWorld(t *testing.T) (w *releaseWorld, dir string) {
	t.Helper()
	w = newReleaseWorld(t)
	dir = filepath.Join(t.TempDir(), "rollouts")
	text, err := os.ReadFile(w.file)
	require.NoError(t, err)
	file := strings.Replace(string(text), "manage: observe", "manage: image", 1) +
		fmt.Sprintf("rollout: {waves: [{name: all, scale_sets: [vmss-authz], soak: 1h}], journal: %q}\n", dir)
	w.file = filepath.Join(t.TempDir(), "fleet.yaml")
	require.NoError(t, os.WriteFile(w.file, []byte(file), 0o600))
	return w, dir
}

// begin writes the journal of a rollout of 1.8.2 that goes back to 1.5.0, and has come
// to a phase. Who writes it keeps the lock until release.
func begin(t *testing.T, dir, id string, phase rollout.Phase) (release func()) {
	t.Helper()
	const group = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/"
	place, err := journal.At(dir, nil, nil)
	require.NoError(t, err)
	j, err := place.Journal(id)
	require.NoError(t, err)
	lock, err := j.Acquire(t.Context(), journal.Owner{Name: "ada", Host: "ops-1"})
	require.NoError(t, err)
	at := simStart().Add(-2 * time.Hour)
	plan := rollout.Plan{
		Format: rollout.Format, Fleet: "pay", Version: "1.8.2", Definition: group + "galleries/galProd/images/ubuntu-app", Made: at,
		Waves: []rollout.Wave{{Name: "all", Sets: []string{"vmss-auto", "vmss-authz"}}},
		Sets: map[string]rollout.Set{
			"vmss-authz": {ID: group + "virtualMachineScaleSets/vmss-authz", Location: "eastus", Driver: fleet.DriverBatches, LastGood: "1.5.0"},
			"vmss-auto":  {ID: group + "virtualMachineScaleSets/vmss-auto", Location: "eastus", Driver: fleet.DriverPlatformAutoOS, LastGood: "1.7.1"},
		},
		Limits: rollout.Limits{ObserveEvery: 5 * time.Minute},
	}
	for _, e := range []rollout.Event{rollout.Begin(plan, at), {Format: rollout.Format, At: at.Add(time.Minute), Kind: rollout.PhaseTo, Phase: phase, Class: rollout.Bad}} {
		text, err := json.Marshal(e)
		require.NoError(t, err)
		require.NoError(t, lock.Append(t.Context(), text))
	}
	return func() { require.NoError(t, lock.Release(t.Context())) }
}

// writes counts what was written to a world.
func (w *releaseWorld) writes() (n int) {
	for _, c := range w.server.Counts() {
		if c.Method != http.MethodGet {
			n += c.Count
		}
	}
	return n
}

// TestHeld: what an unfinished rollout refuses, keeps and marks, as it is shown.
func TestHeld(t *testing.T) {
	w, dir := newHeldWorld(t)
	begin(t, dir, "1", rollout.Succeeded)()
	release := begin(t, dir, "2", rollout.Rolling)
	var text strings.Builder
	for i, command := range []string{
		"promote 1.8.2", "promote 1.8.2 --dry-run", "demote 1.8.2", "demote 1.7.1", "images prune --keep 3 --dry-run", "images", "status vmss-authz",
	} {
		if i == 2 {
			release() // nobody is at work on it from here on
		}
		stdout, stderr, code := w.run(t, strings.Fields(command)...)
		fmt.Fprintf(&text, "$ fleetctl %s\n%s%s(exit %d)\n\n", command, stdout, stderr, code)
	}
	goldenRelease(t, "held", regexp.MustCompile(`(ops-1, since|read) .*UTC.*`).ReplaceAllString(text.String(), "$1 NOW"))
	require.Zero(t, w.writes())

	// What it does not hold may be written.
	_, stderr, code := w.run(t, "demote", "1.6.2")
	require.Zero(t, code, stderr)
	require.NotZero(t, w.writes())
}

// Rollouts that are over hold nothing, and no journal is no rollout. What a rollout has
// left holds its version, and does not keep anybody from demoting it.
func TestNotHeld(t *testing.T) {
	for name, tt := range map[string]struct {
		phase            rollout.Phase
		promoted, demote int
	}{
		"no directory": {},
		"succeeded":    {phase: rollout.Succeeded},
		"halted":       {phase: rollout.Halted},
		"aborted":      {phase: rollout.Aborted},
		"held":         {phase: rollout.Held, promoted: exitRefused, demote: exitRefused},
		"returning":    {phase: rollout.Returning, promoted: exitRefused, demote: exitRefused},
		"incomplete":   {phase: rollout.Incomplete, promoted: exitRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newHeldWorld(t)
			if tt.phase != "" {
				begin(t, dir, "7", tt.phase)()
			}
			_, stderr, code := w.run(t, "promote", "1.8.2")
			require.Equal(t, tt.promoted, code, stderr)
			_, stderr, code = w.run(t, "demote", "1.8.2", "--region", "eastus")
			require.Equal(t, tt.demote, code, stderr)
			stdout, _, code := w.run(t, "images")
			require.Zero(t, code)
			require.Equal(t, tt.demote != 0, strings.Contains(stdout, "excluded rollout 7"), stdout)
		})
	}
}

// A journal that cannot be read lets nobody write, and everybody look.
func TestHeldUnread(t *testing.T) {
	w, dir := newHeldWorld(t)
	begin(t, dir, "1", rollout.Rolling)()
	path := filepath.Join(dir, "1", "journal")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), `"pay"`, `"bay"`, 1)), 0o600))
	for _, command := range []string{"promote 1.8.2", "demote 1.8.2", "images prune --keep 3 -y"} {
		_, stderr, code := w.run(t, strings.Fields(command)...)
		require.Equal(t, 1, code, command)
		require.Contains(t, stderr, "whether a rollout is under way is not known, so nothing was written: ", command)
		require.Contains(t, stderr, "hint: who knows that none is leaves the section rollout out of a copy of the file", command)
	}
	require.Zero(t, w.writes())
	for _, command := range []string{"images", "status"} {
		stdout, stderr, code := w.run(t, command)
		require.Zero(t, code, stderr)
		require.Contains(t, strings.Join(strings.Fields(stdout), " "), "whether a rollout is under way is not known: ", command)
	}
}

// A link to a disk that is gone is not a journal that nobody has made yet.
func TestHeldBehindALink(t *testing.T) {
	w, dir := newHeldWorld(t)
	require.NoError(t, os.Symlink("/nowhere/disk", dir))
	_, stderr, code := w.run(t, "promote", "1.8.2")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "whether a rollout is under way is not known, so nothing was written: "+dir+" is a link to /nowhere/disk, which is not there")
	require.Zero(t, w.writes())
}

// A journal in blobs: without its container there is no rollout, and one that may not be
// read is not known.
func TestHeldInBlobs(t *testing.T) {
	scenario, err := arm.Example("bake")
	require.NoError(t, err)
	b := newBakingOf(t, scenario)
	text, err := os.ReadFile("testdata/bake/fleet.yaml")
	require.NoError(t, err)
	file := strings.NewReplacer("%VERSION%", "1.7.{n}", "%WITHIN%", "90s").Replace(string(text)) +
		"rollout: {waves: [{name: all, scale_sets: [vmss-authz], soak: 1h}], journal: https://stnone.blob.core.windows.net/fleetctl/pay}\n"
	require.NoError(t, os.WriteFile(b.file, []byte(file), 0o600))
	out, code := b.fleetctl("demote", "1.6.0")
	require.Zero(t, code, out)

	require.NoError(t, b.server.SetFault(arm.Fault{Kind: arm.FaultError, Status: http.StatusForbidden, Path: "/fleetctl"}))
	out, code = b.fleetctl("promote", "1.6.0", "--untested")
	require.Equal(t, exitUnauthorised, code, out)
	require.Contains(t, out, "whether a rollout is under way is not known, so nothing was written: ")
	b.server.ClearFaults()
	out, _ = b.fleetctl("images")
	require.Contains(t, out, "excluded")
}

// A rollout that begins while a promotion or a prune waits is seen right before the
// write.
func TestHeldMeanwhile(t *testing.T) {
	w, dir := newHeldWorld(t)
	reads := 0
	w.before = func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/versions/1.8.2") {
			if reads++; reads == 2 { // the one that the write is computed from
				begin(t, dir, "1", rollout.Pending)()
			}
		}
	}
	_, stderr, code := w.run(t, "promote", "1.8.2")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stderr, "rollout 1 of 1.8.2 is pending since")
	require.Zero(t, w.writes())

	w, dir = newHeldWorld(t)
	begin(t, dir+"-to-be", "1", rollout.Rolling)()
	pipe, answers := io.Pipe()
	w.answers = pipe
	go func() {
		_, _ = io.WriteString(answers, "n\nn\nn\n")
		_ = os.Rename(dir+"-to-be", dir)
		_, _ = io.WriteString(answers, "y\nn\nn\n") // 1.5.0 is deleted, somebody says
		_ = answers.Close()
	}()
	stdout, stderr, code := w.run(t, "images", "prune", "--keep", "3")
	require.Zero(t, code, stderr)
	require.Contains(t, strings.Join(strings.Fields(stdout), " "), "image version 1.5.0 is left alone: rollout 1 goes back to it")
	require.Zero(t, w.writes())
}
