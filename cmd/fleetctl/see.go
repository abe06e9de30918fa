package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// A reader reads a fleet. All of it is read, or an error returned: a part of a fleet
// is no fleet.
type reader interface {
	Fleet(ctx context.Context, scope azure.Scope) (fleet.Fleet, error)
}

// look reads what a command wants of the fleet that the flags name, and returns the
// file that declares it if there is one.
func (g *globals) look(ctx context.Context, want azure.Scope) (fleet.Fleet, *fleet.Spec, error) {
	spec, err := g.place(&want)
	if err != nil {
		return fleet.Fleet{}, nil, err
	}
	read, err := g.read(ctx, want)
	return read, spec, err
}

// read reads what a scope asks for.
func (g *globals) read(ctx context.Context, want azure.Scope) (fleet.Fleet, error) {
	r := g.reader
	if r == nil {
		client, err := g.client()
		if err != nil {
			return fleet.Fleet{}, explained(err)
		}
		r = client
	}
	read, err := r.Fleet(ctx, want)
	return read, explained(err)
}

// place adds to a scope where to look: in the resource group of the flags, or at what
// the file declares.
func (g *globals) place(want *azure.Scope) (*fleet.Spec, error) {
	if g.resourceGroup != "" {
		want.Subscription, want.ResourceGroup = g.subscription, g.resourceGroup
		return nil, nil
	}
	spec, err := g.load()
	if err != nil {
		return nil, err
	}
	want.Subscription = spec.Subscription
	for _, name := range slices.Sorted(maps.Keys(spec.ScaleSets)) {
		want.Sets = append(want.Sets, spec.SetID(name))
	}
	if id := spec.GalleryID(); id != "" && want.Images {
		want.GalleryIDs = append(want.GalleryIDs, id)
	}
	return spec, nil
}

// load reads what the file declares.
func (g *globals) load() (*fleet.Spec, error) {
	file, err := g.loadFile()
	if err != nil {
		return nil, err
	}
	return file.Spec, nil
}

// loadFile reads the file. The error of one that is not there says what to do.
func (g *globals) loadFile() (*fleetfile.File, error) {
	if _, err := os.Stat(g.file); errors.Is(err, fs.ErrNotExist) {
		hint := "name a file with --file; fleetctl init writes one"
		if g.fileless {
			hint = "name a file with --file, or look without one: --resource-group RG"
		}
		return nil, &cli.Error{Err: fmt.Errorf("there is no %s", g.file), Hint: hint}
	}
	return g.readFile()
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
