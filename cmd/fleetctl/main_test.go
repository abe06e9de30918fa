package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a text with the file of a name in testdata, or writes that.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name)+".txt")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func TestMain(m *testing.M) {
	testscript.Main(armjudge.Session{M: m, Article: true}, map[string]func(){"fleetctl": main})
}

// TestScripts runs the command as its users do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("LANG", "C.UTF-8")
			env.Values[simKey{}] = &simulator{env: env}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"sim": simCommand},
	})
}

// Every command's help says what it is, shows how it is used, and fits.
func TestHelp(t *testing.T) {
	testkit.RequireHelp(t, newRootCommand(newGlobals(io.Discard, io.Discard, func(string) string { return "" })))
}
