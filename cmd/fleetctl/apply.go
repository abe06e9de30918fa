package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

func newApplyCommand(g *globals) *cobra.Command {
	var exitCode, register bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "make what the file says of the foundation of bakes",
		Long: `Show the plan, ask, and do it: make or change the resource group, the identity
that Image Builder works as, its role and where it is assigned, the gallery and
the image definition. Scale sets are not written by this version.

What is right already is left alone: a second apply writes nothing. An apply
that was interrupted is taken up by the next one. When something else changes a
resource meanwhile, it is looked at and planned again once.

Who may not write roles gets the commands for whoever may, and the rest is done.
A role takes some minutes to count: fleetctl bake waits for it. Resource
providers are registered only with --register-providers.

With -o json, the result is on standard output and the plan is not shown; -y is
needed.

Exit codes: 0 done, 8 with --exit-code when something is left for others to do,
3 the file asks for a change that cannot be made, 1 error, 2 wrong usage, 4 not
authorised, 130 interrupted.`,
		Example: `  fleetctl apply
  fleetctl apply -y --exit-code
  fleetctl apply --register-providers`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.apply(ctx, cmd, exitCode, register)
		},
	}
	exitCodeFlag(cmd, &exitCode)
	cmd.Flags().BoolVar(&register, "register-providers", false, "register the resource providers that are not")
	return cmd
}

func (g *globals) apply(ctx context.Context, cmd *cobra.Command, exitCode, register bool) error {
	f, err := g.foundation(ctx)
	if err != nil {
		return err
	}
	plan := fleet.PlanFoundation(f.spec, f.live, register)
	view := newPlanView(f.spec, plan)
	if !g.json() {
		if err := g.print(g.planPage(&view)); err != nil {
			return err
		}
	}
	if view.Counts.Refused > 0 {
		return &cli.Error{Code: exitRefused, Err: apply.ErrRefused, Hint: "nothing was written; change the file as the plan says"}
	}
	if err := g.unheld(ctx, f.spec, plan.Changes); err != nil {
		return err
	}
	result := apply.Result{Left: plan}
	if view.writes() {
		if err := g.mayAsk(cmd, "look at the plan, and say --yes"); err != nil {
			return err
		}
		if !g.yes {
			if err := g.confirmPlan(ctx, &f, &view, register); err != nil {
				return err
			}
		}
		a := &apply.Applier{Azure: f.client, Spec: f.spec, Register: register, Wait: g.sleep, Tell: g.tellApply}
		if result, err = a.Apply(ctx, f.live); err != nil {
			return g.unfinishedApply(err, &result)
		}
	}
	return g.applied(f.spec, &result, view.writes(), exitCode)
}

// confirmPlan asks whether a plan shall be made. The answer may take long, so all is read
// again after it: it is for the plan that was shown, and for no other.
func (g *globals) confirmPlan(ctx context.Context, f *foundation, shown *planView, register bool) error {
	if err := g.confirm(ctx, "Make these changes?"); err != nil {
		return err
	}
	live, err := apply.Read(ctx, f.client, f.spec)
	if err != nil {
		return explained(err)
	}
	plan := fleet.PlanFoundation(f.spec, live, register)
	now := newPlanView(f.spec, plan)
	if !slices.EqualFunc(now.Changes, shown.Changes, changeView.sameAs) {
		return cli.Hint(errors.New("something else changed what the plan is about meanwhile: nothing was written"), "run it again, and look at the plan")
	}
	f.live = live
	return g.unheld(ctx, f.spec, plan.Changes)
}

// unfinishedApply says what an apply that did not get to its end has done, and how to
// go on.
func (g *globals) unfinishedApply(err error, r *apply.Result) error {
	const goesOn = "fleetctl apply goes on from here"
	if errors.Is(err, context.Canceled) {
		g.out.Say("fleetctl: interrupted: %s; %s", doneText(r), goesOn)
		return err
	}
	return retold(err, fmt.Errorf("%w (before that: %s)", err, doneText(r)), goesOn)
}

func doneText(r *apply.Result) string {
	return fmt.Sprintf("%d created, %d changed", r.Count(fleet.ActionCreate), r.Count(fleet.ActionUpdate))
}

// applied tells how an apply has ended. When there was nothing to do for it, the plan has
// said it all.
func (g *globals) applied(spec *fleet.Spec, r *apply.Result, did, exitCode bool) error {
	left := newPlanView(spec, r.Left)
	var err error
	switch {
	case g.json():
		err = g.out.JSON(struct {
			Version int      `json:"version"`
			Created int      `json:"created"`
			Updated int      `json:"updated"`
			Left    planView `json:"left"`
		}{1, r.Count(fleet.ActionCreate), r.Count(fleet.ActionUpdate), left})
	case did:
		err = g.print(g.appliedPage(&left, r))
	}
	if err == nil && exitCode && left.unfinished() {
		err = cli.Exit(exitChanges)
	}
	return err
}

// appliedPage is what was done and what is left.
func (g *globals) appliedPage(left *planView, r *apply.Result) *page {
	p := g.newPage(g.now())
	p.Raw("")
	mark, text := markGood, doneText(r)
	if len(r.Written) == 0 {
		text = "nothing was written"
	}
	if left.unfinished() {
		mark, text = markUnknown, fmt.Sprintf("%s, %d left", text, len(left.Changes)-left.Counts.None)
	}
	p.Flow(p.leading(0, mark), 2, painted(mark.Color, text))
	for i := range left.Changes {
		if left.Changes[i].Action != fleet.ActionNone {
			p.change(&left.Changes[i])
		}
	}
	p.commands(left.Changes)
	if slices.ContainsFunc(r.Written, func(c fleet.Change) bool { return c.Scope != "" }) {
		p.Text(0, cli.Dim, "A role takes some minutes until it counts: fleetctl bake waits for it.", planLines)
	}
	return p
}

// tellApply tells what an apply does while it does it.
func (g *globals) tellApply(e apply.Event) {
	verb := map[fleet.Action]string{fleet.ActionCreate: "create", fleet.ActionUpdate: "change"}[e.Change.Action]
	what := verb + " " + e.Change.Kind + " " + e.Change.Name
	switch e.Kind {
	case apply.Begun:
		g.out.Say("fleetctl: %s", cli.Clean(what))
	case apply.Waiting:
		g.out.Say("fleetctl: waiting: %s", cli.Clean(e.Text))
	case apply.Again:
		g.out.Say("fleetctl: %s: something else wrote it meanwhile, so it is planned again (%s)", cli.Clean(what), cli.Clean(e.Text))
	case apply.Denied:
		g.out.Say("fleetctl: %s", cli.Clean(e.Text))
	case apply.Kept:
		g.out.Say("fleetctl: %s: Azure took it, and shows something else than was written", cli.Clean(what))
	case apply.Done:
	}
}
