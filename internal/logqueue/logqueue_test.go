package logqueue_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/logqueue"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A log is a writer that can be made to hang, or to fail.
type log struct {
	testkit.Buffer

	hangs  chan struct{} // nil: it does not; closed: no longer
	refuse atomic.Bool
}

func (l *log) Write(p []byte) (int, error) {
	if l.hangs != nil {
		<-l.hangs
	}
	if l.refuse.Load() {
		return 0, errors.New("broken pipe")
	}
	return l.Buffer.Write(p)
}

// start runs a queue before the log until the test's end, or until it is called.
func start(t *testing.T, l *log) (q *logqueue.Queue, logger *slog.Logger, stop func()) {
	t.Helper()
	q = logqueue.New(plain(l))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return q, slog.New(q.Handler()), stop
}

// plain is a text handler without the time.
func plain(l *log) slog.Handler {
	return slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
}

// TestHangingLog: the log blocks for good, nobody waits for it, and when it goes
// on it says what is missing, where it is missing.
func TestHangingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{hangs: make(chan struct{})}
		q, logger, _ := start(t, l)
		begun := time.Now()
		for i := range 10_000 {
			logger.Info("line", "i", i)
		}
		require.Zero(t, time.Since(begun), "logging does not wait")
		synctest.Wait()
		dropped := q.Dropped()
		require.Greater(t, dropped, uint64(5000))
		require.Less(t, dropped, uint64(10_000))
		require.Empty(t, l.String())

		close(l.hangs)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(l.String()), "\n")
		kept := 10_000 - int(dropped)
		for i := range kept {
			require.Equal(t, fmt.Sprintf("level=INFO msg=line i=%d", i), lines[i])
		}
		require.Equal(t, []string{fmt.Sprintf(`level=WARN msg="log lines dropped" lines=%d`, dropped)}, lines[kept:])

		logger.Info("again")
		synctest.Wait()
		require.True(t, strings.HasSuffix(l.String(), "msg=again\n"))
		require.Equal(t, dropped, q.Dropped())
	})
}

// TestGapIsSaidInItsPlace: what is logged after the gap comes after the notice.
func TestGapIsSaidInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{hangs: make(chan struct{})}
		_, logger, _ := start(t, l)
		logger.Info("taken")
		synctest.Wait() // it is the one that hangs
		for range 3 {
			logger.Info("long", "text", strings.Repeat("x", 500_000))
		}
		logger.Info("short")
		close(l.hangs)
		synctest.Wait()
		log := strings.ReplaceAll(l.String(), strings.Repeat("x", 500_000), "x")
		require.Equal(t, `level=INFO msg=taken
level=INFO msg=long text=x
level=INFO msg=long text=x
level=WARN msg="log lines dropped" lines=1
level=INFO msg=short
`, log)
	})
}

// TestMemory: neither many lines nor long ones take more than the bound.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{hangs: make(chan struct{})}
		q, logger, _ := start(t, l)
		long := strings.Repeat("x", 100_000)
		for range 100 {
			logger.Info("line", "text", long, slog.Group("group", "text", long))
		}
		require.GreaterOrEqual(t, q.Dropped(), uint64(95))
		logger.Info("longer than all", "text", strings.Repeat("x", 2<<20))
		require.GreaterOrEqual(t, q.Dropped(), uint64(96))
		close(l.hangs)
	})
}

func TestEnd(t *testing.T) {
	t.Run("what is left is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &log{}
			q, logger, stop := start(t, l)
			for i := range 1000 {
				logger.Info("line", "i", i)
			}
			logger.Info("agent stopped")
			stop()
			require.Equal(t, 1001, strings.Count(l.String(), "\n"))
			require.True(t, strings.HasSuffix(l.String(), "msg=\"agent stopped\"\n"))
			logger.Info("too late")
			require.Equal(t, uint64(1), q.Dropped())
		})
	})
	t.Run("a log that hangs has a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &log{hangs: make(chan struct{})}
			defer close(l.hangs)
			_, logger, stop := start(t, l)
			logger.Info("line")
			begun := time.Now()
			stop()
			require.Equal(t, time.Second, time.Since(begun))
		})
	})
	t.Run("what came before the start is written", func(t *testing.T) {
		l := &log{}
		q := logqueue.New(plain(l))
		slog.New(q.Handler()).Info("early")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		q.Run(ctx)
		require.Equal(t, "level=INFO msg=early\n", l.String())
	})
}

// TestRefusingLog: a line that the log refuses is a dropped one. The notice is
// tried again with the next line, not for ever.
func TestRefusingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		l.refuse.Store(true)
		q, logger, _ := start(t, l)
		logger.Info("one")
		logger.Info("two")
		synctest.Wait()
		require.Equal(t, uint64(2), q.Dropped())
		l.refuse.Store(false)
		logger.Info("three")
		synctest.Wait()
		require.Equal(t, "level=WARN msg=\"log lines dropped\" lines=2\nlevel=INFO msg=three\n", l.String())
	})
}

type changing struct{ n int }

func (c *changing) Error() string { return fmt.Sprint("error ", c.n) }

type valuer struct{ c *changing }

func (v valuer) LogValue() slog.Value { return slog.AnyValue(v.c) }

type named struct{ c *changing }

func (n named) MarshalText() ([]byte, error) { return fmt.Append(nil, "text ", n.c.n), nil }

// TestLoggedIsLogged: what happens to a value afterwards does not change the log,
// nor race with it.
func TestLoggedIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{hangs: make(chan struct{})}
		_, logger, _ := start(t, l)
		c, raw := &changing{1}, []byte("abc")
		var none *changing
		with := logger.With("with", valuer{c})
		logger.Info("line", "err", c, "valuer", valuer{c}, "text", named{c}, "raw", raw, "none", none,
			slog.Group("group", "err", c), "n", 1, "for", time.Second, "slice", []string{"a", "b"}, "nil", nil)
		c.n, raw[0] = 2, 'x'
		with.Info("line")
		close(l.hangs)
		synctest.Wait()
		require.Equal(t, `level=INFO msg=line err="error 1" valuer="error 1" text="text 1" raw=abc none=<nil> group.err="error 1" n=1 for=1s slice="[a b]" nil=<nil>
level=INFO msg=line with="error 1"
`, l.String())
	})
}

// TestSlog is the suite that package slog has for handlers.
func TestSlog(t *testing.T) {
	var (
		out  bytes.Buffer
		q    *logqueue.Queue
		stop func()
	)
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		out.Reset()
		q = logqueue.New(slog.NewJSONHandler(&out, nil))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx) })
		stop = func() { cancel(); running.Wait() }
		return q.Handler()
	}, func(t *testing.T) map[string]any {
		stop()
		line := map[string]any{}
		require.NoError(t, json.Unmarshal(out.Bytes(), &line))
		return line
	})
}

// TestManyLogAtOnce is for the race detector; each keeps its own order.
func TestManyLogAtOnce(t *testing.T) {
	l := &log{}
	q, logger, stop := start(t, l)
	var logging sync.WaitGroup
	for g := range 8 {
		logging.Go(func() {
			for i := range 100 {
				logger.Info("line", "g", g, "i", i)
			}
		})
	}
	logging.Wait()
	stop()
	require.Zero(t, q.Dropped())
	next := map[int]int{}
	for line := range strings.Lines(l.String()) {
		var g, i int
		_, err := fmt.Sscanf(line, "level=INFO msg=line g=%d i=%d", &g, &i)
		require.NoError(t, err)
		require.Equal(t, next[g], i)
		next[g]++
	}
	require.Len(t, next, 8)
}
