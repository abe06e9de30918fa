package drain

import (
	"context"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files")

func exposition(t *testing.T, p *process) string {
	t.Helper()
	families, err := p.registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&b, f)
		require.NoError(t, err)
	}
	return b.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			return []StepConfig{
				p.taking("a", 2*second),
				{Name: "b", Kind: "own", Step: stepFunc{run: func(context.Context) error { return errStep }}},
			}
		})
		fresh := exposition(t, p)
		var drain sync.WaitGroup
		drain.Go(func() {
			_, err := p.runner.Drain(p.ctx, request(time.Minute))
			require.NoError(t, err)
		})
		time.Sleep(second)
		running := exposition(t, p)
		require.Contains(t, running, "fleet_agent_drain_in_progress 1\n")
		require.Contains(t, running, "fleet_agent_drain_deadline_timestamp_seconds 9.46684858e+08\n") // a bubble's clock begins in 2000
		drain.Wait()
		text := exposition(t, p)
		require.Equal(t, strings.Count(fresh, "\n"), strings.Count(text, "\n"), "every series exists from the start")
		const golden = "testdata/metrics.golden"
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(text), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), text)
		problems, err := testutil.GatherAndLint(p.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}
