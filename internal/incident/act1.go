package main

import (
	"context"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// tooMany is Azure's code for what happens in this act.
const tooMany = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"

// serving starts the fleet, and waits until all agents serve.
func (i *incident) serving(ctx context.Context) (*world, error) {
	w, err := i.newWorld(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.awaitAll(ctx, map[string]int{east + " 1.6.0": 5, west + " 1.6.0": 10}); err != nil {
		return nil, err
	}
	if err := i.hsm.refusesStrangers(ctx); err != nil {
		return nil, err
	}
	if n := i.hsm.served.Load(); n < 15 {
		return nil, holds(false, "each of 15 agents has reached the HSM: it has served %d", n)
	}
	i.Fact("15 agents serve on 1.6.0, 5 in eastus and 10 in westus3; each has shown the HSM its client certificate, without which that serves nobody")
	return w, nil
}

// asTold is the incident as the article tells it.
func (i *incident) asTold(ctx context.Context) (string, error) {
	w, err := i.serving(ctx)
	if err != nil {
		return "", err
	}
	i.Note("1.7.0 is baked and is in eastus only. Its baseline closes the HSM's port for its members. Both scale sets follow the latest version by automatic OS upgrade.")
	foreseen, err := w.plan(ctx, "1.7.0")
	if err != nil {
		return "", err
	}
	w.shown("rollout run 1.7.0 --yes")
	if _, err = w.run(ctx, 5, "rollout", "run", "1.7.0", "--yes"); err != nil {
		return "", err
	}
	i.Fact("it has stopped itself: exit code 5")
	v, err := w.show(ctx, "1")
	if err != nil {
		return "", err
	}
	if err := w.platformStopped(ctx, &v); err != nil {
		return "", err
	}
	ran, err := w.blast(ctx, &v, &foreseen)
	if err != nil {
		return "", err
	}
	if err := holds(len(ran) == 1 && strings.HasPrefix(ran[0], east+"/"), "one member of the canary region had 1.7.0: %v", ran); err != nil {
		return "", err
	}
	i.Fact("only %s ever had 1.7.0: the simulator's record of disks and `rollout show` are of one mind, and the plan predicted at most %d", nameOf(ran[0]), foreseen.Waves[0].Worst)
	if err := w.keptAway(ctx, &v); err != nil {
		return "", err
	}
	bad, err := w.version(ctx, "1.7.0")
	if err != nil {
		return "", err
	}
	if err := holds(bad.regions() == "eastus-", "1.7.0 was never replicated elsewhere: it is in %s", bad.regions()); err != nil {
		return "", err
	}
	if err := w.awaitAll(ctx, map[string]int{east + " 1.6.0": 5, west + " 1.6.0": 10}); err != nil {
		return "", err
	}
	i.Fact("all 15 are Healthy on 1.6.0; 1.7.0 is demoted and marked failed, and was never in westus3")
	if _, err := w.run(ctx, 3, "rollout", "run", "1.7.0", "--yes"); err != nil {
		return "", err
	}
	i.Fact("it cannot be rolled out again: exit code 3")
	return "the platform stopped 1.7.0 at one member and restored its disk; fleetctl kept it from everybody else; 1.7.1 went to all", w.goodEverywhere(ctx)
}

// platformStopped asserts what Azure says of the upgrade to 1.7.0.
func (w *world) platformStopped(ctx context.Context, v *view) error {
	var history struct {
		Value []struct {
			Properties struct {
				Status struct {
					Code string `json:"code"`
				} `json:"runningStatus"`
				Error struct {
					Code string `json:"code"`
				} `json:"error"`
				Target struct {
					Exact string `json:"exactVersion"`
				} `json:"targetImageReference"`
				Back struct {
					Well int `json:"successfullyRolledbackInstanceCount"`
				} `json:"rollbackInfo"`
			} `json:"properties"`
		} `json:"value"`
	}
	if err := w.get(ctx, sets+east+"/osUpgradeHistory", &history); err != nil {
		return err
	}
	if err := holds(len(history.Value) == 1, "there was one OS upgrade: %d", len(history.Value)); err != nil {
		return err
	}
	p := history.Value[0].Properties
	if err := holds(p.Status.Code == "Faulted" && p.Error.Code == tooMany && p.Target.Exact == "1.7.0" && strings.Contains(v.Why, tooMany), "Azure's and fleetctl's reason: %+v; %s", p, v.Why); err != nil {
		return err
	}
	w.i.Fact("the first batch became unhealthy: %s", tooMany)
	writes, err := w.writes(ctx)
	if err != nil {
		return err
	}
	byUs := slices.ContainsFunc(writes, func(r arm.Request) bool { return strings.HasSuffix(r.Path, "/manualupgrade") })
	if err := holds(p.Back.Well == 1 && !byUs, "the platform restored the previous disk, and fleetctl had no need to: %+v, %t", p, byUs); err != nil {
		return err
	}
	w.i.Fact("the platform restored the previous disk of 1 member")
	return nil
}

// goodEverywhere rolls 1.7.1 out everywhere.
func (w *world) goodEverywhere(ctx context.Context) error {
	foreseen, err := w.plan(ctx, "1.7.1")
	if err != nil {
		return err
	}
	w.shown("rollout run 1.7.1 --yes")
	if _, err := w.run(ctx, 0, "rollout", "run", "1.7.1", "--yes"); err != nil {
		return err
	}
	v, err := w.show(ctx, "2")
	if err != nil {
		return err
	}
	ran, err := w.blast(ctx, &v, &foreseen)
	if err != nil {
		return err
	}
	if err := w.awaitAll(ctx, map[string]int{east + " 1.7.1": 5, west + " 1.7.1": 10}); err != nil {
		return err
	}
	good, err := w.version(ctx, "1.7.1")
	if err != nil {
		return err
	}
	if err := holds(v.Phase == "succeeded" && len(ran) == 15 && good.regions() == "eastus westus3" && good.Tags["fleetctl-good"] != "",
		"1.7.1 is everywhere: %s, %d members, in %s, tags %v", v.Phase, len(ran), good.regions(), good.Tags); err != nil {
		return err
	}
	// By wave: it came to the west when the canary region had soaked.
	disks, err := w.disks(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(d arm.Disk) bool { return d.Version == "1.7.1" && nameOf(d.Set) == west })
	last := -1
	for n, d := range disks {
		if d.Version == "1.7.1" && nameOf(d.Set) == east {
			last = n
		}
	}
	if err := holds(i > last, "the canary region was done before the west began"); err != nil {
		return err
	}
	w.i.Fact("1.7.1 is on all 15, the canary region first; it is replicated to westus3, promoted, and marked good")
	for _, set := range []string{east, west} {
		m, err := w.model(ctx, set)
		if err != nil {
			return err
		}
		if err := holds(m.Properties.Upgrade.AutoOS.Enabled && m.version() == "", "%s follows the latest by automatic OS upgrade again: %+v", set, m); err != nil {
			return err
		}
	}
	return nil
}
