package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// defaultLast is how many rollouts history shows.
const defaultLast = 20

func newRolloutHistoryCommand(g *globals) *cobra.Command {
	last := defaultLast
	cmd := &cobra.Command{
		Use:   "history",
		Short: "list the rollouts of the fleet, the newest first",
		Long: `List the rollouts of the fleet, the newest first: which version, from when to
when, how each has ended, and how many members ever ran the version. Only
journals are read. One that cannot be read is listed with the reason.

Exit codes: 0 also where there is none, 1 error, 2 wrong usage, 4 not
authorised, 130 interrupted.`,
		Example: `  fleetctl rollout history
  fleetctl rollout history --last 100
  fleetctl rollout history -o json | jq '.rollouts[] | {id, phase, ran}'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 1 {
				return usage.Error(cmd, errors.New("--last must be at least 1"))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.rolloutHistory(ctx, last)
		},
	}
	cmd.Flags().IntVar(&last, "last", last, "show at most so many, `N`")
	return cmd
}

// A historyView is the rollouts of a fleet.
type historyView struct {
	Version  int       `json:"version"`
	Rollouts []oldView `json:"rollouts"`       // the newest first
	More     int       `json:"more,omitempty"` // older ones that are not listed
}

// An oldView is one rollout of a list.
type oldView struct {
	ID           string        `json:"id"`
	ImageVersion string        `json:"image_version,omitempty"`
	Phase        rollout.Phase `json:"phase,omitempty"`
	Why          string        `json:"why,omitempty"`
	Begun        time.Time     `json:"begun"`
	Ended        time.Time     `json:"ended,omitzero"`
	Ran          int           `json:"ran"` // members that ever ran the version
	Error        string        `json:"error,omitempty"`
}

// rolloutHistory lists the newest rollouts.
func (g *globals) rolloutHistory(ctx context.Context, most int) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	all, err := r.list(ctx)
	if err != nil {
		return err
	}
	view := historyView{Version: 1, Rollouts: []oldView{}}
	for i, l := range all {
		if len(view.Rollouts) == most {
			view.More = len(all) - i
			break
		}
		old, err := r.old(ctx, &l)
		if errors.Is(err, roll.ErrNone) {
			continue // it was never begun
		}
		if err != nil {
			return err
		}
		view.Rollouts = append(view.Rollouts, old)
	}
	if g.json() {
		return g.out.JSON(view)
	}
	return g.print(g.historyPage(&view, r.now()))
}

// old is a rollout of the list. What is wrong with its journal is told in it; the error is
// that of one that was never begun, or of ctx.
func (r *rollouts) old(ctx context.Context, l *journal.Listed) (oldView, error) {
	old := oldView{ID: l.ID, Begun: l.Begun}
	s, err := r.read(ctx, l.ID)
	if err == nil {
		old.ImageVersion, old.Phase, old.Why, old.Begun, old.Ran = s.Plan.Version, s.State.Phase, s.State.Why, s.Events[0].At, len(s.State.Runs)
		if s.State.Phase.Over() {
			old.Ended = s.State.Since
		}
		return old, nil
	}
	old.Error = err.Error()
	if errors.Is(err, roll.ErrNone) {
		return old, err
	}
	return old, ctx.Err()
}

func (g *globals) historyPage(v *historyView, now time.Time) *page {
	p := g.newPage(now)
	if len(v.Rollouts) == 0 {
		p.Flow(p.leading(0, markNote), 2, plain("there was no rollout yet"))
		return p
	}
	table := &cli.Table{Wrap: 2}
	table.Add(append([]cli.Cell{{Text: " "}}, headings("ID", "VERSION", "BEGUN", "TOOK", "RAN", "PHASE")...)...)
	for i := range v.Rollouts {
		o := &v.Rollouts[i]
		took := ""
		if !o.Ended.IsZero() {
			took = cli.Duration(o.Ended.Sub(o.Begun).Truncate(time.Second))
		}
		table.Add(phaseMark(o.Phase).Cell(p.Style), painted(cli.Bold, o.ID), plain(cmp.Or(o.ImageVersion, "?")), dim(cli.Clock(o.Begun, p.now)), dim(took), plain(strconv.Itoa(o.Ran)), plain(o.words()))
	}
	p.Table(table)
	for i := range v.Rollouts {
		if o := &v.Rollouts[i]; o.Error != "" {
			p.Blank()
			p.problem(0, fleet.Problem{Level: fleet.LevelError, Text: o.ID + ": " + o.Error})
		}
	}
	if v.More > 0 {
		p.Blank()
		p.Text(0, cli.Dim, fmt.Sprintf("and %d older; --last shows more", v.More), 1)
	}
	return p
}

// words is how a rollout stands or has ended, and why if that is not as it should be.
func (o *oldView) words() string {
	switch {
	case o.Error != "":
		return "cannot be read"
	case endCode(o.Phase, false) == cli.ExitOK, o.Why == "":
		return string(o.Phase)
	case strings.HasPrefix(o.Why, string(o.Phase)): // "aborted by ana"
		return o.Why
	}
	return string(o.Phase) + ": " + o.Why
}

// phaseMark is how a phase looks. No phase is a journal that cannot be read.
func phaseMark(p rollout.Phase) cli.Mark {
	switch p {
	case rollout.Succeeded:
		return markGood
	case rollout.Halted, rollout.Incomplete, rollout.Halting, rollout.Returning, rollout.Demoting:
		return markBad
	case rollout.Held:
		return markWarning
	case rollout.Aborted:
		return markNote
	case "":
		return markUnknown
	default:
		return markRunning
	}
}

func newRolloutShowCommand(g *globals) *cobra.Command {
	var report string
	cmd := &cobra.Command{
		Use:   "show [ID]",
		Short: "show one rollout whole: what happened, and which member ran what",
		Long: `Show one rollout whole, as its journal tells it, or the newest one without ID:
how it ended, each member that ever ran the version, from when to when and why,
with the node's own words where it was asked (the blast radius), what is left,
and what happened when. With -o json the plan and every event are there, too.

Exit codes: 0 however it has ended, 1 error, 2 wrong usage, 4 not authorised,
130 interrupted.`,
		Example: `  fleetctl rollout show
  fleetctl rollout show 12
  fleetctl rollout show 12 --report rollout-12.html
  fleetctl rollout show -o json | jq '.ran[] | {member, from, to, why}'`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			return g.showRollout(ctx, id, report)
		},
	}
	reportFlag(cmd, &report)
	return cmd
}

// A showView is one rollout whole.
type showView struct {
	rollout.View

	Plan   *rollout.Plan   `json:"plan"`
	Events []rollout.Event `json:"events"`
}

// showRollout shows a rollout by its journal; without an id, the newest.
func (g *globals) showRollout(ctx context.Context, id, report string) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	f, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	if f == nil {
		return r.noRollouts()
	}
	view := r.view(ctx, f)
	if g.json() {
		err = g.out.JSON(showView{view, &f.Plan, f.Events})
	} else {
		err = g.print(g.showPage(&view, f))
	}
	return errors.Join(err, g.writeReport(report, &view, f.Events))
}

// showPage is one rollout whole.
func (g *globals) showPage(v *rollout.View, f *found) *page {
	p := g.newPage(v.At)
	p.rolloutHeadline(v)
	p.waves(v)
	p.leftOver("left as it is", markBad, v.Left)
	p.leftOver("owed by this rollout", markNote, v.Owed)
	p.rolloutRan(v)
	p.timeline(&f.Plan, f.Events)
	return p
}

// find returns a rollout by its id; without one, the newest, or nil when there is none.
func (r *rollouts) find(ctx context.Context, id string) (*found, error) {
	if id == "" {
		last, _, err := r.newest(ctx)
		return last, err
	}
	unknown := cli.Hint(fmt.Errorf("there is no rollout %q", id), "fleetctl rollout history lists them; an id is a number")
	if number(id) == 0 {
		return nil, unknown
	}
	all, err := r.list(ctx)
	switch {
	case err != nil:
		return nil, err
	case !slices.ContainsFunc(all, func(l journal.Listed) bool { return l.ID == id }):
		return nil, unknown
	}
	s, err := r.read(ctx, id)
	if errors.Is(err, roll.ErrNone) {
		return nil, unknown
	}
	return &found{id, s}, err
}

// rolloutRan adds each member that ever ran the version.
func (p *page) rolloutRan(v *rollout.View) {
	p.Blank()
	if len(v.Ran) == 0 {
		p.Text(0, cli.Bold, "The blast radius: no member ever ran "+v.ImageVersion, 1)
		return
	}
	ever, _ := rollout.Reached(v.Ran)
	p.Text(0, cli.Bold, "The blast radius: "+cli.Plural(ever, "member")+" ever ran "+v.ImageVersion, 1)
	for i := range v.Ran {
		ran := &v.Ran[i]
		until := "now"
		if !ran.To.IsZero() {
			until = cli.Clock(ran.To, p.now)
		}
		p.Flow(cli.Cell{Text: "  "}, 4, painted(cli.Bold, ran.Member), dim(ran.Set), plain(cli.Clock(ran.From, p.now)+" to "+until), plain(ran.Why), plain(ran.Ended))
		p.detail("failed", cli.Red, ran.Failed)
		p.detail("said", cli.Plain, ran.Node)
		if ran.Unseen {
			p.detail("note", cli.Dim, "it was gone before it was seen: it may have run the version")
		}
	}
}

// detail adds what else there is to say of what stands above it.
func (p *page) detail(name string, color cli.Color, text string) {
	if text != "" {
		p.Text(4, color, name+": "+text, problemLines)
	}
}

// timeline adds what happened when.
func (p *page) timeline(plan *rollout.Plan, events []rollout.Event) {
	p.Blank()
	day := ""
	for i := range events {
		e := &events[i]
		text := tellEvent(plan, e)
		if text == "" {
			continue
		}
		at := e.At.In(p.now.Location())
		if d := at.Format(time.DateOnly); d != day {
			day = d
			p.Text(0, cli.Bold, d, 1)
		}
		p.Flow(cli.Cell{Text: "  " + at.Format(time.TimeOnly) + "  ", Color: cli.Dim}, 12, plain(text))
	}
}
