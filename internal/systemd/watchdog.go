package systemd

import (
	"context"
	"log/slog"
	"time"
)

// WatchdogConfig describes a Watchdog.
type WatchdogConfig struct {
	Notifier *Notifier
	// Alive says whether the agent makes progress. It is asked twice in each
	// watchdog interval, from one goroutine, and must not block.
	Alive func() bool
	// Logger is told when Alive changes. Nil discards.
	Logger *slog.Logger
}

// Watchdog feeds systemd's watchdog for as long as the agent makes progress.
// When it does not, the pings cease, and systemd ends the agent with SIGABRT and
// starts it again.
type Watchdog struct {
	notifier *Notifier
	alive    func() bool
	logger   *slog.Logger
}

// NewWatchdog returns a Watchdog. It does nothing before Run.
func NewWatchdog(cfg WatchdogConfig) *Watchdog {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watchdog{notifier: cfg.Notifier, alive: cfg.Alive, logger: cfg.Logger}
}

// Run pings at half the interval that the service manager asked for, until ctx
// ends. Without a watchdog it only waits. It returns nil.
func (w *Watchdog) Run(ctx context.Context) error {
	interval := w.notifier.WatchdogInterval()
	if interval == 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(max(interval/2, time.Millisecond))
	defer ticker.Stop()
	alive := true
	for {
		if now := w.alive(); now != alive {
			alive = now
			if alive {
				w.logger.Info("agent makes progress again, watchdog is fed")
			} else {
				w.logger.Error("agent makes no progress, watchdog is no longer fed", "watchdog_interval", interval)
			}
		}
		if alive {
			w.notifier.Watchdog()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Extender asks the service manager for more time while a start or stop goes on
// that is known to make progress.
type Extender struct {
	notifier *Notifier
	step     time.Duration
	limit    time.Duration
}

// NewExtender returns an Extender that asks for step more from each moment on,
// and for no more than limit altogether. Both are positive.
func NewExtender(n *Notifier, step, limit time.Duration) *Extender {
	return &Extender{notifier: n, step: step, limit: limit}
}

// Run asks at once and then three times in each step, so that one lost message
// costs nothing. It returns nil when ctx ends, which is how the caller says
// that the work is done; after the limit it asks no more and only waits.
func (e *Extender) Run(ctx context.Context) error {
	every := max(e.step/3, time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for left := e.limit; left > 0 && ctx.Err() == nil; left -= every {
		e.notifier.ExtendTimeout(min(e.step, left))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	<-ctx.Done()
	return nil
}
