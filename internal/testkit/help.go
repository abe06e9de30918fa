package testkit

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// RequireHelp fails unless the help of every command says what it is, shows how it is
// used, and fits 80 columns.
func RequireHelp(tb testing.TB, cmd *cobra.Command) {
	tb.Helper()
	require.NotEmpty(tb, cmd.Short, cmd.CommandPath())
	require.NotEmpty(tb, cmd.Long, cmd.CommandPath())
	if cmd.HasParent() {
		require.NotEmpty(tb, cmd.Example, cmd.CommandPath())
	}
	for line := range strings.Lines(cmd.Long + "\n" + cmd.Example + "\n" + cmd.UsageString()) {
		require.LessOrEqual(tb, len([]rune(strings.TrimSuffix(line, "\n"))), 80, cmd.CommandPath()+": "+line)
	}
	for _, sub := range cmd.Commands() {
		RequireHelp(tb, sub)
	}
}
