package systemd

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The pings go over a real socket: each alive() is answered with one message.
func TestWatchdogPingsWhileAlive(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	var log bytes.Buffer
	var asked atomic.Int32
	answers := make(chan bool)
	w := NewWatchdog(WatchdogConfig{
		Notifier: NewNotifier(NotifierConfig{Socket: socket, Watchdog: 20 * time.Millisecond}),
		Alive:    func() bool { asked.Add(1); return <-answers },
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })

	answers <- true
	require.Equal(t, "WATCHDOG=1", s.receive())
	answers <- false
	answers <- false
	s.requireEmpty()
	answers <- true
	require.Equal(t, "WATCHDOG=1", s.receive())
	answers <- true
	require.Equal(t, "WATCHDOG=1", s.receive())
	cancel()
	close(answers)
	wg.Wait()
	require.Contains(t, log.String(), "agent makes no progress")
	require.Contains(t, log.String(), "agent makes progress again")
}

func TestWatchdogAsksAtHalfTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		start := time.Now()
		w := NewWatchdog(WatchdogConfig{
			Notifier: NewNotifier(NotifierConfig{Socket: "/nonexistent", Watchdog: 30 * time.Second}),
			Alive:    func() bool { asked = append(asked, time.Since(start)); return false },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		require.NoError(t, w.Run(ctx))
		require.Equal(t, []time.Duration{0, 15 * time.Second, 30 * time.Second, 45 * time.Second}, asked)
	})
}

func TestWatchdogOffOnlyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWatchdog(WatchdogConfig{Alive: func() bool { t.Error("nobody should ask"); return true }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, w.Run(ctx))
		require.Error(t, ctx.Err(), "it waits for the end")
	})
}

func TestExtenderAsksUntilDone(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	e := NewExtender(NewNotifier(NotifierConfig{Socket: socket}), 30*time.Millisecond, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	for range 5 {
		require.Equal(t, "EXTEND_TIMEOUT_USEC=30000", s.receive())
	}
	cancel()
	wg.Wait()
}

func TestExtenderKeepsItsLimit(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	e := NewExtender(NewNotifier(NotifierConfig{Socket: socket}), 30*time.Millisecond, 45*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	for _, want := range []string{"30000", "30000", "25000", "15000", "5000"} {
		require.Equal(t, "EXTEND_TIMEOUT_USEC="+want, s.receive())
	}
	cancel()
	wg.Wait()
	s.requireEmpty()
}
