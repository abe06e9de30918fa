package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fleetctl": main})
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
			sim := &simulator{}
			env.Values[simKey{}] = sim
			env.Defer(sim.stop)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"sim": simCommand},
	})
}

// Every command's help says what it is, shows how it is used, and fits.
func TestHelp(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.NotEmpty(t, cmd.Long, cmd.CommandPath())
		if cmd.HasParent() {
			require.NotEmpty(t, cmd.Example, cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example + "\n" + cmd.UsageString()) {
			require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, cmd.CommandPath()+": "+line)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand(newGlobals(io.Discard, io.Discard, func(string) string { return "" })))
}
