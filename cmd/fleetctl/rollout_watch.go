package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// A rolloutDisplay shows what happens in a rollout while it happens, on standard error.
type rolloutDisplay interface {
	take(e roll.Event)                               // an event of the runner; what it says is shown at once
	wait(ctx context.Context, d time.Duration) error // sleeps; the error is that of the context
	end()                                            // what is shown stays as it is
}

// newRolloutDisplay returns the display of a rollout with an id: a live screen on a
// terminal, lines elsewhere.
func (r *rollouts) newRolloutDisplay(_ string, plan *rollout.Plan) rolloutDisplay {
	return r.newRolloutLines(plan)
}

func newRolloutWatchCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "show how the rollout stands, again and again", Long: "To be written.", Example: "  fleetctl rollout watch",
		Args: usage.Arguments(),
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}
