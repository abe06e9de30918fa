package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
)

// lookWithin bounds the reading of a journal by a command that only looks.
const lookWithin = 10 * time.Second

// hold returns what the unfinished rollout of a file holds, or nil when there is none. A
// place that is not there holds nothing: a file names its journal long before the first
// rollout makes it, and until then promote, demote, prune and apply must work. That a
// place is lost, or mistyped, looks the same from here; the commands of rollouts say it,
// and those of a schedule fail. What stands in the way of a place, such as a link to a
// disk that is gone, is an error, as is a journal that could not be read.
func (g *globals) hold(ctx context.Context, spec *fleet.Spec) (*fleet.Hold, error) {
	if spec.Rollout == nil {
		return nil, nil
	}
	r, err := g.rolloutsOf(spec)
	if err != nil {
		return nil, err
	}
	last, _, err := r.newest(ctx)
	switch {
	case errors.Is(err, journal.ErrNoPlace):
		return nil, nil
	case err != nil, last == nil, !unfinished(last.State.Phase):
		return nil, err
	}
	plan, state := &last.Plan, &last.State
	h := &fleet.Hold{
		ID: last.id, Definition: plan.Definition, Version: plan.Version,
		Phase: string(state.Phase), Since: state.Since, Left: state.Phase == rollout.Incomplete,
	}
	for _, set := range plan.Sets {
		h.Sets = append(h.Sets, fleet.HeldSet{ID: set.ID, Location: set.Location, LastGood: set.LastGood})
	}
	slices.SortFunc(h.Sets, func(a, b fleet.HeldSet) int { return strings.Compare(string(a.ID), string(b.ID)) })
	by, err := r.holder(ctx, last.id)
	if by != nil {
		h.By = by.Error()
	}
	return h, err
}

// holdToWrite is hold for a command that writes: without an answer nothing is written.
func (g *globals) holdToWrite(ctx context.Context, spec *fleet.Spec) (*fleet.Hold, error) {
	h, err := g.hold(ctx, spec)
	if err == nil || ctx.Err() != nil {
		return h, err
	}
	return nil, retold(err, fmt.Errorf("whether a rollout is under way is not known, so nothing was written: %w", err),
		"who knows that none is leaves the section rollout out of a copy of the file")
}

// holdToShow is hold for a command that only looks: a note says what is not known.
func (g *globals) holdToShow(ctx context.Context, spec *fleet.Spec) (h *fleet.Hold, note string) {
	if spec == nil {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	h, err := g.hold(ctx, spec)
	switch {
	case err != nil:
		return nil, "whether a rollout is under way is not known: " + err.Error()
	case h == nil:
		return nil, ""
	}
	return h, h.String() + "; fleetctl rollout status shows it"
}
