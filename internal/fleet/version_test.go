package fleet

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompareVersions(t *testing.T) {
	want := []string{"", "1.10", "latest", "0.9.9", "1.2.3", "1.10.0", "1.10.1", "4294967295.0.0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareVersions)
	require.Equal(t, want, got)
	require.Zero(t, CompareVersions("1.2.3", "1.2.3"))
	require.Zero(t, CompareVersions("x", "x"))
}

// TestLatest: what Azure takes for a reference without version.
func TestLatest(t *testing.T) {
	version := func(name, state string, change func(*Version)) Version {
		v := Version{Name: name, Provisioning: Succeeded, Regions: []Region{{Name: "East US", State: state}}}
		if change != nil {
			change(&v)
		}
		return v
	}
	for name, tc := range map[string]struct {
		newer Version
		want  string
		known bool
	}{
		"the highest":               {version("1.10.0", Replicated, nil), "1.10.0", true},
		"excluded":                  {version("1.10.0", Replicated, func(v *Version) { v.Excluded = true }), "1.9.0", true},
		"excluded in the region":    {version("1.10.0", Replicated, func(v *Version) { v.Regions[0].Excluded = true }), "1.9.0", true},
		"updating":                  {version("1.10.0", Replicated, func(v *Version) { v.Provisioning = Updating }), "1.9.0", true},
		"failed":                    {version("1.10.0", Replicated, func(v *Version) { v.Provisioning = Failed }), "1.9.0", true},
		"replicating":               {version("1.10.0", Replicating, nil), "1.9.0", true},
		"not replicated":            {version("1.10.0", ReplicationFailed, nil), "1.9.0", true},
		"of other regions":          {version("1.10.0", Replicated, func(v *Version) { v.Regions[0].Name = "westus3" }), "1.9.0", true},
		"replication not told":      {version("1.10.0", "", nil), "", false},
		"replication unknown":       {version("1.10.0", "Unknown", nil), "", false},
		"not told of an excluded":   {version("1.10.0", "", func(v *Version) { v.Excluded = true }), "1.9.0", true},
		"not told of an older one":  {version("1.8.0", "", nil), "1.9.0", true},
		"a name that is no version": {version("latest", Replicated, nil), "1.9.0", true},
	} {
		t.Run(name, func(t *testing.T) {
			d := Definition{Versions: []Version{version("1.9.0", Replicated, nil), tc.newer}}
			latest, known := d.Latest("eastus")
			require.Equal(t, tc.known, known)
			if tc.want == "" {
				require.Nil(t, latest)
			} else {
				require.Equal(t, tc.want, latest.Name)
			}
		})
	}
	none, known := new(Definition).Latest("eastus")
	require.Nil(t, none)
	require.True(t, known)
}

// A gallery that is shared cannot be read, and its image has a name and a version.
func TestSharedImage(t *testing.T) {
	for id, want := range map[string]Target{
		"/CommunityGalleries/pub-1/Images/ubuntu-app/Versions/1.7.1":     {Image: "ubuntu-app", Version: "1.7.1", Pinned: true},
		"/SharedGalleries/sub-GALPROD/Images/ubuntu-app/Versions/latest": {Image: "ubuntu-app", Unknown: "the gallery is shared by another subscription, and not read"},
		"/sharedGalleries/sub-GALPROD/images/ubuntu-app":                 {Image: "ubuntu-app", Unknown: "the gallery is shared by another subscription, and not read"},
	} {
		image := ImageReference{ID: id}
		target := catalog{}.target(&ScaleSet{Image: image})
		require.Equal(t, want, target)
		require.Equal(t, "1.7.1", target.runs(&Member{Image: ImageReference{ID: id, ExactVersion: "1.7.1"}}))
	}
}
