package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

func newEventCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "event",
		Short: "publish and move Scheduled Events",
		Args:  usage.Known,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.clientFlags(cmd)
	cmd.AddCommand(
		newPublishCommand(g), newEventListCommand(g),
		newMoveCommand(g, "start", "start a scheduled event now, without an ack", (*imds.ControlClient).Start),
		newMoveCommand(g, "complete", "let an event vanish because it is over", (*imds.ControlClient).Complete),
		newMoveCommand(g, "cancel", "let a scheduled event vanish because it was called off", (*imds.ControlClient).Cancel),
	)
	return cmd
}

func newPublishCommand(g *globals) *cobra.Command {
	var spec imds.EventSpec
	var duration int
	cmd := &cobra.Command{
		Use:   "publish TYPE [MACHINE...]",
		Short: "publish an event for machines, by default for the first one",
		Long: `Publish an event of TYPE Preempt, Terminate, Reboot, Redeploy, Freeze, or any
other to see what a node makes of it, and print its id.

The notice is by default the documented minimum of the type: 30 s for Preempt,
5 minutes for Terminate, 10 for Redeploy, 15 for Reboot and Freeze.`,
		Example: `  fleetsim event publish Preempt
  fleetsim event publish Terminate web_0 web_1 --notice 5m
  fleetsim event publish Freeze --notice 10s --duration 5
  fleetsim event publish Reboot --started       # the host has failed: no notice`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage.Error(cmd, fmt.Errorf("%s: TYPE is missing", cmd.CommandPath()))
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			spec.Type, spec.Resources = args[0], args[1:]
			if cmd.Flags().Changed("duration") {
				spec.DurationSeconds = &duration
			}
			e, err := c.Publish(cmd.Context(), spec)
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				return g.out.JSON(e)
			}
			_, err = fmt.Fprintln(g.out.Out, e.ID)
			return err
		},
		ValidArgs: []string{imds.Preempt, imds.Terminate, imds.Reboot, imds.Redeploy, imds.Freeze},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVar(&spec.Notice, "notice", 0, "span to NotBefore (default: the minimum of the type)")
	f.BoolVar(&spec.Started, "started", false, "publish it as already started, without a notice")
	f.DurationVar(&spec.StartDelay, "start-delay", 0, "span from an ack to the start")
	f.IntVar(&duration, "duration", 0, "expected impact in `SECONDS`: 0 none, -1 unknown (default: that of the type)")
	f.DurationVar(&spec.CompleteAfter, "complete-after", 0, "span from the start to the end (default: --duration, or until it is completed)")
	f.BoolVar(&spec.Hold, "hold", false, "let it end only when it is completed")
	f.StringVar(&spec.Description, "description", "", "`TEXT` that comes with it")
	f.StringVar(&spec.Source, "source", "", "Platform or User")
	f.StringVar(&spec.ID, "id", "", "its `ID` (default: a new one)")
	return cmd
}

type moveFunc = func(*imds.ControlClient, context.Context, string) (imds.Event, error)

func newMoveCommand(g *globals, verb, short string, move moveFunc) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ID",
		Short: short,
		Long:  strings.ToUpper(short[:1]) + short[1:] + ". The beginning of an id will do if it is enough.",
		Args:  usage.Arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			id, err := wholeID(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			e, err := move(c, cmd.Context(), id)
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				return g.out.JSON(e)
			}
			_, err = fmt.Fprintln(g.out.Out, e.ID, e.Status)
			return err
		},
	}
}

// wholeID finds the event whose id begins with start.
func wholeID(ctx context.Context, c *imds.ControlClient, start string) (string, error) {
	events, err := c.Events(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range events {
		if strings.EqualFold(e.ID, start) {
			return e.ID, nil
		}
		if len(start) > 0 && len(e.ID) > len(start) && strings.EqualFold(e.ID[:len(start)], start) {
			found = append(found, e.ID)
		}
	}
	if len(found) != 1 {
		return "", cli.Hint(fmt.Errorf("find event %q: %s begin so", start, cli.Plural(len(found), "id")), "fleetsim event list shows them")
	}
	return found[0], nil
}

func newEventListCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list all events, also those that have vanished",
		Args:  usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			events, err := c.Events(cmd.Context())
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				return g.out.JSON(map[string]any{"version": 1, "events": events})
			}
			rows := [][]string{{"ID", "TYPE", "STATUS", "NOT BEFORE", "ACKS", "MACHINES"}}
			for _, e := range events {
				notBefore := "-"
				if !e.NotBefore.IsZero() {
					notBefore = e.NotBefore.Local().Format(time.TimeOnly)
				}
				rows = append(rows, []string{e.ID, e.Type, string(e.Status), notBefore, strconv.Itoa(e.Acks), strings.Join(e.Resources, " ")})
			}
			return g.table(rows)
		},
	}
}

func newFaultCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "make the metadata service misbehave",
		Args:  usage.Known,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.clientFlags(cmd)
	cmd.AddCommand(newFaultSetCommand(g), newFaultListCommand(g), &cobra.Command{
		Use:   "clear",
		Short: "end all faults",
		Args:  usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			return c.ClearFaults(cmd.Context())
		},
	})
	return cmd
}

func newFaultListCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the faults in force and what is left of them",
		Args:  usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			faults, err := c.Faults(cmd.Context())
			if err != nil {
				return err
			}
			rows := [][]string{{"KIND", "ENDPOINT", "METHOD", "MACHINE", "REQUESTS", "ENDS"}}
			for _, f := range faults {
				kind, left, ends := string(f.Kind), "any number", "when cleared"
				if f.Status != 0 {
					kind += " " + strconv.Itoa(f.Status)
				}
				if f.Count != 0 {
					left = strconv.Itoa(f.Count)
				}
				if f.For != 0 {
					ends = "in " + cli.Duration(f.For)
				}
				rows = append(rows, []string{kind, cmp.Or(f.Endpoint, "any"), cmp.Or(f.Method, "any"), cmp.Or(f.VM, "any"), left, ends})
			}
			return g.table(rows)
		},
	}
}

func newFaultSetCommand(g *globals) *cobra.Command {
	var f imds.Fault
	cmd := &cobra.Command{
		Use:   "set KIND",
		Short: "set a fault, in place of one for the same requests",
		Long: `Set a fault, in place of one for the same requests. KIND is one of

  status     answer with --status, whatever was asked
  delay      answer properly after --delay
  hang       do not answer as long as the fault lasts
  reset      reset the connection without having looked at the request
  lost       do what was asked, then reset the connection
  empty      200 without a body
  truncated  the first half of the body
  partial    200 with data missing
  body       200 with --body, whatever was asked
  clock      answer properly, by a clock that is --ahead`,
		Example: `  fleetsim fault set status --status 410 --for 1m
  fleetsim fault set status --status 429 --retry-after 2s --count 3
  fleetsim fault set lost --method POST --count 1   # an ack whose answer is lost
  fleetsim fault set partial --endpoint instance --omit name
  fleetsim fault set body --method GET --endpoint scheduledevents --body '{"Events":[null]}'
  fleetsim fault set clock --ahead 5m               # of a VM whose clock is behind`,
		Args: usage.Arguments("KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			f.Kind = imds.FaultKind(args[0])
			return c.SetFault(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVar(&f.Status, "status", 0, "status `CODE`, for the kind status")
	fl.StringVar(&f.Endpoint, "endpoint", "", "instance or scheduledevents (default: both)")
	fl.StringVar(&f.Method, "method", "", "GET or POST (default: both)")
	fl.StringVar(&f.VM, "vm", "", "`NAME` of the one machine that meets it")
	fl.DurationVar(&f.Delay, "delay", 0, "wait before the answer, for every kind")
	fl.DurationVar(&f.RetryAfter, "retry-after", 0, "send a Retry-After header")
	fl.StringArrayVar(&f.Omit, "omit", nil, "`FIELD` of compute that a partial answer lacks; may be repeated")
	fl.StringVar(&f.Body, "body", "", "what the answer says, for the kind body")
	fl.DurationVar(&f.Ahead, "ahead", 0, "how far the Date of an answer is ahead, for the kind clock")
	fl.IntVar(&f.Count, "count", 0, "how many requests (default: any number)")
	fl.DurationVar(&f.For, "for", 0, "how long (default: until it is cleared)")
	return cmd
}

func newAcksCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "acks",
		Short: "list the acks that came: who acked which event, and when",
		Args:  usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			acks, err := c.Acks(cmd.Context())
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				return g.out.JSON(map[string]any{"version": 1, "acks": acks})
			}
			rows := [][]string{{"TIME", "MACHINE", "EVENT", "ANSWER", "EVENT WAS", "IN TIME"}}
			for _, a := range acks {
				row := []string{a.Time.Local().Format(time.TimeOnly), a.VM, a.EventID, "refused", "unknown", "-"}
				if a.Accepted {
					row[3] = "accepted"
				}
				if a.Status != "" {
					row[4], row[5] = string(a.Status), "yes"
				}
				if a.Late {
					row[5] = "no"
				}
				rows = append(rows, row)
			}
			return g.table(rows)
		},
	}
	g.clientFlags(cmd)
	return cmd
}

func newRequestsCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "requests",
		Short: "count the requests by machine, endpoint and status",
		Args:  usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			counts, err := c.Counts(cmd.Context())
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				return g.out.JSON(map[string]any{"version": 1, "counts": counts})
			}
			rows := [][]string{{"MACHINE", "METHOD", "ENDPOINT", "STATUS", "COUNT"}}
			for _, n := range counts {
				status := "no answer"
				if n.Status != 0 {
					status = strconv.Itoa(n.Status)
				}
				rows = append(rows, []string{n.VM, n.Method, n.Endpoint, status, strconv.Itoa(n.Count)})
			}
			return g.table(rows)
		},
	}
	g.clientFlags(cmd)
	return cmd
}

// table prints rows in columns, the first one as a heading.
func (g *globals) table(rows [][]string) error {
	var t cli.Table
	for i, row := range rows {
		cells := make([]cli.Cell, len(row))
		for j, text := range row {
			cells[j].Text = text
			if i == 0 {
				cells[j].Color = cli.Dim
			}
		}
		t.Add(cells...)
	}
	columns, _ := g.out.Size()
	if !g.out.Terminal() {
		columns = 1000 // for a file or a pipe, ids must be whole
	}
	_, err := fmt.Fprintln(g.out.Out, strings.Join(t.Lines(g.out.Style, columns), "\n"))
	return err
}
