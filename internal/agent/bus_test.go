package agent

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/health"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

const servingTarget = "fleet-serving.target"

// A busWorld is a whole agent on a real bus with a systemd and a logind on it,
// in real time.
type busWorld struct {
	*daemon
	bus  *systemdtest.Bus
	conf *config.Config
}

// targetStep is the plan of a node as it is shipped, with less patience.
func targetStep(most time.Duration) []config.Step {
	return []config.Step{{Name: "workloads", Target: servingTarget, Max: config.Duration(most)}}
}

// webHolds makes web.service one that does not stop until the test says so.
func webHolds(b *systemdtest.Bus, _ string) {
	b.Systemd.Set(systemdtest.Unit{
		Name: "web.service", PartOf: []string{servingTarget}, ActiveState: "active", OnStop: systemdtest.Behavior{Hold: true},
	})
}

// onBus starts an agent; units that are not given are a target with two members.
func onBus(t *testing.T, steps []config.Step, prepare func(b *systemdtest.Bus, root string), change ...func(*config.Config)) *busWorld {
	t.Helper()
	b := systemdtest.Start(t)
	b.Systemd.Set(systemdtest.Unit{Name: servingTarget, ActiveState: "active"})
	for _, name := range []string{"api.service", "web.service"} {
		b.Systemd.Set(systemdtest.Unit{Name: name, PartOf: []string{servingTarget}, ActiveState: "active"})
	}
	b.Logind.SetMaxDelay(2 * time.Minute)
	dir, root := t.TempDir(), t.TempDir()
	if prepare != nil {
		prepare(b, root)
	}
	conf := config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0"}
	conf.IMDS.Endpoint = metadata(t)
	conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	conf.Drain.Settle, conf.Drain.Plan = 0, steps
	for _, c := range change {
		c(conf)
	}
	w := &busWorld{bus: b, conf: conf}
	w.start(t, root)
	w.await("serving, with a lock", func() bool {
		return w.status().State == control.StateServing && len(b.Logind.Locks()) == 1
	})
	return w
}

// metadata starts a metadata service that has nothing to announce.
func metadata(t *testing.T) (endpoint string) {
	t.Helper()
	s := httptest.NewServer(simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}}))
	t.Cleanup(s.Close)
	return s.URL
}

// start starts an agent with the configuration, as the last one left the node.
func (w *busWorld) start(t *testing.T, root string) {
	t.Helper()
	log := &testkit.Buffer{}
	a, err := New(Config{Config: w.conf, Version: "test", BusAddress: w.bus.Address(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	a.bus.root = root
	w.daemon = &daemon{Agent: a, t: t, log: log}
	w.run()
}

func (w *busWorld) status() control.Status { return (&controlOps{w.Agent}).Status() }

func (w *busWorld) drain() {
	w.t.Helper()
	_, err := (&controlOps{w.Agent}).Drain(w.t.Context(), root, control.DrainRequest{})
	require.NoError(w.t, err)
}

func (w *busWorld) undrain() {
	w.t.Helper()
	_, err := (&controlOps{w.Agent}).Undrain(w.t.Context(), root, control.UndrainRequest{})
	require.NoError(w.t, err)
}

func (w *busWorld) awaitState(state control.State) {
	w.t.Helper()
	w.await(string(state), func() bool { return w.status().State == state })
}

// awaitFailure waits until the drain has failed.
func (w *busWorld) awaitFailure() {
	w.t.Helper()
	w.await("failed", func() bool { d := w.status().Drain; return d != nil && d.Phase == "failed" })
}

// outOfTime starts nodes whose drain fails when the time of its step is up, for a
// reason that has a word. Where the machine is so slow that the step could not find
// that out in time, there is another node, whose step has more of it.
func outOfTime(t *testing.T, word string, start func(limit time.Duration) *busWorld) *busWorld {
	t.Helper()
	for limit := time.Second; ; limit *= 3 {
		w := start(limit)
		w.awaitFailure()
		if limit > 20*time.Second || strings.Contains(w.status().Reason, word) {
			return w
		}
	}
}

// failedWith waits until the drain has failed, and holds what status says to
// words that an operator needs.
func (w *busWorld) failedWith(words ...string) {
	w.t.Helper()
	w.awaitFailure()
	s := w.status()
	for _, word := range words {
		require.Contains(w.t, s.Reason, word)
		require.Contains(w.t, s.Drain.Steps[0].Error, word)
	}
	require.Equal(w.t, control.StateDraining, s.State, "a drain that failed is no drained node")
}

// warned waits for a warning with all the words.
func (w *busWorld) warned(words ...string) {
	w.t.Helper()
	w.await("a warning: "+strings.Join(words, ", "), func() bool {
		for _, warning := range w.status().Warnings {
			if countLines(warning, words...) > 0 {
				return true
			}
		}
		return false
	})
}

func (w *busWorld) notWarned() {
	w.t.Helper()
	w.await("no warning", func() bool { return len(w.status().Warnings) == 0 })
}

// TestTarget: a drain stops the members, an undrain starts them.
func TestTarget(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), nil)
	w.drain()
	w.awaitState(control.StateDrained)
	for _, unit := range []string{servingTarget, "api.service", "web.service"} {
		require.Equal(t, "inactive", w.bus.Systemd.Unit(unit).ActiveState, unit)
	}
	w.undrain()
	w.awaitState(control.StateServing)
	for _, unit := range []string{servingTarget, "api.service", "web.service"} {
		w.bus.Systemd.WaitActiveState(unit, "active")
	}
	w.notWarned()
}

// TestUndrainAwaitsMembers: the job of the target is over, and a member of it is on
// its way. The node is not ready before it is up, and its check is read again.
func TestUndrainAwaitsMembers(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), func(b *systemdtest.Bus, _ string) {
		b.Systemd.Set(systemdtest.Unit{
			Name: "web.service", PartOf: []string{servingTarget}, ActiveState: "active", OnStart: systemdtest.Behavior{Hold: true},
		})
	}, func(conf *config.Config) {
		c := fileCheck("web", "")
		c.File, c.Unit = nil, &config.UnitCheck{Name: "web.service"}
		conf.Checks = []config.Check{c}
	})
	w.drain()
	w.awaitState(control.StateDrained)
	w.undrain()
	w.await("waiting for the member", func() bool {
		d := w.status().Drain
		return d != nil && slices.Equal(d.Starting, []string{"web.service"})
	})
	s := w.status()
	require.Equal(t, control.StateDraining, s.State)
	require.Equal(t, "returning: waiting for web.service", s.Reason)
	require.False(t, s.Health.Ready)
	require.Equal(t, string(health.Healthy), s.Health.State)
	w.bus.Systemd.Finish("web.service")
	w.awaitState(control.StateServing)
	require.True(t, w.status().Health.Ready)
}

// TestPlanChangesOverARestart: what a step has stopped is started again, although
// the plan has it no more.
func TestPlanChangesOverARestart(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), nil)
	w.drain()
	w.awaitState(control.StateDrained)
	w.stop()
	w.conf.Drain.Plan = []config.Step{{Name: "other", Exec: &config.ExecStep{Command: []string{"true"}}}}
	w.start(t, w.Agent.bus.root)
	w.awaitState(control.StateDrained)
	w.undrain()
	w.awaitState(control.StateServing)
	w.bus.Systemd.WaitActiveState("web.service", "active")
	w.notWarned()
}

// TestMemberDoesNotStopWell: the target's job says done, the member had to be
// killed by systemd. The drain has failed, and says which.
func TestMemberDoesNotStopWell(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), func(b *systemdtest.Bus, _ string) {
		b.Systemd.Set(systemdtest.Unit{
			Name: "web.service", PartOf: []string{servingTarget}, ActiveState: "active",
			OnStop: systemdtest.Behavior{ActiveState: "failed", Result: "timeout"},
		})
	})
	w.drain()
	w.failedWith("web.service did not stop well", "result timeout")
	require.NotContains(t, w.status().Reason, "api.service")
}

// TestMemberNeverStops: at the end of the step's time it is killed.
func TestMemberNeverStops(t *testing.T) {
	t.Parallel()
	w := outOfTime(t, "killed", func(limit time.Duration) *busWorld {
		w := onBus(t, targetStep(limit), webHolds)
		w.drain()
		return w
	})
	w.failedWith("still stopping, killed: web.service")
	w.bus.Systemd.WaitCall("KillUnit web.service all 9")
}

// TestUnitIsMissing: the step fails and names the unit.
func TestUnitIsMissing(t *testing.T) {
	t.Parallel()
	w := onBus(t, []config.Step{{Name: "work", Unit: "absent.service", Max: config.Duration(time.Minute)}}, nil)
	w.drain()
	w.failedWith("absent.service", "no such unit")
	w.undrain()
	w.awaitState(control.StateServing)
	w.warned("not taken back", "absent.service")
}

// TestBusGoesInTheMiddle: systemd's job goes on without the bus, the agent says
// that it cannot see it, and the drain ends when the bus is back.
func TestBusGoesInTheMiddle(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), webHolds)
	w.drain()
	w.bus.Systemd.WaitActiveState("web.service", "deactivating")
	_, err := w.manager.UnitState(t.Context(), "web.service") // so the answer before it, about the job, has come
	require.NoError(t, err)
	w.bus.Stop()
	w.warned("systemd is not reachable over D-Bus", "drain step workloads")
	require.Equal(t, control.StateDraining, w.status().State)
	w.bus.Systemd.Finish("web.service")
	w.bus.Start()
	w.awaitState(control.StateDrained)
	w.notWarned()
}

// TestBusStaysAway: the step fails when its time is up, and says why.
func TestBusStaysAway(t *testing.T) {
	t.Parallel()
	w := outOfTime(t, "D-Bus", func(limit time.Duration) *busWorld {
		w := onBus(t, targetStep(limit), nil)
		w.bus.Stop()
		w.warned("systemd is not reachable over D-Bus")
		w.drain()
		return w
	})
	w.failedWith("systemd is not reachable over D-Bus")
	w.bus.Start()
	w.notWarned()
	w.undrain()
	w.awaitState(control.StateServing)
}

// TestSystemdReloads in the middle, and is executed anew, which takes it from
// the bus: the drain goes on.
func TestSystemdReloads(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), webHolds)
	w.drain()
	w.bus.Systemd.WaitActiveState("web.service", "deactivating")
	w.bus.Systemd.Reload()
	require.Equal(t, control.StateDraining, w.status().State)
	w.bus.Systemd.Leave()
	w.warned("systemd is not reachable over D-Bus", "org.freedesktop.systemd1")
	w.bus.Systemd.Return()
	w.notWarned()
	w.bus.Systemd.Finish("web.service")
	w.awaitState(control.StateDrained)
}

// TestShutdownOnTheBus: one that nobody announced waits for the drain; when it
// is called off, the node serves again, with a new lock.
func TestShutdownOnTheBus(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), nil)
	require.True(t, w.bus.Logind.Shutdown(), "the lock is released when the node is drained")
	s := w.status()
	require.Equal(t, control.StateDrained, s.State)
	require.Equal(t, "shutdown", s.Drain.Cause.Kind)
	require.Equal(t, "inactive", w.bus.Systemd.Unit("web.service").ActiveState)

	w.bus.Logind.PrepareForShutdown(false)
	w.awaitState(control.StateServing)
	w.bus.Systemd.WaitActiveState("web.service", "active")
	w.bus.Logind.WaitLocks(1)
}

// TestLogindRestarts: its absence is shown, the lock outlives it, and the next
// shutdown waits for the drain.
func TestLogindRestarts(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), nil)
	w.bus.Logind.Leave()
	w.warned("logind is not reachable", "does not wait for a drain", "systemctl restart systemd-logind mends it")
	require.Equal(t, control.StateServing, w.status().State)
	require.Len(t, w.bus.Logind.Locks(), 1)
	w.bus.Logind.Return()
	w.notWarned()
	require.True(t, w.bus.Logind.Shutdown())
	require.Equal(t, control.StateDrained, w.status().State)
}

// TestLockIsRefused, as it is without polkit.
func TestLockIsRefused(t *testing.T) {
	t.Parallel()
	w := onBus(t, targetStep(time.Minute), nil)
	w.bus.Logind.Refuse(true)
	w.bus.Logind.PrepareForShutdown(true)
	w.awaitState(control.StateDrained)
	w.bus.Logind.PrepareForShutdown(false) // and the next lock is refused
	w.awaitState(control.StateServing)
	w.warned("logind refuses the delay lock", "not authorised")
}

// TestDelayIsTooShort: status names the limit in force, what the plan needs, and
// the drop-in that is to blame.
func TestDelayIsTooShort(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, root, name, limit string) {
		t.Helper()
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("[Login]\nInhibitDelayMaxSec="+limit+"\n"), 0o600))
	}
	plan := append(targetStep(20*time.Second), config.Step{
		Name: "report", Exec: &config.ExecStep{Command: []string{"true"}}, Min: config.Duration(40 * time.Second), Max: config.Duration(40 * time.Second), Optional: true,
	})
	w := onBus(t, plan, func(b *systemdtest.Bus, root string) {
		b.Logind.SetMaxDelay(30 * time.Second)
		write(t, root, "usr/lib/systemd/logind.conf.d/99-fleet-agent.conf", "120")
		write(t, root, "usr/lib/systemd/logind.conf.d/unattended-upgrades-logind-maxdelay.conf", "30")
	})
	w.warned("for 30s at most", "up to 1m2s", "/usr/lib/systemd/logind.conf.d/unattended-upgrades-logind-maxdelay.conf",
		"overrides 2m0s of /usr/lib/systemd/logind.conf.d/99-fleet-agent.conf", "leaves out report")
	require.Len(t, w.status().Warnings, 1)
	require.Equal(t, control.StateServing, w.status().State)

	for name, c := range map[string]struct {
		delay time.Duration
		file  string // what zz-fleet-agent.conf says; empty: it is not there
		want  []string
	}{
		"long enough":     {62 * time.Second, "", nil},
		"without a limit": {1<<63 - 1, "", nil},
		"not read yet":    {5 * time.Second, "120", []string{"5s at most", "although", "zz-fleet-agent.conf says 2m0s"}},
		"enough for less": {50 * time.Second, "50", []string{"its steps get less time"}},
	} {
		zz := filepath.Join(w.Agent.bus.root, "etc/systemd/logind.conf.d/zz-fleet-agent.conf")
		if c.file != "" {
			write(t, w.Agent.bus.root, "etc/systemd/logind.conf.d/zz-fleet-agent.conf", c.file)
		}
		text := w.Agent.bus.delayWarning(c.delay)
		require.Equal(t, len(c.want) > 0, text != "", "%s: %s", name, text)
		for _, word := range c.want {
			require.Contains(t, text, word, name)
		}
		_ = os.Remove(zz)
	}
}

// TestNoSystemdAtAll: where there is none and nothing needs it, nothing is said;
// what needs it says so.
func TestNoSystemdAtAll(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, steps []config.Step, warning ...string) *busWorld {
		t.Helper()
		conf := config.Default()
		conf.Listen = config.Listen{Probe: "127.0.0.1:0"}
		conf.IMDS.Endpoint = metadata(t)
		dir := t.TempDir()
		conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
		conf.Drain.Settle, conf.Drain.Plan = 0, steps
		log := &testkit.Buffer{}
		a, err := New(Config{Config: conf, Version: "test", BusAddress: "unix:path=" + filepath.Join(dir, "no-bus"), Logger: slog.New(slog.NewTextHandler(log, nil))})
		require.NoError(t, err)
		a.bus.root = dir // without /run/systemd/system
		long := time.Now().Add(-time.Hour)
		w := &busWorld{daemon: &daemon{Agent: a, t: t, log: log}}
		w.run()
		w.await("it has tried", func() bool { return a.bus.since.Load() != nil })
		a.bus.since.Store(&long)
		w.awaitState(control.StateServing)
		if len(warning) == 0 {
			w.notWarned()
		} else {
			w.warned(warning...)
		}
		w.drain()
		return w
	}
	notReady := func(t *testing.T, w *busWorld) {
		t.Helper()
		resp, err := http.Get("http://" + *w.probeAddr.Load() + "/readyz")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	}
	t.Run("nothing needs it", func(t *testing.T) {
		t.Parallel()
		w := start(t, []config.Step{{Name: "work", Exec: &config.ExecStep{Command: []string{"true"}}}})
		w.awaitState(control.StateDrained)
		notReady(t, w)
	})
	t.Run("a step needs it", func(t *testing.T) {
		t.Parallel()
		w := outOfTime(t, "D-Bus", func(limit time.Duration) *busWorld {
			return start(t, targetStep(limit), "systemd is not reachable over D-Bus", "drain step workloads")
		})
		w.failedWith("systemd is not reachable over D-Bus")
		notReady(t, w)
	})
}
