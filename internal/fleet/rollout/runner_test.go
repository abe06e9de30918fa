package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A fate is what happens to one action beside what Azure does.
type fate string

const (
	fine        fate = ""
	lostBefore  fate = "lost on the way there"
	lostAfter   fate = "lost on the way back"
	lostLate    fate = "lost, and takes effect later"
	noCapacity  fate = "refused for capacity"
	denied      fate = "denied"
	crashBefore fate = "crash before"
	crashAfter  fate = "crash after"
)

// A rig is a rollout over a model of Azure: whoever would carry it out.
type rig struct {
	plan     Plan
	state    State
	azure    *azure
	requests []Request
	fates    func(n int, a *Action) fate // of the n-th action of a tick
	crashAt  int                         // stop after so many entries of a tick; 0: never
	unread   map[string]bool
	entries  int  // of this tick
	total    int  // entries so far
	died     bool // in this tick
	dieAt    int  // stop after so many entries in all, once; 0: never
	journal  []Event
	brief    bool // its soaks are too short to find what turns up later
	lean     bool // events are not encoded and decoded
	broken   []string
	last     Move
}

// newRig begins a rollout.
func newRig(p Plan, a *azure) *rig {
	r := &rig{plan: p, azure: a, fates: func(int, *Action) fate { return fine }}
	e := Begin(p, a.Now)
	r.append(&e)
	return r
}

func (r *rig) breaks(format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf(format, args...))
}

// append journals an event; it says whether the runner is still alive.
func (r *rig) append(e *Event) bool {
	if !r.lean {
		data, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		back, err := DecodeEvent(data)
		if err != nil {
			panic(err)
		}
		e = &back
	}
	r.journal = append(r.journal, *e)
	r.before(e)
	r.state.Apply(&r.plan, e)
	r.entries++
	r.total++
	if r.total == r.dieAt {
		r.died = true
		return false
	}
	return r.crashAt == 0 || r.entries < r.crashAt
}

// tick does what is due, as `rollout advance` does.
func (r *rig) tick() {
	r.entries, r.died = 0, false
	acted := 0
	const most = 60
	for range most {
		o := r.azure.observe(r.state.Epoch, r.unread)
		o.Requests = r.requests
		r.azure.operations(&r.state, &o)
		move := r.next(o)
		r.last = move
		for i := range move.Events {
			if !r.append(&move.Events[i]) {
				return
			}
		}
		for i := range move.Actions {
			acted++
			if !r.act(&move.Actions[i], acted) {
				return
			}
		}
		if len(move.Actions) == 0 {
			return
		}
		if !r.lean {
			r.stale(&o, move.Actions)
		}
	}
	r.breaks("a tick does not end: %v", r.last.Actions)
}

// next asks what must happen next, and checks that nothing is changed by the question.
func (r *rig) next(o Observation) Move {
	if r.lean {
		return Next(r.plan, r.state, o, r.azure.Now)
	}
	before := canonical(r.state, r.azure.Now)
	move := Next(r.plan, r.state, o, r.azure.Now)
	if canonical(r.state, r.azure.Now) != before {
		r.breaks("Next changed the state that it was given")
	}
	if again := Next(r.plan, r.state, o, r.azure.Now); canonical(again, r.azure.Now) != canonical(move, r.azure.Now) {
		r.breaks("Next answers the same question in two ways")
	}
	return move
}

// stale checks that an observation from before actions leads to no more of them.
func (r *rig) stale(o *Observation, made []Action) {
	for _, a := range Next(r.plan, r.state, *o, r.azure.Now.Add(10*time.Minute)).Actions {
		if a.Effect() && slices.ContainsFunc(made, func(b Action) bool { return b.target() == a.target() }) {
			r.breaks("%s of %s %v follows from what was read before the last write there", a.Do, a.Set, a.Members)
		}
	}
}

// act carries an action out; it says whether the runner is still alive.
func (r *rig) act(a *Action, n int) bool {
	r.allowed(a)
	if !r.append(&Event{Format: Format, At: r.azure.Now, Kind: Began, Action: a}) {
		return false
	}
	lost := Result{Outcome: Lost, Text: "connection reset"}
	var result Result
	switch f := r.fates(n, a); f {
	case crashBefore:
		return false
	case crashAfter:
		r.azure.do(a)
		return false
	case lostBefore:
		result = lost
	case lostAfter:
		r.azure.do(a)
		result = lost
	case lostLate:
		result = lost
		if s := r.azure.Sets[a.Set]; a.Do == PatchModel && !r.azure.moving(s) {
			s.Late, s.LateAt = a, r.azure.Now.Add(r.plan.Limits.Settle)
		}
	case noCapacity:
		result = Result{Outcome: Capacity, Text: "AllocationFailed"}
	case denied:
		result = Result{Outcome: Denied, Text: "AuthorizationFailed"}
	case fine:
		result = r.azure.do(a)
	}
	return r.append(&Event{Format: Format, At: r.azure.Now, Kind: Ended, Action: a, Result: &result})
}

// allowed says what an action breaks before it is made.
func (r *rig) allowed(a *Action) {
	if a.Set != "" && r.unread[a.Set] && a.Effect() {
		r.breaks("%s of %s follows from a failed read", a.Do, a.Set)
	}
	if a.target() == versionTarget && r.unread[versionTarget] {
		r.breaks("%s follows from a failed read", a.Do)
	}
	s := r.azure.Sets[a.Set]
	switch a.Do {
	case ManualUpgrade:
		if slices.Contains(a.Members, "*") || len(a.Members) == 0 {
			r.breaks("manualupgrade of %v", a.Members)
		}
		for _, name := range a.Members {
			if m := s.Members[name]; m != nil && (m.Version == a.Version || m.Next == a.Version) {
				r.breaks("%s is to be upgraded to %s again", name, a.Version)
			}
		}
		if a.Version == newVersion && !r.state.Phase.forward() {
			r.breaks("an upgrade to the version while %s", r.state.Phase)
		}
	case PatchModel:
		if a.Version == newVersion && !r.state.Phase.forward() {
			r.breaks("the model is pointed at the version while %s", r.state.Phase)
		}
	case Include:
		if r.azure.Image != good && (!r.brief || r.azure.ill()) && !r.plan.Sets[sorted(r.plan.Sets)[0]].Driver.Platform() {
			r.breaks("a bad image is promoted")
		}
	case TagFailed:
		if r.azure.Image == good {
			r.breaks("a good image is marked failed: %s", r.state.Why)
		}
	default:
	}
}

// before checks an event against the truth, before it is taken in.
func (r *rig) before(e *Event) {
	switch {
	case e.Kind == WaveTo && e.Step == WaveDone:
		r.evidence(&r.plan.Waves[e.Wave])
	case e.Kind == WaveTo && e.Wave > 0 && e.Step == Replicating:
		if step := r.state.Waves[e.Wave-1].Step; step != WaveDone && step != Skipped {
			r.breaks("wave %d begins, and the one before is %s", e.Wave, step)
		}
	case e.Kind == PhaseTo && e.Phase == Succeeded && r.azure.Image != good && (!r.brief || r.azure.ill()):
		r.breaks("a bad image succeeded")
	case e.Kind == PhaseTo && e.Phase == Promoting && r.state.Phase == Rolling:
		for i, w := range r.state.Waves {
			if w.Step != WaveDone && w.Step != Skipped {
				r.breaks("the version is to be promoted, and wave %d is %s", i, w.Step)
			}
		}
	case e.Kind == PhaseTo && e.Phase == Succeeded && !slices.ContainsFunc(r.state.Waves, func(w WaveState) bool { return len(w.Evidence) > 0 }):
		r.breaks("it succeeded, and no member stood for it")
	}
}

// evidence checks that a wave that ends has members that stand for it.
func (r *rig) evidence(w *Wave) {
	for _, set := range w.Sets {
		takeable, well := 0, 0
		for _, m := range r.azure.Sets[set].Members {
			if m.Stopped || m.Protected {
				continue
			}
			takeable++
			if h, _ := r.azure.health(m); m.Version == newVersion && h == fleet.Healthy {
				well++
			}
		}
		need := min(1, takeable)
		if w.Instances > 0 {
			need = min(w.Instances, takeable)
		}
		if well < need {
			r.breaks("wave %s ends with %d of %d members that stand for it in %s", w.Name, well, need, set)
		}
	}
}

// check says which rules are broken as things are.
func (r *rig) check() []string {
	r.broken = append(r.broken, r.azure.Harm...)
	r.azure.Harm = nil
	r.blast()
	r.accounting()
	if r.state.Phase.Over() && r.entries > 0 && r.crashAt == 0 && !r.died {
		r.ended()
	}
	if !r.state.Phase.Over() && len(r.last.Waits) == 0 && len(r.last.Actions) == 0 && len(r.last.Events) == 0 {
		r.breaks("%s waits for nothing", r.state.Phase)
	}
	for _, w := range r.last.Waits {
		if w.Until.IsZero() || w.For == "" {
			r.breaks("it waits for %q without a deadline", w.For)
		}
	}
	return r.broken
}

// blast checks that no member outside the waves begun runs the version, and that no
// more run it than was predicted.
func (r *rig) blast() {
	begun, worst := make(map[string]bool), 0
	if r.state.Phase != Pending {
		for i := 0; i <= r.state.Wave; i++ {
			for _, set := range r.plan.Waves[i].Sets {
				begun[set] = true
			}
			worst = max(worst, r.plan.Exposure[i].Worst)
		}
	}
	runs := 0
	for name, s := range r.azure.Sets {
		for _, m := range s.Members {
			if m.Version != newVersion || m.Stopped {
				continue
			}
			runs++
			if !begun[name] {
				r.breaks("%s runs the version, and no wave of %s has begun", m.Name, name)
			}
		}
	}
	if runs > worst {
		r.breaks("%d members run the version, and %d were predicted at worst", runs, worst)
	}
}

// accounting checks that who ran the version, as the journal tells it, is who did.
func (r *rig) accounting() {
	told := make(map[string]bool)
	for _, l := range Accounting(r.state) {
		key := memberKey(l.Set, l.Member)
		told[key] = true
		if !l.Unseen && !r.azure.Ran[key] {
			r.breaks("%s is said to have run the version, and did not", key)
		}
	}
	if r.entries == 0 || len(r.unread) > 0 || r.crashAt != 0 || r.died || r.azure.LogLag > 0 {
		return // it was not read lately
	}
	for key := range r.azure.Ran {
		if !told[key] && r.state.Phase != Pending {
			r.breaks("%s ran the version, and nobody says so", key)
		}
	}
}

// ended checks what must be so at an end.
func (r *rig) ended() {
	listed := func(set, member string) bool {
		return slices.ContainsFunc(append(slices.Clone(r.state.Left), r.state.Unpaid...), func(l Left) bool { return l.Set == set && l.Member == member })
	}
	phase := r.state.Phase
	for name, s := range r.azure.Sets {
		if s.Suspended && !listed(name, "") && len(r.last.Actions)+len(r.last.Waits) == 0 {
			r.breaks("%s: the repairs of %s are still suspended", phase, name)
		}
		back := phase == Halted || phase == Aborted || phase == Incomplete
		if back && s.Model == newVersion && !listed(name, "") && !r.unread[name] {
			r.breaks("%s: the model of %s points at the version", phase, name)
		}
		for _, m := range s.Members {
			if r.azure.Now.Before(m.Drained) && !listed(name, m.Name) && len(r.last.Actions)+len(r.last.Waits) == 0 {
				r.breaks("%s: %s is still drained", phase, m.Name)
			}
			if back && !r.state.Keep && m.Version == newVersion && !listed(name, m.Name) && !r.unread[name] {
				r.breaks("%s: %s still runs the version, and is not listed", phase, m.Name)
			}
		}
	}
	if phase == Halted || phase == Aborted {
		if !r.azure.Version.Excluded {
			r.breaks("%s: the version is not excluded", phase)
		}
		if phase == Halted && !r.azure.Version.Failed {
			r.breaks("halted, and the version is not marked")
		}
	}
	if phase == Succeeded && (r.azure.Version.Excluded || r.azure.Version.Failed) {
		r.breaks("succeeded: the version is not to be had")
	}
}

// planned is the plan of a rollout over a model of Azure.
func planned(a *azure, waves []Wave, change func(*Plan)) Plan {
	p := Plan{
		Format: Format, Fleet: "test", Version: newVersion, Definition: definition, Made: a.Now, Waves: waves, Sets: make(map[string]Set), Limits: standing, Drain: true,
	}
	l := &p.Limits
	l.ObserveEvery, l.HealthyWithin, l.HealthyFor, l.Stuck = 5*time.Minute, 10*time.Minute, time.Minute, 30*time.Minute
	for name, s := range a.Sets {
		seen := a.seen(s)
		set := Set{
			ID: setID(name), Location: "eastus", Driver: fleet.DriverBatches, Mode: s.Mode, LastGood: oldVersion, Model: s.Model, Profile: Profile(&seen.Model),
			Members: len(s.Members), Max: s.Max, Batch: 50, MaxUnhealthy: 50, Repairs: true, ByZone: true,
		}
		for _, m := range s.Members {
			if m.Spot {
				set.Spot++
			}
		}
		for i, w := range waves {
			if slices.Contains(w.Sets, name) {
				set.LastWave = i
			}
		}
		p.Sets[name] = set
	}
	if change != nil {
		change(&p)
	}
	p.Exposure = exposures(&p)
	return p
}
