package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// What happens when two things are asked for in the same moment, and when what
// was wrong at the start is mended later.

// idle waits until the coordinator has nothing under way.
func (w *world) idle() {
	w.t.Helper()
	w.pass(0)
	for range 600 {
		calls := make(chan int, 1)
		require.NoError(w.t, w.agent.coordinator.do(w.t.Context(), func(context.Context) {
			calls <- len(w.agent.coordinator.asked)
		}))
		if <-calls == 0 {
			return
		}
		w.pass(100 * time.Millisecond)
	}
	require.FailNow(w.t, "never idle")
}

// TestOperatorDrainsWhileTheEventVanishes: who was told that the node drains finds
// it drained, whichever of the two came first.
func TestOperatorDrainsWhileTheEventVanishes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps[0].takes = 0
		w.conf.Drain.Settle = 0
		w.serving()
		for range 100 {
			id := w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
			w.awaitState(control.StateDrained, 5*time.Second)
			w.idle()
			require.NoError(t, w.sim.Complete(id))
			// As the poll that sees it does.
			doc := *w.agent.coordinator.doc
			doc.Events = nil
			seen := make(chan struct{})
			go func() {
				defer close(seen)
				w.agent.coordinator.observe(t.Context(), doc)
			}()
			w.drain()
			<-seen
			w.pass(3 * time.Second)
			require.Equal(t, control.StateDrained, w.status().State)
			w.undrain()
			w.awaitState(control.StateServing, 5*time.Second)
			w.idle()
		}
	})
}

// TestUndrainRightAfterDrain is not refused, and wins.
func TestUndrainRightAfterDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for range 50 {
			w.drain()
			w.undrain()
			w.pass(10 * time.Second)
			require.Equal(t, control.StateServing, w.status().State)
		}
	})
}

// TestAnswerComesAfterTheDeed: whoever is told of maintenance finds the node
// unready.
func TestAnswerComesAfterTheDeed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for range 100 {
			_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 60})
			require.NoError(t, err)
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
			_, err = w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{})
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, w.code("/readyz"))
		}
	})
}

// TestOperatorTriesAgain: a drain that failed is tried again by whoever asked for
// it, in the time that the request brings.
func TestOperatorTriesAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.Drain.Settle = 0
		w.serving()
		_, err := w.ops().Drain(t.Context(), root, control.DrainRequest{TimeoutSeconds: 1})
		require.NoError(t, err)
		w.pass(10 * time.Second)
		require.Equal(t, "failed", w.status().Drain.Phase)
		accepted, err := w.ops().Drain(t.Context(), root, control.DrainRequest{TimeoutSeconds: 600})
		require.NoError(t, err)
		require.Contains(t, accepted.Message, "tried again")
		w.awaitState(control.StateDrained, 10*time.Second)
		require.Len(t, w.agent.journal.State().Drain.Causes, 1)
	})
}

// TestManyEventsOfThisVM are acted on up to a number, and cost no more.
func TestManyEventsOfThisVM(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for range 100 {
			w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		}
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(3 * time.Minute)
		require.Len(t, w.sim.Acks(), maxOwnEvents)
		require.Len(t, w.status().Events, 100)
	})
}

// TestJournalThatCanBeReadLater: the drain in it is taken up as soon as it is.
func TestJournalThatCanBeReadLater(t *testing.T) {
	for name, cause := range map[string]bool{"an event that is gone": true, "an operator's": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				id := ""
				if cause {
					id = w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				} else {
					w.drain()
				}
				w.awaitState(control.StateDrained, 30*time.Second)
				w.kill()
				journal, away := filepath.Join(w.conf.StateDir, "journal"), filepath.Join(w.dir, "away")
				require.NoError(t, os.Rename(journal, away))
				require.NoError(t, os.Mkdir(journal, 0o700))
				require.NoError(t, removeAll(w.conf.RunDir))
				if id != "" {
					require.NoError(t, w.sim.Complete(id))
				}
				w.serving()
				require.NoError(t, os.Remove(journal))
				require.NoError(t, os.Rename(away, journal))
				_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 60})
				require.NoError(t, err)
				w.pass(2 * time.Minute)
				if id == "" {
					require.Equal(t, control.StateDrained, w.status().State, "an operator's drain lasts until an operator ends it")
					w.undrain()
					w.pass(10 * time.Second)
				}
				require.Equal(t, control.StateServing, w.status().State)
				require.Nil(t, w.agent.journal.State().Drain)
			})
		})
	}
}

// TestDrainThatNobodyKnows: the flag is there, the journal is not, and the
// metadata service neither. status says so, and an operator's word opens the gate.
func TestDrainThatNobodyKnows(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		require.NoError(t, os.MkdirAll(w.conf.RunDir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(w.conf.RunDir, drainFlag), nil, 0o600))
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultReset}))
		w.start()
		w.pass(time.Minute)
		s := w.status()
		require.Equal(t, control.StateDraining, s.State)
		require.Contains(t, s.Reason, "a drain that the journal does not know")
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		w.undrain()
		require.Equal(t, http.StatusOK, w.code("/readyz"))
	})
}

// TestReloadMovesNothing: what is where is that of the start, however often the
// configuration is read again.
func TestReloadMovesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		before := w.agent.planContext().runDir
		next := *w.conf
		next.RunDir = "/nonexistent/run"
		w.load = func() (*config.Config, error) { return &next, nil }
		for range 2 {
			require.NoError(t, w.agent.Reload(t.Context()))
			require.Equal(t, before, w.agent.planContext().runDir)
			require.Contains(t, fmt.Sprint(w.status().Warnings), "the change of run_dir waits for a restart")
		}
	})
}

// TestShutdownOfADrainedNode is not held up.
func TestShutdownOfADrainedNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for range 50 {
			w.drain()
			w.awaitState(control.StateDrained, 30*time.Second)
			w.idle()
			begin := time.Now()
			w.agent.coordinator.Shutdown(t.Context(), begin.Add(50*time.Second))
			require.Less(t, time.Since(begin), time.Second)
			w.agent.coordinator.ShutdownCalledOff(t.Context())
			require.True(t, hasCause(w.agent.journal.State().Drain, drain.Cause{Kind: drain.Shutdown}))
			w.agent.coordinator.staysUp = func() bool { return true }
			w.undrain()
			w.awaitState(control.StateServing, 10*time.Second)
			w.idle()
		}
	})
}
