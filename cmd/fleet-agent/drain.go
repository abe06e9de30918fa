package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

func newDrainCommand(g *globals) *cobra.Command {
	var reason string
	var timeout, length time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "take this node out of service and stop its workloads",
		Long: `Take this node out of service: /readyz turns 503, load balancers get time to
notice, then the steps of the plan run. The node stays drained until undrain,
also over restarts of the agent, or with --for until that time is over; a reboot
returns it to service.

You want it before you work on a node by hand. To see what it would do, run
fleet-agent plan; to go unready without stopping anything, use maintenance.

A drain that is under way already is joined: its deadline can become earlier,
never later.

Exit codes:
  0    begun; with --wait: drained
  1    error, or wrong usage; with --wait: the drain failed or was undone
  4    the agent cannot be reached
  130  interrupted; the drain goes on`,
		Example: `  fleet-agent drain --reason "disk swap" --wait
  fleet-agent drain --timeout 2m
  fleet-agent drain --for 30m`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < 0 {
				return usage.Error(cmd, errors.New("--timeout must not be negative"))
			}
			if length < 0 {
				return usage.Error(cmd, errors.New("--for must not be negative"))
			}
			accepted, err := g.client().Drain(cmd.Context(), control.DrainRequest{
				Reason: reason, TimeoutSeconds: timeout.Seconds(), ForSeconds: length.Seconds(),
			})
			if err != nil {
				return g.explainError(err)
			}
			if !wait {
				return g.printAccepted(accepted, "follow it", "status --watch")
			}
			g.out.Say("%s", cli.Clean(accepted.Message))
			status, err := g.waitUntil(cmd.Context(), g.drainEnd())
			if err != nil {
				return err
			}
			return g.printStatus(status, false)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&reason, "reason", "", "say `WHY`, for status, the journal and hooks")
	flags.DurationVar(&timeout, "timeout", 0, "end the drain after `D`; 0: the plan's own limits")
	flags.DurationVar(&length, "for", 0, "undo the drain by itself after `D`; 0: not before undrain")
	flags.BoolVar(&wait, "wait", false, "wait until the node is drained")
	noFiles(cmd)
	return cmd
}

// drainEnd recognises the end of the drain that was just asked for. The agent
// bounds a drain, so the wait for it needs no bound of its own.
func (g *globals) drainEnd() func(*control.Status) (bool, error) {
	// The agent may need a moment to begin.
	const patience = 10
	begun, looks := false, 0
	return func(s *control.Status) (bool, error) {
		switch {
		case s.State == control.StateDrained:
			return true, nil
		case s.Drain != nil && s.Drain.Phase != phaseUndraining:
			begun = true
			return false, g.drainFailure(s)
		}
		looks++
		if begun || looks > patience {
			return false, errors.New("the drain was undone before it ended")
		}
		return false, nil
	}
}

func newUndrainCommand(g *globals) *cobra.Command {
	var reason string
	var force bool
	cmd := &cobra.Command{
		Use:   "undrain",
		Short: "return this node to service",
		Long: `Return this node to service: stop a drain that is under way, start again what it
stopped, and turn /readyz back to 200 as soon as the checks pass.

You want it after a drain by hand. After a scheduled event the node comes back
by itself as soon as the event is gone. While an event keeps the node out of
service, undrain refuses; --force dismisses the event: it is neither acked nor
acted on again, and the node serves when it happens.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent undrain
  fleet-agent undrain --force --reason "the eviction was called off"`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accepted, err := g.client().Undrain(cmd.Context(), control.UndrainRequest{Reason: reason, Force: force})
			if err != nil {
				return g.explainError(err)
			}
			return g.printAccepted(accepted, "wait for it", "status --wait-for serving")
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&reason, "reason", "", "say `WHY`, for the journal")
	flags.BoolVar(&force, "force", false, "also dismiss the events that ask for the drain")
	noFiles(cmd)
	return cmd
}

func newMaintenanceCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maintenance",
		Short: "keep this node out of rotation for a while",
		Long: `Keep this node out of rotation for a while, without stopping anything: /readyz
answers 503, and rolling upgrades are asked to skip the node.

You want it to look at a node in peace. It ends by itself, so that a forgotten
node comes back, and survives restarts of the agent.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent maintenance on --for 2h --reason "profiling"
  fleet-agent maintenance off`,
		Args: usage.Known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}

	var length time.Duration
	var reason string
	on := &cobra.Command{
		Use:   "on --for D [--reason WHY]",
		Short: "begin maintenance, or change when it ends",
		Long: `Begin maintenance, or change when it ends. --for is required, since nobody
remembers to end it.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent maintenance on --for 2h --reason "profiling"`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if length <= 0 {
				return cli.Hint(errors.New("--for is missing: say how long maintenance lasts"), "%s on --for 1h", cmd.Parent().CommandPath())
			}
			accepted, err := g.client().Maintenance(cmd.Context(), control.MaintenanceRequest{On: true, ForSeconds: length.Seconds(), Reason: reason})
			if err != nil {
				return g.explainError(err)
			}
			return g.printAccepted(accepted, "end it earlier", "maintenance off")
		},
	}
	on.Flags().SortFlags = false
	on.Flags().DurationVar(&length, "for", 0, "for how long: `D`, such as 30m or 2h")
	on.Flags().StringVar(&reason, "reason", "", "say `WHY`, for status and the journal")
	on.DisableFlagsInUseLine = true
	noFiles(on)

	off := &cobra.Command{
		Use:   "off",
		Short: "end maintenance",
		Long: `End maintenance before its time.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent maintenance off`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accepted, err := g.client().Maintenance(cmd.Context(), control.MaintenanceRequest{})
			if err != nil {
				return g.explainError(err)
			}
			return g.printAccepted(accepted, "", "")
		},
	}
	noFiles(off)
	cmd.AddCommand(on, off)
	return cmd
}

// printAccepted says what was done, and to a reader of text how to go on.
func (g *globals) printAccepted(a *control.Accepted, why, next string) error {
	if g.format == command.JSON {
		return g.out.JSON(a)
	}
	if _, err := fmt.Fprintln(g.out.Out, cli.Clean(a.Message)); err != nil {
		return err
	}
	if next != "" {
		g.out.Say("%s: %s", why, g.out.ErrStyle.Paint(cli.Cyan, g.self+" "+next))
	}
	return nil
}
