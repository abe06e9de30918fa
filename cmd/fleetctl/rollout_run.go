package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newRolloutRunCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "run VERSION", Short: "begin a rollout, and stay with it to its end", Long: "To be written.", Example: "  fleetctl rollout run",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutAdvanceCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "advance", Short: "do what is due, and exit", Long: "To be written.", Example: "  fleetctl rollout advance",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}
