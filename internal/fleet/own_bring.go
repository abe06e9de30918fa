package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Bringing brings the members of one set to its model, in batches by name: pure, and in
// memory alone. What Azure shows decides who is to be brought, so after a crash another
// one goes on, and a drain that nobody takes back ends by itself.
//
//	Next(set, now) ─▶ drain ─▶ upgrade ─▶ undrain ─▶ wait … verified ─▶ the next batch ─▶ done
//	                    └────────┴──────────┴──────────┴─▶ undrain what is owed ─▶ stopped
//
// A move is carried out and told by [Bringing.Did], then Next is asked again, with the set
// as it was read after it. Each member is brought once.
type Bringing struct {
	rules   BringRules
	batch   *bringBatch
	brought map[string]bool       // verified
	drains  map[string]bringDrain // that were begun, and not taken back
	stopped string                // why; empty: it goes on
	next    time.Time             // when the pause between batches ends
	stuck   time.Time             // since when nobody can be picked
	leaves  int                   // how often a batch was left before its upgrade
}

// BringRules are how members are brought.
type BringRules struct {
	Batch        Percent
	MaxUnhealthy Percent
	ByZone       bool
	Pause        time.Duration // between batches
	Drain        bool
	DrainFor     time.Duration // after which a drain ends by itself
	Retry        time.Duration // after an undrain that failed
	Gates        GatesSpec     // HealthyWithin, HealthyFor and Stuck count
	WithImage    bool          // see OwnOptions
	Definition   *Definition
}

type bringBatch struct {
	names    []string
	versions map[string]string // that each ran when it was picked
	want     string            // with WithImage: the version of the model; empty: not known
	begun    time.Time         // when its upgrade was asked for: health from before that is of the old machine
	upgraded time.Time         // when the operation was seen to have ended; zero: it was not made
	from     time.Time         // from when on health counts; zero: drains are not yet taken back
	well     map[string]time.Time
}

type bringDrain struct {
	until time.Time
	was   string // the version of its disk
	tried time.Time
	no    string // why it could not be taken back when it was tried
}

// A BringVerb is what a move asks for.
type BringVerb string

// The moves. The last two are ends.
const (
	BringDrain   BringVerb = "drain"   // Members, each by its agent
	BringUpgrade BringVerb = "upgrade" // Members, in one operation
	BringUndrain BringVerb = "undrain" // Members, each by its agent
	BringWait    BringVerb = "wait"    // and look again, at the latest at Until
	BringDone    BringVerb = "done"
	BringStopped BringVerb = "stopped"
)

// A BringMove is what has to be done next.
type BringMove struct {
	Do      BringVerb
	Members []string
	Until   time.Time
	Why     string
}

// NewBringing returns what brings the members of a set of a file.
func NewBringing(s *Spec, name string, o *OwnOptions) *Bringing {
	u := s.ScaleSets[name].Upgrade
	return &Bringing{
		rules: BringRules{
			Batch: u.Batch, MaxUnhealthy: u.MaxUnhealthy, ByZone: u.Order != "name", Pause: u.Pause,
			Drain: s.Rollout != nil && s.Rollout.Drain == "run-command", DrainFor: 30 * time.Minute, Retry: 30 * time.Second,
			Gates: s.limits(), WithImage: o.WithImage, Definition: o.Definition,
		},
		brought: make(map[string]bool), drains: make(map[string]bringDrain),
	}
}

// Rules are the rules that it goes by.
func (b *Bringing) Rules() BringRules { return b.rules }

// Verified are the members that were brought, by name.
func (b *Bringing) Verified() []string { return slices.Sorted(maps.Keys(b.brought)) }

// Owed are the members whose drains are not taken back, by name.
func (b *Bringing) Owed() []string { return slices.Sorted(maps.Keys(b.drains)) }

// Stop ends it because of something else: an operator. Moves that pay what is owed follow.
func (b *Bringing) Stop(why string) {
	if b.stopped == "" {
		b.stopped = why
	}
}

func (b *Bringing) stop(format string, args ...any) { b.Stop(fmt.Sprintf(format, args...)) }

// Did tells how a move went, and when it ended: failed has those members of a drain or an
// undrain that did not do it. Err is that of an upgrade.
func (b *Bringing) Did(move BringMove, at time.Time, failed map[string]error, err error) {
	switch move.Do {
	case BringDrain:
		for _, name := range move.Members { // one whose answer was lost may drain, too
			b.drains[name] = bringDrain{until: at.Add(b.rules.DrainFor), was: b.batch.versions[name]}
		}
		for _, name := range slices.Sorted(maps.Keys(failed)) {
			b.stop("%s could not be drained: %v", name, failed[name])
		}
	case BringUpgrade:
		b.batch.upgraded = at
		if err != nil {
			b.stop("%s could not be upgraded: %v", names(move.Members), err)
		}
	case BringUndrain:
		for _, name := range move.Members {
			if no := failed[name]; no == nil {
				delete(b.drains, name)
			} else if d, owed := b.drains[name]; owed {
				d.tried, d.no = at, no.Error()
				b.drains[name] = d
			}
		}
	case BringWait, BringDone, BringStopped: // nothing was done
	}
}

// Next says what has to be done next for a set as it was just read.
func (b *Bringing) Next(set *Set, now time.Time) BringMove {
	b.forget(set, now)
	for b.stopped == "" {
		step := b.advance
		if b.batch == nil {
			step = b.pick
		}
		if move := step(set, now); move.Do != "" {
			return move
		}
	}
	if move := b.undrain(set, now); move.Do != "" {
		return move
	}
	return BringMove{Do: BringStopped, Why: b.stopped}
}

// advance takes a batch on. Its move is empty when the batch has ended, or all has stopped.
func (b *Bringing) advance(set *Set, now time.Time) BringMove {
	batch := b.batch
	switch {
	case batch.upgraded.IsZero():
		var there, toDrain []string
		for _, name := range batch.names {
			if m := set.member(name); m.stays() && m.stale() && !m.ProtectSetActions {
				there = append(there, name)
				if _, drained := b.drains[name]; b.rules.Drain && !drained {
					toDrain = append(toDrain, name)
				}
			}
		}
		batch.names = there
		switch {
		case len(there) == 0:
			b.batch = nil // and others are picked
			return BringMove{}
		case len(toDrain) > 0:
			return BringMove{Do: BringDrain, Members: toDrain}
		}
		if why := b.crowded(set, there); why != "" {
			if b.batch, b.leaves = nil, b.leaves+1; b.leaves == maxLeaves {
				b.stop("%s", why)
			}
			return BringMove{}
		}
		batch.begun = now
		return BringMove{Do: BringUpgrade, Members: there}
	case batch.from.IsZero():
		if move := b.undrain(set, now); move.Do != "" { // a node that drains holds its health
			return move
		}
		batch.from = batch.upgraded
		if b.rules.Drain {
			batch.from = now
		}
	}
	return b.verify(set, now)
}

// maxLeaves is how often a batch may be left before its upgrade.
const maxLeaves = 3

// verify says whether the members of a batch are as they must be.
func (b *Bringing) verify(set *Set, now time.Time) BringMove {
	batch, gates := b.batch, b.rules.Gates
	wait := BringMove{}
	waits := func(until time.Time, why string) {
		if wait.Do == "" || until.Before(wait.Until) {
			wait = BringMove{Do: BringWait, Members: batch.names, Until: until, Why: why}
		}
	}
	var verified []string
	for _, name := range batch.names {
		m := set.member(name)
		if !m.stays() {
			continue // it has left
		}
		want := batch.versions[name]
		if b.rules.WithImage {
			want = cmp.Or(batch.want, m.Image.ExactVersion)
		}
		deadline := batch.from.Add(gates.HealthyWithin)
		lack, final := b.lack(m, want)
		switch {
		case final, lack != "" && !now.Before(deadline):
			b.stop("%s: %s", name, lack)
			return BringMove{}
		case lack != "":
			delete(batch.well, name)
			waits(deadline, name+": "+lack)
			continue
		}
		if batch.well[name].IsZero() {
			batch.well[name] = now
		}
		if until := batch.well[name].Add(gates.HealthyFor); now.Before(until) {
			waits(until, name+" to stay Healthy")
			continue
		}
		verified = append(verified, name)
	}
	switch {
	case wait.Do != "":
		return wait
	case len(verified) == 0:
		b.stop("no member of the batch is there any more: %s, which is no evidence", names(batch.names))
		return BringMove{}
	}
	for _, name := range verified {
		b.brought[name] = true
	}
	b.batch, b.next = nil, now.Add(b.rules.Pause)
	return BringMove{}
}

// lack says what a member lacks to be verified; final: it will not come.
func (b *Bringing) lack(m *Member, want string) (what string, final bool) {
	version := m.Image.ExactVersion
	switch {
	case m.Provisioning == Failed:
		return "it failed to provision" + because(m.Failure.Message), true
	case m.moving():
		return "the platform is at work on it", false
	case version != "" && version != want:
		return "it runs " + version + ", and not " + want, true
	case version == "" && want != "":
		return "Azure does not say which version it runs", false
	case !isTrue(m.LatestModel):
		return "it is not on the latest model", false
	case m.Health != Healthy:
		return "it is not Healthy", false
	case m.HealthAt.IsZero():
		return "Azure does not say when it saw it Healthy", false
	case m.HealthAt.Before(b.batch.begun): // it may be long Healthy when the end is seen, or it is undrained
		return "it was Healthy before its upgrade, and nothing is known since", false
	}
	return "", false
}

// forget drops drains that have ended: by themselves, or with the disk or the member.
func (b *Bringing) forget(set *Set, now time.Time) {
	maps.DeleteFunc(b.drains, func(name string, d bringDrain) bool {
		m := set.member(name)
		return !now.Before(d.until) || !m.stays() || m.Image.ExactVersion != "" && m.Image.ExactVersion != d.was
	})
}

// undrain takes back the drains that are owed. Its move is empty when none is.
func (b *Bringing) undrain(set *Set, now time.Time) BringMove {
	var due []string
	var again time.Time
	why := ""
	for _, name := range slices.Sorted(maps.Keys(b.drains)) {
		d := b.drains[name]
		at := d.tried.Add(b.rules.Retry)
		switch {
		case set.member(name).moving():
			at = now.Add(b.rules.Retry)
		case d.tried.IsZero() || !now.Before(at):
			due = append(due, name)
			continue
		}
		if at.After(d.until) {
			at = d.until
		}
		if again.IsZero() || at.Before(again) {
			again, why = at, name+because(d.no)
		}
	}
	switch {
	case len(due) > 0:
		return BringMove{Do: BringUndrain, Members: due, Why: b.stopped}
	case !again.IsZero():
		return BringMove{Do: BringWait, Until: again, Why: "an undrain is owed to " + why}
	}
	return BringMove{}
}

func (s *Set) member(name string) *Member {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return &s.Members[i]
		}
	}
	return nil
}

// stays says whether a member is there, runs, and is not being deleted.
func (m *Member) stays() bool { return m != nil && m.runs() && m.Provisioning != "Deleting" }

// moving says whether the platform is at work on a member.
func (m *Member) moving() bool { return AtWork(m.Provisioning) }
