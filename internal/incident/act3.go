package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

const (
	// notice is what a Spot member gets, simulated, and its agent at least of it in real
	// time: Azure's 30 seconds are often less than ten.
	notice = 30 * time.Second
	budget = 8 * time.Second
	// taken is how many Spot members are reclaimed.
	taken = 3
)

// noise is a good rollout in a bad hour.
func (i *incident) noise(ctx context.Context) (string, error) {
	w, err := i.serving(ctx)
	if err != nil {
		return "", err
	}
	i.Note("1.7.1 is good. Six of the ten in the west are Spot.")
	foreseen, err := w.plan(ctx, "1.7.1")
	if err != nil {
		return "", err
	}
	w.shown("rollout run 1.7.1 --yes")
	run, err := w.start(ctx, "rollout", "run", "1.7.1", "--yes")
	if err != nil {
		return "", err
	}
	if _, err := w.until(ctx, run, "the soak of the canary", func(v *view) bool { return v.step("canary") == "soaking" }); err != nil {
		return "", err
	}
	dead, err := w.sicken(ctx, west)
	if err != nil {
		return "", err
	}
	err = i.await(ctx, "the repair of "+dead, func() (bool, error) {
		log, err := w.activities(ctx, "automaticrepairs/action")
		return len(log) == 1 && nameOf(log[0].Resource) == dead, err
	})
	if err != nil {
		return "", err
	}
	i.Fact("in the soak of the canary an agent in the west dies: automatic repairs replace %s", dead)

	if _, err := w.until(ctx, run, "the wave east", func(v *view) bool { return v.step("east") == "batches" }); err != nil {
		return "", err
	}
	if err := w.tell(ctx, "/v1/happen", map[string]any{"scale_set": east, "load": 95}); err != nil {
		return "", err
	}
	throttle := map[string]any{"kind": "throttle", "path": "virtualMachineScaleSets", "for": "90s", "retry_after": "20s"}
	if err := w.meets(ctx, "429", 429, "/v1/fault", throttle); err != nil {
		return "", err
	}
	if err := w.scaledOut(ctx, east); err != nil {
		return "", err
	}
	i.Fact("in wave east Azure answers 429 for 90 seconds, and autoscale adds a member")

	if _, err := w.until(ctx, run, "the wave west", func(v *view) bool { return v.step("west") != "" && v.step("east") == "done" }); err != nil {
		return "", err
	}
	if err := w.meets(ctx, "OperationNotAllowed", 409, "/v1/happen", map[string]any{"scale_set": west, "platform_upgrade": "2m"}); err != nil {
		return "", err
	}
	i.Fact("in wave west the platform upgrades its own agent, and refuses writes")

	if _, err := w.until(ctx, run, "the first batch of the west", func(v *view) bool { return v.batches(west) >= 1 }); err != nil {
		return "", err
	}
	if err := i.reclaimed(ctx, w); err != nil {
		return "", err
	}
	if err := run.wait(0); err != nil {
		return "", err
	}
	v, err := w.show(ctx, "1")
	if err != nil {
		return "", err
	}
	for _, e := range v.Events {
		if err := holds(e.Class != "failed" && e.Kind != "failing", "nothing was held against 1.7.1: %s %s", e.Kind, e.Why); err != nil {
			return "", err
		}
	}
	if err := i.allDrained(ctx, w, &v); err != nil {
		return "", err
	}
	ran, err := w.blast(ctx, &v, &foreseen)
	if err != nil {
		return "", err
	}
	good, err := w.version(ctx, "1.7.1")
	if err != nil {
		return "", err
	}
	if err := holds(v.Phase == "succeeded" && good.Tags["fleetctl-good"] != "" && good.regions() == "eastus westus3", "1.7.1 is promoted and marked good: %s, %v, %s", v.Phase, good.Tags, good.regions()); err != nil {
		return "", err
	}
	behind, err := w.behind(ctx, "1.7.1")
	if err != nil {
		return "", err
	}
	if err := holds(len(behind) == 0, "whoever runs is on 1.7.1: %v", behind); err != nil {
		return "", err
	}
	i.Fact("nothing of it was taken for a bad image: 1.7.1 is promoted and marked good, %d members have had it, and nobody who runs is behind", len(ran))
	return fmt.Sprintf("a repair, a scale-out, 429s, the platform's own upgrade and %d evictions did not stop a good rollout; agents drained and acknowledged within %s", taken, budget), nil
}

// allDrained asserts that every member was drained by its own agent before its disk was
// replaced, by the journal and by what the agents wrote down, and that autoscale was there.
func (i *incident) allDrained(ctx context.Context, w *world, v *view) error {
	drains, err := i.drains()
	if err != nil {
		return err
	}
	asked := 0
	for _, d := range drains {
		if d.cause == "operator" {
			asked++
		}
	}
	done := make(map[string]bool)
	for _, e := range v.Events {
		if e.Kind == "ended" && e.Action != nil && e.Action.Do == "drain" && e.Result != nil && e.Result.Outcome == "done" {
			done[e.Action.Members[0]] = true
		}
	}
	upgraded := 0
	for _, r := range v.Ran {
		if !strings.HasPrefix(r.Why, "upgraded") {
			continue
		}
		upgraded++
		if err := holds(done[r.Member], "%s was drained before it was upgraded", r.Member); err != nil {
			return err
		}
	}
	if err := holds(upgraded >= 15 && asked >= upgraded, "%d members were upgraded, and %d agents have drained for it", upgraded, asked); err != nil {
		return err
	}
	scaled, err := w.activities(ctx, "scaleup/action")
	if err != nil {
		return err
	}
	if err := holds(len(scaled) == 1, "autoscale has scaled out once: %v", scaled); err != nil {
		return err
	}
	i.Fact("%d members were upgraded, and each was drained by its own agent first", upgraded)
	return nil
}

// batches counts the batches of a set that are done.
func (v *view) batches(set string) int {
	n := 0
	for _, e := range v.Events {
		if e.Kind == "batch" && e.Step == "batch-done" && e.Set == set {
			n++
		}
	}
	return n
}

// answered waits until a request is answered with a status after a time, which is
// simulated.
func (w *world) answered(ctx context.Context, what string, status int, after time.Time) error {
	return w.i.await(ctx, what, func() (bool, error) {
		all, err := w.requests(ctx)
		return slices.ContainsFunc(all, func(r arm.Request) bool { return r.Status == status && r.Time.After(after) }), err
	})
}

// now is the simulated time.
func (w *world) now(ctx context.Context) (time.Time, error) {
	var clock struct {
		Now time.Time `json:"now"`
	}
	err := stage.Ask(ctx, http.MethodGet, w.control+"/v1/clock", nil, &clock)
	return clock.Now, err
}

// meets has something happen, and waits until somebody has met it: a request is answered
// with a status. What is over after a time is not over before, however slow fleetctl and
// the agents are: until then time passes a tenth as fast.
func (w *world) meets(ctx context.Context, what string, status int, path string, body any) error {
	began, err := w.now(ctx)
	if err == nil {
		err = w.tell(ctx, "/v1/clock", map[string]any{"factor": speed / 10})
	}
	if err == nil {
		err = w.tell(ctx, path, body)
	}
	if err == nil {
		err = w.answered(ctx, what, status, began)
	}
	if err != nil {
		return err
	}
	return w.tell(ctx, "/v1/clock", map[string]any{"factor": speed})
}

// behind are the members that run another version, or are not well.
func (w *world) behind(ctx context.Context, version string) ([]string, error) {
	var names []string
	for _, set := range []string{east, west} {
		list, err := w.members(ctx, set)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Running() && (list[i].Version() != version || list[i].Health() != "healthy") {
				names = append(names, list[i].Name+" "+list[i].Version()+" "+list[i].Health())
			}
		}
	}
	return names, nil
}

// reclaimed has the platform take Spot members away, with as little notice as it may be,
// and asserts that their agents have drained and acknowledged by then.
func (i *incident) reclaimed(ctx context.Context, w *world) error {
	// Agents live in real time: their notice is of eight seconds.
	if err := w.tell(ctx, "/v1/clock", map[string]any{"factor": notice.Seconds() / budget.Seconds()}); err != nil {
		return err
	}
	if err := w.tell(ctx, "/v1/happen", map[string]any{"scale_set": west, "reclaim": taken}); err != nil {
		return err
	}
	began := time.Now()
	var log []entry
	err := i.await(ctx, "the evictions", func() (bool, error) {
		var err error
		log, err = w.activities(ctx, "evictspotvm/action")
		return len(log) == taken, err
	})
	took := time.Since(began)
	if err != nil {
		return err
	}
	if err := w.tell(ctx, "/v1/clock", map[string]any{"factor": speed}); err != nil {
		return err
	}
	drains, err := i.drains()
	if err != nil {
		return err
	}
	n := 0
	for _, d := range drains {
		if d.event != "Preempt" {
			continue
		}
		n++
		if err := holds(d.at.Before(d.deadline) && !d.deadline.After(began.Add(budget)), "an agent drained before its deadline: at %s, until %s", d.at, d.deadline); err != nil {
			return err
		}
	}
	var names []string
	for _, e := range log {
		names = append(names, nameOf(e.Resource))
	}
	// Who is not acknowledged goes at the end of the notice only.
	if err := holds(n == taken && took < budget, "all %d agents have drained and acknowledged within %s: %d did, and the last one went after %s", taken, budget, n, took); err != nil {
		return err
	}
	i.Fact("then the platform reclaims %d Spot members, with 8 seconds for their agents: all have drained and acknowledged after %.1f s (%s)", taken, took.Seconds(), strings.Join(names, ", "))
	return nil
}
