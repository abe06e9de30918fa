package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newRolloutApproveCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "approve", Short: "let the wave that waits for it begin", Long: "To be written.", Example: "  fleetctl rollout approve",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutPauseCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "pause", Short: "let the rollout begin nothing new", Long: "To be written.", Example: "  fleetctl rollout pause",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutResumeCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "let a rollout that stands still go on", Long: "To be written.", Example: "  fleetctl rollout resume",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutAbortCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "abort", Short: "end the rollout, and take back what it did", Long: "To be written.", Example: "  fleetctl rollout abort",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

func newRolloutUnlockCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "unlock", Short: "take the lock from somebody who is not there any more", Long: "To be written.", Example: "  fleetctl rollout unlock",
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}
