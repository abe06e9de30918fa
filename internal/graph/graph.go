// Package graph answers: in what order can named things run that depend on each
// other?
//
// Checks depend on checks and steps on steps. Both are written by hand, so the
// package is as much about telling what is wrong (names given twice, names that
// nobody has, cycles) as about the order itself: Order reports everything that
// it finds, with the place of each fault as indices into its input.
//
// The package is pure and starts no goroutines.
package graph

import (
	"errors"
	"strconv"
	"strings"
)

// A Node is one named thing and the names of what it depends on.
type Node struct {
	Name      string
	DependsOn []string
}

// Kind says what is wrong with a graph at one place.
type Kind int

// The kinds of error.
const (
	Duplicate Kind = iota // a node has the name of an earlier node
	Unknown               // a dependency is the name of no node
	Cycle                 // a dependency leads back to the node
)

// An Error is one fault of a graph.
type Error struct {
	Kind Kind
	// Node is the index of the node at fault. For a Duplicate it is the later
	// one, for a Cycle the node whose dependency closes it.
	Node int
	// Dep is the index into the node's DependsOn, or -1 when the fault is the
	// node's own name.
	Dep int
	// Name is the name that was given twice, is unknown, or closes the cycle.
	Name string
	// First is, for a Duplicate, the index of the node that had the name first.
	First int
	// Cycle is, for a Cycle, the way round: it begins and ends with Name, and
	// each name depends on the one that follows it.
	Cycle []string
	// Suggestion is, for an Unknown, the known name that is most like Name;
	// empty when none is near.
	Suggestion string
}

// Error says what is wrong, without the place: the caller knows what its nodes
// are called and where they were written.
func (e *Error) Error() string {
	switch e.Kind {
	case Duplicate:
		return "the name " + strconv.Quote(e.Name) + " is given twice"
	case Unknown:
		if e.Suggestion != "" {
			return "unknown name " + strconv.Quote(e.Name) + ", did you mean " + strconv.Quote(e.Suggestion) + "?"
		}
		return "unknown name " + strconv.Quote(e.Name)
	default:
		return "dependency cycle: " + strings.Join(e.Cycle, " -> ")
	}
}

// maxSuggestions bounds the search for near names, which compares every unknown
// name with every known one.
const maxSuggestions = 100

// Order returns the indices of nodes with dependencies first. It is stable: a
// node is moved ahead of its place in the input only when an earlier node
// depends on it.
//
// The error joins an *Error for every fault, in the order of the nodes. Of
// cycles that share a node only one is reported, so that the report of a
// tangle stays readable; the others show when that one is cut.
func Order(nodes []Node) ([]int, error) {
	s := sorter{
		nodes: nodes,
		index: make(map[string]int, len(nodes)),
		state: make([]state, len(nodes)),
		round: make([]bool, len(nodes)),
		order: make([]int, 0, len(nodes)),
	}
	faults := make([][]error, len(nodes))
	for i, n := range nodes {
		if first, ok := s.index[n.Name]; ok {
			faults[i] = append(faults[i], &Error{Kind: Duplicate, Node: i, Dep: -1, Name: n.Name, First: first})
			continue
		}
		s.index[n.Name] = i
	}

	var names []string // lazily: a good graph needs none
	suggestions := 0
	for i, n := range nodes {
		for d, dep := range n.DependsOn {
			if _, ok := s.index[dep]; ok {
				continue
			}
			e := &Error{Kind: Unknown, Node: i, Dep: d, Name: dep}
			if suggestions++; suggestions <= maxSuggestions {
				if names == nil {
					names = namesOf(nodes)
				}
				e.Suggestion = Nearest(dep, names)
			}
			faults[i] = append(faults[i], e)
		}
	}

	for i := range nodes {
		s.visit(i)
	}
	for _, e := range s.cycles {
		faults[e.Node] = append(faults[e.Node], e)
	}

	var all []error
	for _, f := range faults {
		all = append(all, f...)
	}
	if len(all) > 0 {
		return nil, errors.Join(all...)
	}
	return s.order, nil
}

// Errors returns the faults in an error that Order returned; none for nil.
func Errors(err error) []*Error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var all []*Error
	for _, err := range joined.Unwrap() {
		if e, ok := errors.AsType[*Error](err); ok {
			all = append(all, e)
		}
	}
	return all
}

func namesOf(nodes []Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}

// state is how far the walk has come with a node.
type state uint8

const (
	unseen state = iota
	open         // on the path that is being walked
	done
)

// sorter walks the graph depth first, dependencies before dependents.
type sorter struct {
	nodes  []Node
	index  map[string]int // of the first node with a name
	state  []state
	path   []int  // the open nodes, each a dependency of the one before
	round  []bool // nodes on a cycle that has been reported
	order  []int
	cycles []*Error
}

func (s *sorter) visit(i int) {
	if s.state[i] != unseen {
		return
	}
	s.state[i] = open
	s.path = append(s.path, i)
	for d, name := range s.nodes[i].DependsOn {
		j, ok := s.index[name]
		switch {
		case !ok: // reported as unknown
		case s.state[j] == open:
			s.cycle(i, d, j)
		default:
			s.visit(j)
		}
	}
	s.path = s.path[:len(s.path)-1]
	s.state[i] = done
	s.order = append(s.order, i)
}

// cycle records that dependency d of node i, the last of the path, leads back to
// node j of the path.
func (s *sorter) cycle(i, d, j int) {
	start := len(s.path) - 1
	for s.path[start] != j {
		start--
	}
	for _, n := range s.path[start:] {
		if s.round[n] {
			return
		}
	}
	names := make([]string, 0, len(s.path)-start+1)
	for _, n := range s.path[start:] {
		s.round[n] = true
		names = append(names, s.nodes[n].Name)
	}
	name := s.nodes[j].Name
	s.cycles = append(s.cycles, &Error{Kind: Cycle, Node: i, Dep: d, Name: name, Cycle: append(names, name)})
}
