package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fine answers as a probe endpoint does.
var fine = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ApplicationHealthState":"Healthy"}`)
})

// copyBounded reads a body of a test's own server.
func copyBounded(w io.Writer, r io.Reader) (int64, error) {
	return io.Copy(w, io.LimitReader(r, 1<<20))
}

// start runs a server until the end of the test, or stop, which waits for that.
func start(t *testing.T, cfg Config, listeners ...net.Listener) (stop func()) {
	t.Helper()
	return run(t, New(cfg), listeners...)
}

func run(t *testing.T, s *Server, listeners ...net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, listeners...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return stop
}

// serve runs a server on loopback until the end of the test and returns its base
// URL. maxConns 0 is the default.
func serve(t *testing.T, maxConns int) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	start(t, Config{Handler: fine, MaxConns: maxConns}, listener)
	return "http://" + listener.Addr().String()
}

// dial opens a raw connection that is closed at the end of the test.
func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", base[len("http://"):])
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestOneMoreConnectionClosesTheStalest opens one connection more than the
// limit: the one without progress for the longest time goes, and only that.
func TestOneMoreConnectionClosesTheStalest(t *testing.T) {
	base := serve(t, 3)
	ask := func(conn net.Conn) error {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = copyBounded(io.Discard, resp.Body)
		return err
	}
	a, b, c := dial(t, base), dial(t, base), dial(t, base)
	for _, conn := range []net.Conn{a, b, c, a, c} { // b is the one that was quiet longest
		require.NoError(t, ask(conn))
	}
	d := dial(t, base)
	require.NoError(t, ask(d))
	require.Error(t, ask(b))
	require.NoError(t, ask(a))
	require.NoError(t, ask(c))
	require.NoError(t, ask(d))
}

// TestMakingRoom is the accept loop's side of it, in virtual time: a
// connection has 100 ms before it can be closed for another, and closing one
// under TLS does not wait for a client that does not read the closing alert.
func TestMakingRoom(t *testing.T) {
	withCertificate := httptest.NewTLSServer(http.NotFoundHandler())
	certificates := withCertificate.TLS.Certificates
	withCertificate.Close()

	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		table := newConnTable(1, nil)
		client, server := net.Pipe()
		defer client.Close()
		conn := tls.Server(server, &tls.Config{Certificates: certificates})
		var wg sync.WaitGroup
		wg.Go(func() { // reads the handshake and no more
			if err := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake(); err != nil {
				t.Error(err)
			}
		})
		table.note(conn, http.StateNew)
		require.NoError(t, conn.Handshake())
		wg.Wait()

		next, _ := net.Pipe()
		table.note(next, http.StateNew)
		require.Equal(t, minConnAge, time.Since(begun))
		_, err := server.Write([]byte{0})
		require.ErrorIs(t, err, io.ErrClosedPipe)
		table.note(conn, http.StateClosed)
		table.note(next, http.StateActive)
		table.note(next, http.StateIdle)
		table.note(next, http.StateClosed)
		require.Empty(t, table.entries)
	})
}

func TestConnTable(t *testing.T) {
	conns := make([]net.Conn, 4)
	for i := range conns {
		conns[i], _ = net.Pipe()
	}
	table, now := newConnTable(2, nil), time.Now()
	require.Nil(t, table.add(conns[0], now))
	require.Nil(t, table.add(conns[1], now))
	require.Equal(t, minConnAge, table.crowded(now), "nobody is old enough to go")
	require.LessOrEqual(t, table.crowded(now.Add(minConnAge)), time.Duration(0))
	table.touch(conns[0], http.StateActive, now)
	require.Equal(t, conns[1], table.add(conns[2], now), "the stalest, even when busy")
	table.touch(conns[1], http.StateActive, now)
	table.forget(conns[1]) // the server notices later
	table.forget(conns[0])
	require.Zero(t, table.crowded(now))
	require.Nil(t, table.add(conns[3], now), "there is room again")
	require.Equal(t, conns[2], table.add(conns[0], now))
	require.Len(t, table.entries, 2)
	require.Equal(t, 2, table.order.Len())
}

func TestServerLimits(t *testing.T) {
	base := serve(t, 0)
	conn := dial(t, base)
	_, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: %016384d\r\n\r\n", 1)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)

	srv := New(Config{}).http
	for name, limit := range map[string]time.Duration{
		"header": srv.ReadHeaderTimeout, "read": srv.ReadTimeout, "write": srv.WriteTimeout,
	} {
		require.Positive(t, limit, name)
		require.LessOrEqual(t, limit, 10*time.Second, name)
	}
	require.Greater(t, srv.IdleTimeout, 60*time.Second, "over the extension's longest interval")
}
