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

// The way back to service.

// An app is a workload with a check that looks for its file.
type app struct {
	t    *testing.T
	file string
}

// newApp gives the world an application that runs.
func newApp(t *testing.T, w *world) *app {
	t.Helper()
	a := &app{t, filepath.Join(w.dir, "app")}
	a.start()
	w.conf.Checks = append(w.conf.Checks, fileCheck("app", a.file))
	return a
}

func (a *app) start() { require.NoError(a.t, os.WriteFile(a.file, nil, 0o600)) }
func (a *app) stop()  { require.NoError(a.t, os.Remove(a.file)) }

// TestAppThatIsDownAfterTheUndrain: the checks had passed until the undrain, and
// /readyz does not believe them.
func TestAppThatIsDownAfterTheUndrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		app := newApp(t, w)
		w.serving()
		w.drain()
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(10*time.Second - time.Millisecond)
		app.stop() // no check has noticed yet
		w.undrain()
		for range 1000 {
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
			w.pass(10 * time.Millisecond)
		}
		require.Equal(t, control.StateUnhealthy, w.status().State)
		app.start()
		w.awaitCode("/readyz", http.StatusOK, 10*time.Second)
	})
}

// TestCalledOff: a Reboot that does not happen, and an application that takes 20 s
// to start. Nothing of that looks like a broken node, whether the agent is
// restarted meanwhile or not, and traffic waits.
func TestCalledOff(t *testing.T) {
	for name, restarts := range map[string][]time.Duration{ // after the undrain
		"":                          nil,
		"agent restarted":           {5 * time.Second},
		"agent restarted again":     {5 * time.Second, 10 * time.Second, 15 * time.Second},
		"restarted at the end":      {19 * time.Second},
		"restarted, no time to say": {0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				const takes = 20 * time.Second
				app := newApp(t, w)
				w.conf.Health.StartGrace = config.Duration(30 * time.Second)
				w.serving()
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
				app.stop()
				w.awaitState(control.StateDrained, 30*time.Second)
				w.pass(2 * time.Minute)
				require.Equal(t, http.StatusOK, w.code("/healthz"))
				require.NoError(t, w.sim.Complete(id))
				w.awaitState(control.StateStarting, 3*time.Second)
				begin := time.Now()
				step := func() {
					require.Equal(t, http.StatusOK, w.code("/healthz"), "%s after the undrain", time.Since(begin))
					require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), "%s after the undrain", time.Since(begin))
				}
				for time.Since(begin) < takes {
					if len(restarts) > 0 && time.Since(begin) >= restarts[0] {
						restarts = restarts[1:]
						w.restart()
					}
					step()
					w.pass(100 * time.Millisecond)
					step()
					s := w.status()
					require.Equal(t, control.StateStarting, s.State)
					require.Equal(t, "returning: waiting for app", s.Reason)
					require.Equal(t, []string{"app"}, s.Health.Returning)
				}
				app.start()
				w.awaitState(control.StateServing, 10*time.Second)
				require.Equal(t, http.StatusOK, w.code("/readyz"))
				require.Empty(t, w.status().Health.Returning)
				w.pass(time.Second)
				require.NoFileExists(t, filepath.Join(w.conf.RunDir, healthFlag))
			})
		})
	}
}

// TestCalledOffForAnAppThatIsBroken: the grace ends, and a restart of the agent
// gives no new one.
func TestCalledOffForAnAppThatIsBroken(t *testing.T) {
	for name, restarts := range map[string]bool{"": false, "agent restarted": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				app := newApp(t, w)
				w.conf.Health.StartGrace = config.Duration(30 * time.Second)
				w.serving()
				w.drain()
				w.awaitState(control.StateDrained, 30*time.Second)
				app.stop()
				w.pass(time.Minute)
				w.undrain()
				w.awaitState(control.StateStarting, time.Second)
				w.pass(20 * time.Second)
				if restarts {
					w.restart()
				}
				took := w.awaitCode("/healthz", http.StatusAccepted, 15*time.Second)
				require.InDelta(t, 10, took.Seconds(), 0.1)
				require.Equal(t, "check app fails", w.status().Reason)
				w.pass(time.Second)
				require.NoFileExists(t, filepath.Join(w.conf.RunDir, healthFlag))
			})
		})
	}
}

// TestUnhealthyBeforeTheDrain: there is nothing to hold, in the drain, on the way
// back and over a restart.
func TestUnhealthyBeforeTheDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		app := newApp(t, w)
		w.conf.Health.StartGrace = config.Duration(30 * time.Second)
		w.serving()
		w.pass(time.Minute)
		app.stop()
		w.awaitCode("/healthz", http.StatusAccepted, 15*time.Second)
		w.drain()
		w.awaitState(control.StateDrained, 30*time.Second)
		w.undrain()
		for range 100 {
			require.Equal(t, http.StatusAccepted, w.code("/healthz"))
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
			require.NoFileExists(t, filepath.Join(w.conf.RunDir, healthFlag))
			w.pass(50 * time.Millisecond)
		}
		w.restart()
		w.pass(time.Second)
		require.NotEqual(t, http.StatusOK, w.code("/healthz"))
	})
}

// TestReportFromBeforeTheUndrain does not count, over a restart of the agent
// either, and silence is no failure until the ttl has passed.
func TestReportFromBeforeTheUndrain(t *testing.T) {
	for name, restarts := range map[string]bool{"": false, "agent restarted": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := fileCheck("beat", "")
				c.File, c.Heartbeat = nil, &config.HeartbeatCheck{TTL: config.Duration(time.Minute)}
				w.conf.Checks = []config.Check{c}
				report := func() {
					_, err := w.ops().ReportHeartbeat("beat", control.HeartbeatRequest{Passed: true})
					require.NoError(t, err)
				}
				w.start()
				w.pass(time.Second)
				report()
				w.awaitState(control.StateServing, 5*time.Second)
				w.pass(2 * time.Second)
				w.drain()
				w.awaitState(control.StateDrained, 30*time.Second)
				report() // it is about to stop
				w.undrain()
				w.pass(10 * time.Second)
				if restarts {
					w.restart()
				}
				for range 490 {
					w.pass(100 * time.Millisecond)
					require.Equal(t, http.StatusOK, w.code("/healthz"))
					require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
				}
				require.Equal(t, "returning: waiting for beat", w.status().Reason)
				report()
				w.pass(100 * time.Millisecond)
				require.Equal(t, http.StatusOK, w.code("/readyz"))
				w.pass(time.Minute + 10*time.Second)
				require.Equal(t, http.StatusAccepted, w.code("/healthz"))
			})
		})
	}
}

// TestBackFromCordonAndMaintenance: no workload was touched, and still ready is
// said only of what was seen after.
func TestBackFromCordonAndMaintenance(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		app := newApp(t, w)
		w.conf.Checks[0].FailAfter, w.conf.Checks[0].Interval = 2, config.Duration(30*time.Second)
		w.conf.ScheduledEvents.Events["Freeze"] = config.EventPolicy{Action: "cordon", Ack: "never"}
		w.serving()
		for name, end := range map[string]func(){
			"cordon": func() {
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Freeze, Resources: []string{self}, Hold: true})
				w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
				app.stop()
				require.NoError(t, w.sim.Complete(id))
				w.awaitState(control.StateStarting, 2*time.Second)
			},
			"maintenance": func() {
				_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 60})
				require.NoError(t, err)
				app.stop()
				_, err = w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{})
				require.NoError(t, err)
				w.pass(0)
			},
		} {
			end()
			w.pass(100 * time.Millisecond) // a run, with a bad result
			require.Equal(t, "returning: waiting for app", w.status().Reason, name)
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), name)
			require.Equal(t, http.StatusOK, w.code("/healthz"), "%s: one bad result of two is none", name)
			app.start()
			w.awaitState(control.StateServing, 31*time.Second)
		}
	})
}

// TestOnePollAndOneRun: an event that vanishes costs the way back no more than the
// poll that does not see it and a run of each check, in the very moment of that
// poll; and an application that is a moment late, about that moment once more.
func TestOnePollAndOneRun(t *testing.T) {
	for _, late := range []time.Duration{0, 300 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				app := newApp(t, w)
				w.conf.Checks[0].Interval = config.Duration(time.Minute)
				w.steps = []*testStep{{name: "one"}, {name: "two"}}
				w.serving()
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				w.awaitState(control.StateDrained, 30*time.Second)
				app.stop()
				w.pass(3*time.Second + 300*time.Millisecond)
				polled := w.agent.poller.Status().LastAttempt
				require.NoError(t, w.sim.Complete(id))
				if late == 0 {
					app.start()
				}
				for w.agent.poller.Status().LastAttempt.Equal(polled) {
					require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
					w.pass(10 * time.Millisecond)
				}
				if late > 0 {
					w.pass(late)
					app.start()
					w.pass(late + 100*time.Millisecond)
				}
				require.Equal(t, http.StatusOK, w.code("/readyz"))
				x, _ := w.agent.monitor.Explain("app")
				require.LessOrEqual(t, len(x.Results), 2+4)
			})
		})
	}
}
