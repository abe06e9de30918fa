package systemd

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

// shutdowns records what an Inhibitor tells.
type shutdowns struct {
	announced chan context.Context // one for each call of OnShutdown
	finish    chan struct{}        // ends one call
	calledOff chan struct{}
	log       testkit.Buffer
}

// runInhibitor runs an Inhibitor whose OnShutdown returns when it is told to or
// when its context ends.
func runInhibitor(t *testing.T, address string) (*Inhibitor, *shutdowns) {
	t.Helper()
	s := &shutdowns{announced: make(chan context.Context, 10), finish: make(chan struct{}), calledOff: make(chan struct{}, 10)}
	i := NewInhibitor(InhibitorConfig{
		Address: address,
		Who:     "fleet-agent",
		Why:     "drains the node",
		OnShutdown: func(ctx context.Context) {
			s.announced <- ctx
			select {
			case <-s.finish:
			case <-ctx.Done():
			}
		},
		OnCalledOff: func(context.Context) { s.calledOff <- struct{}{} },
		Logger:      slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	i.delayTimeout = time.Minute // a slow machine is no logind that hangs
	run(t, i.Run)
	return i, s
}

func waitState(t *testing.T, i *Inhibitor, want InhibitorState) InhibitorStatus {
	t.Helper()
	require.Eventually(t, func() bool { return i.Status().State == want }, 20*time.Second, time.Millisecond,
		"want state %s, have %+v", want, i.Status())
	return i.Status()
}

func TestInhibitorHoldsALockUntilTheWorkIsDone(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Minute)
	i, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	require.Equal(t, []systemdtest.Lock{{What: "shutdown", Who: "fleet-agent", Why: "drains the node", Mode: "delay"}}, bus.Logind.Locks())
	require.Equal(t, InhibitorStatus{State: InhibitorHolding, MaxDelay: time.Minute}, waitState(t, i, InhibitorHolding))
	delay, err := i.MaxDelay(soon(t))
	require.NoError(t, err)
	require.Equal(t, time.Minute, delay)

	down := make(chan bool, 1)
	before := time.Now()
	go func() { down <- bus.Logind.Shutdown() }()
	ctx := receive(t, told.announced)
	deadline, ok := ctx.Deadline()
	require.True(t, ok)
	require.WithinRange(t, deadline, before.Add(time.Minute), time.Now().Add(time.Minute))
	require.Len(t, bus.Logind.Locks(), 1, "held while the work goes on")
	require.Empty(t, down)
	require.Equal(t, InhibitorShuttingDown, i.Status().State)
	told.finish <- struct{}{}
	require.True(t, receive(t, down), "logind need not wait any longer")

	// The shutdown fails in the end: on guard again.
	bus.Logind.PrepareForShutdown(false)
	receive(t, told.calledOff)
	bus.Logind.WaitLocks(1)
	waitState(t, i, InhibitorHolding)

	// And the next one is told again.
	go func() { down <- bus.Logind.Shutdown() }()
	receive(t, told.announced)
	told.finish <- struct{}{}
	require.True(t, receive(t, down))
}

func TestInhibitorWorkIsBounded(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(50 * time.Millisecond)
	_, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	bus.Logind.PrepareForShutdown(true)
	ctx := receive(t, told.announced)
	bus.Logind.WaitLocks(0) // nobody finished the work
	require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
	require.Eventually(t, func() bool { return strings.Contains(told.log.String(), "was cut off") }, 20*time.Second, time.Millisecond)
}

// The limit may be changed, by a drop-in and SIGHUP, while the lock is held.
func TestInhibitorKnowsTheLimitOfTheDay(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Hour)
	_, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	bus.Logind.SetMaxDelay(time.Minute)
	bus.Logind.PrepareForShutdown(true)
	deadline, ok := receive(t, told.announced).Deadline()
	require.True(t, ok)
	require.LessOrEqual(t, time.Until(deadline), time.Minute)
	told.finish <- struct{}{}
}

func TestInhibitorShutdownCalledOffDuringTheWork(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Minute)
	i, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	bus.Logind.PrepareForShutdown(true)
	ctx := receive(t, told.announced)
	bus.Logind.PrepareForShutdown(false)
	receive(t, told.calledOff)
	require.ErrorIs(t, context.Cause(ctx), ErrCalledOff)
	bus.Logind.WaitLocks(1)
	waitState(t, i, InhibitorHolding)
	require.Empty(t, told.announced)
}

// logind says false as well when the shutdown has begun and its part is over.
func TestInhibitorEndOfPreparationIsNotTheEndOfTheShutdown(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Minute)
	_, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	bus.Logind.PrepareForShutdown(true)
	receive(t, told.announced)
	told.finish <- struct{}{}
	bus.Logind.WaitLocks(0)
	bus.Systemd.SetState("stopping")
	bus.Logind.PrepareForShutdown(false)
	require.Eventually(t, func() bool { return strings.Contains(told.log.String(), "shutdown goes on") }, 20*time.Second, time.Millisecond)
	require.Empty(t, told.calledOff)
	require.Empty(t, bus.Logind.Locks())
}

func TestInhibitorWithoutBus(t *testing.T) {
	i, _ := runInhibitor(t, "unix:path="+filepath.Join(t.TempDir(), "none"))
	var status InhibitorStatus
	require.Eventually(t, func() bool {
		status = i.Status()
		return !errors.Is(status.Err, errConnecting)
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, InhibitorUnreachable, status.State)
	require.ErrorContains(t, status.Err, "no such file or directory")
	_, err := i.MaxDelay(soon(t))
	require.ErrorIs(t, err, ErrNoBus)
}

func TestInhibitorRefused(t *testing.T) {
	t.Parallel()
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Minute)
	bus.Logind.Refuse(true)
	i, told := runInhibitor(t, bus.Address())
	status := waitState(t, i, InhibitorRefused)
	require.ErrorIs(t, status.Err, ErrDenied)
	require.EqualError(t, status.Err, "not authorised: Permission denied")

	// Shutdowns are heard of all the same.
	bus.Logind.PrepareForShutdown(true)
	receive(t, told.announced)
	told.finish <- struct{}{}
	bus.Logind.Refuse(false)
	bus.Logind.PrepareForShutdown(false)
	receive(t, told.calledOff)
	bus.Logind.WaitLocks(1)
	waitState(t, i, InhibitorHolding)
	require.Equal(t, 1, strings.Count(told.log.String(), "was refused"))
}

// What is announced while the agent cannot hear it is read when it can again;
// the lock holds all the time.
func TestInhibitorOverRestarts(t *testing.T) {
	for name, tc := range map[string]struct{ leave, comeBack func(*systemdtest.Bus) }{
		"bus":    {(*systemdtest.Bus).Stop, (*systemdtest.Bus).Start},
		"logind": {func(b *systemdtest.Bus) { b.Logind.Leave() }, func(b *systemdtest.Bus) { b.Logind.Return() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := systemdtest.Start(t)
			bus.Logind.SetMaxDelay(time.Minute)
			i, told := runInhibitor(t, bus.Address())
			bus.Logind.WaitLocks(1)
			waitState(t, i, InhibitorHolding)
			tc.leave(bus)
			waitState(t, i, InhibitorUnreachable)
			bus.Logind.PrepareForShutdown(true) // nobody hears it
			require.Len(t, bus.Logind.Locks(), 1)
			tc.comeBack(bus)
			receive(t, told.announced)
			require.Len(t, bus.Logind.Locks(), 1)

			// Again, under the work: it goes on, and is not begun twice.
			tc.leave(bus)
			bus.Logind.PrepareForShutdown(true)
			tc.comeBack(bus)
			require.Eventually(t, func() bool { return i.link.alive() }, 20*time.Second, time.Millisecond)
			told.finish <- struct{}{}
			bus.Logind.WaitLocks(0)
			require.Empty(t, told.announced)
		})
	}
}

func TestInhibitorIgnoresOthersSignals(t *testing.T) {
	bus := systemdtest.Start(t)
	i, told := runInhibitor(t, bus.Address())
	bus.Logind.WaitLocks(1)
	waitState(t, i, InhibitorHolding)
	s, err := i.link.connected(soon(t))
	require.NoError(t, err)
	rogue := bus.Dial()
	rogue.Send(&dbus.Message{Type: dbus.TypeSignal, Body: []any{true}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(s.conn.Names()[0]),
		dbus.FieldPath:        dbus.MakeVariant(logindPath),
		dbus.FieldInterface:   dbus.MakeVariant(logindManager),
		dbus.FieldMember:      dbus.MakeVariant("PrepareForShutdown"),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(true)),
	}}, nil)
	require.NoError(t, rogue.BusObject().Call(busName+".GetId", 0).Err)
	_, err = i.MaxDelay(soon(t)) // what was sent before has arrived
	require.NoError(t, err)
	require.Equal(t, InhibitorHolding, i.Status().State)
	require.Empty(t, told.announced)
}

// The end of Run ends the work and releases the lock.
func TestInhibitorRunEndsDuringTheWork(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Logind.SetMaxDelay(time.Minute)
	announced := make(chan struct{})
	returned := false
	i := NewInhibitor(InhibitorConfig{Address: bus.Address(), OnShutdown: func(ctx context.Context) {
		close(announced)
		<-ctx.Done()
		returned = true
	}})
	stop := run(t, i.Run)
	bus.Logind.WaitLocks(1)
	bus.Logind.PrepareForShutdown(true)
	receive(t, announced)
	stop()
	require.True(t, returned, "Run waits for OnShutdown")
	bus.Logind.WaitLocks(0)
}
