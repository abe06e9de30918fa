package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

func newExplainCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "explain CHECK",
		Short: "say why a check has the status that it has",
		Long: `Say why a check is passing, failing or blocked: its last results, how often it
runs and how many results it takes to change, what it waits for and what waits
for it.

You want it when status names a check that fails.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent explain hsm
  fleet-agent explain hsm -o json | jq '.results[0]'`,
		Args:              usage.Arguments("the name of a check"),
		ValidArgsFunction: g.completeChecks(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			explanation, err := g.client().Explain(cmd.Context(), args[0])
			if err != nil {
				return g.explainError(err)
			}
			if g.format == command.JSON {
				return g.out.JSON(explanation)
			}
			_, err = g.explanationPage(explanation).WriteTo(g.out.Out)
			return err
		},
	}
}

func (g *globals) explanationPage(e *control.Explanation) *page {
	p := g.newPage(e.Now)
	c := e.Check
	since := cli.Cell{}
	if !c.Since.IsZero() {
		since = painted(cli.Dim, "since "+p.clock(c.Since)+" ("+p.age(c.Since)+")")
	}
	p.Flow(p.leading(0, checkMark(c.Status)), 2, painted(cli.Bold, c.Name), painted(checkMark(c.Status).color, c.Status), since)
	p.Text(2, cli.Red, c.Error, 6)
	if c.Status == checkBlocked {
		p.Text(2, cli.Yellow, "not run: waits for "+strings.Join(c.BlockedBy, ", "), 3)
	}
	p.Blank()
	p.field("kind", plain(c.Kind))
	p.field("gates", plain(gatesText(c)))
	p.field("runs", plain("every "+cli.Seconds(e.IntervalSeconds)), plain("for at most "+cli.Seconds(e.TimeoutSeconds)), p.nextRun(e))
	p.field("changes", plain("failing after "+cli.Plural(e.FailAfter, "bad result")), plain("passing after "+cli.Plural(e.PassAfter, "good one")))
	if e.Consecutive > 0 && len(e.Results) > 0 {
		p.field("now", plain(cli.Plural(e.Consecutive, resultWord(e.Results[0])+" result")+" in a row"))
	}
	p.field("needs", listed(e.DependsOn, cli.Plain))
	p.field("blocks", listed(e.Blocks, cli.Yellow))
	p.results(e.Results)
	p.Blank()
	next := &cli.Table{}
	command := g.self + " check " + c.Name
	why := "run it now"
	if c.Status == checkBlocked && len(c.BlockedBy) > 0 {
		command, why = g.self+" explain "+c.BlockedBy[0], "what it waits for"
	}
	next.Add(painted(cli.Bold, "next:"), painted(cli.Cyan, command), painted(cli.Dim, why))
	p.Table(next)
	return p
}

func gatesText(c control.Check) string {
	switch {
	case c.Severity == "warning":
		return "nothing: its severity is warning"
	case len(c.Gates) == 0:
		return "nothing"
	}
	return strings.Join(c.Gates, " and ")
}

func (p *page) nextRun(e *control.Explanation) cli.Cell {
	if e.NextRun == nil {
		return cli.Cell{}
	}
	if !e.NextRun.After(p.now) {
		return plain("runs now")
	}
	return plain("next " + p.relative(*e.NextRun))
}

func resultWord(r control.CheckResult) string {
	if r.Passed {
		return "good"
	}
	return "bad"
}

// listed joins names, and says so when there are none.
func listed(names []string, color cli.Color) cli.Cell {
	if len(names) == 0 {
		return painted(cli.Dim, "nothing")
	}
	return painted(color, strings.Join(names, ", "))
}

func (p *page) results(results []control.CheckResult) {
	if len(results) == 0 {
		return
	}
	p.heading("last results")
	table := &cli.Table{Indent: 2}
	for _, r := range results {
		m, word := markGood, "good"
		if !r.Passed {
			m, word = markBad, "bad"
		}
		table.Add(p.glyph(m), plain(p.clock(r.At)), painted(m.color, word), plain(milliseconds(r.LatencyMS)), plain(r.Error))
	}
	p.Table(table)
}

// checkRun is the answer to `fleet-agent check`.
type checkRun struct {
	Version int    `json:"version"`
	Check   string `json:"check"`
	control.CheckResult
}

func newCheckCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check CHECK",
		Short: "run a check once, now",
		Long: `Run a check once, now, in the agent, and print what it saw. The outcome does not
count: the check's status follows its own schedule.

You want it after you mended something, or to try a check that you wrote.

Exit codes:
  0    it passed
  1    it failed, or the error or wrong usage is on standard error
  4    the agent cannot be reached
  130  interrupted`,
		Example: `  fleet-agent check hsm
  fleet-agent check hsm && fleet-agent undrain`,
		Args:              usage.Arguments("the name of a check"),
		ValidArgsFunction: g.completeChecks(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := g.client().RunCheck(cmd.Context(), args[0])
			if err != nil {
				return g.explainError(err)
			}
			if g.format == command.JSON {
				err = g.out.JSON(checkRun{control.Version, args[0], *result})
			} else {
				_, err = g.checkPage(args[0], result).WriteTo(g.out.Out)
			}
			if err != nil {
				return err
			}
			if !result.Passed {
				return cli.Exit(cli.ExitError)
			}
			return nil
		},
	}
}

func (g *globals) checkPage(name string, r *control.CheckResult) *page {
	p := g.newPage(time.Now())
	m, word := markGood, "passed"
	if !r.Passed {
		m, word = markBad, "failed"
	}
	p.Flow(p.leading(0, m), 2, painted(cli.Bold, name), painted(m.color, word+" in "+milliseconds(r.LatencyMS)))
	p.Text(2, cli.Red, r.Error, 8)
	return p
}

func newReportCommand(g *globals) *cobra.Command {
	var message string
	cmd := &cobra.Command{
		Use:   "report CHECK pass|fail",
		Short: "report in for a check of kind heartbeat",
		Long: `Report in for a check of kind heartbeat, from an application or a timer. Without
a report within the check's ttl it fails.

Exit codes: those of fleet-agent --help`,
		Example: `  fleet-agent report worker pass
  fleet-agent report worker fail --message "queue not reachable"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := usage.Arguments("the name of a check", "pass or fail")(cmd, args); err != nil {
				return err
			}
			if args[1] != "pass" && args[1] != "fail" {
				return usage.Error(cmd, fmt.Errorf("%s: %q is neither pass nor fail", cmd.CommandPath(), args[1]))
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []cobra.Completion{"pass", "fail"}, cobra.ShellCompDirectiveNoFileComp
			}
			return g.completeChecks("heartbeat")(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			accepted, err := g.client().Report(cmd.Context(), args[0], control.HeartbeatRequest{Passed: args[1] == "pass", Message: message})
			if err != nil {
				return g.explainError(err)
			}
			// An application reports every few seconds: there is nothing
			// to say when all is well.
			if g.format == command.JSON {
				return g.out.JSON(accepted)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "`TEXT` that status shows, at most 1 KiB")
	return cmd
}
