package azure_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// TestReadsAreJudged reads the simulator's scenarios whole, in pages of 1 and of 50, and
// holds every answer on the way to the types that Azure publishes: what the client is
// tested with is what Azure could have said.
func TestReadsAreJudged(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	for _, tt := range []struct {
		scenario, group string
		pageSize        int
		requests        int // at least
	}{
		{"article", "rg-pay-prod", 1, 20},
		{"article", "rg-pay-prod", 50, 10},
		{"traps", "rg-pay-prod", 1, 20},
		{"traps", "rg-pay-prod", 50, 10},
		{"thousand", "rg-pay-prod", 50, 40},
	} {
		scenario, err := arm.Example(tt.scenario)
		require.NoError(t, err)
		server, err := arm.New(arm.Config{
			Subscription: scenario.Subscription(), Clock: arm.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), 0),
			PageSize: tt.pageSize, Unthrottled: true,
		})
		require.NoError(t, err)
		require.NoError(t, server.Apply(scenario))
		proxy := judgeproxy.New(judgeproxy.Config{Next: server, Types: types})
		endpoint := httptest.NewServer(proxy)
		defer endpoint.Close()

		client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
			if name == azure.EndpointVariable {
				return endpoint.URL
			}
			return ""
		}})
		require.NoError(t, err)
		read, err := client.Fleet(t.Context(), azure.Scope{
			Subscription: arm.DefaultSubscription, ResourceGroup: tt.group,
			Members: true, Upgrades: true, History: true, Autoscale: true, Images: true, Templates: true, Providers: true,
		})
		require.NoError(t, err, tt.scenario)
		require.NotEmpty(t, read.Sets)
		report := proxy.Report()
		armed := 0
		for _, f := range report.Findings {
			if tt.scenario == "traps" && f.Kind == armtypes.Case && strings.HasSuffix(f.Path, ".scaleMode") {
				armed++ // that is one of the traps
				continue
			}
			t.Errorf("%s: %s", tt.scenario, f)
		}
		require.Equal(t, tt.scenario == "traps", armed > 0)
		require.GreaterOrEqual(t, report.Requests, tt.requests)
		t.Logf("%s in pages of %d: %v", tt.scenario, tt.pageSize, report)
	}
}
