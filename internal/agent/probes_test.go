package agent

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/health"
)

func TestProbeWarnings(t *testing.T) {
	start := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	after := start.Add
	const (
		never = "nothing has asked for /healthz or /readyz since the agent started"
		quiet = "nothing has asked for /healthz or /readyz since 2026-03-05T14:01:00Z"
		wrong = `something asks for "/he\x1blth", which does not exist (requests of that kind: 2)`
	)
	for name, test := range map[string]struct {
		paths []health.PathRequests
		now   time.Duration
		want  []string
	}{
		"just started":           {nil, 3*time.Minute - 1, nil},
		"nobody for 3 minutes":   {nil, 3 * time.Minute, []string{never}},
		"/livez says nothing":    {[]health.PathRequests{{Path: "/livez", Total: 9, Last: after(3 * time.Minute)}}, 3 * time.Minute, []string{never}},
		"the extension":          {[]health.PathRequests{{Path: "/healthz", Total: 9, Last: after(time.Hour)}}, time.Hour + time.Minute, nil},
		"only a load balancer":   {[]health.PathRequests{{Path: "/healthz"}, {Path: "/readyz", Total: 9, Last: after(time.Hour)}}, time.Hour + time.Minute, nil},
		"it has stopped":         {[]health.PathRequests{{Path: "/healthz", Total: 9, Last: after(time.Minute)}}, 4 * time.Minute, []string{quiet}},
		"a wrong path, nothing":  {[]health.PathRequests{{Path: "other", Total: 2, Last: after(4 * time.Minute)}}, 5 * time.Minute, []string{never, wrong}},
		"a wrong path, long ago": {[]health.PathRequests{{Path: "/readyz", Total: 2, Last: after(time.Hour)}, {Path: "other", Total: 2, Last: after(time.Minute)}}, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := probeWarnings(health.Requests{Paths: test.paths, NotFound: "/he\x1blth"}, start, after(test.now))
			require.Len(t, got, len(test.want), "%q", got)
			for i, want := range test.want {
				require.Contains(t, got[i], want)
			}
		})
	}
}

// TestProbesInStatus is what an operator sees of whoever probes a real listener;
// doctor asks and leaves no trace.
func TestProbesInStatus(t *testing.T) {
	conf := *config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0", Metrics: "127.0.0.1:0"}
	conf.IMDS.Endpoint = "http://127.0.0.1:1"
	d := startDaemon(t, conf, nil)
	ask := func(path, agent string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+*d.probeAddr.Load()+path, http.NoBody)
		require.NoError(t, err)
		req.Header.Set("User-Agent", agent)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	status := func() control.Probes { return (&controlOps{d.Agent}).Status().Probes }

	ask("/healthz", control.DoctorUserAgent)
	ask("/nothing", control.DoctorUserAgent)
	p := status()
	require.Nil(t, p.Last)
	require.Empty(t, p.NotFound)
	require.Equal(t, []control.ProbePath{{Path: "/healthz"}, {Path: "/readyz"}, {Path: "/livez"}, {Path: "other"}}, p.Paths)

	ask("/healthz", "ApplicationHealthExtension/1.0")
	ask("/healthz%3Fverbose", "ApplicationHealthExtension/1.0")
	p = status()
	require.NotNil(t, p.Last)
	require.Equal(t, "/healthz%3Fverbose", p.NotFound, "as it was asked for")
	require.EqualValues(t, 1, p.Paths[0].Requests)
	require.EqualValues(t, 1, p.Paths[3].Requests)
	require.Contains(t, d.scrape(), `fleet_agent_probe_requests_total{code="404",path="other"} 1`)
}

// TestUnprobedNode: the status of a node says so three minutes after its start.
func TestUnprobedNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		w.serving()
		require.Empty(t, w.status().Warnings)
		w.pass(unprobed)
		require.Len(t, w.status().Warnings, 1)
		require.Contains(t, w.status().Warnings[0], "nothing has asked")
		require.Equal(t, 200, w.code("/readyz"))
		require.Empty(t, w.status().Warnings)
		w.pass(unprobed)
		require.Len(t, w.status().Warnings, 1)
		w.restart()
		require.Empty(t, w.status().Warnings, "it counts from the start of the agent")
	})
}
