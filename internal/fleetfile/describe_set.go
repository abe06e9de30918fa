package fleetfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// defaultUpgrade is what a set has of which nothing is said.
var defaultUpgrade = fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 20}

// set describes one scale set.
func (d *description) set(read *fleet.Set) {
	m := &read.Model
	name := m.ID.Name()
	path := "scale_sets." + name
	if !m.Flexible {
		d.remarks.add("scale_sets", "%s is left out: it is in the orchestration mode Uniform.", name)
		return
	}
	s := fleet.SetSpec{
		Manage: fleet.ManageObserve, Tracks: fleet.TracksPinned, ID: m.ID, Location: m.Location, Upgrade: defaultUpgrade,
		OSImageNotification: m.OSImageNotice != nil && m.OSImageNotice.Enabled,
	}
	d.remarks.add(path, "%s", facts(m))
	d.health(path, m, &s)
	d.upgrade(path, m, &s)
	if r := m.Repairs; r.Enabled {
		s.Repairs = &fleet.RepairsSpec{After: valueOr(r.Grace, 10*time.Minute), Action: strings.ToLower(cmp.Or(r.Action, "replace"))}
	}
	if n := m.TerminateNotice; n != nil && n.Enabled {
		s.TerminateNotice = n.NotBefore
		if n.NotBefore == 0 {
			s.TerminateNotice = 5 * time.Minute // what Azure takes when it is not told
		}
	}
	if m.Spot {
		s.Spot = describeSpot(m)
	}
	d.autoscale(path, read.Autoscale, &s)
	d.spec.ScaleSets[name] = s
}

// facts says in a line what a file says in create, which is not for a set that
// exists.
func facts(m *fleet.ScaleSet) string {
	text := fmt.Sprintf("%s, capacity %d", m.VMSize, m.Capacity)
	if len(m.Zones) > 0 {
		text += ", zones " + strings.Join(m.Zones, " ")
	}
	if id, err := m.Image.Gallery(); err == nil {
		text += ", image " + id.Definition.Name() + " " + cmp.Or(id.Version, "without a version")
	} else if m.Image.Offer != "" {
		text += ", image " + m.Image.Offer + " of the Marketplace"
	}
	return text + "."
}

func (d *description) health(path string, m *fleet.ScaleSet, s *fleet.SetSpec) {
	extensions := m.Health()
	switch {
	case len(extensions) > 1:
		d.remarks.add(path, "health is left out: the set has %d Application Health extensions.", len(extensions))
		return
	case len(extensions) == 0:
		return
	case extensions[0].Type == fleet.HealthTypeWindows:
		d.remarks.add(path, "health is left out: the extension is that of Windows.")
		return
	}
	settings := extensions[0].Settings
	text := func(key string) string { s, _ := settings[key].(string); return s }
	seconds := func(key string) time.Duration { return time.Duration(number(settings[key])) * time.Second }
	s.Health = &fleet.HealthSpec{
		Extension: extensions[0].Version, Protocol: text("protocol"), Port: number(settings["port"]), Path: text("requestPath"),
		Interval: cmp.Or(seconds("intervalInSeconds"), 5*time.Second), Probes: max(1, number(settings["numberOfProbes"])), Grace: seconds("gracePeriod"),
	}
}

// upgrade describes who upgrades the members, as far as a driver does.
func (d *description) upgrade(path string, m *fleet.ScaleSet, s *fleet.SetSpec) {
	image, err := m.Image.Gallery()
	unversioned := err == nil && image.Version == ""
	u, p := &s.Upgrade, &m.Upgrade
	switch {
	case p.AutoOS && unversioned:
		s.Tracks, u.Driver = fleet.TracksLatest, fleet.DriverPlatformAutoOS
		if !valueOr(p.UseRolling, false) {
			d.remarks.add(path, "Automatic OS upgrade is not by the rolling policy; with manage: full it is.")
		}
	case p.AutoOS:
		d.remarks.add(path, "Automatic OS upgrade is on, and the image is pinned: no driver is like that.")
	case p.Mode == fleet.Rolling:
		u.Driver = fleet.DriverPlatformRolling
	case p.Mode == fleet.Automatic:
		d.remarks.add(path, "The upgrade mode is Automatic: no driver is like that.")
	}
	if unversioned && !p.AutoOS {
		d.remarks.add(path, "The image has no version: whatever is born takes the latest.")
	}
	if !u.Driver.Platform() {
		return // the policy of the platform is not what a driver goes by
	}
	const azures = 20 // percent, where Azure is not told
	percent := func(n *int) fleet.Percent { return fleet.Percent(valueOr(n, azures)) }
	u.Batch, u.MaxUnhealthy, u.MaxUnhealthyUpgraded = percent(p.Rolling.MaxBatch), percent(p.Rolling.MaxUnhealthy), percent(p.Rolling.MaxUnhealthyUpgraded)
	u.Pause = valueOr(p.Rolling.Pause, 0)
	u.PrioritizeUnhealthy, u.MaxSurge, u.CrossZone = p.Rolling.PrioritizeUnhealthy, p.Rolling.MaxSurge, p.Rolling.CrossZone
	if u.Driver == fleet.DriverPlatformAutoOS && p.DisableRollback != nil {
		back := !*p.DisableRollback
		u.AutoOSRollback = &back
	}
}

func describeSpot(m *fleet.ScaleSet) *fleet.SpotSpec {
	s := &fleet.SpotSpec{Eviction: strings.ToLower(cmp.Or(m.EvictionPolicy, "deallocate"))}
	if mix := m.PriorityMix; mix != nil {
		s.RegularBase, s.RegularAboveBase = mix.RegularBase, fleet.Percent(mix.RegularAboveBase)
	}
	if r := m.SpotRestore; r != nil && r.Enabled {
		s.Restore = r.Timeout
	}
	return s
}

// autoscale describes a setting of one rule each way.
func (d *description) autoscale(path string, a *fleet.Autoscale, s *fleet.SetSpec) {
	if a == nil {
		return
	}
	if !a.Enabled {
		d.remarks.add(path, "autoscale is left out: its setting is disabled.")
		return
	}
	described := &fleet.AutoscaleSpec{Min: a.Min, Max: a.Max, Default: a.Def}
	for _, r := range a.Rules {
		switch {
		case r.Odd != "":
			d.remarks.add(path, "autoscale is left out: one of its rules %s.", r.Odd)
			return
		case r.Out && described.Out == nil && r.Aggregation == "Average" && r.Operator == "GreaterThan":
			described.Out = &fleet.ScaleOutSpec{Metric: r.Metric, Above: r.Threshold, Over: r.Window, By: r.By, Cooldown: r.Cooldown}
		case !r.Out && described.In == nil && r.Aggregation == "Average" && r.Operator == "LessThan":
			described.In = &fleet.ScaleInSpec{Metric: r.Metric, Below: r.Threshold, Over: r.Window, By: r.By, Cooldown: r.Cooldown}
		default:
			d.remarks.add(path, "autoscale is left out: it has other rules than one that adds above an average and one that takes away below it.")
			return
		}
	}
	modes := map[string]string{"forecastonly": "forecast-only", "enabled": "enabled"}
	if mode := modes[strings.ToLower(a.Predictive)]; mode != "" {
		described.Predictive = &fleet.PredictiveSpec{Mode: mode, LookAhead: cmp.Or(a.LookAhead, 15*time.Minute)}
		if written := map[string]string{"forecast-only": "ForecastOnly", "enabled": "Enabled"}[mode]; a.Predictive != written {
			d.remarks.add(path, "The mode of predictive autoscale is written %s; with manage: full it is %s.", a.Predictive, written)
		}
	}
	s.Autoscale = described
}

// gallery describes the image definition that most scale sets run.
func (d *description) gallery() {
	count := make(map[string]int)
	for i := range d.fleet.Sets {
		if id, err := d.fleet.Sets[i].Model.Image.Gallery(); err == nil {
			count[strings.ToLower(string(id.Definition))]++
		}
	}
	if len(count) == 0 {
		return
	}
	wanted := fleet.ResourceID(mostOf(count))
	if len(count) > 1 {
		d.remarks.add("gallery", "The scale sets run %d image definitions; this is the one of most of them.", len(count))
	}
	if !strings.EqualFold(wanted.Subscription(), d.spec.Subscription) {
		d.remarks.add("scale_sets", "gallery is left out: it is in another subscription.")
		return
	}
	for _, g := range d.fleet.Galleries {
		i := slices.IndexFunc(g.Definitions, func(def fleet.Definition) bool { return def.ID.Same(wanted) })
		if i >= 0 {
			d.spec.Gallery = d.describeGallery(&g, &g.Definitions[i])
			return
		}
	}
	d.remarks.add("scale_sets", "gallery is left out: %s could not be read.", wanted.Name())
}

// describeGallery takes what a file says of replication from the newest version.
func (d *description) describeGallery(g *fleet.Gallery, def *fleet.Definition) *fleet.GallerySpec {
	s := &fleet.GallerySpec{
		Name: g.ID.Name(), Manage: fleet.ManageObserve, Storage: "Standard_ZRS", Replicas: 1, Replicate: fleet.ReplicateAtBake,
		Image: fleet.DefinitionSpec{Name: def.ID.Name(), Publisher: def.Publisher, Offer: def.Offer, SKU: def.SKU},
	}
	if rg := g.ID.ResourceGroup(); !strings.EqualFold(rg, d.spec.ResourceGroup) {
		s.ResourceGroup = rg
	}
	if len(def.Versions) == 0 {
		return s
	}
	newest := slices.MaxFunc(def.Versions, func(a, b fleet.Version) int { return a.Published.Compare(b.Published) })
	s.Storage = cmp.Or(newest.Storage, s.Storage)
	count := make(map[int]int)
	for _, r := range newest.Regions {
		count[r.Replicas]++
	}
	s.Replicas = max(1, mostOf(count))
	for _, r := range newest.Regions {
		if r.Replicas != s.Replicas || !d.runsIn(r.Name) {
			if s.Regions == nil {
				s.Regions = make(map[string]int)
			}
			s.Regions[r.Name] = r.Replicas
		}
	}
	return s
}

// runsIn says whether a scale set of the file is in a region.
func (d *description) runsIn(region string) bool {
	for _, s := range d.spec.ScaleSets {
		if s.Location == region {
			return true
		}
	}
	return false
}

// number reads a number of JSON, also one that was written as text.
func number(value any) int {
	switch v := value.(type) {
	case float64:
		return int(v)
	case int:
		return v
	case string:
		var n int
		if _, err := fmt.Sscan(v, &n); err == nil {
			return n
		}
	}
	return 0
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
