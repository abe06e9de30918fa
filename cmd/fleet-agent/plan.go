package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/agent"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// eventTypes are the scheduled events that Azure documents.
var eventTypes = []string{"Freeze", "Preempt", "Reboot", "Redeploy", "Terminate"}

// timelineWidth is the width of the bars of a plan.
const timelineWidth = 24

func newPlanCommand(g *globals) *cobra.Command {
	var event string
	var notice time.Duration
	cmd := &cobra.Command{
		Use:   "plan --event TYPE [--notice D]",
		Short: "show what a drain would do in the time that there is",
		Long: `Show which steps a drain would run when an event of this type comes with this
much notice, for how long each at most, and what would be left out for lack of
time. Nothing is done: the plan is computed from the configuration, without the
daemon.

You want it while you write drain.plan, and in the pipeline that changes it.

Exit codes:
  0    the required steps fit
  1    they do not; or error, or wrong usage`,
		Example: `  fleet-agent plan --event Preempt --notice 8s
  fleet-agent plan --event Reboot --notice 15m -o json | jq .enough
  fleet-agent --config ./config.yaml plan --event Terminate`,
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := agent.PreviewRequest{Event: event, Notice: notice, HasNotice: cmd.Flags().Changed("notice")}
			switch {
			case event == "":
				return cli.Hint(errors.New("--event is missing"), "one of %s", strings.Join(eventTypes, ", "))
			case request.HasNotice && notice < 0:
				return usage.Error(cmd, errors.New("--notice must not be negative"))
			}
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			preview, err := agent.Preview(cfg, request)
			if err != nil {
				return err
			}
			if g.format == command.JSON {
				err = g.out.JSON(preview)
			} else {
				_, err = g.planPage(&preview).WriteTo(g.out.Out)
			}
			if err != nil {
				return err
			}
			if !preview.Enough {
				return cli.Exit(cli.ExitError)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&event, "event", "", "`TYPE` of the event, such as Preempt or Reboot")
	flags.DurationVar(&notice, "notice", 0, "time `D` from publication to NotBefore (default Azure's)")
	_ = cmd.RegisterFlagCompletionFunc("event", cobra.FixedCompletions(eventTypes, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	noFiles(cmd)
	return cmd
}

func (g *globals) planPage(pv *control.PlanPreview) *page {
	p := g.newPage(time.Now())
	notice, available := cli.Cell{}, plain("no deadline")
	if pv.NoticeSeconds != nil {
		notice = plain(cli.Seconds(*pv.NoticeSeconds) + " notice")
	}
	if pv.AvailableSeconds != nil {
		available = plain(cli.Seconds(*pv.AvailableSeconds) + " to drain")
	}
	p.Flow(cli.Cell{}, 2, painted(cli.Bold, pv.Event), notice, available, labelled("action ", pv.Action), labelled("ack ", pv.Ack))
	p.Blank()
	if pv.Action != "" && pv.Action != "drain" {
		p.Text(0, cli.Plain, "The plan does not run for this event. If it did:", 2)
		p.Blank()
	}
	p.timeline(pv)
	p.Blank()
	p.verdict(pv)
	return p
}

// timeline shows when each step may run, to scale.
func (p *page) timeline(pv *control.PlanPreview) {
	total := pv.SettleSeconds
	for _, st := range pv.Steps {
		if !st.Shed {
			total = max(total, st.OffsetSeconds+st.LimitSeconds)
		}
	}
	table := &cli.Table{Indent: 2}
	table.Add(plain("settle"), painted(cli.Dim, "wait"), plain("+0s"), plain("for "+cli.Seconds(pv.SettleSeconds)),
		painted(cli.Cyan, p.span(0, pv.SettleSeconds, total)))
	for _, st := range pv.Steps {
		name := st.Name
		if st.Optional {
			name += " (optional)"
		}
		if st.Shed {
			paint, why := cli.Red, "no time is left"
			if st.Optional {
				paint = cli.Yellow
			}
			if st.MinSeconds > 0 {
				why = "needs " + cli.Seconds(st.MinSeconds) + " at least"
			}
			table.Add(painted(cli.Dim, name), painted(cli.Dim, st.Kind), plain(""), painted(paint, "left out"), painted(cli.Dim, why))
			continue
		}
		limit := "up to " + cli.Seconds(st.LimitSeconds)
		if st.LimitSeconds < st.MaxSeconds {
			limit += " of " + cli.Seconds(st.MaxSeconds)
		}
		table.Add(plain(name), painted(cli.Dim, st.Kind), plain("+"+cli.Seconds(st.OffsetSeconds)), plain(limit),
			painted(cli.Blue, p.span(st.OffsetSeconds, st.LimitSeconds, total)))
	}
	p.Table(table)
}

// span is a bar from offset to offset+length on a line that is total long.
func (p *page) span(offset, length, total float64) string {
	if total <= 0 {
		return ""
	}
	scale := func(s float64) int { return min(int(s/total*timelineWidth+0.5), timelineWidth) }
	from := min(scale(offset), timelineWidth-1)
	to := from
	if length > 0 {
		to = max(scale(offset+length), from+1) // short, but there
	}
	return strings.Repeat(p.Style.Glyph("─", "-"), from) +
		strings.Repeat(p.Style.Glyph("━", "="), to-from) +
		strings.Repeat(p.Style.Glyph("─", "-"), timelineWidth-to)
}

func (p *page) verdict(pv *control.PlanPreview) {
	end, shed, skipped, hungry := pv.SettleSeconds, 0, 0, ""
	for _, st := range pv.Steps {
		switch {
		case st.Shed && st.Optional:
			shed++
			continue
		case st.Shed:
			skipped++
			continue
		case hungry == "" && st.MinSeconds == 0 && !st.Optional && st.LimitSeconds < min(1, st.MaxSeconds/10):
			hungry = st.Name
		}
		end = max(end, st.OffsetSeconds+st.LimitSeconds)
	}
	if !pv.Enough {
		p.Flow(p.leading(0, markBad), 2, painted(cli.BoldRed, "not enough time: the drain fails without "+cli.Plural(skipped, "required step")))
		p.Text(2, cli.Plain, "Lower the steps' min or drain.reserve, or mark steps optional.", 2)
		return
	}
	left := cli.Cell{}
	if pv.AvailableSeconds != nil && *pv.AvailableSeconds > end {
		left = plain(cli.Seconds(*pv.AvailableSeconds-end) + " to spare")
	}
	without := cli.Cell{}
	if shed > 0 {
		without = painted(cli.Yellow, "without "+cli.Plural(shed, "optional step"))
	}
	p.Flow(p.leading(0, markGood), 2, painted(cli.Green, fmt.Sprintf("fits: drained after %s at the latest", cli.Seconds(end))), without, left)
	if hungry != "" {
		p.Text(2, cli.Plain, hungry+" has next to no time. If it needs more, give it a min.", 2)
	}
}
