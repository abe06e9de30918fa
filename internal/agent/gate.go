package agent

import (
	"errors"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/drain"
)

// The flag files in the run directory. The directory does not survive a reboot,
// and neither do they.
const (
	// drainFlag names the drain in effect. Workloads carry
	// ConditionPathExists=!/run/fleet-agent/draining, so that nothing starts
	// them while the node drains.
	drainFlag = "draining"
	// cordonFlag and maintenanceFlag are the agent's own memory over a restart.
	cordonFlag      = "cordoned"
	maintenanceFlag = "maintenance"
	// healthFlag is there while a healthy /healthz is held, over a restart of the
	// agent too: empty during the drain, and with the moment in it from when on
	// evidence counts on the way back.
	healthFlag = "drained-healthy"
)

// A gate keeps the node out of service while a drain, a cordon or maintenance
// lasts: it holds /readyz at 503 and keeps the flag files. /readyz changes at
// once, whatever the run directory does. It is safe for concurrent use.
type gate struct {
	flags *flags
	// Of the health monitor; they take effect before they return.
	setDraining, setCordoned, setMaintenance func(bool)
	healthy                                  func() bool
	held                                     func() (held bool, since time.Time)

	mu                         sync.Mutex
	drain, cordon, maintenance bool
	failed                     error // why it could not be opened
}

// setDrain closes the gate for a drain, or opens it when flag is nil. Closing goes
// unready first and opening goes ready last, so that an error leaves the node
// unready.
func (g *gate) setDrain(flag *drain.Flag) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if flag == nil {
		if g.failed = g.flags.lower(drainFlag); g.failed != nil {
			return g.failed
		}
		g.drain = false
		g.setDraining(false)
		return nil
	}
	healthy := !g.drain && g.healthy()
	g.drain, g.failed = true, nil
	g.setDraining(true)
	err := g.flags.raise(drainFlag, flag.Encode())
	if healthy {
		err = errors.Join(err, g.flags.raise(healthFlag, nil))
	}
	return err
}

// stayClosed closes the gate as it was before a restart of the agent, without
// touching a flag: while a drain is taken back, workloads may be starting.
func (g *gate) stayClosed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain = true
	g.setDraining(true)
}

// release lets workloads start again while the node stays unready.
func (g *gate) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.flags.lower(drainFlag)
}

// setCordon is setDrain for a cordon: unready, and no unit is touched.
func (g *gate) setCordon(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on {
		g.cordon = true
		g.setCordoned(true)
		return g.flags.raise(cordonFlag, nil)
	}
	if g.failed = g.flags.lower(cordonFlag); g.failed != nil {
		return g.failed
	}
	g.cordon = false
	g.setCordoned(false)
	return nil
}

// maintain follows the journal, which remembers maintenance; the flag is for a
// start at which the journal cannot be read.
func (g *gate) maintain(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on == g.maintenance {
		return nil
	}
	g.maintenance = on
	g.setMaintenance(on)
	if on {
		return g.flags.raise(maintenanceFlag, nil)
	}
	return g.flags.lower(maintenanceFlag)
}

// isCordoned reports whether the cordon holds.
func (g *gate) isCordoned() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cordon
}

// isDrained reports whether the gate is closed for a drain.
func (g *gate) isDrained() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drain
}

// stuck returns why the gate could not be opened the last time; nil when it was.
func (g *gate) stuck() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}
