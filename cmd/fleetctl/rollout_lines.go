package main

import (
	"context"
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

func (r *rollouts) newRolloutLines(plan *rollout.Plan) *rolloutLines {
	return &rolloutLines{r: r, plan: plan, said: make(map[string]bool)}
}

func (d *rolloutLines) take(e roll.Event) {
	text := e.Note
	if e.Entry != nil {
		text = rollout.Line(d.plan, e.Entry)
		switch e.Entry.Kind {
		case rollout.PhaseTo, rollout.WaveTo, rollout.BatchTo:
			clear(d.said)
		default:
		}
	}
	if text == "" || d.said[text] {
		return
	}
	d.said[text] = true
	d.r.g.out.Say("%s %s", e.At.In(d.r.g.zone).Format(time.TimeOnly), cli.Clean(text))
}

func (d *rolloutLines) wait(ctx context.Context, span time.Duration) error {
	return d.r.sleep(ctx, span)
}

func (*rolloutLines) end() {}
