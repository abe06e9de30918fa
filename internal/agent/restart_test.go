package agent

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// restarts is how often the agent is restarted under load: go test -restarts 80
// takes a minute.
var restarts = flag.Int("restarts", 10, "restarts under load")

// TestNoProbeIsLostOverRestarts restarts and reloads a real agent that inherits its
// socket, while 600 new connections a second probe it. Half of the clients send their
// request a moment after they have connected, as over a network: where the agent
// drops what it has accepted, each restart costs some of theirs.
func TestNoProbeIsLostOverRestarts(t *testing.T) {
	sim := simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}, RateLimit: -1})
	metadata := httptest.NewServer(sim)
	defer metadata.Close()
	c := newCrash(t, sim, metadata.URL)

	c.start(0)
	load := startLoad(c.address)
	defer load.stop()
	for range *restarts {
		c.until("20 more probes are answered", nil, load.more(20))
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
		c.until("20 more probes are answered", nil, load.more(20))
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
		<-c.ended
		require.True(t, c.cmd.ProcessState.Success(), "%s", c.cmd.ProcessState)
		c.start(0)
	}
	c.until("20 more probes are answered", nil, load.more(20))
	load.stop()
	c.stop()
	t.Logf("%d restarts, %d probes answered", *restarts, load.answered.Load())
	if err := load.last.Load(); err != nil {
		require.NoError(t, *err, "%d lost", load.lost.Load())
	}
}

// A load probes an address from many clients at once.
type load struct {
	answered, lost atomic.Int64
	last           atomic.Pointer[error]
	stop           func()
}

// startLoad begins 600 probes a second, each on a connection of its own.
func startLoad(address string) *load {
	l := &load{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	l.stop = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	wg.Go(func() {
		tick := time.NewTicker(time.Second / 600)
		defer tick.Stop()
		slots := make(chan struct{}, 256) // fewer than the listener's bound, however long a start takes
		for i := 0; ; i++ {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				late, err := probeAfter(address, time.Duration(i%2)*2*time.Millisecond)
				switch {
				case err == nil:
					l.answered.Add(1)
				case !late:
					l.lost.Add(1)
					l.last.Store(&err)
				}
			})
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return l
}

// more is a condition that is reached after that many more answers.
func (l *load) more(n int64) func() bool {
	want := l.answered.Load() + n
	return func() bool { return l.answered.Load() >= want }
}

// probeAfter asks once, a time after it has connected. It is late when it was kept
// from asking for so long that the agent need not have waited: an error proves
// nothing then.
func probeAfter(address string, pause time.Duration) (late bool, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	connected := time.Now()
	_ = conn.SetDeadline(connected.Add(20 * time.Second)) // then it is not slow, but lost
	<-time.After(pause)
	_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	late = time.Since(connected) > 500*time.Millisecond
	if err != nil {
		return late, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return late, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	return late, err
}

// TestFewDescriptors: with 64 descriptors, 70 idle connections stop nothing; and the
// soft limit is not the one that counts.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limits string
		held   int // of 70 connections, at most
	}{
		"64 in all":           {"ulimit -n 64", 8},
		"64, which may be 4k": {"ulimit -Hn 4096; ulimit -Sn 64", 70},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}, RateLimit: -1})
			metadata := httptest.NewServer(sim)
			defer metadata.Close()
			c := newCrash(t, sim, metadata.URL)
			c.command = []string{"sh", "-c", test.limits + `; exec "$0"`, os.Args[0]}
			c.start(0)
			defer c.stop()
			c.until("serving", nil, func() bool { return c.ready() == http.StatusOK })

			var idle []net.Conn
			for range 70 {
				conn, err := net.Dial("tcp", c.address)
				require.NoError(t, err)
				defer conn.Close()
				_, err = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
				require.NoError(t, err)
				idle = append(idle, conn)
			}
			for range 5 {
				_, err := probeAfter(c.address, 0)
				require.NoError(t, err)
				c.until("the control socket answers", nil, func() bool { return c.state() != "" })
			}
			held := 0
			for _, conn := range idle {
				if testkit.Established(t, conn) {
					held++
				}
			}
			require.LessOrEqual(t, held, test.held)
			require.GreaterOrEqual(t, held, test.held-6, "each of 5 probes made room for itself")
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
			require.NoError(t, err)
			t.Logf("%d connections held, %d descriptors open", held, len(open))
		})
	}
}

// newCrash makes a node whose agent has not been started.
func newCrash(t *testing.T, sim *simimds.Server, metadata string) *crash {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	socket, err := l.File()
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close()) // the file is what is inherited
	t.Cleanup(func() { _ = socket.Close() })
	c := &crash{
		t: t, sim: sim, probe: socket, address: address, url: "http://" + address,
		command: []string{os.Args[0]}, child: crashChild{Dir: t.TempDir(), Metadata: metadata},
	}
	t.Cleanup(func() {
		if c.cmd != nil {
			c.stop()
		}
	})
	return c
}
