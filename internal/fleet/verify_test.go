package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

// articleFile is a file that the article's fleet is as it says.
func articleFile() *fleet.Spec {
	set := func(location string) fleet.SetSpec {
		return fleet.SetSpec{
			Manage: fleet.ManageFull, Tracks: fleet.TracksPinned, Location: location,
			Health:  &fleet.HealthSpec{Extension: "2.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 2, Grace: 5 * time.Minute},
			Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute},
			Repairs: &fleet.RepairsSpec{After: 30 * time.Minute, Action: "replace"},
		}
	}
	authz, west := set("eastus"), set("westus3")
	authz.Autoscale = &fleet.AutoscaleSpec{Min: 3, Max: 30}
	west.Autoscale = &fleet.AutoscaleSpec{Min: 3, Max: 30}
	return &fleet.Spec{
		Subscription: fleettest.Subscription, ResourceGroup: "RG-pay-prod", Location: "eastus",
		Gallery:   &fleet.GallerySpec{Name: "galProd", Image: fleet.DefinitionSpec{Name: "ubuntu-app"}, Replicate: fleet.ReplicateAtBake, Regions: map[string]int{"westus3": 2}},
		ScaleSets: map[string]fleet.SetSpec{"vmss-authz": authz, "vmss-authz-west": west, "vmss-batch": set("eastus")},
	}
}

// health are the settings of a scale set's health extension.
func health(s *fleet.Set) map[string]any { return s.Model.Extensions[0].Settings }

// verdicts are the checks that are not ok, as "SUBJECT CHECK".
func verdicts(view fleet.VerifyView) map[string]fleet.Verdict {
	found := make(map[string]fleet.Verdict)
	for _, c := range view.Checks {
		if c.Verdict != fleet.OK {
			found[c.Subject+" "+c.Check] = c.Verdict
		}
	}
	return found
}

// TestVerify: what is judged without a file. A check fails where it should, and
// nothing else does.
func TestVerify(t *testing.T) {
	type set = fleet.Set
	newest := func(f *fleet.Fleet) *fleet.Version { return &f.Galleries[0].Definitions[0].Versions[2] }
	auto := func(s *set) {
		id, _ := s.Model.Image.Gallery()
		s.Model.Image.ID, s.Model.Upgrade = string(id.Definition), fleet.UpgradePolicy{Mode: fleet.Rolling, AutoOS: true}
	}
	for name, tc := range map[string]struct {
		change func(f *fleet.Fleet, s *set)
		want   map[string]fleet.Verdict
	}{
		"healthy":                  {func(*fleet.Fleet, *set) {}, map[string]fleet.Verdict{}},
		"not Flexible":             {func(_ *fleet.Fleet, s *set) { s.Model.Flexible, s.Members = false, nil }, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown, "vmss-authz version": fleet.NotKnown, "vmss-authz model": fleet.NotKnown}},
		"a region is missing":      {func(f *fleet.Fleet, _ *set) { newest(f).Regions[1].State = fleet.ReplicationFailed }, map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.VerifyFailed}},
		"a region is not there":    {func(f *fleet.Fleet, _ *set) { newest(f).Regions[1].State = fleet.Replicating }, map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.VerifyFailed}},
		"a region is not told":     {func(f *fleet.Fleet, _ *set) { newest(f).Regions[1].State = "" }, map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.NotKnown}},
		"a version is Updating":    {func(f *fleet.Fleet, _ *set) { newest(f).Provisioning = fleet.Updating }, map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.VerifyFailed}},
		"a version is nowhere":     {func(f *fleet.Fleet, _ *set) { newest(f).Regions = nil }, map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.NotKnown}},
		"unhealthy":                {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.Unhealthy }, map[string]fleet.Verdict{"vmss-authz health": fleet.VerifyFailed}},
		"unknown":                  {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.HealthUnknown }, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown}},
		"missing":                  {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.HealthMissing }, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown}},
		"initializing":             {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.Initializing }, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown}},
		"old":                      {func(_ *fleet.Fleet, s *set) { s.Members[0].HealthAt = fleettest.Now.Add(-time.Hour) }, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown}},
		"vanished":                 {func(_ *fleet.Fleet, s *set) { s.Members[0].Vanished = true }, map[string]fleet.Verdict{"vmss-authz health": fleet.VerifyFailed}},
		"deallocated":              {func(_ *fleet.Fleet, s *set) { s.Members[0].Power = fleet.Deallocated }, map[string]fleet.Verdict{"vmss-authz health": fleet.VerifyFailed}},
		"evicted":                  {func(_ *fleet.Fleet, s *set) { s.Members[0].Power, s.Members[0].Spot = fleet.Deallocated, true }, map[string]fleet.Verdict{}},
		"wrong version":            {func(_ *fleet.Fleet, s *set) { fleettest.Upgrade(&s.Members[0], "1.7.0") }, map[string]fleet.Verdict{"vmss-authz version": fleet.VerifyFailed}},
		"version not told":         {func(_ *fleet.Fleet, s *set) { s.Members[0].Image.ExactVersion = "" }, map[string]fleet.Verdict{"vmss-authz version": fleet.NotKnown}},
		"stale":                    {func(_ *fleet.Fleet, s *set) { s.Members[0].LatestModel = new(false) }, map[string]fleet.Verdict{"vmss-authz model": fleet.VerifyFailed}},
		"model not told":           {func(_ *fleet.Fleet, s *set) { s.Members[0].LatestModel = nil }, map[string]fleet.Verdict{"vmss-authz model": fleet.NotKnown}},
		"no rolling under Manual":  {func(_ *fleet.Fleet, s *set) { s.Rolling = nil }, map[string]fleet.Verdict{}},
		"an old halt under Manual": {func(_ *fleet.Fleet, s *set) { s.Rolling = &fleet.RollingUpgrade{Code: "Faulted"} }, map[string]fleet.Verdict{}},
		"the platform's under Manual": {
			func(_ *fleet.Fleet, s *set) { s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward"} },
			map[string]fleet.Verdict{"vmss-authz upgrade": fleet.NotKnown},
		},
		"mode not told":          {func(_ *fleet.Fleet, s *set) { s.Model.Upgrade.Mode = "" }, map[string]fleet.Verdict{"vmss-authz upgrade": fleet.NotKnown}},
		"none yet under Rolling": {func(_ *fleet.Fleet, s *set) { s.Model.Upgrade.Mode = fleet.Rolling }, map[string]fleet.Verdict{}},
		"halted under Rolling": {func(_ *fleet.Fleet, s *set) {
			s.Model.Upgrade.Mode, s.Rolling = fleet.Rolling, &fleet.RollingUpgrade{Code: "Faulted"}
		}, map[string]fleet.Verdict{"vmss-authz upgrade": fleet.VerifyFailed}},
		"cancelled under Rolling": {func(_ *fleet.Fleet, s *set) {
			s.Model.Upgrade.Mode, s.Rolling = fleet.Rolling, &fleet.RollingUpgrade{Code: "Cancelled"}
		}, map[string]fleet.Verdict{"vmss-authz upgrade": fleet.VerifyFailed}},
		"completed under Rolling": {func(_ *fleet.Fleet, s *set) {
			s.Model.Upgrade.Mode, s.Rolling = fleet.Rolling, &fleet.RollingUpgrade{Code: "Completed"}
		}, map[string]fleet.Verdict{}},
		"behind and no upgrade under Rolling": {func(_ *fleet.Fleet, s *set) {
			s.Model.Upgrade.Mode = fleet.Rolling
			fleettest.Upgrade(&s.Members[0], "1.7.0")
		}, map[string]fleet.Verdict{"vmss-authz version": fleet.VerifyFailed, "vmss-authz upgrade": fleet.VerifyFailed}},
		"automatic OS upgrade": {func(_ *fleet.Fleet, s *set) { auto(s) }, map[string]fleet.Verdict{}},
		"automatic OS upgrade, rolled back": {func(_ *fleet.Fleet, s *set) {
			auto(s)
			s.History = []fleet.RollingUpgrade{{Code: "Completed", Start: fleettest.Now.Add(-time.Hour), RolledBack: 1}, {Code: "Completed"}}
		}, map[string]fleet.Verdict{"vmss-authz history": fleet.VerifyFailed}},
		"automatic OS upgrade, failed before": {func(_ *fleet.Fleet, s *set) {
			auto(s)
			s.History = []fleet.RollingUpgrade{{Code: "Faulted"}, {Code: "Completed", Start: fleettest.Now.Add(-time.Hour)}}
		}, map[string]fleet.Verdict{}},
		"no members": {
			func(_ *fleet.Fleet, s *set) { s.Members, s.Model.Capacity = nil, 0 },
			map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown, "vmss-authz version": fleet.NotKnown, "vmss-authz model": fleet.NotKnown},
		},
		"no gallery":    {func(f *fleet.Fleet, _ *set) { f.Galleries = nil }, map[string]fleet.Verdict{"ubuntu-app replication": fleet.NotKnown}},
		"no scale sets": {func(f *fleet.Fleet, _ *set) { f.Sets = nil }, map[string]fleet.Verdict{"fleet scale-sets": fleet.NotKnown}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleettest.Article()
			tc.change(&f, &f.Sets[0])
			view := fleet.Verify(f, nil, options)
			require.Equal(t, tc.want, verdicts(view))
			require.Equal(t, len(view.Checks), view.OK+view.NotKnown+view.Failed)
			require.Equal(t, len(tc.want) == 0, view.Verdict == fleet.OK)
		})
	}
}

// TestVerifyAllSpotGone: members that are all deallocated are no evidence.
func TestVerifyAllSpotGone(t *testing.T) {
	f := fleettest.Article()
	for i := range f.Sets[0].Members {
		f.Sets[0].Members[i].Power, f.Sets[0].Members[i].Spot = fleet.Deallocated, true
	}
	require.Equal(t, map[string]fleet.Verdict{"vmss-authz health": fleet.NotKnown}, verdicts(fleet.Verify(f, nil, options)))
}

// TestVerifyFile: what is judged by what the file says.
func TestVerifyFile(t *testing.T) {
	change := func(spec *fleet.Spec, f func(*fleet.SetSpec)) {
		set := spec.ScaleSets["vmss-authz"]
		f(&set)
		spec.ScaleSets["vmss-authz"] = set
	}
	for name, tc := range map[string]struct {
		change func(spec *fleet.Spec, f *fleet.Fleet)
		want   map[string]fleet.Verdict
	}{
		"as it says": {func(*fleet.Spec, *fleet.Fleet) {}, map[string]fleet.Verdict{}},
		"a set is not there": {
			func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets = f.Sets[1:] },
			map[string]fleet.Verdict{"vmss-authz scale-set": fleet.VerifyFailed},
		},
		"a set of another group": {
			func(spec *fleet.Spec, _ *fleet.Fleet) { spec.ResourceGroup = "rg-other" },
			map[string]fleet.Verdict{"vmss-authz scale-set": fleet.VerifyFailed, "vmss-authz-west scale-set": fleet.VerifyFailed, "vmss-batch scale-set": fleet.VerifyFailed},
		},
		"a set by its id": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.ID = f.Sets[0].Model.ID })
		}, map[string]fleet.Verdict{}},
		"a set that the file does not know": {func(spec *fleet.Spec, f *fleet.Fleet) {
			f.Sets[2].Members[0].Health = fleet.Unhealthy
			delete(spec.ScaleSets, "vmss-batch")
		}, map[string]fleet.Verdict{}},
		"another mode": {func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Model.Upgrade.Mode = fleet.Rolling }, map[string]fleet.Verdict{"vmss-authz policy": fleet.VerifyFailed}},
		"another driver": {func(spec *fleet.Spec, _ *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
		}, map[string]fleet.Verdict{"vmss-authz policy": fleet.VerifyFailed}},
		"the policy of a platform's driver": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
			f.Sets[0].Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, Rolling: fleet.RollingPolicy{
				MaxBatch: new(20), MaxUnhealthy: new(35), MaxUnhealthyUpgraded: new(0), Pause: new(2 * time.Minute),
			}}
		}, map[string]fleet.Verdict{}},
		"a batch that Azure means": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
			f.Sets[0].Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, Rolling: fleet.RollingPolicy{
				MaxUnhealthy: new(35), MaxUnhealthyUpgraded: new(0), Pause: new(2 * time.Minute),
			}}
		}, map[string]fleet.Verdict{}},
		"a threshold that Azure means": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
			f.Sets[0].Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, Rolling: fleet.RollingPolicy{
				MaxUnhealthyUpgraded: new(0), Pause: new(2 * time.Minute),
			}}
		}, map[string]fleet.Verdict{"vmss-authz policy": fleet.VerifyFailed}},
		"another batch": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
			f.Sets[0].Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, Rolling: fleet.RollingPolicy{
				MaxBatch: new(50), MaxUnhealthy: new(35), MaxUnhealthyUpgraded: new(0), Pause: new(2 * time.Minute),
			}}
		}, map[string]fleet.Verdict{"vmss-authz policy": fleet.VerifyFailed}},
		"no version where one is pinned": {func(_ *fleet.Spec, f *fleet.Fleet) {
			id, _ := f.Sets[0].Model.Image.Gallery()
			f.Sets[0].Model.Image.ID = string(id.Definition)
		}, map[string]fleet.Verdict{"vmss-authz image": fleet.VerifyFailed}},
		"a version where the latest is tracked": {func(spec *fleet.Spec, _ *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Tracks = fleet.TracksLatest })
		}, map[string]fleet.Verdict{"vmss-authz image": fleet.VerifyFailed}},
		"another image": {
			func(spec *fleet.Spec, _ *fleet.Fleet) { spec.Gallery.Image.Name = "debian-app" },
			map[string]fleet.Verdict{"vmss-authz image": fleet.VerifyFailed, "vmss-authz-west image": fleet.VerifyFailed, "vmss-batch image": fleet.VerifyFailed},
		},
		"another endpoint": {
			func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Model.Extensions[0].Settings["requestPath"] = "/" },
			map[string]fleet.Verdict{"vmss-authz health-extension": fleet.VerifyFailed},
		},
		"an image of the same name": {func(_ *fleet.Spec, f *fleet.Fleet) {
			f.Sets[0].Model.Image.ID = strings.Replace(f.Sets[0].Model.Image.ID, "galProd", "galTest", 1)
			f.Sets[0].Members = nil
		}, map[string]fleet.Verdict{
			"vmss-authz image": fleet.VerifyFailed, "ubuntu-app replication": fleet.NotKnown,
			"vmss-authz health": fleet.NotKnown, "vmss-authz version": fleet.NotKnown, "vmss-authz model": fleet.NotKnown,
		}},
		"probed otherwise": {func(_ *fleet.Spec, f *fleet.Fleet) {
			for i, name := range []string{"intervalInSeconds", "numberOfProbes", "gracePeriod"} {
				health(&f.Sets[i])[name] = 60.0
			}
		}, map[string]fleet.Verdict{
			"vmss-authz health-extension": fleet.VerifyFailed, "vmss-authz-west health-extension": fleet.VerifyFailed, "vmss-batch health-extension": fleet.VerifyFailed,
		}},
		"no extension": {func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Model.Extensions = nil }, map[string]fleet.Verdict{"vmss-authz health-extension": fleet.VerifyFailed}},
		"no repairs":   {func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Model.Repairs.Enabled = false }, map[string]fleet.Verdict{"vmss-authz repairs": fleet.VerifyFailed}},
		"other repairs": {
			func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Model.Repairs.Grace = new(10 * time.Minute) },
			map[string]fleet.Verdict{"vmss-authz repairs": fleet.VerifyFailed},
		},
		"no autoscale":    {func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Autoscale = nil }, map[string]fleet.Verdict{"vmss-authz autoscale": fleet.VerifyFailed}},
		"other autoscale": {func(_ *fleet.Spec, f *fleet.Fleet) { f.Sets[0].Autoscale.Max = 10 }, map[string]fleet.Verdict{"vmss-authz autoscale": fleet.VerifyFailed}},
		"a region that the newest version does not go to": {
			func(spec *fleet.Spec, _ *fleet.Fleet) { spec.Gallery.Regions["uksouth"] = 1 },
			map[string]fleet.Verdict{"ubuntu-app 1.8.0 replication": fleet.VerifyFailed},
		},
		"a region that a wave brings": {func(spec *fleet.Spec, _ *fleet.Fleet) {
			spec.Gallery.Regions["uksouth"], spec.Gallery.Replicate = 1, fleet.ReplicateByWave
		}, map[string]fleet.Verdict{}},
		"what is somebody else's": {func(spec *fleet.Spec, f *fleet.Fleet) {
			change(spec, func(s *fleet.SetSpec) { s.Manage = fleet.ManageImage })
			f.Sets[0].Model.Extensions, f.Sets[0].Model.Repairs.Enabled, f.Sets[0].Autoscale = nil, false, nil
		}, map[string]fleet.Verdict{}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, f := articleFile(), fleettest.Article()
			tc.change(spec, &f)
			require.Equal(t, tc.want, verdicts(fleet.Verify(f, spec, options)))
		})
	}
}
