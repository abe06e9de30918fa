package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// A manager is the service manager's end of a real notify socket.
type manager struct {
	t        *testing.T
	messages chan string
}

func newManager(t *testing.T) (*manager, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	m := &manager{t: t, messages: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.messages <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-read
	})
	return m, path
}

// await returns the messages up to the first that begins with want.
func (m *manager) await(want string) []string {
	m.t.Helper()
	var seen []string
	for {
		select {
		case message := <-m.messages:
			seen = append(seen, message)
			if strings.HasPrefix(message, want) {
				return seen
			}
		case <-time.After(30 * time.Second):
			require.FailNow(m.t, "no "+want, "%q", seen)
		}
	}
}

// TestRunNotifies holds the whole daemon, on real sockets, to what it tells the
// service manager: READY=1 after the first verdict, STATUS= on every transition,
// WATCHDOG=1, and STOPPING=1 only when it stops, not when the node drains.
func TestRunNotifies(t *testing.T) {
	t.Parallel()
	m, socket := newManager(t)
	sim := simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}})
	metadata := httptest.NewServer(sim)
	defer metadata.Close()

	dir := t.TempDir()
	conf := *config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0", Metrics: "127.0.0.1:0"}
	conf.IMDS.Endpoint = metadata.URL
	conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	conf.Drain.Settle = config.Duration(10 * time.Millisecond)
	// A notification that nobody takes: the stop has something to wait for.
	ended := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	defer hanging.Close()
	defer close(ended)
	conf.Notify = []config.Webhook{{URL: hanging.URL, On: []string{drainStarted}}}
	up := filepath.Join(dir, "up")
	app := fileCheck("app", "")
	app.Timeout, app.File = config.Duration(30*time.Second), nil
	app.Exec = &config.ExecCheck{Command: []string{"/bin/sh", "-c", `until [ -e "$0" ]; do sleep 0.01; done`, up}}
	conf.Checks = []config.Check{app}
	a, err := New(Config{
		Config: &conf, Version: "1.2.3", BusAddress: "unix:path=" + filepath.Join(dir, "no-bus"),
		Load:     func() (*config.Config, error) { return &conf, nil },
		Notifier: systemd.NewNotifier(systemd.NotifierConfig{Socket: socket, Watchdog: 200 * time.Millisecond}),
		Plan:     func(*config.Config) (*drain.Plan, error) { return drain.NewPlan(nil) },
		Logger:   slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()

	m.await("STATUS=starting")
	require.NoError(t, a.Reload(ctx), "before the first verdict, of which systemd is told nothing")
	require.NoError(t, os.WriteFile(up, nil, 0o600))
	before := m.await("READY=1")
	require.Contains(t, before, "STATUS=serving", "the verdict comes first")
	for _, message := range before {
		require.NotContains(t, message, "RELOADING")
	}
	resp, err := http.Get("http://" + *a.probeAddr.Load() + "/healthz")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	m.await("WATCHDOG=1")

	require.NoError(t, a.Reload(ctx))
	m.await("RELOADING=1\nMONOTONIC_USEC=")
	m.await("READY=1")

	id := sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
	seen := m.await("STATUS=drained: Reboot " + id)
	require.NoError(t, sim.Complete(id))
	seen = append(seen, m.await("STATUS=serving")...)
	for _, message := range seen {
		require.NotContains(t, message, "STOPPING", "a drain is no stop")
	}

	stop()
	m.await("STOPPING=1")
	m.await("EXTEND_TIMEOUT_USEC=30000000")
	require.NoError(t, <-ran)
}

// TestMetricsReference: the generated page knows the metrics of every part.
func TestMetricsReference(t *testing.T) {
	var b strings.Builder
	require.NoError(t, WriteMetricsReference(&b))
	for _, name := range []string{
		"fleet_agent_state", "fleet_agent_check_status", "fleet_agent_imds_requests_total", "fleet_agent_scheduled_events",
		"fleet_agent_acks_total", "fleet_agent_drains_total", "fleet_agent_build_info", "fleet_agent_config_last_reload_successful",
	} {
		require.Contains(t, b.String(), "`"+name+"`")
	}
}
