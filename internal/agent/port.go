package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	// portLook is how often systemd is asked who was to hold the probe port, and
	// portRetry how often until it has first answered.
	portLook  = time.Minute
	portRetry = 5 * time.Second
)

// A portWatch notices that the agent listens for probes itself although systemd was
// to: then probes are refused whenever the agent restarts.
type portWatch struct {
	// state asks systemd for a unit.
	state func(ctx context.Context, unit string) (systemd.UnitState, error)
	// own is the address that the agent opened itself as a service of systemd, which
	// passed it nothing; empty otherwise.
	own string

	problem atomic.Pointer[string] // nil: none
}

// Run asks until ctx is done.
func (w *portWatch) Run(ctx context.Context) error {
	for w.own != "" {
		wait := portRetry
		if s, err := w.ask(ctx); err == nil {
			w.problem.Store(nil)
			if text := portProblem(s, w.own); text != "" {
				w.problem.Store(&text)
			}
			wait = portLook
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
	<-ctx.Done()
	return nil
}

func (w *portWatch) ask(ctx context.Context) (systemd.UnitState, error) {
	ctx, stop := context.WithTimeout(ctx, portRetry)
	defer stop()
	return w.state(ctx, systemd.AgentSocket)
}

// portProblem judges an agent that has opened the address itself.
func portProblem(s systemd.UnitState, own string) string {
	if s.LoadState != "loaded" { // masked, or not installed: nobody wants systemd to
		return ""
	}
	return fmt.Sprintf("the agent holds %s itself, for systemd passed it no port (%s is %s): probes are refused while it restarts; mend it with: %s",
		own, systemd.AgentSocket, s.ActiveState, systemd.ApplySocket)
}

// warning says so, or "".
func (w *portWatch) warning() string {
	if problem := w.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}
