package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pruneAge is how old something has to be before it is pruned: until then its bake, its
// replication or its boot test may be under way.
const pruneAge = 24 * time.Hour

// A PruneLook is what was read before something is deleted. A part of it that could
// not be read is no PruneLook: nothing is deleted then.
type PruneLook struct {
	Spec *Spec
	Keep int // how many of the newest versions stay, whatever is true of them
	Now  time.Time
	// Fleet holds all scale sets of the subscription with their members, and the
	// gallery.
	Fleet Fleet
	// Templates are the image templates of the file's resource group.
	Templates []Document
	// Hold is of the rollout that is not over; nil: there is none.
	Hold *Hold
}

// A PruneView says what is deleted and what stays, and why.
type PruneView struct {
	Version int         `json:"version"`
	At      time.Time   `json:"at"`
	Image   string      `json:"image"`
	Gallery string      `json:"gallery"`
	Keep    int         `json:"keep"`
	DryRun  bool        `json:"dry_run"`
	Delete  []PruneItem `json:"delete"`
	Kept    []PruneItem `json:"kept"`
}

// A PruneItem is an image version or an image template.
type PruneItem struct {
	ID        ResourceID `json:"id"`
	Kind      PruneKind  `json:"kind"`
	Name      string     `json:"name"`
	Published *time.Time `json:"published,omitempty"` // of a version
	Why       []string   `json:"why"`                 // it stays, or may go
	Outcome   PruneEnd   `json:"outcome,omitempty"`
	Error     string     `json:"error,omitempty"` // why it could not be deleted
}

// PruneKind is what is pruned.
type PruneKind string

// What is pruned.
const (
	PruneVersion  PruneKind = "image version"
	PruneTemplate PruneKind = "image template"
)

// PruneEnd is what became of something that was to be deleted.
type PruneEnd string

// What became of something that was to be deleted.
const (
	PruneDeleted  PruneEnd = "deleted"
	PruneDeleting PruneEnd = "being deleted" // nobody waited for it
	PruneLeft     PruneEnd = "left"          // somebody said no, or a new look did
	PruneRefused  PruneEnd = "refused"       // Azure did not delete it
)

// Prune says which versions of the file's image and which image templates of its bakes
// are of no use any more. The error says that there is no such image.
func Prune(l PruneLook) (PruneView, error) {
	definition := l.Spec.DefinitionID()
	view := PruneView{
		Version: ViewVersion, At: l.Fleet.At, Image: definition.Name(), Gallery: definition.Part("galleries"), Keep: l.Keep,
		Delete: []PruneItem{}, Kept: []PruneItem{},
	}
	d := l.Fleet.catalog().find(definition)
	if d == nil {
		return view, NoVersion(nil, definition, "")
	}
	templates := l.bakes()
	uses := l.Fleet.imageUses()
	for i, v := range d.Newest() {
		item := PruneItem{ID: v.ID, Kind: PruneVersion, Name: v.Name, Published: given(v.Published)}
		if i < l.Keep {
			item.Why = append(item.Why, fmt.Sprintf("among the newest %d", l.Keep))
		}
		item.Why = append(item.Why, l.needed(d, v, uses.byVersion[useKey(d.ID, v.Name)])...)
		for _, t := range templates {
			if t.Version == v.Name && t.running() {
				item.Why = append(item.Why, "its image template is "+t.state())
			}
		}
		if len(item.Why) > 0 {
			view.Kept = append(view.Kept, item)
			continue
		}
		item.Why = []string{v.unused(l.Now)}
		view.Delete = append(view.Delete, item)
	}
	l.pruneTemplates(d, templates, &view)
	return view, nil
}

// needed says why a version is not to be deleted, whatever its age.
func (l *PruneLook) needed(d *Definition, v *Version, uses []ImageUse) []string {
	var why []string
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if v.ID == "" || versionNumbers(v.Name) == nil {
		add("its name is not one of a version")
	}
	if v.Provisioning != Succeeded && v.Provisioning != Failed {
		add("its provisioning state is %s", cmp.Or(v.Provisioning, "not known"))
	}
	switch {
	case v.Published.IsZero():
		add("Azure does not say how old it is")
	case l.Now.Sub(v.Published) < pruneAge:
		add("it is younger than a day")
	}
	var askers, runners []ImageUse
	members := 0
	for _, use := range uses {
		if use.Model {
			askers = append(askers, use)
		}
		if use.Members > 0 {
			runners, members = append(runners, use), members+use.Members
		}
	}
	if len(askers) > 0 {
		add("the model of %s asks for it", users(askers))
	}
	if members > 0 {
		add("run by %d of the members of %s", members, users(runners))
	}
	for i := range l.Fleet.Sets {
		m := &l.Fleet.Sets[i].Model
		if id, err := m.Image.Gallery(); err == nil && !m.Flexible && id.Definition.Same(d.ID) {
			add("what the members of %s run is not known: it is not Flexible", m.ID.Name())
		}
	}
	var latest []string
	for _, r := range v.Regions {
		switch is, known := d.Latest(r.Name); {
		case !known && !v.Excluded && !r.Excluded:
			add("Azure does not say what is latest in %s", r.Name)
		case is == v:
			latest = append(latest, r.Name)
		}
	}
	if len(latest) > 0 {
		add("it is latest in %s", strings.Join(latest, ", "))
	}
	if v == d.lastGood() {
		add("it is the last good one")
	}
	if need := l.Hold.needs(d.ID, v.Name); need != "" {
		add("%s", need)
	}
	if v == l.highest(d) {
		add("it has the highest number: the next bake counts on from it")
	}
	return why
}

// lastGood is the highest version that is marked good and not failed, or nil.
func (d *Definition) lastGood() *Version {
	for _, v := range d.Newest() {
		if failed, _ := v.Failed(); v.Good() && !failed {
			return v
		}
	}
	return nil
}

// highest is the version with the highest number of those that the file's bakes count.
// A number is never used again, so this one has to stay.
func (l *PruneLook) highest(d *Definition) *Version {
	for _, v := range d.Newest() {
		if l.counts(v.Name) {
			return v
		}
	}
	return nil
}

// counts says whether the file's bakes count a version when they take the next number.
func (l *PruneLook) counts(version string) bool {
	if l.Spec.Bake == nil {
		return true
	}
	before, after, counted := strings.Cut(l.Spec.Bake.Version, numberHole)
	return !counted || strings.HasPrefix(version, before) && strings.HasSuffix(version, after)
}

// unused says what is known of a version that may go.
func (v *Version) unused(now time.Time) string {
	failed, reason := v.Failed()
	switch {
	case failed:
		return "marked failed" + because(reason)
	case v.Provisioning == Failed:
		return "its provisioning failed"
	case !v.EndOfLife.IsZero() && v.EndOfLife.Before(now):
		return "past its end of life, and nothing uses it"
	}
	return "nothing uses it"
}

// bakes are the templates of bakes of the file's image, the highest first.
func (l *PruneLook) bakes() []*BakeTemplate {
	var all []*BakeTemplate
	for _, d := range l.Templates {
		if t := ReadBakeTemplate(l.Spec, d); t != nil {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *BakeTemplate) int { return CompareVersions(b.Version, a.Version) })
	return all
}

// running says whether Azure does something with the template, as far as is known.
func (t *BakeTemplate) running() bool {
	over := t.RunState == "" || t.RunState == Succeeded || t.endedBadly()
	return t.Provisioning != Succeeded && t.Provisioning != Failed || !over
}

// state is what the template is said to be.
func (t *BakeTemplate) state() string {
	if t.Provisioning != Succeeded || t.RunState == "" {
		return cmp.Or(t.Provisioning, "in a state that is not known")
	}
	return t.RunState
}

// pruneTemplates adds the templates of bakes to a view.
func (l *PruneLook) pruneTemplates(d *Definition, templates []*BakeTemplate, view *PruneView) {
	for _, t := range templates {
		item := PruneItem{ID: t.ID, Kind: PruneTemplate, Name: t.ID.Name()}
		v := d.Version(t.Version)
		failed := t.Provisioning == Failed || t.endedBadly()
		above := func(version string) bool {
			return l.counts(version) == l.counts(t.Version) && CompareVersions(version, t.Version) > 0
		}
		higher := slices.ContainsFunc(templates, func(o *BakeTemplate) bool { return above(o.Version) }) ||
			slices.ContainsFunc(d.Versions, func(v Version) bool { return above(v.Name) })
		switch {
		case t.Tags[TagFleet] != l.Spec.Name:
			item.Why = append(item.Why, "it has no tag "+TagFleet+": "+l.Spec.Name)
		case t.running():
			item.Why = append(item.Why, "it is "+t.state())
		case v == nil && !failed:
			item.Why = append(item.Why, "its bake is not over: there is no version "+t.Version)
		case v == nil && !higher:
			item.Why = append(item.Why, "it has the highest number: the next bake counts on from it")
		case v != nil && !v.decided() && l.Now.Sub(cmp.Or(t.RunEnd, v.Published)) < pruneAge:
			item.Why = append(item.Why, "its bake may be under way: the version neither passed nor failed")
		}
		if len(item.Why) > 0 {
			view.Kept = append(view.Kept, item)
			continue
		}
		item.Why = []string{"its bake is over"}
		if failed {
			item.Why[0] = "its build failed"
		}
		view.Delete = append(view.Delete, item)
	}
}

// Find returns what is planned for a resource: the item, and whether it may go. An item
// that is nil is not there any more.
func (v *PruneView) Find(id ResourceID) (item *PruneItem, deletable bool) {
	for i := range v.Delete {
		if v.Delete[i].ID.Same(id) {
			return &v.Delete[i], true
		}
	}
	for i := range v.Kept {
		if v.Kept[i].ID.Same(id) {
			return &v.Kept[i], false
		}
	}
	return nil, false
}
