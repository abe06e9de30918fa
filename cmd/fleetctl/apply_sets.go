package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// setApplier makes what makes the plans of scale sets.
func (d *declaration) setApplier(o ownFlags) *apply.SetApplier {
	now, wait := d.g.times(d.client)
	a := &apply.SetApplier{Azure: d.client, Spec: d.spec, Held: d.held(now), Now: now, Wait: wait, Tell: d.tellSet}
	if !d.g.yes {
		a.Confirm = d.confirmSet(o)
	}
	return a
}

// heldFor is how long it counts what a journal says of rollouts. It is asked before each
// write of each scale set.
const heldFor = 10 * time.Second

// held says which rollout holds a scale set, for several that ask at the same time.
func (d *declaration) held(now func() time.Time) func(context.Context, string) (string, error) {
	var one sync.Mutex
	var read time.Time
	var last *fleet.Hold
	return func(ctx context.Context, name string) (string, error) {
		one.Lock()
		defer one.Unlock()
		if at := now(); read.IsZero() || at.Sub(read) >= heldFor {
			h, err := d.g.holdToWrite(ctx, d.spec)
			if err != nil {
				return "", err
			}
			last, read = h, at
		}
		return d.holds(last, name), nil
	}
}

// confirmSet asks whether another plan of a scale set is to be made than the one that was
// agreed to, and not without end.
func (d *declaration) confirmSet(o ownFlags) func(context.Context, *fleet.SetPlan, string) (bool, error) {
	asked := make(map[string]int)
	return func(ctx context.Context, plan *fleet.SetPlan, why string) (bool, error) {
		if asked[plan.Name]++; asked[plan.Name] > maxPlans {
			return false, nil
		}
		d.g.out.Say("fleetctl: %s: somebody else changed it meanwhile (%s); this is its plan now", plan.Name, cli.Clean(why))
		view := newPlanView(d.spec, fleet.FoundationPlan{}, []fleet.SetPlan{*plan}, o)
		d.writers(ctx, &view)
		p := d.g.newPage(d.g.now())
		p.set(&view.ScaleSets[0])
		if err := d.g.print(p); err != nil {
			return false, err
		}
		answer, err := d.g.ask(ctx, "Make these changes? [y/N]")
		return err == nil && (answer == "y" || answer == "yes"), ctx.Err()
	}
}

// stepVerbs say what a step does, and what it has done.
var stepVerbs = map[fleet.StepKind][2]string{
	fleet.StepPlatform:  {"waiting for the platform", "the platform is done"},
	fleet.StepCreate:    {"creating it", "created"},
	fleet.StepExtension: {"writing its health extension", "its health extension is written"},
	fleet.StepModel:     {"writing its model", "its model is written"},
	fleet.StepMembers:   {"bringing members to the model", "its members are on the model"},
	fleet.StepPolicy:    {"writing its policy of upgrades and repairs", "its policy is written"},
	fleet.StepAutoscale: {"writing its autoscale setting", "its autoscale setting is written"},
}

// bringVerbs say what is done to members.
var bringVerbs = map[fleet.BringVerb]string{
	fleet.BringDrain: "draining", fleet.BringUpgrade: "bringing to the model", fleet.BringUndrain: "undraining",
}

// tellSet tells what happens to a scale set, in a line.
func (d *declaration) tellSet(e apply.SetEvent) {
	say := func(format string, args ...any) {
		d.g.out.Say("fleetctl: %s: %s", e.Set, cli.Clean(fmt.Sprintf(format, args...)))
	}
	verbs := stepVerbs[e.Step.Kind]
	doing, done := verbs[0], verbs[1]
	if do := bringVerbs[e.Do]; do != "" && len(e.Members) > 0 {
		doing = do + " " + andMore(e.Members, shownNames)
		done = fmt.Sprintf("%d of %s brought: on the model and Healthy", len(e.Members), cli.Plural(len(e.Step.Members), "member"))
	}
	switch e.Kind {
	case apply.Begun:
		switch {
		case e.Step.Override != "":
			say("OVERRIDDEN: %s", e.Step.Override)
		case e.Step.Kind == fleet.StepPolicy:
			say("the gate is open")
		}
		say("%s", doing)
	case apply.Done:
		say("%s", done)
	case apply.Waiting:
		say("waiting: %s", e.Text)
	case apply.Again:
		say("%s: something is in the way, so it is planned again (%s)", doing, e.Text)
	case apply.Denied:
		say("%s", e.Text)
	case apply.Kept:
		say("Azure took what was written, and shows something else")
	case apply.Stopped:
		say("stopped: %s", e.Text)
	}
}
