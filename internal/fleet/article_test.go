package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The fleet of the article that the project answers to, with its settings as they are
// printed there, as Azure would show it: vmss-app after section 6, vmss-batch after
// section 7, vmss-authz with the extension of the enterprise scenario, and the image
// template of section 2.
func articleFleet(t *testing.T) *Fleet {
	t.Helper()
	const group = "/subscriptions/" + testSubscription + "/resourceGroups/rg-vmss-prod"
	const compute = group + "/providers/Microsoft.Compute/"
	const definition = compute + "galleries/galProd/images/ubuntu-app"
	ubuntu := ImageReference{Publisher: "Canonical", Offer: "0001-com-ubuntu-server-jammy", SKU: "22_04-lts-gen2", Version: "latest"}
	health := func(settings map[string]any) []Extension {
		return []Extension{{Name: "ApplicationHealthLinux", Publisher: HealthPublisher, Type: HealthTypeLinux, Version: "2.0", Settings: settings}}
	}
	members := func(set string, n int, each func(int, *Member)) []Member {
		list := make([]Member, n)
		for i := range list {
			list[i] = Member{Name: fmt.Sprintf("%s_%d", set, i), Power: Running, LatestModel: new(true), Extensions: map[string]string{HealthTypeLinux: "2.0.29"}}
			each(i, &list[i])
		}
		return list
	}
	rolling := RollingPolicy{
		MaxBatch: new(20), MaxUnhealthy: new(20), MaxUnhealthyUpgraded: new(20),
		PrioritizeUnhealthy: new(true), Pause: new(2 * time.Minute),
	}

	app := Set{
		Model: ScaleSet{
			ID: compute + "virtualMachineScaleSets/vmss-app", Location: "eastus", Zones: []string{"1", "2", "3"}, Flexible: true,
			FaultDomains: 1, SinglePlacement: new(false), Capacity: 3, VMSize: "Standard_D2as_v5", Image: ubuntu,
			Extensions: health(map[string]any{
				"protocol": "http", "port": 8080.0, "requestPath": "/healthz",
				"intervalInSeconds": 5.0, "numberOfProbes": 1.0, "gracePeriod": 600.0,
			}),
			Upgrade: UpgradePolicy{Mode: Rolling, AutoOS: true, Rolling: rolling},
			Repairs: RepairsPolicy{Enabled: true, Grace: new(30 * time.Minute)},
		},
		// nginx answers 200 with a page.
		Members: members("vmss-app", 3, func(i int, m *Member) {
			m.Health = HealthUnknown
			if i == 2 { // az vmss update --instance-id 3 --protect-from-scale-in true
				m.ProtectScaleIn, m.LatestModel = true, new(false)
			}
		}),
		Autoscale: &Autoscale{
			Enabled: true, Min: 3, Max: 30, Def: 3, Predictive: "ForecastOnly",
			Rules: []ScaleRule{
				{Metric: "Percentage CPU", Aggregation: "Average", Operator: "GreaterThan", Threshold: 70, Out: true, By: 2},
				{Metric: "Percentage CPU", Aggregation: "Average", Operator: "LessThan", Threshold: 30, By: 1},
			},
		},
	}
	batch := Set{
		Model: ScaleSet{
			ID: compute + "virtualMachineScaleSets/vmss-batch", Location: "eastus", Flexible: true, FaultDomains: 1,
			SinglePlacement: new(false), Capacity: 10, VMSize: "Standard_D4as_v5", Image: ubuntu, Upgrade: UpgradePolicy{Mode: Manual},
			Spot: true, EvictionPolicy: "Deallocate", PriorityMix: &PriorityMix{RegularBase: 3, RegularAboveBase: 50},
		},
		Members: members("vmss-batch", 10, func(i int, m *Member) {
			m.Health, m.Spot = HealthMissing, i >= 6
			if i == 9 { // the instance that "can return"
				m.Power = Deallocated
			}
		}),
	}
	authz := Set{Model: ScaleSet{
		ID: compute + "virtualMachineScaleSets/vmss-authz", Location: "eastus", Flexible: true, FaultDomains: 1, Capacity: 9,
		Image: ImageReference{ID: definition}, Upgrade: UpgradePolicy{Mode: Rolling, Rolling: rolling},
		Extensions: health(map[string]any{
			"protocol": "https", "port": 8443.0, "requestPath": "/ready", "intervalInSeconds": 5.0, "gracePeriod": 900.0,
		}),
	}}
	authz.Members = members("vmss-authz", 9, func(i int, m *Member) {
		m.Health, m.Image = Initializing, ImageReference{ID: definition, ExactVersion: "1.7.1"}
		if i == 0 {
			m.Image.ExactVersion = "1.7.0" // demoted, and still there
		}
	})

	text, err := os.ReadFile("testdata/article/aib-ubuntu-app.json")
	require.NoError(t, err)
	var body struct {
		Location   string
		Properties map[string]any
	}
	text = bytes.ReplaceAll(text, []byte("<sub>"), []byte(testSubscription))
	require.NoError(t, json.Unmarshal(text, &body))

	version := func(name string, excluded bool, west string) Version {
		return Version{
			ID: ResourceID(definition + "/versions/" + name), Name: name, Provisioning: Succeeded, Mode: "Full", Storage: "Standard_ZRS", Excluded: excluded,
			// The article's query shows that both are target regions.
			Regions: []Region{{Name: "eastus", Replicas: 3, State: Replicated}, {Name: "westus3", Replicas: 2, State: west}},
		}
	}
	return &Fleet{
		At: testNow, Sets: []Set{app, batch, authz},
		Galleries: []Gallery{{ID: compute + "galleries/galProd", Location: "eastus", Definitions: []Definition{{
			ID: definition, Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy", HyperV: "V2", Security: "TrustedLaunchSupported",
			Versions: []Version{version("1.7.0", true, Replicated), version("1.7.1", false, ReplicationFailed)},
		}}}},
		Templates: []Template{{
			ID: group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/aib-ubuntu-app", Location: body.Location,
			Provisioning: Succeeded, RunState: "Succeeded", Properties: body.Properties,
		}},
	}
}

// TestArticle: everything that is wrong with the article's settings and that can be
// seen from outside is named, on the resource that has it, and nothing else is.
func TestArticle(t *testing.T) {
	var got []string
	for _, f := range Preflight(Evidence{Now: testNow, Live: articleFleet(t)}) {
		got = append(got, fmt.Sprintf("%s: %s %s", f.Resource.Name, f.Severity, f.ID))
	}
	slices.Sort(got)
	require.Equal(t, []string{
		"aib-ubuntu-app: error bake-not-excluded", // an untested image is the latest at once
		"aib-ubuntu-app: error inline-pipefail",   // set -euo pipefail under dash
		"aib-ubuntu-app: warning and-list",        // apt-get update && …
		"aib-ubuntu-app: warning quoted-substitution",
		"aib-ubuntu-app: warning unchecked-download", // scriptUri without sha256Checksum

		"ubuntu-app 1.7.1: warning not-replicated", // the target regions say nothing of it

		"vmss-app: error health-without-json", // version 2 and an endpoint that returns 200
		"vmss-app: note auto-os-flexible",     // in preview, or not there at all
		"vmss-app: warning auto-os-own-policy",
		"vmss-app: warning health-grace",           // 600 s, and the platform waits for 300
		"vmss-app: warning marketplace-to-gallery", // Ubuntu2204, never the golden image
		"vmss-app: warning protection-flags",
		"vmss-app: warning protection-model", // the CLI writes all of the member's model
		"vmss-app: warning small-set",        // 20 % of three
		"vmss-app: warning unversioned-image",

		"vmss-authz: note no-rollback",            // "restored their previous OS disks"
		"vmss-authz: warning demoted-running",     // the kill switch takes nothing back
		"vmss-authz: warning health-without-json", // /ready, which returns 200
		"vmss-authz: warning pending-image",       // and the next push takes it along
		"vmss-authz: warning unversioned-image",   // "omit the version segment"

		"vmss-batch: warning deallocated-capacity", // "keeps the disk so the instance can return"
		"vmss-batch: warning health-sources",
		"vmss-batch: warning marketplace-to-gallery",
		"vmss-batch: warning spot-eviction",
		"vmss-batch: warning unversioned-image",
	}, got)
}

// TestArticleDeclared: what the article warns of or recommends against itself, as a
// file would have it.
func TestArticleDeclared(t *testing.T) {
	e := setDeclared("vmss-authz", func(s *SetSpec) {
		// "2-3 (fixed spreading)" with --zones 1 2 3.
		s.Create = &CreateSpec{Capacity: 3, Zones: []int{1, 2, 3}, FaultDomains: 3}
		// "MaxSurge cannot be combined with automatic OS upgrade on Flex".
		s.Upgrade = UpgradeSpec{Driver: DriverPlatformAutoOS, MaxUnhealthy: 20, MaxUnhealthyUpgraded: 20, MaxSurge: new(true)}
		s.Tracks = TracksLatest
		s.Health = &HealthSpec{Extension: "2.0", Protocol: "https", Port: 8443, Path: "/ready", Interval: 5 * time.Second, Probes: 1, Grace: 15 * time.Minute}
	})
	var got []string
	for _, f := range Preflight(e) {
		got = append(got, f.ID)
	}
	require.ElementsMatch(t, []string{
		"zonal-fault-domains", "surge-auto-os", "surge-room", "small-set", "health-without-json", "health-grace", "auto-os-flexible",
	}, got)
}
