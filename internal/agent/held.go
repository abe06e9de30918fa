package agent

import (
	"bytes"
	"context"
	"time"
)

// How a held /healthz outlives the agent: a drain stops the workloads, and on the
// way back they take their time to start. Neither is to look like a broken node
// because the agent was restarted meanwhile.

// maxMoment bounds what is read of a moment in a flag file, in bytes.
const maxMoment = 64

// keepHold keeps the flag of a held /healthz in line with the monitor until ctx
// is done.
func (a *Agent) keepHold(ctx context.Context) error {
	said := ""
	for {
		changed := a.monitor.Changed()
		text := ""
		if err := a.gate.keepHold(); err != nil {
			text = err.Error()
		}
		if text != "" && text != said {
			a.logger.Warn("flag of the held health not kept: a restart now would not hold it", "err", text)
		}
		said = text
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// keepHold is a no-op when the flag is what it should be.
func (g *gate) keepHold() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	held, since := g.held()
	switch {
	case !held:
		return g.flags.keep(healthFlag, nil)
	case since.IsZero():
		return g.flags.keep(healthFlag, []byte{})
	default:
		return g.flags.keep(healthFlag, []byte(since.UTC().Format(time.RFC3339Nano)+"\n"))
	}
}

// backSince reads the moment from when on evidence counts. Where the last agent had
// no time to write it, or the clock was set back, that is now.
func backSince(text []byte) time.Time {
	now := time.Now()
	var since time.Time
	if err := since.UnmarshalText(bytes.TrimSpace(text)); err != nil || since.After(now) {
		return now
	}
	return now.Add(since.Sub(now)) // on the monotonic clock, too
}
