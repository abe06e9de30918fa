package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Units is what a unit check needs of systemd.
type Units interface {
	// UnitState reads the unit's state now. A unit that does not exist is no error.
	UnitState(ctx context.Context, name string) (UnitState, error)

	// WatchUnit gives a channel that can be received from when the unit's state
	// may have changed. It does not wait for systemd, and works through restarts
	// of the bus. The channel is never closed; stop ends the watch.
	WatchUnit(name string) (wake <-chan struct{}, stop func())
}

// UnitState is what systemd says of a unit, in the words of
// org.freedesktop.systemd1(5).
type UnitState struct {
	Load   string // LoadState: loaded, not-found, masked, ...
	Active string // ActiveState: active, failed, ...
	Sub    string // SubState: running, dead, ...
	Result string // of the last run, where the type of unit has one: success, exit-code, ...
}

// UnitConfig describes a systemd unit.
type UnitConfig struct {
	Units Units
	Name  string // with its suffix: nginx.service
}

// Target is where the probe looks, as its errors name it.
func (c UnitConfig) Target() string { return c.Name }

// Unit judges by the state of a systemd unit. Changes come as signals, through
// Wake; the runs at the check's interval are for the case that one was lost.
type Unit struct {
	cfg  UnitConfig
	wake <-chan struct{}
	stop func()
}

// NewUnit watches a unit until Close. The unit need not exist yet.
func NewUnit(cfg UnitConfig) (*Unit, error) {
	switch {
	case cfg.Units == nil:
		return nil, errors.New("no connection to systemd")
	case !validUnitName(cfg.Name):
		return nil, fmt.Errorf("name %q: want a unit with its suffix, such as nginx.service", cfg.Name)
	}
	wake, stop := cfg.Units.WatchUnit(cfg.Name)
	return &Unit{cfg: cfg, wake: wake, stop: stop}, nil
}

// Wake is received from when the unit's state may have changed.
func (u *Unit) Wake() <-chan struct{} { return u.wake }

// Close ends the watch.
func (u *Unit) Close() { u.stop() }

// Probe passes while the unit is active, or reloading while active. A oneshot
// service is that only with RemainAfterExit=yes.
func (u *Unit) Probe(ctx context.Context) error {
	fail := func(seen string, err error) error {
		return &Error{Kind: "unit", Target: u.cfg.Target(), Seen: seen, Want: "active", Err: err}
	}
	state, err := u.cfg.Units.UnitState(ctx, u.cfg.Name)
	if err != nil {
		return fail("systemd does not tell: "+describe(err), err)
	}
	switch state.Active {
	case "active", "reloading", "refreshing":
		return nil
	}
	if state.Load != "loaded" {
		return fail(state.Active+", not loaded: "+state.Load, nil)
	}
	seen := fmt.Sprintf("%s (%s)", state.Active, state.Sub)
	if state.Result != "" && state.Result != "success" {
		seen += ", result " + state.Result
	}
	return fail(seen, nil)
}

// validUnitName applies the rules of systemd.unit(5); templates have no state.
func validUnitName(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 1 || len(name) > 255 || strings.HasSuffix(name[:i], "@") {
		return false
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune(`:-_.\@`, r) }) {
		return false
	}
	switch name[i+1:] {
	case "service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope":
		return true
	}
	return false
}
