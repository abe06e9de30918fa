package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// placed adds to what Azure refused the lines of the file that cause it. Errors that were
// joined are looked at one by one.
func (g *globals) placed(err error) error {
	if g.declared == nil {
		return err
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // only the outermost layer is a list
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, g.placed(one))
		}
		return errors.Join(all...)
	}
	set := ""
	if of, ok := errors.AsType[*apply.SetError](err); ok {
		set = of.Set
	}
	refusal, ok := g.refusalOf(set, err)
	if !ok {
		return err
	}
	causes := causesOf(g.declared, &refusal)
	if len(causes) == 0 {
		return err
	}
	e := &cli.Error{Err: err}
	if known, ok := errors.AsType[*cli.Error](err); ok {
		*e = *known
	}
	if said, ok := errors.AsType[*azure.Error](err); ok { // of Azure's hint and the causes, these tell more
		e.Hint = strings.TrimPrefix(strings.TrimPrefix(e.Hint, said.Hint), "; ")
	}
	e.Err = &placedError{e.Err, causes}
	return e
}

// refusalOf is what Azure refused of a scale set of the file; an empty name: of whatever the
// id says. An autoscale setting may have any name: it is known by the set.
func (g *globals) refusalOf(set string, err error) (fleet.Refusal, bool) {
	refusal, ok := azure.RefusalOf(err)
	if ok && set != "" && strings.EqualFold(refusal.ID.Type(), fleet.AutoscaleID("").Type()) {
		refusal.ID = fleet.AutoscaleID(g.declared.Spec.SetID(set))
	}
	return refusal, ok
}

// A placedError is an error of Azure with its causes in the file, one a line.
type placedError struct {
	error

	causes strict.Errors
}

func (e *placedError) Error() string { return e.error.Error() + "\n" + e.causes.Error() }

func (e *placedError) Unwrap() error { return e.error }

// causesOf are the places of the file that make Azure refuse something. What is not
// written is caused where it would be.
func causesOf(f *fleetfile.File, r *fleet.Refusal) strict.Errors {
	e, ok := fleet.Explain(f.Spec, r)
	if !ok {
		return nil
	}
	keys := e.Keys[:1]
	var given []string
	for _, key := range e.Keys {
		if f.Given(key) {
			given = append(given, key)
		}
	}
	if len(given) > 0 {
		keys = given
	}
	var causes strict.Errors
	for _, key := range keys {
		p := f.Place(key)
		message := e.Do
		if len(causes) > 0 {
			message = "with the line above"
		}
		causes = append(causes, &strict.Error{File: f.Path, Line: p.Line, Column: p.Column, Field: p.Field, Message: message})
	}
	return causes
}

// bakeCauses are the places of the file that make a bake fail, as far as they are known.
func (g *globals) bakeCauses(f *fleet.BakeError) []fleet.Place {
	if g.declared == nil || f.OfImage() || f.OfScript() {
		return nil
	}
	return causePlaces(causesOf(g.declared, &fleet.Refusal{ID: g.declared.Spec.TemplateID(f.Version), Message: f.Said}))
}

// rolloutCauses are the places of the file that make Azure stop a rollout, or hold it up, as
// far as they are known. Azure's words are at the end of why it stands still.
func (g *globals) rolloutCauses(v *rollout.View) []fleet.Place {
	said, set := cmp.Or(v.Paused, v.Why), ""
	for i := range v.Sets {
		if name := v.Sets[i].Name; len(name) > len(set) && strings.Contains(said, name) {
			set = name
		}
	}
	if g.declared == nil || g.declared.Spec.ScaleSets[set].Manage != fleet.ManageFull { // what others own, the file does not cause
		return nil
	}
	for more := true; more; _, said, more = strings.Cut(said, ": ") {
		if causes := causesOf(g.declared, &fleet.Refusal{ID: g.declared.Spec.SetID(set), Message: said}); len(causes) > 0 {
			return causePlaces(causes)
		}
	}
	return nil
}

// places adds places of the file, each in a line of its own to be copied.
func (p *page) places(indent int, places []fleet.Place) {
	for _, at := range places {
		p.Raw(strings.Repeat(" ", indent) + cli.Clean(fmt.Sprintf("at: %s:%d:%d %s", at.File, at.Line, at.Column, at.Key)))
	}
}

// causePlaces are causes for programs.
func causePlaces(causes strict.Errors) []fleet.Place {
	var places []fleet.Place
	for _, c := range causes {
		places = append(places, fleet.Place{File: c.File, Line: c.Line, Column: c.Column, Key: c.Field, Do: c.Message})
	}
	return places
}
