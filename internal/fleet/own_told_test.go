package fleet_test

import (
	"maps"
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

// A set that is in zones cannot leave them: a file whose create has none does not say what it is.
func TestToldOfZones(t *testing.T) {
	for name, tt := range map[string]struct {
		zones []int
		extra map[string]any
		there any
		want  []string
	}{
		"none in the file": {there: []any{"1", "2"}, want: []string{"create-only zones [1 2]><nil>"}},
		"none at all":      {want: []string{}},
		"an empty list":    {there: []any{}, want: []string{}},
		"raw":              {extra: map[string]any{"zones": []any{"1", "2"}}, there: []any{"1", "2"}, want: []string{}},
		"the same":         {zones: []int{1, 2}, there: []any{"1", "2"}, want: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := settled(t, "vmss-batch")
			create := *c.set.Create
			create.Zones, create.Extra = tt.zones, tt.extra
			c.set.Create, c.body["zones"] = &create, tt.there
			c.spec.ScaleSets["vmss-batch"] = c.set
			plan := fleet.PlanSet(c.spec, "vmss-batch", c.seen, c.options)
			require.Equal(t, tt.want, shown(&plan))
		})
	}
}

// Lists in lists, and lists of several kinds, are compared by what is in them.
func TestToldOfLists(t *testing.T) {
	there := map[string]any{"futureThing": []any{1.0, fleet.Document{"b": 2.0, "c": nil}, []any{"x", []any{}}}, "other": []any{[]any{1.0}, true}}
	for name, tt := range map[string]struct {
		extra map[string]any
		told  int
	}{
		"the same":           {extra: there},
		"less of an object":  {extra: map[string]any{"futureThing": []any{1.0, fleet.Document{"b": 2.0}, []any{"x", []any{}}}}},
		"deep below":         {extra: map[string]any{"futureThing": []any{1.0, fleet.Document{"b": 2.0}, []any{"y", []any{}}}}, told: 1},
		"more of an object":  {extra: map[string]any{"futureThing": []any{1.0, fleet.Document{"b": 2.0, "d": 1.0}, []any{"x", []any{}}}}, told: 1},
		"one more in a list": {extra: map[string]any{"other": []any{[]any{1.0, 2.0}, true}}, told: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := settled(t, "vmss-batch")
			maps.Copy(c.at("properties"), there)
			create := *c.set.Create
			create.Extra = map[string]any{"properties": tt.extra}
			c.set.Create = &create
			c.spec.ScaleSets["vmss-batch"] = c.set
			plan := fleet.PlanSet(c.spec, "vmss-batch", c.seen, c.options)
			require.Len(t, plan.Told, tt.told)
		})
	}
}
