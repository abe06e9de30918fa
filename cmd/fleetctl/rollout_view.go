package main

import "github.com/fleet-agent/fleet-agent/internal/fleet/rollout"

// rolloutPage is how a rollout stands.
func (g *globals) rolloutPage(v *rollout.View) *page {
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markNote), 2, plain("rollout "+v.ID+" of "+v.ImageVersion), plain(string(v.Phase)))
	return p
}
