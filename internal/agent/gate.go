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
)

// A gate keeps the node out of service while a drain or a cordon lasts: it
// holds /readyz at 503 and keeps the flag files. It is safe for concurrent use.
type gate struct {
	runDir      string
	setDraining func(bool) // of the health monitor; takes effect before it returns
	healthy     func() bool

	mu            sync.Mutex
	drain, cordon bool
}

// setDrain closes or opens the gate for a drain. Closing goes unready first and
// opening goes ready last, so that an error leaves the node unready.
func (g *gate) setDrain(on bool) error {
	return g.set(&g.drain, drainFlag, on)
}

// release lets workloads start again while the node stays unready.
func (g *gate) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lower(drainFlag)
}

// setCordon is setDrain for a cordon: unready, and no unit is touched.
func (g *gate) setCordon(on bool) error {
	return g.set(&g.cordon, cordonFlag, on)
}

func (g *gate) set(which *bool, flag string, on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if on {
		*which = true
		healthy := g.healthy()
		g.setDraining(true)
		return g.raise(flag, healthy)
	}
	if err := g.lower(flag); err != nil {
		return err
	}
	*which = false
	g.setDraining(g.drain || g.cordon)
	return nil
}

func (g *gate) lower(flag string) error {
	if err := os.Remove(filepath.Join(g.runDir, flag)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lower the flag: %w", err)
	}
	return nil
}

// raise makes a flag, unless it is there from before a restart. It holds what
// /healthz said when the gate was closed, which is what /healthz goes on to say.
func (g *gate) raise(flag string, healthy bool) error {
	f, err := os.OpenFile(filepath.Join(g.runDir, flag), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("raise the flag: %w", err)
	}
	if healthy {
		_, err = f.WriteString(wasHealthy)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("raise the flag: %w", err)
	}
	return nil
}

// wasHealthy is the content of a flag that was raised on a healthy node.
const wasHealthy = "healthy\n"

// raisedHealthy reports whether a flag is there that was raised on a healthy node.
func (g *gate) raisedHealthy() bool {
	for _, flag := range []string{drainFlag, cordonFlag} {
		if data, err := os.ReadFile(filepath.Join(g.runDir, flag)); err == nil && string(data) == wasHealthy {
			return true
		}
	}
	return false
}

// raised reports whether a flag is there, from before a restart of the agent.
func (g *gate) raised(flag string) bool {
	_, err := os.Stat(filepath.Join(g.runDir, flag))
	return err == nil
}

// isDrained reports whether the gate is closed for a drain.
func (g *gate) isDrained() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drain
}

// isCordoned reports whether the cordon holds.
func (g *gate) isCordoned() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cordon
}
