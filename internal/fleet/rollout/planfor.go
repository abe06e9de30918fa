package rollout

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Options are what an operator says about a rollout.
type Options struct {
	NoReturn  bool          // start without a way back
	WithModel bool          // members may get other pending changes of the model, too
	Schedule  time.Duration // between the ticks of a schedule; 0: observe_every
}

// A Refusal is a reason not to begin.
type Refusal struct {
	ID   string `json:"id"` // stable: "version-failed"
	Set  string `json:"set,omitempty"`
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// PlanFor plans the rollout of a version over a fleet as it was observed. The plan is
// good to be shown even if there are refusals; begin it only without.
func PlanFor(spec fleet.Spec, f fleet.Fleet, version string, o Options) (Plan, []Refusal) {
	b := planner{spec: &spec, fleet: &f, options: o, plan: Plan{
		Format: Format, Fleet: spec.Name, Version: version, Definition: spec.DefinitionID(), Made: f.At,
		Sets: make(map[string]Set), Limits: standing, NoReturn: o.NoReturn, WithModel: o.WithModel,
	}}
	if spec.Rollout == nil || len(spec.Rollout.Waves) == 0 {
		b.refuse("no-waves", "", "the file has no waves", "add the section rollout with its waves")
		return b.plan, b.refusals
	}
	b.settings(spec.Rollout)
	b.version()
	b.waves(spec.Rollout.Waves)
	for _, name := range slices.Sorted(maps.Keys(b.plan.Sets)) {
		b.set(name)
	}
	b.shared()
	b.plan.Exposure = exposures(&b.plan)
	b.plan.Shortest = shortest(&b.plan)
	if every := b.plan.Limits.ObserveEvery; o.Schedule > every {
		b.refuse("schedule", "", fmt.Sprintf("the schedule looks every %s, and time counts only between looks at most %s apart: no soak would end", o.Schedule, every), "look more often, or raise observe_every")
	}
	b.plan.Reaction = b.plan.Limits.HealthyWithin + max(o.Schedule, b.plan.Limits.ObserveEvery)
	return b.plan, b.refusals
}

// planner gathers a plan and what speaks against it.
type planner struct {
	spec     *fleet.Spec
	fleet    *fleet.Fleet
	options  Options
	plan     Plan
	refusals []Refusal
}

func (b *planner) refuse(id, set, text, hint string) {
	b.refusals = append(b.refusals, Refusal{ID: id, Set: set, Text: text, Hint: hint})
}

func (b *planner) settings(r *fleet.RolloutSpec) {
	p, l := &b.plan, &b.plan.Limits
	l.ObserveEvery, l.HealthyWithin, l.HealthyFor, l.Stuck = r.ObserveEvery, r.Gates.HealthyWithin, r.Gates.HealthyFor, r.Gates.Stuck
	p.Window = r.Gates.Window != nil
	p.Drain = r.Drain == "run-command"
	p.Diagnose = r.OnHalt.Diagnose == "run-command"
	p.Notify = r.OnHalt.Notify != ""
	p.WaveOnly = r.OnHalt.Scope == "wave"
	p.ByWave = b.spec.Gallery != nil && b.spec.Gallery.Replicate == fleet.ReplicateByWave
	noData := map[string]Verdict{"pass": Pass, "fail": Fail, "pause": Unknown}
	for _, g := range r.Gates.Prometheus {
		p.Gates = append(p.Gates, Gate{Name: g.Name, Every: cmp.Or(g.Step, l.ObserveEvery), NoData: cmp.Or(noData[g.NoData], Unknown)})
		needs, first := time.Duration(max(g.For, 1)-1)*cmp.Or(g.Step, time.Minute), &r.Waves[0]
		if needs > first.Soak+l.HealthyFor { // what was answered before the version does not count
			p.Notes = append(p.Notes, fmt.Sprintf("gate %s needs answers of %s, and wave %s soaks %s: it cannot fail there", g.Name, short(needs), first.Name, short(first.Soak)))
		}
	}
}

// definition returns the image definition of the file as it was observed, or nil.
func (b *planner) definition() *fleet.Definition {
	for i := range b.fleet.Galleries {
		for j := range b.fleet.Galleries[i].Definitions {
			if d := &b.fleet.Galleries[i].Definitions[j]; d.ID.Same(b.plan.Definition) {
				return d
			}
		}
	}
	return nil
}

func (b *planner) version() {
	v := b.definition().Version(b.plan.Version)
	if v == nil {
		b.refuse("no-version", "", fmt.Sprintf("there is no version %s of %s", b.plan.Version, b.plan.Definition.Name()), "see `fleetctl images`; `fleetctl bake` makes one")
		return
	}
	if failed, why := v.Failed(); failed {
		b.refuse("version-failed", "", fmt.Sprintf("%s is marked failed: %s", v.Name, cmp.Or(why, "no reason is given")), "bake another version; one that failed is never rolled out again")
	}
	for i := range v.Regions {
		if r := &v.Regions[i]; !v.Excluded && !r.Excluded {
			b.plan.Released = append(b.plan.Released, fleet.NormalLocation(r.Name))
		}
	}
	if v.Provisioning == fleet.Failed {
		b.refuse("version-broken", "", v.Name+" is in provisioning state Failed", "bake another version")
	}
}

func (b *planner) waves(waves []fleet.WaveSpec) {
	for i, w := range waves {
		b.plan.Waves = append(b.plan.Waves, Wave{Name: w.Name, Sets: w.ScaleSets, Instances: w.Instances, Soak: w.Soak, Approve: w.Approve})
		for _, name := range w.ScaleSets {
			spec, ok := b.spec.ScaleSets[name]
			if !ok {
				b.refuse("no-set", name, fmt.Sprintf("wave %s names %s, which the file does not have", w.Name, name), "add the scale set, or take it out of the wave")
				continue
			}
			set, again := b.plan.Sets[name]
			if driver := spec.Upgrade.Driver; driver.Platform() {
				if again {
					b.refuse("two-waves", name, fmt.Sprintf("%s stands in two waves, and %s takes a set whole", name, driver), "let it stand in one wave, or use the driver batches")
				}
				if w.Instances > 0 {
					b.refuse("instances", name, fmt.Sprintf("wave %s takes %d of %s, and %s takes a set whole", w.Name, w.Instances, name, driver), "use the driver batches for a part of a set")
				}
				if spec.Upgrade.Order == "zone" {
					b.refuse("order", name, string(driver)+" picks the members itself: order: zone has no effect", "leave order out, or use the driver batches")
				}
			}
			set.LastWave = i
			b.plan.Sets[name] = set
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.plan.Sets)) {
		if last := b.plan.Waves[b.plan.Sets[name].LastWave]; last.Instances > 0 {
			b.refuse("part-only", name, fmt.Sprintf("the last wave of %s is %s, which takes %d members: the others would stay", name, last.Name, last.Instances), "add a wave that takes the whole set")
		}
	}
}

// set fills in a set of the plan from what was observed.
func (b *planner) set(name string) {
	p, spec := b.plan.Sets[name], b.spec.ScaleSets[name]
	p.ID, p.Location, p.Driver = b.spec.SetID(name), spec.Location, spec.Upgrade.Driver
	p.Batch, p.MaxUnhealthy, p.MaxUnhealthyUpgraded, p.Pause = spec.Upgrade.Batch, spec.Upgrade.MaxUnhealthy, spec.Upgrade.MaxUnhealthyUpgraded, spec.Upgrade.Pause
	p.ByZone = spec.Upgrade.Order != "name"
	defer func() { b.plan.Sets[name] = p }()

	i := slices.IndexFunc(b.fleet.Sets, func(s fleet.Set) bool { return s.Model.ID.Same(p.ID) })
	if i < 0 {
		b.refuse("not-there", name, name+" was not found in Azure", "`fleetctl apply` makes it")
		return
	}
	if spec.Manage == fleet.ManageObserve {
		b.refuse("observe", name, name+" is only observed (manage: observe)", "manage: image is enough for a rollout")
	}
	if spec.Manage == fleet.ManageImage && p.Driver.Platform() {
		b.refuse("not-ours", name, fmt.Sprintf("%s takes a failed version back in mode Manual, and the mode of %s is somebody else's (manage: image)", p.Driver, name), "use the driver batches, or manage: full")
	}
	set := &b.fleet.Sets[i]
	model := &set.Model
	p.Mode, p.Profile, p.Repairs, p.Location = model.Upgrade.Mode, Profile(model), model.Repairs.Enabled, cmp.Or(model.Location, p.Location)
	p.Max = max(model.Capacity, len(set.Members))
	p.Min = len(set.Members)
	if a := set.Autoscale; a != nil && a.Enabled {
		p.Min, p.Max = min(p.Min, a.Min), max(p.Max, a.Max)
	}
	id, err := model.Image.Gallery()
	if err == nil && id.Definition.Same(b.plan.Definition) {
		p.Model = id.Version
	} else {
		b.refuse("other-image", name, fmt.Sprintf("the model of %s asks for another image than %s", name, b.plan.Definition.Name()), "a set cannot change from one kind of image to another: make a new one")
	}
	if err == nil && id.Version == "" && p.Driver != fleet.DriverPlatformAutoOS {
		b.refuse("unversioned", name, name+" refers to its image without a version: births would take the latest whatever the wave", "pin it to the version that it runs, or use platform-auto-os with tracks: latest")
	}
	if why := driverOf(p.Driver).refuses(&model.Upgrade); why != "" {
		b.refuse("mode", name, name+": "+why, "the mode of a set is for its owner to change; or choose the driver that fits")
	}
	b.members(name, &p, set)
	b.lastGood(name, &p, set)
}

// members takes the baseline, and refuses what would ride along.
func (b *planner) members(name string, p *Set, set *fleet.Set) {
	var stale []string
	for i := range set.Members {
		m := &set.Members[i]
		p.Members++
		if m.Spot {
			p.Spot++
		}
		if why := untakeable(m); why != "" {
			p.LeftOut = append(p.LeftOut, Left{Set: name, Member: m.Name, Why: why})
		}
		if running(m) && m.Health != fleet.Healthy {
			p.Unhealthy = append(p.Unhealthy, m.Name)
		}
		if m.LatestModel != nil && !*m.LatestModel && m.Image.ExactVersion == p.Model && p.Model != "" {
			stale = append(stale, m.Name)
		}
	}
	slices.Sort(p.Unhealthy)
	runs := p.Members - countDown(set)
	if n := len(p.Unhealthy); n*100 > int(p.MaxUnhealthy)*runs {
		b.refuse("baseline", name, fmt.Sprintf("%d of %d running members of %s are not Healthy: %s", n, runs, name, some(p.Unhealthy)), "make them healthy first: a rollout could not tell its own harm from this")
	}
	if len(stale) > 0 && !b.options.WithModel {
		b.refuse("stale", name, some(stale)+" runs the model's image but not its latest model: another change would ride along with the upgrade", "see `fleetctl plan` for the properties; --with-model takes them along")
	}
}

func countDown(set *fleet.Set) int {
	n := 0
	for i := range set.Members {
		if !running(&set.Members[i]) {
			n++
		}
	}
	return n
}

// lastGood finds the version to go back to: that of most Healthy members which has not
// failed and is to be had in the region.
func (b *planner) lastGood(name string, p *Set, set *fleet.Set) {
	d := b.definition()
	votes := make(map[string]int)
	already := false // some have the version
	for i := range set.Members {
		m := &set.Members[i]
		switch {
		case m.Health != fleet.Healthy || !running(m) || !isOf(m, b.plan.Definition):
		case m.Image.ExactVersion == b.plan.Version:
			already = true
		default:
			votes[m.Image.ExactVersion]++
		}
	}
	only := already && len(votes) == 0
	if len(votes) == 0 && p.Model != b.plan.Version {
		votes[p.Model] = 1 // an empty set goes back to what it was to be made from
	}
	for _, name := range slices.SortedFunc(maps.Keys(votes), func(x, y string) int {
		return cmp.Or(votes[y]-votes[x], fleet.CompareVersions(y, x))
	}) {
		v := d.Version(name)
		if v == nil {
			continue
		}
		failed, _ := v.Failed()
		if r := v.Region(p.Location); !failed && v.Provisioning == fleet.Succeeded && r != nil && r.State == fleet.Replicated {
			p.LastGood = name
			return
		}
	}
	switch {
	case b.options.NoReturn:
	case only:
		b.refuse("no-way-back", name, fmt.Sprintf("no way back for %s: its Healthy members run %s already", name, b.plan.Version), "it needs no rollout; --no-return begins one that looks at them, and promotes the version")
	default:
		b.refuse("no-way-back", name, "no way back: no Healthy member of "+name+" runs a version that has not failed and is replicated to "+p.Location, "--no-return starts without one")
	}
}

// shared refuses what would get the version together with a set under automatic OS
// upgrade: releasing a region is for all sets there that follow the latest.
func (b *planner) shared() {
	for _, name := range slices.Sorted(maps.Keys(b.plan.Sets)) {
		p := b.plan.Sets[name]
		if p.Driver != fleet.DriverPlatformAutoOS {
			continue
		}
		for i := range b.fleet.Sets {
			model := &b.fleet.Sets[i].Model
			id, err := model.Image.Gallery()
			if model.ID.Same(p.ID) || err != nil || id.Version != "" || !id.Definition.Same(b.plan.Definition) || fleet.NormalLocation(model.Location) != fleet.NormalLocation(p.Location) {
				continue
			}
			if other := b.planned(model.ID); other == "" || b.plan.Sets[other].LastWave != p.LastWave {
				b.refuse("shared-region", name, fmt.Sprintf("%s follows the latest in %s, too: it would get the version with wave %s", model.ID.Name(), p.Location, b.plan.Waves[p.LastWave].Name), "put it into the same wave, or pin it")
			}
		}
	}
}

// planned returns the name of a set of the plan by its id, or "".
func (b *planner) planned(id fleet.ResourceID) string {
	for name, p := range b.plan.Sets {
		if p.ID.Same(id) {
			return name
		}
	}
	return ""
}

// some names the first few.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// Profile is a fingerprint of what a model says beside its image, its capacity and its
// upgrade policy: when it changes, somebody else wrote the model.
func Profile(s *fleet.ScaleSet) string {
	c := *s
	c.Image, c.Upgrade = fleet.ImageReference{}, fleet.UpgradePolicy{}
	c.ETag, c.Provisioning, c.Capacity, c.Tags = "", "", 0, nil
	c.Repairs, c.Properties = fleet.RepairsPolicy{}, nil
	if profile, ok := s.Properties["virtualMachineProfile"].(fleet.Document); ok {
		profile = maps.Clone(profile)
		delete(profile, "timeCreated")
		if storage, ok := profile["storageProfile"].(fleet.Document); ok {
			storage = maps.Clone(storage)
			delete(storage, "imageReference")
			profile["storageProfile"] = storage
		}
		c.Properties = profile
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "" // not of JSON: no fingerprint, and none differs from it
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
