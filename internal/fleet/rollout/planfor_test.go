package rollout

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

// spec is a file for the fleet of the article: a canary in one set, then all, then west.
func spec() fleet.Spec {
	set := func(location string) fleet.SetSpec {
		return fleet.SetSpec{
			Manage: fleet.ManageFull, Tracks: fleet.TracksPinned, Location: location,
			Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute, Order: "zone"},
		}
	}
	return fleet.Spec{
		Version: 1, Name: "pay", Subscription: fleettest.Subscription, ResourceGroup: fleettest.Group, Location: "eastus",
		Gallery:   &fleet.GallerySpec{Name: "galProd", Manage: fleet.ManageFull, Image: fleet.DefinitionSpec{Name: "ubuntu-app"}, Replicate: fleet.ReplicateAtBake},
		ScaleSets: map[string]fleet.SetSpec{"vmss-authz": set("eastus"), "vmss-batch": set("eastus"), "vmss-authz-west": set("westus3")},
		Rollout: &fleet.RolloutSpec{
			Waves: []fleet.WaveSpec{
				{Name: "canary", ScaleSets: []string{"vmss-authz"}, Instances: 1, Soak: 30 * time.Minute},
				{Name: "east", ScaleSets: []string{"vmss-authz", "vmss-batch"}, Soak: 4 * time.Hour},
				{Name: "west", ScaleSets: []string{"vmss-authz-west"}, Soak: 24 * time.Hour, Approve: true},
			},
			ObserveEvery: 5 * time.Minute, Drain: "run-command",
			Gates:  fleet.GatesSpec{HealthyWithin: 10 * time.Minute, HealthyFor: time.Minute, Stuck: 30 * time.Minute},
			OnHalt: fleet.OnHaltSpec{Scope: "rollout", Diagnose: "run-command", Notify: "https://hooks.example/x"},
		},
	}
}

func TestPlanOfTheArticle(t *testing.T) {
	p, refusals := PlanFor(spec(), fleettest.Article(), "1.8.0", Options{})
	require.Empty(t, refusals)
	require.Equal(t, "1.7.1", p.Sets["vmss-authz"].LastGood)
	require.Equal(t, 1, p.Sets["vmss-authz"].LastWave)
	require.Equal(t, []SetExposure{{Set: "vmss-authz", Taken: 1, Births: 27, Worst: 28}}, withoutOthers(p.Exposure[0].Sets), "one is taken, and autoscale may add 27 while the model points at 1.8.0")
	require.Equal(t, 40, p.Exposure[1].Worst, "30 of vmss-authz at most, 10 of vmss-batch")
	require.Equal(t, 70, p.Exposure[2].Worst)
	require.Equal(t, 15*time.Minute, p.Reaction)
	require.Greater(t, p.Shortest, 28*time.Hour+30*time.Minute)

	text, err := json.Marshal(p)
	require.NoError(t, err)
	var back Plan
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, p, back)
}

// A gate that cannot have its answers by the end of the first soak stops no wave there, and
// the plan says so.
func TestPlanOfAGateThatIsLate(t *testing.T) {
	for soak, notes := range map[time.Duration]int{time.Minute: 1, 10 * time.Minute: 0} {
		s := spec()
		s.Rollout.Waves[0].Soak = soak
		s.Rollout.Gates.Prometheus = []fleet.PrometheusSpec{{Name: "errors", Step: time.Minute, For: 5}}
		p, _ := PlanFor(s, fleettest.Article(), "1.8.0", Options{})
		require.Len(t, p.Notes, notes)
		if notes > 0 {
			require.Equal(t, "gate errors needs answers of 4m, and wave canary soaks 1m: it cannot fail there", p.Notes[0])
		}
	}
}

// withoutOthers leaves out what repairs and Spot add.
func withoutOthers(list []SetExposure) []SetExposure {
	for i := range list {
		list[i].Worst -= list[i].Others
		list[i].Others = 0
	}
	return list
}

func TestPlanRefuses(t *testing.T) {
	set := func(f *fleet.Fleet, name string) *fleet.Set {
		for i := range f.Sets {
			if f.Sets[i].Model.ID.Name() == name {
				return &f.Sets[i]
			}
		}
		return nil
	}
	change := func(s *fleet.Spec, name string, f func(*fleet.SetSpec)) {
		spec := s.ScaleSets[name]
		f(&spec)
		s.ScaleSets[name] = spec
	}
	drive := func(d fleet.Driver) func(*fleet.SetSpec) {
		return func(s *fleet.SetSpec) { s.Upgrade.Driver, s.Upgrade.Order = d, "" }
	}
	for _, c := range []struct {
		name    string
		version string
		change  func(*fleet.Spec, *fleet.Fleet)
		options Options
		want    []string
		text    string // of the first refusal
	}{
		{name: "nothing when all is well"},
		{name: "a version that failed", version: "1.7.0", want: []string{"version-failed"}},
		{name: "a version that is not there", version: "9.9.9", want: []string{"no-version"}},
		{name: "a file without waves", change: func(s *fleet.Spec, _ *fleet.Fleet) { s.Rollout = nil }, want: []string{"no-waves"}},
		{name: "a set that the file does not have", change: func(s *fleet.Spec, _ *fleet.Fleet) { delete(s.ScaleSets, "vmss-batch") }, want: []string{"no-set"}},
		{name: "a set that is not in Azure", change: func(_ *fleet.Spec, f *fleet.Fleet) { set(f, "vmss-batch").Model.ID += "x" }, want: []string{"not-there"}},
		{name: "a set that is only observed", change: func(s *fleet.Spec, _ *fleet.Fleet) {
			change(s, "vmss-batch", func(s *fleet.SetSpec) { s.Manage = fleet.ManageObserve })
		}, want: []string{"observe"}},
		{name: "a platform's driver for a set whose mode is somebody else's", change: func(s *fleet.Spec, f *fleet.Fleet) {
			change(s, "vmss-batch", drive(fleet.DriverPlatformRolling))
			change(s, "vmss-batch", func(s *fleet.SetSpec) { s.Manage = fleet.ManageImage })
			set(f, "vmss-batch").Model.Upgrade.Mode = fleet.Rolling
		}, want: []string{"not-ours"}},
		{name: "not batches for a set whose mode is somebody else's", change: func(s *fleet.Spec, _ *fleet.Fleet) {
			change(s, "vmss-batch", func(s *fleet.SetSpec) { s.Manage = fleet.ManageImage })
		}},
		{name: "a set in two waves under a platform's driver", change: func(s *fleet.Spec, f *fleet.Fleet) {
			change(s, "vmss-authz", drive(fleet.DriverPlatformRolling))
			set(f, "vmss-authz").Model.Upgrade.Mode = fleet.Rolling
		}, want: []string{"instances", "two-waves"}},
		{name: "zone order under a platform's driver", change: func(s *fleet.Spec, f *fleet.Fleet) {
			change(s, "vmss-batch", func(s *fleet.SetSpec) { s.Upgrade.Driver = fleet.DriverPlatformRolling })
			set(f, "vmss-batch").Model.Upgrade.Mode = fleet.Rolling
		}, want: []string{"order"}},
		{name: "a set that no wave takes whole", change: func(s *fleet.Spec, _ *fleet.Fleet) { s.Rollout.Waves[1].ScaleSets = []string{"vmss-batch"} }, want: []string{"part-only"}},
		{name: "a mode that the driver cannot work with", change: func(_ *fleet.Spec, f *fleet.Fleet) { set(f, "vmss-batch").Model.Upgrade.Mode = fleet.Automatic }, want: []string{"mode"}},
		{name: "automatic OS upgrade that is off", change: func(s *fleet.Spec, _ *fleet.Fleet) {
			change(s, "vmss-batch", drive(fleet.DriverPlatformAutoOS))
		}, want: []string{"mode"}},
		{name: "batches over a reference without a version", change: func(_ *fleet.Spec, f *fleet.Fleet) {
			set(f, "vmss-batch").Model.Image.ID = string(fleettest.Article().Galleries[0].Definitions[0].ID)
		}, want: []string{"unversioned"}},
		{name: "a model of another image", change: func(_ *fleet.Spec, f *fleet.Fleet) {
			set(f, "vmss-batch").Model.Image.ID = "/subscriptions/x/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/other/versions/1.0.0"
		}, want: []string{"other-image"}},
		{name: "too many that are not Healthy already", change: func(_ *fleet.Spec, f *fleet.Fleet) {
			for i := range 2 {
				set(f, "vmss-authz").Members[i].Health = fleet.Unhealthy
			}
		}, want: []string{"baseline"}},
		{name: "members stale for another reason than the image", change: func(_ *fleet.Spec, f *fleet.Fleet) { set(f, "vmss-authz").Members[0].LatestModel = new(false) }, want: []string{"stale"}},
		{name: "not when the model may ride along", change: func(_ *fleet.Spec, f *fleet.Fleet) { set(f, "vmss-authz").Members[0].LatestModel = new(false) }, options: Options{WithModel: true}},
		{name: "a schedule that looks too seldom for time to count", options: Options{Schedule: 20 * time.Minute}, want: []string{"schedule"}},
		{name: "no way back", change: noWayBack, want: []string{"no-way-back", "no-way-back", "no-way-back"}},
		{name: "sets that have the version already", version: "1.7.1", want: []string{"no-way-back", "no-way-back", "no-way-back"}, text: "its Healthy members run 1.7.1 already"},
		{name: "not when no way back is accepted", change: noWayBack, options: Options{NoReturn: true}},
		{name: "a region shared by sets that follow the latest", change: func(s *fleet.Spec, f *fleet.Fleet) {
			definition := string(fleettest.Article().Galleries[0].Definitions[0].ID)
			for _, name := range []string{"vmss-batch", "vmss-authz"} {
				set(f, name).Model.Image.ID = definition
				set(f, name).Model.Upgrade = fleet.UpgradePolicy{Mode: fleet.Rolling, AutoOS: true}
			}
			change(s, "vmss-batch", drive(fleet.DriverPlatformAutoOS))
			s.Rollout.Waves = []fleet.WaveSpec{{Name: "east", ScaleSets: []string{"vmss-batch"}}}
		}, want: []string{"shared-region"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := spec(), fleettest.Article()
			if c.change != nil {
				c.change(&s, &f)
			}
			if c.version == "" {
				c.version = "1.8.0"
			}
			_, refusals := PlanFor(s, f, c.version, c.options)
			var ids []string
			for _, r := range refusals {
				require.NotEmpty(t, r.Text)
				require.NotEmpty(t, r.Hint)
				ids = append(ids, r.ID)
			}
			require.Equal(t, c.want, ids, "%+v", refusals)
			if c.text != "" {
				require.Contains(t, refusals[0].Text, c.text)
			}
		})
	}
}

// noWayBack marks the version that serves as failed.
func noWayBack(_ *fleet.Spec, f *fleet.Fleet) {
	d := &f.Galleries[0].Definitions[0]
	v := d.Version("1.7.1")
	v.Tags = map[string]string{fleet.TagFailed: "found later"}
}

// The number of another image is no way back, though the image of the rollout has it, too.
func TestTheWayBackIsOfTheImage(t *testing.T) {
	s, f := spec(), fleettest.Article()
	for i := range f.Sets {
		for j := range f.Sets[i].Members {
			m := &f.Sets[i].Members[j]
			m.Image.ExactVersion, m.Image.ID = "1.8.0", strings.Replace(m.Image.ID, "/images/ubuntu-app", "/images/other", 1)
		}
	}
	d := &f.Galleries[0].Definitions[0]
	next := *d.Version("1.8.0")
	next.Name = "1.9.0"
	d.Versions = append(d.Versions, next)
	p, refusals := PlanFor(s, f, "1.9.0", Options{})
	require.Empty(t, refusals)
	require.Equal(t, "1.7.1", p.Sets["vmss-batch"].LastGood, "that of the model")
}
