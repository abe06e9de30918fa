package fleetfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict/stricttest"
)

// TestRoundTrip: what is written says the same when it is read.
func TestRoundTrip(t *testing.T) {
	contract := strings.ReplaceAll(testdata(t, "contract.yaml"), ", notify: ${ROLLOUT_WEBHOOK}", "")
	for name, text := range map[string]string{
		"contract":  contract,
		"example":   Example,
		"smallest":  head,
		"variables": head + "tags: {a: '$${x}', b: '${NUMBER}', c: '$', d: '{{x}}', e: '#', f: off, g: 'null'}",
		"zeros": head + "scale_sets: {vmss-a: {manage: observe, id: " + setID + "a, autoscale: {min: 0, max: 0, default: 0, in: {below: 0}}, " +
			"upgrade: {driver: platform-rolling, max_surge: false}, create: {capacity: 0, vm_size: Standard_D2as_v5, admin: a, ssh_key: /k, " +
			"network: {subnet: " + setID + "x/subnets/s}, extra: {a: [1, 1.5, 'x', ~, true, {b: []}]}}}}",
	} {
		t.Run(name, func(t *testing.T) {
			want := read(t, text)
			written, err := Write(want, Remarks{"": {"All."}, "scale_sets": {"The sets.", "Two lines."}, "scale_sets.vmss-a": {"One."}})
			require.NoError(t, err)
			got := read(t, string(written))
			want.Defaults = fleet.SetSpec{}
			require.Empty(t, cmp.Diff(want, got, cmpopts.EquateEmpty()), string(written))
			require.Empty(t, stricttest.Invalid(t, Schema(), string(written)))
			require.True(t, strings.HasPrefix(string(written), "# All.\n"), string(written))
		})
	}
}

func TestWriteHidesSecrets(t *testing.T) {
	text, err := Write(read(t, testdata(t, "contract.yaml")), nil)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hunter2")
	require.Contains(t, string(text), "notify: https://hooks.example/REDACTED")
}

// live is a fleet as it may be read, with what a file cannot say.
func live() *fleet.Fleet {
	const gallery = "/subscriptions/" + subscription + "/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galProd"
	const definition = gallery + "/images/ubuntu-app"
	image := fleet.ImageReference{ID: definition + "/versions/1.8.2"}
	health := func(version string, settings map[string]any) []fleet.Extension {
		return []fleet.Extension{{Publisher: fleet.HealthPublisher, Type: fleet.HealthTypeLinux, Version: version, Settings: settings}}
	}
	good := map[string]any{"protocol": "http", "port": 8080.0, "requestPath": "/healthz", "intervalInSeconds": 10.0, "numberOfProbes": 2.0, "gracePeriod": 600.0}
	set := func(name string, change func(*fleet.Set)) fleet.Set {
		s := fleet.Set{Model: fleet.ScaleSet{
			ID: fleet.ResourceID(setID + name), Location: "eastus", Flexible: true, Capacity: 3, VMSize: "Standard_D2as_v5", Image: image,
			Upgrade: fleet.UpgradePolicy{Mode: fleet.Manual},
		}}
		change(&s)
		return s
	}
	return &fleet.Fleet{
		At: time.Date(2026, 11, 27, 12, 30, 0, 0, time.UTC),
		Sets: []fleet.Set{
			set("vmss-authz", func(s *fleet.Set) {
				s.Model.Zones = []string{"1", "2", "3"}
				s.Model.Extensions = health("2.0", good)
				s.Model.Repairs = fleet.RepairsPolicy{Enabled: true, Grace: new(30 * time.Minute), Action: "Replace"}
				s.Model.TerminateNotice = &fleet.Notice{Enabled: true, NotBefore: 10 * time.Minute}
				s.Autoscale = &fleet.Autoscale{
					Enabled: true, Min: 3, Max: 30, Def: 3, Predictive: "ForecastOnly", LookAhead: 10 * time.Minute,
					Rules: []fleet.ScaleRule{
						{Metric: "Percentage CPU", Aggregation: "Average", Operator: "GreaterThan", Threshold: 70, Out: true, By: 2, Window: 5 * time.Minute, Cooldown: 5 * time.Minute},
						{Metric: "Percentage CPU", Aggregation: "Average", Operator: "LessThan", Threshold: 30, By: 1, Window: 10 * time.Minute, Cooldown: 10 * time.Minute},
					},
				}
			}),
			set("vmss-auto", func(s *fleet.Set) {
				s.Model.Location = "westus3"
				s.Model.Image.ID = definition
				s.Model.Extensions = health("1.0", good)
				s.Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, AutoOS: true, DisableRollback: new(false), Rolling: fleet.RollingPolicy{MaxBatch: new(50)}}
			}),
			set("vmss-batch", func(s *fleet.Set) {
				s.Model.Spot, s.Model.EvictionPolicy = true, "Deallocate"
				s.Model.PriorityMix = &fleet.PriorityMix{RegularBase: 3, RegularAboveBase: 50}
				s.Model.SpotRestore = &fleet.SpotRestore{Enabled: true, Timeout: time.Hour}
				s.Autoscale = &fleet.Autoscale{Min: 1, Max: 2, Def: 1}
			}),
			set("vmss-odd", func(s *fleet.Set) {
				s.Model.Image = fleet.ImageReference{ID: definition}
				s.Model.Upgrade.Mode = fleet.Automatic
				s.Model.Extensions = health("2.0", map[string]any{"protocol": "http", "port": "8080", "intervalInSeconds": 2.0})
				s.Model.Repairs = fleet.RepairsPolicy{Enabled: true, Grace: new(2 * time.Hour)}
				s.Model.TerminateNotice = &fleet.Notice{Enabled: true, NotBefore: time.Hour}
				s.Autoscale = &fleet.Autoscale{Enabled: true, Min: 5, Max: 3}
			}),
			set("vmss-spot-notice", func(s *fleet.Set) {
				s.Model.Image = fleet.ImageReference{Offer: "0001-com-ubuntu-server-jammy"}
				s.Model.Spot, s.Model.EvictionPolicy = true, "Delete"
				s.Model.TerminateNotice = &fleet.Notice{Enabled: true}
				s.Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, Rolling: fleet.RollingPolicy{MaxBatch: new(3)}}
				s.Model.Extensions = append(health("2.0", good), health("1.0", good)...)
				s.Autoscale = &fleet.Autoscale{Enabled: true, Max: 3, Rules: []fleet.ScaleRule{{Aggregation: "Maximum", Out: true}}}
			}),
			set("vmss-tenth", func(s *fleet.Set) {
				s.Autoscale = &fleet.Autoscale{Enabled: true, Min: 1, Max: 3, Def: 1, Rules: []fleet.ScaleRule{
					{Metric: "Percentage CPU", Aggregation: "Average", Operator: "GreaterThan", Threshold: 70, Out: true, By: 10, Window: 5 * time.Minute, Cooldown: 5 * time.Minute, Odd: "acts by PercentChangeCount"},
				}}
			}),
			set("vmss-uniform", func(s *fleet.Set) { s.Model.Flexible = false }),
		},
		Galleries: []fleet.Gallery{{ID: gallery, Definitions: []fleet.Definition{{
			ID: definition, Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy",
			Versions: []fleet.Version{
				{Name: "1.8.1", Published: time.Unix(1, 0), Storage: "Standard_LRS", Regions: []fleet.Region{{Name: "eastus", Replicas: 9}}},
				{Name: "1.8.2", Published: time.Unix(2, 0), Storage: "Standard_ZRS", Regions: []fleet.Region{
					{Name: "eastus", Replicas: 3}, {Name: "northeurope", Replicas: 3}, {Name: "westus3", Replicas: 2},
				}},
			},
		}}}},
	}
}

// TestDescribe: testdata/described.yaml is what is said of a fleet, and it loads.
func TestDescribe(t *testing.T) {
	text, err := Describe(live(), subscription, "rg-pay-prod")
	require.NoError(t, err)
	golden := filepath.Join("testdata", "described.yaml")
	if *update {
		require.NoError(t, os.WriteFile(golden, text, 0o600))
	}
	require.Equal(t, testdata(t, "described.yaml"), string(text))

	s := read(t, string(text))
	require.Len(t, s.ScaleSets, 6)
	require.Nil(t, s.ScaleSets["vmss-tenth"].Autoscale)
	for name, set := range s.ScaleSets {
		require.Equal(t, fleet.ManageObserve, set.Manage, name)
	}
	require.Empty(t, fleet.Declared(s), "what is only looked at is not declared")
	require.Equal(t, "eastus", s.Location)
	require.Equal(t, map[string]int{"northeurope": 3, "westus3": 2}, s.Gallery.Regions)
	require.Equal(t, 10*time.Minute, s.ScaleSets["vmss-authz"].Health.Grace)
	require.Equal(t, fleet.DriverPlatformAutoOS, s.ScaleSets["vmss-auto"].Upgrade.Driver)
}

func TestDescribeOdd(t *testing.T) {
	_, err := Describe(&fleet.Fleet{}, subscription, "rg-pay-prod")
	require.EqualError(t, err, "there is no scale set in the resource group rg-pay-prod")

	f := live()
	f.Galleries = nil
	text, err := Describe(f, subscription, "rg(pay).prod-")
	require.NoError(t, err)
	require.Contains(t, string(text), "# gallery is left out: ubuntu-app could not be read.\n")
	require.Equal(t, "rg-pay-.prod", read(t, string(text)).Name)

	_, err = Describe(live(), "no subscription", "rg-pay-prod")
	require.ErrorContains(t, err, "describe the fleet: ")
	require.ErrorContains(t, err, "is not the id of a subscription")
}
