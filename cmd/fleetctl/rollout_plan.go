package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

func newRolloutPlanCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "plan VERSION", Short: "show what a rollout would do, and what speaks against it", Long: "To be written.", Example: "  fleetctl rollout plan 1.8.3",
		Args: usage.Arguments("VERSION"),
		RunE: func(*cobra.Command, []string) error { return errors.New("not there yet") },
	}
}

// rolloutPlanPage is a plan, and what speaks against it. Run shows it before it asks.
func (g *globals) rolloutPlanPage(plan *rollout.Plan, refusals []rollout.Refusal) *page {
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markNote), 2, plain("rollout of "+plan.Version))
	for i := range refusals {
		p.Text(2, cli.Plain, refusals[i].Text+"; "+refusals[i].Hint, 4)
	}
	return p
}
