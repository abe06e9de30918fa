package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// byDefault is what the tool does by itself: one member first, and it is watched.
func (i *incident) byDefault(ctx context.Context) (string, error) {
	if err := i.hsm.open(ctx, barred); err != nil {
		return "", err
	}
	w, err := i.serving(ctx)
	if err != nil {
		return "", err
	}
	i.Note("Batches, a canary of one member with a soak of an hour, drained before its disk is replaced. Whoever calls may not suspend automatic repairs. This time 1.7.0's baseline closes the HSM's port late: its members serve at first.")
	foreseen, err := w.plan(ctx, "1.7.0")
	if err != nil {
		return "", err
	}
	w.shown("rollout run 1.7.0 --yes")
	run, err := w.start(ctx, "rollout", "run", "1.7.0", "--yes")
	if err != nil {
		return "", err
	}
	v, err := w.until(ctx, run, "the soak of the canary", func(v *view) bool { return v.step("canary") == "soaking" })
	if err != nil {
		return "", err
	}
	if err := holds(len(v.Ran) == 1, "one member has 1.7.0: %+v", v.Ran); err != nil {
		return "", err
	}
	canary := v.Ran[0].Member
	if err := i.drainedFirst(ctx, w, &v, canary); err != nil {
		return "", err
	}
	if err := w.born(ctx); err != nil {
		return "", err
	}

	i.Note("Now the baseline closes the HSM's port.")
	i.hsm.shut(barred)
	if err := run.wait(5); err != nil {
		return "", err
	}
	if v, err = w.show(ctx, "1"); err != nil {
		return "", err
	}
	if err := holds(strings.Contains(v.Why, canary), "it halted because of %s: %s", canary, v.Why); err != nil {
		return "", err
	}
	i.Fact("it has stopped itself: exit code 5. What it says at its end:")
	_, page, _ := strings.Cut(run.out.String(), "✗ ")
	i.Show("✗ " + page)
	if err := holds(strings.Contains(v.Ran[0].Node, "hsm"), "the node says that it is the HSM: %q", v.Ran[0].Node); err != nil {
		return "", err
	}
	i.Fact("the node's own words were taken before its disk went: %s", wordsOf(v.Ran[0].Node))
	ran, err := w.blast(ctx, &v, &foreseen)
	if err != nil {
		return "", err
	}
	if err := holds(slices.Equal(ran, []string{east + "/" + canary}), "exactly one member ever had 1.7.0: %v", ran); err != nil {
		return "", err
	}
	i.Fact("exactly one member ever had 1.7.0, by the simulator's record too; the plan predicted at most %d", foreseen.Waves[0].Worst)
	if err := w.keptAway(ctx, &v); err != nil {
		return "", err
	}
	if err := w.awaitAll(ctx, map[string]int{east + " 1.6.0": 6, west + " 1.6.0": 10}); err != nil {
		return "", err
	}
	for _, set := range []string{east, west} {
		model, err := w.model(ctx, set)
		if err != nil {
			return "", err
		}
		if err := holds(model.version() == "1.6.0", "the model of %s is back on 1.6.0: %s", set, model.version()); err != nil {
			return "", err
		}
	}
	i.Fact("it went back: all 16 are Healthy on 1.6.0, and so are the models; 1.7.0 is demoted and marked failed")
	return "one member ever had 1.7.0; a scale-out and a repair beside it were born on 1.6.0; it was drained first, and went back", nil
}

// wordsOf are the first of what a node says of itself that is about the HSM.
func wordsOf(text string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, "hsm") {
			return strings.TrimSpace(line)
		}
	}
	return text
}

// until waits until a rollout that a command is at work on is as it should be.
func (w *world) until(ctx context.Context, run *command, what string, is func(*view) bool) (view, error) {
	var v view
	err := w.i.await(ctx, what, func() (bool, error) {
		if run.ended() {
			return false, fmt.Errorf("fleetctl has ended before: %s\n%s%s", run.cmd.ProcessState, tail(run.out.String()), tail(run.errs.String()))
		}
		var err error
		v, err = w.show(ctx, "")
		return err == nil && is(&v), err
	})
	return v, err
}

// sicken kills the agent of the last member of a set, waits until its health is not known
// any more, and lets the grace period pass, so that the platform begins to repair it.
func (w *world) sicken(ctx context.Context, set string) (name string, err error) {
	list, err := w.members(ctx, set)
	if err != nil {
		return "", err
	}
	slices.SortFunc(list, func(a, b stage.Member) int { return strings.Compare(a.Name, b.Name) })
	name = list[len(list)-1].Name
	// The machine runs it as Azure's Run Command would.
	err = stage.Ask(ctx, "POST", w.endpoint+compute+"virtualMachines/"+name+"/runCommand?api-version=2025-04-01",
		map[string]any{"commandId": "RunShellScript", "script": []string{
			`kill -9 "$(fleet-agent status -o json | sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' | head -n 1)"`,
		}}, nil)
	if err != nil {
		return "", err
	}
	err = w.i.await(ctx, "the health of "+name+" to be unknown", func() (bool, error) {
		list, err := w.members(ctx, set)
		i := slices.IndexFunc(list, func(m stage.Member) bool { return m.Name == name })
		return err == nil && i >= 0 && list[i].Health() == "unknown", err
	})
	if err != nil {
		return "", err
	}
	// The grace period passes, in steps between which fleetctl looks.
	for range 2 {
		began, err := w.show(ctx, "")
		if err != nil {
			return "", err
		}
		if err := w.tell(ctx, "/v1/clock", map[string]any{"advance": "4m"}); err != nil {
			return "", err
		}
		err = w.i.await(ctx, "fleetctl to look", func() (bool, error) {
			v, err := w.show(ctx, "")
			return v.Observed.After(began.Observed.Add(4 * time.Minute)), err
		})
		if err != nil {
			return "", err
		}
	}
	return name, nil
}

// scaledOut waits until autoscale has added a member to a set under load, and takes the
// load away: else it adds another one when the first half an hour is over.
func (w *world) scaledOut(ctx context.Context, set string) error {
	err := w.i.await(ctx, "a scale-out", func() (bool, error) {
		scaled, err := w.activities(ctx, "scaleup/action")
		return len(scaled) > 0, err
	})
	if err != nil {
		return err
	}
	return w.tell(ctx, "/v1/happen", map[string]any{"scale_set": set, "load": 50})
}

// drainedFirst asserts that a member was drained by its own agent before its disk was
// replaced.
func (i *incident) drainedFirst(ctx context.Context, w *world, v *view, name string) error {
	drains, err := i.drains()
	if err != nil {
		return err
	}
	if err := holds(len(drains) == 1 && drains[0].cause == "operator", "one agent has drained, because an operator asked: %+v", drains); err != nil {
		return err
	}
	writes, err := w.writes(ctx)
	if err != nil {
		return err
	}
	command := slices.IndexFunc(writes, func(r arm.Request) bool {
		return strings.HasSuffix(strings.ToLower(r.Path), strings.ToLower(name)+"/runcommand")
	})
	upgrade := slices.IndexFunc(writes, func(r arm.Request) bool { return strings.HasSuffix(r.Path, "/manualupgrade") })
	if err := holds(command >= 0 && command < upgrade && v.did("drain") == 1, "the drain of %s came before its upgrade: %d, %d, %d", name, command, upgrade, v.did("drain")); err != nil {
		return err
	}
	i.Fact("the canary is %s: drained by its own agent, then upgraded, then verified; it soaks", name)
	return nil
}

// born has a scale-out and a repair happen, and asserts that their members are born on
// 1.6.0.
func (w *world) born(ctx context.Context) error {
	before, err := w.disks(ctx)
	if err != nil {
		return err
	}
	if err := w.tell(ctx, "/v1/happen", map[string]any{"scale_set": east, "load": 95}); err != nil {
		return err
	}
	if err := w.scaledOut(ctx, east); err != nil {
		return err
	}
	dead, err := w.sicken(ctx, east)
	if err != nil {
		return err
	}
	var fresh []string
	err = w.i.await(ctx, "a scale-out and a repair", func() (bool, error) {
		list, err := w.members(ctx, east)
		if err != nil {
			return false, err
		}
		for i := range list {
			if list[i].Health() != "healthy" || list[i].Name == dead {
				return false, nil
			}
		}
		disks, err := w.disks(ctx)
		fresh = nil
		for _, d := range disks[min(len(before), len(disks)):] {
			fresh = append(fresh, d.Version)
		}
		return len(list) == 6 && len(fresh) == 2, err
	})
	if err != nil {
		return err
	}
	v, err := w.show(ctx, "")
	if err != nil {
		return err
	}
	if err := holds(v.step("canary") == "soaking", "it still soaks: %s", v.step("canary")); err != nil {
		return err
	}
	if err := holds(slices.Equal(fresh, []string{"1.6.0", "1.6.0"}), "who is born during the soak is born on 1.6.0: %v", fresh); err != nil {
		return err
	}
	repairs, err := w.activities(ctx, "automaticrepairs/action")
	if err != nil {
		return err
	}
	if err := holds(len(repairs) == 1 && nameOf(repairs[0].Resource) == dead, "the platform has repaired %s: %v", dead, repairs); err != nil {
		return err
	}
	w.i.Fact("meanwhile autoscale has added a member, and automatic repairs have replaced %s, whose agent had died: both were born on 1.6.0", dead)
	return nil
}
