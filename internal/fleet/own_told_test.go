package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// What differs of create and is not written is shown as it stands in the file, and without
// the signatures of shared access.
func TestToldOfCreate(t *testing.T) {
	const pool = "/subscriptions/s/resourceGroups/rg-pay-prod/providers/Microsoft.Network/loadBalancers/LB/backendAddressPools/"
	for name, tt := range map[string]struct {
		pools    []fleet.ResourceID
		extra    map[string]any
		is, want any
	}{
		"pools, and none there": {pools: []fleet.ResourceID{pool + "web", pool + "API"}, want: pool + "API, " + pool + "web"},
		"shared access": {
			extra: map[string]any{"tags": fleet.Document{"script": "https://st.blob.core.windows.net/c/run.sh?sp=r&sig=secret"}},
			want:  "https://st.blob.core.windows.net/c/run.sh?sp=r&sig=REDACTED",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := settled(t, "vmss-batch")
			create := *c.set.Create
			create.Network.BackendPools, create.Extra = tt.pools, tt.extra
			c.set.Create = &create
			c.spec.ScaleSets["vmss-batch"] = c.set
			plan := fleet.PlanSet(c.spec, "vmss-batch", c.seen, c.options)
			require.Len(t, plan.Told, 1)
			require.Equal(t, tt.is, plan.Told[0].Is)
			require.Equal(t, tt.want, plan.Told[0].Want)
		})
	}
}
