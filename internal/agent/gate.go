package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// The flag files in the run directory. Workloads carry
// ConditionPathExists=!/run/fleet-agent/draining, so that nothing starts them
// while the node drains. cordonFlag is the agent's own memory over a restart.
// The directory does not survive a reboot, and neither do they.
const (
	drainFlag  = "draining"
	cordonFlag = "cordoned"
	// healthFlag is there while a drain lasts that began on a healthy node:
	// /healthz goes on to say so, over a restart of the agent too.
	healthFlag = "drained-healthy"
)

// A gate keeps the node out of service while a drain or a cordon lasts: it
// holds /readyz at 503 and keeps the flag files. It is safe for concurrent use.
type gate struct {
	runDir string
	// Of the health monitor; they take effect before they return.
	setDraining, setCordoned func(bool)
	healthy                  func() bool

	mu            sync.Mutex
	drain, cordon bool
	failed        error // why it could not be opened
}

// setDrain closes or opens the gate for a drain. Closing goes unready first and
// opening goes ready last, so that an error leaves the node unready.
func (g *gate) setDrain(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !on {
		if g.failed = errors.Join(g.lower(drainFlag), g.lower(healthFlag)); g.failed != nil {
			return g.failed
		}
		g.drain = false
		g.setDraining(false)
		return nil
	}
	healthy := !g.drain && g.healthy()
	g.drain, g.failed = true, nil
	g.setDraining(true)
	err := g.raise(drainFlag)
	if healthy {
		err = errors.Join(err, g.raise(healthFlag))
	}
	return err
}

// reclose closes the gate as it was before a restart of the agent. While the
// drain was being taken back, the flag is not raised again: workloads may be
// starting.
func (g *gate) reclose(undraining bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain = true
	g.setDraining(true)
	if undraining {
		return nil
	}
	return g.raise(drainFlag)
}

// release lets workloads start again while the node stays unready.
func (g *gate) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lower(drainFlag)
}

// setCordon is setDrain for a cordon: unready, and no unit is touched.
func (g *gate) setCordon(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on {
		g.cordon = true
		g.setCordoned(true)
		return g.raise(cordonFlag)
	}
	if g.failed = g.lower(cordonFlag); g.failed != nil {
		return g.failed
	}
	g.cordon = false
	g.setCordoned(false)
	return nil
}

func (g *gate) lower(flag string) error {
	if err := os.Remove(filepath.Join(g.runDir, flag)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lower the flag: %w", err)
	}
	return nil
}

// raise makes a flag, unless it is there from before a restart.
func (g *gate) raise(flag string) error {
	f, err := os.OpenFile(filepath.Join(g.runDir, flag), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("raise the flag: %w", err)
	}
	return f.Close()
}

// raised reports whether a flag is there, from before a restart of the agent.
func (g *gate) raised(flag string) bool {
	_, err := os.Stat(filepath.Join(g.runDir, flag))
	return err == nil
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
