package rollout

import (
	"encoding/json"
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
	watch    watch
	takes    map[Verb]time.Duration // how long actions take; of "", a read of everything
	again    map[string]int         // how often each action was made in this tick
	looked   map[string]string      // the version of each model when it was last read
}

// newRig begins a rollout.
func newRig(p Plan, a *azure) *rig {
	r := &rig{plan: p, azure: a, fates: func(int, *Action) fate { return fine }}
	r.watch.accepted, r.watch.stopped, r.watch.theirs = make(map[string]int), make(map[string]time.Time), make(map[string]bool)
	for name, s := range a.Sets {
		r.watch.accepted[name] = s.Tag
	}
	e := Begin(p, a.Now)
	r.append(&e)
	return r
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
	r.again = make(map[string]int)
	acted := 0
	const most = 60
	for range most {
		o := r.look()
		move := r.next(o)
		r.last = move
		for i := range move.Events {
			if !r.append(&move.Events[i]) {
				return
			}
		}
		if !r.acts(move.Actions, &acted) {
			return
		}
		if len(move.Actions) == 0 {
			return
		}
		if !r.lean {
			r.stale(&o, move.Actions)
		}
	}
	r.breaks(deadlines, "a tick does not end: %v", r.last.Actions)
}

// next asks what must happen next, and checks that nothing is changed by the question.
func (r *rig) next(o Observation) Move {
	if r.lean {
		return Next(r.plan, r.state, o, r.azure.Now)
	}
	before := canonical(r.state, r.azure.Now)
	move := Next(r.plan, r.state, o, r.azure.Now)
	if canonical(r.state, r.azure.Now) != before {
		r.breaks(pureNext, "Next changed the state that it was given")
	}
	if again := Next(r.plan, r.state, o, r.azure.Now); canonical(again, r.azure.Now) != canonical(move, r.azure.Now) {
		r.breaks(pureNext, "Next answers the same question in two ways")
	}
	return move
}

// stale checks that an observation from before actions leads to no more of them.
func (r *rig) stale(o *Observation, made []Action) {
	for _, a := range Next(r.plan, r.state, *o, r.azure.Now.Add(10*time.Minute)).Actions {
		if a.Effect() && slices.ContainsFunc(made, func(b Action) bool { return b.target() == a.target() }) {
			r.breaks(blindWrites, "%s of %s %v follows from what was read before the last write there", a.Do, a.Set, a.Members)
		}
	}
}

// look reads everything, which takes its time: what is read last is newer than the time
// that it is said to be of.
func (r *rig) look() Observation {
	at, epoch := r.azure.Now, r.state.Epoch
	r.passes(r.takes[""])
	o := r.azure.observe(epoch, r.unread)
	r.looked = make(map[string]string, len(r.azure.Sets))
	for name, s := range r.azure.Sets {
		r.looked[name] = s.Model
	}
	o.At, o.Requests = at, r.requests
	r.azure.operations(&r.state, &o)
	return o
}

// passes lets time pass within a tick.
func (r *rig) passes(d time.Duration) {
	if d > 0 {
		r.azure.advance(d)
	}
}

// aside says whether actions of a verb are carried out together, after the others.
func (v Verb) aside() bool { return v.member() || v == QueryGate || v == Notify }

// acts carries actions out as a runner does: those that write to Azure one after the other,
// then the others at once. It says whether the runner is still alive.
func (r *rig) acts(actions []Action, acted *int) bool {
	var together []*Action
	longest := time.Duration(0)
	for i := range actions {
		a := &actions[i]
		if a.Do.aside() {
			together, longest = append(together, a), max(longest, r.takes[a.Do])
			continue
		}
		*acted++
		if !r.begins(a) {
			return false
		}
		r.passes(r.takes[a.Do] / 2)
		if !r.act(a, *acted, r.takes[a.Do]/2) {
			return false
		}
	}
	if longest == 0 {
		for _, a := range together {
			*acted++
			if !r.begins(a) || !r.act(a, *acted, 0) {
				return false
			}
		}
		return true
	}
	for _, a := range together {
		if !r.begins(a) {
			return false
		}
	}
	r.passes(longest / 2)
	for i, a := range together {
		*acted++
		after := time.Duration(0)
		if i == len(together)-1 {
			after = longest / 2
		}
		if !r.act(a, *acted, after) {
			return false
		}
	}
	return true
}

// begins journals that an action begins.
func (r *rig) begins(a *Action) bool {
	r.allowed(a)
	r.repeats(a)
	return r.append(&Event{Format: Format, At: r.azure.Now, Kind: Began, Action: a})
}

// act carries an action out that began, and its answer comes some time after; it says
// whether the runner is still alive.
func (r *rig) act(a *Action, n int, after time.Duration) bool {
	lost := Result{Outcome: Lost, Text: "connection reset"}
	var result Result
	switch f := r.fates(n, a); f {
	case crashBefore:
		r.died = true
		return false
	case crashAfter:
		r.azure.do(a)
		r.died = true
		return false
	case lostBefore:
		result = lost
	case lostAfter:
		r.azure.do(a)
		result = lost
	case lostLate:
		result = lost
		if s := r.azure.Sets[a.Set]; (a.Do == PatchModel || a.Do == ManualUpgrade) && !r.azure.moving(s) {
			s.Late, s.LateAt = a, r.azure.Now.Add(r.plan.Limits.Settle)
		}
	case noCapacity:
		result = Result{Outcome: Capacity, Text: "AllocationFailed"}
	case denied:
		result = Result{Outcome: Denied, Text: "AuthorizationFailed"}
	case fine:
		result = r.azure.do(a)
	}
	r.passes(after)
	return r.append(&Event{Format: Format, At: r.azure.Now, Kind: Ended, Action: a, Result: &result})
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
			ID: setID(name), Location: s.Region, Driver: fleet.DriverBatches, Mode: s.Mode, LastGood: oldVersion, Model: s.Model, Profile: Profile(&seen.Model),
			Members: len(s.Members), Min: s.Min, Max: s.Max, Batch: 50, MaxUnhealthy: 50, Repairs: true, ByZone: true,
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
