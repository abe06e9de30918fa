package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeclared(t *testing.T) {
	yes, no := true, false
	spec := &Spec{
		Subscription: "s", ResourceGroup: "rg-pay-prod", Tags: map[string]string{"owner": "payments", "tier": "web"},
		Gallery: &GallerySpec{Name: "galProd", Image: DefinitionSpec{Name: "ubuntu-app"}},
		ScaleSets: map[string]SetSpec{
			"vmss-authz": {
				Manage: ManageFull, Tracks: TracksPinned, Location: "eastus", Tags: map[string]string{"tier": "authz"},
				Create: &CreateSpec{
					Capacity: 3, VMSize: "Standard_D2as_v5", Zones: []int{1, 3}, FaultDomains: 1, Network: NetworkSpec{Subnet: "subnet"},
				},
				Health:              &HealthSpec{Extension: "2.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 2, Grace: 5 * time.Minute},
				Upgrade:             UpgradeSpec{Driver: DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute},
				Repairs:             &RepairsSpec{After: 30 * time.Minute, Action: "replace"},
				TerminateNotice:     5 * time.Minute,
				OSImageNotification: true,
				Autoscale: &AutoscaleSpec{
					Min: 3, Max: 30, Default: 4,
					Out:        &ScaleOutSpec{Metric: "Percentage CPU", Above: 70, Over: 5 * time.Minute, By: 2, Cooldown: time.Minute},
					In:         &ScaleInSpec{Metric: "Percentage CPU", Below: 30, Over: 10 * time.Minute, By: 1, Cooldown: time.Hour},
					Predictive: &PredictiveSpec{Mode: "forecast-only", LookAhead: 15 * time.Minute},
				},
			},
			"vmss-batch": {
				Manage: ManageFull, Tracks: TracksLatest, Location: "westus3",
				Create: &CreateSpec{FaultDomains: 1, Extra: map[string]any{
					"identity": map[string]any{"type": "SystemAssigned, UserAssigned"},
					"properties": map[string]any{
						"singlePlacementGroup": true,
						"virtualMachineProfile": map[string]any{
							"storageProfile": map[string]any{"osDisk": map[string]any{"deleteOption": "Detach"}},
							"osProfile":      "not a map",
						},
					},
				}},
				Health:  &HealthSpec{Extension: "1.0", Protocol: "tcp", Interval: 5 * time.Second, Probes: 1},
				Upgrade: UpgradeSpec{Driver: DriverPlatformAutoOS, Batch: 10, AutoOSRollback: &no},
				Spot:    &SpotSpec{RegularBase: 3, RegularAboveBase: 50, Eviction: "deallocate", Restore: time.Hour},
			},
			"vmss-legacy":  {Manage: ManageImage, ID: "x"},
			"vmss-look":    {Manage: ManageObserve, ID: "y"},
			"vmss-rolling": {Manage: ManageFull, Create: &CreateSpec{}, Upgrade: UpgradeSpec{Driver: DriverPlatformRolling, MaxSurge: &yes}},
		},
	}
	sets := Declared(spec)
	require.Len(t, sets, 3, "only what is ours is declared")

	number := func(n int) *int { return &n }
	duration := func(d time.Duration) *time.Duration { return &d }
	require.Equal(t, Set{
		Model: ScaleSet{
			ID:       "/subscriptions/s/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz",
			Location: "eastus", Zones: []string{"1", "3"}, Tags: map[string]string{"owner": "payments", "tier": "authz"},
			Flexible: true, FaultDomains: 1, Capacity: 3, VMSize: "Standard_D2as_v5", OSDiskDelete: "Delete", SubnetID: "subnet",
			Extensions: []Extension{{
				Name: "ApplicationHealthLinux", Publisher: "Microsoft.ManagedServices", Type: "ApplicationHealthLinux", Version: "2.0", AutoUpgrade: &yes,
				Settings: map[string]any{
					"protocol": "http", "port": 8080.0, "requestPath": "/healthz", "intervalInSeconds": 5.0, "numberOfProbes": 2.0, "gracePeriod": 300.0,
				},
			}},
			Upgrade: UpgradePolicy{Mode: Manual, Rolling: RollingPolicy{
				MaxBatch: number(20), MaxUnhealthy: number(35), MaxUnhealthyUpgraded: number(0), Pause: duration(2 * time.Minute),
			}},
			Repairs:         RepairsPolicy{Enabled: true, Grace: duration(30 * time.Minute), Action: "Replace"},
			TerminateNotice: &Notice{Enabled: true, NotBefore: 5 * time.Minute},
			OSImageNotice:   &Notice{Enabled: true, NotBefore: 15 * time.Minute},
		},
		Autoscale: &Autoscale{
			Enabled: true, Min: 3, Max: 30, Def: 4, Predictive: "ForecastOnly", LookAhead: 15 * time.Minute,
			Rules: []ScaleRule{
				{Metric: "Percentage CPU", Aggregation: "Average", Operator: "GreaterThan", Threshold: 70, Out: true, By: 2, Window: 5 * time.Minute, Cooldown: time.Minute},
				{Metric: "Percentage CPU", Aggregation: "Average", Operator: "LessThan", Threshold: 30, By: 1, Window: 10 * time.Minute, Cooldown: time.Hour},
			},
		},
	}, sets[0])

	batch := sets[1].Model
	require.Equal(t, "/subscriptions/s/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app", batch.Image.ID)
	require.True(t, batch.Upgrade.AutoOS)
	require.Equal(t, Manual, batch.Upgrade.Mode)
	require.True(t, *batch.Upgrade.DisableRollback)
	require.True(t, batch.Spot)
	require.Equal(t, "Deallocate", batch.EvictionPolicy)
	require.Equal(t, &PriorityMix{RegularBase: 3, RegularAboveBase: 50}, batch.PriorityMix)
	require.Equal(t, &SpotRestore{Enabled: true, Timeout: time.Hour}, batch.SpotRestore)
	require.True(t, batch.SystemIdentity)
	require.True(t, *batch.SinglePlacement)
	require.Equal(t, "Detach", batch.OSDiskDelete)
	require.Nil(t, sets[1].Autoscale)
	require.Nil(t, batch.TerminateNotice)
	require.False(t, batch.Repairs.Enabled)
	require.Equal(t, map[string]string{"owner": "payments", "tier": "web"}, batch.Tags)
	require.Equal(t, "payments", spec.Tags["owner"])

	require.Equal(t, Rolling, sets[2].Model.Upgrade.Mode)
	require.True(t, *sets[2].Model.Upgrade.Rolling.MaxSurge)
	require.Empty(t, sets[2].Model.Extensions)
}

func TestPercentOf(t *testing.T) {
	for _, row := range []struct{ percent, of, is int }{{20, 3, 1}, {20, 10, 2}, {20, 0, 0}, {35, 3, 1}, {100, 3, 3}, {0, 5, 1}, {50, 3, 1}, {5, 1000, 50}} {
		require.Equal(t, row.is, Percent(row.percent).Of(row.of), row)
	}
}
