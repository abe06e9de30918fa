package rollout

import (
	"flag"
	"fmt"
	"hash/maphash"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	disturbances = flag.Int("disturbances", 1, "how many things go wrong in a life of the small world")
	exploreFor   = flag.Duration("explore-for", 0, "how long the small world of each image is explored; 0: to its end")
)

// TestEveryState explores the small world to its end: two waves over three members, an
// image that is good, bad at once or bad in the second wave, and at every tick each thing
// that can go wrong, as often and in every order as -disturbances allows, each sort once:
// an eviction, a repair, a birth, an answer that is lost before or after its effect, an
// abort, a release by another tool, a crash at each entry of the journal. Breadth first, so that a broken rule comes
// with a shortest path to it.
func TestEveryState(t *testing.T) {
	before := debug.SetGCPercent(400) // it makes many small things, and little lives long
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for _, img := range []image{good, neverWell, turnsBad} {
		t.Run(string(img), func(t *testing.T) {
			t.Parallel()
			e := newExplorer(img)
			var until time.Time
			if *exploreFor > 0 {
				until = time.Now().Add(*exploreFor)
			}
			found := e.explore(until)
			t.Logf("%s image, at most %d things go wrong: %d states, %d ticks, deepest %d, ends %v", img, *disturbances, len(e.known), e.ticks, e.deepest, e.ends)
			require.Empty(t, found)
			require.True(t, e.whole || *exploreFor > 0)
			require.NotEmpty(t, e.ends)
		})
	}
}

// TestTheShortestPath breaks a rule that cannot hold, and sees the shortest way there.
func TestTheShortestPath(t *testing.T) {
	e := newExplorer(good)
	e.forbid = func(n *node) string {
		if n.state.Phase == Aborted && n.azure.Ran["a/a_01"] {
			return "a member ran the version, and the rollout was aborted"
		}
		return ""
	}
	path := strings.Split(e.explore(time.Time{}), "\n")
	ticks := slices.DeleteFunc(slices.Clone(path), func(line string) bool { return !strings.Contains(line, " 0:") })
	require.Len(t, ticks, 4, "a member is upgraded, the operator aborts, and it goes back:\n%s", strings.Join(path, "\n"))
	require.Contains(t, ticks[1]+ticks[2], "the operator aborts")
	require.Contains(t, ticks[3], "aborted")
	require.Equal(t, "a member ran the version, and the rollout was aborted", path[len(path)-1])
}

// A node is a state of the small world between two ticks, and how it was reached. One
// that was left behind forgets what it was: a path is lived through again.
type node struct {
	azure  *azure
	state  State
	used   map[string]bool // what has gone wrong
	parent *node
	by     *disturbance // nil: a tick in which nothing goes wrong
	depth  int
}

type explorer struct {
	plan    Plan
	root    *node
	queue   []*node
	known   map[uint64]bool
	seed    maphash.Seed
	ticks   int
	deepest int
	whole   bool
	ends    map[Phase]int
	forbid  func(*node) string // one more rule: what it says of a node breaks it
}

func newExplorer(img image) *explorer {
	a := newAzure(map[string]int{"a": 2, "b": 1})
	a.Image, a.Upgrade, a.Boot, a.Turns = img, time.Minute, 0, 5*time.Minute
	for _, s := range a.Sets {
		s.Max = len(s.Members) + 1
	}
	waves := []Wave{
		{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Minute},
		{Name: "all", Sets: []string{"a", "b"}, Soak: time.Minute},
	}
	p := planned(a, waves, func(p *Plan) {
		p.Limits = Limits{
			ObserveEvery: time.Minute, HealthyWithin: 2 * time.Minute, HealthyFor: time.Minute, Stuck: 5 * time.Minute,
			Pause: 6 * time.Minute, Approval: 6 * time.Minute, Retry: time.Minute, Settle: 2 * time.Minute, Drained: 4 * time.Minute, AutoOS: 6 * time.Minute,
		}
		for name, s := range p.Sets {
			s.MaxUnhealthy, s.Batch = 100, 100
			p.Sets[name] = s
		}
	})
	begin := Begin(p, a.Now)
	var s State
	s.Apply(&p, &begin)
	root := func() *node { return &node{azure: a.clone(), state: s.Clone(), used: map[string]bool{}} }
	return &explorer{
		plan: p, known: make(map[uint64]bool), seed: maphash.MakeSeed(), ends: make(map[Phase]int), whole: true,
		root: root(), queue: []*node{root()},
	}
}

// explore returns the shortest path to a broken rule, if there is one.
func (e *explorer) explore(until time.Time) string {
	for len(e.queue) > 0 {
		if !until.IsZero() && time.Now().After(until) {
			e.whole = false
			return ""
		}
		n := e.queue[0]
		e.queue = e.queue[1:]
		if broken := e.leave(n); broken != "" {
			return broken
		}
		n.azure, n.state = nil, State{}
	}
	return ""
}

// leave goes every way that leads on from a node.
func (e *explorer) leave(n *node) string {
	entries, actions, broken := e.step(n, nil)
	if broken != "" || len(n.used) >= *disturbances {
		return broken
	}
	for _, d := range e.disturb(n, entries, actions) {
		if n.used[d.kind] {
			continue
		}
		if _, _, broken := e.step(n, &d); broken != "" {
			return broken
		}
	}
	return ""
}

// A disturbance is one thing that goes wrong in a tick.
type disturbance struct {
	kind, text string
	before     func(a *azure) // the tick
	request    *Request
	crashAt    int
	action     int // that meets a fate
	fate       fate
}

// disturb lists what can go wrong in a tick that would make so many entries and actions.
func (e *explorer) disturb(n *node, entries int, actions []Verb) []disturbance {
	var list []disturbance
	for _, set := range sorted(n.azure.Sets) {
		for _, name := range sorted(n.azure.Sets[set].Members) {
			m := n.azure.Sets[set].Members[name]
			list = append(list, disturbance{kind: "eviction", text: name + " is evicted", before: func(a *azure) { a.gone(a.Sets[set], name, Evicted) }})
			if h, _ := n.azure.health(m); !n.azure.Sets[set].Suspended && (m.Version == oldVersion || h != "Healthy") {
				list = append(list, disturbance{kind: "repair", text: name + " is repaired", before: func(a *azure) { a.repair(a.Sets[set], name) }})
			}
		}
		list = append(list, disturbance{kind: "birth", text: set + " is scaled out", before: func(a *azure) { a.scaleOut(a.Sets[set]) }})
	}
	if _, released := n.azure.Version.Released[home]; !released && n.state.Phase.forward() {
		list = append(list, disturbance{kind: "release", text: "another tool makes the version the latest", before: func(a *azure) { a.Version.Released[home] = true }})
	}
	if n.state.Phase.forward() || n.state.Phase == Incomplete {
		list = append(list, disturbance{kind: "operator", text: "the operator aborts", request: &Request{ID: "1", Do: Abort}})
	}
	for i := 1; i <= entries; i++ {
		list = append(list, disturbance{kind: "crash", text: fmt.Sprintf("crash at entry %d", i), crashAt: i})
	}
	for i, verb := range actions {
		fates := []fate{lostBefore}
		if !verb.reads() { // before and after are the same for what changes nothing
			fates = append(fates, lostAfter)
			list = append(list, disturbance{kind: "crash", text: fmt.Sprintf("crash behind %s", verb), action: i + 1, fate: crashAfter})
		}
		if verb == PatchModel || verb == ManualUpgrade {
			fates = append(fates, lostLate)
		}
		for _, f := range fates {
			list = append(list, disturbance{kind: "lost answer", text: fmt.Sprintf("%s is %s", verb, f), action: i + 1, fate: f})
		}
	}
	return list
}

// step lives through one tick from a node, and keeps where it leads to, if that is new.
func (e *explorer) step(n *node, d *disturbance) (entries int, actions []Verb, broken string) {
	e.ticks++
	next, r, actions := e.tick(n, d)
	for _, l := range r.state.Left {
		if l.Why == tooLong && r.state.Phase == Incomplete {
			r.breaks(haltsReturn, "%s was left on the version, and could be taken back", l.Member)
		}
	}
	wrong := r.check()
	if e.forbid != nil && e.forbid(next) != "" {
		wrong = append(wrong, e.forbid(next))
	}
	if len(wrong) > 0 {
		return 0, nil, e.path(next) + strings.Join(wrong, "\n")
	}
	over := r.state.Phase.Over() && len(r.last.Actions) == 0 && len(r.state.Ops) == 0 && len(r.state.Drains) == 0
	for _, s := range next.azure.Sets {
		over = over && s.Late == nil // what is still on its way must not undo the end
	}
	next.azure.advance(time.Minute)
	key := maphash.String(e.seed, e.key(next))
	if e.known[key] {
		return r.entries, actions, ""
	}
	e.known[key] = true
	e.deepest = max(e.deepest, next.depth)
	const far = 200
	switch {
	case over:
		e.ends[r.state.Phase]++
	case next.depth > far:
		return 0, nil, e.path(next) + "it does not end"
	default:
		e.queue = append(e.queue, next)
	}
	return r.entries, actions, ""
}

// tick lives through one tick from a node.
func (e *explorer) tick(n *node, d *disturbance) (next *node, r *rig, actions []Verb) {
	next = &node{azure: n.azure.clone(), state: n.state.Clone(), used: n.used, parent: n, by: d, depth: n.depth + 1}
	r = &rig{plan: e.plan, state: next.state, azure: next.azure, lean: true, brief: true}
	r.watch.theirs = make(map[string]bool)
	if d != nil {
		next.used = maps.Clone(n.used)
		next.used[d.kind] = true
		r.crashAt = d.crashAt
		if d.before != nil {
			d.before(next.azure)
		}
		if d.request != nil {
			r.requests = []Request{*d.request}
		}
	}
	r.fates = func(i int, a *Action) fate {
		actions = append(actions, a.Do)
		if d != nil && i == d.action {
			return d.fate
		}
		return fine
	}
	r.tick()
	next.state = r.state
	return next, r, actions
}

// key is what tells nodes apart: not how often something was done on the way, nor the
// words for people. Every name below says why it decides nothing from here on.
func (e *explorer) key(n *node) string {
	a, s := n.azure.clone(), n.state.Clone()
	for _, set := range a.Sets {
		if late := set.Late; late != nil { // it takes effect if nobody wrote since
			set.Late = &Action{Do: late.Do, Members: late.Members, Version: late.Version, IfMatch: strconv.FormatBool(late.IfMatch == strconv.Itoa(set.ETag))}
		}
		set.ETag = 0 // a PATCH always carries the one that was just read
	}
	s.Op, s.Epoch = 0, 0 // the next tick reads after everything that was done
	for t, last := range s.Last {
		last.Epoch, last.Text = 1, ""
		s.Last[t] = last
	}
	ops := make(map[int]Op)
	for i, op := range sortedOps(s.Ops) { // only their order counts
		op.Action.Op, op.Action.IfMatch = i, ""
		ops[i] = op
	}
	s.Ops = ops
	s.Why, s.Unpaid = "", nil // for people
	for key, m := range s.Runs {
		last := m.Runs[len(m.Runs)-1] // who ever ran the version is in azure.Ran
		last.Why, last.Ended = "", ""
		m.Runs = []Run{last}
		s.Runs[key] = m
	}
	return canonical(a, a.Now) + canonical(s, a.Now) + canonical(n.used, a.Now)
}

func sortedOps(ops map[int]Op) []Op {
	var list []Op
	for _, n := range slices.Sorted(maps.Keys(ops)) {
		list = append(list, ops[n])
	}
	return list
}

// path tells how a node was reached, by living through it again.
func (e *explorer) path(n *node) string {
	var ways []*disturbance
	for ; n.parent != nil; n = n.parent {
		ways = append(ways, n.by)
	}
	slices.Reverse(ways)
	var b strings.Builder
	at := &node{azure: e.root.azure.clone(), state: e.root.state.Clone(), used: e.root.used}
	for i, d := range ways {
		next, r, _ := e.tick(at, d)
		label := "nothing goes wrong"
		if d != nil {
			label = d.text
		}
		fmt.Fprintf(&b, "%3d %-32s %s", i, label, next.state.Phase)
		for w, wave := range next.state.Waves {
			fmt.Fprintf(&b, " %d:%s", w, wave.Step)
		}
		for _, name := range sorted(next.azure.Sets) {
			set := next.azure.Sets[name]
			fmt.Fprintf(&b, "  %s@%s", name, set.Model)
			for _, key := range sorted(set.Members) {
				fmt.Fprintf(&b, " %s=%s", strings.TrimPrefix(key, name+"_"), set.Members[key].Version)
			}
		}
		b.WriteString("\n")
		for _, ev := range r.journal {
			if ev.Kind == Ended {
				fmt.Fprintf(&b, "      %s %s %v %s: %s\n", ev.Action.Do, ev.Action.Set, ev.Action.Members, ev.Action.Version, ev.Result.Outcome)
			}
		}
		next.azure.advance(time.Minute)
		at = next
	}
	return b.String()
}
