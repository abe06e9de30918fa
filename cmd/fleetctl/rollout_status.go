package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

func newRolloutStatusCommand(g *globals) *cobra.Command {
	var offline, exitCode bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say how the rollout stands, and what it waits for",
		Long: `Say how the newest rollout stands: its waves and batches, each scale set's
members by version and health, what each gate says, what it waits for and until
when, what operators asked and nobody took up yet, and who is at work on it
just now.

The journal and the fleet are both looked at; with --offline only the journal
is. What cannot be read is shown as not known. Nothing is written, and no lock
is needed.

OVERDUE is a rollout that nobody has looked at for three times observe_every: a
schedule does not run, or a run was left. fleetctl rollout advance goes on with
it.

Exit codes: 0 however it stands; with --exit-code, 8 while it is unfinished,
and 5 when it has not succeeded: halted, halted-incomplete, held or aborted; 1
error, 2 wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout status
  fleetctl rollout status --offline
  fleetctl rollout status --exit-code
  fleetctl rollout status -o json | jq '{phase, why, overdue, lock}'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.rolloutStatus(ctx, offline, exitCode)
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "look at the journal only, not at the fleet")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with "+strconv.Itoa(exitChanges)+" while it is unfinished, "+strconv.Itoa(exitHalted)+" when it has not\nsucceeded")
	return cmd
}

// rolloutStatus shows how the newest rollout stands.
func (g *globals) rolloutStatus(ctx context.Context, offline, exitCode bool) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	last, _, err := r.newest(ctx)
	if err != nil {
		return err
	}
	if last == nil {
		return r.noRollouts()
	}
	if !offline {
		if last.Status, err = r.look(ctx, last.id); err != nil {
			return err
		}
	}
	if err := r.show(ctx, last, ""); err != nil || !exitCode {
		return err
	}
	return cli.Exit(endCode(last.State.Phase, true))
}
