package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/server"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A peerPipes is a control socket in virtual time, to which anybody can connect.
type peerPipes struct {
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPeerPipes() *peerPipes {
	return &peerPipes{queue: make(chan net.Conn, 4096), closed: make(chan struct{})}
}

func (l *peerPipes) dial(p peer) net.Conn {
	client, accepted := net.Pipe()
	l.queue <- &peerConn{Conn: accepted, peer: p}
	return client
}

func (l *peerPipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *peerPipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *peerPipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

const statusRequest = "GET /v1/status HTTP/1.1\r\nHost: agent\r\n\r\n"

// askStatus asks on a fresh connection and returns the code of the answer; 0 is none.
func askStatus(l *peerPipes, p peer) int {
	c := l.dial(p)
	defer synctest.Wait() // until the server has seen the end of it
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // as the commands do
	if _, err := io.WriteString(c, statusRequest); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// sendHalf begins a request that never ends.
func sendHalf(t *testing.T, l *peerPipes, p peer) {
	t.Helper()
	c := l.dial(p)
	t.Cleanup(func() { _ = c.Close() })
	go func() { _, _ = io.WriteString(c, statusRequest[:20]) }() // ends with the connection
}

// inControl runs a test with a control server in virtual time. Group 501 is the
// administrators', 500 that of the readers, who have been looked up before.
func inControl(t *testing.T, test func(t *testing.T, l *peerPipes, a *accounts)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAccounts()
		a.owner = 900
		a.groupID = func(name string) (uint32, bool) {
			gid, ok := map[string]uint32{readGroup: 500, adminGroup: 501}[name]
			return gid, ok
		}
		a.userName = func(string) (string, bool) { return "", false }
		a.group(adminGroup)
		l := newPeerPipes()
		runControl(t, newControlServer(&fixedOps{}, a, 128, slog.New(slog.DiscardHandler)), l)
		test(t, l, a)
	})
}

// TestHalfSentRequestsLockNobodyOut: whoever fills the control socket makes room by
// closing what is its own.
func TestHalfSentRequestsLockNobodyOut(t *testing.T) {
	reader := func(uid uint32) peer { return peer{uid: uid, gid: 500} }
	inControl(t, func(t *testing.T, l *peerPipes, _ *accounts) {
		for range 100 {
			sendHalf(t, l, reader(1000))
		}
		synctest.Wait()
		for range 3 {
			require.Equal(t, http.StatusOK, askStatus(l, reader(1000)), "its own commands")
			require.Equal(t, http.StatusOK, askStatus(l, reader(1001)), "somebody else's")
		}
	})
	inControl(t, func(t *testing.T, l *peerPipes, _ *accounts) {
		for uid := range uint32(20) {
			for range 32 {
				sendHalf(t, l, reader(1000+uid))
			}
		}
		synctest.Wait()
		require.Zero(t, askStatus(l, reader(2000)), "all is taken, but for what is kept")
		require.Equal(t, http.StatusOK, askStatus(l, reader(1000)), "who has some makes room of them")
		sendHalf(t, l, reader(1000)) // and takes it again
		synctest.Wait()
		for range 20 {
			require.Equal(t, http.StatusOK, askStatus(l, peer{uid: 0}), "root")
			require.Equal(t, http.StatusOK, askStatus(l, peer{uid: 900}), "the agent's own user")
			require.Equal(t, http.StatusOK, askStatus(l, peer{uid: 1500, groups: []uint32{501}}), "an administrator")
		}
	})
}

// TestLookUpsHang: accepting does not wait for a group, and root waits for none.
func TestLookUpsHang(t *testing.T) {
	inControl(t, func(t *testing.T, l *peerPipes, a *accounts) {
		hang := make(chan struct{})
		defer close(hang)
		a.groupID = func(string) (uint32, bool) { <-hang; return 0, false }
		a.userName = func(string) (string, bool) { <-hang; return "", false }
		for range 2 * maxLookups {
			sendHalf(t, l, peer{uid: 1000})
			stranger := l.dial(peer{uid: 1001})
			t.Cleanup(func() { _ = stranger.Close() })
			go func() { _, _ = io.WriteString(stranger, statusRequest) }() // ends with the connection
		}
		synctest.Wait()
		begun := time.Now()
		require.Equal(t, http.StatusOK, askStatus(l, peer{uid: 0}))
		require.Zero(t, time.Since(begun))
		require.Equal(t, http.StatusOK, askStatus(l, peer{uid: 1500, groups: []uint32{501}}), "what was known counts on")
		require.LessOrEqual(t, time.Since(begun), lookupBound)
		require.Equal(t, "uid 7", a.describe(peer{uid: 7}))
		time.Sleep(10 * time.Second)
	})
}

// TestNeverReadingTheControlSocket: the client is cut off, and what a check that takes
// long has to say is not.
func TestNeverReadingTheControlSocket(t *testing.T) {
	inControl(t, func(t *testing.T, l *peerPipes, _ *accounts) {
		c := l.dial(peer{uid: 0})
		_, err := io.WriteString(c, statusRequest)
		require.NoError(t, err)
		time.Sleep(controlWriteBound + time.Millisecond)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newPeerPipes()
		runControl(t, newControlServer(&slowOps{}, newAccounts(), 128, slog.New(slog.DiscardHandler)), l)
		c := l.dial(peer{uid: 0})
		defer c.Close()
		_, err := io.WriteString(c, "POST /v1/checks/slow/run HTTP/1.1\r\nHost: agent\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	})
}

type slowOps struct{ fixedOps }

func (*slowOps) RunCheck(context.Context, string) (control.CheckResult, error) {
	time.Sleep(3 * controlWriteBound)
	return control.CheckResult{Passed: true}, nil
}

func TestConnLimits(t *testing.T) {
	for descriptors, want := range map[uint64]connLimit{
		0:       {probe: 8, metrics: 4, control: 8},
		64:      {probe: 8, metrics: 4, control: 8},
		256:     {probe: 96, metrics: 24, control: 48},
		1024:    {probe: 480, metrics: 64, control: 128},
		20000:   {probe: 512, metrics: 64, control: 128},
		1 << 63: {probe: 512, metrics: 64, control: 128},
	} {
		require.Equal(t, want, connLimits(descriptors), "%d", descriptors)
	}
	require.Equal(t, server.DefaultMaxConns, connLimits(maxDescriptors()).probe, "of this process")
}

// TestMetricsPortIsTaken: the agent starts, says so, and tries again.
func TestMetricsPortIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken, log := errors.New("address already in use"), &testkit.Buffer{}
		pipes := newPeerPipes()
		var tries int
		m := &metricsListener{
			address: "127.0.0.1:9810", logger: slog.New(slog.NewTextHandler(log, nil)),
			handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fleet_agent_state 1\n") }),
			listen: func(context.Context, string) (net.Listener, error) {
				if tries++; tries < 4 {
					return nil, taken
				}
				return pipes, nil
			},
		}
		m.open(t.Context())
		require.Contains(t, m.warning(), "address already in use")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(3*metricsRetry - time.Millisecond)
		require.NotEmpty(t, m.warning())
		require.Equal(t, 1, strings.Count(log.String(), "metrics are not served"), "said once")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Empty(t, m.warning())
		require.Contains(t, log.String(), "metrics are served")
		require.Equal(t, http.StatusOK, askStatus(pipes, peer{}))
		var half []net.Conn
		for range 500 {
			c := pipes.dial(peer{})
			half = append(half, c)
			go func() { _, _ = io.WriteString(c, statusRequest[:20]) }() // ends with the connection
		}
		time.Sleep(time.Second) // each over the bound has to be old enough to go
		require.Equal(t, http.StatusOK, askStatus(pipes, peer{}), "beside 500 that never end")
		open := 0
		for _, c := range half {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
			_ = c.Close()
		}
		require.LessOrEqual(t, open, connLimits(maxDescriptors()).metrics)
		stop()
		require.NoError(t, <-ended)
	})
}

// TestRunDirIsTakenAway: the directory, the socket and the flags are made again.
func TestRunDirIsTakenAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.Mkdir(dir, 0o755))
	l, err := listenControl(t.Context(), dir)
	require.NoError(t, err)
	log := &testkit.Buffer{}
	w := &runDirWatch{
		dir: dir, socket: l, flags: newFlags(dir), accounts: newAccounts(),
		logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	runControl(t, newControlServer(&fixedOps{}, w.accounts, 128, slog.New(slog.DiscardHandler)), l)
	c := control.NewClient(l.path)
	asks := func() {
		t.Helper()
		_, err := c.Status(t.Context())
		require.NoError(t, err)
	}
	require.NoError(t, w.flags.raise(drainFlag, []byte("why")))
	require.NoError(t, w.flags.raise(cordonFlag, nil))
	require.NoError(t, w.flags.lower(cordonFlag))
	asks()
	require.NoError(t, w.look(t.Context()))
	require.Empty(t, w.warning())

	flag := filepath.Join(dir, drainFlag)
	for _, gone := range []string{dir, l.path, flag} {
		require.NoError(t, os.RemoveAll(gone))
		require.NoError(t, w.look(t.Context()))
		require.Contains(t, w.warning(), "somebody removed "+gone)
		require.Contains(t, w.warning(), "it was made again")
		asks()
		text, err := os.ReadFile(flag)
		require.NoError(t, err)
		require.Equal(t, "why", string(text))
		require.NoFileExists(t, filepath.Join(dir, cordonFlag))
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		require.NoError(t, w.look(t.Context()))
		require.Empty(t, w.warning(), "until the next look that finds all there")
	}
	require.Equal(t, 3, countLines(log.String(), "taken away and made again"))

	// Another socket at our path, of nobody who answers.
	require.NoError(t, os.Remove(l.path))
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.path, Net: "unix"})
	require.NoError(t, err)
	other.SetUnlinkOnClose(false)
	require.NoError(t, other.Close())
	require.NoError(t, w.look(t.Context()))
	asks()

	// It cannot be made again.
	parent := filepath.Dir(dir)
	require.NoError(t, os.Rename(parent, parent+".old"))
	require.NoError(t, os.WriteFile(parent, nil, 0o600))
	require.ErrorIs(t, w.look(t.Context()), syscall.ENOTDIR)
	require.Contains(t, w.warning(), "cannot be made again")
	require.Error(t, w.look(t.Context()))
	require.Equal(t, 1, countLines(log.String(), "cannot be made again"), "said once")
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	w.mayRestart = func() bool {
		if asked++; asked == 1 {
			stop()
			return false
		}
		return true
	}
	require.NoError(t, w.Run(ctx), "in the middle of a drain, or by hand")
	require.ErrorIs(t, w.Run(t.Context()), syscall.ENOTDIR, "systemd starts it anew")
	require.NoError(t, os.Remove(parent))
	require.NoError(t, w.look(t.Context()))
	asks()
}

// TestPortThatSystemdWasToHold: a word only when systemd was to pass a port and did
// not.
func TestPortThatSystemdWasToHold(t *testing.T) {
	unit := func(load, active string) systemd.UnitState {
		return systemd.UnitState{Name: systemd.AgentSocket, LoadState: load, ActiveState: active}
	}
	require.Contains(t, portProblem(unit("loaded", "failed"), "127.0.0.1:8080"), "fleet-agent.socket is failed")
	require.Contains(t, portProblem(unit("loaded", "inactive"), "127.0.0.1:8080"), systemd.ApplySocket)
	require.Empty(t, portProblem(unit("masked", "inactive"), "127.0.0.1:8080"))
	require.Empty(t, portProblem(unit("not-found", "inactive"), "127.0.0.1:8080"))

	synctest.Test(t, func(t *testing.T) {
		states := []systemd.UnitState{unit("", ""), unit("loaded", "failed"), unit("masked", "inactive")}
		w := &portWatch{own: "127.0.0.1:8080", state: func(context.Context, string) (systemd.UnitState, error) {
			s := states[0]
			states = states[1:]
			if s.LoadState == "" {
				return s, errors.New("no bus")
			}
			return s, nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		require.Empty(t, w.warning())
		time.Sleep(portRetry)
		synctest.Wait()
		require.NotEmpty(t, w.warning())
		time.Sleep(portLook)
		synctest.Wait()
		require.Empty(t, w.warning())
		stop()
		require.NoError(t, <-ended)
	})
}

// TestFlagIsGoneAtTheStart: the journal knows the drain, and so the flag is raised again,
// and missed when it goes once more.
func TestFlagIsGoneAtTheStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		w.drain()
		w.awaitState(control.StateDrained, 10*time.Second)
		flag := filepath.Join(w.conf.RunDir, drainFlag)
		before, err := os.ReadFile(flag)
		require.NoError(t, err)
		w.kill()
		require.NoError(t, removeAll(w.conf.RunDir))
		w.start()
		w.awaitState(control.StateDrained, time.Second)
		after, err := os.ReadFile(flag)
		require.NoError(t, err)
		require.JSONEq(t, string(before), string(after))
		require.NoError(t, os.Remove(flag))
		require.Equal(t, []string{flag}, w.agent.gate.flags.missing())
		w.undrain()
		w.awaitState(control.StateServing, 10*time.Second)
		require.NoFileExists(t, flag)
		require.False(t, w.agent.gate.flags.any())
	})
}
