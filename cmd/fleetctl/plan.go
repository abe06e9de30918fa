package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

func newPlanCommand(g *globals) *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "show what apply would do",
		Long: `Show what apply would do so that Azure has what a bake needs: the resource
group, the identity that Image Builder works as, its role and where it is
assigned, the gallery and the image definition. Nothing is written.

Each resource has a line that begins with what would happen to it:
  +  it is made
  ~  it is changed, as the lines below say
  =  nothing: it is what the file says, or is not needed
  !  refused: it differs in what cannot be changed
  ?  it is not ours, or you may not write it: the commands for whoever may
     stand at the end

Only what the file declares is compared: tags and properties of others stay.
Scale sets are not in the plan of this version.

Exit codes: 0 planned, 8 with --exit-code when Azure is not what the file says,
1 error, 2 wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl plan
  fleetctl plan --exit-code
  fleetctl plan -o json | jq '.changes[].request.body'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			f, err := g.foundation(ctx)
			if err != nil {
				return err
			}
			view := newPlanView(f.spec, fleet.PlanFoundation(f.spec, f.live, false))
			if g.json() {
				err = g.out.JSON(view)
			} else {
				err = g.print(g.planPage(&view))
			}
			if err == nil && exitCode && view.unfinished() {
				err = cli.Exit(exitChanges)
			}
			return err
		},
	}
	exitCodeFlag(cmd, &exitCode)
	return cmd
}

func exitCodeFlag(cmd *cobra.Command, exitCode *bool) {
	cmd.Flags().BoolVar(exitCode, "exit-code", false, fmt.Sprintf("exit with %d when Azure is not what the file says", exitChanges))
}

// A foundation is what a file says of what a bake needs, and what there is of it.
type foundation struct {
	spec   *fleet.Spec
	client *azure.Client
	live   *fleet.Live
}

// foundation reads the file and what there is.
func (g *globals) foundation(ctx context.Context) (foundation, error) {
	var f foundation
	var err error
	if f.spec, err = g.load(); err != nil {
		return f, err
	}
	if f.client, err = g.client(); err != nil {
		return f, explained(err)
	}
	f.live, err = apply.Read(ctx, f.client, f.spec)
	return f, explained(err)
}

// A planView is a plan, for people and for programs.
type planView struct {
	Version int          `json:"version"`
	Name    string       `json:"name"`
	Changes []changeView `json:"changes"`
	Counts  planCounts   `json:"counts"`
	Notes   []string     `json:"notes"`
	// ScaleSets are those of the file, which are not in the plan.
	ScaleSets int `json:"scale_sets_not_planned"`
}

type planCounts struct {
	Create  int `json:"create"`
	Update  int `json:"update"`
	None    int `json:"none"`
	Refused int `json:"refused"`
	Unknown int `json:"unknown"`
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

func newPlanView(spec *fleet.Spec, plan fleet.FoundationPlan) planView {
	view := planView{Version: 1, Name: spec.Name, Changes: []changeView{}, Notes: append([]string{}, plan.Notes...), ScaleSets: len(spec.ScaleSets)}
	for i := range plan.Changes {
		c := &plan.Changes[i]
		one := changeView{Action: c.Action, Kind: c.Kind, Name: c.Name, ID: c.ID, Properties: c.Properties, Note: c.Note, Commands: c.Commands}
		if w := c.Write; w != nil {
			one.Request = &requestView{Method: w.Method, ID: w.ID, Action: w.Action, APIVersion: fleet.APIVersion(w.ID), Body: w.Body}
		}
		view.Changes = append(view.Changes, one)
		switch c.Action {
		case fleet.ActionCreate:
			view.Counts.Create++
		case fleet.ActionUpdate:
			view.Counts.Update++
		case fleet.ActionNone:
			view.Counts.None++
		case fleet.ActionRefused:
			view.Counts.Refused++
		case fleet.ActionUnknown:
			view.Counts.Unknown++
		}
	}
	return view
}

// sameAs says whether two changes are the same to whoever reads the plan. Their requests
// may differ in what others have set.
func (c changeView) sameAs(other changeView) bool {
	c.Request, other.Request = nil, nil
	return reflect.DeepEqual(c, other)
}

// unfinished says whether Azure is not what the file says.
func (v *planView) unfinished() bool { return v.Counts.None < len(v.Changes) }

// writes says whether apply would write something.
func (v *planView) writes() bool {
	return v.Counts.Refused == 0 && v.Counts.Create+v.Counts.Update > 0
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
	p.commands(view.Changes)
	p.notes(view.Notes)
	if view.ScaleSets > 0 {
		p.Blank()
		p.Text(0, cli.Dim, scaleSetsLine, planLines)
	}
	return p
}

const scaleSetsLine = "Scale sets are not written by this version; see fleetctl status."

// summary counts what would happen.
func (v *planView) summary() string {
	if !v.unfinished() {
		return "nothing to do: all is what the file says"
	}
	var parts []string
	for _, one := range []struct {
		n    int
		text string
	}{
		{v.Counts.Create, "to create"},
		{v.Counts.Update, "to change"},
		{v.Counts.Refused, "refused"},
		{v.Counts.Unknown, "not for apply"},
		{v.Counts.None, "as they should be"},
	} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.text))
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
	lead := p.leading(0, mark)
	color := cli.Plain
	if c.Action == fleet.ActionNone {
		color = cli.Dim
	}
	kind := c.Kind + strings.Repeat(" ", max(kindWidth-len(c.Kind), 1))
	first := p.Style.Paint(lead.Color, lead.Text) + p.Style.Paint(cli.Dim, kind)
	indent := 2 + len(kind)
	for _, line := range cli.Wrap(cli.Clean(c.Name), max(p.Width-indent, 1), planLines, p.Style) {
		p.Raw(first + p.Style.Paint(color, line))
		first = strings.Repeat(" ", indent)
	}
	for _, one := range c.Properties {
		text := fmt.Sprintf("%s: %s %s %s", one.Path, valueText(one.Is), p.Style.Glyph("→", "->"), valueText(one.Want))
		p.Text(4, cli.Plain, text, planLines)
		if one.Note != "" {
			p.Text(6, mark.Color, one.Note, planLines)
		}
	}
	if c.Note != "" {
		p.Text(4, cli.Dim, c.Note, planLines)
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
