package main

import (
	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

func newSchemaCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print a JSON Schema of fleet.yaml, for editors",
		Long: `Print a JSON Schema (draft 2020-12) of fleet.yaml, with which an editor
completes and checks the file as you type.`,
		Example: `  fleetctl schema > fleet.schema.json
  # in fleet.yaml: # yaml-language-server: $schema=./fleet.schema.json`,
		Args: usage.Arguments(),
		RunE: func(*cobra.Command, []string) error {
			_, err := g.out.Out.Write(fleetfile.Schema())
			return err
		},
	}
}
