package main

import (
	"cmp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// fewDrains are shown without being asked for.
const fewDrains = 10

func newEventsCommand(g *globals) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "list what is scheduled, and what was done about past events",
		Long: `List the events that Azure has scheduled, for this VM and for others, and the
drains of the past with how long they took and how much notice there was.

You want it to know what is coming, and afterwards whether it went well.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent events
  fleet-agent events -v        with the steps of every past drain
  fleet-agent events -o json | jq '.history[] | select(.result != "succeeded")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			events, err := g.client().Events(cmd.Context())
			if err != nil {
				return g.explainError(err)
			}
			if g.format == command.JSON {
				return g.out.JSON(events)
			}
			_, err = g.eventsPage(events, verbose).WriteTo(g.out.Out)
			return err
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show every past drain, with its steps")
	return cmd
}

func (g *globals) eventsPage(e *control.Events, verbose bool) *page {
	p := g.newPage(e.Now)
	p.blindness(e.IMDS)
	p.unread(e.IMDS)
	p.heading("scheduled", p.freshness(e.IMDS))
	var others []control.Event
	mine := 0
	for _, event := range e.Events {
		if event.Mine {
			p.event(event)
			mine++
		} else {
			others = append(others, event)
		}
	}
	if mine == 0 {
		p.Text(2, cli.Plain, nothingScheduled(e.IMDS), 2)
	}
	if len(others) > 0 {
		p.heading("other events")
		table := &cli.Table{Indent: 2}
		for _, event := range others {
			when := ""
			if event.NotBefore != nil {
				when = p.relative(*event.NotBefore)
			}
			table.Add(plain(event.Type), plain(event.Status), plain(when), plain(event.Reason), painted(cli.Dim, strings.Join(event.Resources, ", ")))
		}
		p.Table(table)
	}
	p.history(e.History, verbose)
	return p
}

// nothingScheduled never says "none" when nobody knows.
func nothingScheduled(imds control.IMDS) string {
	switch imds.State {
	case imdsBlind:
		return "unknown: blind"
	case imdsStarting:
		if imds.LastSuccess != nil {
			return "unknown: IMDS has not said which VM this is"
		}
		return "unknown: IMDS has not answered yet"
	}
	return "nothing for this VM"
}

// history is a table of past drains.
func (p *page) history(records []control.DrainRecord, verbose bool) {
	p.heading("past drains")
	if len(records) == 0 {
		p.Text(2, cli.Plain, "none", 1)
		return
	}
	left := 0
	if !verbose && len(records) > fewDrains {
		left = len(records) - fewDrains
		records = records[:fewDrains]
	}
	table := &cli.Table{Indent: 2}
	for _, r := range records {
		m := resultMark(r.Result)
		table.Add(p.glyph(m), plain(p.clock(r.StartedAt)), painted(m.color, r.Result),
			plain(drainTook(r)), plain(ackText(r.Ack)), plain(recordCause(r)))
	}
	lines := table.Lines(p.Style, p.Width)
	for i, r := range records {
		p.Raw(lines[i])
		p.Text(6, cli.Red, r.Error, 3)
		if verbose {
			p.steps(6, r.Steps)
		}
	}
	if left > 0 {
		p.Text(2, cli.Dim, cli.Plural(left, "older drain")+": fleet-agent events -v", 1)
	}
}

func recordCause(r control.DrainRecord) string {
	if len(r.Causes) == 0 {
		return "unknown"
	}
	text := causeText(r.Causes[0])
	if n := len(r.Causes) - 1; n > 0 {
		text += " and " + cli.Plural(n, "more cause")
	}
	return text
}

// drainTook compares the time that a drain took with the notice that it had.
func drainTook(r control.DrainRecord) string {
	if r.EndedAt == nil {
		return ""
	}
	took := "took " + cli.Seconds(r.DurationSeconds)
	if r.NoticeSeconds > 0 {
		took += " of " + cli.Countdown(time.Duration(r.NoticeSeconds*float64(time.Second)))
	}
	return took
}

func ackText(ack string) string {
	switch ack {
	case "", "never":
		return ""
	case "accepted":
		return "acked"
	}
	return "ack " + ack
}

func resultMark(result string) mark {
	switch result {
	case "succeeded":
		return markGood
	case "failed", "interrupted":
		return markBad
	}
	return markSkipped
}

// freshness says when IMDS last answered.
func (p *page) freshness(imds control.IMDS) cli.Cell {
	switch {
	case imds.LastSuccess == nil:
		return painted(cli.Dim, cmp.Or(imds.Endpoint, "IMDS")+" has not answered yet")
	case p.now.Sub(*imds.LastSuccess) < time.Second:
		return painted(cli.Dim, "IMDS answered just now")
	}
	return painted(cli.Dim, "IMDS answered "+p.relative(*imds.LastSuccess))
}
