package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parse reads "c: a b; a; b: a" as nodes with their dependencies.
func parse(text string) []Node {
	var nodes []Node
	for part := range strings.SplitSeq(text, ";") {
		name, deps, _ := strings.Cut(part, ":")
		nodes = append(nodes, Node{Name: strings.TrimSpace(name), DependsOn: strings.Fields(deps)})
	}
	return nodes
}

func TestOrder(t *testing.T) {
	for name, tc := range map[string]struct{ graph, order string }{
		"alone":                           {"a", "a"},
		"input order without dependency":  {"c; a; b", "c a b"},
		"input order with dependency":     {"a; b: a; c: b", "a b c"},
		"dependency moves ahead":          {"c: a; b; a", "a c b"},
		"a diamond visits its foot once":  {"top: l r; l: foot; r: foot; foot", "foot l r top"},
		"dependencies in their own order": {"a: c b; b; c", "c b a"},
		"the same dependency twice":       {"a: b b; b", "b a"},
		"two components":                  {"b: a; d: c; a; c", "a b c d"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := parse(tc.graph)
			order, err := Order(nodes)
			require.NoError(t, err)
			var names []string
			for _, i := range order {
				names = append(names, nodes[i].Name)
			}
			require.Equal(t, tc.order, strings.Join(names, " "))
		})
	}
}

func TestOrderOfNothing(t *testing.T) {
	order, err := Order(nil)
	require.NoError(t, err)
	require.Empty(t, order)
	require.Empty(t, Errors(nil))
}

func TestOrderReportsEveryFault(t *testing.T) {
	for name, tc := range map[string]struct {
		graph string
		want  []Error
	}{
		"self": {"a: a", []Error{
			{Kind: Cycle, Node: 0, Dep: 0, Name: "a", Cycle: []string{"a", "a"}},
		}},
		"cycle of three, entered from outside": {"x: a; a: b; b: c; c: a", []Error{
			{Kind: Cycle, Node: 3, Dep: 0, Name: "a", Cycle: []string{"a", "b", "c", "a"}},
		}},
		"two cycles apart": {"a: b; b: a; c: d; d: c", []Error{
			{Kind: Cycle, Node: 1, Dep: 0, Name: "a", Cycle: []string{"a", "b", "a"}},
			{Kind: Cycle, Node: 3, Dep: 0, Name: "c", Cycle: []string{"c", "d", "c"}},
		}},
		"cycles that share a node are one tangle": {"a: b c; b: a; c: a", []Error{
			{Kind: Cycle, Node: 1, Dep: 0, Name: "a", Cycle: []string{"a", "b", "a"}},
		}},
		"unknown, near and far": {"database: dsn; dns: nothing-like-it", []Error{
			{Kind: Unknown, Node: 0, Dep: 0, Name: "dsn", Suggestion: "dns"},
			{Kind: Unknown, Node: 1, Dep: 0, Name: "nothing-like-it"},
		}},
		"duplicates name the first": {"a; b; a; a", []Error{
			{Kind: Duplicate, Node: 2, Dep: -1, Name: "a", First: 0},
			{Kind: Duplicate, Node: 3, Dep: -1, Name: "a", First: 0},
		}},
		"everything at once, in the order of the nodes": {"a: b zzz; b: a; b: yyy", []Error{
			{Kind: Unknown, Node: 0, Dep: 1, Name: "zzz"},
			{Kind: Cycle, Node: 1, Dep: 0, Name: "a", Cycle: []string{"a", "b", "a"}},
			{Kind: Duplicate, Node: 2, Dep: -1, Name: "b", First: 1},
			{Kind: Unknown, Node: 2, Dep: 0, Name: "yyy"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			order, err := Order(parse(tc.graph))
			require.Error(t, err)
			require.Nil(t, order)
			var got []Error
			for _, e := range Errors(err) {
				got = append(got, *e)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestErrorText(t *testing.T) {
	_, err := Order(parse("web: wbe; b: c; c: b; b; hsm: zzz; wbx"))
	require.EqualError(t, err, strings.Join([]string{
		`unknown name "wbe", did you mean "web"?`,
		`dependency cycle: b -> c -> b`,
		`the name "b" is given twice`,
		`unknown name "zzz"`,
	}, "\n"))
}

// A tangle of a thousand nodes that all depend on all others, and a chain of a
// hundred thousand, are ordered without a report as large as their edges.
func TestOrderIsLinear(t *testing.T) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	tangle := make([]Node, len(names))
	for i := range tangle {
		tangle[i] = Node{Name: names[i], DependsOn: append([]string{"unknown"}, names...)}
	}
	_, err := Order(tangle)
	faults := Errors(err)
	require.LessOrEqual(t, len(faults), 2*len(names))
	total := 0
	for _, e := range faults {
		total += len(e.Cycle)
	}
	require.LessOrEqual(t, total, 2*len(names))

	chain := make([]Node, 100_000)
	for i := range chain {
		chain[i] = Node{Name: strconv.Itoa(i), DependsOn: []string{strconv.Itoa(i + 1)}}
	}
	chain[len(chain)-1].DependsOn = nil
	order, err := Order(chain)
	require.NoError(t, err)
	require.Equal(t, len(chain)-1, order[0])
}

func TestNearest(t *testing.T) {
	known := []string{"interval", "timeout", "fail_after", "pass_after", "name", "tls"}
	for name, want := range map[string]string{
		"intervall":   "interval",
		"intreval":    "interval", // swapped
		"Timeout":     "timeout",  // case
		"failafter":   "fail_after",
		"time_out":    "timeout",
		"anme":        "name",
		"tsl":         "tls",
		"t":           "",
		"tl":          "tls",
		"something":   "",
		"":            "",
		"passed_for":  "",
		"x":           "",
		"pass-after":  "pass_after",
		"fail_afters": "fail_after",
	} {
		require.Equal(t, want, Nearest(name, known), name)
	}
	require.Empty(t, Nearest(strings.Repeat("a", 1000), []string{strings.Repeat("a", 1000)}))
}

// FuzzOrder: a graph is either ordered with every node after its dependencies,
// or the error tells at least one true fault.
func FuzzOrder(f *testing.F) {
	f.Add("a; b: a")
	f.Add("a: b; b: a")
	f.Add("a: a; a; : x")
	f.Add("a: b c; b: c d; c: d; d: a z")
	f.Fuzz(func(t *testing.T, text string) {
		nodes := parse(text)
		start := time.Now()
		order, err := Order(nodes)
		require.Less(t, time.Since(start), 10*time.Second, "hangs")

		if err != nil {
			require.Nil(t, order)
			faults := Errors(err)
			require.NotEmpty(t, faults)
			for _, e := range faults {
				requireTrue(t, nodes, e)
			}
			return
		}
		require.Len(t, order, len(nodes))
		place := make(map[string]int, len(nodes))
		for at, i := range order {
			place[nodes[i].Name] = at
		}
		require.Len(t, place, len(nodes), "an index twice, or a duplicate name not reported")
		for _, n := range nodes {
			for _, dep := range n.DependsOn {
				at, ok := place[dep]
				require.True(t, ok, "unknown %q not reported", dep)
				require.Less(t, at, place[n.Name], "%q must follow %q", n.Name, dep)
			}
		}
	})
}

// requireTrue requires that the fault is really in the graph.
func requireTrue(t *testing.T, nodes []Node, e *Error) {
	t.Helper()
	has := func(name string) bool {
		return slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name })
	}
	switch e.Kind {
	case Duplicate:
		require.Less(t, e.First, e.Node)
		require.Equal(t, nodes[e.First].Name, nodes[e.Node].Name)
		require.Equal(t, -1, e.Dep)
	case Unknown:
		require.Equal(t, e.Name, nodes[e.Node].DependsOn[e.Dep])
		require.False(t, has(e.Name))
	case Cycle:
		require.Equal(t, e.Name, nodes[e.Node].DependsOn[e.Dep])
		require.GreaterOrEqual(t, len(e.Cycle), 2)
		require.Equal(t, e.Cycle[0], e.Cycle[len(e.Cycle)-1])
		for i, name := range e.Cycle[1:] {
			require.True(t, slices.ContainsFunc(nodes, func(n Node) bool {
				return n.Name == e.Cycle[i] && slices.Contains(n.DependsOn, name)
			}), "%q does not depend on %q", e.Cycle[i], name)
		}
	}
}
