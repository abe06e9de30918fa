package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

// A socket that a connection of the drain made fail is started by the undrain; one
// that does not come up is said, although every check passes.
func TestAnAdoptedSocketThatDoesNotListen(t *testing.T) {
	t.Parallel()
	socket := systemdtest.Unit{
		Name: "web.socket", PartOf: []string{servingTarget}, ActiveState: "active", Triggers: "web.service",
		OnStart: systemdtest.Behavior{Job: "failed", ActiveState: "failed", Result: "resources"},
	}
	w := onBus(t, targetStep(time.Minute), func(b *systemdtest.Bus, _ string) {
		b.Systemd.Set(socket)
		b.Systemd.Set(systemdtest.Unit{Name: "off.socket", PartOf: []string{servingTarget}, Unwanted: true})
	})
	w.notWarned()
	w.drain()
	w.awaitState(control.StateDrained)
	require.Empty(t, w.status().Warnings, "in a drain it is not to listen")
	w.undrain()
	w.awaitState(control.StateDegraded)
	require.Equal(t, "web.socket does not listen", w.status().Reason)
	require.True(t, w.status().Health.Ready, "it is a warning")
	w.warned("web.socket", "failed (resources)", "sudo systemctl stop web.service && sudo systemctl start web.socket web.service")

	socket.OnStart = systemdtest.Behavior{}
	w.bus.Systemd.Set(socket) // somebody has mended it
	w.drain()
	w.awaitState(control.StateDrained)
	w.undrain()
	w.awaitState(control.StateServing)
	w.notWarned()
}

func TestSocketWarning(t *testing.T) {
	unit := func(name, active, result string) systemd.UnitState {
		return systemd.UnitState{Name: name, ActiveState: active, Result: result}
	}
	for want, s := range map[string]systemd.Socket{
		"the adopted socket a.socket does not listen, it is failed (trigger-limit-hit): sudo systemctl start a.socket": {
			UnitState: unit("a.socket", "failed", "trigger-limit-hit"), Service: unit("a.service", "inactive", "success"),
		},
		"the adopted socket a.socket does not listen, it is inactive: sudo systemctl start a.socket": {UnitState: unit("a.socket", "inactive", "success")},
		"the adopted socket a.socket does not listen, it is inactive: sudo systemctl stop a.service && sudo systemctl start a.socket a.service": {
			UnitState: unit("a.socket", "inactive", "success"), Service: unit("a.service", "activating", "success"),
		},
	} {
		require.Equal(t, want, socketWarning(s))
	}
	soon := unit("a.socket", "inactive", "")
	require.False(t, listens(systemd.Socket{UnitState: soon}))
	soon.Job = true
	require.True(t, listens(systemd.Socket{UnitState: soon}))
}
