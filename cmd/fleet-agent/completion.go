package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds the question to the daemon that a completion asks:
// somebody waits at a prompt.
const completionTimeout = 500 * time.Millisecond

func newCompletionCommand() *cobra.Command {
	return usage.Completion("fleet-agent", `Print a script that makes your shell complete fleet-agent's commands, flags
and the names of this node's checks. The Debian package installs it already.

Exit codes: those of fleet-agent --help`)
}

// completeChecks completes the first argument with the names of the daemon's
// checks, of the given kind or, with "", of any. Without a daemon there is
// nothing to complete.
func (g *globals) completeChecks(kind string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		status, err := g.client().Status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		for _, c := range status.Health.Checks {
			if kind == "" || c.Kind == kind {
				names = append(names, cobra.CompletionWithDesc(c.Name, c.Kind+", "+c.Status))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
