package probe

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeUnits stands in for systemd.
type fakeUnits struct {
	state UnitState
	err   error
	wake  chan struct{}
	names []string
}

func (f *fakeUnits) UnitState(_ context.Context, name string) (UnitState, error) {
	f.names = append(f.names, name)
	return f.state, f.err
}

func (f *fakeUnits) WatchUnit(name string) (wake <-chan struct{}, stop func()) {
	f.names = append(f.names, name)
	f.wake = make(chan struct{}, 1)
	return f.wake, func() { f.wake = nil }
}

func TestUnit(t *testing.T) {
	for name, tc := range map[string]struct {
		state UnitState
		err   error
		says  string
	}{
		"active":       {state: UnitState{Load: "loaded", Active: "active", Sub: "running", Result: "success"}},
		"reloading":    {state: UnitState{Load: "loaded", Active: "reloading", Sub: "reload"}},
		"deleted file": {state: UnitState{Load: "not-found", Active: "active", Sub: "running"}},
		"failed": {
			state: UnitState{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"},
			says:  "unit nginx.service: failed (failed), result exit-code, want active",
		},
		"starting": {
			state: UnitState{Load: "loaded", Active: "activating", Sub: "start-pre", Result: "success"},
			says:  "unit nginx.service: activating (start-pre), want active",
		},
		"no such unit": {
			state: UnitState{Load: "not-found", Active: "inactive", Sub: "dead"},
			says:  "unit nginx.service: inactive, not loaded: not-found, want active",
		},
		"no systemd": {
			err:  errors.New("no D-Bus"),
			says: "unit nginx.service: systemd does not tell: no D-Bus, want active",
		},
		"systemd hangs": {
			err:  context.DeadlineExceeded,
			says: "unit nginx.service: systemd does not tell: timed out, want active",
		},
	} {
		t.Run(name, func(t *testing.T) {
			units := &fakeUnits{state: tc.state, err: tc.err}
			u, err := NewUnit(UnitConfig{Units: units, Name: "nginx.service"})
			require.NoError(t, err)
			err = u.Probe(t.Context())
			require.Equal(t, []string{"nginx.service", "nginx.service"}, units.names)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}
}

func TestUnitWatch(t *testing.T) {
	units := &fakeUnits{}
	u, err := NewUnit(UnitConfig{Units: units, Name: "nginx.service"})
	require.NoError(t, err)
	units.wake <- struct{}{}
	<-u.Wake()
	u.Close()
	require.Nil(t, units.wake)
}

func TestUnitRefuses(t *testing.T) {
	_, err := NewUnit(UnitConfig{Name: "nginx.service"})
	require.EqualError(t, err, "no connection to systemd")
	for _, name := range []string{"", "nginx", ".service", "nginx.conf", "getty@.service", "a/b.service", "a b.service"} {
		_, err := NewUnit(UnitConfig{Units: &fakeUnits{}, Name: name})
		require.EqualError(t, err, `name "`+name+`": want a unit with its suffix, such as nginx.service`)
	}
	for _, name := range []string{"getty@tty1.service", `dev-disk-by\x2dlabel-data.mount`, "fleet-serving.target"} {
		_, err := NewUnit(UnitConfig{Units: &fakeUnits{}, Name: name})
		require.NoError(t, err)
	}
}
