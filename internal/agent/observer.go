package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/health"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	maxTransitions = 10
	// readyBound is how long the first verdict may take before systemd is no
	// longer asked for more time.
	readyBound = 10 * time.Minute
	// stoppingBound is how long the agent asks for time to stop.
	stoppingBound = 2 * time.Minute
	// extendStep is how much time it asks for at once.
	extendStep = 30 * time.Second
)

// An observer watches everything that the node's state is made of and tells of
// its changes: the log, systemd's STATUS= and READY=1, the metrics, and the
// last transitions for operators.
type observer struct {
	a    *Agent
	wake chan struct{} // capacity 1

	mu          sync.Mutex
	state       control.State
	reason      string
	since       time.Time
	transitions []control.Transition // newest first
}

func newObserver(a *Agent) *observer {
	return &observer{a: a, wake: make(chan struct{}, 1), state: control.StateStarting, since: a.started}
}

// poke asks for a look; it never blocks.
func (o *observer) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx is done.
func (o *observer) Run(ctx context.Context) error {
	extending, stopExtending := context.WithCancel(ctx)
	var extender sync.WaitGroup
	extender.Go(func() {
		_ = systemd.NewExtender(o.a.cfg.Notifier, extendStep, readyBound).Run(extending) // always nil
	})
	defer extender.Wait()
	defer stopExtending()
	for ready := false; ; {
		monitor, runner, poller := o.a.monitor.Changed(), o.a.runner.Changed(), o.a.poller.Changed()
		o.look()
		if !ready && judged(o.a.monitor.Report()) {
			ready = true
			stopExtending()
			o.a.ready.Store(true)
			o.a.cfg.Notifier.Ready()
		}
		select {
		case <-monitor:
		case <-runner:
		case <-poller:
		case <-o.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// judged reports whether every check that gates something has had a result.
func judged(r *health.Report) bool {
	for _, c := range r.Checks {
		if c.Status == health.Unknown && c.Severity != health.Warning && c.Gates != (health.Gates{}) {
			return false
		}
	}
	return true
}

// look compares the state with what it was and tells of the change.
func (o *observer) look() {
	state, reason := o.a.nodeState()
	now := time.Now()
	o.mu.Lock()
	from := o.state
	if state != from {
		o.transitions = append([]control.Transition{{At: now, From: from, To: state, Reason: reason}}, o.transitions...)
		o.transitions = o.transitions[:min(len(o.transitions), maxTransitions)]
		o.state, o.since = state, now
	}
	o.reason = reason
	o.mu.Unlock()
	if state != from {
		o.a.logger.Info("state changed", "from", from, "to", state, "reason", reason)
		o.a.metrics.show(state)
	}
	o.a.cfg.Notifier.Status(statusLine(state, reason))
}

func statusLine(state control.State, reason string) string {
	if reason == "" {
		return string(state)
	}
	return string(state) + ": " + reason
}

// nodeState is the one word for what the node is doing, and why.
func (a *Agent) nodeState() (control.State, string) {
	if d := a.drainStatus(); d != nil {
		return drainState(d)
	}
	switch err := a.gate.stuck(); {
	case err != nil:
		return control.StateDraining, "out of service until a flag can be removed, trying again every second: " + err.Error()
	case a.gate.isCordoned():
		return control.StateDraining, "cordoned for a scheduled event"
	case a.gate.isDrained():
		return control.StateDraining, "for a drain that the journal does not know, until the metadata service says that no event asks for it"
	}
	report := a.monitor.Report()
	switch {
	case report.Maintenance:
		if m := a.journal.State().Maintenance; m != nil {
			return control.StateMaintenance, strings.TrimSpace("until " + m.Until.UTC().Format("15:04:05 MST") + " " + m.Reason)
		}
		return control.StateMaintenance, ""
	case len(report.Returning) > 0:
		return control.StateStarting, returningReason(report.Returning)
	case report.State == health.Starting || report.ReadyState == health.Starting:
		return control.StateStarting, "waiting for the first results of the checks"
	case !report.Ready() || report.State != health.Healthy:
		return control.StateUnhealthy, rootsReason(report.RootsOf(health.Gates{
			Health: report.State != health.Healthy, Ready: report.ReadyState != health.Healthy,
		}))
	case a.poller.Status().State == scheduledevents.StateBlind:
		return control.StateDegraded, blindReason(a.poller.Status())
	case len(report.Roots) > 0:
		return control.StateDegraded, rootsReason(report.Roots)
	case a.sockets.reason() != "":
		return control.StateDegraded, a.sockets.reason()
	default:
		return control.StateServing, ""
	}
}

// maxBlindReason bounds what the state says of a blindness.
const maxBlindReason = 200

func blindReason(s scheduledevents.Status) string {
	if s.Err == nil {
		return "blind"
	}
	return safetext.Line("blind: "+s.Err.Error(), maxBlindReason)
}

func drainState(d *control.Drain) (control.State, string) {
	why := causeText(d.Cause)
	switch drain.Phase(d.Phase) {
	case drain.PhaseFinished:
		return control.StateDrained, why
	case drain.PhaseFailed:
		return control.StateDraining, "the drain failed: " + d.Error
	case drain.PhaseUndraining:
		if len(d.Starting) > 0 {
			return control.StateDraining, returningReason(d.Starting)
		}
		return control.StateDraining, "returning to service"
	case drain.PhaseSettling:
		return control.StateDraining, why + ", traffic settles"
	case drain.PhaseNone, drain.PhaseRunning: // by its steps
	}
	for _, s := range d.Steps {
		if s.Status == string(drain.StepRunning) {
			return control.StateDraining, why + ", step " + s.Name
		}
	}
	return control.StateDraining, why
}

func causeText(c control.Cause) string {
	switch drain.CauseKind(c.Kind) {
	case drain.ScheduledEvent:
		return c.EventType + " " + safetext.Line(c.EventID, safetext.MaxID)
	case drain.Operator:
		why := strings.TrimSuffix(fmt.Sprintf("asked by %s: %s", c.By, c.Reason), ": ")
		if c.Until != nil {
			why += ", until " + c.Until.UTC().Format("15:04:05 MST")
		}
		return why
	default:
		return c.Reason
	}
}

// rootsReason names the checks that fail, but not a hundred of them.
func rootsReason(roots []string) string {
	switch len(roots) {
	case 0:
		return ""
	case 1:
		return "check " + roots[0] + " fails"
	default:
		return "checks " + someOf(roots) + " fail"
	}
}

// returningReason names the units or the checks that the way back waits for.
func returningReason(names []string) string {
	return "returning: waiting for " + someOf(names)
}

// someOf lists names, but not a hundred of them.
func someOf(names []string) string {
	const most = 5
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}
