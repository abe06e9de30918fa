// Package fleettest answers: what do the fleets look like that tests need again and
// again? Each is made anew by a function, so that a test may change what it got.
//
// It is for tests alone, and starts no goroutines.
package fleettest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Now is when the fleets were read.
var Now = time.Date(2026, 7, 9, 3, 12, 44, 0, time.UTC)

const (
	// Subscription is where everything is.
	Subscription = "11111111-1111-1111-1111-111111111111"
	// Group is the resource group there.
	Group = "rg-pay-prod"

	provider   = "/subscriptions/" + Subscription + "/resourceGroups/" + Group + "/providers/Microsoft.Compute/"
	definition = provider + "galleries/galProd/images/ubuntu-app"
)

// Fleets returns all fleets by name.
func Fleets() map[string]fleet.Fleet {
	return map[string]fleet.Fleet{
		"article":        Article(),
		"mixed":          Mixed(),
		"not-replicated": NotReplicated(),
		"wrong-version":  WrongVersion(),
		"gone":           Gone(),
		"no-health":      NoHealth(),
		"halted":         Halted(),
		"thousand":       Thousand(),
		"hostile":        Hostile(),
		"empty":          {At: Now},
	}
}

// Article is the fleet of the example of fleet.yaml, healthy: 1.7.1 serves
// everywhere, 1.7.0 failed, 1.8.0 is baked and excluded.
func Article() fleet.Fleet {
	authz := Set("vmss-authz", "eastus", "1.7.1", 3)
	authz.Autoscale = &fleet.Autoscale{Enabled: true, Min: 3, Max: 30, Def: 3, Predictive: "ForecastOnly"}
	west := Set("vmss-authz-west", "westus3", "1.7.1", 3)
	west.Autoscale = &fleet.Autoscale{Enabled: true, Min: 3, Max: 30, Def: 3}
	west.Members[0].ProtectScaleIn = true
	batch := Set("vmss-batch", "eastus", "1.7.1", 10)
	batch.Model.Spot, batch.Model.EvictionPolicy = true, "Deallocate"
	batch.Model.PriorityMix = &fleet.PriorityMix{RegularBase: 3, RegularAboveBase: 50}
	for i := range 3 {
		batch.Members[7+i].Spot = true
	}
	return fleet.Fleet{
		At:   Now,
		Sets: []fleet.Set{authz, west, batch},
		Galleries: []fleet.Gallery{{
			ID: provider + "galleries/galProd", Location: "eastus",
			Definitions: []fleet.Definition{{
				ID: definition, Location: "eastus", Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy",
				OS: "Linux", State: "Generalized", HyperV: "V2", Security: "TrustedLaunchSupported",
				Versions: []fleet.Version{version("1.7.0", true, 60), version("1.7.1", false, 30), version("1.8.0", true, 1)},
			}},
		}},
	}
}

// version is a version that is replicated to both regions.
func version(name string, excluded bool, days int) fleet.Version {
	v := fleet.Version{
		ID: fleet.ResourceID(definition + "/versions/" + name), Name: name, Provisioning: fleet.Succeeded,
		Published: Now.AddDate(0, 0, -days), Excluded: excluded, EndOfLife: Now.AddDate(0, 0, 180-days),
		Mode: "Full", Storage: "Standard_ZRS", Aggregated: fleet.Replicated,
		Regions: []fleet.Region{
			{Name: "eastus", Replicas: 3, Storage: "Standard_ZRS", State: fleet.Replicated, Progress: 100},
			{Name: "westus3", Replicas: 2, Storage: "Standard_ZRS", State: fleet.Replicated, Progress: 100},
		},
	}
	switch name {
	case "1.7.0":
		v.Tags = map[string]string{fleet.TagFailed: "HSM not reachable"}
	case "1.7.1":
		v.Tags = map[string]string{fleet.TagGood: "2026-06-10"}
	}
	return v
}

// Set is a scale set of healthy members that run a version of ubuntu-app, which the
// model pins.
func Set(name, location, version string, members int) fleet.Set {
	id := fleet.ResourceID(provider + "virtualMachineScaleSets/" + name)
	set := fleet.Set{Model: fleet.ScaleSet{
		ID: id, Location: location, Zones: []string{"1", "2", "3"}, Provisioning: fleet.Succeeded, Flexible: true, FaultDomains: 1,
		Capacity: members, VMSize: "Standard_D2as_v5", Image: fleet.ImageReference{ID: definition + "/versions/" + version},
		Upgrade: fleet.UpgradePolicy{Mode: fleet.Manual},
		Repairs: fleet.RepairsPolicy{Enabled: true, Grace: new(30 * time.Minute), Action: "Replace"},
		Extensions: []fleet.Extension{{
			Name: "ApplicationHealthLinux", Publisher: fleet.HealthPublisher, Type: fleet.HealthTypeLinux, Version: "2.0",
			Settings: map[string]any{"protocol": "http", "port": 8080, "requestPath": "/healthz", "intervalInSeconds": 5, "numberOfProbes": 2, "gracePeriod": 300},
		}},
	}}
	for i := range members {
		set.Members = append(set.Members, Member(fmt.Sprintf("%s_%08x", name, 0x5a1e0000+i), version, i))
	}
	return set
}

// Member is a healthy one.
func Member(name, version string, i int) fleet.Member {
	return fleet.Member{
		Name: name, ID: fleet.ResourceID(provider + "virtualMachines/" + name), Zone: strconv.Itoa(i%3 + 1), Created: Now.Add(-72 * time.Hour),
		Provisioning: fleet.Succeeded, Power: fleet.Running, LatestModel: new(true),
		Image:  fleet.ImageReference{ID: definition + "/versions/" + version, ExactVersion: version},
		Health: fleet.Healthy, HealthAt: Now.Add(-12 * time.Second), Extensions: map[string]string{fleet.HealthTypeLinux: "2.0.14"},
	}
}

// Pin makes the model of a set ask for another version, which its members do not
// have yet.
func Pin(set *fleet.Set, version string) {
	set.Model.Image.ID = definition + "/versions/" + version
	for i := range set.Members {
		set.Members[i].LatestModel = new(false)
	}
}

// Upgrade brings one member to a version, and to the model.
func Upgrade(m *fleet.Member, version string) {
	m.Image = fleet.ImageReference{ID: definition + "/versions/" + version, ExactVersion: version}
	m.LatestModel = new(true)
}

// Mixed is in the middle of a rolling upgrade that a user started.
func Mixed() fleet.Fleet {
	f := Article()
	s := &f.Sets[0]
	s.Model.Upgrade.Mode = fleet.Rolling
	Pin(s, "1.8.0")
	Upgrade(&s.Members[0], "1.8.0")
	s.Members[1].Provisioning, s.Members[1].Health = fleet.Updating, fleet.Initializing
	s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", StartedBy: "User", Start: Now.Add(-7 * time.Minute), Successful: 1, InProgress: 1, Pending: 1}
	return f
}

// NotReplicated asks for 1.8.0 in a region that it does not reach.
func NotReplicated() fleet.Fleet {
	f := Article()
	versions := f.Galleries[0].Definitions[0].Versions
	versions[2].Aggregated = fleet.ReplicationFailed
	versions[2].Regions[1] = fleet.Region{Name: "westus3", Replicas: 2, State: fleet.ReplicationFailed, Progress: 12, Details: "The replication failed because of an internal error. Remove the region and add it again."}
	Pin(&f.Sets[1], "1.8.0")
	return f
}

// WrongVersion has one member on another version than the model's, of which
// latestModelApplied says that all is well.
func WrongVersion() fleet.Fleet {
	f := Article()
	m := &f.Sets[0].Members[1]
	Upgrade(m, "1.7.0")
	m.Health = fleet.Unhealthy
	return f
}

// Gone has members that vanished, that are deallocated, and that are not running.
func Gone() fleet.Fleet {
	f := Article()
	batch := &f.Sets[2]
	for _, i := range []int{7, 8} {
		batch.Members[i].Power, batch.Members[i].Health, batch.Members[i].HealthAt = fleet.Deallocated, "", time.Time{}
	}
	regular := &batch.Members[0]
	regular.Power, regular.Health, regular.HealthAt = fleet.Deallocated, "", time.Time{}
	f.Sets[0].Members[2] = fleet.Member{Name: f.Sets[0].Members[2].Name, ID: f.Sets[0].Members[2].ID, Vanished: true}
	return f
}

// NoHealth has members without health, of Unknown health, and with old health.
func NoHealth() fleet.Fleet {
	f := Article()
	for i := range f.Sets[0].Members {
		f.Sets[0].Members[i].Health = fleet.HealthUnknown
	}
	west := f.Sets[1].Members
	west[0].Health, west[0].HealthAt, west[0].Extensions = fleet.HealthMissing, time.Time{}, map[string]string{}
	west[1].Health, west[1].HealthAt = fleet.HealthMissing, time.Time{}
	west[2].Power, west[2].Extensions, west[2].HealthAt = "", nil, time.Time{}
	west[2].Health, west[2].LatestModel, west[2].Image.ExactVersion = fleet.HealthMissing, nil, ""
	f.Sets[2].Members[4].HealthAt = Now.Add(-47 * time.Minute)
	return f
}

// Halted is a set whose automatic OS upgrade the platform halted.
func Halted() fleet.Fleet {
	f := Article()
	f.Galleries[0].Definitions[0].Versions[2].Excluded = false
	s := &f.Sets[0]
	s.Model.Image.ID = definition
	s.Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, AutoOS: true, Rolling: fleet.RollingPolicy{
		MaxBatch: new(20), MaxUnhealthy: new(20), MaxUnhealthyUpgraded: new(20), Pause: new(2 * time.Minute),
	}}
	for i := range s.Members {
		s.Members[i].Image.ID = definition
	}
	s.Members[0].Image.ExactVersion, s.Members[0].Health = "1.8.0", fleet.Unhealthy
	halt := fleet.RollingUpgrade{
		Code: "Faulted", StartedBy: "Platform", Start: Now.Add(-40 * time.Minute), End: Now.Add(-25 * time.Minute),
		Failed: 1, Pending: 2, ErrorCode: "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
		Error: "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the RollingUpgradePolicy. 100% of instances are in an unhealthy state after being upgraded - more than the threshold of 20%.",
	}
	s.Rolling = &halt
	entry := halt
	entry.Target = fleet.ImageReference{ID: definition, ExactVersion: "1.8.0"}
	entry.RolledBack = 1
	s.History = []fleet.RollingUpgrade{
		{Code: "Completed", StartedBy: "Platform", Start: Now.Add(-800 * time.Hour), End: Now.Add(-799 * time.Hour), Successful: 3, Target: fleet.ImageReference{ExactVersion: "1.7.1"}},
		entry,
	}
	return f
}

// Thousand is 1,000 members in 10 scale sets and 10 regions, of which one set has
// thirty unhealthy members.
func Thousand() fleet.Fleet {
	regions := []string{"eastus", "eastus2", "westus2", "westus3", "centralus", "northeurope", "westeurope", "uksouth", "germanywestcentral", "southeastasia"}
	f := Article()
	f.Sets = nil
	for i, region := range regions {
		set := Set(fmt.Sprintf("vmss-authz-%02d", i), region, "1.7.1", 100)
		set.Autoscale = &fleet.Autoscale{Enabled: true, Min: 100, Max: 200, Def: 100}
		f.Sets = append(f.Sets, set)
	}
	for i := range 30 {
		f.Sets[6].Members[i*3].Health = fleet.Unhealthy
	}
	versions := f.Galleries[0].Definitions[0].Versions
	for i := range versions {
		versions[i].Regions = nil
		for _, region := range regions {
			versions[i].Regions = append(versions[i].Regions, fleet.Region{Name: region, Replicas: 2, State: fleet.Replicated, Progress: 100})
		}
	}
	return f
}

// Hostile has names and texts that nobody expects.
func Hostile() fleet.Fleet {
	f := Article()
	s := &f.Sets[0]
	name := "vmss-\x1b[2J\x1b]0;owned\x07-\u202e" + strings.Repeat("long", 20)
	s.Model.ID = fleet.ResourceID(provider + "virtualMachineScaleSets/" + name)
	s.Model.Location = "east\x1b[31mus"
	s.Members[0].Name = strings.Repeat("m", 300)
	s.Members[0].Health = "HealthState/\x1b[0mnew"
	s.Members[1].Health = fleet.Unhealthy
	s.Members[1].Name = "a\nb\r\u009b31m"
	s.Members[2].Image.ExactVersion = strings.Repeat("9", 200)
	s.Rolling = &fleet.RollingUpgrade{Code: "Faulted", StartedBy: "somebody\x1b[1m", ErrorCode: "X", Error: strings.Repeat("because \x1b[5m", 400)}
	v := &f.Galleries[0].Definitions[0].Versions[2]
	v.Name = "1.8.0\x1b[2J"
	v.Regions[1].State, v.Regions[1].Details = fleet.ReplicationFailed, strings.Repeat("no\x07 ", 300)
	v.Tags = map[string]string{fleet.TagFailed: "\x1b[2Jreason"}
	return f
}
