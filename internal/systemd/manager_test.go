package systemd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

const target = "fleet-serving.target"

// runManager runs a Manager on the bus until the test ends.
func runManager(t *testing.T, address string) *Manager {
	t.Helper()
	m := NewManager(ManagerConfig{Address: address})
	m.link.grace = time.Minute // a slow machine is no bus that stays away
	run(t, m.Run)
	return m
}

// impatient is the context of a caller who does not wait: what waits for the bus all
// the same says that the context has ended.
func impatient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// atOnce says whether an impatient caller was told that there is no bus, without a
// wait.
func atOnce(err error) bool { return errors.Is(err, ErrNoBus) && !errors.Is(err, context.Canceled) }

// run runs something until the test ends, or until stop is called.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = f(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(func() {
		stop()
		require.NoError(t, err)
	})
	return stop
}

// soon bounds what is expected to happen.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// async starts a call and returns where its error will be.
func async(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	return result
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-soon(t).Done():
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

func TestManagerWithoutBus(t *testing.T) {
	m := runManager(t, "unix:path="+filepath.Join(t.TempDir(), "none"))
	err := m.StopUnit(soon(t), target)
	require.ErrorIs(t, err, ErrNoBus)
	require.ErrorContains(t, err, "stop fleet-serving.target: systemd is not reachable over D-Bus: dial unix ")
	require.ErrorContains(t, err, "no such file or directory")

	ctx := impatient(t) // once it is known, calls fail at once
	require.True(t, atOnce(m.StartUnit(ctx, target)))
	require.True(t, atOnce(m.KillUnit(ctx, target, syscall.SIGTERM)))
	_, err = m.UnitState(ctx, target)
	require.True(t, atOnce(err))
	_, err = m.Members(ctx, target)
	require.True(t, atOnce(err))
	_, err = m.Sockets(ctx, target)
	require.True(t, atOnce(err))
}

func TestManagerNotRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(ManagerConfig{})
		begin := time.Now()
		err := m.Connected(t.Context())
		require.ErrorIs(t, err, ErrNoBus)
		require.EqualError(t, err, "systemd is not reachable over D-Bus: not connected yet")
		require.Equal(t, reconnectGrace, time.Since(begin))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = m.Connected(ctx)
		require.ErrorIs(t, err, ErrNoBus)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestManagerFollowsTheEnvironment(t *testing.T) {
	bus := systemdtest.Start(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address())
	m := runManager(t, "")
	require.NoError(t, m.Connected(soon(t)))
}

func TestSockets(t *testing.T) {
	bus := systemdtest.Start(t)
	m := runManager(t, bus.Address())
	set := func(u systemdtest.Unit) { bus.Systemd.Set(u) }
	set(systemdtest.Unit{Name: target, ActiveState: "active"})
	set(systemdtest.Unit{Name: "app.service", PartOf: []string{target}, ActiveState: "active"})
	set(systemdtest.Unit{Name: "app.socket", PartOf: []string{target}, ActiveState: "failed", Result: "trigger-limit-hit", Triggers: "app.service"})
	set(systemdtest.Unit{Name: "off.socket", PartOf: []string{target}, Unwanted: true, Triggers: "app.service"})
	set(systemdtest.Unit{Name: "other.socket", ActiveState: "failed"})
	list, err := m.Sockets(soon(t), target)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "app.socket", list[0].Name)
	require.Equal(t, "failed", list[0].ActiveState)
	require.Equal(t, "trigger-limit-hit", list[0].Result)
	require.Equal(t, "app.service", list[0].Service.Name)
	require.False(t, list[0].Job)

	set(systemdtest.Unit{Name: "app.socket", PartOf: []string{target}, Triggers: "app.service", OnStart: systemdtest.Behavior{Hold: true}})
	started := async(func() error { return m.StartUnit(soon(t), "app.socket") })
	bus.Systemd.WaitActiveState("app.socket", "activating")
	list, err = m.Sockets(soon(t), target)
	require.NoError(t, err)
	require.True(t, list[0].Job)
	bus.Systemd.Finish("app.socket")
	require.NoError(t, receive(t, started))

	set(systemdtest.Unit{Name: target})
	list, err = m.Sockets(soon(t), target)
	require.NoError(t, err)
	require.Empty(t, list, "the target is not up, and neither are they")
}

func TestManagerAfterRun(t *testing.T) {
	bus := systemdtest.Start(t)
	m := NewManager(ManagerConfig{Address: bus.Address()})
	stop := run(t, m.Run)
	require.NoError(t, m.Connected(soon(t)))
	stop()
	require.True(t, atOnce(m.Connected(impatient(t))))
}

func TestJobs(t *testing.T) {
	bus := systemdtest.Start(t)
	m := runManager(t, bus.Address())
	for name, tc := range map[string]struct {
		does  systemdtest.Behavior
		err   string
		state UnitState
	}{
		"done":       {state: UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
		"slow":       {does: systemdtest.Behavior{Delay: 20 * time.Millisecond}, state: UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
		"killed":     {does: systemdtest.Behavior{ActiveState: "failed", Result: "timeout"}, state: UnitState{ActiveState: "failed", SubState: "failed", Result: "timeout"}},
		"timeout":    {does: systemdtest.Behavior{Job: "timeout", ActiveState: "failed", Result: "timeout"}, err: `stop job of a@1.service ended with result "timeout"`, state: UnitState{ActiveState: "failed", SubState: "failed", Result: "timeout"}},
		"failed":     {does: systemdtest.Behavior{Job: "failed"}, err: `stop job of a@1.service ended with result "failed"`, state: UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
		"dependency": {does: systemdtest.Behavior{Job: "dependency"}, err: `stop job of a@1.service ended with result "dependency"`, state: UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
		"skipped":    {does: systemdtest.Behavior{Job: "skipped"}, err: `stop job of a@1.service ended with result "skipped"`, state: UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
	} {
		t.Run(name, func(t *testing.T) {
			bus.Systemd.Set(systemdtest.Unit{Name: "a@1.service", ActiveState: "active", TimeoutStop: 90 * time.Second, OnStop: tc.does})
			err := m.StopUnit(soon(t), "a@1.service")
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.err)
				var jobErr *JobError
				require.ErrorAs(t, err, &jobErr)
				require.Equal(t, &JobError{Unit: "a@1.service", Type: "stop", Result: name}, jobErr)
			}
			state, err := m.UnitState(soon(t), "a@1.service")
			require.NoError(t, err)
			tc.state.Name, tc.state.LoadState, tc.state.TimeoutStop = "a@1.service", "loaded", 90*time.Second
			require.Equal(t, tc.state, state)
		})
	}
	require.NoError(t, m.StartUnit(soon(t), "a@1.service"))
	require.NoError(t, m.KillUnit(soon(t), "a@1.service", syscall.SIGKILL))
	calls := bus.Systemd.Calls()
	require.Equal(t, []string{"StopUnit a@1.service replace", "StartUnit a@1.service replace", "KillUnit a@1.service all 9"}, calls[len(calls)-3:])
}

func TestJobsThatAreRefused(t *testing.T) {
	bus := systemdtest.Start(t)
	m := runManager(t, bus.Address())

	err := m.StopUnit(soon(t), "none.service")
	require.ErrorIs(t, err, ErrNoSuchUnit)
	require.EqualError(t, err, "stop none.service: no such unit: Unit none.service not loaded.")

	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active"})
	bus.Systemd.Deny("StopUnit")
	bus.Systemd.Deny("KillUnit")
	err = m.StopUnit(soon(t), "a.service")
	require.ErrorIs(t, err, ErrDenied)
	require.EqualError(t, err, "stop a.service: not authorised: Interactive authentication required.")
	require.ErrorIs(t, m.KillUnit(soon(t), "a.service", syscall.SIGTERM), ErrDenied)
	require.Equal(t, "active", bus.Systemd.Unit("a.service").ActiveState)
}

// The stop of a target is the drain: its job ends with that of its last member,
// and says done although a member had to be killed.
func TestStopTargetWaitsForItsMembers(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: target, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{Name: "b.service", PartOf: []string{target}, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{
		Name: "a.service", PartOf: []string{target}, ActiveState: "active",
		OnStop: systemdtest.Behavior{Hold: true, ActiveState: "failed", Result: "timeout"},
	})
	m := runManager(t, bus.Address())

	members, err := m.Members(soon(t), target)
	require.NoError(t, err)
	require.Equal(t, []string{"a.service", "b.service"}, members)

	stopped := async(func() error { return m.StopUnit(soon(t), target) })
	bus.Systemd.WaitActiveState("b.service", "inactive")
	bus.Systemd.WaitActiveState("a.service", "deactivating")
	require.Empty(t, stopped)
	bus.Systemd.Finish("a.service")
	require.NoError(t, receive(t, stopped))

	state, err := m.UnitState(soon(t), "a.service")
	require.NoError(t, err)
	require.Equal(t, "failed", state.ActiveState)
	require.Equal(t, "timeout", state.Result)
}

// An undrain in the middle of a drain: the start takes the stop's place.
func TestStartTakesBackStop(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active", OnStop: systemdtest.Behavior{Hold: true}})
	m := runManager(t, bus.Address())
	stopped := async(func() error { return m.StopUnit(soon(t), "a.service") })
	bus.Systemd.WaitActiveState("a.service", "deactivating")
	require.NoError(t, m.StartUnit(soon(t), "a.service"))
	require.EqualError(t, receive(t, stopped), `stop job of a.service ended with result "canceled"`)
}

// A caller that gives up leaves the job alone and holds up nobody; a hundred
// of them stopped go-systemd's connection for good.
func TestAbandonedJobs(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active", OnStop: systemdtest.Behavior{Hold: true}})
	bus.Systemd.Set(systemdtest.Unit{Name: "b.service", ActiveState: "active"})
	m := runManager(t, bus.Address())

	ctx, cancel := context.WithCancelCause(t.Context())
	var calls []<-chan error
	for range 100 {
		calls = append(calls, async(func() error { return m.StopUnit(ctx, "a.service") }))
	}
	bus.Systemd.WaitActiveState("a.service", "deactivating")
	require.Eventually(t, func() bool { return len(bus.Systemd.Calls()) == 100 }, 20*time.Second, time.Millisecond)
	reason := errors.New("the deadline has come")
	cancel(reason)
	for _, call := range calls {
		err := receive(t, call)
		require.True(t, errors.Is(err, reason) || errors.Is(err, context.Canceled), "%v", err)
	}
	require.Equal(t, "deactivating", bus.Systemd.Unit("a.service").ActiveState)
	bus.Systemd.Finish("a.service")
	require.NoError(t, m.StopUnit(soon(t), "b.service"))
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Empty(t, m.jobs)
}

// The job's end may be read before the reply that names the job is.
func TestJobThatEndsBeforeItsReply(t *testing.T) {
	m := NewManager(ManagerConfig{})
	w := &jobWait{early: make(map[dbus.ObjectPath]string), done: make(chan string, 1)}
	m.jobs[w] = struct{}{}
	m.jobRemoved("/job/1", "done")
	m.jobRemoved("/job/2", "failed")
	m.expectJob(w, "/job/2")
	m.jobRemoved("/job/2", "again") // must not block
	require.Equal(t, "failed", <-w.done)
	require.Empty(t, w.done)
}

// The bus goes away under a job that ends meanwhile: its signal is lost.
func TestJobOutlivesTheBus(t *testing.T) {
	for name, tc := range map[string]struct {
		does systemdtest.Behavior
		want string
	}{
		"stopped":     {want: ""},
		"killed":      {does: systemdtest.Behavior{ActiveState: "failed", Result: "timeout"}, want: ""},
		"still there": {does: systemdtest.Behavior{ActiveState: "active"}, want: `stop job of a.service ended with result "canceled"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := systemdtest.Start(t)
			tc.does.Hold = true
			bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active", OnStop: tc.does})
			m := runManager(t, bus.Address())
			stopped := async(func() error { return m.StopUnit(soon(t), "a.service") })
			waitJob(t, m)
			bus.Stop()
			bus.Systemd.Finish("a.service")
			require.Empty(t, stopped)
			bus.Start()
			if err := receive(t, stopped); tc.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.want)
			}
		})
	}
}

// The bus is restarted under a job that goes on: its signal is heard.
func TestJobOverRestartOfTheBus(t *testing.T) {
	t.Parallel()
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active", OnStop: systemdtest.Behavior{Hold: true, Job: "failed"}})
	m := runManager(t, bus.Address())
	stopped := async(func() error { return m.StopUnit(soon(t), "a.service") })
	waitJob(t, m)
	bus.Restart()
	bus.Systemd.WaitSubscribers(1)
	require.NoError(t, m.Connected(soon(t)))
	bus.Systemd.Finish("a.service")
	require.EqualError(t, receive(t, stopped), `stop job of a.service ended with result "failed"`)
}

func TestCallsOverRestartOfTheBus(t *testing.T) {
	t.Parallel()
	var log testkit.Buffer
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active"})
	m := NewManager(ManagerConfig{Address: bus.Address(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	m.link.grace = time.Minute
	run(t, m.Run)
	require.NoError(t, m.Connected(soon(t)))
	hasty := NewManager(ManagerConfig{Address: bus.Address()})
	hasty.link.grace = time.Millisecond
	run(t, hasty.Run)
	require.Eventually(t, func() bool { return hasty.Connected(t.Context()) == nil }, 20*time.Second, time.Millisecond)

	bus.Restart()
	require.NoError(t, m.StopUnit(soon(t), "a.service"), "a restart is waited for")

	bus.Systemd.Leave()
	bus.Systemd.Return()
	require.NoError(t, m.StartUnit(soon(t), "a.service"), "and a re-execution of systemd")

	bus.Stop()
	require.Eventually(t, func() bool {
		return atOnce(hasty.StopUnit(impatient(t), "a.service"))
	}, 20*time.Second, time.Millisecond, "a bus that stays away is not waited for")
	require.Contains(t, log.String(), `msg="service is reachable over the bus again" service=org.freedesktop.systemd1`)
}

func TestManagerWithoutSystemdOnTheBus(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Leave()
	m := runManager(t, bus.Address())
	err := m.Connected(soon(t))
	require.ErrorIs(t, err, ErrNoBus)
	require.ErrorContains(t, err, "find org.freedesktop.systemd1 on the bus")
	bus.Systemd.Return()
	require.Eventually(t, func() bool { return m.Connected(t.Context()) == nil }, 20*time.Second, time.Millisecond)
}

// A bus that hangs holds a call no longer than its context.
func TestCallsOnAHangingBus(t *testing.T) {
	bus := systemdtest.Start(t)
	m := NewManager(ManagerConfig{Address: bus.Address()})
	stop := run(t, m.Run)
	require.NoError(t, m.Connected(soon(t)))
	defer bus.Freeze()()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, m.StopUnit(ctx, target), context.DeadlineExceeded)
	stop() // Run ends, too
}

// Anybody on the bus can send a signal to the agent; only systemd is believed.
func TestSignalsOfOthersAreIgnored(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active", OnStop: systemdtest.Behavior{Hold: true, Job: "failed"}})
	m := runManager(t, bus.Address())
	stopped := async(func() error { return m.StopUnit(soon(t), "a.service") })
	bus.Systemd.WaitActiveState("a.service", "deactivating")
	wake, unwatch := m.WatchUnit("a.service")
	defer unwatch()
	receive(t, wake)

	rogue := bus.Dial()
	s, err := m.link.connected(soon(t))
	require.NoError(t, err)
	send := func(path dbus.ObjectPath, iface, member string, body ...any) {
		rogue.Send(&dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(s.conn.Names()[0]),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(member),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
		}}, nil)
	}
	send(systemdPath, systemdManager, "JobRemoved", uint32(1), systemdPath+"/job/1", "a.service", "done")
	send(unitPath("a.service"), propertiesName, "PropertiesChanged", systemdUnit, map[string]dbus.Variant{}, []string{})
	send("/org/freedesktop/DBus", busName, "NameOwnerChanged", systemdName, "", ":9.9")
	// A call and its answer: what was sent before has arrived. The bus keeps
	// the order of what it passes on.
	require.NoError(t, rogue.BusObject().Call(busName+".GetId", 0).Err)
	_, err = m.UnitState(soon(t), "a.service")
	require.NoError(t, err)
	require.Empty(t, stopped)
	require.Empty(t, wake)
	require.False(t, s.ended())

	bus.Systemd.Finish("a.service")
	require.EqualError(t, receive(t, stopped), `stop job of a.service ended with result "failed"`)
}

func TestUnitState(t *testing.T) {
	bus := systemdtest.Start(t)
	m := runManager(t, bus.Address())
	bus.Systemd.Set(systemdtest.Unit{Name: target, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{Name: "nginx.service", Alias: "web.service", ActiveState: "failed", Result: "exit-code"})
	bus.Systemd.Set(systemdtest.Unit{Name: "fleet-agent.socket", ActiveState: "active", TimeoutStop: 90 * time.Second})
	for name, want := range map[string]UnitState{
		target:               {Name: target, LoadState: "loaded", ActiveState: "active", SubState: "running"},
		"nginx.service":      {Name: "nginx.service", LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "exit-code", TimeoutStop: Infinite},
		"web.service":        {Name: "nginx.service", LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "exit-code", TimeoutStop: Infinite},
		"fleet-agent.socket": {Name: "fleet-agent.socket", LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success", TimeoutStop: 90 * time.Second},
		"none.service":       {Name: "none.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := m.UnitState(soon(t), name)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

// TestUnitJob: a unit that waits for its start is not up, and says so.
func TestUnitJob(t *testing.T) {
	bus := systemdtest.Start(t)
	m := runManager(t, bus.Address())
	bus.Systemd.Set(systemdtest.Unit{Name: target})
	bus.Systemd.Set(systemdtest.Unit{Name: "slow.service", PartOf: []string{target}, OnStart: systemdtest.Behavior{Hold: true}})
	require.NoError(t, m.StartUnit(soon(t), target))
	got, err := m.UnitState(soon(t), "slow.service")
	require.NoError(t, err)
	require.True(t, got.Job)
	bus.Systemd.Finish("slow.service")
	got, err = m.UnitState(soon(t), "slow.service")
	require.NoError(t, err)
	require.False(t, got.Job)
	require.Equal(t, "active", got.ActiveState)
}

func TestUnitPath(t *testing.T) {
	// As busctl shows them for a real systemd.
	for name, want := range map[string]dbus.ObjectPath{
		"dbus.service":                   "/org/freedesktop/systemd1/unit/dbus_2eservice",
		"fleet-hook@a\\x2db.service":     "/org/freedesktop/systemd1/unit/fleet_2dhook_40a_5cx2db_2eservice",
		"2.target":                       "/org/freedesktop/systemd1/unit/_32_2etarget",
		"":                               "/org/freedesktop/systemd1/unit/_",
		"systemd-fsck@dev-sda1.service":  "/org/freedesktop/systemd1/unit/systemd_2dfsck_40dev_2dsda1_2eservice",
		"sys-module-fuse.device":         "/org/freedesktop/systemd1/unit/sys_2dmodule_2dfuse_2edevice",
		"run-credentials-é.mount":        "/org/freedesktop/systemd1/unit/run_2dcredentials_2d_c3_a9_2emount",
		"user@1000.service":              "/org/freedesktop/systemd1/unit/user_401000_2eservice",
		"system-getty.slice":             "/org/freedesktop/systemd1/unit/system_2dgetty_2eslice",
		"dev-disk-by\\x2duuid-A1.device": "/org/freedesktop/systemd1/unit/dev_2ddisk_2dby_5cx2duuid_2dA1_2edevice",
	} {
		require.Equal(t, want, unitPath(name), name)
	}
}

func TestWatchUnit(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "nginx.service", Alias: "web.service", ActiveState: "active"})
	m := NewManager(ManagerConfig{Address: bus.Address()})
	wake, _ := m.WatchUnit("web.service") // before there is a connection
	other, _ := m.WatchUnit("other.service")
	run(t, m.Run)
	receive(t, wake)
	receive(t, other)

	change := func(state string) {
		bus.Systemd.Set(systemdtest.Unit{Name: "nginx.service", Alias: "web.service", ActiveState: state})
	}
	change("failed")
	receive(t, wake)
	require.Empty(t, other, "the change of another unit")

	bus.Systemd.Set(systemdtest.Unit{Name: "other.service"}) // UnitNew
	receive(t, other)

	bus.Systemd.Reload()
	receive(t, wake)
	receive(t, other)

	second, stop := m.WatchUnit("nginx.service") // the same unit by its own name
	receive(t, second)
	change("active")
	receive(t, second)
	receive(t, wake)
	stop()
	change("failed")
	receive(t, wake)
	require.Empty(t, second)
}

func TestWatchUnitOverRestarts(t *testing.T) {
	for name, restart := range map[string]func(*systemdtest.Bus){
		"bus":     (*systemdtest.Bus).Restart,
		"systemd": func(bus *systemdtest.Bus) { bus.Systemd.Leave(); bus.Systemd.Return() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := systemdtest.Start(t)
			bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active"})
			m := runManager(t, bus.Address())
			wake, stop := m.WatchUnit("a.service")
			defer stop()
			receive(t, wake)
			restart(bus)
			receive(t, wake) // for what was missed
			bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "failed"})
			receive(t, wake)
		})
	}
}

// Watchers come and go while the bus is restarted under them; what is watched in
// the end works.
func TestWatchUnitChurn(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active"})
	m := runManager(t, bus.Address())
	wake, stop := m.WatchUnit("a.service")
	defer stop()
	receive(t, wake)
	for range 200 {
		_, stop := m.WatchUnit("a.service")
		_, stopOther := m.WatchUnit("b.service")
		stop()
		stopOther()
	}
	m.mu.Lock()
	require.Len(t, m.watchers, 1)
	m.mu.Unlock()
	require.Empty(t, wake, "a watcher is not woken by the coming and going of others")
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "failed"})
	receive(t, wake)
}

// waitJob waits until the Manager knows which job it waits for. The fake only
// knows that it has sent the reply.
func waitJob(t *testing.T, m *Manager) {
	t.Helper()
	require.Eventually(t, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for w := range m.jobs {
			return w.path != ""
		}
		return false
	}, 20*time.Second, time.Millisecond)
}

// Rounds of life leave no goroutine and no descriptor.
func TestManagerAndInhibitorLeakNothing(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", ActiveState: "active"})
	none := "unix:path=" + filepath.Join(t.TempDir(), "none")
	round := func() {
		m, lost := NewManager(ManagerConfig{Address: bus.Address()}), NewManager(ManagerConfig{Address: none})
		i := NewInhibitor(InhibitorConfig{Address: bus.Address(), Who: "test", Why: "test", OnShutdown: func(context.Context) {}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, f := range []func(context.Context) error{m.Run, lost.Run, i.Run} {
			wg.Go(func() { _ = f(ctx) })
		}
		require.NoError(t, m.StopUnit(soon(t), "a.service"))
		wake, _ := m.WatchUnit("a.service")
		receive(t, wake)
		// godbus loses a descriptor when the connection ends while it reads
		// the message, so the round ends when the lock has arrived.
		waitState(t, i, InhibitorHolding)
		bus.Logind.WaitLocks(1)
		cancel()
		wg.Wait()
		bus.Logind.WaitLocks(0)
	}
	round() // whatever is made once
	round()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 25 {
		round()
	}
	// The reader of a closed connection ends by itself, shortly after. The
	// counts are taken here, as require.Eventually has goroutines of its own.
	for ctx := soon(t); runtime.NumGoroutine() > goroutines || openFiles(t) > files; runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatalf("%d goroutines and %d files were %d and %d", runtime.NumGoroutine(), openFiles(t), goroutines, files)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
