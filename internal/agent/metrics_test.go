package agent

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

var update = flag.Bool("update", false, "write the golden files again")

// scrape asks an agent for its metrics as Prometheus does.
func (d *daemon) scrape() string {
	d.t.Helper()
	resp, err := http.Get("http://" + *d.scrapes.bound.Load() + "/metrics")
	require.NoError(d.t, err)
	defer resp.Body.Close()
	require.Equal(d.t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	return string(body)
}

// ours leaves of an exposition the families of the agent, without those of its
// libraries.
func ours(exposition string) []string {
	var lines []string
	for line := range strings.Lines(exposition) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if strings.HasPrefix(name, "fleet_agent_") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// series are the names and labels of an exposition, without help, types and
// values.
func series(exposition string) []string {
	var names []string
	for _, line := range ours(exposition) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, line[:strings.LastIndex(line, " ")])
		}
	}
	slices.Sort(names)
	return names
}

// volatile are values that depend on how long something took, on when it was, or
// on how often it has been by now. What has not happened yet is 0 all the same.
var volatile = regexp.MustCompile(`^(fleet_agent_\w+(_seconds|_seconds_sum|_seconds_count|_runs_total|_polls_total|_requests_total)(\{.*\})?) ([1-9]|0\.).*$`)

// page is the exposition as the golden file has it: without what is volatile and
// without buckets, of which there are hundreds.
func page(exposition string) string {
	var b strings.Builder
	for _, line := range ours(exposition) {
		if !strings.Contains(line, "_bucket{") {
			b.WriteString(volatile.ReplaceAllString(line, "$1 N") + "\n")
		}
	}
	return b.String()
}

// TestMetrics holds the exposition of a whole agent to its golden file from the
// first scrape on, and to promtool. Then the node lives through what there is
// to live through, and no series comes or goes: whatever happens, alerts and
// dashboards have had the series before.
func TestMetrics(t *testing.T) {
	t.Parallel()
	sim := simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}})
	metadata := httptest.NewServer(sim)
	defer metadata.Close()
	there := filepath.Join(t.TempDir(), "there")
	require.NoError(t, os.WriteFile(there, nil, 0o600))

	conf := *config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0", Metrics: "127.0.0.1:0"}
	conf.IMDS.Endpoint = metadata.URL
	conf.Drain.Settle = config.Duration(10 * time.Millisecond)
	conf.Checks = []config.Check{fileCheck("app", there), fileCheck("web", "/")}
	conf.Checks[0].Interval = config.Duration(20 * time.Millisecond)
	conf.Checks[1].DependsOn = []string{"app"}
	step := &testStep{name: "workloads"}
	d := startDaemon(t, conf, func(*config.Config) (*drain.Plan, error) {
		return drain.NewPlan([]drain.StepConfig{{Name: step.name, Kind: "exec", Max: time.Minute, Step: step}})
	})
	ops := &controlOps{d.Agent}
	in := func(state control.State) func() bool {
		return func() bool {
			s := ops.Status()
			return s.State == state && s.IMDS.State == "ok" && s.Node.Name == self
		}
	}
	d.await("serving", in(control.StateServing))

	var first string
	d.await("the state in the metrics", func() bool {
		first = d.scrape()
		return strings.Contains(first, `fleet_agent_state{state="serving"} 1`)
	})
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(page(first)), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), page(first))
	requirePromtool(t, first)

	require.NoError(t, os.Remove(there))
	d.await("unhealthy", in(control.StateUnhealthy))
	require.Equal(t, []string{"app"}, ops.Status().Health.Roots)
	require.NoError(t, os.WriteFile(there, nil, 0o600))
	d.await("serving again", in(control.StateServing))
	id := sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
	d.await("drained", in(control.StateDrained))
	require.NoError(t, sim.Complete(id))
	d.await("back", in(control.StateServing))
	sim.Publish(simimds.EventSpec{Type: "Eclipse", Resources: []string{self}, Hold: true})
	d.await("an unknown event", func() bool { return len(ops.Status().Events) == 1 })
	_, err = ops.Maintenance(t.Context(), "uid 0", control.MaintenanceRequest{On: true, ForSeconds: 60, Reason: "test"})
	require.NoError(t, err)
	d.await("maintenance", in(control.StateMaintenance))
	require.NoError(t, d.Reload(t.Context()))

	last := d.scrape()
	require.Equal(t, series(first), series(last))
	require.NotContains(t, last, id, "no ids in labels")
	requirePromtool(t, last)
}

// requirePromtool holds an exposition to the rules of Prometheus.
func requirePromtool(t *testing.T, exposition string) {
	t.Helper()
	promtool := testkit.Tool(t, "promtool", "prometheus")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}
