package main

import (
	"context"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// rolloutLines show what happens in a rollout, a line for each thing that matters to a
// person. What is said again and again is shown once.
type rolloutLines struct {
	r    *rollouts
	plan *rollout.Plan
	said map[string]bool // since the rollout last got on
}

// maxSaid bounds the texts that are remembered.
const maxSaid = 1000

func (r *rollouts) newRolloutLines(plan *rollout.Plan) *rolloutLines {
	return &rolloutLines{r: r, plan: plan, said: make(map[string]bool)}
}

func (d *rolloutLines) take(e roll.Event) {
	if text := d.text(&e); text != "" {
		d.r.g.out.Say("%s %s", e.At.In(d.r.g.zone).Format(time.TimeOnly), cli.Clean(text))
	}
}

// text is what an event says to a person; empty: nothing, or nothing new.
func (d *rolloutLines) text(e *roll.Event) string {
	text := e.Note
	if e.Entry != nil {
		if text = tellEvent(d.plan, e.Entry); slices.Contains(steps, e.Entry.Kind) {
			clear(d.said)
		}
	}
	if d.said[text] {
		return ""
	}
	if len(d.said) >= maxSaid {
		clear(d.said)
	}
	d.said[text] = true
	return text
}

// steps are the kinds of events by which a rollout gets on.
var steps = []rollout.Kind{rollout.PhaseTo, rollout.WaveTo, rollout.BatchTo}

// forPeople are the kinds of events that a person wants to hear of.
var forPeople = append([]rollout.Kind{
	rollout.Planned, rollout.Requested, rollout.Touched, rollout.Verified, rollout.Failing, rollout.Departed, rollout.Returned,
	rollout.Blocked, rollout.Given, rollout.ModelSeen,
}, steps...)

// endsForPeople are the actions whose end a person wants to hear of. Of the others it is
// one that was refused.
var endsForPeople = []rollout.Verb{
	rollout.Drain, rollout.Diagnose, rollout.QueryGate, rollout.Replicate, rollout.Include, rollout.Exclude, rollout.TagFailed, rollout.TagGood,
}

// tellEvent is an entry of a journal as one line for people; empty: it is not for them.
func tellEvent(plan *rollout.Plan, e *rollout.Event) string {
	var passed bool // a step that is passed at once
	switch {
	case e.Kind == rollout.Ended:
		passed = e.Result.Outcome == rollout.Done && !slices.Contains(endsForPeople, e.Action.Do)
	case e.Kind == rollout.WaveTo && e.Step == rollout.Replicating:
		passed = !plan.ByWave
	case e.Kind == rollout.WaveTo && e.Step == rollout.Asking:
		passed = !plan.Window && !plan.Waves[e.Wave].Approve
	case e.Kind == rollout.BatchTo:
		passed = e.Step == rollout.Upgrading || e.Step == rollout.Verifying
	default:
		passed = !slices.Contains(forPeople, e.Kind)
	}
	if passed {
		return ""
	}
	return rollout.Line(plan, e)
}

func (d *rolloutLines) wait(ctx context.Context, span time.Duration) error {
	return d.r.sleep(ctx, span)
}

func (*rolloutLines) end() {}
