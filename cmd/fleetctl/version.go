package main

import (
	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/command"
)

// version is set by the build of a release: -ldflags "-X main.version=1.2.3".
var version string

func newVersionCommand(g *globals) *cobra.Command {
	cmd := command.VersionCommand("fleetctl")
	cmd.Args = usage.Arguments()
	cmd.RunE = func(*cobra.Command, []string) error {
		return command.ReadVersion(version).Write(g.out, g.format, "fleetctl")
	}
	return cmd
}
