package probe

import (
	"context"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// patience is what a probe gets in tests where it is not meant to time out.
const patience = 30 * time.Second

// Package net/http reads the proxy variables once: they have to be there first.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:9"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

type probeFunc = func(ctx context.Context) error

// look runs a probe that was made well.
func look(t *testing.T, p probeFunc, err error) error {
	t.Helper()
	return lookFor(t, patience, p, err)
}

func lookFor(t *testing.T, timeout time.Duration, p probeFunc, err error) error {
	t.Helper()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return p(ctx)
}

// requireSays checks the whole message, since it is what operators get.
func requireSays(t *testing.T, err error, message string) {
	t.Helper()
	require.EqualError(t, err, message)
	requireFinding(t, err)
}

// requireFinding checks that an error names what it has to.
func requireFinding(t *testing.T, err error) {
	t.Helper()
	var finding *Error
	require.ErrorAs(t, err, &finding)
	require.NotEmpty(t, finding.Kind)
	require.NotEmpty(t, finding.Target)
	require.NotEmpty(t, finding.Seen)
	require.NotEmpty(t, finding.Want)
	require.NotContains(t, err.Error(), "\n")
}

func writeFile(t *testing.T, path string, data []byte) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// tempFile writes a file of a fresh directory.
func tempFile(t *testing.T, data []byte) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "file"), data)
}

// deadAddress gives an address where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// serve accepts connections and hands each to f, until the test ends.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// mute keeps a connection open and says nothing until the other side goes.
func mute(conn net.Conn) {
	buf := make([]byte, 512)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// discardLog silences servers whose clients misbehave on purpose.
var discardLog = log.New(io.Discard, "", 0)
