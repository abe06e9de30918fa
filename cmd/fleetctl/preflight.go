package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// explainAll is what --explain takes for the list of all traps.
const explainAll = "all"

func newPreflightCommand(g *globals) *cobra.Command {
	var offline bool
	var template, explain string
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "look for the mistakes that others made before",
		Long: `Look for traps: settings that Azure refuses, that switch a safety off, or that
do something else than they seem to. Each finding names the resource, the values
that were seen, and what to do.

With a file, the scale sets that it declares are looked at, and what Azure has
of them; --offline looks at the file alone. With a resource group, everything in
it is looked at. With --template, the JSON file of an image template is, and
nothing else: a template for deployments, or the resource alone.

Exit codes: 0 no error was found, though there may be warnings and notes,
3 an error was found, 1 the command failed, 2 wrong usage, 4 not authorised,
130 interrupted.`,
		Example: `  fleetctl preflight
  fleetctl preflight --offline -f fleet.yaml
  fleetctl preflight -g rg-pay-prod -o json
  fleetctl preflight --template aib-ubuntu-app.json
  fleetctl preflight --explain health-without-json
  fleetctl preflight --explain all`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			switch {
			case given("explain"):
				return g.explainTrap(cmd, explain)
			case given("template") && (g.resourceGroup != "" || given("file")):
				return usage.Error(cmd, errors.New("--template looks at that file alone: it excludes --file and --resource-group"))
			case given("template"):
				return g.preflightTemplate(template)
			case offline && g.resourceGroup != "":
				return usage.Error(cmd, errors.New("--offline looks at a file, and --resource-group at Azure: they exclude each other"))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.preflight(ctx, offline)
		},
	}
	g.scopeFlags(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "look at the file alone, without asking Azure")
	cmd.Flags().StringVar(&template, "template", "", "look at the image templates in this JSON `FILE`")
	cmd.Flags().StringVar(&explain, "explain", "", "explain the `TRAP` of this id or number; or all")
	return cmd
}

// preflight looks, prints what it finds, and refuses when there is an error.
func (g *globals) preflight(ctx context.Context, offline bool) error {
	evidence, err := g.evidence(ctx, offline)
	if err != nil {
		return err
	}
	return g.found(evidence)
}

// preflightTemplate is preflight of the file of an image template.
func (g *globals) preflightTemplate(path string) error {
	source, err := readRegular(path, fleet.MaxTemplateFile)
	if err != nil {
		return err
	}
	if source.Size > fleet.MaxTemplateFile {
		return fmt.Errorf("%s has more than 4 MB, which is the most that Azure takes as a template", path)
	}
	file, err := fleet.ReadTemplate(path, source.Data)
	if err != nil {
		return cli.Hint(err, "name a JSON file: a template for deployments, or an image template alone")
	}
	return g.found(fleet.Evidence{Now: g.now(), Template: file})
}

// found prints what is found in the evidence, and refuses when there is an error.
func (g *globals) found(evidence fleet.Evidence) (err error) {
	view := newPreflightView(evidence)
	if g.json() {
		err = g.out.JSON(view)
	} else {
		err = g.print(g.preflightPage(&view))
	}
	if err != nil {
		return err
	}
	if view.Errors > 0 {
		return cli.Exit(exitRefused)
	}
	return nil
}

// evidence reads what traps are looked for in.
func (g *globals) evidence(ctx context.Context, offline bool) (fleet.Evidence, error) {
	e := fleet.Evidence{Now: g.now()}
	var err error
	if offline {
		e.Spec, err = g.load()
	} else {
		var read fleet.Fleet
		read, e.Spec, err = g.look(ctx, azure.Scope{
			Members: true, Upgrades: true, History: true, Autoscale: true, Images: true, Templates: true, Providers: true,
		})
		e.Live = &read
	}
	if err != nil || e.Spec == nil {
		return e, err
	}
	e.Files, err = readSources(e.Spec)
	return e, err
}

// A preflightView is what was found, and how much was looked for.
type preflightView struct {
	Version   int             `json:"version"`
	LookedIn  fleet.Looks     `json:"looked_in"` // file, live, both or template
	Errors    int             `json:"errors"`
	Warnings  int             `json:"warnings"`
	Notes     int             `json:"notes"`
	Findings  []fleet.Finding `json:"findings"`
	NotLooked []int           `json:"not_looked_for"` // numbers of traps that this evidence does not show
}

func newPreflightView(e fleet.Evidence) preflightView {
	view := preflightView{Version: 1, LookedIn: e.LooksIn(), Findings: fleet.Preflight(e), NotLooked: []int{}}
	if view.Findings == nil {
		view.Findings = []fleet.Finding{}
	}
	for _, f := range view.Findings {
		switch f.Severity {
		case fleet.SeverityError:
			view.Errors++
		case fleet.SeverityWarning:
			view.Warnings++
		case fleet.SeverityNote:
			view.Notes++
		}
	}
	for _, t := range fleet.Traps() {
		if !t.SeenIn(view.LookedIn) {
			view.NotLooked = append(view.NotLooked, t.Number)
		}
	}
	return view
}

// findingLines are shown of what was seen, and of what to do.
const findingLines = 8

func (g *globals) preflightPage(view *preflightView) *page {
	p := g.newPage(g.now())
	mark, text := view.verdict()
	p.Flow(p.leading(0, mark), 2, painted(mark.Color, text), dim("looked at "+view.LookedIn.Text()))
	var last fleet.Resource
	for _, f := range view.Findings {
		if f.Resource != last {
			p.Blank()
			p.Flow(cli.Cell{}, 0, painted(cli.Bold, f.Resource.Name), dim(f.Resource.Kind), dim(f.Resource.ID.ResourceGroup()))
			last = f.Resource
		}
		p.finding(&f)
	}
	p.Blank()
	for _, line := range view.remarks() {
		p.Text(0, cli.Dim, line, findingLines)
	}
	return p
}

// verdict is the first line.
func (v *preflightView) verdict() (cli.Mark, string) {
	counts := strings.Join([]string{cli.Plural(v.Errors, "error"), cli.Plural(v.Warnings, "warning"), cli.Plural(v.Notes, "note")}, ", ")
	switch {
	case v.Errors > 0:
		return markBad, counts
	case v.Warnings > 0:
		return markWarning, counts
	case v.Notes > 0:
		return markNote, counts
	}
	return markGood, "no trap is armed"
}

// remarks are what to know about the findings, and about what was not looked for.
func (v *preflightView) remarks() []string {
	var lines []string
	switch {
	case v.Errors > 0:
		lines = append(lines, fmt.Sprintf("An error was found: the exit code is %d.", exitRefused))
	case v.Warnings+v.Notes > 0:
		lines = append(lines, "No error was found: the exit code is 0.")
	}
	if len(v.Findings) > 0 {
		lines = append(lines, fmt.Sprintf("fleetctl preflight --explain %d says more about a trap.", v.Findings[0].Trap))
	}
	total := len(fleet.Traps())
	return append(lines, fmt.Sprintf("%d of %d traps were looked for: the others do not show in %s (--explain all).",
		total-len(v.NotLooked), total, v.LookedIn.Text()))
}

// finding adds one finding: what it is, what was seen, where in the file, what to do.
func (p *page) finding(f *fleet.Finding) {
	mark := severityMark(f.Severity)
	lead := p.leading(0, mark)
	p.Flow(lead, 2, painted(mark.Color, string(f.Severity)+" "+strconv.Itoa(f.Trap)+": "+f.Title))
	p.Text(4, cli.Plain, f.Seen, findingLines)
	if f.Key != "" || f.Place != "" {
		p.Text(4, cli.Dim, "at "+strings.Trim(f.Place+" "+f.Key, " "), findingLines)
	}
	p.Text(4, cli.Cyan, "fix: "+f.Fix, findingLines)
}

func severityMark(s fleet.Severity) cli.Mark {
	switch s {
	case fleet.SeverityError:
		return markBad
	case fleet.SeverityWarning:
		return markWarning
	case fleet.SeverityNote:
	}
	return markNote
}

// A trapView is a trap of the table, for programs.
type trapView struct {
	Number      int            `json:"number"`
	ID          string         `json:"id"`
	Title       string         `json:"title"`
	Severity    fleet.Severity `json:"severity"`
	LooksIn     fleet.Looks    `json:"looks_in"`
	InTemplate  bool           `json:"looks_in_template"`
	Seen        bool           `json:"seen"`
	Unseen      string         `json:"unseen,omitempty"`
	Condition   string         `json:"condition"`
	Consequence string         `json:"consequence"`
	Fix         string         `json:"fix"`
	Source      string         `json:"source"`
}

func newTrapView(t *fleet.Trap) trapView {
	return trapView{
		Number: t.Number, ID: t.ID, Title: t.Title, Severity: t.Severity, LooksIn: t.Looks, InTemplate: t.InTemplate || t.Looks == fleet.LooksTemplate, Seen: t.Seen(), Unseen: t.Unseen,
		Condition: t.Condition, Consequence: t.Consequence, Fix: t.Fix, Source: t.Source,
	}
}

// explainTrap prints the entry of a trap, or the list of all.
func (g *globals) explainTrap(cmd *cobra.Command, name string) error {
	traps := fleet.Traps()
	if name != explainAll {
		t, found := fleet.FindTrap(name)
		if !found {
			return unknownTrap(cmd, name)
		}
		traps = []fleet.Trap{t}
	}
	if g.json() {
		views := make([]trapView, len(traps))
		for i := range traps {
			views[i] = newTrapView(&traps[i])
		}
		return g.out.JSON(map[string]any{"version": 1, "traps": views})
	}
	if name != explainAll {
		return g.print(g.trapPage(&traps[0]))
	}
	return g.print(g.trapsPage(traps))
}

func unknownTrap(cmd *cobra.Command, name string) error {
	var ids []string
	for _, t := range fleet.Traps() {
		ids = append(ids, t.ID)
	}
	err := usage.Error(cmd, fmt.Errorf("there is no trap %q", name))
	if e, ok := errors.AsType[*cli.Error](err); ok {
		e.Hint = "fleetctl preflight --explain all lists them"
		if near := graph.Nearest(name, ids); near != "" {
			e.Hint = "did you mean " + near + "?"
		}
	}
	return err
}

// trapLines are shown of each part of an entry.
const trapLines = 12

func (g *globals) trapPage(t *fleet.Trap) *page {
	p := g.newPage(g.now())
	p.Flow(cli.Cell{}, 0, painted(cli.Bold, t.ID), dim("trap "+strconv.Itoa(t.Number)), painted(severityMark(t.Severity).Color, string(t.Severity)))
	p.Text(0, cli.Plain, t.Title, trapLines)
	p.Blank()
	table := &cli.Table{Wrap: trapLines}
	for _, row := range [][2]string{
		{"armed when", t.Condition},
		{"then", t.Consequence},
		{"fix", t.Fix},
		{"source", t.Source},
		{"looked for in", cmp.Or(prefixed("nothing: ", t.Unseen), t.LooksText())},
	} {
		table.Add(dim(row[0]), plain(row[1]))
	}
	p.Table(table)
	return p
}

// prefixed is text with what stands before it, or nothing.
func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func (g *globals) trapsPage(traps []fleet.Trap) *page {
	p := g.newPage(g.now())
	table := &cli.Table{Wrap: trapLines}
	table.Add(headings("", "", "ID", "IN", "TRAP")...)
	for _, t := range traps {
		where := string(t.Looks)
		if !t.Seen() {
			where = "-"
		}
		table.Add(severityMark(t.Severity).Cell(p.Style), plain(fmt.Sprintf("%2d", t.Number)), plain(t.ID), dim(where), plain(t.Title))
	}
	p.Table(table)
	return p
}
