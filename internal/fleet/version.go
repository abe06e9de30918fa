package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The states of replication that decide something, in Azure's words
// (replicationStatus.summary[].state), and of provisioning.
const (
	Replicated        = "Completed"
	Replicating       = "Replicating"
	ReplicationFailed = "Failed"

	Succeeded = "Succeeded"
	Failed    = "Failed"
	Updating  = "Updating"
)

// AtWork says whether a provisioning state is one that ends by itself. One that is not
// told is at rest.
func AtWork(provisioning string) bool {
	switch provisioning {
	case "", Succeeded, Failed, "Canceled":
		return false
	default:
		return true
	}
}

// Tags that say what is known of a resource. The first three are on an image template
// and on its version, the next three on a version, then one on a scale set, one on the scale set of a boot
// test, and two on a template. The value of TagFailed is the reason, or empty; times are
// in RFC 3339.
const (
	TagContent = "fleetctl-content" // the hash of what the image is made of
	TagFleet   = "fleetctl-fleet"   // Spec.Name
	TagLeft    = "fleetctl-left"    // versions that this bake left behind, with spaces between

	TagBooted = "fleetctl-booted" // when the version passed the boot test
	TagFailed = "fleetctl-failed"
	TagGood   = "fleetctl-good"

	TagApplied = "fleetctl-applied" // the hash of what apply has brought a scale set, or an autoscale setting, to

	TagExpires = "fleetctl-expires" // from when on the set may be swept

	TagCall     = "fleetctl-call"     // the random id of the call that reserved the number
	TagReserved = "fleetctl-reserved" // when it did
)

// CompareVersions orders the names of image versions as Azure does: by major, minor
// and patch, as numbers. What is no such name comes before all that are.
func CompareVersions(a, b string) int {
	x, y := versionNumbers(a), versionNumbers(b)
	if x == nil || y == nil {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
	}
	return slices.Compare(x, y)
}

// versionNumbers returns the three numbers of a version's name, or nil.
func versionNumbers(name string) []uint64 {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return nil
	}
	numbers := make([]uint64, len(parts))
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil
		}
		numbers[i] = n
	}
	return numbers
}

// Version returns the version with this name, or nil.
func (d *Definition) Version(name string) *Version {
	if d == nil {
		return nil
	}
	for i := range d.Versions {
		if d.Versions[i].Name == name {
			return &d.Versions[i]
		}
	}
	return nil
}

// Newest returns the versions, the highest first.
func (d *Definition) Newest() []*Version {
	list := make([]*Version, len(d.Versions))
	for i := range d.Versions {
		list[i] = &d.Versions[i]
	}
	slices.SortStableFunc(list, func(a, b *Version) int { return CompareVersions(b.Name, a.Name) })
	return list
}

// Latest returns the version that a reference without version means in a region, as
// Azure resolves it: the highest that is provisioned, replicated there and excluded
// neither there nor everywhere. It is nil when there is none. known is false when
// Azure did not say enough to tell.
func (d *Definition) Latest(region string) (latest *Version, known bool) {
	for _, v := range d.Newest() {
		r := v.Region(region)
		if v.Excluded || v.Provisioning != Succeeded || r == nil || r.Excluded {
			continue
		}
		switch r.State {
		case Replicated:
			return v, true
		case Replicating, ReplicationFailed:
		default:
			return nil, false
		}
	}
	return nil, true
}

// Region returns what the version says of a region, or nil when it is not to be
// there.
func (v *Version) Region(name string) *Region {
	name = NormalLocation(name)
	for i := range v.Regions {
		if NormalLocation(v.Regions[i].Name) == name {
			return &v.Regions[i]
		}
	}
	return nil
}

// Failed says whether the version is marked as one that nobody should run, and why
// if the mark says it.
func (v *Version) Failed() (failed bool, reason string) {
	reason, failed = v.Tags[TagFailed]
	return failed, reason
}

// Good says whether the version is marked as one that served well.
func (v *Version) Good() bool {
	_, good := v.Tags[TagGood]
	return good
}

// A catalog finds the definitions of a fleet by id, in lower case.
type catalog map[string]*Definition

func (f *Fleet) catalog() catalog {
	c := make(catalog)
	for i := range f.Galleries {
		for j := range f.Galleries[i].Definitions {
			d := &f.Galleries[i].Definitions[j]
			c[strings.ToLower(string(d.ID))] = d
		}
	}
	return c
}

func (c catalog) find(id ResourceID) *Definition { return c[strings.ToLower(string(id))] }

// A Target is the image that a scale set's model asks for: what the next member is
// made from.
type Target struct {
	// Image names the image: "ubuntu-app" of a gallery, "publisher:offer:sku" of the
	// Marketplace, "" of anything else.
	Image      string     `json:"image"`
	Definition ResourceID `json:"definition,omitempty"` // of a gallery
	// Version is the pinned version, or the one that the latest is at this moment. It
	// is empty when that cannot be told; Unknown says why.
	Version string `json:"version"`
	Pinned  bool   `json:"pinned"`
	Unknown string `json:"unknown,omitempty"`
}

// target says what a model asks for in its region.
func (c catalog) target(s *ScaleSet) Target {
	id, err := s.Image.Gallery()
	if err != nil {
		return marketplaceTarget(s.Image)
	}
	t := Target{Image: id.Definition.Name(), Definition: id.Definition, Version: id.Version, Pinned: id.Version != ""}
	if t.Pinned {
		return t
	}
	definition := c.find(id.Definition)
	if definition == nil {
		t.Unknown = "the gallery was not read"
		return t
	}
	latest, known := definition.Latest(s.Location)
	switch {
	case !known:
		t.Unknown = "Azure does not say where the versions are replicated"
	case latest == nil:
		t.Unknown = "no version is to be had in " + s.Location
	default:
		t.Version = latest.Name
	}
	return t
}

// marketplaceTarget is the target of an image of the Marketplace, of a gallery that is
// shared directly or with the community, or of none that has versions.
func marketplaceTarget(r ImageReference) Target {
	t := Target{Image: imageName(r), Version: r.ExactVersion}
	if r.Publisher != "" && !strings.EqualFold(r.Version, "latest") {
		t.Version, t.Pinned = r.Version, true
	}
	if r.shared() {
		if version := ResourceID(r.ID).Part("versions"); version != "" && !strings.EqualFold(version, "latest") {
			t.Version, t.Pinned = version, true
		}
	}
	switch {
	case t.Version != "":
	case r.shared():
		t.Unknown = "the gallery is shared by another subscription, and not read"
	case r.Publisher != "":
		t.Unknown = "Azure does not say what the latest is"
	default:
		t.Unknown = "the image is of no gallery and not of the Marketplace"
	}
	return t
}

// imageName names an image for people, without its version.
func imageName(r ImageReference) string {
	if id, err := r.Gallery(); err == nil {
		return id.Definition.Name()
	}
	if r.Publisher != "" {
		return r.Publisher + ":" + r.Offer + ":" + r.SKU
	}
	if r.shared() {
		return ResourceID(r.ID).Part("images")
	}
	return ResourceID(r.ID).Name()
}

// runs names the version that a member runs, for a model that asks for t: its exact
// version, with the image before it when it is another one. It is empty when Azure
// does not say.
func (t *Target) runs(m *Member) string {
	version := m.Image.ExactVersion
	if version == "" {
		return ""
	}
	name := imageName(m.Image)
	same := strings.EqualFold(name, t.Image)
	if id, err := m.Image.Gallery(); err == nil {
		same = id.Definition.Same(t.Definition)
	}
	if same {
		return version
	}
	return name + " " + version
}
