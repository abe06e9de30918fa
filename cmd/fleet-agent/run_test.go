package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A hungLog is an stderr that nobody reads.
type hungLog struct{ free chan struct{} }

func (l hungLog) Write(p []byte) (int, error) {
	<-l.free
	return len(p), nil
}

// daemon runs the daemon with stderr until it serves, and returns what stops it.
func daemon(t *testing.T, stderr io.Writer) (client *control.Client, stop func() (code int)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") //nolint:usetesting // the path of t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conf := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `
listen: {probe: "127.0.0.1:0", metrics: "127.0.0.1:0"}
imds: {endpoint: "http://127.0.0.1:1"}
run_dir: %[1]s/run
state_dir: %[1]s/state
`, dir), 0o600))

	code := make(chan int, 1)
	go func() {
		code <- run([]string{"run", "--debug", "--config", conf}, io.Discard, stderr, func(string) string { return "" })
	}()
	client = control.NewClient(filepath.Join(dir, "run", control.SocketName))
	require.Eventually(t, func() bool {
		_, err := client.Status(t.Context())
		return err == nil
	}, time.Minute, time.Millisecond)
	return client, func() int {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		return <-code
	}
}

// TestHungLog: the daemon starts, answers and stops while nobody reads its log.
func TestHungLog(t *testing.T) {
	log := hungLog{make(chan struct{})}
	defer close(log.free)
	client, stop := daemon(t, log)

	status, err := client.Status(t.Context())
	require.NoError(t, err)
	answer, err := http.Get("http://" + status.Agent.MetricsAddress + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Contains(t, string(metrics), "\nfleet_agent_log_dropped_total 0\n", "exists from the start")

	_, err = client.Drain(t.Context(), control.DrainRequest{Reason: "test"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, err := client.Status(t.Context())
		return err == nil && status.State == control.StateDraining || status.State == control.StateDrained
	}, time.Minute, time.Millisecond)
	require.Equal(t, 0, stop())
}

// TestHungLogAtTheEnd: the daemon ends although nobody reads why.
func TestHungLogAtTheEnd(t *testing.T) {
	log := hungLog{make(chan struct{})}
	defer close(log.free)
	conf := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(conf, []byte("nonsense: 1\n"), 0o600))
	require.Equal(t, 1, run([]string{"run", "--config", conf}, io.Discard, log, func(string) string { return "" }))
}

// TestLastLineOfTheLog: a stop that nothing hinders loses no line.
func TestLastLineOfTheLog(t *testing.T) {
	var log testkit.Buffer
	_, stop := daemon(t, &log)
	require.Equal(t, 0, stop())
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Contains(t, log.String(), "agent started")
	require.Contains(t, lines[len(lines)-1], `msg="agent stopped"`)
	require.NotContains(t, log.String(), "dropped")
}
