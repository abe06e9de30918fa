package fleetfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/graph"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// validator checks what no single value can tell: how values go together.
type validator struct {
	*fleet.Spec
	origins strict.Origins
	wrong   map[string]bool // the fields that a fault is known of, which may be the cause of another
	errs    strict.Errors
}

// validate returns the faults of the whole, on top of those that single values have.
func validate(s *fleet.Spec, origins strict.Origins, known strict.Errors) strict.Errors {
	v := validator{Spec: s, origins: origins, wrong: make(map[string]bool)}
	for _, e := range known {
		v.wrong[e.Field] = true
	}
	v.top()
	for _, name := range slices.Sorted(maps.Keys(s.ScaleSets)) {
		set := s.ScaleSets[name]
		v.set("scale_sets."+name, &set)
	}
	v.owners()
	if s.Gallery != nil {
		v.gallery()
	}
	if s.Bake != nil {
		v.bake(s.Bake)
	}
	if s.Rollout != nil {
		v.rollout(s.Rollout)
	}
	return v.errs
}

func (v *validator) fail(path, hint, format string, args ...any) {
	if e := v.origins.Fault(path, hint, format, args...); !v.wrong[e.Field] {
		v.errs = append(v.errs, e)
	}
}

func (v *validator) given(path string) bool { return v.origins.Given(path) }

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func (v *validator) top() {
	if v.Version != 1 && v.Version != 0 {
		v.fail("version", "write version: 1, or use a newer fleetctl", "%d is a version that this fleetctl does not read", v.Version)
	}
	if v.given("defaults.id") {
		v.fail("defaults.id", "write it at that set", "one id cannot be that of every scale set")
	}
	v.tags("tags", v.Tags)
}

// tags requires that no two tags differ in their letters alone: Azure takes them for one.
func (v *validator) tags(path string, tags map[string]string) {
	first := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		folded := strings.ToLower(name)
		if other, twice := first[folded]; twice {
			v.fail(path+"."+name, "leave one of them out, or write it in the same letters", "is the same tag as %s", quote(other))
			continue
		}
		first[folded] = name
	}
}

// set checks one scale set, which is at path.
func (v *validator) set(path string, s *fleet.SetSpec) {
	switch {
	case s.Manage == fleet.ManageFull && s.ID == "" && s.Create == nil && !v.given(path+".create"):
		v.fail(path, "add create: {…}, or the id of a set that exists: /subscriptions/…", "is managed in full and has neither create nor id")
	case (s.Manage == fleet.ManageImage || s.Manage == fleet.ManageObserve) && s.ID == "" && !v.given(path+".id"):
		v.fail(path, "add id: /subscriptions/…/virtualMachineScaleSets/NAME", "is somebody else's (manage: %s) and has no id", s.Manage)
	}
	if s.Spot != nil && s.TerminateNotice != 0 {
		v.fail(path+".terminate_notice", "write terminate_notice: off in this set", "cannot be given for Spot")
	}
	if s.Health != nil {
		v.wholeSeconds(path+".health.interval", s.Health.Interval)
		v.wholeSeconds(path+".health.grace", s.Health.Grace)
	}
	v.tags(path+".tags", s.Tags)
	v.upgrade(path, s)
	if a := s.Autoscale; a != nil {
		v.autoscale(path+".autoscale", a)
	}
}

func (v *validator) wholeSeconds(path string, d time.Duration) {
	if d%time.Second != 0 {
		v.fail(path, "write "+d.Round(time.Second).String(), "%v is not in whole seconds", d)
	}
}

// upgrade checks that a driver has what it needs, and no more.
func (v *validator) upgrade(path string, s *fleet.SetSpec) {
	u, driver := s.Upgrade, s.Upgrade.Driver
	auto := driver == fleet.DriverPlatformAutoOS
	switch {
	case s.Tracks == fleet.TracksLatest && !auto:
		v.fail(path+".tracks", "write tracks: pinned, or driver: platform-auto-os in upgrade",
			"latest goes with the driver platform-auto-os only: every new member would take the newest version at once")
	case s.Tracks == fleet.TracksPinned && auto:
		v.fail(path+".upgrade.driver", "add tracks: latest to the set", "platform-auto-os goes with tracks: latest only")
	}
	if u.Order != "" && driver.Platform() {
		v.fail(path+".upgrade.order", "remove it, or write order: off in this set", "cannot be chosen with the driver %s: the platform picks the members", driver)
	}
	for _, only := range []struct {
		key     string
		refused bool
	}{
		{"prioritize_unhealthy", u.PrioritizeUnhealthy != nil && !driver.Platform()},
		{"max_surge", u.MaxSurge != nil && !driver.Platform()},
		{"cross_zone", u.CrossZone != nil && !driver.Platform()},
		{"auto_os_rollback", u.AutoOSRollback != nil && !auto},
	} {
		if only.refused {
			v.fail(path+".upgrade."+only.key, "remove it, or write "+only.key+": off in this set", "is nothing that the driver %s knows", driver)
		}
	}
	if auto && u.MaxSurge != nil && *u.MaxSurge {
		v.fail(path+".upgrade.max_surge", "remove it", "is not supported together with automatic OS upgrade")
	}
	switch {
	case u.AutoOS == nil || *u.AutoOS == auto:
	case auto:
		v.fail(path+".upgrade.auto_os", "write auto_os: true, or another driver", "is off, and the driver platform-auto-os is nothing without it")
	default:
		v.fail(path+".upgrade.auto_os", "write driver: platform-auto-os, or remove it", "is on, and the driver is %s: two would upgrade the set", driver)
	}
}

func (v *validator) autoscale(path string, a *fleet.AutoscaleSpec) {
	switch {
	case a.Min > a.Max:
		v.fail(path+".min", "write min: "+strconv.Itoa(a.Max)+" or a larger max", "%d is more than max, which is %d", a.Min, a.Max)
	case a.Default < a.Min || a.Default > a.Max:
		v.fail(path+".default", "write a number from min to max", "%d is not between min and max, %d and %d", a.Default, a.Min, a.Max)
	}
}

// owners requires that no two entries are the same scale set.
func (v *validator) owners() {
	first := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(v.ScaleSets)) {
		id := strings.ToLower(string(v.SetID(name)))
		if other, twice := first[id]; twice {
			v.fail("scale_sets."+name, "leave one of them out", "is the same scale set as %s", other)
			continue
		}
		first[id] = name
	}
}

// gallery requires that a region is there once, however it is spelled.
func (v *validator) gallery() {
	const list = "gallery.regions."
	spelled := make(map[string]string)
	for _, path := range slices.Sorted(maps.Keys(v.origins)) {
		name, ok := strings.CutPrefix(path, list)
		if !ok {
			continue
		}
		normal := fleet.NormalLocation(name)
		if other, twice := spelled[normal]; twice {
			v.fail(path, "leave one of them out", "is the same region as %q", other)
			continue
		}
		spelled[normal] = name
	}
}

func (v *validator) bake(b *fleet.BakeSpec) {
	if v.Gallery == nil && !v.given("gallery") {
		v.fail("bake", "add gallery: {name: …, image: {…}}", "has no gallery to publish to")
	}
	v.tags("bake.artifact_tags", b.ArtifactTags)
	v.templateName(b)
	names := uniqueNames{v: v, word: "customizer"}
	for i, c := range b.Customize {
		path := item("bake.customize", i)
		names.add(path, c.Name)
		switch {
		case c.File != "" && c.To == "":
			v.fail(path+".file", "add to: /tmp/NAME", "is given without to")
		case c.File == "" && c.To != "":
			v.fail(path+".to", "remove it", "goes with file only")
		}
		if c.File != "" && len(c.Args) > 0 {
			v.fail(path+".args", "remove it", "goes with script only")
		}
		v.script(path, c.Script, c.SHA256)
	}
	for i, s := range b.Validate {
		path := item("bake.validate", i)
		names.add(path, s.Name)
		v.script(path, s.Script, s.SHA256)
	}
	if t := b.BootTest; t != nil && t.Like != "" && !strings.HasPrefix(t.Like, "/") {
		v.known("bake.boot_test.like", t.Like)
	}
}

// templateName requires that the bake's image template can be named.
func (v *validator) templateName(b *fleet.BakeSpec) {
	if v.Gallery == nil {
		return
	}
	const most = 64 // characters of the name, which is IMAGE-VERSION
	name := v.TemplateName(strings.ReplaceAll(b.Version, "{n}", "0000"))
	if over := len(name) - most; over > 0 {
		v.fail("gallery.image.name", fmt.Sprintf("shorten it by %d", over), "is too long for bakes: an image template is named IMAGE-VERSION, with at most %d characters", most)
	}
}

// script requires that what comes over the network is what was meant.
func (v *validator) script(path, script, sum string) {
	switch {
	case remote(script) && sum == "" && !v.given(path+".sha256"):
		v.fail(path+".script", "add sha256: with what sha256sum says of the file", "is at a URL and has no sha256")
	case !remote(script) && sum != "":
		v.fail(path+".sha256", "remove it", "is for a script at a URL")
	}
}

// known requires that there is a scale set of this name.
func (v *validator) known(path, name string) bool {
	if _, ok := v.ScaleSets[name]; ok {
		return true
	}
	names := slices.Sorted(maps.Keys(v.ScaleSets))
	hint := "there are none in scale_sets"
	if near := graph.Nearest(name, names); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	} else if len(names) > 0 {
		hint = "known: " + few(names)
	}
	v.fail(path, hint, "unknown scale set %s", quote(name))
	return false
}

// few writes names as far as they are worth reading.
func few(names []string) string {
	const limit = 10
	if len(names) > limit {
		names = append(slices.Clone(names[:limit]), "…")
	}
	return strings.Join(names, ", ")
}

// uniqueNames requires that the names of a list differ.
type uniqueNames struct {
	v    *validator
	word string
	seen map[string]string
}

func (u *uniqueNames) add(path, name string) {
	if name == "" {
		return // told already
	}
	if first, twice := u.seen[name]; twice {
		u.v.fail(path+".name", "rename one of the two", "the %s %s is there twice, first %s", u.word, quote(name), u.v.origins.At(first+".name"))
		return
	}
	if u.seen == nil {
		u.seen = make(map[string]string)
	}
	u.seen[name] = path
}
