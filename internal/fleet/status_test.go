package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

var options = fleet.StatusOptions{Now: fleettest.Now, HealthAge: 10 * time.Minute}

// found are the problems of a set, by id.
func found(problems []fleet.Problem) map[string]fleet.Level {
	ids := make(map[string]fleet.Level)
	for _, p := range problems {
		ids[p.ID] = p.Level
	}
	return ids
}

// statusOf is the status of the scale set called vmss-authz.
func statusOf(t *testing.T, f fleet.Fleet) fleet.SetStatus {
	t.Helper()
	for _, s := range fleet.Status(f, options).ScaleSets {
		if s.Name == "vmss-authz" {
			return s
		}
	}
	require.Fail(t, "vmss-authz is not shown")
	return fleet.SetStatus{}
}

// TestProblems: each is found where it is, alone, and the healthy fleet has none.
func TestProblems(t *testing.T) {
	type set = fleet.Set
	first := func(f *fleet.Fleet) *fleet.Version { return &f.Galleries[0].Definitions[0].Versions[1] } // 1.7.1
	for name, tc := range map[string]struct {
		change func(f *fleet.Fleet, s *set)
		want   map[string]fleet.Level
	}{
		"nothing":                {func(*fleet.Fleet, *set) {}, map[string]fleet.Level{}},
		"not Flexible":           {func(_ *fleet.Fleet, s *set) { s.Model.Flexible, s.Members = false, nil }, map[string]fleet.Level{"not-flexible": fleet.LevelWarning}},
		"last change failed":     {func(_ *fleet.Fleet, s *set) { s.Model.Provisioning = fleet.Failed }, map[string]fleet.Level{"set-failed": fleet.LevelError}},
		"being changed":          {func(_ *fleet.Fleet, s *set) { s.Model.Provisioning = fleet.Updating }, map[string]fleet.Level{"set-updating": fleet.LevelInfo}},
		"unhealthy":              {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.Unhealthy }, map[string]fleet.Level{"unhealthy": fleet.LevelError}},
		"unknown":                {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.HealthUnknown }, map[string]fleet.Level{"health-unknown": fleet.LevelError}},
		"initializing":           {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.Initializing }, map[string]fleet.Level{"initializing": fleet.LevelInfo}},
		"missing":                {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = fleet.HealthMissing }, map[string]fleet.Level{"health-missing": fleet.LevelWarning}},
		"health without a word":  {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = "" }, map[string]fleet.Level{"health-missing": fleet.LevelWarning}},
		"health of a new word":   {func(_ *fleet.Fleet, s *set) { s.Members[0].Health = "Busy" }, map[string]fleet.Level{"health-unknown": fleet.LevelError}},
		"old health":             {func(_ *fleet.Fleet, s *set) { s.Members[0].HealthAt = fleettest.Now.Add(-11 * time.Minute) }, map[string]fleet.Level{"health-old": fleet.LevelWarning}},
		"health without a time":  {func(_ *fleet.Fleet, s *set) { s.Members[0].HealthAt = time.Time{} }, map[string]fleet.Level{}},
		"deallocated":            {func(_ *fleet.Fleet, s *set) { s.Members[0].Power = fleet.Deallocated }, map[string]fleet.Level{"deallocated": fleet.LevelWarning}},
		"deallocated Spot":       {func(_ *fleet.Fleet, s *set) { s.Members[0].Power, s.Members[0].Spot = fleet.Deallocated, true }, map[string]fleet.Level{"deallocated-spot": fleet.LevelInfo}},
		"vanished":               {func(_ *fleet.Fleet, s *set) { s.Members[0].Vanished = true }, map[string]fleet.Level{"vanished": fleet.LevelError, "capacity": fleet.LevelWarning}},
		"member failed":          {func(_ *fleet.Fleet, s *set) { s.Members[0].Provisioning = fleet.Failed }, map[string]fleet.Level{"member-failed": fleet.LevelError}},
		"wrong version":          {func(_ *fleet.Fleet, s *set) { fleettest.Upgrade(&s.Members[0], "1.7.0") }, map[string]fleet.Level{"wrong-version": fleet.LevelError}},
		"another image":          {func(_ *fleet.Fleet, s *set) { s.Members[0].Image.ID = "/galleries/g/images/other" }, map[string]fleet.Level{"wrong-version": fleet.LevelError}},
		"version not told":       {func(_ *fleet.Fleet, s *set) { s.Members[0].Image.ExactVersion = "" }, map[string]fleet.Level{"version-unknown": fleet.LevelWarning}},
		"stale for another":      {func(_ *fleet.Fleet, s *set) { s.Members[0].LatestModel = new(false) }, map[string]fleet.Level{"stale-model": fleet.LevelWarning}},
		"short of capacity":      {func(_ *fleet.Fleet, s *set) { s.Model.Capacity = 5 }, map[string]fleet.Level{"capacity": fleet.LevelWarning}},
		"on the way to capacity": {func(_ *fleet.Fleet, s *set) { s.Model.Capacity, s.Model.Provisioning = 5, fleet.Updating }, map[string]fleet.Level{"capacity": fleet.LevelInfo, "set-updating": fleet.LevelInfo}},
		"at the maximum":         {func(_ *fleet.Fleet, s *set) { s.Autoscale.Max = 3; s.Autoscale.Min = 1 }, map[string]fleet.Level{"autoscale-max": fleet.LevelWarning}},
		"below the minimum":      {func(_ *fleet.Fleet, s *set) { s.Autoscale.Min = 4 }, map[string]fleet.Level{"autoscale-min": fleet.LevelWarning}},
		"autoscale is off":       {func(_ *fleet.Fleet, s *set) { s.Autoscale.Min, s.Autoscale.Enabled = 4, false }, map[string]fleet.Level{}},
		"no members":             {func(_ *fleet.Fleet, s *set) { s.Members, s.Model.Capacity, s.Autoscale = nil, 0, nil }, map[string]fleet.Level{"no-members": fleet.LevelInfo}},
		"version is gone":        {func(f *fleet.Fleet, _ *set) { first(f).Name = "1.7.2" }, map[string]fleet.Level{"version-gone": fleet.LevelError}},
		"version is marked":      {func(f *fleet.Fleet, _ *set) { first(f).Tags = map[string]string{fleet.TagFailed: ""} }, map[string]fleet.Level{"version-failed": fleet.LevelError}},
		"version failed":         {func(f *fleet.Fleet, _ *set) { first(f).Provisioning = fleet.Failed }, map[string]fleet.Level{"version-provisioning": fleet.LevelError}},
		"version goes elsewhere": {func(f *fleet.Fleet, _ *set) { first(f).Regions[0].Name = "uksouth" }, map[string]fleet.Level{"not-replicated": fleet.LevelError}},
		"version is on its way":  {func(f *fleet.Fleet, _ *set) { first(f).Regions[0].State = fleet.Replicating }, map[string]fleet.Level{"not-replicated": fleet.LevelError}},
		"version does not come":  {func(f *fleet.Fleet, _ *set) { first(f).Regions[0].State = fleet.ReplicationFailed }, map[string]fleet.Level{"not-replicated": fleet.LevelError}},
		"replication not told":   {func(f *fleet.Fleet, _ *set) { first(f).Regions[0].State = "" }, map[string]fleet.Level{"replication-unknown": fleet.LevelWarning}},
		"no gallery":             {func(f *fleet.Fleet, _ *set) { f.Galleries = nil }, map[string]fleet.Level{}},
		"latest of no gallery": {func(f *fleet.Fleet, s *set) {
			id, _ := s.Model.Image.Gallery()
			s.Model.Image.ID, f.Galleries = string(id.Definition), nil
		}, map[string]fleet.Level{"target-unknown": fleet.LevelWarning}},
		"halted": {func(_ *fleet.Fleet, s *set) {
			s.Rolling = &fleet.RollingUpgrade{Code: "Faulted", StartedBy: "Platform", Error: "x"}
		}, map[string]fleet.Level{"upgrade-halted": fleet.LevelError}},
		"completed": {func(_ *fleet.Fleet, s *set) { s.Rolling = &fleet.RollingUpgrade{Code: "Completed"} }, map[string]fleet.Level{}},
		"cancelled": {func(_ *fleet.Fleet, s *set) { s.Rolling = &fleet.RollingUpgrade{Code: "Cancelled"} }, map[string]fleet.Level{}},
		"cancelled midway": {func(_ *fleet.Fleet, s *set) {
			s.Rolling = &fleet.RollingUpgrade{Code: "Cancelled"}
			fleettest.Upgrade(&s.Members[0], "1.7.0")
		}, map[string]fleet.Level{"upgrade-cancelled": fleet.LevelWarning, "wrong-version": fleet.LevelError}},
		"under way": {func(_ *fleet.Fleet, s *set) {
			s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward"}
			fleettest.Upgrade(&s.Members[0], "1.7.0")
		}, map[string]fleet.Level{"upgrade-active": fleet.LevelInfo, "wrong-version": fleet.LevelInfo}},
		"under way and failing": {func(_ *fleet.Fleet, s *set) {
			s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Failed: 1}
		}, map[string]fleet.Level{"upgrade-active": fleet.LevelError}},
		"on the way back": {func(_ *fleet.Fleet, s *set) { s.Rolling = &fleet.RollingUpgrade{Code: "RollingBack"} }, map[string]fleet.Level{"upgrade-active": fleet.LevelError}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleettest.Article()
			tc.change(&f, &f.Sets[0])
			s := statusOf(t, f)
			require.Equal(t, tc.want, found(s.Problems))
			worst := fleet.LevelOK
			for _, p := range s.Problems {
				require.NotEmpty(t, p.Text)
				if p.Level.Rank() > worst.Rank() {
					worst = p.Level
				}
			}
			require.Equal(t, worst, s.Level)
		})
	}
}

// TestCounts: every member is counted once, whatever it is.
func TestCounts(t *testing.T) {
	for name, f := range fleettest.Fleets() {
		for _, s := range fleet.Status(f, options).ScaleSets {
			n := s.Counts
			require.Equal(t, n.Total, n.Healthy+n.Unhealthy+n.Initializing+n.Unknown+n.Missing+n.Deallocated+n.Vanished, name)
			require.Equal(t, n.Total, n.Spot+n.Regular, name)
			versions := 0
			for _, v := range s.Versions {
				versions += v.Members
			}
			require.Equal(t, n.Total-n.Vanished, versions, name)
			require.Len(t, s.Members, n.Total)
		}
	}
}

// TestWorstFirst: who has to act reads the first lines.
func TestWorstFirst(t *testing.T) {
	view := fleet.Status(fleettest.NotReplicated(), options)
	require.Equal(t, "vmss-authz-west", view.ScaleSets[0].Name)
	require.Equal(t, "not-replicated", view.ScaleSets[0].Problems[0].ID, "the cause comes before what it leads to")
	s := statusOf(t, fleettest.WrongVersion())
	require.Equal(t, "Unhealthy", s.Members[0].State)
	require.Equal(t, s.Members[0].Name, s.Problems[0].Members[0])
}

// TestRoots: a problem names what led to it where that can be seen.
func TestRoots(t *testing.T) {
	text := func(f fleet.Fleet, id string) string {
		for _, s := range fleet.Status(f, options).ScaleSets {
			for _, p := range s.Problems {
				if p.ID == id {
					return p.Text
				}
			}
		}
		return ""
	}
	require.Contains(t, text(fleettest.WrongVersion(), "unhealthy"), "on 1.7.0")
	require.Contains(t, text(fleettest.WrongVersion(), "wrong-version"), "runs 1.7.0, and the model asks for 1.7.1; latestModelApplied is true")
	require.Contains(t, text(fleettest.NoHealth(), "health-unknown"), "version 2 of the health extension takes an answer without JSON for Unknown")
	require.Contains(t, text(fleettest.NoHealth(), "health-missing"), "1 without the health extension")
	require.Contains(t, text(fleettest.Halted(), "upgrade-halted"), "the platform started 40m ago halted 25m ago")
	require.Contains(t, text(fleettest.Halted(), "upgrade-halted"), "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade: Rolling Upgrade failed")
	require.Contains(t, text(fleettest.Mixed(), "upgrade-active"), "a user started 7m ago")
}

// TestWhoseUpgrade: the status of an upgrade does not say whose it is, and the history
// does.
func TestWhoseUpgrade(t *testing.T) {
	f := fleettest.Halted()
	f.Sets[0].Rolling.StartedBy = ""
	require.Equal(t, "Platform", statusOf(t, f).Upgrade.StartedBy)
	f.Sets[0].History[1].Start = fleettest.Now
	require.Equal(t, "Unknown", statusOf(t, f).Upgrade.StartedBy)
	f.Sets[0].History = nil
	require.Equal(t, "Unknown", statusOf(t, f).Upgrade.StartedBy)
}

// TestDriver: the driver that fits what is seen.
func TestDriver(t *testing.T) {
	for _, tc := range []struct {
		policy fleet.UpgradePolicy
		want   fleet.Driver
	}{
		{fleet.UpgradePolicy{Mode: fleet.Manual}, fleet.DriverBatches},
		{fleet.UpgradePolicy{Mode: fleet.Rolling}, fleet.DriverPlatformRolling},
		{fleet.UpgradePolicy{Mode: fleet.Rolling, AutoOS: true}, fleet.DriverPlatformAutoOS},
		{fleet.UpgradePolicy{Mode: fleet.Manual, AutoOS: true}, fleet.DriverPlatformAutoOS},
		{fleet.UpgradePolicy{Mode: fleet.Automatic}, fleet.DriverNone},
		{fleet.UpgradePolicy{}, ""},
	} {
		require.Equal(t, tc.want, (&fleet.ScaleSet{Upgrade: tc.policy}).Driver())
	}
}

// TestMarketplace: an image of the Marketplace has a version, too.
func TestMarketplace(t *testing.T) {
	f := fleettest.Article()
	image := fleet.ImageReference{Publisher: "Canonical", Offer: "jammy", SKU: "gen2", Version: "latest"}
	f.Sets[0].Model.Image = image
	image.ExactVersion = "22.04.202607010"
	for i := range f.Sets[0].Members {
		f.Sets[0].Members[i].Image = image
	}
	s := statusOf(t, f)
	require.Equal(t, map[string]fleet.Level{"target-unknown": fleet.LevelWarning}, found(s.Problems))
	require.Equal(t, "22.04.202607010", s.Versions[0].Version)
	f.Sets[0].Model.Image.Version = "22.04.202607010"
	require.Empty(t, statusOf(t, f).Problems)
}
