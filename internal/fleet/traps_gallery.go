package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedVersions(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), CompareVersions)
}

// eachVersion looks at every version of every definition that was read.
func eachVersion(look func(*scene, *Definition, *Version) []Finding) func(*scene) []Finding {
	return func(s *scene) []Finding {
		var all []Finding
		if s.live == nil {
			return nil
		}
		for i := range s.live.Galleries {
			for j := range s.live.Galleries[i].Definitions {
				d := &s.live.Galleries[i].Definitions[j]
				for k := range d.Versions {
					all = append(all, look(s, d, &d.Versions[k])...)
				}
			}
		}
		return all
	}
}

func (v *Version) say(d *Definition, seen, fix string) Finding {
	return Finding{Resource: Resource{Kind: kindVersion, Name: d.ID.Name() + " " + v.Name, ID: v.ID}, Live: true, Seen: seen, Fix: fix}
}

// users are the scale sets of Azure whose model asks for the version.
func (s *scene) users(d *Definition, v *Version) []*model {
	var list []*model
	for _, j := range s.sets {
		if m := j.live; m != nil && m.target.Definition.Same(d.ID) && m.target.Version == v.Name {
			list = append(list, m)
		}
	}
	return list
}

func findNotReplicated(s *scene) []Finding {
	all := eachLive(func(s *scene, m *model) []Finding {
		d := s.catalog.find(m.target.Definition)
		v := d.Version(m.target.Version)
		if v == nil {
			return nil
		}
		fix := fmt.Sprintf("replicate %s %s to %s and wait for Completed, or pin %s to a version that is there", d.ID.Name(), v.Name, m.Location, m.set.name)
		switch r := v.Region(m.Location); {
		case r == nil:
			return one(m.say("", fmt.Sprintf("%s %s is not replicated to %s", d.ID.Name(), v.Name, m.Location), fix))
		case r.State == Replicating:
			return one(m.say("", fmt.Sprintf("%s %s is Replicating to %s, at %d %%", d.ID.Name(), v.Name, m.Location, r.Progress), fix))
		case r.State == ReplicationFailed:
			return one(m.say("", strings.TrimSuffix(fmt.Sprintf("%s %s Failed in %s: %s", d.ID.Name(), v.Name, m.Location, r.Details), ": "), fix))
		}
		return nil
	})(s)
	return append(all, eachVersion(func(s *scene, d *Definition, v *Version) []Finding {
		var failed []string
		for _, r := range v.Regions {
			used := slices.ContainsFunc(s.users(d, v), func(m *model) bool { return NormalLocation(m.Location) == NormalLocation(r.Name) })
			if r.State == ReplicationFailed && !used {
				failed = append(failed, r.Name)
			}
		}
		if len(failed) == 0 {
			return nil
		}
		return one(v.say(d, "replication Failed in "+names(failed), "take "+names(failed)+" out of the target regions and put it in again, or bake anew").less(SeverityWarning))
	})(s)...)
}

var findUpdatingVersion = eachVersion(func(_ *scene, d *Definition, v *Version) []Finding {
	if v.Provisioning != Updating {
		return nil
	}
	return one(v.say(d, "provisioningState is Updating: a write is under way", "wait until it has Succeeded; then read, change and write the target regions, one writer at a time"))
})

func findStorage(s *scene) []Finding {
	if s.spec == nil || s.spec.Gallery == nil || s.spec.Gallery.Storage == "" {
		return nil
	}
	d := s.catalog.find(s.spec.DefinitionID())
	if d == nil {
		return nil
	}
	want := s.spec.Gallery.Storage
	var other []string
	for _, v := range d.Newest() {
		if is := v.otherStorage(want); is != "" {
			other = append(other, v.Name+" ("+is+")")
		}
	}
	if len(other) == 0 {
		return nil
	}
	return one(Finding{
		Resource: Resource{Kind: kindDefinition, Name: d.ID.Name(), ID: d.ID}, Key: "gallery.storage", Live: true,
		Seen: fmt.Sprintf("the file has %s, and these versions do not: %s", want, names(other)),
		Fix:  "bake a new version for the new storage type, and let the old ones end",
	})
}

// otherStorage is a storage type of a version that is not the one that is wanted; empty:
// there is none. What a region says counts before what the version says: Image Builder
// sets it by region, and leaves the version's at Azure's default.
func (v *Version) otherStorage(want string) string {
	other := func(is string) bool { return is != "" && !strings.EqualFold(is, want) }
	for i := range v.Regions {
		if is := cmp.Or(v.Regions[i].Storage, v.Storage); other(is) {
			return is
		}
	}
	if len(v.Regions) == 0 && other(v.Storage) {
		return v.Storage
	}
	return ""
}

// membersPerReplica is how many members may be made at a time from one replica.
const membersPerReplica = 50

// replicasFor is how many replicas a number of members needs.
func replicasFor(members int) int { return (members + membersPerReplica - 1) / membersPerReplica }

func findReplicas(s *scene) []Finding {
	var all []Finding
	if s.spec != nil && s.spec.Gallery != nil {
		all = s.fileReplicas()
	}
	return append(all, eachVersion(func(s *scene, d *Definition, v *Version) []Finding {
		need := make(map[string]int)
		for _, m := range s.users(d, v) {
			need[NormalLocation(m.Location)] += m.most()
		}
		var all []Finding
		for _, region := range sortedKeys(need) {
			r, want := v.Region(region), replicasFor(need[region])
			if r == nil || r.Replicas <= 0 || r.Replicas >= want {
				continue
			}
			all = append(all, v.say(d, fewReplicas(r.Replicas, need[region], region), fmt.Sprintf("set regionalReplicaCount of %s in %s to %d", v.Name, region, want)))
		}
		return all
	})(s)...)
}

// replicas returns how many replicas a version of the file's gallery gets in each
// region: those with a number of their own, and those of the scale sets.
func (s *Spec) replicas() map[string]int {
	regions := make(map[string]int)
	if s.Gallery == nil {
		return regions
	}
	for _, set := range s.ScaleSets {
		if set.Location != "" {
			regions[NormalLocation(set.Location)] = s.Gallery.Replicas
		}
	}
	for region, n := range s.Gallery.Regions {
		regions[NormalLocation(region)] = n
	}
	return regions
}

func (s *scene) fileReplicas() []Finding {
	need := make(map[string]int)
	for _, j := range s.sets {
		set, n := j.spec, 0
		if set.Manage == ManageObserve {
			continue
		}
		if set.Create != nil {
			n = set.Create.Capacity
		}
		if set.Autoscale != nil {
			n = max(n, set.Autoscale.Max)
		}
		if j.live != nil {
			n = max(n, j.live.most())
		}
		need[NormalLocation(set.Location)] += n
	}
	replicas := s.spec.replicas()
	var all []Finding
	for _, region := range sortedKeys(need) {
		want := replicasFor(need[region])
		if replicas[region] <= 0 || replicas[region] >= want {
			continue
		}
		all = append(all, Finding{
			Resource: Resource{Kind: kindGallery, Name: s.spec.Gallery.Name}, Key: "gallery.regions." + region,
			Seen: fewReplicas(replicas[region], need[region], region), Fix: fmt.Sprintf("set gallery.regions.%s to %d", region, want),
		})
	}
	return all
}

func fewReplicas(replicas, members int, region string) string {
	return fmt.Sprintf("%s for up to %s in %s", count(replicas, "replica"), count(members, "member"), region)
}

var findShallow = eachVersion(func(s *scene, d *Definition, v *Version) []Finding {
	if !strings.EqualFold(v.Mode, "Shallow") {
		return nil
	}
	const fix = "bake with replicationMode Full; a version's mode cannot be changed"
	var users []string
	for _, m := range s.users(d, v) {
		users = append(users, m.set.name)
	}
	if len(users) == 0 {
		return one(v.say(d, "replicationMode is Shallow", fix).less(SeverityWarning))
	}
	return one(v.say(d, "replicationMode is Shallow, and "+names(users)+" uses it", fix))
})

func findNotExcluded(s *scene) []Finding {
	return eachBuild(func(s *scene, b *build) []Finding {
		var all []Finding
		for _, d := range b.distributions {
			if d.excluded {
				continue
			}
			f := b.say(d.key, "it distributes to "+d.definition.Name()+" without excludeFromLatest: true",
				"set excludeFromLatest: true, and clear it when the last wave has the version")
			if followers := s.followers(d.definition); len(followers) > 0 {
				f.Seen += ", and " + names(followers) + " takes the latest"
				f.Severity = SeverityError
			}
			all = append(all, f)
		}
		return all
	})(s)
}

// followers are the scale sets whose image is the latest of the definition.
func (s *scene) followers(definition ResourceID) []string {
	var list []string
	for _, j := range s.sets {
		if m := j.live; m != nil && m.target.Definition.Same(definition) && !m.target.Pinned {
			list = append(list, j.name)
		}
	}
	return list
}

func findMissingVersion(s *scene) []Finding {
	return eachLive(func(s *scene, m *model) []Finding {
		id, err := m.Image.Gallery()
		if err != nil || strings.EqualFold(id.Version, "latest") {
			return nil
		}
		fix := "pin " + m.set.name + " to a version that is there; demote versions before you delete them"
		switch d := s.catalog.find(id.Definition); {
		case d == nil && s.galleryRead(id.Definition):
			return one(m.say("", "the image definition "+id.Definition.Name()+" is not there any more", fix))
		case d != nil && id.Version != "" && d.Version(id.Version) == nil:
			return one(m.say("", id.Definition.Name()+" "+id.Version+" is not there any more", fix))
		}
		return nil
	})(s)
}

// galleryRead says whether the gallery of a definition was read.
func (s *scene) galleryRead(definition ResourceID) bool {
	return slices.ContainsFunc(s.live.Galleries, func(g Gallery) bool {
		prefix := strings.ToLower(string(g.ID)) + "/images/"
		return g.ID != "" && strings.HasPrefix(strings.ToLower(string(definition)), prefix)
	})
}

func findEndOfLife(s *scene) []Finding {
	var all []Finding
	if s.spec != nil && s.spec.Gallery != nil && s.spec.Gallery.EndOfLife == 0 && s.spec.Gallery.Manage == ManageFull {
		all = append(all, Finding{
			Resource: Resource{Kind: kindGallery, Name: s.spec.Gallery.Name}, Key: "gallery.end_of_life",
			Seen: "versions get no end of life", Fix: "set gallery.end_of_life: 180d", Severity: SeverityNote,
		})
	}
	return append(all, eachVersion(func(s *scene, d *Definition, v *Version) []Finding {
		if !v.BlockDelete || v.EndOfLife.IsZero() || s.now.After(v.EndOfLife) {
			return nil
		}
		return one(v.say(d, "it cannot be deleted before "+v.EndOfLife.UTC().Format("2006-01-02"), "set safetyProfile.blockDeletionBeforeEndOfLife of "+v.Name+" to false"))
	})(s)...)
}

// What the file's definition is made with.
const (
	declaredHyperV   = "V2"
	declaredSecurity = "TrustedLaunchSupported"
)

func findDefinition(s *scene) []Finding {
	if s.spec == nil || s.spec.Gallery == nil || s.spec.Gallery.Manage != ManageFull {
		return nil
	}
	d := s.catalog.find(s.spec.DefinitionID())
	if d == nil {
		return nil
	}
	want := s.spec.Gallery.Image
	var other []string
	for _, p := range []struct{ name, want, has string }{
		{"publisher", want.Publisher, d.Publisher},
		{"offer", want.Offer, d.Offer},
		{"sku", want.SKU, d.SKU},
		{"hyperVGeneration", declaredHyperV, d.HyperV},
		{"SecurityType", declaredSecurity, d.Security},
	} {
		if p.want != "" && !strings.EqualFold(p.want, p.has) {
			other = append(other, fmt.Sprintf("%s is %q, not %q", p.name, p.has, p.want))
		}
	}
	if len(other) == 0 {
		return nil
	}
	return one(Finding{
		Resource: Resource{Kind: kindDefinition, Name: d.ID.Name(), ID: d.ID}, Key: "gallery.image", Live: true,
		Seen: strings.Join(other, ", "), Fix: "a definition cannot be changed: give the file's image another name, or write down what is there",
	})
}

func findReusedVersion(s *scene) []Finding {
	if s.spec == nil || s.spec.Bake == nil || s.spec.Bake.Version == "" || strings.Contains(s.spec.Bake.Version, "{n}") {
		return nil
	}
	d := s.catalog.find(s.spec.DefinitionID())
	if d == nil || d.Version(s.spec.Bake.Version) == nil {
		return nil
	}
	return one(Finding{
		Resource: Resource{Kind: kindBake, Name: s.spec.Name}, Key: "bake.version", Live: true,
		Seen: fmt.Sprintf("the next bake is to make %s %s, which is there", d.ID.Name(), s.spec.Bake.Version),
		Fix:  "write a version with {n}, the next free number",
	})
}

// A version that was taken back and still runs: one that is marked as failed, or one
// that is excluded while a later one is not. The newest may be on its way.
var findDemoted = eachLive(func(s *scene, m *model) []Finding {
	running := m.running()
	counts := make(map[ImageReference]int)
	for _, member := range running {
		counts[member.Image]++
	}
	demoted := make(map[string]int)
	for image, n := range counts {
		id, err := image.Gallery()
		if err != nil {
			continue
		}
		d := s.catalog.find(id.Definition)
		if v := d.Version(image.ExactVersion); v != nil && d.takenBack(v, m.Location) {
			demoted[v.Name] += n
		}
	}
	var all []Finding
	for _, version := range sortedVersions(demoted) {
		all = append(all, m.say("", fmt.Sprintf("%s run %s, which was demoted", of(demoted[version], len(running)), version),
			"roll "+m.set.name+" to a good version: demoting takes nothing off the members"))
	}
	return all
})

func (d *Definition) takenBack(v *Version, region string) bool {
	if failed, _ := v.Failed(); failed {
		return true
	}
	latest, known := d.Latest(region)
	if !known || latest == nil || CompareVersions(latest.Name, v.Name) <= 0 {
		return false
	}
	r := v.Region(region)
	return v.Excluded || r != nil && r.Excluded
}
