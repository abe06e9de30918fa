package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A rule is what every history keeps, whatever happens in it.
type rule string

const (
	neverPromoted rule = "a version that failed is never promoted"
	wavesInOrder  rule = "no wave starts before the one before it is done on evidence"
	onlyBegun     rule = "no member outside the waves begun gets the version by our doing"
	haltsReturn   rule = "every halt ends returned and excluded, or lists what is not"
	onlyBadMarks  rule = "a cause that says nothing of the image never marks a version failed"
	nothingTwice  rule = "no effect that Azure would show twice is repeated"
	deadlines     rule = "nothing waits without a deadline"
	blindWrites   rule = "no write follows from a failed read"
	nothingStays  rule = "nothing stays drained, suspended or locked after an end"
	blastRadius   rule = "the list of who ran the version is Azure's own"
	predicted     rule = "reality never exceeds what the plan predicted"
	noRiders      rule = "nothing rides along"
	noLonger      rule = "the model points at the version no longer than it must"
	onlyInWindow  rule = "batches begin in the window only"
	byName        rule = "members are upgraded by name"
	drainedFirst  rule = "a disk is replaced when its node is drained"
	keptStay      rule = "members that an abort keeps stay"
	othersRelease rule = "nothing goes forward while somebody else has made the version the latest"
	pureNext      rule = "the machine is pure"
)

// breaks notes that a rule is broken.
func (r *rig) breaks(which rule, format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf("%s: ", which)+fmt.Sprintf(format, args...))
}

// A watch is what the rules remember of a history by themselves.
type watch struct {
	accepted map[string]int       // the other tool's mark of each model that an operator accepted
	kept     []string             // members on the version when an operator aborted and kept them, by memberKey
	scope    []string             // sets that the halt is to take back
	far      int                  // the last wave that ever began: waves may begin again
	stopped  map[string]time.Time // when a member was last seen not to run, by memberKey
	theirs   map[string]bool      // regions in which somebody else ever made the version the latest
}

// allowed says what an action breaks before it is made.
func (r *rig) allowed(a *Action) {
	if a.Set != "" && r.unread[a.Set] && a.Effect() {
		r.breaks(blindWrites, "%s of %s", a.Do, a.Set)
	}
	if a.target() == versionTarget && r.unread[versionTarget] {
		r.breaks(blindWrites, "%s", a.Do)
	}
	s := r.azure.Sets[a.Set]
	forward := r.state.Phase.forward()
	if (a.Do == ManualUpgrade || a.Do == PatchModel) && a.Version == newVersion {
		r.unreleased(a.Set)
	}
	switch a.Do {
	case ManualUpgrade:
		r.upgrade(s, a)
	case Drain:
		r.holdsUp(a)
	case PatchModel:
		if a.Version == newVersion && !forward {
			r.breaks(haltsReturn, "the model of %s is pointed at the version while %s", a.Set, r.state.Phase)
		}
		if a.Version == newVersion {
			r.begun(a.Set)
		}
	case Include:
		r.unreleased(a.Region)
		if r.azure.Image != good && (!r.brief || r.azure.ill()) && !r.plan.Sets[sorted(r.plan.Sets)[0]].Driver.Platform() {
			r.breaks(neverPromoted, "the image %s", r.azure.Image)
		}
		if !forward {
			r.breaks(neverPromoted, "the version is released while %s", r.state.Phase)
		}
	case TagFailed:
		if r.azure.Image == good && !r.azure.Version.Theirs {
			r.breaks(onlyBadMarks, "the image is good: %s", r.state.Why)
		}
	case TagGood:
		if r.azure.Version.Failed {
			r.breaks(neverPromoted, "a version that failed is marked good")
		}
	default:
	}
}

// holdsUp checks that no model waits at the version for the end of another set's drain.
func (r *rig) holdsUp(a *Action) {
	if b := r.state.Sets[a.Set].Batch; b == nil || b.Back {
		return
	}
	for name, model := range r.looked {
		p, state := r.plan.Sets[name], r.state.Sets[name]
		lent := model == newVersion && state.points() && !state.Whole && p.LastGood != "" && !p.Driver.Platform() && r.state.Waves[p.LastWave].Step != WaveDone
		if lent && name != a.Set && r.state.Phase == Rolling && !r.unread[name] {
			r.breaks(noLonger, "the model of %s points at the version, and %v of %s are drained first", name, a.Members, a.Set)
		}
	}
}

// repeats checks that a tick does not go round and round: whatever it waits for, it has the
// lock. What was refused may have been given its time by what else was done, once or twice. A
// gate is asked in its time, however long the rest takes: it alone keeps no tick going.
func (r *rig) repeats(a *Action) {
	const most = 3
	if a.Do == QueryGate {
		return
	}
	key := fmt.Sprint(a.target(), a.Do, a.Members, a.Version, a.Region)
	if r.again[key]++; r.again[key] > most {
		r.breaks(deadlines, "a tick does the same again and again: %s %s%s %v", a.Do, a.Set, a.Name, a.Members)
	}
}

// upgrade checks an upgrade of members by name.
func (r *rig) upgrade(s *azureSet, a *Action) {
	if slices.Contains(a.Members, "*") || len(a.Members) == 0 {
		r.breaks(byName, "manualupgrade of %v", a.Members)
	}
	for _, name := range a.Members {
		if m := s.Members[name]; m != nil && (m.Version == a.Version || m.Next == a.Version) {
			r.breaks(nothingTwice, "%s is to be upgraded to %s again", name, a.Version)
		}
	}
	if a.Version != newVersion {
		return
	}
	if !r.state.Phase.forward() {
		r.breaks(haltsReturn, "an upgrade to the version while %s", r.state.Phase)
	}
	if s.Tag != r.watch.accepted[a.Set] {
		r.breaks(noRiders, "another tool's change of %s comes along with the upgrade", a.Set)
	}
	r.begun(a.Set)
	for _, name := range a.Members {
		if m := s.Members[name]; r.plan.Drain && m != nil && !m.Stopped && !r.azure.Now.Before(m.Drained) && !r.rebooted(a.Set, m) {
			r.breaks(drainedFirst, "%s serves", name)
		}
	}
	w := &r.plan.Waves[r.state.Wave]
	if w.Instances == 0 {
		return
	}
	on := len(a.Members)
	for _, m := range s.Members {
		if m.Version == newVersion && !m.Stopped && !slices.Contains(a.Members, m.Name) {
			on++
		}
	}
	if on > w.Instances+r.births(a.Set) {
		r.breaks(predicted, "wave %s takes %d of %s, and %d would run the version", w.Name, w.Instances, a.Set, on)
	}
}

// rebooted says whether a member that was drained was stopped and started again, and
// nobody saw it: nothing tells that it serves.
func (r *rig) rebooted(set string, m *azureMember) bool {
	key := memberKey(set, m.Name)
	began := r.state.Drains[key].Until.Add(-r.plan.Limits.Drained)
	return r.state.Drains[key].Done && m.Booted.After(began) && !r.watch.stopped[key].After(began)
}

// births is how many members of a set run the version that no batch has taken.
func (r *rig) births(set string) int {
	n := 0
	for _, l := range Accounting(r.state) {
		if l.Set == set && l.To.IsZero() && !r.state.Sets[set].Asked[l.Member] {
			n++
		}
	}
	return n
}

// begun checks that a wave of a set is under way.
func (r *rig) begun(set string) {
	for i := 0; i <= r.state.Wave && r.state.Phase != Pending; i++ {
		if slices.Contains(r.plan.Waves[i].Sets, set) {
			return
		}
	}
	r.breaks(onlyBegun, "no wave of %s has begun", set)
}

// before checks an event against the truth, before it is taken in.
func (r *rig) before(e *Event) {
	switch e.Kind {
	case WaveTo:
		r.watch.far = max(r.watch.far, e.Wave)
		if e.Step == WaveDone {
			r.evidence(&r.plan.Waves[e.Wave])
		}
		if e.Wave > 0 && e.Step == Replicating {
			if step := r.state.Waves[e.Wave-1].Step; step != WaveDone && step != Skipped {
				r.breaks(wavesInOrder, "wave %d begins, and the one before is %s", e.Wave, step)
			}
		}
		if w := &r.plan.Waves[e.Wave]; e.Step == Batches && w.Approve && !r.state.Waves[e.Wave].Approved {
			r.breaks(wavesInOrder, "wave %s begins, and nobody approved it", w.Name)
		}
	case PhaseTo:
		r.phase(e)
	case BatchTo:
		if open, _ := r.azure.open(); e.Step == Picked && e.Version == newVersion && r.plan.Window && !open {
			r.breaks(onlyInWindow, "a batch of %s begins", e.Set)
		}
		if e.Step == Picked && e.Version == newVersion {
			r.unreleased(e.Set)
		}
	case ModelSeen: // an operator accepts the models as they are
		r.watch.accepted[e.Set] = r.azure.Sets[e.Set].Tag
	default:
	}
}

// phase checks the begin of a phase.
func (r *rig) phase(e *Event) {
	switch e.Phase {
	case Promoting:
		if r.state.Phase == Held { // resumed
			return
		}
		for i, w := range r.state.Waves {
			if w.Step != WaveDone && w.Step != Skipped {
				r.breaks(wavesInOrder, "the version is to be promoted, and wave %d is %s", i, w.Step)
			}
		}
	case Succeeded:
		if r.azure.Image != good && (!r.brief || r.azure.ill()) {
			r.breaks(neverPromoted, "it succeeded, and the image %s", r.azure.Image)
		}
		if !slices.ContainsFunc(r.state.Waves, func(w WaveState) bool { return len(w.Evidence) > 0 }) {
			r.breaks(wavesInOrder, "it succeeded, and no member stood for it")
		}
	case Returning:
		if e.Request != nil { // the abort of a halt that is incomplete
			r.keeps(e.Request)
		}
	case Halting:
		r.watch.scope = nil
		for i := 0; i <= max(r.state.Wave, r.watch.far) && r.state.Phase != Pending; i++ {
			if !r.plan.WaveOnly || e.Class != Bad || i == r.state.Wave {
				r.watch.scope = append(r.watch.scope, r.plan.Waves[i].Sets...)
			}
		}
		for _, m := range r.state.Runs {
			if m.Failed != "" {
				r.watch.scope = append(r.watch.scope, m.Set)
			}
		}
		r.keeps(e.Request)
	default:
	}
}

// unreleased checks that the version is nowhere the latest by somebody else's doing, when
// somebody is to get it.
func (r *rig) unreleased(who string) {
	if r.state.Phase == Promoting || r.unread[versionTarget] {
		return
	}
	for region := range r.azure.Version.Released {
		if _, there := r.azure.Version.Ready[region]; there && !r.azure.Version.Ours[region] && !slices.Contains(r.state.Released, region) {
			r.breaks(othersRelease, "%s gets it, and it is the latest in %s", who, region)
		}
	}
}

// keeps remembers whom an abort keeps on the version.
func (r *rig) keeps(q *Request) {
	r.watch.kept = nil
	if q == nil || !q.Keep {
		return
	}
	for name, s := range r.azure.Sets {
		for key, m := range s.Members {
			if m.Version == newVersion && m.Next == "" {
				r.watch.kept = append(r.watch.kept, memberKey(name, key))
			}
		}
	}
}

// evidence checks that a wave that ends has members that stand for it.
func (r *rig) evidence(w *Wave) {
	for _, set := range w.Sets {
		takeable, well := 0, 0
		for _, m := range r.azure.Sets[set].Members {
			if !m.Stopped && !m.Protected {
				takeable++
			}
			if h, _ := r.azure.health(m); m.Version == newVersion && h == fleet.Healthy {
				well++
			}
		}
		need := min(1, takeable)
		if w.Instances > 0 {
			need = min(w.Instances, takeable)
		}
		if well < need {
			r.breaks(wavesInOrder, "wave %s ends with %d of %d members that stand for it in %s", w.Name, well, need, set)
		}
	}
}

// check says which rules are broken as things are.
func (r *rig) check() []string {
	for _, harm := range r.azure.Harm {
		r.breaks(nothingTwice, "%s", harm)
	}
	r.azure.Harm = nil
	for region := range r.azure.Version.Released {
		r.watch.theirs[region] = r.watch.theirs[region] || !r.azure.Version.Ours[region]
	}
	r.blast()
	r.accounting()
	fresh := r.entries > 0 && r.crashAt == 0 && !r.died
	if fresh {
		r.down()
		r.points()
		r.repairs()
		r.drains()
	}
	if r.state.Phase.Over() && fresh {
		r.ended()
	}
	if !r.state.Phase.Over() && len(r.last.Waits) == 0 && len(r.last.Actions) == 0 && len(r.last.Events) == 0 {
		r.breaks(deadlines, "%s waits for nothing", r.state.Phase)
	}
	for _, w := range r.last.Waits {
		if w.Until.IsZero() || w.For == "" {
			r.breaks(deadlines, "it waits for %q until %s", w.For, w.Until)
		}
	}
	if fresh {
		r.passed()
	}
	return r.broken
}

// down remembers who was seen not to run.
func (r *rig) down() {
	for name, s := range r.azure.Sets {
		for _, m := range s.Members {
			if m.Stopped && !r.unread[name] {
				r.watch.stopped[memberKey(name, m.Name)] = r.azure.Now
			}
		}
	}
}

// points checks that no model points at the version for nothing: before the set's last
// wave, only while an upgrade is under way. One that was refused is not.
func (r *rig) points() {
	for name, s := range r.azure.Sets {
		p, state := r.plan.Sets[name], r.state.Sets[name]
		if s.Model != newVersion || p.Model == newVersion || p.Driver.Platform() || p.LastGood == "" || state.Whole || r.unread[name] || s.Late != nil {
			continue
		}
		if step := r.state.Waves[p.LastWave].Step; step == WaveDone || r.state.Phase == Promoting || r.state.Phase == Succeeded {
			continue
		}
		if last := r.state.Last[upgradeTarget(name)]; last.Outcome == Done && r.azure.Now.Before(last.At.Add(r.plan.Limits.Retry)) {
			continue // it has the time to show
		}
		if slices.ContainsFunc(slices.Collect(maps.Values(s.Members)), func(m *azureMember) bool { return r.azure.Now.Before(m.MovesUntil) }) {
			continue // what they get may be the version
		}
		last, tried := r.state.Last[setTarget(name)]
		if tried && last.Verb != ManualUpgrade && last.Outcome != Done || r.azure.moving(s) || r.azure.Now.Before(s.BusyUntil) || len(r.state.Ops) > 0 {
			continue // it cannot be put back just now
		}
		r.breaks(noLonger, "%s, and no upgrade of %s is under way", r.state.Phase, name)
	}
}

// repairs checks that the repairs of a set are suspended for no longer than its wave
// takes batches and soaks.
func (r *rig) repairs() {
	if r.state.Phase != Rolling {
		return
	}
	w, step := &r.plan.Waves[r.state.Wave], r.state.Waves[r.state.Wave].Step
	for name, s := range r.azure.Sets {
		last, tried := r.state.Last[repairsTarget(name)]
		if !s.Suspended || r.unread[name] || len(r.state.Ops) > 0 || tried && last.Outcome != Done {
			continue
		}
		if !slices.Contains(w.Sets, name) || step != Batches && step != Soaking {
			r.breaks(nothingStays, "wave %s is %s, and the repairs of %s are suspended", w.Name, step, name)
		}
	}
}

// drains checks that nobody is drained but the members of a batch that are to get a new
// disk.
func (r *rig) drains() {
	for name, s := range r.azure.Sets {
		if r.unread[name] || len(r.state.Ops) > 0 {
			continue
		}
		for _, m := range s.Members {
			last, tried := r.state.Last[drainTarget(name, m.Name)]
			b := r.state.Sets[name].Batch
			switch {
			case !r.azure.Now.Before(m.Drained) || m.Stopped || m.Next != "" || r.listed(name, m.Name):
			case tried && last.Outcome != Done: // it is tried again
			case b != nil && b.Step != Verifying && slices.Contains(b.Members, m.Name):
			default:
				r.breaks(nothingStays, "%s is drained, and no batch takes it", m.Name)
			}
		}
	}
}

// blast checks that no member outside the waves begun runs the version, and that no
// more run it than was predicted, in all and set by set.
func (r *rig) blast() {
	begun, all := make(map[string]int), 0
	if r.state.Phase != Pending {
		for i := 0; i <= max(r.state.Wave, r.watch.far); i++ {
			for _, x := range r.plan.Exposure[i].Sets {
				begun[x.Set] = max(begun[x.Set], x.Worst)
			}
			all = max(all, r.plan.Exposure[i].Worst)
		}
	}
	total := 0
	for name, s := range r.azure.Sets {
		worst, ok := begun[name]
		runs := 0
		for _, m := range s.Members {
			if m.Version != newVersion || m.Stopped || r.given(name) {
				continue
			}
			runs++
			if !ok {
				r.breaks(onlyBegun, "%s runs the version, and no wave of %s has begun", m.Name, name)
			}
		}
		if runs > worst {
			r.breaks(predicted, "%d members of %s run the version, and %d were predicted at worst", runs, name, worst)
		}
		total += runs
	}
	if total > all {
		r.breaks(predicted, "%d members run the version, and %d were predicted at worst", total, all)
	}
}

// given says whether somebody else may have given the version to members of a set, by
// releasing it where the set follows the latest.
func (r *rig) given(set string) bool {
	return r.plan.Sets[set].Model == "" && r.watch.theirs[r.azure.Sets[set].Region]
}

// accounting checks that who ran the version, as the journal tells it, is who did.
func (r *rig) accounting() {
	for key, m := range r.state.Runs {
		if !r.azure.Ran[key] && slices.ContainsFunc(m.Runs, func(run Run) bool { return !run.Unseen }) {
			r.breaks(blastRadius, "%s is said to have run the version, and did not", key)
		}
	}
	if r.entries == 0 || len(r.unread) > 0 || r.crashAt != 0 || r.died || r.azure.LogLag > 0 {
		return // it was not read lately
	}
	for key := range r.azure.Ran {
		set, _ := splitKey(key) // whoever somebody else gave it to may be gone before we look
		if _, told := r.state.Runs[key]; !told && r.state.Phase != Pending && !r.given(set) {
			r.breaks(blastRadius, "%s ran the version, and nobody says so", key)
		}
	}
}

// listed says whether an end tells that something is not as it should be.
func (r *rig) listed(set, member string) bool {
	is := func(l Left) bool { return l.Set == set && l.Member == member }
	return slices.ContainsFunc(r.state.Left, is) || slices.ContainsFunc(r.state.Unpaid, is)
}

// ended checks what must be so at an end.
func (r *rig) ended() {
	phase := r.state.Phase
	still := len(r.last.Actions)+len(r.last.Waits)+len(r.state.Ops) == 0
	back := phase == Halted || phase == Aborted || phase == Incomplete
	// A set that an operator left at the version has births on it.
	open := func(set string) bool {
		return phase == Aborted && r.state.Final && (r.listed(set, "") || r.listed("", ""))
	}
	for name, s := range r.azure.Sets {
		p := r.plan.Sets[name]
		if s.Suspended && !r.listed(name, "") && still {
			r.breaks(nothingStays, "%s: the repairs of %s are still suspended", phase, name)
		}
		if (s.Mode != p.Mode || s.AutoOS != (p.Driver == fleet.DriverPlatformAutoOS)) && phase != Held && !r.listed(name, "") && still {
			r.breaks(nothingStays, "%s: the upgrade policy of %s is %s", phase, name, s.Mode)
		}
		if phase == Held && still && s.Model == newVersion && p.LastGood != "" && !r.unread[name] && s.Late == nil {
			r.breaks(noLonger, "held, and the model of %s points at the version", name)
		}
		scope := back && slices.Contains(r.watch.scope, name)
		if scope && s.Model == newVersion && !r.listed(name, "") && !r.unread[name] {
			r.breaks(haltsReturn, "%s: the model of %s points at the version", phase, name)
		}
		for _, m := range s.Members {
			if r.azure.Now.Before(m.Drained) && !r.listed(name, m.Name) && still {
				r.breaks(nothingStays, "%s: %s is still drained", phase, m.Name)
			}
			if scope && !r.state.Keep && m.Version == newVersion && !r.listed(name, m.Name) && !r.unread[name] && !open(name) {
				r.breaks(haltsReturn, "%s: %s still runs the version, and is not listed", phase, m.Name)
			}
			if m.Version != newVersion && slices.Contains(r.watch.kept, memberKey(name, m.Name)) {
				r.breaks(keptStay, "%s was taken back", m.Name)
			}
		}
	}
	v := &r.azure.Version
	switch {
	case (phase == Halted || phase == Aborted) && !v.excluded() && (!r.state.Final || !r.listed("", "")):
		r.breaks(haltsReturn, "%s: the version is not excluded", phase)
	case phase == Held && still && !v.excluded() && !r.unread[versionTarget]:
		r.breaks(haltsReturn, "held, and the version is not excluded")
	case phase == Halted && !v.Failed:
		r.breaks(haltsReturn, "halted, and the version is not marked")
	case phase == Succeeded && (v.excluded() || v.Failed):
		r.breaks(neverPromoted, "succeeded, and the version is not to be had")
	}
}

// passed says which waits go on though their time is over, when nothing speaks against
// what is waited for.
func (r *rig) passed() {
	if r.state.Block != nil || r.state.Phase.Over() {
		return
	}
	for _, w := range r.last.Waits {
		if w.Until.Before(r.azure.Now.Add(-time.Hour)) {
			r.breaks(deadlines, "%s until %s, and it is over", w.For, w.Until.Format("02 15:04"))
		}
	}
}
