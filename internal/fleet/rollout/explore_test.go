package rollout

import (
	"flag"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	disturbances = flag.Int("disturbances", 2, "how many things go wrong in a life of the small world")
	exploreFor   = flag.Duration("explore-for", 15*time.Second, "how long the small world is explored for each image")
)

// TestEveryState explores the small world to its end: two waves over three members, a
// good and a bad image, and at every tick each thing that can go wrong, as often and in
// every order as -disturbances allows: an eviction, a repair, a birth, an answer that is
// lost before or after its effect, a crash at each entry of the journal. Breadth first,
// so that a broken rule comes with a shortest path to it.
func TestEveryState(t *testing.T) {
	for _, img := range []image{good, neverWell} {
		t.Run(string(img), func(t *testing.T) {
			e := newExplorer(img)
			found := e.explore(time.Now().Add(*exploreFor))
			t.Logf("%s image, at most %d things go wrong: %d states, %d ticks, deepest %d, ends %v", img, *disturbances, len(e.known), e.ticks, e.deepest, e.ends)
			require.Empty(t, found)
			require.True(t, e.whole, "not all states were reached in %s: give -explore-for", *exploreFor)
			require.NotEmpty(t, e.ends)
		})
	}
}

// A node is a state of the small world between two ticks.
type node struct {
	azure  *azure
	state  State
	used   map[string]bool // what has gone wrong
	parent *node
	label  string
	depth  int
}

type explorer struct {
	plan    Plan
	queue   []*node
	known   map[uint64]bool
	seed    maphash.Seed
	ticks   int
	deepest int
	whole   bool
	ends    map[Phase]int
}

func newExplorer(img image) *explorer {
	a := newAzure(map[string]int{"a": 2, "b": 1})
	a.Image, a.Upgrade, a.Boot = img, time.Minute, 0
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
			Pause: 6 * time.Minute, Approval: 6 * time.Minute, Retry: time.Minute, Settle: time.Minute, Drained: 4 * time.Minute, AutoOS: 6 * time.Minute,
		}
		for name, s := range p.Sets {
			s.MaxUnhealthy, s.Batch = 100, 100
			p.Sets[name] = s
		}
	})
	begin := Begin(p, a.Now)
	var s State
	s.Apply(&p, &begin)
	return &explorer{
		plan: p, known: make(map[uint64]bool), seed: maphash.MakeSeed(), ends: make(map[Phase]int), whole: true,
		queue: []*node{{azure: a, state: s, used: map[string]bool{}, label: "begin"}},
	}
}

// explore returns the shortest path to a broken rule, if there is one.
func (e *explorer) explore(until time.Time) string {
	for len(e.queue) > 0 {
		if time.Now().After(until) {
			e.whole = false
			return ""
		}
		n := e.queue[0]
		e.queue = e.queue[1:]
		entries, actions, broken := e.step(n, "", nil)
		if broken != "" {
			return broken
		}
		if len(n.used) >= *disturbances {
			continue
		}
		for _, d := range e.disturb(n, entries, actions) {
			if n.used[d.kind] {
				continue
			}
			if _, _, broken := e.step(n, d.kind, &d); broken != "" {
				return broken
			}
		}
	}
	return ""
}

// A disturbance is one thing that goes wrong in a tick.
type disturbance struct {
	kind, text string
	before     func(a *azure) // the tick
	crashAt    int
	action     int // that meets a fate
	fate       fate
}

// disturb lists what can go wrong in a tick that would make so many entries and actions.
func (e *explorer) disturb(n *node, entries, actions int) []disturbance {
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
	for i := 1; i <= entries; i++ {
		list = append(list, disturbance{kind: "crash", text: fmt.Sprintf("crash at entry %d", i), crashAt: i})
	}
	for i := 1; i <= actions; i++ {
		for _, f := range []fate{lostBefore, lostAfter} {
			list = append(list, disturbance{kind: "lost answer", text: fmt.Sprintf("action %d: %s", i, f), action: i, fate: f})
		}
		list = append(list, disturbance{kind: "crash", text: fmt.Sprintf("action %d: %s", i, crashAfter), action: i, fate: crashAfter})
	}
	return list
}

// step lives through one tick from a node, and keeps where it leads to, if that is new.
func (e *explorer) step(n *node, kind string, d *disturbance) (entries, actions int, broken string) {
	e.ticks++
	next := &node{azure: n.azure.clone(), state: n.state.clone(), used: n.used, parent: n, depth: n.depth + 1, label: "tick"}
	r := &rig{plan: e.plan, state: next.state, azure: next.azure, lean: true}
	if d != nil {
		next.label = d.text
		next.used = map[string]bool{kind: true}
		for k := range n.used {
			next.used[k] = true
		}
		if d.before != nil {
			d.before(next.azure)
		}
		r.crashAt = d.crashAt
	}
	r.fates = func(i int, _ *Action) fate {
		actions = max(actions, i)
		if d != nil && i == d.action {
			return d.fate
		}
		return fine
	}
	r.tick()
	if wrong := r.check(); len(wrong) > 0 {
		return 0, 0, e.path(next, r.state) + strings.Join(wrong, "\n")
	}
	next.state = r.state
	over := r.state.Phase.Over() && len(r.last.Actions) == 0 && len(r.state.Ops) == 0 && len(r.state.Drains) == 0
	next.azure.advance(time.Minute)
	key := maphash.String(e.seed, e.key(next))
	if !e.known[key] {
		e.known[key] = true
		e.deepest = max(e.deepest, next.depth)
		if over {
			e.ends[r.state.Phase]++
		} else {
			e.queue = append(e.queue, next)
		}
		if next.depth > 400 {
			return 0, 0, e.path(next, r.state) + "it does not end"
		}
	}
	return r.entries, actions, ""
}

// key is what tells nodes apart: not how often something was done on the way, nor the
// words for people. Every name below says why it decides nothing from here on.
func (e *explorer) key(n *node) string {
	a, s := n.azure.clone(), n.state.clone()
	for _, set := range a.Sets {
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
		m.Runs = m.Runs[len(m.Runs)-1:] // whether it runs the version now; who ever did is in azure.Ran
		m.Runs = []Run{{To: m.Runs[0].To, Unseen: m.Runs[0].Unseen}}
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

// path is how a node was reached.
func (e *explorer) path(n *node, s State) string {
	var steps []string
	for ; n != nil; n = n.parent {
		var line strings.Builder
		fmt.Fprintf(&line, "%3d %-28s %s", n.depth, n.label, n.state.Phase)
		for i, w := range n.state.Waves {
			fmt.Fprintf(&line, " %d:%s", i, w.Step)
		}
		for _, name := range sorted(n.azure.Sets) {
			set := n.azure.Sets[name]
			fmt.Fprintf(&line, "  %s@%s", name, set.Model)
			for _, key := range sorted(set.Members) {
				fmt.Fprintf(&line, " %s=%s", strings.TrimPrefix(key, name+"_"), set.Members[key].Version)
			}
		}
		steps = append(steps, line.String())
	}
	slices.Reverse(steps)
	return strings.Join(steps, "\n") + fmt.Sprintf("\n%s %s\n", s.Phase, s.Why)
}
