package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// An applyResult is what an apply did, and what is left.
type applyResult struct {
	foundation apply.Result
	sets       apply.SetResult
	wrote      bool  // there was something to do
	stopped    error // that ended it before its end
}

// counts are how many resources and scale sets were created and changed, and how many
// members were brought to their model. A set that was created is not counted as changed.
func (a *applyResult) counts() (created, changed, brought int) {
	created, changed = a.foundation.Count(fleet.ActionCreate), a.foundation.Count(fleet.ActionUpdate)
	known := make(map[string]bool)
	for i := range a.sets.Written {
		w := &a.sets.Written[i]
		brought += len(w.Members)
		switch {
		case w.Step.Kind == fleet.StepMembers || known[w.Set]:
			continue
		case w.Step.Kind == fleet.StepCreate:
			created++
		default:
			changed++
		}
		known[w.Set] = true
	}
	return created, changed, brought
}

func (a *applyResult) String() string {
	created, changed, brought := a.counts()
	text := fmt.Sprintf("%d created, %d changed", created, changed)
	if brought > 0 {
		text += ", " + cli.Plural(brought, "member") + " brought to the model"
	}
	return text
}

// writtenView is a step of a scale set that was made, for programs.
type writtenView struct {
	ScaleSet   string         `json:"scale_set"`
	Step       fleet.StepKind `json:"step"`
	Members    []string       `json:"members,omitempty"`
	Overridden string         `json:"overridden,omitempty"`
}

// failedView is what an error stopped, for programs: a scale set, or what a bake needs.
type failedView struct {
	ScaleSet string        `json:"scale_set,omitempty"`
	Error    string        `json:"error"`
	Code     string        `json:"code,omitempty"`   // Azure's
	Causes   []fleet.Place `json:"causes,omitempty"` // in the file
}

func (g *globals) failedView(set string, err error) failedView {
	v := failedView{ScaleSet: set, Error: err.Error()}
	if refusal, ok := g.refusalOf(set, err); ok {
		v.Code, v.Causes = refusal.Code, causePlaces(causesOf(g.declared, &refusal))
	}
	return v
}

// applied tells how an apply has ended. When there was nothing to do for it, the plan has
// said it all.
func (d *declaration) applied(did *applyResult, o ownFlags, exitCode bool) error {
	left := newPlanView(d.spec, did.foundation.Left, did.sets.Left, o)
	var err error
	switch {
	case d.g.json():
		err = d.g.out.JSON(d.resultView(did, left))
	case did.wrote:
		err = d.g.print(d.g.appliedPage(&left, did))
	}
	switch {
	case err != nil:
		return err
	case len(did.sets.Failed) > 0:
		return d.g.failure(&did.sets)
	case left.Counts.Blocked > 0:
		return blockage(left.ScaleSets)
	case exitCode && left.unfinished():
		return cli.Exit(exitChanges)
	}
	return nil
}

// resultView is what an apply did, and what is left, for programs.
func (d *declaration) resultView(did *applyResult, left planView) any {
	created, updated, brought := did.counts()
	written, failed := []writtenView{}, []failedView{}
	for i := range did.sets.Written {
		w := &did.sets.Written[i]
		written = append(written, writtenView{ScaleSet: w.Set, Step: w.Step.Kind, Members: w.Members, Overridden: w.Step.Override})
	}
	if did.stopped != nil {
		failed = append(failed, d.g.failedView("", did.stopped))
	}
	for i := range did.sets.Failed {
		failed = append(failed, d.g.failedView(did.sets.Failed[i].Set, did.sets.Failed[i].Err))
	}
	return struct {
		Version int           `json:"version"`
		Created int           `json:"created"`
		Updated int           `json:"updated"`
		Brought int           `json:"members_brought"`
		Written []writtenView `json:"written"`
		Failed  []failedView  `json:"failed"`
		Left    planView      `json:"left"`
	}{1, created, updated, brought, written, failed, left}
}

// appliedPage is what was done and what is left.
func (g *globals) appliedPage(left *planView, did *applyResult) *page {
	p := g.newPage(g.now())
	p.Raw("")
	mark, text := markGood, did.String()
	if len(did.foundation.Written)+len(did.sets.Written) == 0 {
		text = "nothing was written"
		if slices.ContainsFunc(did.sets.Failed, func(e apply.SetError) bool {
			return errors.Is(e.Err, apply.ErrInDoubt) || errors.Is(e.Err, apply.ErrGoesOn)
		}) {
			text = "nothing is known to be written"
		}
	}
	if n := left.Counts.left(); n > 0 {
		mark, text = markUnknown, fmt.Sprintf("%s, %d left", text, n)
	}
	p.Flow(p.leading(0, mark), 2, painted(mark.Color, text))
	for i := range left.Changes {
		if left.Changes[i].Action != fleet.ActionNone {
			p.change(&left.Changes[i])
		}
	}
	for i := range left.ScaleSets {
		if left.ScaleSets[i].Action != setNone {
			p.set(&left.ScaleSets[i])
		}
	}
	p.commands(left.Changes)
	if slices.ContainsFunc(did.foundation.Written, func(c fleet.Change) bool { return c.Scope != "" }) {
		p.Text(0, cli.Dim, "A role takes some minutes until it counts: fleetctl bake waits for it.", planLines)
	}
	return p
}

// failure is what stopped scale sets, with the lines of the file that cause it, and with the
// exit code and the hint of the first. One that waited for evidence as long as it is worth is
// refused by the gate.
func (g *globals) failure(r *apply.SetResult) error {
	var lines []string
	for i := range r.Failed {
		lines = append(lines, g.placed(&r.Failed[i]).Error())
	}
	first := &r.Failed[0]
	then := "fleetctl apply goes on from here"
	if errors.Is(first.Err, apply.ErrChanged) {
		then = "run fleetctl apply again, and look at the plan"
	}
	text := strings.Join(lines, "\n  ")
	if len(lines) > 1 {
		text = cli.Plural(len(lines), "scale set") + " could not be brought to what the file says:\n  " + text
	}
	err := retold(g.placed(explained(first.Err)), errors.New(text), then)
	if e, ok := errors.AsType[*cli.Error](err); ok && e.Code == 0 && lacksEvidence(r.Left, first.Set) {
		e.Code, e.Hint = exitRefused, blockHints[fleet.StopEvidence]
	}
	return err
}

// lacksEvidence says whether a scale set waits behind the gate.
func lacksEvidence(plans []fleet.SetPlan, name string) bool {
	return slices.ContainsFunc(plans, func(p fleet.SetPlan) bool {
		next := p.Next()
		return p.Name == name && next != nil && next.State == fleet.StepWaits && next.Cause == fleet.StopEvidence
	})
}

// blockHints say what can be done about what blocks a scale set.
var blockHints = map[fleet.StopCause]string{
	fleet.StopEvidence: "look with: fleetctl status; who knows better says --without-evidence",
	fleet.StopAlong:    "fleetctl rollout brings an image to members; --with-image does it without waves",
	fleet.StopRollout:  "fleetctl rollout status shows it; fleetctl rollout abort ends it and takes its version back",
	fleet.StopFile:     "say in the file what is missing",
	fleet.StopImage:    "fleetctl images shows which versions there are, and where",
}

// blockage refuses, when all else is done, what is blocked until somebody does something.
func blockage(sets []setView) error {
	var lines []string
	hint := ""
	for i := range sets {
		for _, step := range sets[i].Steps {
			if sets[i].Action == setBlocked && step.State == fleet.StepBlocked {
				lines = append(lines, sets[i].Name+": "+step.Why)
				if hint == "" && step.Step != fleet.StepAutoscale { // which says itself what to do
					hint = blockHints[step.Cause]
				}
				break
			}
		}
	}
	text := strings.Join(lines, "\n  ")
	if len(lines) > 1 {
		text = cli.Plural(len(lines), "scale set") + " are blocked:\n  " + text
	}
	return &cli.Error{Code: exitRefused, Err: errors.New(text), Hint: hint}
}
