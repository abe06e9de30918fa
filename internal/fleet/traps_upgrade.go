package fleet

import (
	"fmt"
	"strings"
)

// A gauge is a pair of thresholds with the number of members that it is used on:
// those of the platform, where it upgrades, or fleetctl's own.
type gauge struct {
	m                   *model
	unhealthy, upgraded int
	members             int
	idle                bool // the mode is Manual: they hold when it becomes Rolling
}

// say makes a finding about a threshold.
func (g *gauge) say(key, seen, fix string) Finding {
	f := g.m.say("upgrade."+key, seen, fix)
	if g.idle {
		f.Seen += "; the mode is Manual yet"
		f.Severity = SeverityNote
	}
	return f
}

// defaultThreshold is what the platform takes where nothing is given.
const defaultThreshold = 20

// gauges returns the thresholds that are used, or are given and wait for the mode to
// change. With a file, those of the file hold in mode Manual.
func (s *scene) gauges() []gauge {
	var all []gauge
	for _, j := range s.sets {
		if j.spec != nil && j.spec.Upgrade.Driver != "" && j.spec.Manage != ManageObserve {
			all = append(all, s.fileGauge(j))
		}
		if m := j.live; m != nil && (m.Upgrade.thresholds() || j.spec == nil && m.Upgrade.Rolling.MaxUnhealthy != nil) {
			g := gauge{m: m, unhealthy: defaultThreshold, upgraded: defaultThreshold, members: m.least(), idle: !m.Upgrade.thresholds()}
			if p := m.Upgrade.Rolling.MaxUnhealthy; p != nil {
				g.unhealthy = *p
			}
			if p := m.Upgrade.Rolling.MaxUnhealthyUpgraded; p != nil {
				g.upgraded = *p
			}
			all = append(all, g)
		}
	}
	return all
}

// thresholds says whether the platform upgrades by thresholds.
func (p *UpgradePolicy) thresholds() bool { return p.Mode == Rolling || p.AutoOS }

func (s *scene) fileGauge(j *joinedSet) gauge {
	m := j.file
	if m == nil { // of a set that somebody else owns, the thresholds are ours all the same
		m = &model{
			ScaleSet: &ScaleSet{ID: s.spec.SetID(j.name), Upgrade: declaredUpgrade(j.spec)},
			set:      j, autoscale: declaredAutoscale(j.spec.Autoscale),
		}
	}
	g := gauge{
		m: m, members: m.least(),
		unhealthy: int(j.spec.Upgrade.MaxUnhealthy), upgraded: int(j.spec.Upgrade.MaxUnhealthyUpgraded),
	}
	if j.live != nil {
		g.members = j.live.least()
	}
	return g
}

// smallSet is how few members make a single one a large part.
const smallSet = 5

func findSmallSet(s *scene) []Finding {
	var all []Finding
	for _, g := range s.gauges() {
		if g.members <= 0 || g.members >= smallSet || 100 <= g.unhealthy*g.members {
			continue
		}
		all = append(all, g.say("max_unhealthy",
			fmt.Sprintf("%s: one is %d %%, and maxUnhealthyInstancePercent is %d", count(g.members, "member"), 100/g.members, g.unhealthy),
			fmt.Sprintf("set maxUnhealthyInstancePercent to %d, or run at least %d members", (100+g.members-1)/g.members, smallSet)))
	}
	return all
}

func findNoThreshold(s *scene) []Finding {
	var all []Finding
	for _, g := range s.gauges() {
		for _, t := range []struct {
			name, key string
			percent   int
		}{
			{"maxUnhealthyInstancePercent", "max_unhealthy", g.unhealthy},
			{"maxUnhealthyUpgradedInstancePercent", "max_unhealthy_upgraded", g.upgraded},
		} {
			if t.percent >= 100 {
				all = append(all, g.say(t.key, fmt.Sprintf("%s is %d", t.name, t.percent), "set "+t.name+" to 20, or to the share of one member in a small scale set"))
			}
		}
	}
	return all
}

var findSurgeAutoOS = eachModel(func(m *model) []Finding {
	if !m.Flexible || !m.Upgrade.AutoOS || !isTrue(m.Upgrade.Rolling.MaxSurge) {
		return nil
	}
	return one(m.say("upgrade.max_surge", "maxSurge and automatic OS upgrade are both on", "turn maxSurge off, or automatic OS upgrade"))
})

var findSurgeRoom = eachModel(func(m *model) []Finding {
	if !isTrue(m.Upgrade.Rolling.MaxSurge) {
		return nil
	}
	return one(m.say("upgrade.max_surge", "maxSurge is on; quota and free addresses were not looked at",
		fmt.Sprintf("keep quota of %s and addresses of the subnet for a batch more than %s", sizeOr(m.VMSize), count(m.most(), "member"))))
})

func sizeOr(size string) string {
	if size == "" {
		return "the VM size"
	}
	return size
}

var findRollbackFailed = eachModel(func(m *model) []Finding {
	if !m.Flexible || !isTrue(m.Upgrade.Rolling.RollbackFailed) {
		return nil
	}
	return one(m.say("upgrade", "rollbackFailedInstancesOnPolicyBreach is true", "set it to false, and go back by pinning the last good version"))
})

var findManualOSUpgrade = eachLive(func(_ *scene, m *model) []Finding {
	for _, u := range m.read.History {
		if !strings.EqualFold(u.StartedBy, "User") {
			return nil // the latest was not started by hand
		}
		if u.Failed == 0 && !u.Active() {
			return nil
		}
		return one(m.say("", fmt.Sprintf("the OS upgrade of %s was started by hand: %s, %s failed", u.Start.UTC().Format("2006-01-02 15:04 MST"), u.Code, count(u.Failed, "member")),
			"bring the failed members back yourself: the platform keeps no old disk of them"))
	}
	return nil
})

var findAutoOSPinned = eachModel(func(m *model) []Finding {
	id, err := m.Image.Gallery()
	switch {
	case err == nil && strings.EqualFold(id.Version, "latest"):
		return one(m.say("tracks", "the image reference ends in /versions/latest", "let it end in /images/"+id.Definition.Name()))
	case !m.Upgrade.AutoOS:
		return nil
	case err == nil && id.Version != "":
		return one(m.say("tracks", "automatic OS upgrade is on, and the image is pinned to "+id.Version,
			"let the image reference end in /images/"+id.Definition.Name()+", or turn automatic OS upgrade off"))
	case err != nil && m.Image.Publisher != "" && !strings.EqualFold(m.Image.Version, "latest"):
		return one(m.say("tracks", "automatic OS upgrade is on, and the image's version is "+m.Image.Version,
			"set the version of "+m.Image.Offer+" to latest, or turn automatic OS upgrade off"))
	}
	return nil
})

var findPatchMode = eachModel(func(m *model) []Finding {
	if !m.Upgrade.AutoOS {
		return nil
	}
	var all []Finding
	if strings.EqualFold(m.PatchMode, "AutomaticByPlatform") {
		all = append(all, m.say("", "automatic OS upgrade is on, and patchMode is AutomaticByPlatform", "set patchMode to ImageDefault on Linux, to Manual on Windows"))
	}
	if m.Windows && !isFalse(m.WindowsAutoUpdates) {
		seen := "automatic OS upgrade is on, and enableAutomaticUpdates is true"
		if m.WindowsAutoUpdates == nil {
			seen = "automatic OS upgrade is on, and enableAutomaticUpdates is not given, which means true"
		}
		all = append(all, m.say("", seen, "set windowsConfiguration.enableAutomaticUpdates to false"))
	}
	return all
})

var findStaleMembers = eachLive(func(_ *scene, m *model) []Finding {
	if m.active() {
		return nil
	}
	stale, blind := 0, 0
	var list []*Member
	for _, member := range m.running() {
		if !member.stale() || member.protected() || m.pending(member) != 0 {
			continue
		}
		stale++
		list = append(list, member)
		if member.Health == HealthMissing || member.Health == "" {
			blind++
		}
	}
	if stale == 0 {
		return nil
	}
	seen := fmt.Sprintf("%s are not on the latest model, for another reason than the image: %s", of(stale, len(m.running()), "running member"), memberNames(list))
	if blind > 0 {
		seen += fmt.Sprintf("; %d of them show no health", blind)
	}
	return one(m.say("", seen, "bring them to the model by name, a few at a time: az vmss update-instances --instance-ids NAME"))
})

// pending compares what a member runs with what the model asks for: -1 when it runs
// an older version of the same image, 1 when a newer one, 0 when they are the same or
// nobody knows.
func (m *model) pending(member *Member) int {
	runs, wants := member.Image.ExactVersion, m.target.Version
	if runs == "" || wants == "" || runs == wants || !member.Image.of(m.target.Definition) {
		return 0
	}
	return CompareVersions(runs, wants)
}

// of says whether the image is a version of the definition.
func (r ImageReference) of(definition ResourceID) bool {
	n := len(definition)
	return n > 0 && len(r.ID) >= n && ResourceID(r.ID[:n]).Same(definition) && (len(r.ID) == n || r.ID[n] == '/')
}

// versionsOf counts what members run: "1.7.0 on 2, 1.7.1 on 1".
func versionsOf(list []*Member) string {
	counts := make(map[string]int)
	for _, m := range list {
		counts[m.Image.ExactVersion]++
	}
	var parts []string
	for _, version := range sortedVersions(counts) {
		parts = append(parts, fmt.Sprintf("%s on %d", version, counts[version]))
	}
	return names(parts)
}

var findPendingImage = eachLive(func(_ *scene, m *model) []Finding {
	if m.active() || m.Upgrade.AutoOS {
		return nil // the platform is to bring it
	}
	var old []*Member
	for _, member := range m.running() {
		if m.pending(member) < 0 {
			old = append(old, member)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return one(m.say("", fmt.Sprintf("the model asks for %s, and %s run older versions: %s", m.target.Version, of(len(old), len(m.running()), "running member"), versionsOf(old)),
		"bring the image first, on its own, or pin the model of "+m.set.name+" to what the members run"))
})

var findTwoOwners = eachLive(func(_ *scene, m *model) []Finding {
	var all []Finding
	if tool := m.ownedBy(); tool != "" && m.set.spec != nil && m.set.spec.Manage == ManageFull {
		all = append(all, m.say("", "the file has manage: full, and a tag of the scale set says "+tool,
			"set manage: image for "+m.set.name+", and let Terraform ignore_changes = [source_image_id, source_image_reference]"))
	}
	running, newer := m.running(), []*Member(nil)
	for _, member := range running {
		if m.pending(member) > 0 {
			newer = append(newer, member)
		}
	}
	// Fewer than all is what a rollout looks like that has begun.
	if len(newer) > 0 && len(newer) == len(running) && m.target.Pinned {
		all = append(all, m.say("", fmt.Sprintf("the model is pinned to %s, and all members run newer versions: %s", m.target.Version, versionsOf(newer)),
			fmt.Sprintf("find who moved the image of %s back (activity log), and let that tool leave it alone; in Terraform: ignore_changes = [source_image_id, source_image_reference]", m.set.name)))
	}
	return all
})

// ownedBy returns the tag that says that a tool owns the scale set, or "".
func (m *model) ownedBy() string {
	for _, key := range sortedKeys(m.Tags) {
		for _, tool := range []string{"terraform", "pulumi", "bicep", "opentofu"} {
			if strings.Contains(strings.ToLower(key+" "+m.Tags[key]), tool) {
				return key + "=" + m.Tags[key]
			}
		}
	}
	return ""
}

var findOwnPolicy = eachModel(func(m *model) []Finding {
	r := m.Upgrade.Rolling
	if !m.Upgrade.AutoOS || isTrue(m.Upgrade.UseRolling) || r.MaxBatch == nil && r.MaxUnhealthy == nil && r.MaxUnhealthyUpgraded == nil {
		return nil
	}
	return one(m.say("upgrade", "a rolling policy is given, and useRollingUpgradePolicy is not true", "set automaticOSUpgradePolicy.useRollingUpgradePolicy to true"))
})

var findNoRollback = eachModel(func(m *model) []Finding {
	switch {
	case m.Upgrade.AutoOS && isTrue(m.Upgrade.DisableRollback):
		return one(m.say("upgrade.auto_os_rollback", "automatic OS upgrade is on, and disableAutomaticRollback is true", "set disableAutomaticRollback to false"))
	case m.inAzure && m.Flexible && m.Upgrade.Mode == Rolling && !m.Upgrade.AutoOS && m.set.driver() != DriverPlatformRolling:
		return one(m.say("", "mode Rolling without automatic OS upgrade", "know the last good version of "+m.set.name+", and go back by pinning it").less(SeverityNote))
	}
	return nil
})

var findAutoOSFlexible = eachModel(func(m *model) []Finding {
	switch {
	case !m.Flexible || !m.Upgrade.AutoOS:
		return nil
	case !m.inAzure && m.set.live != nil && m.set.live.Upgrade.AutoOS:
		return nil // Azure took it
	case m.inAzure && len(m.read.History) > 0:
		return nil // it has happened
	case m.inAzure:
		return one(m.say("", "automatic OS upgrade is on, and its history is empty", "wait for a first upgrade of "+m.set.name+" before you rely on it, or pin versions and roll them out").less(SeverityNote))
	}
	return one(m.say("upgrade", "automatic OS upgrade on a Flexible scale set", "try it in one scale set first, or use the driver batches"))
})

// upgradesInPlace says whether members have their disk replaced without an event
// and without a drain of ours.
func (s *scene) upgradesInPlace(m *model) bool {
	set := m.set.spec
	switch {
	case isTrue(m.Upgrade.Rolling.MaxSurge):
		return false
	case set == nil || set.Manage == ManageObserve:
		return true // by the platform, or by manualupgrade
	case set.Upgrade.Driver.Platform():
		return true // the platform picks the members, so nobody drains them
	}
	return s.spec.Rollout != nil && s.spec.Rollout.Drain != drainRunCommand
}

// drainRunCommand is the rollout's drain that needs no event.
const drainRunCommand = "run-command"

func findDrainInPlace(s *scene) []Finding {
	return eachModel(func(m *model) []Finding {
		notice := m.TerminateNotice != nil && m.TerminateNotice.Enabled
		image := m.OSImageNotice != nil && m.OSImageNotice.Enabled
		if !notice || image || !s.upgradesInPlace(m) {
			return nil
		}
		f := m.say("terminate_notice", "terminate notifications are on, OS image notifications are off, and upgrades are in place",
			"turn on osImageNotificationProfile (PT15M), or set rollout.drain: run-command")
		if m.inAzure && m.Upgrade.Mode == Manual && !m.Upgrade.AutoOS {
			f.Severity = SeverityNote // whoever upgrades it may drain it first
		}
		return one(f)
	})(s)
}

func findUnversioned(s *scene) []Finding {
	var all []Finding
	groups := make(map[string][]*model)
	for _, j := range s.sets {
		for _, m := range j.models {
			if key, follows := m.follows(); follows {
				groups[key] = append(groups[key], m)
			}
		}
	}
	for _, j := range s.sets {
		for _, m := range j.models {
			if key, follows := m.follows(); follows {
				all = append(all, unversioned(m, groups[key])...)
			}
		}
	}
	return all
}

// follows says whether the set takes the latest version of an image, and what it
// shares that with: the image, the region, and the file or Azure.
func (m *model) follows() (key string, follows bool) {
	if id, err := m.Image.Gallery(); err == nil {
		return strings.ToLower(fmt.Sprint(id.Definition, " ", m.Location, " ", m.inAzure)), id.Version == ""
	}
	image := m.Image.Publisher + ":" + m.Image.Offer + ":" + m.Image.SKU
	return strings.ToLower(fmt.Sprint(image, " ", m.Location, " ", m.inAzure)), strings.EqualFold(m.Image.Version, "latest")
}

func unversioned(m *model, group []*model) []Finding {
	var others []string
	for _, other := range group {
		if other.set != m.set {
			others = append(others, other.set.name)
		}
	}
	if m.Upgrade.AutoOS && len(others) == 0 {
		return nil // that is how it works, and nobody else is hit
	}
	image := ResourceID(m.Image.ID).Name()
	if image == "" {
		image = m.Image.Offer
	}
	seen := fmt.Sprintf("the image reference of %s has no version", image)
	if m.Image.Publisher != "" {
		seen = fmt.Sprintf("the version of %s is latest", image)
	}
	if len(others) > 0 {
		seen += fmt.Sprintf(", and %s follows it in %s too", names(others), m.Location)
	}
	return one(m.say("tracks", seen, "pin "+m.set.name+" to a version, and move it wave by wave"))
}
