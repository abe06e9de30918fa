package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newRolloutHistoryCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "list the rollouts of the fleet", Long: "To be written.", Example: "  fleetctl rollout history",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutShowCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "show one rollout whole", Long: "To be written.", Example: "  fleetctl rollout show",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}
