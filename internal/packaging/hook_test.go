package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// TestRunHook: a hook runs as root, so that one which somebody else can change, in
// place or by the way to it, is refused with what is wrong.
func TestRunHook(t *testing.T) {
	testkit.Root(t)
	testkit.Tool(t, "namei", "util-linux")
	const stranger = 61_235
	for name, tc := range map[string]struct {
		change func(t *testing.T, hooks string)
		hook   string
		says   string // of the place that is at fault
	}{
		"root's alone": {},
		"a link to root's": {change: func(t *testing.T, hooks string) {
			elsewhere := filepath.Join(filepath.Dir(hooks), "opt")
			require.NoError(t, os.Mkdir(elsewhere, 0o755))
			require.NoError(t, os.Rename(hooks+"/go", elsewhere+"/go"))
			require.NoError(t, os.Symlink("../opt/go", hooks+"/go"))
		}},
		"another owner": {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chown(hooks+"/go", stranger, 0)) }, says: "-rwxr-xr-x 61235 root go"},
		"group":         {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chmod(hooks+"/go", 0o775)) }, says: "-rwxrwxr-x root root go"},
		"others":        {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chmod(hooks+"/go", 0o757)) }, says: "-rwxr-xrwx root root go"},
		"the directory": {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chmod(hooks, 0o777)) }, says: "drwxrwxrwx root root hooks"},
		"its owner":     {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chown(hooks, stranger, 0)) }, says: "drwxr-xr-x 61235 root hooks"},
		"the way there": {change: func(t *testing.T, hooks string) { require.NoError(t, os.Chmod(filepath.Dir(hooks), 0o775)) }, says: "drwxrwxr-x root root"},
		"a link's owner": {change: func(t *testing.T, hooks string) {
			require.NoError(t, os.Rename(hooks+"/go", hooks+"/real"))
			require.NoError(t, os.Symlink("real", hooks+"/go"))
			require.NoError(t, os.Lchown(hooks+"/go", stranger, 0))
		}, says: "lrwxrwxrwx 61235 root go -> real"},
		"what a link leads to": {change: func(t *testing.T, hooks string) {
			elsewhere := filepath.Join(filepath.Dir(hooks), "opt")
			require.NoError(t, os.Mkdir(elsewhere, 0o755))
			require.NoError(t, os.Chown(elsewhere, stranger, 0))
			require.NoError(t, os.Rename(hooks+"/go", elsewhere+"/go"))
			require.NoError(t, os.Symlink(elsewhere+"/go", hooks+"/go"))
		}, says: "drwxr-xr-x 61235 root opt"},
		"missing": {hook: "none", says: "/none is not there"},
		"a path":  {hook: "../go", says: "'../go' is not the name of a hook"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			hooks := filepath.Join(dir, "etc/hooks")
			require.NoError(t, os.MkdirAll(hooks, 0o755))
			require.NoError(t, os.WriteFile(hooks+"/go", []byte("#!/bin/sh\necho ran for $FLEET_CAUSE\n"), 0o755))
			require.NoError(t, os.WriteFile(dir+"/hook.env", []byte("FLEET_CAUSE=\"operator\"\nPATH=\"/evil\"\n"), 0o644))
			script, err := os.ReadFile("../../packaging/deb/run-hook")
			require.NoError(t, err)
			text := strings.NewReplacer("/etc/fleet-agent/hooks", hooks, "/run/fleet-agent/hook.env", dir+"/hook.env").Replace(string(script))
			require.NoError(t, os.WriteFile(dir+"/run-hook", []byte(text), 0o755))
			if tc.change != nil {
				tc.change(t, hooks)
			}
			if tc.hook == "" {
				tc.hook = "go"
			}
			out, err := exec.Command(dir+"/run-hook", tc.hook).CombinedOutput()
			if tc.says == "" {
				require.NoError(t, err, "%s", out)
				require.Equal(t, "ran for operator\n", string(out))
				return
			}
			require.Error(t, err)
			require.Contains(t, string(out), tc.says)
			require.NotContains(t, string(out), "ran for")
		})
	}
}
