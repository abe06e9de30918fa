package bake

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ran runs a wrapped script as Run Command does, and returns what it takes of its output.
func ran(t *testing.T, script string) (code int, output string) {
	t.Helper()
	lines, err := bootScript([]byte(script))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.Join(lines, "\n"))
	tmp := t.TempDir()
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + tmp}
	cmd.Stdin = strings.NewReader("not for the script\n")
	stdout, err := cmd.Output()
	require.NoError(t, err)
	left, err := filepath.Glob(tmp + "/*")
	require.NoError(t, err)
	require.Empty(t, left, "the file is removed")
	code, output, ended := scriptExit(string(stdout))
	require.True(t, ended, string(stdout))
	return code, output
}

// A script runs as it would by itself, whatever is in it, and its exit code comes out.
func TestBootScript(t *testing.T) {
	for _, tt := range []struct {
		script, output string
		code           int
	}{
		{"#!/bin/bash\nset -euo pipefail\n[[ $0 == *tmp* ]] && echo \"it's $((1 + 1))\"\n", "it's 2", 0},
		{"#!/usr/bin/env bash\necho a; exit 3", "a", 3},
		{"#!/bin/sh -e\nprintf 'no line'; false; echo never\n", "no line", 1},
		{"echo plain; cat", "plain", 0},
		{"", "", 0},
		{"#!/bin/sh\r\necho dos\n", "dos", 0},
		{"echo 'fleetctl: exit 0'; exit 7", "fleetctl: exit 0", 7},
		{"fleetctl\ncat <<'fleetctl'\nhere\nfleetctl\nexit 4\n", "here", 4},
		{"kill -9 $$", "", 137},
		{"#!/no/such/interpreter\n", "", 127},
		{strings.Repeat("true # a long script\n", 2000) + "echo end\n", "end", 0},
	} {
		code, output := ran(t, tt.script)
		require.Equal(t, tt.code, code, tt.script)
		require.Equal(t, tt.output, output, tt.script)
	}
}

func TestBootScriptRefuses(t *testing.T) {
	for script, want := range map[string]string{
		strings.Repeat("x", maxScript+1): "put it into the image",
		"\xff\xfe":                       "it is not a text",
		"#!\necho":                       "names no interpreter",
		"#!/bin/sh '; reboot'\n":         "names no interpreter",
	} {
		_, err := bootScript([]byte(script))
		require.ErrorContains(t, err, want)
	}
}

func TestScriptExit(t *testing.T) {
	for _, odd := range []string{"", "fleetctl: exit", "fleetctl: exit x\n", "fleetctl: exit 0\nmore\n", "x fleetctl: exit 0\n", "fleetctl: exit 1234\n"} {
		_, output, ended := scriptExit(odd)
		require.False(t, ended, odd)
		require.Equal(t, odd, output)
	}
	code, output, ended := scriptExit("a\n\nfleetctl: exit 12\n\n")
	require.True(t, ended)
	require.Equal(t, 12, code)
	require.Equal(t, "a", output)
}

// The public half of a key whose private half is gone is one that OpenSSH reads.
func TestLostKey(t *testing.T) {
	key := lostKey()
	require.Regexp(t, `^ssh-rsa AAAAB3NzaC1yc2E[A-Za-z0-9+/=]+ nobody$`, key)
	require.NotEqual(t, key, lostKey())
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Log("ssh-keygen is not here to read it")
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), keygen, "-lf", "-")
	cmd.Stdin = strings.NewReader(key)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Regexp(t, `^2048 SHA256:\S+ nobody \(RSA\)`, string(out))
}
