package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Verdict is what a check comes to.
type Verdict string

// The verdicts. What is not known is never ok.
const (
	OK           Verdict = "ok"
	NotKnown     Verdict = "not known"
	VerifyFailed Verdict = "failed"
)

func (v Verdict) rank() int { return slices.Index([]Verdict{OK, NotKnown, VerifyFailed}, v) }

// A Check is one thing that was verified.
type Check struct {
	Subject string   `json:"subject"` // a scale set, or "IMAGE VERSION"
	Check   string   `json:"check"`   // stable: "health"
	Verdict Verdict  `json:"verdict"`
	Text    string   `json:"text"` // what was seen
	Members []string `json:"members,omitempty"`
}

// A VerifyView is whether a fleet is as it should be: every check, the failed ones
// first.
type VerifyView struct {
	Version  int       `json:"version"`
	At       time.Time `json:"at"`
	Verdict  Verdict   `json:"verdict"` // the worst of all checks
	OK       int       `json:"ok"`
	NotKnown int       `json:"not_known"`
	Failed   int       `json:"failed"`
	Checks   []Check   `json:"checks"`
	Notes    []string  `json:"notes,omitempty"` // what was not read, and why
}

// Verify judges the fleet by what the file says. Without a file it judges what is so
// in every fleet: that images are replicated, that members are Healthy, run one
// version, and are on the latest model.
func Verify(f Fleet, file *Spec, o StatusOptions) VerifyView {
	v := verifier{file: file, catalog: f.catalog(), options: o}
	sets := v.sets(&f)
	v.replication(&f, sets)
	for _, s := range sets {
		v.set(s)
	}
	if len(sets) == 0 && len(v.checks) == 0 {
		v.add("fleet", "scale-sets", NotKnown, "no scale sets: nothing is verified")
	}
	slices.SortStableFunc(v.checks, func(a, b Check) int { return b.Verdict.rank() - a.Verdict.rank() })
	view := VerifyView{Version: ViewVersion, At: f.At, Verdict: OK, Checks: v.checks, Notes: f.Notes}
	for _, c := range v.checks {
		*map[Verdict]*int{OK: &view.OK, NotKnown: &view.NotKnown, VerifyFailed: &view.Failed}[c.Verdict]++
		if c.Verdict.rank() > view.Verdict.rank() {
			view.Verdict = c.Verdict
		}
	}
	return view
}

// verifier gathers checks.
type verifier struct {
	file    *Spec
	catalog catalog
	options StatusOptions
	checks  []Check
}

func (v *verifier) add(subject, check string, verdict Verdict, text string, members ...string) {
	v.checks = append(v.checks, Check{subject, check, verdict, text, members})
}

// judge adds a check that failed for each reason that is given, or is ok.
func (v *verifier) judge(subject, check string, wrong []string, ok string) {
	if len(wrong) > 0 {
		v.add(subject, check, VerifyFailed, strings.Join(wrong, "; "))
		return
	}
	v.add(subject, check, OK, ok)
}

// A verifiedSet is a scale set to verify, with what the file says of it.
type verifiedSet struct {
	set    *Set
	status SetStatus
	name   string
	spec   *SetSpec // nil without a file
}

// driver is who should upgrade the members.
func (s *verifiedSet) driver() Driver {
	if s.spec != nil {
		return s.spec.Upgrade.Driver
	}
	return s.status.Driver
}

// full says whether the file declares all of the scale set.
func (s *verifiedSet) full() bool { return s.spec != nil && s.spec.Manage == ManageFull }

// sets returns the scale sets of the file, or all that there are. One of the file
// that is not there is a failed check.
func (v *verifier) sets(f *Fleet) []*verifiedSet {
	var list []*verifiedSet
	add := func(set *Set, name string, spec *SetSpec) {
		list = append(list, &verifiedSet{set: set, name: name, spec: spec, status: setStatus(set, v.catalog, v.options)})
	}
	if v.file == nil {
		for i := range f.Sets {
			add(&f.Sets[i], f.Sets[i].Model.ID.Name(), nil)
		}
		slices.SortStableFunc(list, func(a, b *verifiedSet) int { return cmp.Compare(a.name, b.name) })
		return list
	}
	for _, name := range slices.Sorted(maps.Keys(v.file.ScaleSets)) {
		spec, id := v.file.ScaleSets[name], v.file.SetID(name)
		i := slices.IndexFunc(f.Sets, func(s Set) bool { return s.Model.ID.Same(id) })
		if i < 0 {
			v.add(name, "scale-set", VerifyFailed, "the file declares it, and it is not there")
			continue
		}
		add(&f.Sets[i], name, &spec)
	}
	return list
}

// replication looks at every version that a model asks for, that a member runs, or
// that is the newest of a definition in use: it has to be in each of its regions.
// That it is published there is intent; replicationStatus says whether it is so.
func (v *verifier) replication(f *Fleet, sets []*verifiedSet) {
	wanted := make(map[string]map[string]bool) // regions that need it, by useKey
	var order []string
	want := func(definition ResourceID, version, region string) {
		key := useKey(definition, version)
		if wanted[key] == nil {
			wanted[key] = make(map[string]bool)
			order = append(order, key)
		}
		if region != "" {
			wanted[key][region] = true
		}
	}
	for _, s := range sets {
		target := s.status.Target
		if target.Definition == "" {
			continue
		}
		definition := v.catalog.find(target.Definition)
		if definition == nil {
			v.add(target.Image, "replication", NotKnown, "its gallery was not read, and "+s.name+" uses it")
			continue
		}
		if target.Version != "" {
			want(definition.ID, target.Version, s.status.Location)
		}
		for _, use := range setUses(s.set, v.catalog) {
			if use.Members > 0 && use.Definition.Same(definition.ID) && definition.Version(use.Version) != nil {
				want(definition.ID, use.Version, "")
			}
		}
		if newest := definition.Newest(); len(newest) > 0 {
			want(definition.ID, newest[0].Name, "")
		}
	}
	for i := range f.Galleries {
		for j := range f.Galleries[i].Definitions {
			d := &f.Galleries[i].Definitions[j]
			v.definitionReplication(d, wanted, order)
		}
	}
}

// definitionReplication judges the wanted versions of a definition, the newest first.
func (v *verifier) definitionReplication(d *Definition, wanted map[string]map[string]bool, order []string) {
	for _, version := range d.Newest() {
		if regions, ok := wanted[useKey(d.ID, version.Name)]; ok {
			v.versionReplication(d, version, regions)
		}
	}
	for _, key := range order {
		definition, name, _ := strings.Cut(key, "\x00")
		if d.ID.Same(ResourceID(definition)) && d.Version(name) == nil {
			v.add(d.ID.Name()+" "+name, "replication", VerifyFailed, "a model asks for it, and it is not in the gallery")
		}
	}
}

func (v *verifier) versionReplication(d *Definition, version *Version, needed map[string]bool) {
	var done, wrong, unknown []string
	if version.Provisioning != Succeeded {
		wrong = append(wrong, "provisioning state "+cmp.Or(version.Provisioning, "unknown"))
	}
	for _, r := range version.Regions {
		switch r.State {
		case Replicated:
			done = append(done, r.Name)
		case Replicating:
			wrong = append(wrong, fmt.Sprintf("%s %s %d%%", r.Name, r.State, r.Progress))
		case ReplicationFailed:
			wrong = append(wrong, r.Name+" "+r.State+because(r.Details))
		default:
			unknown = append(unknown, r.Name)
		}
	}
	for region := range v.declaredRegions(d, version) {
		needed[region] = true
	}
	for _, region := range slices.Sorted(maps.Keys(needed)) {
		if version.Region(region) == nil {
			wrong = append(wrong, "not to be in "+region)
		}
	}
	subject := d.ID.Name() + " " + version.Name
	switch {
	case len(wrong) > 0:
		v.add(subject, "replication", VerifyFailed, strings.Join(wrong, "; "))
	case len(unknown) > 0 || len(done) == 0:
		v.add(subject, "replication", NotKnown, "Azure does not say whether it is in "+cmp.Or(strings.Join(unknown, ", "), "any region"))
	default:
		v.add(subject, "replication", OK, Replicated+" in "+strings.Join(done, ", "))
	}
}

// declaredRegions are those that the file wants the definition's newest version in
// from the bake on.
func (v *verifier) declaredRegions(d *Definition, version *Version) map[string]bool {
	regions := make(map[string]bool)
	if v.file == nil || v.file.Gallery == nil || v.file.Gallery.Replicate != ReplicateAtBake ||
		!d.ID.Same(v.file.DefinitionID()) || d.Newest()[0] != version {
		return regions
	}
	for region := range v.file.Gallery.Regions {
		regions[region] = true
	}
	for _, s := range v.file.ScaleSets {
		regions[s.Location] = true
	}
	return regions
}

func (v *verifier) set(s *verifiedSet) {
	v.members(s)
	v.versions(s)
	v.model(s)
	if s.spec != nil {
		v.image(s)
		v.policy(s)
	}
	if s.full() {
		v.extension(s)
		v.repairs(s)
		v.autoscale(s)
	}
	v.upgrade(s)
	if s.driver() == DriverPlatformAutoOS {
		v.history(s)
	}
}

// noMembers says why there is no evidence.
func (s *verifiedSet) noMembers() string {
	if !s.set.Model.Flexible {
		return uniform
	}
	return "no members: no evidence"
}

// members judges health: that of each virtual machine, since the instance view of a
// Flexible scale set does not exist. Each thing that is wrong is a check of its own.
func (v *verifier) members(s *verifiedSet) {
	const check = "health"
	n, status := s.status.Counts, &s.status
	if n.Total == 0 {
		v.add(s.name, check, NotKnown, s.noMembers())
		return
	}
	judged := len(v.checks)
	for _, p := range status.Problems {
		switch p.ID {
		case "unhealthy", "vanished", "member-failed", "deallocated":
			v.add(s.name, check, VerifyFailed, p.Text, p.Members...)
		case "health-unknown", "health-missing", "health-old", "initializing":
			v.add(s.name, check, NotKnown, p.Text, p.Members...)
		}
	}
	switch {
	case len(v.checks) > judged:
		return
	case n.Healthy == 0:
		v.add(s.name, check, NotKnown, "no member runs: no evidence")
		return
	}
	text := fmt.Sprintf("%d of %d Healthy", n.Healthy, n.Total)
	if n.Deallocated > 0 {
		text += fmt.Sprintf(", %d Spot deallocated", n.Deallocated)
	}
	v.add(s.name, check, OK, text)
}

// versions judges what members run: one version, and the model's.
func (v *verifier) versions(s *verifiedSet) {
	const check = "version"
	status := &s.status
	problem := func(ids ...string) *Problem {
		i := slices.IndexFunc(status.Problems, func(p Problem) bool { return slices.Contains(ids, p.ID) })
		if i < 0 {
			return nil
		}
		return &status.Problems[i]
	}
	switch {
	case status.Counts.Total == status.Counts.Vanished:
		v.add(s.name, check, NotKnown, s.noMembers())
	case status.Mixed || status.Behind > 0:
		p := problem("wrong-version", "mixed-versions")
		v.add(s.name, check, VerifyFailed, p.Text, p.Members...)
	case problem("version-unknown") != nil:
		p := problem("version-unknown")
		v.add(s.name, check, NotKnown, p.Text, p.Members...)
	case status.Target.Version == "":
		v.add(s.name, check, NotKnown, fmt.Sprintf("all run %s; what the model asks for is not known: %s", status.Versions[0].Version, status.Target.Unknown))
	default:
		v.add(s.name, check, OK, fmt.Sprintf("all run %s, as the model asks", status.Target.Version))
	}
}

// model judges latestModelApplied. That it is true proves little, and the exact
// version is another check; that it is false is a change that is not applied.
func (v *verifier) model(s *verifiedSet) {
	const check = "model"
	there := s.status.where(func(m *MemberStatus) bool { return m.State != StateVanished })
	stale := filter(there, func(m *MemberStatus) bool { return m.LatestModel != nil && !*m.LatestModel })
	untold := filter(there, func(m *MemberStatus) bool { return m.LatestModel == nil })
	switch {
	case len(there) == 0:
		v.add(s.name, check, NotKnown, s.noMembers())
	case len(stale) > 0:
		v.add(s.name, check, VerifyFailed, are(len(stale), len(there))+" not on the latest model", namesOf(stale)...)
	case len(untold) > 0:
		v.add(s.name, check, NotKnown, fmt.Sprintf("Azure does not say whether %s on the latest model", are(len(untold), len(there))), namesOf(untold)...)
	default:
		v.add(s.name, check, OK, "latestModelApplied is true of all")
	}
}

// image judges what the model refers to, by tracks and the gallery of the file.
func (v *verifier) image(s *verifiedSet) {
	t, wrong := s.status.Target, []string(nil)
	switch g, id := v.file.Gallery, v.file.DefinitionID(); {
	case g == nil || t.Definition.Same(id):
	case strings.EqualFold(t.Image, g.Image.Name): // two galleries may have one of this name
		wrong = append(wrong, "the model asks for "+cmp.Or(string(t.Definition), "another "+t.Image)+", the file for "+string(id))
	default:
		wrong = append(wrong, "the model asks for "+cmp.Or(t.Image, "no image")+", the file for "+g.Image.Name)
	}
	switch {
	case s.spec.Tracks == TracksLatest && t.Pinned:
		wrong = append(wrong, "the model is pinned to "+t.Version+", and the file tracks the latest")
	case s.spec.Tracks != TracksLatest && !t.Pinned:
		wrong = append(wrong, "the model has no version, and the file pins one")
	}
	ok := "pinned to " + t.Version
	if !t.Pinned {
		ok = "tracks the latest"
	}
	v.judge(s.name, "image", wrong, t.Image+", "+ok)
}

// policy judges the upgrade policy: the mode that the driver needs, and what the file
// says of a policy that is the platform's to follow.
func (v *verifier) policy(s *verifiedSet) {
	u, live := &s.spec.Upgrade, &s.set.Model.Upgrade
	var wrong []string
	differ := func(what, is, want string) {
		if is != want {
			wrong = append(wrong, fmt.Sprintf("%s is %s, the file says %s", what, is, want))
		}
	}
	auto := u.Driver == DriverPlatformAutoOS || u.AutoOS != nil && *u.AutoOS
	differ("automatic OS upgrade", onOff(live.AutoOS), onOff(auto))
	switch u.Driver {
	case DriverBatches:
		differ("the mode", string(cmp.Or(live.Mode, "unknown")), string(Manual))
	case DriverPlatformRolling:
		differ("the mode", string(cmp.Or(live.Mode, "unknown")), string(Rolling))
	default: // automatic OS upgrades go with any mode
	}
	if s.full() && u.Driver.Platform() {
		r := &live.Rolling
		percent := func(what string, is *int, want Percent) {
			seen := usualPercent
			if is != nil {
				seen = *is
			}
			differ(what, fmt.Sprintf("%d%%", seen), fmt.Sprintf("%d%%", want))
		}
		percent("the batch", r.MaxBatch, u.Batch)
		percent("max_unhealthy", r.MaxUnhealthy, u.MaxUnhealthy)
		percent("max_unhealthy_upgraded", r.MaxUnhealthyUpgraded, u.MaxUnhealthyUpgraded)
		differ("the pause", durationText(value(r.Pause)), durationText(u.Pause))
		for _, one := range []struct {
			what     string
			is, want *bool
		}{
			{"prioritize_unhealthy", r.PrioritizeUnhealthy, u.PrioritizeUnhealthy},
			{"max_surge", r.MaxSurge, u.MaxSurge},
			{"cross_zone", r.CrossZone, u.CrossZone},
		} {
			if one.want != nil {
				differ(one.what, onOff(value(one.is)), onOff(*one.want))
			}
		}
	}
	v.judge(s.name, "policy", wrong, fmt.Sprintf("mode %s, automatic OS upgrade %s, as the driver %s needs", cmp.Or(live.Mode, "unknown"), onOff(live.AutoOS), u.Driver))
}

// extension judges the Application Health extension of the model.
func (v *verifier) extension(s *verifiedSet) {
	const check = "health-extension"
	live, want := s.set.Model.Health(), s.spec.Health
	switch {
	case want == nil && len(live) == 0:
		return
	case want == nil:
		v.add(s.name, check, VerifyFailed, "the model has one, and the file has none")
		return
	case len(live) != 1:
		v.add(s.name, check, VerifyFailed, fmt.Sprintf("the model has %d of them, not one", len(live)))
		return
	}
	var wrong []string
	differ := func(what, is, want string) {
		if !strings.EqualFold(is, want) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, the file says %s", what, cmp.Or(is, "not given"), cmp.Or(want, "none")))
		}
	}
	e := &live[0]
	differ("the version", e.Version, want.Extension)
	differ("the protocol", setting(e, "protocol"), want.Protocol)
	if want.Port != 0 {
		differ("the port", setting(e, "port"), strconv.Itoa(want.Port))
	}
	differ("the path", setting(e, "requestPath"), want.Path)
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	if want.Interval != 0 {
		differ("intervalInSeconds", cmp.Or(setting(e, "intervalInSeconds"), "5"), seconds(want.Interval))
	}
	if want.Probes != 0 {
		differ("numberOfProbes", cmp.Or(setting(e, "numberOfProbes"), "1"), strconv.Itoa(want.Probes))
	}
	if want.Grace != 0 {
		differ("gracePeriod", setting(e, "gracePeriod"), seconds(want.Grace))
	}
	v.judge(s.name, check, wrong, fmt.Sprintf("version %s probes %s port %s %s", e.Version, setting(e, "protocol"), setting(e, "port"), setting(e, "requestPath")))
}

// setting is a setting of an extension as text, or "".
func setting(e *Extension, name string) string {
	if v, ok := e.Settings[name]; ok && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// repairs judges automatic repairs.
func (v *verifier) repairs(s *verifiedSet) {
	live, want := &s.set.Model.Repairs, s.spec.Repairs
	if want == nil {
		if live.Enabled {
			v.add(s.name, "repairs", VerifyFailed, "they are on, and the file has none")
		}
		return
	}
	var wrong []string
	switch {
	case !live.Enabled:
		wrong = append(wrong, "they are off")
	default:
		if live.Grace == nil || *live.Grace != want.After {
			wrong = append(wrong, fmt.Sprintf("the grace period is %s, the file says %s", durationText(value(live.Grace)), durationText(want.After)))
		}
		if live.Action != "" && !strings.EqualFold(live.Action, want.Action) {
			wrong = append(wrong, fmt.Sprintf("the action is %s, the file says %s", live.Action, want.Action))
		}
	}
	v.judge(s.name, "repairs", wrong, fmt.Sprintf("%s after %s; whether they are suspended Azure does not say", want.Action, durationText(want.After)))
}

// autoscale judges the bounds of autoscale.
func (v *verifier) autoscale(s *verifiedSet) {
	live, want := s.set.Autoscale, s.spec.Autoscale
	switch {
	case want == nil:
		return
	case live == nil:
		v.add(s.name, "autoscale", VerifyFailed, "there is none, and the file has one")
		return
	}
	var wrong []string
	if !live.Enabled {
		wrong = append(wrong, "it is off")
	}
	if live.Min != want.Min || live.Max != want.Max {
		wrong = append(wrong, fmt.Sprintf("%d to %d, the file says %d to %d", live.Min, live.Max, want.Min, want.Max))
	}
	v.judge(s.name, "autoscale", wrong, fmt.Sprintf("%d to %d, now %d", live.Min, live.Max, s.set.Model.Capacity))
}

// upgrade judges the latest rolling upgrade, where upgrades are the platform's.
func (v *verifier) upgrade(s *verifiedSet) {
	const check = "upgrade"
	u, driver := s.status.Upgrade, s.driver()
	switch {
	case u != nil && u.Active:
		v.add(s.name, check, NotKnown, s.problem("upgrade-active"))
	case driver == "":
		v.add(s.name, check, NotKnown, "Azure does not say the upgrade mode")
	case !driver.Platform():
		v.add(s.name, check, OK, fmt.Sprintf("driver %s: none to show", driver))
	case u == nil && s.status.Behind > 0:
		v.add(s.name, check, VerifyFailed, "members run another version than the model's, and no upgrade has begun")
	case u == nil:
		v.add(s.name, check, OK, "none has run, and none is due")
	case u.Code == "Completed":
		v.add(s.name, check, OK, fmt.Sprintf("the last one is Completed: %d done", u.Successful))
	default:
		text := cmp.Or(s.problem("upgrade-halted"), s.problem("upgrade-cancelled"), "the last one is "+cmp.Or(u.Code, "in an unknown state"))
		v.add(s.name, check, VerifyFailed, text)
	}
}

// problem is the text of a problem of the set, or "".
func (s *verifiedSet) problem(id string) string {
	for _, p := range s.status.Problems {
		if p.ID == id {
			return p.Text
		}
	}
	return ""
}

// history judges the last automatic OS upgrade.
func (v *verifier) history(s *verifiedSet) {
	const check = "history"
	if len(s.set.History) == 0 {
		v.add(s.name, check, OK, "no automatic OS upgrade in the history")
		return
	}
	last := slices.MaxFunc(s.set.History, func(a, b RollingUpgrade) int { return a.Start.Compare(b.Start) })
	text := fmt.Sprintf("%s to %s: %d done, %d failed, %d rolled back", last.Code,
		cmp.Or(last.Target.ExactVersion, "an unknown version"), last.Successful, last.Failed, last.RolledBack)
	switch {
	case last.Active():
		v.add(s.name, check, NotKnown, text)
	case last.Code == "Completed" && last.Failed == 0 && last.RolledBack == 0:
		v.add(s.name, check, OK, text)
	default:
		v.add(s.name, check, VerifyFailed, text+because(cmp.Or(last.Error, last.ErrorCode)))
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// durationText writes a duration as fleet.yaml does: "2m", not "2m0s".
func durationText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// value is what a pointer points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
