package scheduledevents

import (
	"flag"
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
// the first poll.
func TestMetrics(t *testing.T) {
	client, err := imds.New(imds.Config{})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	_, err = New(Config{Client: client, Registerer: registry})
	require.NoError(t, err)
	families, err := registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&b, family)
		require.NoError(t, err)
	}
	golden := filepath.Join("testdata", "metrics.prom")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestMetricsCount holds that the events are counted, that unknown words share
// a series, and that a gauge goes back when its events are over.
func TestMetricsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		odd := event("c", "Advised")
		odd.Type = "SpotRebalance"
		odder := event("d", "Completed")
		odder.Type = "Hibernate"
		s.publish(event("a", Scheduled), event("b", Scheduled), odd, odder)
		w := start(t, s, nil)
		require.Equal(t, map[string]float64{"Scheduled Reboot": 2, "other other": 2}, counts(t, w.registry, "fleet_agent_scheduled_events"))
		s.publish(event("a", Started))
		w.sleep(time.Second)
		require.Equal(t, map[string]float64{"Started Reboot": 1}, counts(t, w.registry, "fleet_agent_scheduled_events"))
		require.Equal(t, 18, testutil.CollectAndCount(w.metrics.events), "the set of series is bounded")
		s.set(fixed(200, "{}"))
		w.sleep(2 * time.Second)
		require.Equal(t, map[string]float64{"Started Reboot": 1}, counts(t, w.registry, "fleet_agent_scheduled_events"))
		require.Equal(t, map[string]float64{"ok": 2, "invalid": 2}, counts(t, w.registry, "fleet_agent_scheduled_events_polls_total"))
		require.InDelta(t, float64(w.Status().LastSuccess.Unix()), gauge(t, w.registry, "fleet_agent_scheduled_events_last_success_timestamp_seconds"), 1)
	})
}

// counts returns the series of a counter or gauge that are not zero, by their
// labels' values.
func counts(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			if n := metric.GetCounter().GetValue() + metric.GetGauge().GetValue(); n != 0 {
				all[strings.Join(labels, " ")] = n
			}
		}
		return all
	}
	t.Fatalf("no metric %s", name)
	return nil
}

// gauge returns the value of a gauge without labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	return counts(t, registry, name)[""]
}
