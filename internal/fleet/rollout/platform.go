package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// rolling is the driver that changes the model once and lets the platform's rolling
// upgrade pick the members.
type rolling struct{}

func (rolling) refuses(u *fleet.UpgradePolicy) string {
	switch {
	case u.AutoOS:
		return "automatic OS upgrade is on: that is the driver platform-auto-os"
	case u.Mode != fleet.Rolling:
		return fmt.Sprintf("the upgrade mode is %s, and the driver platform-rolling needs Rolling", u.Mode)
	}
	return ""
}

func (rolling) forward(m *machine, _ *Wave, set string) bool {
	p, s := m.plan.Sets[set], m.s.Sets[set]
	if s.Policy { // it was stopped, and resumed: in Rolling the platform goes on at once
		if m.mayTake() && (m.s.Phase != Rolling || m.open(m.plan.Limits.Approval)) {
			m.restored(set, Action{Version: m.plan.Version, Mode: p.Mode})
		}
		return false
	}
	if began, done := m.begin(set); !began {
		return done
	}
	if m.modelVersion(m.seen(set)) != m.plan.Version {
		if m.mayTake() {
			m.patch(set, Action{Version: m.plan.Version, Mode: p.Mode})
		}
		return false
	}
	b, seen := m.s.Sets[set].Batch, m.seen(set)
	last := m.s.Last[setTarget(set)]
	anew := last.At.Before(b.Since) || m.faultedBefore(seen.Rolling) && last.At.Before(m.s.Resumed)
	if anew && !seen.Rolling.Active() && !moves(seen) && m.mayTake() {
		// A member that came back later, or an operator who says to go on: any write of
		// the model begins the upgrade anew.
		m.do(Action{Do: PatchModel, Set: set, Version: m.plan.Version, IfMatch: seen.Model.ETag, Why: "for " + some(b.Members)})
		return false
	}
	return m.platform(set)
}

func (rolling) stop(m *machine, set string) bool {
	p, seen := m.plan.Sets[set], m.seen(set)
	if seen == nil || m.underway(setTarget(set)) {
		return false
	}
	if m.s.Sets[set].Pointed.IsZero() && m.modelVersion(seen) != m.plan.Version {
		return true // nobody brought it the version
	}
	if !m.cancelled(set, seen) {
		return false
	}
	return p.LastGood == "" || m.patch(set, Action{Version: p.LastGood, Mode: fleet.Manual})
}

func (rolling) restore(m *machine, set string) bool {
	p := m.plan.Sets[set]
	return m.restored(set, Action{Version: p.LastGood, Mode: p.Mode})
}

// autoOS is the driver that releases the version in a region and lets automatic OS
// upgrade find it.
type autoOS struct{}

func (autoOS) refuses(u *fleet.UpgradePolicy) string {
	if !u.AutoOS {
		return "automatic OS upgrade is off, and the driver platform-auto-os needs it"
	}
	return ""
}

func (autoOS) forward(m *machine, w *Wave, set string) bool {
	p, s := m.plan.Sets[set], m.s.Sets[set]
	if s.Policy { // it was stopped, and resumed
		if m.mayTake() {
			m.restored(set, Action{Mode: p.Mode, AutoOS: new(true)})
		}
		return false
	}
	if began, done := m.begin(set); !began {
		return done
	}
	if m.obs.Version.Unknown == "" && m.excluded(p.Location) {
		if m.mayTake() {
			m.do(Action{Do: Include, Region: p.Location, Why: "wave " + w.Name})
		}
		m.wait("the release in "+p.Location, m.now.Add(m.plan.Limits.Stuck))
		return false
	}
	return m.platform(set)
}

func (autoOS) stop(m *machine, set string) bool {
	p, seen := m.plan.Sets[set], m.seen(set)
	s, upgrades := m.s.Sets[set], seen != nil && seen.Rolling.Active()
	if s.Pointed.IsZero() && s.Numbers == 0 && len(m.on[set]) == 0 && !upgrades && m.excluded(p.Location) {
		return true // nobody brought it the version
	}
	if m.obs.Version.Unknown != "" {
		return false
	}
	if !m.excluded(p.Location) {
		m.do(Action{Do: Exclude, Region: p.Location, Why: m.s.Why})
		return false
	}
	if seen == nil || m.underway(setTarget(set)) || !m.cancelled(set, seen) {
		return false
	}
	return p.LastGood == "" || m.patch(set, Action{Version: p.LastGood, Mode: fleet.Manual, AutoOS: new(false)})
}

func (autoOS) restore(m *machine, set string) bool {
	return m.restored(set, Action{Mode: m.plan.Sets[set].Mode, AutoOS: new(true)})
}

// restored brings the upgrade policy of a set back to what it was, and notes it when that
// shows; it says whether nothing is left to do.
func (m *machine) restored(set string, a Action) bool {
	if !m.s.Sets[set].Policy {
		return true
	}
	if !m.patch(set, a) {
		return false
	}
	m.note(Event{Kind: PolicySet, Set: set})
	return true
}

// excluded says whether the version is no latest in a region; everywhere when it is "".
func (m *machine) excluded(region string) bool {
	v := &m.obs.Version.Version
	if v.Excluded {
		return true
	}
	for i := range v.Regions {
		r := &v.Regions[i]
		if (region == "" || fleet.NormalLocation(r.Name) == fleet.NormalLocation(region)) && !r.Excluded {
			return false
		}
	}
	return true
}

// cancelled cancels the platform's upgrade of a set, and waits until it has ended.
func (m *machine) cancelled(set string, seen *SetSeen) bool {
	if !seen.Rolling.Active() {
		return true
	}
	m.do(Action{Do: CancelRolling, Set: set})
	m.wait("the end of the rolling upgrade of "+set, m.s.Since.Add(m.plan.Limits.Stuck))
	return false
}

// begin begins to have a set upgraded by the platform, if anybody there is behind and
// nothing speaks against it.
func (m *machine) begin(set string) (began, done bool) {
	if b := m.s.Sets[set].Batch; b != nil {
		if b.Step == Picked {
			m.note(Event{Kind: BatchTo, Set: set, Step: Upgrading, Wave: m.s.Wave})
		}
		return true, false
	}
	names := m.behind(set)
	if len(names) == 0 {
		return false, true
	}
	if !m.mayTake() || m.doubted() || !m.open(m.plan.Limits.Approval) || !m.suspended(set) {
		return false, false
	}
	m.note(Event{Kind: BatchTo, Set: set, Members: names, Step: Picked, Version: m.plan.Version})
	m.note(Event{Kind: BatchTo, Set: set, Step: Upgrading, Wave: m.s.Wave})
	return true, false
}

// platform watches the platform upgrade a set, and says whether it has done with all.
func (m *machine) platform(set string) bool {
	seen, b := m.seen(set), m.s.Sets[set].Batch
	if seen.Rolling.Active() || len(m.behind(set)) > 0 {
		p := m.plan.Sets[set]
		m.wait("the platform to upgrade "+set, later(b.Since, m.s.Resumed).Add(m.patience(&p)))
		return false
	}
	m.note(Event{Kind: BatchTo, Set: set, Step: BatchDone})
	return true
}

// verdict is what the platform says of the upgrade that it is to make; Class "" is
// nothing yet.
func (m *machine) verdict(set string) (Class, string) {
	p, b := m.plan.Sets[set], m.s.Sets[set].Batch
	if m.notOurs(set, m.seen(set)) != "" {
		return "", "" // what the platform does there is not our upgrade
	}
	u := m.seen(set).Rolling
	if u != nil && u.Start.Before(b.Since.Add(-sameStart)) {
		u = nil // one that was before ours
	}
	if m.faultedBefore(u) {
		u = nil
	}
	behind := m.behind(set)
	switch {
	case u != nil && u.Code == "Faulted" && capacity(u.ErrorCode+" "+u.Error):
		return NoCapacity, fmt.Sprintf("the platform stopped the rolling upgrade of %s: %s: %s", set, u.ErrorCode, u.Error)
	case u != nil && u.Code == "Faulted" && !strings.Contains(u.ErrorCode, "Upgraded") && !m.anyIll(set):
		return Inconclusive, fmt.Sprintf("the platform stopped the rolling upgrade of %s, and no member on the version is Unhealthy: %s: %s", set, u.ErrorCode, u.Error)
	case u != nil && u.Code == "Faulted":
		return Bad, fmt.Sprintf("the platform stopped the rolling upgrade of %s: %s: %s", set, u.ErrorCode, u.Error)
	case u != nil && (u.Code == "Cancelled" || u.Code == "RollingBack"):
		return NotOurs, fmt.Sprintf("the rolling upgrade of %s is %s, and not by us", set, u.Code)
	case m.now.Before(later(b.Since, m.s.Resumed).Add(m.patience(&p))):
		return "", ""
	case len(behind) > 0:
		return Inconclusive, fmt.Sprintf("the platform has not upgraded %s of %s", some(behind), set)
	case m.seen(set).Rolling.Active():
		return Inconclusive, "the platform has upgraded every member of " + set + ", and its upgrade does not end"
	}
	return "", ""
}

// faultedBefore says whether an upgrade had stopped when the operator said to go on.
func (m *machine) faultedBefore(u *fleet.RollingUpgrade) bool {
	return u != nil && u.Code == "Faulted" && !u.End.IsZero() && u.End.Before(m.s.Resumed)
}

// anyIll says whether a member on the version is Unhealthy. One that begins, or has no
// health yet, is judged by its own time.
func (m *machine) anyIll(set string) bool {
	return slices.ContainsFunc(m.on[set], func(name string) bool { return m.members[set][name].Health == fleet.Unhealthy })
}

// sameStart is how far the time of an upgrade may lie before the one of its cause: two
// clocks tell them.
const sameStart = time.Minute

// patience is how long the platform may take to upgrade a set.
func (m *machine) patience(p *Set) time.Duration {
	if p.Driver == fleet.DriverPlatformAutoOS {
		return m.plan.Limits.AutoOS
	}
	return time.Duration(max(1, p.Members)) * m.plan.Limits.Stuck
}

// behind are the members that the platform still has to upgrade.
func (m *machine) behind(set string) []string {
	var list []string
	for _, name := range sorted(m.members[set]) {
		if member := m.members[set][name]; untakeable(member) == "" && !m.runs(member) {
			list = append(list, name)
		}
	}
	return list
}

// capacity says whether the platform's words are about capacity or quota.
func capacity(text string) bool {
	for _, word := range []string{"AllocationFailed", "AllocationRequest", "QuotaExceeded", "exceeding quota", "approved", "SkuNotAvailable", "Overconstrained", "TooManyRequests"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
