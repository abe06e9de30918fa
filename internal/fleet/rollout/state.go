package rollout

import (
	"maps"
	"slices"
	"time"
)

// A Phase is where a rollout stands.
type Phase string

// The phases.
const (
	Pending    Phase = "pending"
	Rolling    Phase = "rolling"
	Promoting  Phase = "promoting"
	Succeeded  Phase = "succeeded"
	Halting    Phase = "halting"
	Returning  Phase = "returning"
	Demoting   Phase = "demoting"
	Halted     Phase = "halted"
	Incomplete Phase = "halted-incomplete"
	Aborted    Phase = "aborted"
	Held       Phase = "held"
)

// Over says whether a rollout has ended. One that is Incomplete goes on when what is
// left can be taken back or an operator ends it, and one that is Held when an operator
// says so.
func (p Phase) Over() bool {
	return p == Succeeded || p == Halted || p == Incomplete || p == Aborted || p == Held
}

// forward says whether the version is still to reach members.
func (p Phase) forward() bool { return p == Pending || p == Rolling || p == Promoting }

// A Step is where a wave or a batch stands.
type Step string

// The steps of a wave.
const (
	Replicating Step = "replicating"
	Asking      Step = "asking" // for the approval, the window
	Batches     Step = "batches"
	Soaking     Step = "soaking"
	WaveDone    Step = "done"
	Skipped     Step = "skipped" // all its sets were empty
)

// The steps of a batch.
const (
	Picked    Step = "picked" // and being drained
	Upgrading Step = "upgrading"
	Verifying Step = "verifying"
	BatchDone Step = "batch-done"
	GivenUp   Step = "given-up"
)

// A Class is why a rollout does not go on.
type Class string

// The classes. Only Bad marks a version as failed.
const (
	Bad          Class = "failed"
	Inconclusive Class = "inconclusive"
	NoCapacity   Class = "capacity"
	NotOurs      Class = "not ours"
	ByOperator   Class = "operator"
)

// rank orders classes: of several reasons the weightiest is told.
func (c Class) rank() int {
	return slices.Index([]Class{"", NoCapacity, NotOurs, Inconclusive, ByOperator, Bad}, c)
}

// State is what a journal says of a rollout: the fold of its events.
type State struct {
	Phase  Phase
	Since  time.Time // of the phase
	Why    string    // of the phase
	Class  Class     // why it halted: Bad or ByOperator
	Keep   bool      // aborted with the members left as they are
	Final  bool      // aborted when it had halted: what is left at its end stays
	Again  bool      // members were taken back a second time, from Demoting
	From   Phase     // of one that is Held: where resume goes
	Wave   int
	Waves  []WaveState
	Sets   map[string]SetState
	Runs   map[string]MemberState // members that ever ran the version, by memberKey
	Drains map[string]DrainState  // by memberKey
	Ops    map[int]Op             // actions without a final result
	Last   map[string]Ending      // by target
	Gates  map[string]Answer      // by name
	Agents map[string]Answer      // by memberKey
	Told   map[string]Answer      // diagnoses, by memberKey
	Block  *Block
	Paused *Request
	Taken  map[string]bool // requests, by ID
	// Released are the regions in which the version may be the latest though we did not
	// release it: it was before, or an operator accepted it.
	Released []string
	// Freed is when the last block went away.
	Freed time.Time
	// Resumed is when that was read which an operator last said to go on with: what was
	// unknown until then is accepted.
	Resumed  time.Time
	Read     map[string]time.Time // when each set was last read
	Observed time.Time            // when all sets of the waves begun were
	Op       int                  // the highest number of an action
	Epoch    int                  // results so far
	Left     []Left               // at an end: what is not as it should be
	Unpaid   []Left               // debts that were given up
}

// Settled says whether nothing is under way, drained or suspended by the rollout.
func (s *State) Settled() bool { return len(s.Ops) == 0 && s.paid() }

// Reached is since when members have run the version without a gap; zero: none does.
func (s *State) Reached() time.Time {
	var runs []Run
	for _, m := range s.Runs {
		runs = append(runs, m.Runs...)
	}
	slices.SortFunc(runs, func(a, b Run) int { return a.From.Compare(b.From) })
	var since, until time.Time
	open := false
	for _, run := range runs {
		if since.IsZero() || !open && run.From.After(until) {
			since = run.From
		}
		open, until = open || run.To.IsZero(), later(until, run.To)
	}
	if !open {
		return time.Time{}
	}
	return since
}

// nobody says whether no member runs the version.
func (s *State) nobody() bool {
	for _, m := range s.Runs {
		if m.Runs[len(m.Runs)-1].To.IsZero() {
			return false
		}
	}
	return true
}

// paid says whether nothing is owed.
func (s *State) paid() bool {
	for _, set := range s.Sets {
		if set.Suspended != NotSuspended {
			return false
		}
	}
	return len(s.Drains) == 0
}

// WaveState is where a wave stands.
type WaveState struct {
	Step     Step
	Since    time.Time // of the step
	Approved bool
	Soaked   time.Duration
	Missed   time.Duration // of the soak that did not count: nobody looked
	Evidence []string      // members verified and present at its end, by memberKey
}

// SetState is what we did to a set.
type SetState struct {
	Model     string    // the version that we left its model at
	Maybe     []string  // versions of PATCHes without an answer
	Profile   string    // of its model, that an operator accepted; empty: that of the plan
	Policy    bool      // its mode or automatic OS upgrade is not what it was
	Pointed   time.Time // when the model was first pointed at the version; zero: never
	Unpointed time.Time // when it was last known to be back; zero: it still points there
	Whole     bool      // its last wave has begun to upgrade: the model stays
	Suspended Suspension
	Unsure    int             // tries to suspend that may have taken effect
	NoSuspend bool            // repairs cannot be suspended
	Asked     map[string]bool // members that were ever named in an upgrade to the version
	Batch     *Batch
	BatchEnd  time.Time // of the last one
	Numbers   int       // batches so far
	Stays     []string  // members that the way back has given up on
}

// points says whether the model points at the version by our doing, as far as is known. One
// that follows the latest does where we released the version.
func (s *SetState) points() bool { return !s.Pointed.IsZero() && s.Unpointed.IsZero() }

// A Suspension is what we know of a set's automatic repairs.
type Suspension string

// The suspensions.
const (
	NotSuspended   Suspension = ""
	MaybeSuspended Suspension = "maybe"
	IsSuspended    Suspension = "yes"
)

// A Batch is the members of a set that are upgraded, or taken back, together.
type Batch struct {
	Number  int
	Members []string
	Step    Step
	Since   time.Time // of the step
	Back    bool
	Undrain bool // taken back without a drain: they do not serve
}

// MemberState is a member that ran the version.
type MemberState struct {
	Set, Name string
	Wave      int
	Runs      []Run
	Settled   time.Time // the observation in which its upgrade or birth had ended; zero: not yet
	NotBefore time.Time // health from before this is of the old disk
	Well      time.Time // Healthy since; zero: it is not
	Ill       time.Time // since when a settled member is not Healthy
	Verified  bool
	Anew      time.Time // when nobody had looked for too long to say that it still is verified
	Failed    string    // why; empty: it has not
	Down      bool      // it does not run, and the version is still on its disk
}

// on says whether the version is on the member's disk.
func (m *MemberState) on() bool { return m.Runs[len(m.Runs)-1].To.IsZero() || m.Down }

// serves says whether the member is evidence for the version just now.
func (m *MemberState) serves() bool {
	return m.Verified && !m.Well.IsZero() && m.Failed == "" && m.Runs[len(m.Runs)-1].To.IsZero()
}

// A Run is a time in which a member ran the version.
type Run struct {
	From, To time.Time // To: zero while it does
	Why      string
	Ended    string
	Unseen   bool // it was gone before it was seen: it may have run the version
}

// DrainState is a drain that we asked for.
type DrainState struct {
	Until time.Time // when it ends by itself
	Done  bool
}

// An Op is an action under way.
type Op struct {
	Action Action
	Began  time.Time
	Result *Result // Underway or Lost; nil: nobody came back to say
}

// An Ending is how the last action on a target ended.
type Ending struct {
	Epoch   int
	At      time.Time
	Outcome Outcome
	Text    string
	Since   time.Time // of the first in a row that was not done
	Verb    Verb
}

// An Answer is what was said, and when.
type Answer struct {
	At   time.Time
	Text string
	Why  string
}

// A Block is why a rollout stands still.
type Block struct {
	Class Class
	Why   string
	Since time.Time
	Stays bool // until an operator says to go on, also when its cause is gone
}

// Clone returns a state that shares nothing that changes.
func (s *State) Clone() State {
	c := *s
	c.Waves = slices.Clone(s.Waves)
	c.Sets = maps.Clone(s.Sets)
	for name, set := range c.Sets {
		set.Asked = maps.Clone(set.Asked)
		c.Sets[name] = set
	}
	c.Runs = maps.Clone(s.Runs)
	c.Drains = maps.Clone(s.Drains)
	c.Ops = maps.Clone(s.Ops)
	c.Last = maps.Clone(s.Last)
	c.Gates = maps.Clone(s.Gates)
	c.Agents = maps.Clone(s.Agents)
	c.Told = maps.Clone(s.Told)
	c.Taken = maps.Clone(s.Taken)
	c.Read = maps.Clone(s.Read)
	return c
}
