package agent

import (
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

func TestOperatorDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		_, err := w.ops().Undrain(t.Context(), root, control.UndrainRequest{})
		require.ErrorContains(t, err, "not draining")

		accepted, err := w.ops().Drain(t.Context(), root, control.DrainRequest{Reason: "kernel\nupdate"})
		require.NoError(t, err)
		require.Equal(t, "drain begun", accepted.Message)
		w.awaitState(control.StateDrained, 30*time.Second)
		s := w.status()
		require.Equal(t, control.Cause{Kind: "operator", By: root, Reason: "kernel update"}, s.Drain.Cause)
		require.Nil(t, s.Drain.Deadline)

		w.restart()
		w.pass(10 * time.Minute)
		require.Equal(t, control.StateDrained, w.status().State, "an operator's drain lasts until an operator ends it")

		w.undrain()
		w.awaitState(control.StateServing, 5*time.Second)
	})
}

// TestUndrainWhileAnEventAsks is refused, and with force dismisses the event.
func TestUndrainWhileAnEventAsks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self, other}, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)

		_, err := w.ops().Undrain(t.Context(), root, control.UndrainRequest{})
		require.ErrorContains(t, err, id)
		w.pass(5 * time.Second)
		require.Equal(t, control.StateDrained, w.status().State)

		_, err = w.ops().Undrain(t.Context(), root, control.UndrainRequest{Force: true})
		require.NoError(t, err)
		w.awaitState(control.StateServing, 5*time.Second)
		w.restart()
		w.awaitState(control.StateServing, 5*time.Second)
		w.pass(time.Minute)
		require.Equal(t, control.StateServing, w.status().State, "dismissed for good")
		w.reboot()
		w.pass(time.Minute)
		require.Equal(t, control.StateServing, w.status().State, "and over a boot")
		require.Empty(t, w.sim.Acks())
	})
}

// TestOperatorAndEvent: the event vanishes, the operator's cause stays.
func TestOperatorAndEvent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)
		accepted, err := w.ops().Drain(t.Context(), root, control.DrainRequest{})
		require.NoError(t, err)
		require.Contains(t, accepted.Message, "joined")
		w.pass(time.Second)
		require.NoError(t, w.sim.Complete(id))
		w.pass(time.Minute)
		require.Equal(t, control.StateDrained, w.status().State)
		w.undrain()
		w.awaitState(control.StateServing, 5*time.Second)
	})
}

// TestMaintenance: unready, no unit touched, over restarts, until its time is over.
func TestMaintenance(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for _, bad := range []control.MaintenanceRequest{{On: true}, {On: true, ForSeconds: -1}, {On: true, ForSeconds: 1e9}} {
			_, err := w.ops().Maintenance(t.Context(), root, bad)
			require.ErrorContains(t, err, "for_seconds")
		}
		_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 7200, Reason: "disk swap"})
		require.NoError(t, err)
		w.pass(0)
		require.Equal(t, control.StateMaintenance, w.status().State)
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		require.Equal(t, http.StatusOK, w.code("/healthz"))
		w.kill()
		w.start()
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		w.pass(2*time.Hour - time.Minute)
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		w.pass(2 * time.Minute)
		require.Equal(t, control.StateServing, w.status().State)
		begun, _, _ := w.steps[0].counts()
		require.Zero(t, begun)

		_, err = w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{})
		require.ErrorContains(t, err, "not in maintenance")
	})
}

// TestShutdown: an unannounced one drains in its window, and is undone when it
// is called off.
// TestUndrainEndsACordon, too, and by force only.
func TestUndrainEndsACordon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["Freeze"] = config.EventPolicy{Action: "cordon", Ack: "never"}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Freeze, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDraining, 2*time.Second)
		_, err := w.ops().Undrain(t.Context(), root, control.UndrainRequest{})
		require.ErrorContains(t, err, "event "+id+" (Freeze) still keeps the node out of service")
		_, err = w.ops().Undrain(t.Context(), root, control.UndrainRequest{Force: true})
		require.NoError(t, err)
		w.awaitState(control.StateServing, time.Second)
		w.restart()
		w.pass(time.Minute)
		require.Equal(t, control.StateServing, w.status().State, "dismissed for good")
	})
}

// TestUndrainTellsWho: the journal has the operator's words.
func TestUndrainTellsWho(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		w.drain()
		w.awaitState(control.StateDrained, 30*time.Second)
		_, err := w.ops().Undrain(t.Context(), "uid 7 (eve)", control.UndrainRequest{Reason: "mended"})
		require.NoError(t, err)
		w.awaitState(control.StateServing, 5*time.Second)
		require.Equal(t, 1, countLines(w.log.String(), `msg="undrain begun"`, `by="uid 7 (eve)"`, "reason=mended"))
	})
}

// TestFlagThatCannotBeRemoved keeps the node out of service until it can, and says
// so.
func TestFlagThatCannotBeRemoved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		w.drain()
		w.awaitState(control.StateDrained, 30*time.Second)
		flag := filepath.Join(w.conf.RunDir, drainFlag)
		require.NoError(t, os.Remove(flag))
		require.NoError(t, os.MkdirAll(filepath.Join(flag, "in-the-way"), 0o755))
		w.undrain()
		w.pass(time.Minute)
		s := w.status()
		require.Equal(t, control.StateDraining, s.State)
		require.Contains(t, s.Reason, "out of service until a flag can be removed")
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		require.Equal(t, 1, countLines(w.log.String(), `msg="flag not kept"`), "it is said once")
		require.NoError(t, removeAll(flag))
		w.awaitState(control.StateServing, 2*time.Second)
		require.Equal(t, http.StatusOK, w.code("/readyz"))
	})
}

func TestShutdown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		begin := time.Now()
		w.agent.coordinator.Shutdown(t.Context(), begin.Add(30*time.Second))
		require.Less(t, time.Since(begin), 6*time.Second, "returned when the drain had ended")
		w.awaitState(control.StateDrained, time.Second)
		w.agent.coordinator.staysUp = func() bool { return true }
		w.agent.coordinator.ShutdownCalledOff(t.Context())
		w.awaitState(control.StateServing, 5*time.Second)
	})
}

// TestSeconds: what cannot be told from 0 is refused, for 0 means no limit.
func TestSeconds(t *testing.T) {
	for s, want := range map[float64]time.Duration{0: 0, 1e-9: time.Nanosecond, 1.5: 1500 * time.Millisecond, 86400: 24 * time.Hour} {
		d, err := seconds("timeout_seconds", s)
		require.NoError(t, err)
		require.Equal(t, want, d, "%v", s)
	}
	for _, s := range []float64{1e-10, 1e-300, -1, -1e-10, 1e9, math.Inf(1), math.NaN()} {
		_, err := seconds("timeout_seconds", s)
		require.ErrorContains(t, err, "timeout_seconds: ", "%v", s)
		refusal, ok := errors.AsType[*control.Error](err)
		require.True(t, ok)
		require.Equal(t, http.StatusBadRequest, refusal.Status)
	}
}
