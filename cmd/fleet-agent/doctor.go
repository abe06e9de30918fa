package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/agent"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/doctor"
)

// doctorExit is the code that doctor exits with, by the worst that it found.
func doctorExit(s doctor.Severity) int {
	switch s {
	case doctor.Error:
		return 3
	case doctor.Warning:
		return 2
	default:
		return cli.ExitOK
	}
}

func severityMark(s doctor.Severity) mark {
	switch s {
	case doctor.Error:
		return mark{"✗", "x", cli.BoldRed}
	case doctor.Warning:
		return markWarning
	case doctor.Note:
		return mark{"·", ".", cli.Cyan}
	default:
		return markGood
	}
}

func newDoctorCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "look for what is wrong with this node's set-up",
		Long: `Look for what would go wrong at the next eviction, reboot or probe: the
configuration, the metadata service, the health extension's settings, the time
that a shutdown leaves, the right to stop units, the adopted workloads, sockets,
permissions, disk, clock and pressure. Each finding comes with its consequence
and the command that mends it.

It changes nothing, and works without the agent. As root it sees everything;
other users are told what could not be looked at.

You want it after an installation, in a new image, and when something is odd.

Exit codes:
  0    nothing to mend
  1    could not look; or wrong usage
  2    warnings
  3    errors`,
		Example: `  sudo fleet-agent doctor
  fleet-agent doctor -o json | jq '.findings[] | select(.severity=="error")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := doctor.Examine(cmd.Context(), doctor.Config{
				ConfigPath: g.configPath, Socket: g.socket, Version: command.ReadVersion(version).Release,
				Fit: func(conf *config.Config, notice time.Duration) (control.PlanPreview, error) {
					return agent.Preview(conf, agent.PreviewRequest{Event: "Reboot", Notice: notice, HasNotice: true})
				},
			})
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				err = g.out.JSON(report)
			} else {
				_, err = g.doctorPage(report).WriteTo(g.out.Out)
			}
			if err != nil {
				return err
			}
			return cli.Exit(doctorExit(report.Severity))
		},
	}
}

// doctorPage tells the worst first, and in one line each what is fine.
func (g *globals) doctorPage(r *doctor.Report) *page {
	p := g.newPage(time.Now())
	count := func(s doctor.Severity, noun string, color cli.Color) cli.Cell {
		n := r.Count(s)
		if n == 0 {
			return cli.Cell{}
		}
		return painted(color, cli.Plural(n, noun))
	}
	summary := painted(cli.BoldGreen, "nothing to mend")
	if r.Severity == doctor.Warning || r.Severity == doctor.Error {
		summary = cli.Cell{}
	}
	p.Flow(p.leading(0, severityMark(r.Severity)), 2, summary, count(doctor.Error, "error", cli.BoldRed), count(doctor.Warning, "warning", cli.BoldAmber),
		count(doctor.Note, "note", cli.Cyan), painted(cli.Green, fmt.Sprintf("%d fine", r.Count(doctor.OK))))

	const width = 15 // of the longest name, and two spaces
	for _, severity := range []doctor.Severity{doctor.Error, doctor.Warning, doctor.Note, doctor.OK} {
		if severity == doctor.OK {
			p.Blank()
		}
		for _, f := range r.Findings {
			if f.Severity != severity {
				continue
			}
			if severity != doctor.OK {
				p.Blank()
			}
			lead := p.leading(0, severityMark(severity))
			name := f.Check + strings.Repeat(" ", max(width-len(f.Check), 1))
			p.Flow(cli.Cell{Text: lead.Text + name, Color: lead.Color}, len(name)+2, plain(f.Found))
			p.Text(width+2, cli.Dim, f.Consequence, 4)
			p.command(width+2, f.Fix)
		}
	}
	return p
}
