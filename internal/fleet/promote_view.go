package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A ReleaseView is what a promotion or a demotion means: what is latest before it and
// after it, and which scale sets take the version without being asked.
type ReleaseView struct {
	Version int        `json:"version"`
	At      time.Time  `json:"at"`
	Action  string     `json:"action"` // promote or demote
	ID      ResourceID `json:"id"`
	Name    string     `json:"image_version"`
	Image   string     `json:"image"`
	Gallery string     `json:"gallery"`
	DryRun  bool       `json:"dry_run"`
	// Written says that something had to be written; Pending that Azure has accepted it
	// and nobody waited for the end.
	Written bool            `json:"written"`
	Pending bool            `json:"pending"`
	Regions []ReleaseRegion `json:"regions"`
	// Takes are the scale sets whose next members are made from the version, afterwards.
	Takes []ReleaseSet `json:"takes"`
	// Runs are those with members that run it: nothing happens to these.
	Runs     []ReleaseSet `json:"runs"`
	Warnings []string     `json:"warnings"`
	Notes    []string     `json:"notes"` // of what was not read
}

// A ReleaseRegion is a region of the version, before and after.
type ReleaseRegion struct {
	Name     string       `json:"name"`
	Asked    bool         `json:"asked"`
	Was      bool         `json:"was_excluded"`
	Excluded bool         `json:"excluded"`
	Before   RegionLatest `json:"latest_before"`
	After    RegionLatest `json:"latest_after"`
	Tracking []string     `json:"tracking"` // scale sets there whose reference has no version
}

// A ReleaseSet is a scale set that a release concerns.
type ReleaseSet struct {
	ScaleSet string `json:"scale_set"`
	Location string `json:"location"`
	Pinned   bool   `json:"pinned"`
	AutoOS   bool   `json:"automatic_os_upgrade"`
	Members  int    `json:"members"` // that run the version
}

// The actions of a ReleaseView.
const (
	ActionPromote = "promote"
	ActionDemote  = "demote"
)

// Release says what it means to exclude a version from latest in regions, or to end
// that; everywhere without regions. The fleet was read before. The error is as of
// [Exclude], or says that there is no such version.
func Release(f Fleet, definition ResourceID, name string, regions []string, excluded bool, now time.Time) (ReleaseView, error) {
	view := ReleaseView{
		Version: ViewVersion, At: f.At, Action: ActionPromote, Image: definition.Name(), Gallery: definition.Part("galleries"), Name: name,
		Regions: []ReleaseRegion{}, Takes: []ReleaseSet{}, Runs: []ReleaseSet{}, Warnings: []string{}, Notes: append([]string{}, f.Notes...),
	}
	if excluded {
		view.Action = ActionDemote
	}
	before := f.catalog().find(definition)
	v := before.Version(name)
	if v == nil {
		return view, NoVersion(before, definition, name)
	}
	view.ID = v.ID
	after, err := before.released(v, regions, excluded)
	if err != nil {
		return view, err
	}
	for _, l := range before.latests() {
		r := v.Region(l.Region)
		if r == nil {
			continue
		}
		now := after.Version(name)
		view.Regions = append(view.Regions, ReleaseRegion{
			Name: l.Region, Asked: len(regions) == 0 || namesRegion(regions, l.Region),
			Was: v.Excluded || r.Excluded, Excluded: now.Excluded || now.Region(l.Region).Excluded,
			Before: l, After: after.latest(l.Region), Tracking: []string{},
		})
	}
	view.addSets(&f, after, v)
	view.warn(v, now)
	return view, nil
}

// NoVersion says that a definition does not have a version, and what it has.
func NoVersion(d *Definition, id ResourceID, name string) error {
	if d == nil {
		return &UnknownError{Text: fmt.Sprintf("there is no image %s in gallery %s", id.Name(), id.Part("galleries")), Hint: "fleetctl images shows which there are"}
	}
	var names []string
	for i, v := range d.Newest() {
		if i == maxVersions {
			names = append(names, fmt.Sprintf("%d older", len(d.Versions)-i))
			break
		}
		names = append(names, v.Name)
	}
	return &UnknownError{Text: fmt.Sprintf("there is no version %s of image %s", name, id.Name()), Hint: "there are " + listed(names, "none")}
}

func namesRegion(regions []string, name string) bool {
	return slices.ContainsFunc(regions, func(r string) bool { return NormalLocation(r) == name })
}

// latest is what a reference without version means in a region.
func (d *Definition) latest(region string) RegionLatest {
	l := RegionLatest{Region: region}
	v, known := d.Latest(region)
	l.Known = known
	if v != nil {
		l.Version = v.Name
	}
	return l
}

// released is the definition with one version excluded, or not any more. It is the
// patch of [Exclude] that says how.
func (d *Definition) released(v *Version, regions []string, excluded bool) (*Definition, error) {
	targets := make([]any, len(v.Regions))
	for i, r := range v.Regions {
		targets[i] = Document{"name": r.Name, "excludeFromLatest": r.Excluded}
	}
	profile := Document{"excludeFromLatest": v.Excluded, "targetRegions": targets}
	patch, changed, err := Exclude(Document{"properties": Document{"publishingProfile": profile}}, regions, excluded)
	if err != nil || !changed {
		return d, err
	}
	e, err := readExclusion(patch)
	if err != nil {
		return nil, err
	}
	after := *d
	after.Versions = slices.Clone(d.Versions)
	is := after.Version(v.Name)
	is.Excluded, is.Regions = e.whole, slices.Clone(is.Regions)
	if is.Provisioning == Updating {
		is.Provisioning = Succeeded // nothing is written before that, and this is after it
	}
	for i, r := range e.regions {
		is.Regions[i].Excluded = r.excluded
	}
	return &after, nil
}

// addSets adds the scale sets that take the version afterwards or run it, and those
// that track latest where it is.
func (view *ReleaseView) addSets(f *Fleet, after *Definition, v *Version) {
	c := f.catalog()
	for i := range f.Sets {
		s := &f.Sets[i]
		set := ReleaseSet{ScaleSet: s.Model.ID.Name(), Location: s.Model.Location, AutoOS: s.Model.Upgrade.AutoOS}
		for _, m := range s.Members {
			if id, err := m.Image.Gallery(); err == nil && !m.Vanished && id.Definition.Same(after.ID) && m.Image.ExactVersion == v.Name {
				set.Members++
			}
		}
		t := c.target(&s.Model)
		set.Pinned = t.Pinned
		takes := false
		if t.Definition.Same(after.ID) {
			takes = t.Pinned && t.Version == v.Name
			if !t.Pinned {
				takes = after.latest(s.Model.Location).Version == v.Name
				for j := range view.Regions {
					if r := &view.Regions[j]; r.Name == s.Model.Location {
						r.Tracking = append(r.Tracking, set.ScaleSet)
					}
				}
			}
		}
		if takes {
			view.Takes = append(view.Takes, set)
		}
		if set.Members > 0 {
			view.Runs = append(view.Runs, set)
		}
	}
	for _, list := range [][]ReleaseSet{view.Takes, view.Runs} {
		slices.SortFunc(list, func(a, b ReleaseSet) int {
			return cmp.Or(cmp.Compare(a.ScaleSet, b.ScaleSet), cmp.Compare(a.Location, b.Location))
		})
	}
}

// warn adds what somebody should know who does this.
func (view *ReleaseView) warn(v *Version, now time.Time) {
	warn := func(format string, args ...any) { view.Warnings = append(view.Warnings, fmt.Sprintf(format, args...)) }
	if view.Action == ActionPromote {
		if !v.EndOfLife.IsZero() && v.EndOfLife.Before(now) {
			warn("%s is past its end of life, which was on %s", v.Name, v.EndOfLife.UTC().Format(time.DateOnly))
		}
		if _, booted := v.Tags[TagBooted]; !booted {
			warn("%s never passed a boot test", v.Name)
		}
	}
	for _, r := range view.Regions {
		after := r.After
		switch {
		case !r.Asked || r.Excluded == r.Was:
		case view.Action == ActionPromote && after.Known && after.Version != v.Name:
			warn("%s stays latest in %s: %s is older", listed([]string{after.Version}, "nothing"), r.Name, v.Name)
		case view.Action == ActionDemote && after.Known && after.Version == "" && len(r.Tracking) > 0:
			warn("no version is latest in %s then: scale-outs and repairs of %s fail", r.Name, listed(r.Tracking, ""))
		}
	}
}
