package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An ImagesView is the versions of a fleet's image definitions at a moment, and who
// uses them.
type ImagesView struct {
	Version     int                `json:"version"`
	At          time.Time          `json:"at"`
	Definitions []DefinitionImages `json:"definitions"`
	// Unread are the definitions that scale sets use and whose gallery was not read.
	Unread []ImageUse `json:"unread,omitempty"`
	Notes  []string   `json:"notes,omitempty"` // what was not read, and why
}

// DefinitionImages is an image definition with its versions, the newest first.
type DefinitionImages struct {
	Name     string          `json:"name"`
	Gallery  string          `json:"gallery"`
	ID       ResourceID      `json:"id"`
	Level    Level           `json:"level"`
	Problems []Problem       `json:"problems"`
	Latest   []RegionLatest  `json:"latest"`
	Versions []VersionImages `json:"versions"`
}

// A RegionLatest says what a reference without version means in a region.
type RegionLatest struct {
	Region  string `json:"region"`
	Version string `json:"version"` // "" when there is none, or when it is not known
	Known   bool   `json:"known"`
}

// VersionImages is a version, where it is, and who uses it.
type VersionImages struct {
	Name         string        `json:"name"`
	Provisioning string        `json:"provisioning_state"`
	Published    *time.Time    `json:"published,omitempty"`
	Excluded     bool          `json:"excluded_from_latest"`
	Failed       bool          `json:"failed"`
	FailedWhy    string        `json:"failed_reason,omitempty"`
	Good         bool          `json:"good"`
	Rollout      string        `json:"rollout,omitempty"` // the one that brings it just now
	EndOfLife    *time.Time    `json:"end_of_life,omitempty"`
	Ended        bool          `json:"past_end_of_life"`
	Replication  string        `json:"replication"` // Completed, Replicating, Failed or unknown, of all regions together
	Regions      []RegionImage `json:"regions"`
	UsedBy       []ImageUse    `json:"used_by"`
	Members      int           `json:"members"` // that run it, of all scale sets
}

// A RegionImage is a version in a region.
type RegionImage struct {
	Name     string `json:"name"`
	Replicas int    `json:"replicas"`
	State    string `json:"state"` // "" when Azure does not say
	Progress int    `json:"progress"`
	Excluded bool   `json:"excluded_from_latest"`
	Latest   bool   `json:"latest"`
	Details  string `json:"details,omitempty"`
}

// An ImageUse is a scale set that uses a version: its model asks for it, or members
// run it.
type ImageUse struct {
	ScaleSet   string     `json:"scale_set"`
	Location   string     `json:"location"`
	Model      bool       `json:"model"`
	Members    int        `json:"members"`
	Definition ResourceID `json:"definition,omitempty"` // of one that was not read
	Version    string     `json:"version,omitempty"`    // of one that was not read
}

// ReplicationUnknown is the replication of a version of which Azure says nothing.
const ReplicationUnknown = "unknown"

// Images returns the versions of all definitions.
func Images(f Fleet, now time.Time) ImagesView {
	view := ImagesView{Version: ViewVersion, At: f.At, Definitions: []DefinitionImages{}, Notes: f.Notes}
	uses := f.imageUses()
	for i := range f.Galleries {
		g := &f.Galleries[i]
		for j := range g.Definitions {
			view.Definitions = append(view.Definitions, definitionImages(g, &g.Definitions[j], uses, now))
		}
	}
	slices.SortStableFunc(view.Definitions, func(a, b DefinitionImages) int {
		return cmp.Or(cmp.Compare(b.Level.Rank(), a.Level.Rank()), cmp.Compare(a.ID, b.ID))
	})
	c := f.catalog()
	for _, u := range uses.all {
		if c.find(u.Definition) == nil {
			view.Unread = append(view.Unread, u)
		}
	}
	return view
}

// usage holds who uses which version of which definition.
type usage struct {
	byVersion map[string][]ImageUse
	all       []ImageUse
}

func useKey(definition ResourceID, version string) string {
	return strings.ToLower(string(definition)) + "\x00" + version
}

func (f *Fleet) imageUses() usage {
	u := usage{byVersion: make(map[string][]ImageUse)}
	c := f.catalog()
	for i := range f.Sets {
		for key, use := range setUses(&f.Sets[i], c) {
			u.byVersion[key] = append(u.byVersion[key], use)
			u.all = append(u.all, use)
		}
	}
	for _, list := range u.byVersion {
		sortUses(list)
	}
	sortUses(u.all)
	return u
}

func sortUses(list []ImageUse) {
	slices.SortFunc(list, func(a, b ImageUse) int {
		return cmp.Or(cmp.Compare(a.ScaleSet, b.ScaleSet), cmp.Compare(a.Location, b.Location), cmp.Compare(a.Definition, b.Definition), CompareVersions(b.Version, a.Version))
	})
}

// setUses returns what a scale set uses, by definition and version.
func setUses(set *Set, c catalog) map[string]ImageUse {
	uses := make(map[string]ImageUse)
	use := func(definition ResourceID, version string, model bool, members int) {
		key := useKey(definition, version)
		u, ok := uses[key]
		if !ok {
			u = ImageUse{ScaleSet: set.Model.ID.Name(), Location: set.Model.Location, Definition: definition, Version: version}
		}
		u.Model = u.Model || model
		u.Members += members
		uses[key] = u
	}
	if t := c.target(&set.Model); t.Definition != "" {
		use(t.Definition, t.Version, true, 0)
	}
	for i := range set.Members {
		m := &set.Members[i]
		if id, err := m.Image.Gallery(); err == nil && !m.Vanished && m.Image.ExactVersion != "" {
			use(id.Definition, m.Image.ExactVersion, false, 1)
		}
	}
	return uses
}

func definitionImages(g *Gallery, d *Definition, uses usage, now time.Time) DefinitionImages {
	view := DefinitionImages{
		Name: d.ID.Name(), Gallery: g.ID.Name(), ID: d.ID,
		Problems: []Problem{}, Latest: d.latests(), Versions: []VersionImages{},
	}
	for _, v := range d.Newest() {
		vi := versionImages(v, view.Latest, now)
		for _, u := range uses.byVersion[useKey(d.ID, v.Name)] {
			u.Definition, u.Version = "", ""
			vi.UsedBy = append(vi.UsedBy, u)
			vi.Members += u.Members
		}
		view.Versions = append(view.Versions, vi)
	}
	view.Problems = append(view.problems(), goneProblems(d, uses)...)
	slices.SortStableFunc(view.Problems, func(a, b Problem) int { return b.Level.Rank() - a.Level.Rank() })
	view.Level = LevelOK
	for _, p := range view.Problems {
		if p.Level.Rank() > view.Level.Rank() {
			view.Level = p.Level
		}
	}
	return view
}

// latests resolves the latest in every region that some version is to be in.
func (d *Definition) latests() []RegionLatest {
	list := []RegionLatest{}
	for i := range d.Versions {
		for _, r := range d.Versions[i].Regions {
			name := NormalLocation(r.Name)
			if slices.ContainsFunc(list, func(l RegionLatest) bool { return l.Region == name }) {
				continue
			}
			l := RegionLatest{Region: name}
			v, known := d.Latest(name)
			l.Known = known
			if v != nil {
				l.Version = v.Name
			}
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b RegionLatest) int { return cmp.Compare(a.Region, b.Region) })
	return list
}

func versionImages(v *Version, latest []RegionLatest, now time.Time) VersionImages {
	view := VersionImages{
		Name: v.Name, Provisioning: v.Provisioning, Published: given(v.Published), Excluded: v.Excluded, Good: v.Good(),
		EndOfLife: given(v.EndOfLife), Ended: !v.EndOfLife.IsZero() && v.EndOfLife.Before(now),
		Replication: v.Replication(), Regions: []RegionImage{}, UsedBy: []ImageUse{},
	}
	view.Failed, view.FailedWhy = v.Failed()
	for _, r := range v.Regions {
		name := NormalLocation(r.Name)
		view.Regions = append(view.Regions, RegionImage{
			Name: name, Replicas: r.Replicas, State: r.State, Progress: r.Progress, Excluded: r.Excluded, Details: r.Details,
			Latest: slices.Contains(latest, RegionLatest{Region: name, Version: v.Name, Known: true}),
		})
	}
	slices.SortStableFunc(view.Regions, func(a, b RegionImage) int { return cmp.Compare(a.Name, b.Name) })
	return view
}

// Replication is the replication of a version in all its regions together: Completed
// only when each says so.
func (v *Version) Replication() string {
	worst := Replicated
	for _, r := range v.Regions {
		switch {
		case r.State == ReplicationFailed:
			return ReplicationFailed
		case r.State == Replicating:
			worst = Replicating
		case r.State != Replicated && worst == Replicated:
			worst = ReplicationUnknown
		}
	}
	if len(v.Regions) == 0 {
		return ReplicationUnknown
	}
	return worst
}

// problems says what is wrong with versions, in the order of the versions.
func (d *DefinitionImages) problems() []Problem {
	list := []Problem{}
	add := func(id string, level Level, format string, args ...any) {
		list = append(list, Problem{ID: id, Level: level, Text: fmt.Sprintf(format, args...)})
	}
	for i := range d.Versions {
		v := &d.Versions[i]
		used := len(v.UsedBy) > 0
		if v.Provisioning == Failed {
			add("version-provisioning", LevelError, "%s is in provisioning state Failed: Azure never takes it as latest", v.Name)
		}
		v.replicationProblems(add)
		for _, u := range v.UsedBy {
			if u.Model && !slices.ContainsFunc(v.Regions, func(r RegionImage) bool { return r.Name == u.Location }) {
				add("not-in-region", LevelError, "%s is not to be replicated to %s, where the model of %s asks for it", v.Name, u.Location, u.ScaleSet)
			}
		}
		if v.Failed && used {
			add("version-failed", LevelError, "%s is marked failed and in use by %s%s", v.Name, users(v.UsedBy), because(v.FailedWhy))
		}
		if v.Ended && used {
			add("end-of-life", LevelWarning, "%s is past its end of life and in use by %s", v.Name, users(v.UsedBy))
		}
	}
	for _, l := range d.Latest {
		if l.Known && l.Version == "" {
			add("no-latest", LevelInfo, "no version is latest in %s: a reference without version fails there", l.Region)
		}
	}
	return list
}

// replicationProblems names the regions that a version is not in.
func (v *VersionImages) replicationProblems(add func(id string, level Level, format string, args ...any)) {
	var failed, moving, untold []string
	level, details := LevelInfo, ""
	for _, r := range v.Regions {
		switch r.State {
		case Replicated:
		case ReplicationFailed:
			failed, details = append(failed, r.Name), cmp.Or(details, r.Details)
		case Replicating:
			moving = append(moving, fmt.Sprintf("%s (%d%%)", r.Name, r.Progress))
			if slices.ContainsFunc(v.UsedBy, func(u ImageUse) bool { return u.Model && u.Location == r.Name }) {
				level = LevelError
			}
		default:
			untold = append(untold, r.Name)
		}
	}
	if len(failed) > 0 {
		add("not-replicated", LevelError, "%s did not replicate to %s%s", v.Name, strings.Join(failed, ", "), because(details))
	}
	if len(moving) > 0 {
		add("replicating", level, "%s is on its way to %s", v.Name, strings.Join(moving, ", "))
	}
	if len(untold) > 0 {
		add("replication-unknown", LevelWarning, "Azure does not say whether %s is replicated to %s", v.Name, strings.Join(untold, ", "))
	}
}

// goneProblems names versions in use that the definition does not have any more.
// Members that run one go on; the next one cannot be made.
func goneProblems(d *Definition, uses usage) []Problem {
	var list []Problem
	for _, u := range uses.all {
		if u.Version == "" || !u.Definition.Same(d.ID) || d.Version(u.Version) != nil {
			continue
		}
		if u.Model {
			list = append(list, Problem{ID: "version-gone", Level: LevelError, Text: fmt.Sprintf("%s is not in the gallery, and the model of %s asks for it", u.Version, u.ScaleSet)})
		} else {
			list = append(list, Problem{ID: "version-gone", Level: LevelInfo, Text: fmt.Sprintf("%s is not in the gallery any more; %d of %s still on it", u.Version, u.Members, u.ScaleSet)})
		}
	}
	return list
}

// users names scale sets.
func users(uses []ImageUse) string {
	var names []string
	for i, u := range uses {
		if i == maxVersions {
			names = append(names, fmt.Sprintf("%d more", len(uses)-i))
			break
		}
		names = append(names, u.ScaleSet)
	}
	return strings.Join(names, ", ")
}
