package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A report is written at the end of a run, and again by show, in the place of the one
// before.
func TestRolloutReport(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy"})
	file := filepath.Join(t.TempDir(), "report.html")
	text, code := w.fleetctl("run", "1.7.1", "--yes", "--report", file)
	require.Equal(t, exitHalted, code, text)
	require.Contains(t, text, "fleetctl: wrote "+file)
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(page), "<title>pay: ubuntu-app 1.7.1 halted</title>")
	require.Contains(t, string(page), "1 member ever ran the version; 1 failed.")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())

	require.NoError(t, os.WriteFile(file, []byte("of another rollout"), 0o600))
	text, code = w.fleetctl("show", "1", "--report", file)
	require.Zero(t, code, text)
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(again), "<title>pay: ubuntu-app 1.7.1 halted</title>")
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is left beside it")
}

// Where no report can be written is said before anything is done; what is no file of
// somebody's is never replaced.
func TestRolloutReportNowhere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(os.DevNull, filepath.Join(dir, "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for path, why := range map[string]string{
		"":                                   "the name of the file is empty",
		"-":                                  "it goes to a file: standard output has the rollout; a file that is called so is ./-",
		dir:                                  dir + " is not a regular file",
		filepath.Join(dir, "pipe"):           "pipe is not a regular file",
		filepath.Join(dir, "link"):           "link is not a regular file",
		filepath.Join(dir, "none", "r.html"): filepath.Join(dir, "none") + " is not a directory",
	} {
		w := newRolling(t, rollSetup{})
		text, code := w.fleetctl("run", "1.7.1", "--yes", "--report", path)
		require.Equal(t, 2, code, text)
		require.Contains(t, text, why)
		text, _ = w.fleetctl("status")
		require.NotContains(t, text, "1.7.1")
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "they are as they were")
}
