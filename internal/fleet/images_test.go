package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

func TestImages(t *testing.T) {
	view := fleet.Images(fleettest.Article(), fleettest.Now)
	require.Len(t, view.Definitions, 1)
	d := view.Definitions[0]
	require.Equal(t, fleet.LevelOK, d.Level)
	require.Equal(t, []fleet.RegionLatest{{Region: "eastus", Version: "1.7.1", Known: true}, {Region: "westus3", Version: "1.7.1", Known: true}}, d.Latest)
	require.Equal(t, "1.8.0", d.Versions[0].Name)
	require.True(t, d.Versions[0].Excluded)
	require.Empty(t, d.Versions[0].UsedBy)
	used := d.Versions[1]
	require.True(t, used.Good)
	require.Equal(t, 16, used.Members)
	require.Equal(t, fleet.ImageUse{ScaleSet: "vmss-batch", Location: "eastus", Model: true, Members: 10}, used.UsedBy[2])
	require.True(t, used.Regions[0].Latest)
	require.Equal(t, "HSM not reachable", d.Versions[2].FailedWhy)
	require.Empty(t, view.Unread)
}

func TestImageProblems(t *testing.T) {
	used := func(f *fleet.Fleet) *fleet.Version { return &f.Galleries[0].Definitions[0].Versions[1] } // 1.7.1
	newest := func(f *fleet.Fleet) *fleet.Version { return &f.Galleries[0].Definitions[0].Versions[2] }
	for name, tc := range map[string]struct {
		change func(f *fleet.Fleet)
		want   map[string]fleet.Level
	}{
		"nothing":                  {func(*fleet.Fleet) {}, map[string]fleet.Level{}},
		"does not replicate":       {func(f *fleet.Fleet) { newest(f).Regions[1].State = fleet.ReplicationFailed }, map[string]fleet.Level{"not-replicated": fleet.LevelError}},
		"is on its way":            {func(f *fleet.Fleet) { newest(f).Regions[1].State = fleet.Replicating }, map[string]fleet.Level{"replicating": fleet.LevelInfo}},
		"is on its way and in use": {func(f *fleet.Fleet) { used(f).Regions[1].State = fleet.Replicating }, map[string]fleet.Level{"replicating": fleet.LevelError, "no-latest": fleet.LevelInfo}},
		"is not told":              {func(f *fleet.Fleet) { newest(f).Regions[1].State = "" }, map[string]fleet.Level{"replication-unknown": fleet.LevelWarning}},
		"failed":                   {func(f *fleet.Fleet) { newest(f).Provisioning = fleet.Failed }, map[string]fleet.Level{"version-provisioning": fleet.LevelError}},
		"is marked and in use":     {func(f *fleet.Fleet) { used(f).Tags = map[string]string{fleet.TagFailed: "x"} }, map[string]fleet.Level{"version-failed": fleet.LevelError}},
		"is past its end":          {func(f *fleet.Fleet) { used(f).EndOfLife = fleettest.Now.AddDate(0, 0, -1) }, map[string]fleet.Level{"end-of-life": fleet.LevelWarning}},
		"nobody's is past its end": {func(f *fleet.Fleet) { newest(f).EndOfLife = fleettest.Now.AddDate(0, 0, -1) }, map[string]fleet.Level{}},
		"is not in a region":       {func(f *fleet.Fleet) { used(f).Regions = used(f).Regions[:1] }, map[string]fleet.Level{"not-in-region": fleet.LevelError, "no-latest": fleet.LevelInfo}},
		"is gone":                  {func(f *fleet.Fleet) { used(f).Name = "1.7.2" }, map[string]fleet.Level{"version-gone": fleet.LevelError}},
		"is gone, members stay": {
			func(f *fleet.Fleet) { f.Sets[0].Members[0].Image.ExactVersion = "1.6.0" },
			map[string]fleet.Level{"version-gone": fleet.LevelInfo},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleettest.Article()
			tc.change(&f)
			d := fleet.Images(f, fleettest.Now).Definitions[0]
			require.Equal(t, tc.want, found(d.Problems))
		})
	}
}

// TestUnreadImages: what cannot be looked at is said, not left out.
func TestUnreadImages(t *testing.T) {
	f := fleettest.Article()
	f.Galleries = nil
	view := fleet.Images(f, fleettest.Now)
	require.Len(t, view.Unread, 3)
	require.Equal(t, "1.7.1", view.Unread[0].Version)
}
