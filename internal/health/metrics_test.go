package health

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

// exposition renders what a scrape of the monitor alone gives.
func exposition(t *testing.T, m *Monitor) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&b, f)
		require.NoError(t, err)
	}
	return b.String()
}

func TestMetricsGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &target{takes: 250 * time.Millisecond}
		checks := []Check{check("dns", dns), check("hsm", &target{}, "dns")}
		m, err := New(Config{Checks: checks})
		require.NoError(t, err)
		golden(t, "metrics-start.txt", exposition(t, m))

		n := launch(t, Config{Checks: checks})
		after(11 * time.Second)
		dns.set(errDown)
		after(10 * time.Second)
		n.SetDraining(true)
		golden(t, "metrics.txt", exposition(t, n.Monitor))

		problems, err := testutil.CollectAndLint(n.Monitor)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

func TestMetricsAfterReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := launch(t, Config{Checks: []Check{check("gone", &target{}), check("changed", &target{})}})
		after(61 * time.Second)
		other := check("changed", &target{takes: forever})
		other.Fingerprint = "2"
		require.NoError(t, n.Apply(Config{Checks: []Check{other}}))
		text := exposition(t, n.Monitor)
		require.NotContains(t, text, "gone", "no stale series")
		require.Contains(t, text, `fleet_agent_check_runs_total{check="changed",result="pass"} 13`, "counters never fall back")
		require.Contains(t, text, `fleet_agent_check_status{check="changed",status="unknown"} 1`)
	})
}
