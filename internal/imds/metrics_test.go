package imds_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMetrics holds the names, the labels and that every series exists before
// the first request.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	newClient(t, imds.Config{Registerer: registry})
	requireGolden(t, "metrics.prom", registry)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	_, err = imds.New(imds.Config{Registerer: registry})
	require.ErrorContains(t, err, "register imds metrics: ")
}

func TestMetricsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		client := newClient(t, imds.Config{Registerer: registry, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return answer(503, ""), nil
			}
			time.Sleep(100 * time.Millisecond)
			return answer(200, `{"compute":{"name":"web_0","vmId":"id"}}`), nil
		})})
		_, err := client.Get(t.Context(), eventsPath, version)
		require.NoError(t, err)
		last := time.Now()
		time.Sleep(time.Minute)
		_, err = client.Post(t.Context(), eventsPath, version, []byte(`{}`))
		require.Error(t, err)

		const want = `
# HELP fleet_agent_imds_last_success_timestamp_seconds Unix time of the last good answer from the instance metadata service; 0 before the first.
# TYPE fleet_agent_imds_last_success_timestamp_seconds gauge
fleet_agent_imds_last_success_timestamp_seconds 9.466848001e+08
`
		require.Equal(t, int64(946684800100), last.UnixMilli())
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(want), "fleet_agent_imds_last_success_timestamp_seconds"))
		require.Equal(t, map[string]float64{"poll ok": 1, "ack server-error": 1}, requests(t, registry))
	})
}

// requests returns the counters that are not zero.
func requests(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	counts := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "fleet_agent_imds_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if n := metric.GetCounter().GetValue(); n > 0 {
				counts[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = n
			}
		}
	}
	return counts
}

func requireGolden(t *testing.T, file string, registry *prometheus.Registry) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&b, family)
		require.NoError(t, err)
	}
	path := filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}
