package rollout

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A View is a rollout as people and programs look at it: all that status, watch, the
// report and their JSON show. It is made by [Look], and nothing is decided by it.
type View struct {
	Version      int       `json:"version"` // of this document
	ID           string    `json:"id"`      // of its journal
	Fleet        string    `json:"fleet"`
	Image        string    `json:"image"` // its definition's name
	ImageVersion string    `json:"image_version"`
	Phase        Phase     `json:"phase"`
	Since        time.Time `json:"since"` // of the phase
	Why          string    `json:"why,omitempty"`
	Class        Class     `json:"class,omitempty"` // of the block, or of the end
	Begun        time.Time `json:"begun"`
	Ended        time.Time `json:"ended,omitzero"`
	At           time.Time `json:"at"`                // what is shown
	Observed     time.Time `json:"observed,omitzero"` // when Azure was last read, by whoever looks, too
	Worked       time.Time `json:"worked,omitzero"`   // when somebody last worked on it: what OVERDUE counts from
	Overdue      bool      `json:"overdue,omitempty"`
	Paused       string    `json:"paused,omitempty"` // why it stands still; empty: it does not
	PausedSince  time.Time `json:"paused_since,omitzero"`
	// NeedsResume says that it does not go on by itself, also when the cause is gone.
	NeedsResume bool `json:"needs_resume,omitempty"`

	Waves []WaveView `json:"waves"`
	Sets  []SetView  `json:"scale_sets"` // by name
	Gates []GateView `json:"gates"`
	Waits []WaitView `json:"waits,omitempty"`
	Next  time.Time  `json:"next,omitzero"` // when there is something to do, or to see; zero: never
	Asked []Request  `json:"asked,omitempty"`
	// Lock is who works on it just now; empty: nobody.
	Lock string `json:"lock,omitempty"`
	// Causes are the places of the file that make Azure stop it, or hold it up.
	Causes []fleet.Place `json:"causes,omitempty"`

	Ran  []Ran  `json:"ran"`            // the blast radius
	Left []Left `json:"left,omitempty"` // at an end: what is not as it should be
	Owed []Left `json:"owed,omitempty"` // what is drained or suspended by us just now, or was given up
}

// ViewVersion is the version of a View as JSON.
const ViewVersion = 1

// Waiting is the verdict of a gate in a [View] while it has nothing to say yet.
const Waiting Verdict = "waiting"

// Look shows a rollout. The observation may be nil: then what the journal tells is
// shown, and members that it does not name are unknown. ID, Next, Overdue, Asked, Lock
// and Causes are left to those who know them.
func Look(p Plan, s State, events []Event, o *Observation, now time.Time) View {
	l := newLooker(&p, &s, events, o, now)
	v := View{
		Version: ViewVersion, Fleet: p.Fleet, Image: p.Definition.Name(), ImageVersion: p.Version,
		Phase: s.Phase, Since: s.Since, Why: s.Why, Class: s.Class, Begun: p.Made, At: now, Observed: l.observed(),
		Waves: l.waves(), Sets: l.sets(), Gates: l.gates(), Waits: l.waits(), Ran: Accounting(s), Left: s.Left, Owed: l.owed(),
	}
	if s.Phase.Over() {
		v.Ended = s.Since
	}
	if len(events) > 0 {
		v.Begun, v.Worked = events[0].At, events[len(events)-1].At
	}
	switch {
	case s.Phase.Over() && s.Phase != Held:
	case s.Block != nil:
		v.Class, v.Paused, v.PausedSince = s.Block.Class, s.Block.Why, s.Block.Since
		if b := l.move.Block; b.Class == s.Block.Class {
			v.Paused = b.Why
		}
		v.NeedsResume = l.move.Block.Stays || s.Block.Class == ByOperator
	case s.Paused != nil:
		v.Class, v.Paused, v.PausedSince = ByOperator, "paused by "+who(s.Paused), s.Paused.At
	}
	return v
}

// A looker is one call of [Look].
type looker struct {
	plan    *Plan
	s       *State
	m       *machine // only asked, never told
	move    Move     // what the observation leads to, if there is one
	now     time.Time
	read    bool                // there is an observation
	batches map[int][]BatchView // by wave
	by      map[string]string   // who approved, by wave
	back    map[string]string   // the version that a member came back to, by memberKey
}

func newLooker(p *Plan, s *State, events []Event, o *Observation, now time.Time) *looker {
	l := &looker{plan: p, s: s, now: now, read: o != nil}
	if o == nil {
		o = &Observation{}
	}
	l.m = newMachine(p, *s, o, now)
	if l.read {
		l.move = Next(*p, *s, *o, now)
	}
	l.history(events)
	return l
}

// history takes from the events what the state has forgotten.
func (l *looker) history(events []Event) {
	l.batches, l.by, l.back = make(map[int][]BatchView), make(map[string]string), make(map[string]string)
	open := make(map[string]*BatchView)
	waves := make(map[*BatchView]int)
	numbers := make(map[string]int)
	var order []*BatchView
	wave := 0
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind == WaveTo:
			wave = e.Wave
		case e.Kind == Requested && e.Request.Do == Approve:
			l.by[e.Request.Wave] = cmp.Or(e.Request.By, "an operator")
		case e.Kind == Returned:
			l.back[memberKey(e.Set, e.Member)] = e.Version
		case e.Kind == BatchTo && e.Step == Picked:
			numbers[e.Set]++
			b := &BatchView{Set: e.Set, Number: numbers[e.Set], Back: e.Version != l.plan.Version, Step: Picked, Members: e.Members, Begun: e.At}
			open[e.Set], waves[b] = b, wave
			order = append(order, b)
		case e.Kind == BatchTo && open[e.Set] != nil:
			b := open[e.Set]
			b.Step, b.Why = e.Step, cmp.Or(e.Why, b.Why)
			if e.Step == BatchDone || e.Step == GivenUp {
				b.Ended = e.At
				delete(open, e.Set)
			}
		}
	}
	for _, b := range order {
		for _, name := range b.Members {
			if r := l.s.Runs[memberKey(b.Set, name)]; r.Failed != "" && !b.Back && b.Why == "" {
				b.Why = name + ": " + r.Failed
			}
		}
		l.batches[waves[b]] = append(l.batches[waves[b]], *b)
	}
}

// observed is when Azure was last read.
func (l *looker) observed() time.Time {
	last := l.m.obs.At
	for _, at := range l.s.Read {
		last = later(last, at)
	}
	return last
}

func (l *looker) waves() []WaveView {
	list := make([]WaveView, len(l.plan.Waves))
	taken := make(map[string]int) // members of a set that waves before take
	for i := range l.plan.Waves {
		w, ws := &l.plan.Waves[i], &l.s.Waves[i]
		v := WaveView{
			Name: w.Name, Step: ws.Step, Since: ws.Since, Sets: w.Sets, Instances: w.Instances, Soak: w.Soak, Soaked: l.soaked(i),
			Approve: w.Approve, Batches: l.batches[i], Evidence: len(ws.Evidence),
		}
		if ws.Approved {
			v.Approved = cmp.Or(l.by[w.Name], "an operator")
		}
		if i < len(l.plan.Exposure) {
			v.Worst = l.plan.Exposure[i].Worst
		}
		for _, name := range w.Sets {
			set := l.plan.Sets[name]
			members, batches := set.batches(w, taken[name], l.plan.Drain)
			taken[name] += members
			v.Foreseen += batches
		}
		if ws.Step != "" && ws.Step != WaveDone && ws.Step != Skipped {
			for _, r := range l.s.Runs {
				if slices.Contains(w.Sets, r.Set) && r.serves() {
					v.Evidence++
				}
			}
		}
		list[i] = v
	}
	return list
}

// soaked is how long a wave has soaked: what was noted, and the time since, if the next
// observation will count it.
func (l *looker) soaked(wave int) time.Duration {
	ws := &l.s.Waves[wave]
	soaked := ws.Soaked
	if since := l.now.Sub(l.s.Observed); ws.Step == Soaking && l.s.Phase == Rolling && !l.m.blockedNow() && since > 0 && since <= l.plan.Limits.ObserveEvery {
		soaked += since
	}
	return min(soaked, l.plan.Waves[wave].Soak)
}

// waits are what the rollout waits for: what Next says of the observation, and without
// one what the journal tells.
func (l *looker) waits() []WaitView {
	var list []WaitView
	add := func(what string, until time.Time) {
		if w := (WaitView{For: what, Until: until}); !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	if l.read {
		for _, w := range l.move.Waits {
			add(w.For, w.Until)
		}
		return list
	}
	if b := l.s.Block; b != nil && l.s.Phase.forward() {
		add("paused ("+string(b.Class)+"): "+b.Why, b.Since.Add(l.plan.Limits.Pause))
	}
	if l.s.Phase != Rolling {
		return list
	}
	w, ws := &l.plan.Waves[l.s.Wave], &l.s.Waves[l.s.Wave]
	switch {
	case ws.Step == Asking && w.Approve && !ws.Approved:
		add("the approval of wave "+w.Name, ws.Since.Add(l.plan.Limits.Approval))
	case ws.Step == Soaking && !l.m.blockedNow():
		add("the soak of wave "+w.Name, l.now.Add(w.Soak-l.soaked(l.s.Wave)))
	}
	return list
}

// owed is what is drained, suspended or changed by us just now, and what was given up.
func (l *looker) owed() []Left {
	var list []Left
	for _, key := range sorted(l.s.Drains) {
		set, name := splitKey(key)
		list = append(list, Left{Set: set, Member: name, Why: "drained by this rollout, at most until " + l.s.Drains[key].Until.UTC().Format("15:04") + " UTC"})
	}
	for _, set := range sorted(l.s.Sets) {
		switch l.s.Sets[set].Suspended {
		case IsSuspended:
			list = append(list, Left{Set: set, Why: "its automatic repairs are suspended by this rollout"})
		case MaybeSuspended:
			list = append(list, Left{Set: set, Why: "its automatic repairs may be suspended by this rollout"})
		case NotSuspended:
		}
		if l.m.unheld(set) {
			list = append(list, Left{Set: set, Why: "its model may still give the version to members"})
		}
		if l.s.Sets[set].Policy {
			list = append(list, Left{Set: set, Why: "its upgrade policy is not what it was"})
		}
	}
	return append(list, l.s.Unpaid...)
}

// Wave is the number of the wave under way, or of the last one; -1 before the first.
func (v *View) Wave() int {
	last := -1
	for i := range v.Waves {
		if v.Waves[i].Step != "" {
			last = i
		}
	}
	return last
}

// A WaveView is a wave.
type WaveView struct {
	Name      string        `json:"name"`
	Step      Step          `json:"step"` // empty: it has not begun
	Since     time.Time     `json:"since,omitzero"`
	Sets      []string      `json:"scale_sets"`
	Instances int           `json:"instances,omitempty"` // of each set; 0: all
	Soak      time.Duration `json:"-"`                   // as soak_seconds
	Soaked    time.Duration `json:"-"`                   // as soaked_seconds
	Approve   bool          `json:"approve,omitempty"`   // it needs an approval
	Approved  string        `json:"approved,omitempty"`  // by whom
	Evidence  int           `json:"evidence"`            // members verified and present, at its end or just now
	Foreseen  int           `json:"foreseen_batches"`    // how many batches the plan comes to; more when members are made anew
	Worst     int           `json:"worst"`               // members on the version at once that the plan foresaw
	Batches   []BatchView   `json:"batches,omitempty"`
}

// MarshalJSON writes times in seconds, as all documents do.
func (w *WaveView) MarshalJSON() ([]byte, error) {
	type plain WaveView
	return json.Marshal(struct {
		*plain
		Soak   float64 `json:"soak_seconds"`
		Soaked float64 `json:"soaked_seconds"`
	}{(*plain)(w), w.Soak.Seconds(), w.Soaked.Seconds()})
}

// A BatchView is a batch, the way back included.
type BatchView struct {
	Set     string    `json:"scale_set"`
	Number  int       `json:"number"`
	Back    bool      `json:"back,omitempty"`
	Step    Step      `json:"step"`
	Members []string  `json:"members"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended,omitzero"`
	Why     string    `json:"why,omitempty"` // it was given up, or failed
}

// A SetView is a scale set with its members.
type SetView struct {
	Name     string       `json:"name"`
	Location string       `json:"location"`
	Driver   string       `json:"driver"`
	Model    string       `json:"model,omitempty"` // the version that its model asks for; empty: not known, or the latest
	LastGood string       `json:"last_good,omitempty"`
	Unknown  string       `json:"unknown,omitempty"` // why it could not be read
	Busy     string       `json:"busy,omitempty"`    // what somebody else does with it
	Members  []MemberView `json:"members"`
	Unnamed  int          `json:"unnamed,omitempty"` // members that the plan counted, where nothing was read that names them
}

// A Cell is what a member is shown as.
type Cell string

// The cells, the worst first.
const (
	CellFailed    Cell = "failed"    // it runs the version, and has failed
	CellGone      Cell = "gone"      // it ran the version, and is not there, or does not run
	CellUpgrading Cell = "upgrading" // it is in a batch that upgrades it or takes it back, or is drained for that
	CellVerifying Cell = "verifying" // on the version, not verified yet
	CellVerified  Cell = "verified"  // on the version
	CellUnhealthy Cell = "unhealthy" // on another version, and not Healthy
	CellStarting  Cell = "starting"  // on another version, being made or started
	CellStopped   Cell = "stopped"   // on another version, and does not run
	CellReturned  Cell = "returned"  // it ran the version, and runs another one again, Healthy
	CellOther     Cell = "other"     // on another version, and Healthy
	CellUnknown   Cell = "unknown"   // it was not read
)

// Cells are all cells, the worst first.
var Cells = []Cell{
	CellFailed, CellGone, CellUpgrading, CellVerifying, CellVerified, CellUnhealthy,
	CellStarting, CellStopped, CellReturned, CellOther, CellUnknown,
}

// A MemberView is a member.
type MemberView struct {
	Name    string `json:"name"`
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"` // on its disk
	Health  string `json:"health,omitempty"`
	Cell    Cell   `json:"cell"`
	Why     string `json:"why,omitempty"`  // it failed, is left out, or is not as it should be
	Node    string `json:"node,omitempty"` // what its agent said
}

// A GateView is a gate with its evidence.
type GateView struct {
	Name    string    `json:"name"` // "healthy", "vanished", "window", "approval", or a name of the file
	Asked   time.Time `json:"asked,omitzero"`
	Verdict Verdict   `json:"verdict"` // that counts: no data is what the file says that it comes to
	Why     string    `json:"why,omitempty"`
}

// A WaitView is something that is waited for, until when at most.
type WaitView struct {
	For   string    `json:"for"`
	Until time.Time `json:"until,omitzero"`
}
