package agent

import (
	"context"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/imds"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

const (
	// identifyRetry is the wait after the first failure; it doubles up to
	// identifyRetryMax. Without a name no event is ours, so the first is short.
	identifyRetry    = time.Second
	identifyRetryMax = 10 * time.Second
	identifyRefresh  = 10 * time.Minute
)

// identify learns which VM this is, and goes on looking: a standby pool puts a
// running VM into a scale set. A partial answer is no answer.
func (a *Agent) identify(ctx context.Context) error {
	var last imds.Class
	for retry := identifyRetry; ; {
		wait, changed := identifyRefresh, a.poller.Changed()
		var recovered <-chan struct{}
		instance, err := a.client.Instance(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the agent stops
		case err != nil:
			wait, retry = retry, min(2*retry, identifyRetryMax)
			switch a.poller.Status().State {
			case scheduledevents.StateStarting: // its first success says nothing
			case scheduledevents.StateBlind:
				wait, recovered = identifyRetryMax, changed // and has requests left for it
			case scheduledevents.StateOK:
				recovered = changed
			}
			if class := imds.Classify(err); class != last {
				last = class
				a.logger.Warn("instance identity unknown", "class", class, "err", err)
			}
		default:
			last, retry = "", identifyRetry
			if err := a.meet(ctx, instance); err != nil {
				return nil //nolint:nilerr // the agent stops
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-recovered: // what the poller reaches again, this may too
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// meet takes over the identity of this VM. State that a cloned image brought
// from another VM is discarded first.
func (a *Agent) meet(ctx context.Context, instance imds.Instance) error {
	return a.coordinator.do(ctx, func(context.Context) {
		if old := a.instance.Load(); old != nil && *old == instance {
			return
		}
		a.journal.DiscardForeign(instance.VMID)
		a.coordinator.rename(instance.Name)
		a.instance.Store(&instance)
		a.observer.poke()
		a.logger.Info("instance identity known", "name", instance.Name, "vm_id", instance.VMID,
			"scale_set", instance.ScaleSet, "zone", instance.Zone, "priority", instance.Priority)
	})
}
