package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

func newApplyCommand(g *globals) *cobra.Command {
	var exitCode bool
	var o ownFlags
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "make what the file says",
		Long: `Show the plan, ask, and do it: what a bake needs first, then the scale sets,
several at the same time. fleetctl plan --help says what its lines mean.

What is right already is left alone: a second apply writes nothing. An apply
that was interrupted is taken up by the next one. When something else changes
what the plan is about meanwhile, the new plan is shown and asked for; with
--yes nobody is asked, and apply stops.

A new scale set begins on the newest version that is promoted in its region, in
mode Manual. The very first begins with --image; until there is a version that
it can begin with, it waits. The capacity and the image of a scale set that is
there are never written. Members are brought to a changed model in batches by
name; where the image would change along, that is for a rollout to do.

Azure upgrades and repairs members by itself only when every running member is
on the latest model and reports Healthy. --yes does not override this gate.
--without-evidence does, and it is printed.

What an unfinished rollout holds is not written. Who may not write roles gets
the commands for whoever may, and the rest is done. A role takes some minutes to
count: fleetctl bake waits for it. Resource providers are registered only with
--register-providers.

With -o json, the result is on standard output in the place of the plan: what
was made, what failed and which lines of the file cause it, and what is left. -y
is needed.

Exit codes: 0 done, or what is left waits; 8 with --exit-code when something is
left; 3 the file asks for a change that cannot be made, or a scale set is
blocked by the gate, an image or a rollout; 1 error, 2 wrong usage, 4 not
authorised, 130 interrupted.`,
		Example: `  fleetctl apply
  fleetctl apply --image 1.8.0
  fleetctl apply -y --exit-code`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			d, err := g.declaration()
			if err != nil {
				return err
			}
			return d.apply(ctx, cmd, o, exitCode)
		},
	}
	o.flags(cmd)
	exitCodeFlag(cmd, &exitCode)
	cmd.Flags().BoolVar(&o.register, "register-providers", false, "register the resource providers that are not")
	return cmd
}

func (d *declaration) apply(ctx context.Context, cmd *cobra.Command, o ownFlags, exitCode bool) error {
	p, err := d.agreed(ctx, cmd, o)
	if err != nil {
		return err
	}
	if d.g.noWait && p.view.writes() {
		d.g.out.Say("fleetctl: --no-wait changes nothing here: each step needs the one before it; Ctrl-C leaves the rest to the next apply")
	}
	did := applyResult{foundation: apply.Result{Left: p.foundation}, sets: apply.SetResult{Left: p.plans}, wrote: p.view.writes()}
	if p.view.writesFoundation() {
		a := &apply.Applier{Azure: d.client, Spec: d.spec, Register: o.register, Wait: d.g.sleep, Tell: d.g.tellApply}
		if did.foundation, err = a.Apply(ctx, p.live); err != nil {
			return d.unfinished(err, &did, o)
		}
	}
	if p.view.writesSets() {
		if did.sets, err = d.setApplier(o).Apply(ctx, p.sets); err != nil && ctx.Err() != nil {
			return d.unfinished(err, &did, o)
		}
	}
	return d.applied(&did, o, exitCode)
}

// maxPlans bounds how often somebody is asked whether a plan is to be made that is another
// one than before.
const maxPlans = 3

// agreed shows the plan, and asks whether it shall be made. The answer may take long, so
// all is read again after it: it is for the plan that was shown, and for no other.
func (d *declaration) agreed(ctx context.Context, cmd *cobra.Command, o ownFlags) (*planned, error) {
	shown, err := d.plan(ctx, o)
	if err != nil {
		return nil, err
	}
	for range maxPlans {
		if err := d.show(shown); err != nil || !shown.view.writes() {
			return shown, err
		}
		if err := d.g.mayAsk(cmd, "look at the plan, and say --yes"); err != nil {
			return nil, err
		}
		if _, err := d.g.holdToWrite(ctx, d.spec); err != nil {
			return nil, err
		}
		if d.g.yes {
			return shown, nil
		}
		if err := d.g.confirm(ctx, "Make these changes?"); err != nil {
			return nil, err
		}
		now, err := d.plan(ctx, o)
		if err != nil {
			return nil, err
		}
		if !now.beyond(shown) {
			return now, nil
		}
		d.g.out.Say("fleetctl: something else changed what the plan is about meanwhile, and nothing was written; this is the plan now")
		shown = now
	}
	return nil, cli.Hint(errors.New("something else keeps changing what the plan is about: nothing was written"), "find out who does: fleetctl plan says who wrote what has drifted")
}

// show shows a plan to people, and refuses one that cannot be made, which programs are shown,
// too.
func (d *declaration) show(p *planned) error {
	refused := p.view.Counts.Refused > 0
	var err error
	switch {
	case !d.g.json():
		err = d.g.print(d.g.planPage(&p.view))
	case refused:
		err = d.g.out.JSON(d.resultView(&applyResult{}, p.view))
	}
	if err != nil {
		return err
	}
	if refused {
		return &cli.Error{Code: exitRefused, Err: apply.ErrRefused, Hint: "nothing was written; change the file as the plan says"}
	}
	return nil
}

// unfinished ends an apply that did not get to its end. Programs get what it has done all
// the same.
func (d *declaration) unfinished(err error, did *applyResult, o ownFlags) error {
	if d.g.json() {
		if !errors.Is(err, context.Canceled) {
			did.stopped = explained(err)
		}
		left := newPlanView(d.spec, did.foundation.Left, did.sets.Left, o)
		if unwritten := d.g.out.JSON(d.resultView(did, left)); unwritten != nil {
			err = errors.Join(err, unwritten)
		}
	}
	return d.g.unfinishedApply(err, did)
}

// unfinishedApply says what an apply that did not get to its end has done, and how to
// go on.
func (g *globals) unfinishedApply(err error, did *applyResult) error {
	const goesOn = "fleetctl apply goes on from here"
	for i := range did.sets.Failed { // of those that were only interrupted there is nothing to say
		if set := &did.sets.Failed[i]; !errors.Is(set.Err, err) || errors.Is(set.Err, apply.ErrDrained) || errors.Is(set.Err, apply.ErrGoesOn) {
			g.out.Say("fleetctl: %s", cli.Clean(set.Error()))
		}
	}
	if errors.Is(err, context.Canceled) {
		g.out.Say("fleetctl: interrupted: %s; %s", did, goesOn)
		return err
	}
	return retold(err, fmt.Errorf("%w (before that: %s)", explained(err), did), goesOn)
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
	case apply.Done, apply.Stopped:
	}
}
