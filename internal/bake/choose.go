package bake

import (
	"context"
	"errors"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// choose finds the number of the bake: that of an unfinished one, or the next that is
// free, which it reserves. The error is errLeft when somebody else was faster.
func (r *Runner) choose(ctx context.Context) error {
	r.stage, r.made, r.log, r.cleaned = "", nil, nil, false
	s, err := r.survey(ctx)
	if err != nil {
		return err
	}
	c, err := fleet.ChooseBake(s)
	if err != nil {
		return err
	}
	r.tellChoice(c)
	for _, bad := range c.Reject {
		if err := r.reject(ctx, bad.Version, bad.Why); err != nil {
			return err
		}
	}
	if c.Reserve {
		if err := r.reserve(ctx, s, c); err != nil {
			return err
		}
	}
	r.version = c.Version
	if c.Reserve {
		r.at(StageCreating)
	}
	for _, id := range c.Sweep {
		r.note("%s stands for nothing any more, and is deleted", id.Name())
		if err := r.deleteTemplate(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// survey reads the numbers that are taken.
func (r *Runner) survey(ctx context.Context) (*fleet.BakeSurvey, error) {
	definition, err := r.Azure.Resource(ctx, r.Spec.DefinitionID(), "")
	if err != nil {
		return nil, err
	}
	r.set(definition.At)
	if r.call.Started.IsZero() {
		r.call.Started = r.now()
	}
	s := &fleet.BakeSurvey{Spec: r.Spec, Call: r.call}
	templates, err := r.Azure.Resources(ctx, parent(r.Spec.TemplateID("0")), "")
	if err != nil {
		return nil, err
	}
	for _, d := range templates {
		if t := fleet.ReadBakeTemplate(r.Spec, d); t != nil {
			s.Templates = append(s.Templates, *t)
		}
	}
	versions, err := r.Azure.Resources(ctx, r.Spec.DefinitionID()+"/versions", "")
	if err != nil {
		return nil, err
	}
	for _, d := range versions {
		s.Versions = append(s.Versions, fleet.ReadVersion(d))
	}
	s.Now = r.now()
	return s, nil
}

// parent is the id without its last segment.
func parent(id fleet.ResourceID) fleet.ResourceID {
	return id[:max(strings.LastIndexByte(string(id), '/'), 0)]
}

// tellChoice tells what was found beside the number.
func (r *Runner) tellChoice(c *fleet.BakeChoice) {
	for _, l := range c.Left {
		r.tellLeft(l.Version, l.Why)
	}
	if !c.Reserve {
		r.note("going on with the unfinished bake of %s", c.Version)
	}
	for _, version := range c.Other {
		r.note("%s is an unfinished bake of the same content too; a later call goes on with it", version)
	}
}

// tellLeft tells once what is left behind.
func (r *Runner) tellLeft(version, why string) {
	if r.left[version] {
		return
	}
	if r.left == nil {
		r.left = map[string]bool{}
	}
	r.left[version] = true
	r.note("%s is left behind: %s. It may still publish %s, which is never used", r.Spec.TemplateName(version), why, version)
}

// reserve makes the template. That somebody else has it already is a lost race; the
// next survey tells whether it was this call itself, whose answer was lost.
func (r *Runner) reserve(ctx context.Context, s *fleet.BakeSurvey, c *fleet.BakeChoice) error {
	made, err := r.Azure.Send(ctx, c.Reservation(s, r.Content))
	if err == nil {
		r.made = made
		return nil
	}
	if !errors.Is(err, &azure.Error{Kind: azure.Conflict}) {
		return r.refused(c.Version, err)
	}
	read, lookErr := r.Azure.Resource(ctx, r.Spec.TemplateID(c.Version), "")
	switch {
	case errors.Is(lookErr, &azure.Error{Kind: azure.NotFound}):
		return r.refused(c.Version, err) // another conflict: nobody has the number
	case lookErr != nil:
		return lookErr
	}
	if t := fleet.ReadBakeTemplate(r.Spec, read.Body); t == nil || t.Tags[fleet.TagCall] != r.call.ID {
		r.call.Races++
		r.note("%s was taken by another bake at this moment", c.Version)
	}
	return errLeft
}

// refused makes a failure of a refusal of the template. One for want of a sign-in or a
// role of the caller stays what it is.
func (r *Runner) refused(version string, err error) error {
	e, ok := errors.AsType[*azure.Error](err)
	if !ok || e.Kind != azure.Failed && e.Kind != azure.Conflict {
		return err
	}
	return &fleet.BakeError{Kind: fleet.FailTemplate, Version: version, Title: "Image Builder does not take the template", Said: e.Text}
}
