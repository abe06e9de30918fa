package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// A reader reads a fleet. All of it is read, or an error returned: a part of a fleet
// is no fleet.
type reader interface {
	Fleet(ctx context.Context, s scope) (fleet.Fleet, error)
}

// scope is what is read.
type scope struct {
	subscription, group string
}

// look reads the fleet that the flags name, and the file that declares it if there is
// one.
func (g *globals) look(ctx context.Context) (fleet.Fleet, *fleet.Spec, error) {
	f, err := g.reader.Fleet(ctx, scope{g.subscription, g.resourceGroup})
	return f, g.spec, err
}

// only leaves the named scale sets of a fleet, or all without names. One that does
// not exist is an error that says which is meant.
func only(f fleet.Fleet, names []string) (fleet.Fleet, error) {
	if len(names) == 0 {
		return f, nil
	}
	known := make([]string, 0, len(f.Sets))
	for i := range f.Sets {
		known = append(known, f.Sets[i].Model.ID.Name())
	}
	for _, name := range names {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
			return f, unknownSet(name, known)
		}
	}
	f.Sets = slices.DeleteFunc(slices.Clone(f.Sets), func(s fleet.Set) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, s.Model.ID.Name()) })
	})
	return f, nil
}

func unknownSet(name string, known []string) error {
	err := fmt.Errorf("there is no scale set %q", name)
	switch near := graph.Nearest(name, known); {
	case near != "":
		return cli.Hint(err, "did you mean %s?", near)
	case len(known) == 0:
		return cli.Hint(err, "there is none at all where this looks")
	default:
		slices.Sort(known)
		return cli.Hint(err, "there are %s", andMore(known, 5))
	}
}

// andMore joins the first few names and counts the rest.
func andMore(names []string, few int) string {
	if more := len(names) - few; more > 0 {
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
