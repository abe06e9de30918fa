package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	// busGrace is how long after the start a missing connection is no news.
	busGrace = 2 * time.Second
	// delayLook is how often logind is asked for its limit, which changes
	// without a signal, and delayRetry how often until it has first answered.
	delayLook  = time.Minute
	delayRetry = time.Second
)

// A busWatch tells what keeps the machine from doing its part in a drain: no
// connection to systemd although the plan needs one, no delay lock, or a delay
// that is shorter than the plan. Where there is no systemd and nothing needs it,
// as in a container, it has nothing to say.
type busWatch struct {
	a *Agent
	// root is the directory that has etc, run and usr; "/" outside tests.
	root  string
	since atomic.Pointer[time.Time] // when the agent began to connect; nil: it has not
	delay atomic.Int64              // logind's limit; 0: not known
}

// Run keeps logind's limit current until ctx is done.
func (w *busWatch) Run(ctx context.Context) error {
	now := time.Now()
	w.since.Store(&now)
	for {
		wait := delayRetry
		if limit, err := w.a.inhibitor.MaxDelay(ctx); err == nil {
			w.delay.Store(int64(limit))
			wait = delayLook
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

var errReconnecting = errors.New("trying again every second")

// warnings are at most one about systemd and one about logind. They ask nobody
// and do not block.
func (w *busWatch) warnings() []string {
	since := w.since.Load()
	if since == nil || time.Since(*since) < busGrace {
		return nil
	}
	now, cancel := context.WithCancelCause(context.Background())
	cancel(errReconnecting) // not to wait for a connection
	err := w.a.manager.Connected(now)
	needed := w.needed()
	switch {
	case err != nil && len(needed) > 0:
		return []string{fmt.Sprintf("%v; what needs it fails: %s", err, strings.Join(needed, ", "))}
	case err != nil && !w.booted():
		return nil
	}
	if text := w.lockWarning(err == nil); text != "" {
		return []string{text}
	}
	return nil
}

// needed names the steps and checks that are nothing without systemd.
func (w *busWatch) needed() []string {
	var names []string
	conf := w.a.conf.Load()
	if plan, err := w.a.cfg.Plan(conf); err == nil { // it is in force, so it can be made
		for _, s := range plan.Fit(0, true).Steps {
			if s.Kind == "target" || s.Kind == "unit" || s.Kind == "hook" {
				names = append(names, "drain step "+s.Name)
			}
		}
	}
	for _, c := range conf.Checks {
		if c.Unit != nil {
			names = append(names, "check "+c.Name)
		}
	}
	return names
}

// booted reports whether systemd is the init system (sd_booted(3)).
func (w *busWatch) booted() bool {
	_, err := os.Stat(filepath.Join(w.root, "run/systemd/system"))
	return err == nil
}

// lockWarning says why a shutdown that nobody announces would cut a drain short.
// With a bus on which only logind is missing, as systemd 255 and later leave it
// when dbus was restarted, there is a remedy.
func (w *busWatch) lockWarning(hasBus bool) string {
	const consequence = "a shutdown that nobody announces does not wait for a drain"
	switch s := w.a.inhibitor.Status(); s.State {
	case systemd.InhibitorRefused:
		return fmt.Sprintf("logind refuses the delay lock: %v; %s", s.Err, consequence)
	case systemd.InhibitorUnreachable:
		if hasBus {
			return fmt.Sprintf("logind is not reachable: %v; %s; systemctl restart systemd-logind mends it", s.Err, consequence)
		}
		return fmt.Sprintf("logind is not reachable: %v; %s", s.Err, consequence)
	case systemd.InhibitorHolding, systemd.InhibitorShuttingDown:
	}
	return w.delayWarning(time.Duration(w.delay.Load()))
}

// delayWarning compares the delay with what the plan needs, the way that a
// shutdown fits it.
func (w *busWatch) delayWarning(delay time.Duration) string {
	conf := w.a.conf.Load()
	plan, err := w.a.cfg.Plan(conf)
	if err != nil || delay <= 0 || delay == systemd.Infinite {
		return ""
	}
	settle, reserve := conf.Drain.Settle.D(), shutdownReserve(conf.Drain.Reserve.D(), delay)
	needs := plan.FitAfter(settle, 0, true).Total
	if needs <= delay-reserve {
		return ""
	}
	fitted := plan.FitAfter(settle, delay-reserve, false)
	consequence := "its steps get less time"
	var shed []string
	for _, s := range fitted.Steps {
		if s.Shed {
			shed = append(shed, s.Name)
		}
	}
	switch {
	case !fitted.Enough:
		consequence = "it fails"
	case len(shed) > 0:
		consequence = "it leaves out " + strings.Join(shed, ", ")
	}
	return fmt.Sprintf("logind delays a shutdown for %s at most, %s, and the drain plan takes up to %s: when nobody announces the shutdown, %s",
		delay, w.delaySource(delay), needs+reserve, consequence)
}

// delaySource names the file that set the delay.
func (w *busWatch) delaySource(delay time.Duration) string {
	settings, err := systemd.InhibitDelayConfig(w.root)
	switch {
	case err != nil:
		return fmt.Sprintf("by files that cannot be read (%v)", err)
	case len(settings) == 0:
		return "which is its default"
	}
	last := settings[len(settings)-1]
	if last.Value != delay {
		return fmt.Sprintf("although %s says %s, which it has not read yet", last.File, last.Value)
	}
	overridden := ""
	if n := len(settings); n > 1 {
		overridden = fmt.Sprintf(", which overrides %s of %s", settings[n-2].Value, settings[n-2].File)
	}
	return "as set by " + last.File + overridden
}

// shutdownReserve is what is kept of a shutdown's delay.
func shutdownReserve(reserve, window time.Duration) time.Duration { return min(reserve, window/4) }
