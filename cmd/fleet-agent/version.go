package main

import (
	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/command"
)

// version is set by the build of a release: -ldflags "-X main.version=1.2.3".
var version string

func newVersionCommand(g *globals) *cobra.Command {
	cmd := command.VersionCommand("fleet-agent")
	cmd.Long += `

The release of the daemon that runs is in: fleet-agent status -o json

Exit codes: those of fleet-agent --help`
	cmd.Args = noArguments
	cmd.RunE = func(*cobra.Command, []string) error {
		return command.ReadVersion(version).Write(g.out, g.format, "fleet-agent")
	}
	return cmd
}
