package main

import (
	"context"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// rolloutLines show what happens in a rollout, a line for each thing that matters to a
// person.
type rolloutLines struct{ g *globals }

func (g *globals) newRolloutLines() *rolloutLines { return &rolloutLines{g: g} }

func (d *rolloutLines) take(e roll.Event) {
	if e.Note != "" {
		d.g.out.Say("%s %s", e.At.In(d.g.zone).Format(time.TimeOnly), cli.Clean(e.Note))
	}
}

func (d *rolloutLines) wait(ctx context.Context, span time.Duration) error {
	return d.g.sleep(ctx, span)
}

func (*rolloutLines) end() {}
