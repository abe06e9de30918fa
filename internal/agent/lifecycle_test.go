package agent

import (
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

// TestVanishesInTheMiddle: the drain is cancelled and undone.
func TestVanishesInTheMiddle(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps = []*testStep{{name: "one", takes: 20 * time.Second}, {name: "two", takes: time.Second}}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}})
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
		w.pass(5 * time.Second)
		require.NoError(t, w.sim.Cancel(id))
		w.awaitState(control.StateServing, 5*time.Second)

		begun, ended, undone := w.steps[0].counts()
		require.Equal(t, [3]int{1, 0, 1}, [3]int{begun, ended, undone})
		begun, _, undone = w.steps[1].counts()
		require.Equal(t, [2]int{0, 0}, [2]int{begun, undone})
		require.Empty(t, w.sim.Acks())
		history := w.agent.journal.History()
		require.Len(t, history, 1)
		require.EqualValues(t, "cancelled", history[0].Result)
	})
}

// TestReappearsWithAnotherID: two drains, two acks, each its own.
func TestReappearsWithAnotherID(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for range 2 {
			id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
			w.awaitState(control.StateDrained, 30*time.Second)
			w.pass(2 * time.Second)
			require.Equal(t, 1, w.accepted(id))
			require.NoError(t, w.sim.Complete(id))
			w.awaitState(control.StateServing, 5*time.Second)
		}
		require.Len(t, w.agent.journal.History(), 2)
	})
}

// TestSeveralEvents: one drain, the earliest deadline, an ack for each, and the
// drain lasts as long as one of them does.
func TestSeveralEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps = []*testStep{{name: "work", takes: 10 * time.Second}}
		w.serving()
		reboot := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDraining, 3*time.Second)
		preempt := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Hold: true})
		w.pass(2 * time.Second)
		d := w.status().Drain
		require.Len(t, d.Joined, 1)
		require.Less(t, time.Until(*d.Deadline), 30*time.Second)

		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(3 * time.Second)
		require.Equal(t, 1, w.accepted(reboot))
		require.Equal(t, 1, w.accepted(preempt))
		begun, _, _ := w.steps[0].counts()
		require.Equal(t, 1, begun)

		require.NoError(t, w.sim.Complete(preempt))
		w.pass(10 * time.Second)
		require.Equal(t, control.StateDrained, w.status().State)
		require.NoError(t, w.sim.Complete(reboot))
		w.awaitState(control.StateServing, 5*time.Second)
	})
}

// TestStarted without having been announced: drained at once, nothing to ack.
func TestStarted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Started: true, Hold: true})
		took := w.awaitState(control.StateDrained, 30*time.Second)
		require.Less(t, took, 4500*time.Millisecond, "the step takes 3 s; no time was spent on settling")
		w.pass(10 * time.Second)
		require.Empty(t, w.sim.Acks())
		require.NoError(t, w.sim.Complete(id))
		w.awaitState(control.StateServing, 5*time.Second)
	})
}

// TestStartsInTheMiddle: somebody else acked; the drain goes on, and no ack is sent.
func TestStartsInTheMiddle(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps = []*testStep{{name: "work", takes: 10 * time.Second}}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.pass(5 * time.Second)
		require.NoError(t, w.sim.Start(id))
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(10 * time.Second)
		require.Empty(t, w.sim.Acks())
		require.Contains(t, w.status().Events[0].AckReason, "started without our ack")
	})
}

// TestAfterTheReboot: the node comes back serving although the event still
// stands in the document, and is drained anew for the next one.
func TestAfterTheReboot(t *testing.T) {
	for name, known := range map[string]bool{"known from before": true, "never seen before": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				var id string
				if known {
					id = w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
					w.awaitState(control.StateDrained, 30*time.Second)
					w.pass(3 * time.Second)
				} else {
					w.kill()
					id = w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Started: true, Hold: true})
					w.start()
					w.kill()
					w.start()
				}
				w.reboot()
				w.awaitState(control.StateServing, 5*time.Second)
				for range 100 {
					w.pass(time.Second)
					require.Equal(t, control.StateServing, w.status().State)
				}
				w.restart()
				w.awaitState(control.StateServing, 5*time.Second)
				w.pass(time.Minute)
				require.Equal(t, control.StateServing, w.status().State, "not forgotten by a restart of the agent either")
				require.NoError(t, w.sim.Complete(id))

				w.sim.Publish(simimds.EventSpec{Type: simimds.Redeploy, Resources: []string{self}, Hold: true})
				w.awaitState(control.StateDrained, 30*time.Second)
			})
		})
	}
}

// TestUnexpectedReboot in the middle of a drain: it is history, and what is
// still scheduled is drained for again.
func TestUnexpectedReboot(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps = []*testStep{{name: "work", takes: 20 * time.Second}}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		w.pass(6 * time.Second)
		w.reboot()
		w.awaitState(control.StateDrained, 40*time.Second)
		w.pass(3 * time.Second)
		require.Equal(t, 1, w.accepted(id))
		history := w.agent.journal.History()
		require.Len(t, history, 2)
		require.EqualValues(t, "interrupted", history[1].Result)
	})
}

// TestLeadTime: an event days away is shown, and drained for when its time comes.
func TestLeadTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["Redeploy"] = config.EventPolicy{Action: "drain", Ack: "after-drain", LeadTime: config.Duration(10 * time.Minute)}
		w.serving()
		w.sim.Publish(simimds.EventSpec{Type: simimds.Redeploy, Resources: []string{self}, Notice: 3 * time.Hour, Hold: true})
		w.pass(2*time.Hour + 49*time.Minute + 58*time.Second)
		require.Equal(t, control.StateServing, w.status().State)
		require.Equal(t, "drain", w.status().Events[0].Action)
		w.pass(4 * time.Second)
		require.Equal(t, control.StateDraining, w.status().State)
		w.awaitState(control.StateDrained, 30*time.Second)
	})
}

// TestCordon: only /readyz goes 503, over a restart too, until the event is gone.
func TestCordon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["Freeze"] = config.EventPolicy{Action: "cordon", Ack: "never"}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Freeze, Resources: []string{self}, Hold: true})
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
		require.Equal(t, http.StatusOK, w.code("/healthz"))
		w.kill()
		w.start()
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		w.pass(10 * time.Second)
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		begun, _, _ := w.steps[0].counts()
		require.Zero(t, begun)
		require.NoError(t, w.sim.Complete(id))
		w.awaitCode("/readyz", http.StatusOK, 3*time.Second)
		require.Empty(t, w.sim.Acks())
	})
}

// TestShortNotice: a Preempt leaves eight seconds for a plan that wants
// thirteen; the ack, if the plan fits, leaves before NotBefore.
func TestShortNotice(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.Drain.Settle = config.Duration(10 * time.Second)
		w.steps = []*testStep{{name: "work", takes: 2 * time.Second}, {name: "nice", takes: time.Minute, optional: true}}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 8 * time.Second, Hold: true})
		w.pass(7900 * time.Millisecond)
		acks := w.sim.Acks()
		require.Len(t, acks, 1)
		require.Equal(t, id, acks[0].EventID)
		require.False(t, acks[0].Late)
		_, ended, _ := w.steps[0].counts()
		require.Equal(t, 1, ended)
	})
}

// TestAckIsTriedUntilAccepted, and not longer than the notice.
func TestAckIsTriedUntilAccepted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, w.sim.SetFault(simimds.Fault{
			Kind: simimds.FaultStatus, Status: 500, Endpoint: simimds.EndpointScheduledEvents, Method: http.MethodPost, Count: 3,
		}))
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(30 * time.Second)
		require.Equal(t, 1, w.accepted(id))
		require.Equal(t, ackAccepted, w.status().Events[0].Ack)
	})
}

// TestLostAckAnswer: the ack arrived but its answer did not; the event is seen
// to have started and no second one is sent.
func TestLostAckAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, w.sim.SetFault(simimds.Fault{
			Kind: simimds.FaultLost, Endpoint: simimds.EndpointScheduledEvents, Method: http.MethodPost, Count: 1,
		}))
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(30 * time.Second)
		require.Len(t, w.sim.Acks(), 1)
		require.Equal(t, id, w.sim.Acks()[0].EventID)
		require.Equal(t, ackAccepted, w.status().Events[0].Ack)
	})
}

// TestForgottenDrain: the journal cannot be read, but the flag of a drain is
// there. The node stays unready until a document says that nothing asks for it.
func TestForgottenDrain(t *testing.T) {
	for name, still := range map[string]bool{"the event is gone": false, "the event is still there": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				require.NoError(t, os.MkdirAll(filepath.Join(w.conf.StateDir, "journal"), 0o700)) // where the file should be
				require.NoError(t, os.MkdirAll(w.conf.RunDir, 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(w.conf.RunDir, drainFlag), nil, 0o600))
				blind := simimds.Fault{Kind: simimds.FaultStatus, Status: 500}
				require.NoError(t, w.sim.SetFault(blind))
				if still {
					w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
				}
				w.start()
				w.pass(time.Minute)
				require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
				require.NotEmpty(t, w.status().Warnings)
				w.sim.ClearFaults()
				if still {
					w.awaitState(control.StateDrained, 30*time.Second)
					require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
					return
				}
				w.awaitCode("/readyz", http.StatusOK, 15*time.Second)
				require.NoFileExists(t, filepath.Join(w.conf.RunDir, drainFlag))
			})
		})
	}
}

// TestDrainLeavesAFlag, which keeps workloads from starting while they are stopped and
// lets them start while the drain is taken back. The node is unready for all of it.
func TestDrainLeavesAFlag(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		flag := filepath.Join(w.conf.RunDir, drainFlag)
		var seen []string
		see := func(what string, want bool) {
			_, err := os.Stat(flag)
			require.Equal(t, want, err == nil, "%s: the flag", what)
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), what)
			seen = append(seen, what)
		}
		w.steps[0].run = func() { see("stop", true) }
		w.steps[0].undo = func() { see("start", false) }
		w.serving()
		require.NoFileExists(t, flag)
		w.drain()
		w.pass(time.Second)
		require.FileExists(t, flag, "while traffic settles")
		w.awaitState(control.StateDrained, 30*time.Second)
		require.FileExists(t, flag)
		w.undrain()
		w.awaitState(control.StateServing, 5*time.Second)
		require.Equal(t, []string{"stop", "start"}, seen)
	})
}

// TestHealthzInADrain: the drain stops what a check looks at, and /healthz does
// not change because of it, over a restart of the agent too.
func TestHealthzInADrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		app := filepath.Join(w.dir, "app")
		require.NoError(t, os.WriteFile(app, nil, 0o600))
		w.conf.Checks = []config.Check{fileCheck("app", app)}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
		require.NoError(t, os.Remove(app)) // the workload is stopped
		for range 60 {
			w.pass(time.Second)
			require.Equal(t, http.StatusOK, w.code("/healthz"))
		}
		require.Equal(t, []string{"app"}, w.status().Health.Roots, "it is shown")
		w.restart()
		for range 60 {
			require.Equal(t, http.StatusOK, w.code("/healthz"))
			w.pass(time.Second)
		}
		require.NoError(t, os.WriteFile(app, nil, 0o600)) // it is started again
		require.NoError(t, w.sim.Complete(id))
		w.awaitState(control.StateServing, 10*time.Second)
		require.Equal(t, http.StatusOK, w.code("/healthz"))
		require.NoError(t, os.Remove(app))
		w.pass(5 * time.Second)
		require.Equal(t, http.StatusAccepted, w.code("/healthz"), "and tells the truth again")
	})
}
