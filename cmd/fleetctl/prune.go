package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/release"
)

func newPruneCommand(g *globals) *cobra.Command {
	var keep int
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "delete old image versions that nothing needs",
		Long: `Delete the versions of the file's image beyond the newest --keep, and the
image templates that bakes have left over.

A version stays that a scale set of the subscription asks for or a member
runs, that is latest in a region, the last good one, the one with the highest
number, younger than a day, or being changed, and so do the version of a rollout
that is not over and those that it goes back to. The output says why each stays.
Scale sets of other subscriptions are not seen.

Each deletion is asked for on a terminal; elsewhere, and with -o json, --yes
is needed. Right before each one everything is read again. When anything cannot
be read, nothing is deleted. What Azure does not delete is told, and the rest
goes on.

A deleted version cannot be had back: no new member can be made from it.

Exit codes: 0 done, or nothing to delete; 1 error, or Azure refused a
deletion; 2 wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl images prune --keep 5 --dry-run
  fleetctl images prune --keep 5
  fleetctl images prune --keep 5 --yes -o json`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep < 1 {
				return usage.Error(cmd, errors.New("--keep is at least 1: how many of the newest versions stay"))
			}
			if !dryRun {
				if err := g.mayAsk(cmd, "look with --dry-run, and say --yes"); err != nil {
					return err
				}
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.prune(ctx, keep, dryRun)
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 0, "this `NUMBER` of the newest versions stays")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	return cmd
}

// prune plans, shows the plan, and deletes what it is told to.
func (g *globals) prune(ctx context.Context, keep int, dryRun bool) error {
	spec, err := g.load()
	if err != nil {
		return err
	}
	if spec.Gallery == nil {
		return g.noGallery()
	}
	client, err := g.client()
	if err != nil {
		return err
	}
	pruner := &release.Pruner{Azure: client, Spec: spec, Keep: keep, Now: g.now, NoWait: g.noWait, Hold: func(ctx context.Context) (*fleet.Hold, error) {
		return g.holdToWrite(ctx, spec)
	}}
	view, err := pruner.Plan(ctx)
	if err != nil {
		return err
	}
	view.DryRun = dryRun
	if !g.json() {
		if err := g.print(g.prunePage(&view)); err != nil {
			return err
		}
	}
	var failed error
	if !dryRun {
		failed = g.pruneAll(ctx, pruner, &view)
	}
	if g.json() {
		if err := g.out.JSON(view); err != nil {
			return err
		}
	}
	return failed
}

func (g *globals) noGallery() error {
	return cli.Hint(fmt.Errorf("%s declares no gallery", g.file), "add the section gallery; fleetctl schema describes it")
}

// pruneAll asks for each deletion, and makes it.
func (g *globals) pruneAll(ctx context.Context, pruner *release.Pruner, view *fleet.PruneView) error {
	ask := questions{g: g, all: g.yes}
	refused := 0
	for i := range view.Delete {
		item := &view.Delete[i]
		yes, err := ask.about(ctx, item)
		if err != nil {
			return err
		}
		if !yes {
			item.Outcome = fleet.PruneLeft
			continue
		}
		if *item, err = pruner.Delete(ctx, *item); err != nil {
			return g.pruneEnded(item, err)
		}
		if item.Outcome == fleet.PruneRefused {
			refused++
		}
		if !g.json() {
			p := g.newPage(g.now())
			p.pruned(item)
			if err := g.print(p); err != nil {
				return err
			}
		}
	}
	if refused > 0 {
		return cli.Hint(fmt.Errorf("%s refused by Azure", cli.Plural(refused, "deletion")), "the messages above say why; a lock, or a deletion that is blocked until the end of life, is somebody's decision")
	}
	return nil
}

// pruneEnded is the error of a prune that ended with an item. An interrupt says no more
// than this.
func (g *globals) pruneEnded(item *fleet.PruneItem, err error) error {
	what := fmt.Sprintf("%s %s was not deleted, nor what follows", item.Kind, item.Name)
	if item.Outcome == fleet.PruneDeleting {
		what = fmt.Sprintf("%s %s is being deleted, and Azure goes on with that; what follows was not deleted", item.Kind, item.Name)
	}
	if errors.Is(err, context.Canceled) {
		g.out.Say("fleetctl: interrupted: %s", cli.Clean(what))
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// prunePage is the plan: what goes, and why the rest stays.
func (g *globals) prunePage(view *fleet.PruneView) *page {
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, view.Image), plain("gallery "+view.Gallery),
		plain(fmt.Sprintf("%d to delete", len(view.Delete))), plain(fmt.Sprintf("%d to stay", len(view.Kept))))
	p.pruneItems("to delete", cli.Yellow, view.Delete)
	p.pruneItems("to stay", cli.Plain, view.Kept)
	p.Blank()
	if view.DryRun {
		p.Text(0, cli.Dim, "a dry run: nothing was deleted", 1)
	}
	return p
}

func (p *page) pruneItems(title string, color cli.Color, items []fleet.PruneItem) {
	if len(items) == 0 {
		return
	}
	p.Blank()
	p.Text(2, cli.Dim, title, 1)
	table := &cli.Table{Indent: 2, Wrap: problemLines}
	for _, item := range items {
		age := ""
		if item.Published != nil {
			age = days(p.now.Sub(*item.Published))
		}
		name := item.Name
		if item.Kind == fleet.PruneTemplate {
			name = "template " + name
		}
		table.Add(painted(color, p.cut(name, 34)), dim(age), plain(strings.Join(item.Why, "; ")))
	}
	p.Table(table)
}

// pruned says what became of one item.
func (p *page) pruned(item *fleet.PruneItem) {
	what := fmt.Sprintf("%s %s ", item.Kind, item.Name)
	switch item.Outcome {
	case fleet.PruneRefused:
		p.problem(0, fleet.Problem{Level: fleet.LevelError, Text: what + "was not deleted: " + item.Error})
	case fleet.PruneLeft:
		p.problem(0, fleet.Problem{Level: fleet.LevelWarning, Text: what + "is left alone: " + strings.Join(item.Why, "; ")})
	default:
		p.Flow(p.leading(0, markGood), 2, plain(what+"is "+string(item.Outcome)))
	}
}

// questions asks whether something shall be deleted, until somebody says all or quit.
type questions struct {
	g    *globals
	all  bool
	quit bool
}

// maxAnswers bounds the answers that are none to one question.
const maxAnswers = 10

// about asks about one item. The end of the input means quit.
func (q *questions) about(ctx context.Context, item *fleet.PruneItem) (bool, error) {
	if q.all || q.quit {
		return q.all, nil
	}
	question := fmt.Sprintf("delete %s %s (%s)? yes, no, all or quit:", item.Kind, cli.Clean(item.Name), cli.Clean(strings.Join(item.Why, "; ")))
	for range maxAnswers {
		answer, err := q.g.ask(ctx, question)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			answer = "quit"
		}
		switch answer {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		case "a", "all":
			q.all = true
			return true, nil
		case "q", "quit":
			q.quit = true
			return false, nil
		}
	}
	q.quit = true
	return false, nil
}
