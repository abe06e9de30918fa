package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

func newVerifyCommand(g *globals) *cobra.Command {
	var healthAge time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check the fleet, and say ok, failed or not known",
		Long: `Check that images are replicated to every region, that every member is Healthy,
runs the version that its model asks for and is on the latest model, and that
upgrades went well where they are the platform's.

With a file, the upgrade policy, the image, the health extension, repairs and
autoscale are held to what the file says, and each scale set is judged by its
driver. Without one, the driver is the one that fits the set's upgrade mode.

What is not known is never ok, and a scale set without members is no evidence.

Exit codes: 0 all is ok, 3 something failed or is not known, 1 error, 2 wrong
usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl verify
  fleetctl verify -g rg-pay-prod
  fleetctl verify -o json | jq '.checks[] | select(.verdict != "ok")'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if healthAge < 0 {
				return usage.Error(cmd, errors.New("--health-age must not be negative"))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			read, spec, err := g.look(ctx, azure.Scope{Members: true, Upgrades: true, History: true, Autoscale: true, Images: true})
			if err != nil {
				return err
			}
			view := fleet.Verify(read, spec, fleet.StatusOptions{Now: g.now(), HealthAge: healthAge})
			if g.json() {
				err = g.out.JSON(view)
			} else {
				err = g.print(g.verifyPage(view))
			}
			if err != nil {
				return err
			}
			if view.Verdict != fleet.OK {
				return cli.Exit(exitRefused)
			}
			return nil
		},
	}
	g.scopeFlags(cmd)
	healthAgeFlag(cmd, &healthAge)
	return cmd
}

func (g *globals) verifyPage(view fleet.VerifyView) *page {
	p := g.newPage(g.now())
	mark := verdictMark(view.Verdict)
	text := fmt.Sprintf("%d failed, %d not known, %d ok", view.Failed, view.NotKnown, view.OK)
	if view.Verdict == fleet.OK {
		text = "all " + cli.Plural(view.OK, "check") + " ok"
	}
	p.Flow(p.leading(0, mark), 2, painted(mark.Color, text), dim("read "+cli.Clock(view.At, p.now)))
	p.Blank()
	rows := [][]string{{"VERDICT", "WHAT", "CHECK", "SEEN"}}
	for i := range view.Checks {
		c := &view.Checks[i]
		rows = append(rows, []string{string(c.Verdict), p.cut(c.Subject, max(p.Width/4, minName)), c.Check, p.withNames(c.Text, c.Members)})
	}
	table := &cli.Table{Wrap: problemLines}
	table.Add(append([]cli.Cell{{Text: " "}}, headings(rows[0]...)...)...)
	for i, row := range rows[1:] {
		mark := verdictMark(view.Checks[i].Verdict)
		table.Add(mark.Cell(p.Style), painted(mark.Color, row[0]), plain(row[1]), dim(row[2]), plain(row[3]))
	}
	p.Table(table)
	p.notes(view.Notes)
	return p
}

func verdictMark(v fleet.Verdict) cli.Mark {
	switch v {
	case fleet.OK:
		return markGood
	case fleet.NotKnown:
		return markUnknown
	default:
		return markBad
	}
}
