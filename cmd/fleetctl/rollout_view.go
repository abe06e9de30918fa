package main

import (
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// lookAt is a rollout as it is shown, without what only the command knows.
func lookAt(s *roll.Status, now time.Time) rollout.View {
	return rollout.View{
		Version: fleet.ViewVersion, Fleet: s.Plan.Fleet, ImageVersion: s.Plan.Version, Phase: s.State.Phase, Since: s.State.Since,
		Why: s.State.Why, Class: s.State.Class, Begun: s.Plan.Made, At: now, Ran: rollout.Accounting(s.State), Left: s.State.Left,
	}
}

// rolloutPage is how a rollout stands.
func (g *globals) rolloutPage(v *rollout.View) *page {
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markNote), 2, plain("rollout "+v.ID+" of "+v.ImageVersion), plain(string(v.Phase)))
	return p
}
