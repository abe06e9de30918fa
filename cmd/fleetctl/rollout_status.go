package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newRolloutStatusCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "say how the rollout stands", Long: "To be written.", Example: "  fleetctl rollout status",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}
