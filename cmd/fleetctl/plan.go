package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

func newPlanCommand(g *globals) *cobra.Command {
	var exitCode bool
	var o ownFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "show what apply would do",
		Long: `Show what apply would do so that Azure is what the file says: first what a bake
needs (the resource group, the identity that Image Builder works as, its role
and where it is assigned, the gallery and the image definition), then the scale
sets. Nothing is written.

Each resource has a line that begins with what would happen to it:
  +  it is made
  ~  it is changed, as the lines below say
  =  nothing: it is what the file says, is not needed, or is somebody else's
  !  refused, because it differs in what cannot be changed; or blocked, until
     somebody does something
  ?  it waits; or it is not ours, or you may not write it: the commands for
     whoever may stand at the end

A scale set has a line for each step, in the order in which they are made:
create, extension (the health extension), model (what needs no evidence),
members (which are brought to the model, in batches by name), policy (repairs,
and who upgrades) and autoscale. Before the policy stands a gate: every running
member is on the latest model and reports Healthy; no member is no evidence.

Only what the file declares is compared: tags and properties of others stay, and
the image of a scale set that is there belongs to rollouts. What create says
counts for a new scale set alone; what differs of one that is there is told.

Exit codes: 0 planned, 8 with --exit-code when Azure is not what the file says,
1 error, 2 wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl plan
  fleetctl plan --image 1.8.0
  fleetctl plan -o json | jq '.scale_sets[].steps[].request.body'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			d, err := g.declaration()
			if err != nil {
				return err
			}
			p, err := d.plan(ctx, o)
			if err != nil {
				return err
			}
			if g.json() {
				err = g.out.JSON(p.view)
			} else {
				shown := g.planPage(&p.view)
				shown.ignores(p.view.ScaleSets)
				err = g.print(shown)
			}
			if err == nil && exitCode && p.view.unfinished() {
				err = cli.Exit(exitChanges)
			}
			return err
		},
	}
	o.flags(cmd)
	exitCodeFlag(cmd, &exitCode)
	return cmd
}

func exitCodeFlag(cmd *cobra.Command, exitCode *bool) {
	cmd.Flags().BoolVar(exitCode, "exit-code", false, fmt.Sprintf("exit with %d when Azure is not what the file says", exitChanges))
}

// ownFlags are what a plan goes by beside the file.
type ownFlags struct {
	image                      string
	withImage, withoutEvidence bool
	register                   bool // resource providers; of apply alone
}

func (o *ownFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.image, "image", "", "the `VERSION` that new scale sets begin with, if\nit is not the newest promoted one")
	flags.BoolVar(&o.withImage, "with-image", false, "bring members to the model whose disk is of another\nversion than it asks for: no waves, and no way back")
	flags.BoolVar(&o.withoutEvidence, "without-evidence", false, "let Azure upgrade and repair members that are not\nknown to be Healthy on the latest model")
}

// check refuses an image that is none.
func (o *ownFlags) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("image") && !fleet.IsVersion(o.image) {
		return usage.Error(cmd, fmt.Errorf("%q is not the number of an image version, which is like 1.8.3", o.image))
	}
	return nil
}

// A declaration is a file, and the Azure that it is about.
type declaration struct {
	g      *globals
	file   *fleetfile.File
	spec   *fleet.Spec // of file
	client *azure.Client
}

func (g *globals) declaration() (*declaration, error) {
	file, err := g.loadFile()
	if err != nil {
		return nil, err
	}
	client, err := g.client()
	if err != nil {
		return nil, explained(err)
	}
	return &declaration{g: g, file: file, spec: file.Spec, client: client}, nil
}

// A planned is a plan with what it was made from.
type planned struct {
	live       *fleet.Live
	foundation fleet.FoundationPlan
	sets       *apply.Sets
	plans      []fleet.SetPlan // of sets
	view       planView
}

// plan reads all that the file is about, and plans.
func (d *declaration) plan(ctx context.Context, o ownFlags) (*planned, error) {
	var p planned
	var err error
	if p.live, err = apply.Read(ctx, d.client, d.spec); err != nil {
		return nil, explained(err)
	}
	p.foundation = fleet.PlanFoundation(d.spec, p.live, o.register)
	hold, note := d.g.holdToShow(ctx, d.spec)
	keys, unread := readSSHKeys(d.spec)
	options := &fleet.OwnOptions{Image: o.image, SSHKeys: keys, WithImage: o.withImage, WithoutEvidence: o.withoutEvidence}
	if p.sets, err = apply.ReadSets(ctx, d.client, d.spec, options, func(name string) string { return d.holds(hold, name) }); err != nil {
		return nil, explained(err)
	}
	p.plans = p.sets.Plans(d.spec)
	p.view = newPlanView(d.spec, p.foundation, p.plans, o)
	p.view.noteKeys(unread)
	d.places(&p.view)
	d.writers(ctx, &p.view)
	if note != "" && hold == nil {
		p.view.Notes = append(p.view.Notes, note)
	}
	return &p, nil
}

// beyond says whether a plan has something that another does not.
func (p *planned) beyond(shown *planned) bool {
	if !slices.EqualFunc(p.view.Changes, shown.view.Changes, changeView.sameAs) {
		return true
	}
	for i := range p.plans { // of the same names
		if p.plans[i].Beyond(&shown.plans[i]) != "" {
			return true
		}
	}
	return false
}

// holds says which rollout holds a scale set; empty: none does.
func (d *declaration) holds(h *fleet.Hold, name string) string {
	if !h.Holds(d.spec.SetID(name)) {
		return ""
	}
	return h.String()
}

// A planView is a plan, for people and for programs.
type planView struct {
	Version   int          `json:"version"`
	Name      string       `json:"name"`
	Changes   []changeView `json:"changes"`
	ScaleSets []setView    `json:"scale_sets"`
	Counts    planCounts   `json:"counts"`
	Notes     []string     `json:"notes"`
}

// planCounts counts resources and scale sets, but for those sets that somebody else owns.
type planCounts struct {
	Create  int `json:"create"`
	Update  int `json:"update"`
	None    int `json:"none"`
	Refused int `json:"refused"`
	Unknown int `json:"unknown"`
	Waits   int `json:"waits"`
	Blocked int `json:"blocked"`
}

type changeView struct {
	Action     fleet.Action           `json:"action"`
	Kind       string                 `json:"kind"`
	Name       string                 `json:"name"`
	ID         fleet.ResourceID       `json:"id"`
	Properties []fleet.PropertyChange `json:"properties,omitempty"`
	Note       string                 `json:"note,omitempty"`
	Commands   []string               `json:"commands,omitempty"`
	Request    *requestView           `json:"request,omitempty"`
}

// A requestView is the request that a change is made with.
type requestView struct {
	Method     string           `json:"method"`
	ID         fleet.ResourceID `json:"id"`
	Action     string           `json:"action,omitempty"`
	APIVersion string           `json:"api_version"`
	Body       fleet.Document   `json:"body,omitempty"`
}

func newPlanView(spec *fleet.Spec, foundation fleet.FoundationPlan, sets []fleet.SetPlan, o ownFlags) planView {
	view := planView{Version: 1, Name: spec.Name, Changes: []changeView{}, ScaleSets: []setView{}, Notes: append([]string{}, foundation.Notes...)}
	for i := range foundation.Changes {
		c := &foundation.Changes[i]
		view.Changes = append(view.Changes, changeView{
			Action: c.Action, Kind: c.Kind, Name: c.Name, ID: c.ID, Properties: c.Properties, Note: c.Note, Commands: c.Commands, Request: newRequestView(c.Write),
		})
		view.Counts.add(string(c.Action))
	}
	for i := range sets {
		one := newSetView(spec, &sets[i], o.image != "")
		view.ScaleSets = append(view.ScaleSets, one)
		if one.Manage == fleet.ManageFull {
			view.Counts.add(string(one.Action))
		}
	}
	return view
}

// newRequestView shows a write, without its secrets; nil: there is none.
func newRequestView(w *fleet.Write) *requestView {
	if w == nil {
		return nil
	}
	return &requestView{Method: w.Method, ID: w.ID, Action: w.Action, APIVersion: fleet.APIVersion(w.ID), Body: fleet.Redacted(w.Body)}
}

// counted are the counts by action, in the order in which they are told.
func (n *planCounts) counted() []planCount {
	return []planCount{
		{&n.Create, string(fleet.ActionCreate), "to create"},
		{&n.Update, string(fleet.ActionUpdate), "to change"},
		{&n.Waits, string(setWaits), "waiting"},
		{&n.Blocked, string(setBlocked), "blocked"},
		{&n.Refused, string(fleet.ActionRefused), "refused"},
		{&n.Unknown, string(fleet.ActionUnknown), "not for apply"},
		{&n.None, string(fleet.ActionNone), "as they should be"},
	}
}

type planCount struct {
	n            *int
	action, text string
}

func (n *planCounts) add(action string) {
	for _, c := range n.counted() {
		if c.action == action {
			*c.n++
		}
	}
}

// sameAs says whether two changes are the same to whoever reads the plan. Their requests
// may differ in what others have set.
func (c changeView) sameAs(other changeView) bool {
	c.Request, other.Request = nil, nil
	return reflect.DeepEqual(c, other)
}

// left counts what is not what the file says.
func (n *planCounts) left() int {
	return n.Create + n.Update + n.Waits + n.Blocked + n.Refused + n.Unknown
}

// unfinished says whether Azure is not what the file says.
func (v *planView) unfinished() bool { return v.Counts.left() > 0 }

// writes says whether apply would write something, or wait for what it then goes on with.
func (v *planView) writes() bool {
	return v.Counts.Refused == 0 && (v.writesFoundation() || v.writesSets())
}

func (v *planView) writesFoundation() bool {
	return slices.ContainsFunc(v.Changes, func(c changeView) bool { return c.Action == fleet.ActionCreate || c.Action == fleet.ActionUpdate })
}

func (v *planView) writesSets() bool {
	return slices.ContainsFunc(v.ScaleSets, func(s setView) bool { return s.next })
}

// The marks of a plan are the same in every alphabet: they are what diff has.
var actionMarks = map[fleet.Action]cli.Mark{
	fleet.ActionCreate:  {Unicode: "+", ASCII: "+", Color: cli.BoldGreen},
	fleet.ActionUpdate:  {Unicode: "~", ASCII: "~", Color: cli.BoldAmber},
	fleet.ActionNone:    {Unicode: "=", ASCII: "=", Color: cli.Dim},
	fleet.ActionRefused: {Unicode: "!", ASCII: "!", Color: cli.BoldRed},
	fleet.ActionUnknown: {Unicode: "?", ASCII: "?", Color: cli.BoldAmber},
}

// planLines are shown of each text of a plan.
const planLines = 8

func (g *globals) planPage(view *planView) *page {
	p := g.newPage(g.now())
	p.Flow(cli.Cell{}, 0, painted(cli.Bold, view.Name), plain(view.summary()))
	p.Blank()
	for i := range view.Changes {
		p.change(&view.Changes[i])
	}
	for i := range view.ScaleSets {
		p.set(&view.ScaleSets[i])
	}
	p.commands(view.Changes)
	p.notes(view.Notes)
	return p
}

// summary counts what would happen.
func (v *planView) summary() string {
	if !v.unfinished() {
		return "nothing to do: all is what the file says"
	}
	var parts []string
	for _, one := range v.Counts.counted() {
		if *one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", *one.n, one.text))
		}
	}
	return strings.Join(parts, ", ")
}

// kindWidth is the width of the column of kinds, the longest of which is "resource
// provider".
const kindWidth = 17

// change adds a resource: what happens to it, why, and each property that differs.
func (p *page) change(c *changeView) {
	mark := actionMarks[c.Action]
	p.resource(mark, c.Action == fleet.ActionNone, c.Kind, c.Name)
	for i := range c.Properties {
		p.property(4, mark.Color, &c.Properties[i], c.Properties[i].Path)
	}
	if c.Note != "" {
		p.Text(4, cli.Dim, c.Note, planLines)
	}
}

// resource adds the line of a resource that a plan is about.
func (p *page) resource(mark cli.Mark, quiet bool, kind, name string) {
	lead := p.leading(0, mark)
	color := cli.Plain
	if quiet {
		color = cli.Dim
	}
	kind += strings.Repeat(" ", max(kindWidth-len(kind), 1))
	p.hang(p.Style.Paint(lead.Color, lead.Text)+p.Style.Paint(cli.Dim, kind), 2+len(kind), color, name)
}

// hang adds a text behind a lead of so many characters; its other lines begin below it.
func (p *page) hang(lead string, indent int, color cli.Color, text string) {
	for _, line := range cli.Wrap(cli.Clean(text), max(p.Width-indent, 1), planLines, p.Style) {
		p.Raw(lead + p.Style.Paint(color, line))
		lead = strings.Repeat(" ", indent)
	}
}

// property adds a property that differs, under a path as it is shown.
func (p *page) property(indent int, color cli.Color, one *fleet.PropertyChange, path string) {
	text := fmt.Sprintf("%s: %s %s %s", path, valueText(one.Is), p.Style.Glyph("→", "->"), valueText(one.Want))
	p.Text(indent, cli.Plain, text, planLines)
	if one.Note != "" {
		p.Text(indent+2, color, one.Note, planLines)
	}
}

// valueText is a value of a property as JSON has it; what is not there is "nothing".
func valueText(v any) string {
	if v == nil {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// commands adds what somebody else has to do, in lines that can be copied: they are
// not broken.
func (p *page) commands(changes []changeView) {
	first := true
	for i := range changes {
		for _, command := range changes[i].Commands {
			if first {
				p.Blank()
				p.Text(0, cli.Bold, "For whoever may, in this order:", planLines)
				first = false
			}
			p.Raw(cli.Clean(command))
		}
	}
}
