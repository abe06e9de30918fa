package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

const (
	self  = "soak_0"
	other = "soak_1"

	eventEvery = 2 * time.Second
	// A round has events of this machine in its beginning and then only others, so
	// that the node comes back and serves for a while.
	roundEvents, busyEvents = 30, 12
	foreignLasts            = 5 * time.Second // of an event that is none of ours
	goesAfterAck            = time.Second
	look                    = 100 * time.Millisecond
)

// eventOf is the i-th event, and whether this machine has to drain for it.
func eventOf(i int) (spec imds.EventSpec, drains bool) {
	spec = imds.EventSpec{ID: fmt.Sprintf("soak-%d", i), Resources: []string{self}, Notice: time.Minute, Hold: true}
	switch {
	case i%roundEvents < busyEvents && i%3 != 1:
		spec.Type = []string{imds.Preempt, imds.Terminate, imds.Reboot, imds.Redeploy}[i%4]
		return spec, true
	case i%2 == 0:
		spec.Type = imds.Freeze // which is ignored
	default:
		spec.Type, spec.Resources = imds.Reboot, []string{other}
	}
	return spec, false
}

// A conductor publishes events and ends them, and writes down what happened.
type conductor struct {
	sim      *imds.ControlClient
	happened []*happening
	foreign  map[string]time.Time // when to end those that are there
	wrong    []string
}

// run conducts until ctx ends, and then until no event is left.
func (c *conductor) run(ctx context.Context) error {
	c.foreign = map[string]time.Time{}
	clean := context.WithoutCancel(ctx)
	next := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for i := 0; ; {
		if now := time.Now(); ctx.Err() == nil && !now.Before(next) {
			next = next.Add(eventEvery)
			if err := c.publish(clean, i); err != nil {
				return err
			}
			i++
		}
		left, err := c.follow(clean)
		if err != nil {
			return err
		}
		if ctx.Err() != nil && !left {
			return nil
		}
		<-tick.C
	}
}

func (c *conductor) publish(ctx context.Context, i int) error {
	spec, drains := eventOf(i)
	now := time.Now()
	if drains {
		c.happened = append(c.happened, &happening{id: spec.ID, published: now})
	} else {
		c.foreign[spec.ID] = now.Add(foreignLasts)
	}
	_, err := c.sim.Publish(ctx, spec)
	return err
}

// follow takes note of acks and ends the events whose time has come. It reports
// whether any is left.
func (c *conductor) follow(ctx context.Context) (left bool, err error) {
	acks, err := c.sim.Acks(ctx)
	if err != nil {
		return false, err
	}
	first, accepted := map[string]time.Time{}, map[string]int{}
	for _, a := range acks {
		if !a.Accepted {
			continue
		}
		if accepted[a.EventID]++; accepted[a.EventID] == 1 {
			first[a.EventID] = a.Time
		}
	}
	now := time.Now()
	for _, h := range c.happened {
		if !h.gone.IsZero() {
			continue
		}
		h.acked = first[h.id]
		acked := !h.acked.IsZero() && now.Sub(h.acked) > goesAfterAck
		if !acked && now.Sub(h.published) < ackWithin {
			left = true
			continue
		}
		h.gone = now
		if why := h.judgeAck(accepted[h.id]); why != "" {
			c.wrong = append(c.wrong, why)
		}
		if _, err := c.sim.Complete(ctx, h.id); err != nil {
			return false, err
		}
	}
	for id, end := range c.foreign {
		if now.Before(end) {
			left = true
			continue
		}
		if accepted[id] > 0 {
			c.wrong = append(c.wrong, fmt.Sprintf("event %s was acked, and is not ours to ack", id))
		}
		delete(c.foreign, id)
		if _, err := c.sim.Complete(ctx, id); err != nil {
			return false, err
		}
	}
	return left, nil
}
