package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// setProblems says what is to know about a scale set, the most urgent first.
func setProblems(s *SetStatus, set *Set, c catalog, o StatusOptions) []Problem {
	list := []Problem{}
	add := func(id string, level Level, text string, members ...string) {
		list = append(list, Problem{ID: id, Level: level, Text: text, Members: members})
	}
	if s.Provisioning == Failed {
		add("set-failed", LevelError, "the scale set's last change failed: provisioning state Failed")
	}
	// The order is that of causes: of two that are as urgent, the first may have led
	// to the second.
	s.upgradeProblems(add, o.Now)
	s.imageProblems(add, c)
	s.memberProblems(add, o)
	s.versionProblems(add)
	s.capacityProblems(add, set.Model.Flexible)
	switch {
	case !set.Model.Flexible:
		add("not-flexible", LevelWarning, uniform)
	case len(set.Members) == 0:
		add("no-members", LevelInfo, "no members: this set is no evidence for anything")
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return b.Level.Rank() - a.Level.Rank() })
	return list
}

// uniform says why a scale set has no members here.
const uniform = "not in Flexible orchestration: its members are not read"

// addFunc takes a problem.
type addFunc func(id string, level Level, text string, members ...string)

// stateProblems are the states of members that are worth a word. %s is how many
// members, with the verb; the versions that they run follow.
var stateProblems = []struct {
	state string
	id    string
	level Level
	text  string
}{
	{StateVanished, "vanished", LevelError, "%s listed by the scale set and not there"},
	{string(Unhealthy), "unhealthy", LevelError, "%s Unhealthy"},
	{string(HealthUnknown), "health-unknown", LevelError, "%s of Unknown health, which upgrades and repairs take for Unhealthy"},
	{string(HealthMissing), "health-missing", LevelWarning, "%s without a health state"},
	{string(Initializing), "initializing", LevelInfo, "%s Initializing"},
}

func (s *SetStatus) memberProblems(add addFunc, o StatusOptions) {
	for _, p := range stateProblems {
		found := s.where(func(m *MemberStatus) bool { return m.State == p.state })
		if len(found) == 0 {
			continue
		}
		text := fmt.Sprintf(p.text, are(len(found), s.Counts.Total))
		if p.state != StateVanished {
			text += s.running(found) + healthCause(p.state, found)
		}
		add(p.id, p.level, text, namesOf(found)...)
	}
	if failed := s.where(func(m *MemberStatus) bool { return m.Provisioning == Failed && m.State != StateVanished }); len(failed) > 0 {
		add("member-failed", LevelError, are(len(failed), s.Counts.Total)+" in provisioning state Failed"+s.running(failed), namesOf(failed)...)
	}
	old := s.where(func(m *MemberStatus) bool {
		return m.State != StateVanished && m.State != StateDeallocated && m.healthOld(o)
	})
	if len(old) > 0 {
		add("health-old", LevelWarning, fmt.Sprintf("health of %s is older than %s: what hangs reports nothing",
			members(len(old), s.Counts.Total), durationText(o.HealthAge)), namesOf(old)...)
	}
	for _, spot := range []bool{false, true} {
		found := s.where(func(m *MemberStatus) bool { return m.State == StateDeallocated && m.Spot == spot })
		switch {
		case len(found) == 0:
		case spot:
			add("deallocated-spot", LevelInfo, are(len(found), s.Counts.Total)+" deallocated Spot, which counts as capacity and does not start by itself", namesOf(found)...)
		default:
			add("deallocated", LevelWarning, are(len(found), s.Counts.Total)+" deallocated, and counted as capacity", namesOf(found)...)
		}
	}
}

// healthCause says why members have no health state, or an Unknown one, where that
// can be seen.
func healthCause(state string, list []*MemberStatus) string {
	count := func(so func(version string) bool) int {
		return len(filter(list, func(m *MemberStatus) bool { return m.HealthExtension != nil && so(*m.HealthExtension) }))
	}
	switch HealthState(state) {
	case HealthUnknown:
		if n := count(func(version string) bool { return strings.HasPrefix(version, "2") }); n > 0 {
			return "; version 2 of the health extension takes an answer without JSON for Unknown"
		}
	case HealthMissing:
		if n := count(func(version string) bool { return version == "" }); n > 0 {
			return fmt.Sprintf("; %d without the health extension", n)
		}
	default:
	}
	return ""
}

// healthOld says whether the health of a member is from too long ago.
func (m *MemberStatus) healthOld(o StatusOptions) bool {
	return o.HealthAge > 0 && m.HealthAt != nil && o.Now.Sub(*m.HealthAt) > o.HealthAge
}

// versionProblems tells who runs another version than the model's. The exact version
// decides; latestModelApplied is a second signal, and lies in known cases.
func (s *SetStatus) versionProblems(add addFunc) {
	there := s.where(func(m *MemberStatus) bool { return m.State != StateVanished })
	behind := filter(there, func(m *MemberStatus) bool { return m.OnModel != nil && !*m.OnModel })
	untold := filter(there, func(m *MemberStatus) bool { return m.Version == "" })
	stale := filter(there, func(m *MemberStatus) bool {
		return m.LatestModel != nil && !*m.LatestModel && m.OnModel != nil && *m.OnModel
	})
	switch {
	case len(behind) > 0:
		level, moving := LevelError, ""
		if s.Upgrade != nil && s.Upgrade.Active {
			level, moving = LevelInfo, "; an upgrade is under way"
		}
		believed := filter(behind, func(m *MemberStatus) bool { return m.LatestModel != nil && *m.LatestModel })
		switch {
		case !s.Target.Pinned: // a new latest does not make it false
		case len(believed) == len(behind):
			moving += "; latestModelApplied is true all the same"
		case len(believed) > 0:
			moving += fmt.Sprintf("; latestModelApplied is true for %d of them, all the same", len(believed))
		}
		add("wrong-version", level, s.behindText(behind)+moving, namesOf(behind)...)
	case s.Mixed:
		add("mixed-versions", LevelWarning, "mixed versions: "+s.versionList(there))
	}
	if len(untold) > 0 {
		add("version-unknown", LevelWarning, "Azure does not say which version "+runVerb(len(untold), s.Counts.Total), namesOf(untold)...)
	}
	if len(stale) > 0 {
		add("stale-model", LevelWarning, are(len(stale), s.Counts.Total)+" not on the latest model, though on its version: another change is not applied", namesOf(stale)...)
	}
}

// imageProblems tells what would become of the next member.
func (s *SetStatus) imageProblems(add addFunc, c catalog) {
	t := &s.Target
	if t.Unknown != "" {
		add("target-unknown", LevelWarning, "which version the model asks for is not known: "+t.Unknown)
	}
	definition := c.find(t.Definition)
	if definition == nil || t.Version == "" {
		return
	}
	image := t.Image + " " + t.Version
	v := definition.Version(t.Version)
	if v == nil {
		add("version-gone", LevelError, image+", which the model asks for, is not in the gallery: no member can be made from it")
		return
	}
	if failed, reason := v.Failed(); failed {
		add("version-failed", LevelError, image+", which the model asks for, is marked failed"+because(reason))
	}
	if v.Provisioning == Failed {
		add("version-provisioning", LevelError, image+", which the model asks for, is in provisioning state Failed")
	}
	switch r := v.Region(s.Location); {
	case r == nil:
		add("not-replicated", LevelError, image+" is not to be replicated to "+s.Location+": a new member there fails")
	case r.State == Replicated:
	case r.State == Replicating:
		add("not-replicated", LevelError, fmt.Sprintf("%s is still being replicated to %s (%d%%): a new member there fails", image, s.Location, r.Progress))
	case r.State == ReplicationFailed:
		add("not-replicated", LevelError, image+" did not replicate to "+s.Location+": a new member there fails"+because(r.Details))
	default:
		add("replication-unknown", LevelWarning, "Azure does not say whether "+image+" is replicated to "+s.Location)
	}
}

func (s *SetStatus) upgradeProblems(add addFunc, now time.Time) {
	u := s.Upgrade
	switch {
	case u == nil:
		return
	case u.Active:
		level := LevelInfo
		if u.Failed > 0 {
			level = LevelError
		}
		verb := "rolls forward"
		if u.Code == "RollingBack" {
			level, verb = LevelError, "rolls back"
		}
		add("upgrade-active", level, fmt.Sprintf("an upgrade %s%s: %d done, %d under way, %d to go, %d failed",
			startedBy(u.StartedBy, u.StartedAt, now), verb, u.Successful, u.InProgress, u.Pending, u.Failed))
	case u.Code == "Faulted":
		add("upgrade-halted", LevelError, fmt.Sprintf("an upgrade %shalted%s: %d done, %d failed, %d never begun%s",
			startedBy(u.StartedBy, u.StartedAt, now), since(u.EndedAt, now), u.Successful, u.Failed, u.Pending, s.haltReason()))
	case u.Code == "Cancelled" && s.Behind > 0:
		add("upgrade-cancelled", LevelWarning, fmt.Sprintf("an upgrade %swas cancelled%s: %d done, %d never begun%s",
			startedBy(u.StartedBy, u.StartedAt, now), since(u.EndedAt, now), u.Successful, u.Pending, s.haltReason()))
	}
}

// haltReason is the error of the upgrade in Azure's words.
func (s *SetStatus) haltReason() string {
	switch u := s.Upgrade; {
	case u.ErrorCode != "" && u.Error != "":
		return ". " + u.ErrorCode + ": " + u.Error
	default:
		return because(u.ErrorCode + u.Error)
	}
}

func (s *SetStatus) capacityProblems(add addFunc, membersRead bool) {
	n := s.Counts
	if s.Provisioning == Updating {
		add("set-updating", LevelInfo, "the scale set is being changed: provisioning state Updating")
	}
	if there := n.Total - n.Vanished; there != s.Capacity && membersRead {
		level := LevelWarning
		if s.Provisioning == Updating || s.Provisioning == "Creating" {
			level = LevelInfo
		}
		add("capacity", level, fmt.Sprintf("capacity is %d, and %s there", s.Capacity, areMembers(there)))
	}
	a := s.Autoscale
	switch {
	case a == nil || !a.Enabled:
	case s.Capacity < a.Min:
		add("autoscale-min", LevelWarning, fmt.Sprintf("capacity %d is below autoscale's minimum of %d", s.Capacity, a.Min))
	case s.Capacity >= a.Max && a.Max > a.Min:
		add("autoscale-max", LevelWarning, fmt.Sprintf("capacity %d is at autoscale's maximum of %d: it cannot grow", s.Capacity, a.Max))
	}
}

// where returns the members that are so.
func (s *SetStatus) where(so func(*MemberStatus) bool) []*MemberStatus {
	var found []*MemberStatus
	for i := range s.Members {
		if so(&s.Members[i]) {
			found = append(found, &s.Members[i])
		}
	}
	return found
}

func filter(list []*MemberStatus, so func(*MemberStatus) bool) []*MemberStatus {
	var found []*MemberStatus
	for _, m := range list {
		if so(m) {
			found = append(found, m)
		}
	}
	return found
}

func namesOf(list []*MemberStatus) []string {
	var found []string
	for _, m := range list {
		found = append(found, m.Name)
	}
	return found
}

// running says which version members run, when that tells them from the others.
func (s *SetStatus) running(list []*MemberStatus) string {
	if !s.Mixed {
		return ""
	}
	return "; " + s.versionsRun(list)
}

// versionsRun is "all on 1.8.0", or how many are on which version.
func (s *SetStatus) versionsRun(list []*MemberStatus) string {
	counts := countVersions(list)
	if len(counts) > 1 {
		return versionText(counts)
	}
	if len(list) == 1 {
		return "on " + counts[0].name()
	}
	return "all on " + counts[0].name()
}

// behindText says what members run that is not the model's version.
func (s *SetStatus) behindText(list []*MemberStatus) string {
	if counts := countVersions(list); len(counts) > 1 {
		return fmt.Sprintf("%s other versions than %s, which the model asks for: %s", runVerb(len(list), s.Counts.Total), s.Target.Version, versionText(counts))
	}
	return fmt.Sprintf("%s %s, and the model asks for %s", runVerb(len(list), s.Counts.Total), list[0].Version, s.Target.Version)
}

func (s *SetStatus) versionList(list []*MemberStatus) string { return versionText(countVersions(list)) }

func (v *VersionCount) name() string {
	if v.Version == "" {
		return "an unknown version"
	}
	return v.Version
}

func countVersions(list []*MemberStatus) []VersionCount {
	var counts []VersionCount
	for _, m := range list {
		i := slices.IndexFunc(counts, func(c VersionCount) bool { return c.Version == m.Version })
		if i < 0 {
			i = len(counts)
			counts = append(counts, VersionCount{Version: m.Version})
		}
		counts[i].Members++
	}
	slices.SortStableFunc(counts, func(a, b VersionCount) int { return CompareVersions(b.Version, a.Version) })
	return counts
}

// maxVersions are named in one text.
const maxVersions = 4

// versionText is "1.8.0 on 2, 1.7.1 on 1".
func versionText(counts []VersionCount) string {
	var parts []string
	for i := range counts {
		if i == maxVersions {
			parts = append(parts, fmt.Sprintf("%d more", len(counts)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s on %d", counts[i].name(), counts[i].Members))
	}
	return strings.Join(parts, ", ")
}

// members is "2 of 3 members".
func members(n, of int) string {
	if of == 1 {
		return "the only member"
	}
	return fmt.Sprintf("%d of %d members", n, of)
}

// are is "2 of 3 members are".
func are(n, of int) string {
	if n == 1 {
		return members(n, of) + " is"
	}
	return members(n, of) + " are"
}

func runVerb(n, of int) string {
	if n == 1 {
		return members(n, of) + " runs"
	}
	return members(n, of) + " run"
}

func areMembers(n int) string {
	if n == 1 {
		return "1 member is"
	}
	return fmt.Sprintf("%d members are", n)
}

// because is ": reason", or nothing without one.
func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// startedBy says whose an upgrade is, with a space behind it.
func startedBy(who string, at *time.Time, now time.Time) string {
	switch who {
	case "User":
		return "that a user started" + since(at, now) + " "
	case "Platform":
		return "that the platform started" + since(at, now) + " "
	}
	return "of unknown origin "
}

// since is how long ago something was, to the minute: a text that changes with
// every look tells nothing.
func since(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	ago := now.Sub(*t)
	switch {
	case ago < time.Minute:
		return " just now"
	case ago < time.Hour:
		return fmt.Sprintf(" %dm ago", ago/time.Minute)
	case ago < 48*time.Hour:
		return fmt.Sprintf(" %dh ago", ago/time.Hour)
	}
	return fmt.Sprintf(" %dd ago", ago/(24*time.Hour))
}
