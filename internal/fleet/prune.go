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
	PruneLeft     PruneEnd = "left"          // somebody said no, or it is needed by now
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
			if t.version == v.Name && t.running() {
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
	pattern := ""
	if l.Spec.Bake != nil {
		pattern = l.Spec.Bake.Version
	}
	before, after, counted := strings.Cut(pattern, "{n}")
	for _, v := range d.Newest() {
		if !counted || strings.HasPrefix(v.Name, before) && strings.HasSuffix(v.Name, after) {
			return v
		}
	}
	return nil
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

// A prunedTemplate is the image template of a bake of the file's image.
type prunedTemplate struct {
	id           ResourceID
	version      string
	provisioning string
	run          string // lastRunStatus.runState
	ended        time.Time
	ours         bool // tagged with the name of the file
}

// bakes are the templates whose names are those of bakes, IMAGE-VERSION, the highest
// first.
func (l *PruneLook) bakes() []prunedTemplate {
	var all []prunedTemplate
	prefix := strings.ToLower(l.Spec.DefinitionID().Name() + "-")
	for _, d := range l.Templates {
		id := ResourceID(textAt(d, "id"))
		version, ok := strings.CutPrefix(strings.ToLower(id.Name()), prefix)
		if !ok || versionNumbers(version) == nil {
			continue
		}
		t := prunedTemplate{
			id: id, version: version, provisioning: ProvisioningState(d), run: textAt(d, "properties", "lastRunStatus", "runState"),
			ours: textAt(d, "tags", TagFleet) == l.Spec.Name,
		}
		t.ended, _ = time.Parse(time.RFC3339, textAt(d, "properties", "lastRunStatus", "endTime")) // zero: it never ran
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b prunedTemplate) int { return CompareVersions(b.version, a.version) })
	return all
}

// running says whether Azure does something with the template, as far as is known.
func (t *prunedTemplate) running() bool {
	over := []string{"", Succeeded, Failed, "PartiallySucceeded", "Canceled"}
	return t.provisioning != Succeeded && t.provisioning != Failed || !slices.Contains(over, t.run)
}

// state is what the template is said to be.
func (t *prunedTemplate) state() string {
	if t.provisioning != Succeeded || t.run == "" {
		return cmp.Or(t.provisioning, "in a state that is not known")
	}
	return t.run
}

// pruneTemplates adds the templates of bakes to a view.
func (l *PruneLook) pruneTemplates(d *Definition, templates []prunedTemplate, view *PruneView) {
	for i, t := range templates {
		item := PruneItem{ID: t.id, Kind: PruneTemplate, Name: t.id.Name()}
		v := d.Version(t.version)
		failed := t.provisioning == Failed || t.run == Failed || t.run == "Canceled" || t.run == "PartiallySucceeded"
		higher := i > 0 && templates[0].version != t.version || slices.ContainsFunc(d.Versions, func(v Version) bool { return CompareVersions(v.Name, t.version) > 0 })
		switch {
		case !t.ours:
			item.Why = append(item.Why, "it has no tag "+TagFleet+": "+l.Spec.Name)
		case t.running():
			item.Why = append(item.Why, "it is "+t.state())
		case v == nil && !failed:
			item.Why = append(item.Why, "its bake is not over: there is no version "+t.version)
		case v == nil && !higher:
			item.Why = append(item.Why, "it has the highest number: the next bake counts on from it")
		case v != nil && !v.judged() && l.Now.Sub(cmp.Or(t.ended, v.Published)) < pruneAge:
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

// judged says whether a version passed its boot test or failed.
func (v *Version) judged() bool {
	_, booted := v.Tags[TagBooted]
	failed, _ := v.Failed()
	return booted || failed
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
