package main

import "github.com/spf13/cobra"

func newCompletionCommand() *cobra.Command {
	return usage.Completion("fleetctl", `Print a script that makes your shell complete fleetctl's commands and flags.
The Debian package installs it already.`)
}
