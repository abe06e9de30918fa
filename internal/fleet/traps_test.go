package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testNow = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

const (
	testSubscription = "11111111-1111-1111-1111-111111111111"
	testGroup        = "/subscriptions/" + testSubscription + "/resourceGroups/rg-pay-prod"
	testCompute      = testGroup + "/providers/Microsoft.Compute/"
	testDefinition   = testCompute + "galleries/galProd/images/ubuntu-app"
)

// cleanSet is a live scale set in which no trap is armed.
func cleanSet(name string) Set {
	set := Set{Model: ScaleSet{
		ID: ResourceID(testCompute + "virtualMachineScaleSets/" + name), Location: "eastus",
		Provisioning: Succeeded, Flexible: true, FaultDomains: 1, Zones: []string{"1", "2", "3"}, Capacity: 6,
		VMSize: "Standard_D2as_v5", OSDiskDelete: "Delete",
		Image: ImageReference{ID: testDefinition + "/versions/1.7.1"},
		Extensions: []Extension{{
			Name: "health", Publisher: HealthPublisher, Type: HealthTypeLinux, Version: "2.0",
			Settings: map[string]any{"protocol": "http", "port": 8080.0, "requestPath": "/healthz", "intervalInSeconds": 5.0, "numberOfProbes": 2.0, "gracePeriod": 300.0},
		}},
		Upgrade: UpgradePolicy{Mode: Manual},
		Repairs: RepairsPolicy{Enabled: true, Grace: new(30 * time.Minute), Action: "Replace"},
	}}
	for i := range set.Model.Capacity {
		set.Members = append(set.Members, Member{
			Name: fmt.Sprintf("%s_%d", name, i), Power: Running, Health: Healthy, LatestModel: new(true),
			Image:      ImageReference{ID: testDefinition + "/versions/1.7.1", ExactVersion: "1.7.1"},
			Extensions: map[string]string{HealthTypeLinux: "2.0.29"},
		})
	}
	return set
}

// cleanFleet is a fleet in which no trap is armed: one scale set, and a definition
// with a good version and a newer one on its way.
func cleanFleet() *Fleet {
	version := func(name string, excluded bool) Version {
		return Version{
			ID: ResourceID(testDefinition + "/versions/" + name), Name: name, Provisioning: Succeeded, Mode: "Full",
			Storage: "Standard_ZRS", Excluded: excluded, EndOfLife: testNow.AddDate(0, 6, 0),
			Regions: []Region{{Name: "eastus", Replicas: 3, State: Replicated}, {Name: "westus3", Replicas: 2, State: Replicated}},
		}
	}
	return &Fleet{
		At:   testNow,
		Sets: []Set{cleanSet("vmss-authz")},
		Galleries: []Gallery{{ID: ResourceID(testCompute + "galleries/galProd"), Location: "eastus", Definitions: []Definition{{
			ID: testDefinition, Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy", OS: "Linux", HyperV: "V2",
			Security: "TrustedLaunchSupported", Versions: []Version{version("1.7.1", false), version("1.8.0", true)},
		}}}},
		Templates: []Template{cleanTemplate()},
		Providers: map[string]string{
			"microsoft.virtualmachineimages": "Registered", "microsoft.keyvault": "Registered", "microsoft.compute": "Registered",
			"microsoft.storage": "Registered", "microsoft.network": "Registered", "microsoft.containerinstance": "Registered",
		},
	}
}

func cleanTemplate() Template {
	return Template{
		ID:       ResourceID(testGroup + "/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.8.0"),
		Location: "eastus", Provisioning: Succeeded, RunState: "Succeeded",
		Properties: map[string]any{
			"buildTimeoutInMinutes": 60.0,
			"source":                map[string]any{"type": "PlatformImage", "publisher": "Canonical"},
			"customize": []any{
				map[string]any{"type": "File", "name": "agent", "sourceUri": "https://stbuild.blob.core.windows.net/a.deb", "sha256Checksum": "9f2c", "destination": "/tmp/fleet-agent.deb"},
				map[string]any{"type": "Shell", "name": "install", "inline": []any{"set -eu", `echo "baked $(date)"`}},
			},
			"distribute": []any{map[string]any{"type": "SharedImage", "galleryImageId": testDefinition, "excludeFromLatest": true}},
		},
	}
}

// cleanSpec is the example of the documentation, as it is loaded.
func cleanSpec() *Spec {
	defaults := SetSpec{
		Manage: ManageFull, Tracks: TracksPinned, Location: "eastus",
		Health:  &HealthSpec{Extension: "2.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 2, Grace: 5 * time.Minute},
		Upgrade: UpgradeSpec{Driver: DriverBatches, Batch: 20, MaxUnhealthy: 35, MaxUnhealthyUpgraded: 0, Pause: 2 * time.Minute, Order: "zone"},
		Repairs: &RepairsSpec{After: 30 * time.Minute, Action: "replace"}, TerminateNotice: 5 * time.Minute,
	}
	authz := defaults
	authz.Create = &CreateSpec{Capacity: 3, VMSize: "Standard_D2as_v5", Zones: []int{1, 2, 3}, FaultDomains: 1}
	authz.Autoscale = &AutoscaleSpec{
		Min: 3, Max: 30, Default: 3,
		Out:        &ScaleOutSpec{Metric: "Percentage CPU", Above: 70, Over: 5 * time.Minute, By: 2, Cooldown: 5 * time.Minute},
		In:         &ScaleInSpec{Metric: "Percentage CPU", Below: 30, Over: 10 * time.Minute, By: 1, Cooldown: 10 * time.Minute},
		Predictive: &PredictiveSpec{Mode: "forecast-only", LookAhead: 15 * time.Minute},
	}
	west := defaults
	west.Location = "westus3"
	west.Create = &CreateSpec{Capacity: 3, VMSize: "Standard_D2as_v5", Zones: []int{1, 2, 3}, FaultDomains: 1}
	batch := defaults
	batch.Create = &CreateSpec{Capacity: 10, VMSize: "Standard_D4as_v5", FaultDomains: 1}
	batch.Spot = &SpotSpec{RegularBase: 3, RegularAboveBase: 50, Eviction: "deallocate", Restore: time.Hour}
	batch.TerminateNotice = 0
	legacy := defaults
	legacy.Manage = ManageImage
	legacy.ID = testCompute + "virtualMachineScaleSets/vmss-legacy"
	return &Spec{
		Version: 1, Name: "pay", Subscription: testSubscription, ResourceGroup: "rg-pay-prod", Location: "eastus",
		Gallery: &GallerySpec{
			Name: "galProd", Manage: ManageFull, Image: DefinitionSpec{Name: "ubuntu-app", Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy"},
			Storage: "Standard_ZRS", Replicas: 3, Regions: map[string]int{"westus3": 2}, Replicate: ReplicateAtBake, EndOfLife: 180 * 24 * time.Hour,
		},
		Bake: &BakeSpec{
			Source: SourceSpec{Publisher: "Canonical", Offer: "0001-com-ubuntu-server-jammy", SKU: "22_04-lts-gen2", Version: "latest"},
			VMSize: "Standard_D2as_v5", OSDiskGB: 30, Timeout: time.Hour, Version: "1.8.{n}",
			Customize: []CustomizeSpec{
				{Name: "agent", File: "dist/fleet-agent_amd64.deb", To: "/tmp/fleet-agent.deb"},
				{Name: "install", Script: "aib/customizers/install-fleet-agent.sh"},
				{Name: "cis", Script: "https://stbuild.blob.core.windows.net/scripts/cis-baseline.sh", SHA256: "9f2c"},
			},
			Validate: []ScriptSpec{{Name: "boots", Script: "aib/customizers/validate.sh"}},
		},
		ScaleSets: map[string]SetSpec{"vmss-authz": authz, "vmss-authz-west": west, "vmss-batch": batch, "vmss-legacy": legacy},
		Rollout:   &RolloutSpec{Drain: "run-command"},
	}
}

// seen is evidence from Azure alone, after a change of the clean fleet.
func seen(change func(*Fleet)) Evidence {
	f := cleanFleet()
	change(f)
	return Evidence{Now: testNow, Live: f}
}

// model is evidence after a change of the clean scale set's model.
func modelSeen(change func(*ScaleSet)) Evidence {
	return seen(func(f *Fleet) { change(&f.Sets[0].Model) })
}

// membersSeen is evidence after a change of each member of the clean scale set.
func membersSeen(change func(int, *Member)) Evidence {
	return seen(func(f *Fleet) {
		for i := range f.Sets[0].Members {
			change(i, &f.Sets[0].Members[i])
		}
	})
}

// settingsSeen is evidence after a change of the health extension's settings.
func settingsSeen(change func(map[string]any)) Evidence {
	return modelSeen(func(s *ScaleSet) { change(s.Extensions[0].Settings) })
}

func versionSeen(change func(*Version)) Evidence {
	return seen(func(f *Fleet) { change(&f.Galleries[0].Definitions[0].Versions[0]) })
}

func templateSeen(change func(*Template)) Evidence {
	return seen(func(f *Fleet) { change(&f.Templates[0]) })
}

// inlineSeen is evidence with these inline commands, from a source of publisher.
func inlineSeen(publisher string, inline ...any) Evidence {
	return templateSeen(func(t *Template) {
		t.Properties["source"] = map[string]any{"publisher": publisher}
		t.Properties["customize"] = []any{map[string]any{"type": "Shell", "name": "harden", "inline": inline}}
	})
}

// declared is evidence of a file alone, after a change of the example.
func declared(change func(*Spec)) Evidence {
	s := cleanSpec()
	change(s)
	return Evidence{Now: testNow, Spec: s}
}

// setDeclared changes one scale set of the example.
func setDeclared(name string, change func(*SetSpec)) Evidence {
	return declared(func(s *Spec) { changeSet(s, name, change) })
}

func changeSet(s *Spec, name string, change func(*SetSpec)) {
	set := s.ScaleSets[name]
	change(&set)
	s.ScaleSets[name] = set
}

// joined is evidence of the file and of Azure.
func joined(changeFile func(*Spec), changeLive func(*Fleet)) Evidence {
	e := declared(changeFile)
	e.Live = seen(changeLive).Live
	return e
}

func asIs[T any](T) {}

func rolling(s *ScaleSet) { s.Upgrade.Mode = Rolling }
func autoOS(s *ScaleSet) {
	s.Upgrade.AutoOS, s.Image.ID = true, testDefinition
}

// A trapCase shows a trap: evidence in which it is armed, with a part of what is said
// of it, and evidence that is near to it, in which it is not.
type trapCase struct {
	name  string
	trap  int
	armed Evidence
	says  string
	near  Evidence
}

func trapCases() []trapCase {
	return []trapCase{
		{
			"every member is Unknown", 1, membersSeen(func(_ int, m *Member) { m.Health = HealthUnknown }), "6 of 6 running members are Unknown",
			membersSeen(func(i int, m *Member) {
				if i > 0 {
					m.Health = HealthUnknown // one that is Healthy proves that the body is read
				}
			}),
		},
		{
			"nobody knows the endpoint", 1, setDeclared("vmss-authz", func(s *SetSpec) {
				s.Health = &HealthSpec{Extension: "2.0", Protocol: "https", Port: 8443, Path: "/ready", Grace: time.Minute}
			}), "https :8443/ready, and nothing says",
			setDeclared("vmss-authz", func(s *SetSpec) {
				s.Health = &HealthSpec{Extension: "1.0", Protocol: "https", Port: 8443, Path: "/ready"}
			}),
		},
		{"an image without the agent", 1, declared(func(s *Spec) { s.Bake.Customize = s.Bake.Customize[2:] }), "nothing says that it answers with JSON", declared(asIs)},
		{"no member yet", 1, seen(func(f *Fleet) { f.Sets[0].Members = nil }), "nothing says", seen(func(f *Fleet) {
			f.Sets[0].Members = nil
			f.Sets[0].Model.Extensions[0].Settings = map[string]any{"protocol": "tcp", "port": 22, "gracePeriod": 60}
		})},
		{"Healthy by version 1", 1, membersSeen(func(_ int, m *Member) { m.Extensions = map[string]string{HealthTypeLinux: "1.0.7"} }), "nothing says", membersSeen(asIs2)},

		{"an interval too long", 2, settingsSeen(func(s map[string]any) { s["intervalInSeconds"] = 61.0 }), "intervalInSeconds is 61, must be 5 to 60", settingsSeen(func(s map[string]any) { s["intervalInSeconds"] = 60.0 })},
		{"a product too large", 2, settingsSeen(func(s map[string]any) { s["intervalInSeconds"], s["numberOfProbes"] = 60.0, 5.0 }), "is 300, over 240", settingsSeen(func(s map[string]any) { s["intervalInSeconds"], s["numberOfProbes"] = 60.0, 4.0 })},
		{"nothing is asked", 2, settingsSeen(func(s map[string]any) { clear(s) }), "settings are empty", settingsSeen(asIs)},
		{"tcp with a path", 2, settingsSeen(func(s map[string]any) { s["protocol"] = "tcp" }), "protocol tcp has no requestPath", settingsSeen(func(s map[string]any) { s["protocol"] = "tcp"; delete(s, "requestPath") })},
		{"tcp without a port", 2, settingsSeen(func(s map[string]any) { s["protocol"] = "tcp"; delete(s, "requestPath"); delete(s, "port") }), "tcp needs a port", settingsSeen(func(s map[string]any) { delete(s, "port") })},
		{"http without a path", 2, settingsSeen(func(s map[string]any) { delete(s, "requestPath") }), "protocol http needs a requestPath", settingsSeen(asIs)},
		{"another protocol", 2, settingsSeen(func(s map[string]any) { s["protocol"] = "HTTP" }), `protocol is "HTTP"`, settingsSeen(asIs)},
		{"an unknown key", 2, settingsSeen(func(s map[string]any) { s["path"] = "/" }), `no setting "path"`, settingsSeen(func(s map[string]any) { s["vmWatchSettings"] = map[string]any{} })},
		{"grace with version 1", 2, modelSeen(func(s *ScaleSet) { s.Extensions[0].Version = "1.0" }), "version 1.0 has no gracePeriod", modelSeen(func(s *ScaleSet) {
			s.Extensions[0].Version = "1.0"
			delete(s.Extensions[0].Settings, "gracePeriod")
		})},
		{"a grace that one page forbids", 2, settingsSeen(func(s map[string]any) { s["gracePeriod"] = 7201.0 }), "7200 is the most", settingsSeen(func(s map[string]any) { s["gracePeriod"] = 7200.0 })},

		{"grace longer than the wait", 3, modelSeen(func(s *ScaleSet) { autoOS(s); s.Extensions[0].Settings["gracePeriod"] = 301.0 }), "gracePeriod is 301 s", modelSeen(autoOS)},
		{"no grace", 3, settingsSeen(func(s map[string]any) { delete(s, "gracePeriod") }), "has 10 s", settingsSeen(asIs)},

		{"Rolling without health", 4, modelSeen(func(s *ScaleSet) { rolling(s); s.Extensions = nil }), "needed for mode Rolling and automatic repairs", modelSeen(rolling)},
		{"no health at all", 4, setDeclared("vmss-authz", func(s *SetSpec) { s.Health, s.Repairs = nil, nil }), "no source of health", declared(asIs)},
		{"two sources", 4, modelSeen(func(s *ScaleSet) { s.HealthProbe = testGroup + "/probes/lb-probe" }), "probe lb-probe", modelSeen(asIs)},
		{"two extensions", 4, modelSeen(func(s *ScaleSet) { s.Extensions = append(s.Extensions, s.Extensions[0]) }), "2 Application Health extensions", modelSeen(asIs)},
		{"a probe alone", 4, modelSeen(func(s *ScaleSet) { s.Extensions, s.HealthProbe = nil, "/probes/lb-probe" }), "does not upgrade by", modelSeen(func(s *ScaleSet) { s.Flexible, s.Extensions, s.HealthProbe = false, nil, "/probes/lb-probe" })},

		{"three members at 20 percent", 5, setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthy = 33 }), "3 members: one is 33 %", setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthy = 34 })},
		{"the platform's default", 5, seen(func(f *Fleet) { rolling(&f.Sets[0].Model); f.Sets[0].Members = f.Sets[0].Members[:4] }), "4 members: one is 25 %, and maxUnhealthyInstancePercent is 20", seen(func(f *Fleet) { f.Sets[0].Members = f.Sets[0].Members[:4] })},
		{"autoscale goes down to three", 5, seen(func(f *Fleet) {
			rolling(&f.Sets[0].Model)
			f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 3, Max: 9}
		}), "3 members", seen(func(f *Fleet) {
			rolling(&f.Sets[0].Model)
			f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 5, Max: 9}
		})},
		{"the file's thresholds, Azure's members", 5, joined(func(s *Spec) { changeSet(s, "vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthy = 20 }) }, func(f *Fleet) { f.Sets[0].Members = f.Sets[0].Members[:2] }), "2 members", joined(func(s *Spec) { changeSet(s, "vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthy = 20 }) }, asIs)},

		{"no threshold", 6, setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthyUpgraded = 100 }), "maxUnhealthyUpgradedInstancePercent is 100", setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.MaxUnhealthyUpgraded = 99 })},
		{"no threshold in Azure", 6, modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.MaxUnhealthy = new(100) }), "maxUnhealthyInstancePercent is 100", modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.MaxUnhealthy = new(99) })},
		{"no threshold, once it is Rolling", 6, modelSeen(func(s *ScaleSet) { s.Upgrade.Rolling.MaxUnhealthy = new(100) }), "is 100; the mode is Manual yet", joined(asIs, func(f *Fleet) { f.Sets[0].Model.Upgrade.Rolling.MaxUnhealthy = new(100) })},

		{"surge and automatic", 7, modelSeen(func(s *ScaleSet) { autoOS(s); s.Upgrade.Rolling.MaxSurge = new(true) }), "both on", modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.MaxSurge = new(true) })},
		{"surge", 8, modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.MaxSurge = new(true) }), "not looked at", modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.MaxSurge = new(false) })},
		{"rollback", 9, modelSeen(func(s *ScaleSet) { rolling(s); s.Upgrade.Rolling.RollbackFailed = new(true) }), "is true", modelSeen(func(s *ScaleSet) { rolling(s); s.Flexible = false; s.Upgrade.Rolling.RollbackFailed = new(true) })},
		{"by hand, with failures", 10, seen(func(f *Fleet) { f.Sets[0].History = []RollingUpgrade{{StartedBy: "User", Code: "Faulted", Failed: 1}} }), "started by hand", seen(func(f *Fleet) {
			f.Sets[0].History = []RollingUpgrade{{StartedBy: "Platform", Code: "Faulted", Failed: 1}}
		})},
		{"by hand, mended since", 10, seen(func(f *Fleet) { f.Sets[0].History = []RollingUpgrade{{StartedBy: "User", Code: "RollingForward"}} }), "RollingForward", seen(func(f *Fleet) {
			f.Sets[0].History = []RollingUpgrade{{StartedBy: "User", Code: "Completed"}, {StartedBy: "User", Code: "Faulted", Failed: 1}}
		})},
		{"a pinned image", 11, modelSeen(func(s *ScaleSet) { s.Upgrade.AutoOS = true }), "pinned to 1.7.1", modelSeen(autoOS)},
		{"versions/latest", 11, modelSeen(func(s *ScaleSet) { s.Image.ID = testDefinition + "/versions/Latest" }), "ends in /versions/latest", modelSeen(func(s *ScaleSet) { s.Image.ID = testDefinition })},
		{"a pinned Marketplace image", 11, modelSeen(func(s *ScaleSet) {
			s.Upgrade.AutoOS, s.Image = true, ImageReference{Publisher: "Canonical", Offer: "jammy", Version: "22.04.1"}
		}), "version is 22.04.1", modelSeen(func(s *ScaleSet) {
			s.Upgrade.AutoOS, s.Image = true, ImageReference{Publisher: "Canonical", Offer: "jammy", Version: "latest"}
		})},
		{"patches by the platform", 12, modelSeen(func(s *ScaleSet) { autoOS(s); s.PatchMode = "AutomaticByPlatform" }), "AutomaticByPlatform", modelSeen(func(s *ScaleSet) { s.PatchMode = "AutomaticByPlatform" })},
		{"Windows updates", 12, modelSeen(func(s *ScaleSet) { autoOS(s); s.Windows = true }), "which means true", modelSeen(func(s *ScaleSet) { autoOS(s); s.Windows, s.WindowsAutoUpdates = true, new(false) })},

		{"a member that is stale", 13, membersSeen(func(i int, m *Member) {
			if i == 0 {
				m.LatestModel, m.Health = new(false), HealthMissing
			}
		}), "1 of 6 running members are not on the latest model, for another reason than the image: vmss-authz_0; 1 of them show no health", membersSeen(func(_ int, m *Member) { m.LatestModel = nil })},
		{"stale in the middle of an upgrade", 13, membersSeen(func(_ int, m *Member) { m.LatestModel = new(false) }), "6 of 6", seen(func(f *Fleet) {
			f.Sets[0].Rolling = &RollingUpgrade{Code: "RollingForward"}
			f.Sets[0].Members[0].LatestModel = new(false)
		})},
		{"stale by the image", 13, membersSeen(func(_ int, m *Member) { m.LatestModel = new(false) }), "6 of 6", membersSeen(func(_ int, m *Member) { m.LatestModel, m.Image.ExactVersion = new(false), "1.7.0" })},
		{"an attached member", 14, membersSeen(func(i int, m *Member) {
			if i < 4 {
				m.Extensions = map[string]string{}
			}
		}), "4 of 6 running members without ApplicationHealthLinux: vmss-authz_0, vmss-authz_1, vmss-authz_2 and 1 more", membersSeen(func(_ int, m *Member) { m.Extensions = nil })},
		{"another version", 14, membersSeen(func(_ int, m *Member) { m.Extensions = map[string]string{HealthTypeLinux: "1.0.7"} }), "the model's 2.0", membersSeen(func(_ int, m *Member) { m.Extensions = map[string]string{HealthTypeLinux: "2.0.7"} })},
		{"a member that does not run", 14, membersSeen(func(_ int, m *Member) { m.Extensions = map[string]string{} }), "6 of 6", membersSeen(func(_ int, m *Member) { m.Extensions, m.Power = map[string]string{}, Deallocated })},
		{"an ended signature", 15, modelSeen(func(s *ScaleSet) {
			s.Extensions = append(s.Extensions, Extension{Name: "setup", Settings: map[string]any{"fileUris": []any{"https://st.blob.core.windows.net/s/a.sh?se=2026-11-27T11:59:59Z&sig=SECRET"}}})
		}), "in the settings of setup ended 2026-11-27 11:59 UTC", modelSeen(func(s *ScaleSet) {
			s.Extensions = append(s.Extensions, Extension{Name: "setup", Settings: map[string]any{"fileUris": []any{"https://st.blob.core.windows.net/s/a.sh?se=2027-11-27&sig=SECRET"}}})
		})},
		{"a signature of a script", 15, declared(func(s *Spec) { s.Bake.Customize[2].Script += "?se=2026-11-28T00%3A00%3A00Z&sig=SECRET" }), "in the address in cis ends 2026-11-28", declared(func(s *Spec) { s.Bake.Customize[2].Script += "?se=2026-11-28T00%3A00%3A00Z" })},

		{"two fault domains in zones", 16, setDeclared("vmss-authz", func(s *SetSpec) { s.Create = &CreateSpec{Zones: []int{1, 2}, FaultDomains: 2} }), "is 2 in zones 1, 2", setDeclared("vmss-authz", func(s *SetSpec) { s.Create = &CreateSpec{FaultDomains: 2} })},
		{"four fault domains", 16, setDeclared("vmss-authz", func(s *SetSpec) { s.Create = &CreateSpec{FaultDomains: 4} }), "is 4", setDeclared("vmss-authz", func(s *SetSpec) { s.Create = &CreateSpec{FaultDomains: 3} })},
		{"one group with a mix", 17, setDeclared("vmss-batch", func(s *SetSpec) {
			s.Create = &CreateSpec{Extra: map[string]any{"properties": map[string]any{"singlePlacementGroup": true}}}
		}), "beside a Spot mix", setDeclared("vmss-authz", func(s *SetSpec) {
			s.Create = &CreateSpec{Extra: map[string]any{"properties": map[string]any{"singlePlacementGroup": true}}}
		})},
		{"one group from false", 17, joined(func(s *Spec) {
			changeSet(s, "vmss-authz", func(s *SetSpec) {
				s.Create = &CreateSpec{Extra: map[string]any{"properties": map[string]any{"singlePlacementGroup": true}}}
			})
		}, func(f *Fleet) { f.Sets[0].Model.SinglePlacement = new(false) }), "true in the file and false in Azure", joined(asIs, func(f *Fleet) { f.Sets[0].Model.SinglePlacement = new(false) })},
		{"a mix without Spot", 18, modelSeen(func(s *ScaleSet) { s.PriorityMix = &PriorityMix{3, 50} }), "a mix of 3 regular members", modelSeen(func(s *ScaleSet) {
			s.PriorityMix, s.Spot, s.SpotRestore = &PriorityMix{3, 50}, true, &SpotRestore{Enabled: true}
		})},
		{"evicted members", 19, seen(func(f *Fleet) { spot(&f.Sets[0], "Deallocate"); f.Sets[0].Members[0].Power = Deallocated }), "capacity 6, 5 run, 1 Spot member deallocated: vmss-authz_0", seen(func(f *Fleet) { spot(&f.Sets[0], "Deallocate") })},
		{"a notice on Spot", 20, setDeclared("vmss-batch", func(s *SetSpec) { s.TerminateNotice = 5 * time.Minute }), "the priority is Spot", setDeclared("vmss-authz", func(s *SetSpec) { s.TerminateNotice = 15 * time.Minute })},
		{"a notice too long", 20, setDeclared("vmss-authz", func(s *SetSpec) { s.TerminateNotice = 16 * time.Minute }), "PT16M", setDeclared("vmss-authz", func(s *SetSpec) { s.TerminateNotice = 5 * time.Minute })},
		{"a notice of an image", 20, modelSeen(func(s *ScaleSet) { s.OSImageNotice = &Notice{true, 10 * time.Minute} }), "PT10M", modelSeen(func(s *ScaleSet) { s.OSImageNotice = &Notice{true, 15 * time.Minute} })},
		{"no drain", 21, declared(func(s *Spec) { s.Rollout.Drain = "none" }), "upgrades are in place", declared(asIs)},
		{"no drain in Azure", 21, modelSeen(func(s *ScaleSet) { rolling(s); s.TerminateNotice = &Notice{true, 0} }), "upgrades are in place", modelSeen(func(s *ScaleSet) {
			rolling(s)
			s.TerminateNotice, s.OSImageNotice = &Notice{true, 0}, &Notice{true, 0}
		})},
		{"no drain in mode Manual", 21, modelSeen(func(s *ScaleSet) { s.TerminateNotice = &Notice{true, 0} }), "upgrades are in place", joined(asIs, func(f *Fleet) { f.Sets[0].Model.TerminateNotice = &Notice{true, 0} })},
		{"nobody drains for the platform", 21, setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.Driver = DriverPlatformRolling }), "upgrades are in place", setDeclared("vmss-authz", func(s *SetSpec) {
			s.Upgrade.Driver, s.Upgrade.MaxSurge = DriverPlatformRolling, new(true)
		})},
		{"a system identity", 22, modelSeen(func(s *ScaleSet) { s.SystemIdentity = true }), "SystemAssigned", modelSeen(func(s *ScaleSet) { s.SystemIdentity, s.Flexible = true, false })},
		{"from the Marketplace", 23, joined(asIs, func(f *Fleet) { marketplace(&f.Sets[0].Model) }), "the file has ubuntu-app", joined(func(s *Spec) { changeSet(s, "vmss-authz", func(s *SetSpec) { s.Manage = ManageObserve }) }, func(f *Fleet) { marketplace(&f.Sets[0].Model) })},
		{"beside a gallery", 23, modelSeen(marketplace), "beside the gallery image ubuntu-app", seen(func(f *Fleet) { marketplace(&f.Sets[0].Model); f.Galleries = nil })},
		{"less than autoscale keeps", 24, seen(func(f *Fleet) { f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 7, Max: 30} }), "capacity is 6, and autoscale keeps 7 to 30", seen(func(f *Fleet) { f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 6, Max: 6} })},
		{"repairs too soon", 25, setDeclared("vmss-authz", func(s *SetSpec) { s.Repairs = &RepairsSpec{After: 9 * time.Minute} }), "PT9M", setDeclared("vmss-authz", func(s *SetSpec) { s.Repairs = &RepairsSpec{After: 10 * time.Minute} })},
		{"another repair", 25, joined(func(s *Spec) {
			changeSet(s, "vmss-authz", func(s *SetSpec) { s.Repairs = &RepairsSpec{30 * time.Minute, "restart"} })
		}, asIs), "Restart in the file and Replace in Azure", joined(asIs, asIs)},
		{"protected from one", 26, membersSeen(func(i int, m *Member) { m.ProtectSetActions = i == 2 }), "vmss-authz_2", membersSeen(func(i int, m *Member) { m.ProtectSetActions, m.ProtectScaleIn = i == 2, i == 2 })},
		{"not protected from upgrades", 26, membersSeen(func(i int, m *Member) { m.ProtectScaleIn = i == 2 }), "1 member with protectFromScaleIn alone", membersSeen(func(_ int, m *Member) { m.ProtectSetActions, m.ProtectScaleIn = true, true })},
		{"protected and stale", 27, membersSeen(func(i int, m *Member) { m.ProtectScaleIn, m.LatestModel = true, new(i > 0) }), "1 protected member", membersSeen(func(_ int, m *Member) { m.ProtectScaleIn = true })},

		{"not there", 28, versionSeen(func(v *Version) { v.Regions = v.Regions[1:] }), "ubuntu-app 1.7.1 is not replicated to eastus", versionSeen(func(v *Version) { v.Regions = v.Regions[:1] })},
		{"on its way", 28, versionSeen(func(v *Version) { v.Regions[0].State, v.Regions[0].Progress = Replicating, 40 }), "at 40 %", versionSeen(func(v *Version) { v.Regions[0].State = "" })},
		{"failed", 28, versionSeen(func(v *Version) { v.Regions[0].State, v.Regions[0].Details = ReplicationFailed, "no space" }), "Failed in eastus: no space", versionSeen(asIs)},
		{"failed where nobody is", 28, versionSeen(func(v *Version) { v.Regions[1].State = ReplicationFailed }), "replication Failed in westus3", versionSeen(func(v *Version) { v.Regions[1].State = Replicating })},
		{"being written", 29, versionSeen(func(v *Version) { v.Provisioning = Updating }), "Updating", versionSeen(asIs)},
		{"another storage", 30, joined(func(s *Spec) { s.Gallery.Storage = "Standard_LRS" }, asIs), "Standard_LRS, and these versions do not: 1.8.0 (Standard_ZRS), 1.7.1", joined(asIs, asIs)},
		{"another storage in a region", 30, joined(asIs, func(f *Fleet) {
			f.Galleries[0].Definitions[0].Versions[0].Regions[1].Storage = "Standard_LRS"
		}), "(Standard_LRS)", joined(asIs, func(f *Fleet) {
			for i := range f.Galleries[0].Definitions[0].Versions {
				v := &f.Galleries[0].Definitions[0].Versions[i]
				v.Storage = "Standard_LRS"
				for j := range v.Regions {
					v.Regions[j].Storage = "Standard_ZRS"
				}
			}
		})},
		{"too few replicas", 31, setDeclared("vmss-authz", func(s *SetSpec) { a := *s.Autoscale; a.Max = 141; s.Autoscale = &a }), "3 replicas for up to 151 members in eastus", setDeclared("vmss-authz", func(s *SetSpec) { a := *s.Autoscale; a.Max = 140; s.Autoscale = &a })},
		{"too few replicas in Azure", 31, seen(func(f *Fleet) { f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 6, Max: 151} }), "3 replicas for up to 151 members in eastus", seen(func(f *Fleet) { f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 6, Max: 150} })},
		{"Shallow", 32, versionSeen(func(v *Version) { v.Mode = "Shallow" }), "vmss-authz uses it", versionSeen(asIs)},
		{"Shallow and unused", 32, seen(func(f *Fleet) { f.Galleries[0].Definitions[0].Versions[1].Mode = "Shallow" }), "is Shallow", versionSeen(asIs)},
		{"published at once", 33, templateSeen(func(t *Template) { delete(listAt(t.Properties, "distribute")[0].(map[string]any), "excludeFromLatest") }), "without excludeFromLatest", templateSeen(asIs)},
		{"taken at once", 33, seen(func(f *Fleet) {
			autoOS(&f.Sets[0].Model)
			delete(listAt(f.Templates[0].Properties, "distribute")[0].(map[string]any), "excludeFromLatest")
		}), "vmss-authz takes the latest", modelSeen(autoOS)},
		{"a version that is gone", 34, modelSeen(func(s *ScaleSet) { s.Image.ID = testDefinition + "/versions/1.6.0" }), "ubuntu-app 1.6.0 is not there", modelSeen(func(s *ScaleSet) {
			s.Image.ID = testCompute + "galleries/galOther/images/x/versions/1.6.0" // a gallery that was not read
		})},
		{"a definition that is gone", 34, modelSeen(func(s *ScaleSet) { s.Image.ID = testCompute + "galleries/galProd/images/gone/versions/1.6.0" }), "definition gone", modelSeen(asIs)},
		{"deletion blocked", 35, versionSeen(func(v *Version) { v.BlockDelete = true }), "before 2027-05-27", versionSeen(func(v *Version) { v.BlockDelete, v.EndOfLife = true, testNow.Add(-time.Hour) })},
		{"no end of life", 35, declared(func(s *Spec) { s.Gallery.EndOfLife = 0 }), "no end of life", declared(func(s *Spec) { s.Gallery.EndOfLife, s.Gallery.Manage = 0, ManageObserve })},
		{"another definition", 36, joined(asIs, func(f *Fleet) { f.Galleries[0].Definitions[0].HyperV = "V1" }), `hyperVGeneration is "V1", not "V2"`, joined(asIs, func(f *Fleet) { f.Galleries[0].Definitions[0].HyperV = "v2" })},

		{"a leftover", 38, templateSeen(func(t *Template) { t.Provisioning = Failed }), "Failed", templateSeen(func(t *Template) { t.RunState = Failed })},
		{"a build that hangs", 39, templateSeen(func(t *Template) { t.RunState, t.RunStart = "Canceling", testNow.Add(-121*time.Minute) }), "longer than its PT60M", templateSeen(asIs)},
		{"a build that runs", 39, templateSeen(func(t *Template) { t.RunState, t.RunStart = "Running", testNow.Add(-119*time.Minute) }), "it is Running", templateSeen(asIs)},
		{"a template in creation", 39, templateSeen(func(t *Template) { t.Provisioning = "Creating" }), "it is Creating", templateSeen(func(t *Template) { t.RunState = "PartiallySucceeded" })},
		{"staging among scale sets", 40, templateSeen(func(t *Template) { t.Properties["stagingResourceGroup"] = testGroup }), "rg-pay-prod holds the template itself", templateSeen(func(t *Template) {
			t.Properties["stagingResourceGroup"] = "/subscriptions/" + testSubscription + "/resourceGroups/rg-staging"
		})},
		{"a timeout too short", 41, declared(func(s *Spec) { s.Bake.Timeout = 5 * time.Minute }), "is 5", declared(func(s *Spec) { s.Bake.Timeout = 960 * time.Minute })},
		{"not registered", 42, seen(func(f *Fleet) { f.Providers["microsoft.containerinstance"] = "NotRegistered" }), "Microsoft.ContainerInstance (NotRegistered)", seen(func(f *Fleet) { f.Providers["microsoft.containerinstance"] = "registered" })},
		{"no build, no providers", 42, seen(func(f *Fleet) { f.Providers["microsoft.containerinstance"] = "NotRegistered" }), "", seen(func(f *Fleet) { f.Providers["microsoft.containerinstance"], f.Templates = "NotRegistered", nil })},
		{"a subnet", 43, templateSeen(func(t *Template) {
			t.Properties["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetId": testGroup + "/subnets/build"}}
		}), "subnet build", templateSeen(func(t *Template) { t.Properties["vmProfile"] = map[string]any{} })},
		{"pipefail under dash", 44, inlineSeen("Canonical", "# steps", "set -euo pipefail"), "line 2 of harden", inlineSeen("RedHat", "set -euo pipefail")},
		{"pipefail for bash", 44, inlineSeen("", "set -o pipefail"), "line 1", inlineSeen("Canonical", "bash -c 'set -o pipefail; a | b'")},
		{"a literal substitution", 45, inlineSeen("Canonical", "true", "echo 'baked $(date)' | sudo tee /etc/stamp"), "line 2 of harden writes 'baked $(date)'", inlineSeen("Canonical", `echo "baked $(date)" 'and $5'`, `awk '{print $(NF-1)}'`)},
		{"a large file", 46, sized("dist/fleet-agent_amd64.deb", 20<<20+1), "20.0 MB", sized("dist/fleet-agent_amd64.deb", 20<<20)},
		{"a large file of a name alone", 46, sized("aib/customizers/install-fleet-agent.sh", 30<<20), "30.0 MB", sized("aib/customizers/other.sh", 30<<20)},
		{"a file elsewhere", 46, declared(func(s *Spec) { s.Bake.Customize[0].To = "/tmp/../opt/agent.deb" }), "copied to /tmp/../opt", declared(func(s *Spec) { s.Bake.Customize[0].To = "/tmp/a/b.deb" })},

		{"another metric", 48, autoscaled(func(a *Autoscale) { a.Rules[0].Metric = "Network In" }), "no rule scales out", autoscaled(asIs)},
		{"no way in", 48, autoscaled(func(a *Autoscale) { a.Rules = a.Rules[:1] }), "no rule scales in", autoscaled(func(a *Autoscale) { a.Rules, a.Predictive = nil, "Disabled" })},
		{"too far ahead", 48, autoscaled(func(a *Autoscale) { a.LookAhead = 61 * time.Minute }), "PT61M", autoscaled(func(a *Autoscale) { a.LookAhead = time.Hour })},
		{"Azure Government", 48, seen(func(f *Fleet) { f.Sets[0].Model.Location = "usgovvirginia"; f.Sets[0].Autoscale = predictive() }), "usgovvirginia", autoscaled(asIs)},
		{"small letters", 49, autoscaled(func(a *Autoscale) { a.Predictive = "forecastonly" }), `"forecastonly"`, autoscaled(asIs)},

		{"the latest", 52, modelSeen(func(s *ScaleSet) { s.Image.ID = testDefinition }), "has no version", modelSeen(autoOS)},
		{"the latest, shared", 52, seen(func(f *Fleet) {
			f.Sets = append(f.Sets, cleanSet("vmss-other"))
			autoOS(&f.Sets[0].Model)
			autoOS(&f.Sets[1].Model)
		}), "vmss-other follows it in eastus too", seen(func(f *Fleet) {
			f.Sets = append(f.Sets, cleanSet("vmss-other"))
			autoOS(&f.Sets[0].Model)
			autoOS(&f.Sets[1].Model)
			f.Sets[1].Model.Location = "westus3"
		})},
		{"the latest of the Marketplace", 52, modelSeen(marketplace), "the version of jammy is latest", modelSeen(func(s *ScaleSet) { marketplace(s); s.Image.Version = "22.04.1" })},
		{"an image that waits", 53, membersSeen(func(i int, m *Member) {
			if i == 0 {
				m.Image.ExactVersion = "1.7.0"
			}
		}), "the model asks for 1.7.1, and 1 of 6 running members run older versions: 1.7.0 on 1", seen(func(f *Fleet) {
			f.Sets[0].Members[0].Image.ExactVersion = "1.7.0"
			f.Sets[0].Rolling = &RollingUpgrade{Code: "RollingForward"}
		})},
		{"hidden settings", 54, modelSeen(func(s *ScaleSet) {
			s.Extensions = append(s.Extensions, Extension{Name: "setup", Type: "CustomScript", Settings: map[string]any{"timestamp": 1}})
		}), "setup", modelSeen(func(s *ScaleSet) {
			s.Extensions = append(s.Extensions, Extension{Name: "setup", Type: "CustomScript", Settings: map[string]any{"commandToExecute": "true"}})
		})},
		{"does not come back", 55, setDeclared("vmss-batch", func(s *SetSpec) { s.Spot = &SpotSpec{3, 50, "deallocate", 0} }), "spotRestorePolicy is off", declared(asIs)},
		{"deleted for good", 55, seen(func(f *Fleet) { spot(&f.Sets[0], "Delete") }), "without autoscale", seen(func(f *Fleet) {
			spot(&f.Sets[0], "Delete")
			f.Sets[0].Autoscale = &Autoscale{Enabled: true, Min: 6, Max: 9}
		})},
		{"moved back", 56, membersSeen(func(_ int, m *Member) { m.Image.ExactVersion = "1.8.0" }), "pinned to 1.7.1, and all members run newer versions: 1.8.0 on 6", membersSeen(func(i int, m *Member) {
			if i == 0 {
				m.Image.ExactVersion = "1.8.0" // as in a rollout
			}
		})},
		{"Terraform's", 56, joined(asIs, func(f *Fleet) { f.Sets[0].Model.Tags = map[string]string{"managed-by": "Terraform"} }), "managed-by=Terraform", joined(func(s *Spec) { changeSet(s, "vmss-authz", func(s *SetSpec) { s.Manage = ManageImage }) }, func(f *Fleet) { f.Sets[0].Model.Tags = map[string]string{"managed-by": "Terraform"} })},
		{"disks that stay", 57, modelSeen(func(s *ScaleSet) { s.OSDiskDelete = "Detach" }), "Detach", modelSeen(func(s *ScaleSet) { s.OSDiskDelete = "" })},
		{"a number that is taken", 58, joined(func(s *Spec) { s.Bake.Version = "1.8.0" }, asIs), "1.8.0, which is there", joined(func(s *Spec) { s.Bake.Version = "1.8.1" }, asIs)},
		{"a script at boot", 59, modelSeen(func(s *ScaleSet) { s.Extensions = append(s.Extensions, Extension{Name: "setup", Type: "CustomScript"}) }), "setup", modelSeen(func(s *ScaleSet) {
			s.Extensions = append(s.Extensions, Extension{Name: "monitor", Type: "AzureMonitorLinuxAgent"})
		})},
		{"whose policy", 60, modelSeen(func(s *ScaleSet) { autoOS(s); s.Upgrade.Rolling.MaxBatch = new(20) }), "useRollingUpgradePolicy is not true", modelSeen(func(s *ScaleSet) {
			autoOS(s)
			s.Upgrade.Rolling.MaxBatch, s.Upgrade.UseRolling = new(20), new(true)
		})},
		{"no way back", 61, modelSeen(func(s *ScaleSet) { autoOS(s); s.Upgrade.DisableRollback = new(true) }), "disableAutomaticRollback", modelSeen(autoOS)},
		{"no way back of a model", 61, modelSeen(rolling), "mode Rolling", modelSeen(asIs)},
		{"automatic on Flexible", 62, modelSeen(autoOS), "its history is empty", seen(func(f *Fleet) {
			autoOS(&f.Sets[0].Model)
			f.Sets[0].History = []RollingUpgrade{{StartedBy: "Platform", Code: "Completed"}}
		})},
		{"automatic asked for", 62, setDeclared("vmss-authz", func(s *SetSpec) { s.Upgrade.Driver, s.Tracks = DriverPlatformAutoOS, TracksLatest }), "on a Flexible scale set", declared(asIs)},
		{"taken back, still there", 63, seen(func(f *Fleet) {
			f.Sets[0].Members[0].Image.ExactVersion = "1.7.0"
			versions := &f.Galleries[0].Definitions[0].Versions
			*versions = append(*versions, Version{Name: "1.7.0", Excluded: true, Provisioning: Succeeded})
		}), "1 of 6 running members run 1.7.0", membersSeen(func(i int, m *Member) {
			if i == 0 {
				m.Image.ExactVersion = "1.8.0" // excluded, and the newest: a rollout's
			}
		})},
		{"another case", 37, written(versioned("2024-02-01", `"vmProfile": {"osDiskSizeGb": 30}`)), "osDiskSizeGb is in the wrong letters", written(versioned("2022-07-01", `"vmProfile": {"osDiskSizeGb": 30}`))},
		{"another case, later", 37, written(versioned("2025-10-01", `"Source": {}`)), "Source is in the wrong letters", written(versioned("2025-10-01", `"distribute": [{"replicationMode": "Full"}]`))},
		{"the gallery's word", 37, written(versioned("2024-02-01", `"distribute": [{"excludeFromLatest": true, "targetRegions": [{"name": "eastus", "regionalReplicaCount": 3}]}]`)), "there is no regionalReplicaCount here at API 2024-02-01", written(versioned("2024-02-01", `"distribute": [{"excludeFromLatest": true, "artifactTags": {"any": "x"}, "targetRegions": [{"name": "eastus", "replicaCount": 3}]}], "managedResourceTags": {"any": "x"}`))},
		{"a bare resource", 64, written(`{"type": "Microsoft.VirtualMachineImages/imageTemplates", "properties": {}}`), "lacks $schema, contentVersion, resources and a name", written(deployable(``))},
		{"no schema", 64, written(`{"contentVersion": "1.0.0.0", "resources": {"a": {"name": "a", "type": "Microsoft.VirtualMachineImages/imageTemplates"}}}`), "the file lacks $schema", written(deployable(``))},
		{"an id to fill in", 65, written(deployable(`"distribute": [{"type": "SharedImage", "galleryImageId": "/subscriptions/<sub>/x", "excludeFromLatest": true}]`)), "<sub> was to be filled in", written(deployable(`"customize": [{"type": "Shell", "inline": ["cat <in> out"]}]`))},
		{"a key to fill in", 65, written(deployable(`"x": {"<AIB_ID resource id>": {}}`)), "<AIB_ID resource id>", written(deployable(`"x": {"[parameters('id')]": {}, "a < b": "c > d"}`))},
		{"a script of anybody's", 66, templateSeen(func(t *Template) {
			t.Properties["customize"] = []any{map[string]any{"type": "Shell", "name": "cis", "scriptUri": "https://st.blob.core.windows.net/s/cis.sh?sig=SECRET"}}
		}), "cis fetches from st.blob.core.windows.net without", templateSeen(asIs)},
		{"a file of anybody's", 66, written(deployable(`"customize": [{"type": "File", "name": "deb", "sourceUri": "https://st.blob.core.windows.net/a.deb"}]`)), "deb fetches from", written(deployable(`"customize": [{"type": "File", "name": "deb", "sourceUri": "https://st.blob.core.windows.net/a.deb", "sha256Checksum": "[parameters('sum')]"}]`))},
		{"a list of commands", 67, inlineSeen("Canonical", "sudo apt-get update && sudo apt-get -y upgrade", "true"), "line 1 of harden goes on when apt-get fails", inlineSeen("Canonical", "sudo apt-get update && sudo apt-get -y upgrade")},
		{"a list over lines", 67, inlineSeen("Canonical", "true", "a &&", "b $(c)", "d"), "line 2 of harden goes on when a fails", inlineSeen("Canonical", "if a && b; then c; fi", "[ -f x ] && y", "a && b || exit 1", `e "$(f && g)"`, "grep -q x y && z", "h && i $(j)")},
		{"no way to the build", 68, filed(sourceFile("dist/fleet-agent_amd64.deb", strings.Repeat("x", 64<<10+1))), "fleet-agent_amd64.deb has 65 KiB, the template takes files of at most 64 KiB, and there is no bake.artifacts", filed(sourceFile("dist/fleet-agent_amd64.deb", strings.Repeat("x", 64<<10)))},
		{"a way to the build", 68, sized("dist/fleet-agent_amd64.deb", 1<<20), "1024 KiB", func() Evidence {
			e := sized("dist/fleet-agent_amd64.deb", 1<<20)
			e.Spec.Bake.Artifacts = "https://stbuild.blob.core.windows.net/a"
			return e
		}()},
		{"a long smoke test", 68, func() Evidence {
			e := sized("image/smoke.sh", 64<<10+1)
			e.Spec.Bake.BootTest = &BootTestSpec{Run: "image/smoke.sh"}
			return e
		}(), "smoke.sh has 65 KiB", func() Evidence {
			e := sized("image/smoke.sh", 64<<10)
			e.Spec.Bake.BootTest = &BootTestSpec{Run: "image/smoke.sh"}
			return e
		}()},
		{"written under Windows", 69, scripted("#!/bin/bash\nset -e\r\ntrue\n"), "install-fleet-agent.sh:2 ends in CR LF", scripted("printf 'a\rb'\n")},
		{"the last line under Windows", 69, scripted("true\r"), "install-fleet-agent.sh:1 ends in CR LF", scripted("true")},
		{"a program", 69, scripted("\x7fELF\n\x00"), "install-fleet-agent.sh:2 has a NUL byte", filed(sourceFile("dist/fleet-agent_amd64.deb", "!<arch>\n\x00\r\n"))},
		{"a byte order mark", 69, scripted("\ufeff#!/bin/sh\n"), "begins with a byte order mark", scripted("#!/bin/sh\n: \ufeff\n")},
		{"a timeout in a file", 41, written(deployable(`"buildTimeoutInMinutes": 5`)), "is 5", written(deployable(`"buildTimeoutInMinutes": "[parameters('timeout')]"`))},
		{"latest at once, in a file", 33, written(deployable(`"distribute": [{"type": "SharedImage", "galleryImageId": "/images/app"}]`)), "without excludeFromLatest", written(deployable(`"distribute": [{"type": "SharedImage", "galleryImageId": "/images/app", "excludeFromLatest": "[parameters('excluded')]"}]`))},
		{"a default to fill in", 65, written(deployable(`"source": {"id": "[parameters('sub')]"}`)), "<sub>", written(deployable(`"source": {"id": "[parameters('other')]"}`))},
		{"failed, still there", 63, versionSeen(func(v *Version) { v.Tags = map[string]string{TagFailed: ""} }), "6 of 6 running members run 1.7.1", versionSeen(func(v *Version) { v.Tags = map[string]string{TagGood: ""} })},
	}
}

func asIs2(int, *Member) {}

func spot(s *Set, eviction string) {
	s.Model.Spot, s.Model.EvictionPolicy = true, eviction
	for i := range s.Members {
		s.Members[i].Spot = true
	}
}

func marketplace(s *ScaleSet) {
	s.Image = ImageReference{Publisher: "Canonical", Offer: "jammy", SKU: "gen2", Version: "latest"}
}

func predictive() *Autoscale {
	a := declaredAutoscale(cleanSpec().ScaleSets["vmss-authz"].Autoscale)
	return a
}

func autoscaled(change func(*Autoscale)) Evidence {
	return seen(func(f *Fleet) {
		f.Sets[0].Autoscale = predictive()
		change(f.Sets[0].Autoscale)
	})
}

// filed is evidence of the example with these local files.
func filed(files ...SourceFile) Evidence {
	e := declared(asIs)
	e.Files = files
	return e
}

func sized(name string, size int64) Evidence { return filed(SourceFile{Path: name, Size: size}) }

// scripted is evidence of the example with this text of its script.
func scripted(text string) Evidence {
	return filed(sourceFile("aib/customizers/install-fleet-agent.sh", text))
}

func sourceFile(path, text string) SourceFile {
	return SourceFile{Path: path, Size: int64(len(text)), Data: []byte(text)}
}

// written is evidence of the file of an image template.
func written(text string) Evidence {
	f, err := ReadTemplate("image.json", []byte(text))
	if err != nil {
		panic(err)
	}
	return Evidence{Now: testNow, Template: f}
}

// versioned is deployable at an API version.
func versioned(api, properties string) string {
	return strings.Replace(deployable(properties), `"name": "app-1.0.0"`, `"name": "app-1.0.0", "dependsOn": [], "tags": {"any": "x"}, "apiVersion": "`+api+`"`, 1)
}

// deployable is the text of a template for deployments with an image template that has
// these properties, as JSON has them between braces.
func deployable(properties string) string {
	return `{"$schema": "s", "contentVersion": "1.0.0.0", "parameters": {"sub": {"defaultValue": "<sub>"}},
"resources": [{"type": "Microsoft.VirtualMachineImages/imageTemplates", "name": "app-1.0.0",
"properties": {` + properties + `}}]}`
}

// of returns the findings of one trap.
func findingsOf(e Evidence, trap int) []Finding {
	return slices.DeleteFunc(Preflight(e), func(f Finding) bool { return f.Trap != trap })
}

// TestTraps arms every trap, and then not quite.
func TestTraps(t *testing.T) {
	for _, c := range trapCases() {
		t.Run(fmt.Sprintf("%d %s", c.trap, c.name), func(t *testing.T) {
			armed := findingsOf(c.armed, c.trap)
			require.NotEmpty(t, armed)
			var said strings.Builder
			for _, f := range armed {
				said.WriteString(f.Seen + "\n")
				require.NotEmpty(t, f.Fix)
				require.NotEmpty(t, f.Resource.Name)
				require.True(t, f.Key == "" || c.armed.Spec != nil || f.Place != "", "a place in no file")
				require.True(t, f.Live || f.Key != "" || f.Place != "", "neither in Azure nor in the file")
			}
			require.Contains(t, said.String(), c.says)
			require.Empty(t, findingsOf(c.near, c.trap), "near")
		})
	}
}

// TestEveryTrapIsTested: a trap that is looked for has a case, and its severity is
// reached by one.
func TestEveryTrapIsTested(t *testing.T) {
	reached := make(map[int]map[Severity]bool)
	for _, c := range trapCases() {
		for _, f := range findingsOf(c.armed, c.trap) {
			if reached[f.Trap] == nil {
				reached[f.Trap] = make(map[Severity]bool)
			}
			reached[f.Trap][f.Severity] = true
		}
	}
	for _, trap := range Traps() {
		require.Equal(t, trap.Seen(), trap.find != nil, trap.ID)
		if trap.Seen() {
			require.True(t, reached[trap.Number][trap.Severity], "no case of trap %d (%s) is %s: %v", trap.Number, trap.ID, trap.Severity, reached[trap.Number])
		}
	}
}

// TestTable: the table is whole, and what it says is fit to be shown.
func TestTable(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	ids := make(map[string]bool)
	for i, trap := range Traps() {
		require.Equal(t, i+1, trap.Number)
		require.Regexp(t, kebab, trap.ID)
		require.False(t, ids[trap.ID], trap.ID)
		ids[trap.ID] = true
		require.GreaterOrEqual(t, trap.Severity.rank(), 0, trap.ID)
		require.Contains(t, []Looks{LooksFile, LooksLive, LooksBoth, LooksJoined, LooksTemplate}, trap.Looks, trap.ID)
		require.LessOrEqual(t, len(trap.Title), 72, trap.ID)
		for name, text := range map[string]string{"title": trap.Title, "condition": trap.Condition, "consequence": trap.Consequence, "fix": trap.Fix, "source": trap.Source} {
			require.NotEmpty(t, text, "%s of %s", name, trap.ID)
			require.LessOrEqual(t, len(text), 360, "%s of %s", name, trap.ID)
		}
	}
}

// TestLooks: a trap is found where its entry says that it is looked for.
func TestLooks(t *testing.T) {
	found := make(map[int]map[Looks]bool)
	for _, c := range trapCases() {
		for _, f := range findingsOf(c.armed, c.trap) {
			if found[f.Trap] == nil {
				found[f.Trap] = make(map[Looks]bool)
			}
			found[f.Trap][LooksFile] = found[f.Trap][LooksFile] || f.Key != "" && f.Place == ""
			found[f.Trap][LooksTemplate] = found[f.Trap][LooksTemplate] || f.Place != ""
			found[f.Trap][LooksLive] = found[f.Trap][LooksLive] || f.Live
		}
	}
	for _, trap := range Traps() {
		switch trap.Looks {
		case LooksFile:
			require.False(t, found[trap.Number][LooksLive], trap.ID)
		case LooksLive:
			require.False(t, found[trap.Number][LooksFile], "%s has a key of the file", trap.ID)
		case LooksJoined:
			require.True(t, found[trap.Number][LooksFile] && found[trap.Number][LooksLive], trap.ID)
		case LooksTemplate:
			require.False(t, found[trap.Number][LooksLive] || found[trap.Number][LooksFile], trap.ID)
		case LooksBoth:
		}
		if !trap.InTemplate && trap.Looks != LooksTemplate {
			require.False(t, found[trap.Number][LooksTemplate], "%s shows in the file of a template", trap.ID)
		}
	}
}

// TestClean: the documentation's example, a clean fleet, and both together have no
// finding at all.
func TestClean(t *testing.T) {
	for name, e := range map[string]Evidence{
		"nothing": {}, "file": declared(asIs), "live": seen(asIs), "both": joined(asIs, asIs),
	} {
		require.Empty(t, Preflight(e), name)
	}
}

// TestFileAndAzure: what both say is said once, with the place in the file.
func TestFileAndAzure(t *testing.T) {
	e := joined(func(s *Spec) {
		changeSet(s, "vmss-authz", func(s *SetSpec) { s.Create = &CreateSpec{Capacity: 6, Zones: []int{1, 2, 3}, FaultDomains: 2} })
	}, func(f *Fleet) { f.Sets[0].Model.FaultDomains = 2 })
	found := findingsOf(e, 16)
	require.Len(t, found, 1)
	require.True(t, found[0].Live)
	require.Equal(t, "scale_sets.vmss-authz.create.fault_domains", found[0].Key)
}

// TestOtherSets: scale sets that are not in the file are none of its business.
func TestOtherSets(t *testing.T) {
	e := joined(asIs, func(f *Fleet) {
		other := cleanSet("vmss-other")
		other.Model.SystemIdentity = true
		f.Sets = append(f.Sets, other)
	})
	require.Empty(t, Preflight(e))
}

// TestOrder: the resource with the worst finding comes first, and its worst first.
func TestOrder(t *testing.T) {
	found := Preflight(seen(func(f *Fleet) {
		a, b := &f.Sets[0], cleanSet("vmss-batch")
		a.Model.OSDiskDelete = "Detach" // a warning
		b.Model.OSDiskDelete = "Detach"
		b.Model.SystemIdentity = true // an error
		f.Sets = append(f.Sets, b)
	}))
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprint(f.Resource.Name, " ", f.Severity, " ", f.Trap))
	}
	require.Equal(t, []string{"vmss-batch error 22", "vmss-batch warning 57", "vmss-authz warning 57"}, got)
}

// TestNoSecret: a signature is in no finding.
func TestNoSecret(t *testing.T) {
	for _, c := range trapCases() {
		require.NotContains(t, fmt.Sprint(Preflight(c.armed)), "SECRET")
	}
}

// largeFleet has 1,000 members in 10 sets, with a finding about many of them.
func largeFleet() *Fleet {
	f := cleanFleet()
	f.Sets = nil
	for i := range 10 {
		set := cleanSet(fmt.Sprintf("vmss-%d", i))
		member := set.Members[0]
		set.Members, set.Model.Capacity = nil, 100
		for j := range 100 {
			member.Name = fmt.Sprintf("vmss-%d_%d", i, j)
			member.LatestModel = new(j%2 == 0)
			set.Members = append(set.Members, member)
		}
		f.Sets = append(f.Sets, set)
	}
	return f
}

// TestLargeFleet: one finding for a scale set, however many members it is about.
func TestLargeFleet(t *testing.T) {
	e := Evidence{Now: testNow, Live: largeFleet()}
	require.Len(t, findingsOf(e, 13), 10)
	perSet := make(map[string]int)
	for _, f := range Preflight(e) {
		perSet[f.Resource.Name]++
	}
	for name, n := range maps.All(perSet) {
		require.LessOrEqual(t, n, 3, name)
	}
}

func BenchmarkPreflight(b *testing.B) {
	e := Evidence{Now: testNow, Live: largeFleet()}
	for b.Loop() {
		Preflight(e)
	}
}
