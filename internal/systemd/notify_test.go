package systemd

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// notifySocket is the service manager's end of the protocol.
type notifySocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenNotify(t *testing.T, name string) *notifySocket {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &notifySocket{t: t, conn: conn}
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // t.TempDir is too long for the path of a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

func (s *notifySocket) receive() string {
	s.t.Helper()
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	buf := make([]byte, 4096)
	n, err := s.conn.Read(buf)
	require.NoError(s.t, err)
	return string(buf[:n])
}

// requireEmpty fails when a message is queued.
func (s *notifySocket) requireEmpty() {
	s.t.Helper()
	raw, err := s.conn.SyscallConn()
	require.NoError(s.t, err)
	require.NoError(s.t, raw.Control(func(fd uintptr) {
		_, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}))
	require.ErrorIs(s.t, err, unix.EAGAIN)
}

// The messages of an agent's life, byte for byte, in both kinds of sockets.
func TestNotifierMessages(t *testing.T) {
	for _, socket := range []string{socketPath(t), "@fleet-agent-notify-test-" + strconv.Itoa(os.Getpid())} {
		t.Run(socket[:1], func(t *testing.T) {
			s := listenNotify(t, socket)
			n := NewNotifier(NotifierConfig{Socket: socket})
			n.Status("starting")
			n.Ready()
			n.Status("serving")
			n.Status("serving") // not sent again
			n.Watchdog()
			n.Status("draining: Preempt,\n4 s left\x00")
			n.ExtendTimeout(1500 * time.Millisecond)
			n.ExtendTimeout(-time.Second)
			n.Stopping()
			for _, want := range []string{
				"STATUS=starting",
				daemon.SdNotifyReady,
				"STATUS=serving",
				daemon.SdNotifyWatchdog,
				"STATUS=draining: Preempt, 4 s left",
				"EXTEND_TIMEOUT_USEC=1500000",
				"EXTEND_TIMEOUT_USEC=0",
				daemon.SdNotifyStopping,
			} {
				require.Equal(t, want, s.receive())
			}
			s.requireEmpty()
		})
	}
}

func TestNotifierReloadingCarriesTheTime(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	n := NewNotifier(NotifierConfig{Socket: socket})

	before := daemon.SdNotifyMonotonicUsec()
	n.Reloading()
	after := daemon.SdNotifyMonotonicUsec()

	first, second, ok := strings.Cut(s.receive(), "\n")
	require.True(t, ok, "both assignments are in one message")
	require.Equal(t, daemon.SdNotifyReloading, first)
	usec := func(assignment string) int64 {
		text, ok := strings.CutPrefix(strings.TrimSpace(assignment), "MONOTONIC_USEC=")
		require.True(t, ok, assignment)
		v, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		return v
	}
	require.GreaterOrEqual(t, usec(second), usec(before))
	require.LessOrEqual(t, usec(second), usec(after))
}

func TestNotifierWithoutSocketDoesNothing(t *testing.T) {
	for name, n := range map[string]*Notifier{"nil": nil, "empty": NewNotifier(NotifierConfig{Watchdog: time.Second})} {
		t.Run(name, func(t *testing.T) {
			n.Ready()
			n.Status("serving")
			n.Reloading()
			n.Stopping()
			n.Watchdog()
			n.ExtendTimeout(time.Second)
			require.Zero(t, n.WatchdogInterval())
		})
	}
}

func TestFromEnvironment(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))

	n := FromEnvironment(nil)

	require.Equal(t, 30*time.Second, n.WatchdogInterval())
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_, set := os.LookupEnv(name)
		require.False(t, set, "%s is not for children", name)
	}
	n.Ready()
	require.Equal(t, "READY=1", s.receive())
}

func TestFromEnvironmentRefusesOtherSockets(t *testing.T) {
	var log bytes.Buffer
	t.Setenv("NOTIFY_SOCKET", "vsock:2:1234")
	t.Setenv("WATCHDOG_USEC", "none")
	n := FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready()
	require.Zero(t, n.WatchdogInterval())
	require.Contains(t, log.String(), "vsock:2:1234")
	require.Contains(t, log.String(), "WATCHDOG_USEC")
}

func TestParseWatchdog(t *testing.T) {
	for name, tc := range map[string]struct {
		usec, pid string
		want      time.Duration
		err       string
	}{
		"off":          {},
		"on":           {usec: "20000000", want: 20 * time.Second},
		"own pid":      {usec: "20000000", pid: "7", want: 20 * time.Second},
		"other's pid":  {usec: "20000000", pid: "8"},
		"bad pid":      {usec: "20000000", pid: "x", err: `parse WATCHDOG_PID "x": not a process id`},
		"bad interval": {usec: "20s", err: `parse WATCHDOG_USEC "20s": not a positive number of microseconds`},
		"zero":         {usec: "0", err: `parse WATCHDOG_USEC "0": not a positive number of microseconds`},
		"too long":     {usec: "9223372036854775807", err: `parse WATCHDOG_USEC "9223372036854775807": not a positive number of microseconds`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseWatchdog(tc.usec, tc.pid, 7)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestOneLine(t *testing.T) {
	long := strings.Repeat("é", maxStatus)
	for name, tc := range map[string]struct{ in, want string }{
		"plain":       {"serving", "serving"},
		"line breaks": {"a\nb\r\tREADY=1\n", "a b  READY=1"},
		"bad utf-8":   {"a\xffb", "a\uFFFDb"},
		"long":        {long, strings.Repeat("é", 254) + "…"},
		"just right":  {strings.Repeat("x", maxStatus), strings.Repeat("x", maxStatus)},
	} {
		t.Run(name, func(t *testing.T) {
			got := oneLine(tc.in)
			require.Equal(t, tc.want, got)
			require.LessOrEqual(t, len(got), maxStatus)
			require.True(t, utf8.ValidString(got))
		})
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("serving")
	f.Add(strings.Repeat("ü\n", 400))
	f.Fuzz(func(t *testing.T, text string) {
		got := oneLine(text)
		require.LessOrEqual(t, len(got), maxStatus)
		require.True(t, utf8.ValidString(got))
		require.NotContains(t, got, "\n")
		require.Equal(t, got, oneLine(got))
	})
}

// A socket that nobody reads fills up; nobody waits for it, it is said once, and
// what was not taken comes when it is read again, the newest status only.
func TestNotifierSurvivesHangingManager(t *testing.T) {
	socket := socketPath(t)
	s := listenNotify(t, socket)
	var log bytes.Buffer
	n := NewNotifier(NotifierConfig{Socket: socket, Logger: slog.New(slog.NewTextHandler(&log, nil))})

	sent := 0
	for ; log.Len() == 0; sent++ { // until a message could not be queued
		require.Less(t, sent, 100_000)
		n.Status(fmt.Sprint("status ", sent))
	}
	begun := time.Now()
	for i := range 1000 { // with a wait for each, however short, they would take their time
		n.Watchdog()
		n.ExtendTimeout(time.Second)
		n.Status(fmt.Sprint("waiting ", i))
	}
	n.Ready()
	n.Status("newest")
	require.Less(t, time.Since(begun), 30*time.Second)
	require.Equal(t, 1, strings.Count(log.String(), "does not take notifications"))

	for i := range sent - 1 {
		require.Equal(t, fmt.Sprint("STATUS=status ", i), s.receive())
	}
	n.Watchdog()
	require.Equal(t, "READY=1", s.receive())
	require.Equal(t, "STATUS=newest", s.receive())
	require.Equal(t, "WATCHDOG=1", s.receive())
	require.Equal(t, 1, strings.Count(log.String(), "takes notifications again"))
	n.Status("newest") // is shown, and not sent again
	n.Stopping()
	require.Equal(t, "STOPPING=1", s.receive())
}

// A manager that is gone for long is told the newest of what it missed.
func TestNotifierOwesLittle(t *testing.T) {
	socket := socketPath(t)
	n := NewNotifier(NotifierConfig{Socket: socket})
	for range 100 {
		n.Reloading()
		n.Ready()
	}
	n.Status("at last")
	s := listenNotify(t, socket)
	n.Watchdog()
	var got []string
	for range maxOwed {
		got = append(got, s.receive())
	}
	require.Equal(t, []string{"READY=1", "STATUS=at last"}, got[maxOwed-2:])
	require.Equal(t, "WATCHDOG=1", s.receive())
}

func TestNotifierWithoutManager(t *testing.T) {
	var log bytes.Buffer
	n := NewNotifier(NotifierConfig{Socket: socketPath(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	n.Ready()
	n.Watchdog()
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Contains(t, log.String(), unix.ENOENT.Error())
}
