package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

const probeRequest = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

// A pipeListener hands out one end of each pipe that dial makes, so that a server
// and its clients can live in virtual time. Nothing is buffered: a client that
// does not read stops the server's first write.
type pipeListener struct {
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{queue: make(chan net.Conn, 4096), closed: make(chan struct{})} // as long as the kernel's
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.queue <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.queue:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// probeOnce asks on a fresh connection, as a load balancer would.
func probeOnce(conn net.Conn) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // the extension's patience
	if _, err := io.WriteString(conn, probeRequest); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = copyBounded(io.Discard, resp.Body)
	return err
}

// isOpen reports whether the server still holds a connection. It may take a byte
// of what the server has sent.
func isOpen(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func countOpen(conns []net.Conn) int {
	open := 0
	for _, conn := range conns {
		if isOpen(conn) {
			open++
		}
	}
	return open
}

// TestHostileClientsDelayNobody runs a control probe beside hostile clients in
// virtual time, where a delay is one that the server has made and not the
// machine: once the connections have been taken in, there is none at all.
func TestHostileClientsDelayNobody(t *testing.T) {
	// The server says what it thinks of half a request, and here has to wait for
	// somebody to read that.
	const badRequest = headerTimeout + writeTimeout
	tests := map[string]struct {
		clients  int
		behave   func(conn net.Conn) // until the connection is closed
		mostOpen int                 // 4 s after they came
		ends     time.Duration       // when the server has closed all of them
	}{
		"2,000 silent connections": {
			clients: 2000, behave: func(net.Conn) {}, mostOpen: DefaultMaxConns, ends: headerTimeout,
		},
		"2,000 half requests": {
			clients: 2000, behave: func(conn net.Conn) { _, _ = io.WriteString(conn, probeRequest[:20]) },
			mostOpen: DefaultMaxConns, ends: badRequest,
		},
		"2,000 idle connections after a request": {
			clients: 2000,
			behave: func(conn net.Conn) {
				if _, err := io.WriteString(conn, probeRequest); err == nil {
					_, _ = http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // the connection is what is held
				}
			},
			mostOpen: DefaultMaxConns, ends: idleTimeout,
		},
		"never read": {
			clients: 300,
			behave: func(conn net.Conn) {
				for {
					if _, err := io.WriteString(conn, probeRequest); err != nil {
						return
					}
				}
			},
			mostOpen: 300, ends: writeTimeout,
		},
		"send a byte a second": {
			clients: 300,
			behave: func(conn net.Conn) {
				for i := range len(probeRequest) {
					if _, err := conn.Write([]byte{probeRequest[i]}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			},
			mostOpen: 300, ends: badRequest,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := newPipeListener()
				stop := start(t, Config{Handler: fine}, listener)
				var wg sync.WaitGroup

				begun := time.Now()
				var hostile []net.Conn
				for range test.clients {
					conn := listener.dial()
					hostile = append(hostile, conn)
					wg.Go(func() { test.behave(conn) })
				}
				// Above its limit the server takes in one connection for each
				// that has had minConnAge to be served.
				takenIn := time.Duration(test.clients/DefaultMaxConns) * minConnAge
				probeUntil := func(end time.Duration) {
					for time.Since(begun) < end {
						sent := time.Now()
						require.NoError(t, probeOnce(listener.dial()))
						delay := time.Since(sent)
						if sent.Sub(begun) < takenIn {
							require.LessOrEqual(t, delay, takenIn)
						} else {
							require.Zero(t, delay, "%s after they came", sent.Sub(begun))
						}
						time.Sleep(10 * time.Millisecond)
					}
				}
				probeUntil(4 * time.Second)
				open := countOpen(hostile)
				require.LessOrEqual(t, open, test.mostOpen)
				require.GreaterOrEqual(t, open, test.mostOpen-1, "they are there, but for one that made room for the control")
				probeUntil(test.ends + takenIn + 2*time.Second)
				require.Zero(t, countOpen(hostile), "none stays for ever")

				stop()
				for _, conn := range hostile {
					_ = conn.Close()
				}
				wg.Wait()
			})
		})
	}
}

// TestHostileClientsOverSockets is the same over real sockets and in real time:
// every probe that is sent beside the hostile clients is answered, and they are
// still there when the last one is.
func TestHostileClientsOverSockets(t *testing.T) {
	const probes = 50
	// probeBeside sends probes until stop says so, and at least so many.
	probeBeside := func(t *testing.T, base string, stop func() bool) {
		t.Helper()
		answered := 0
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for ; answered < probes || !stop(); answered++ {
			conn, err := net.Dial("tcp", base[len("http://"):])
			require.NoError(t, err)
			require.NoError(t, probeOnce(conn))
			<-pace.C
		}
		t.Logf("%d control probes answered", answered)
	}
	atOnce := func() bool { return true }

	t.Run("2,000 idle connections", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server, base := New(Config{Handler: fine}), "http://"+listener.Addr().String()
		run(t, server, listener)
		var hostile []net.Conn
		for range 2000 {
			conn := dial(t, base)
			_, err := io.WriteString(conn, probeRequest)
			require.NoError(t, err)
			hostile = append(hostile, conn)
		}
		held := func() int {
			server.conns.mu.Lock()
			defer server.conns.mu.Unlock()
			return server.conns.order.Len()
		}
		for range probes {
			conn, err := net.Dial("tcp", base[len("http://"):])
			require.NoError(t, err)
			require.NoError(t, probeOnce(conn))
			// The next one takes its place, and not one more of the others.
			require.Eventually(t, func() bool { return held() == DefaultMaxConns-1 }, 30*time.Second, time.Millisecond)
		}
		open := 0
		for _, conn := range hostile {
			if testkit.Established(t, conn) {
				open++
			}
		}
		require.Equal(t, DefaultMaxConns-1, open, "the first probe took the place of one")
	})
	t.Run("never read", func(t *testing.T) {
		t.Parallel()
		base := serve(t, 0)
		var wg sync.WaitGroup
		var hostile []net.Conn
		var stuck sync.WaitGroup // until the server no longer reads, since nobody reads its answers
		for range 5 {
			conn := dial(t, base)
			hostile = append(hostile, conn)
			stuck.Add(1)
			wg.Go(func() {
				first := sync.OnceFunc(stuck.Done)
				defer first()
				for {
					_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
					_, err := io.WriteString(conn, probeRequest+probeRequest+probeRequest+probeRequest)
					if errors.Is(err, os.ErrDeadlineExceeded) {
						first() // and goes on, as long as the server has it
					} else if err != nil {
						return
					}
				}
			})
		}
		stuck.Wait()
		probeBeside(t, base, atOnce)
		for _, conn := range hostile {
			_ = conn.Close()
		}
		wg.Wait()
	})
	t.Run("send a byte a second", func(t *testing.T) {
		t.Parallel()
		base := serve(t, 0)
		gone := make(chan struct{})
		var wg sync.WaitGroup
		for range 300 {
			conn := dial(t, base)
			wg.Go(func() {
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for i := range len(probeRequest) {
					if _, err := conn.Write([]byte{probeRequest[i]}); err != nil {
						return // the server's limit, which is below the 40 s of a whole request
					}
					<-tick.C
				}
				t.Error("a request of 40 s was read to its end")
			})
		}
		go func() { wg.Wait(); close(gone) }()
		probeBeside(t, base, func() bool {
			select {
			case <-gone:
				return true
			default:
				return false
			}
		})
	})
}
