package main

import (
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A bakeView is what came of a bake.
type bakeView struct {
	Version int    `json:"version"`
	Outcome string `json:"outcome"` // proven, untested, started or failed
	Image   string `json:"image"`   // of the definition
	// ImageVersion is the number, empty before there is one; ID is the id that a scale
	// set is pinned to.
	ImageVersion string           `json:"image_version"`
	ID           fleet.ResourceID `json:"id,omitempty"`
	Template     string           `json:"template,omitempty"`
	Content      string           `json:"content"`
	Regions      []bakeRegion     `json:"regions"`
	Boot         *bakeBoot        `json:"boot,omitempty"` // nil: no boot test was made by any call
	Failure      *fleet.BakeError `json:"failure,omitempty"`
	// Causes are the places of the file that made it fail, as far as they are known.
	Causes []fleet.Place `json:"causes,omitempty"`
}

type bakeRegion struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Replicas int    `json:"replicas"`
}

// A bakeBoot is what is known of the boot test.
type bakeBoot struct {
	// At is when the version passed; empty when it did not.
	At string `json:"at,omitempty"`
	// Seconds are from allocation to the first Healthy, when this call made the test.
	Seconds float64 `json:"seconds,omitempty"`
	*fleet.BootVerdict
}

const bakeFailedOutcome = "failed"

func (g *globals) bakeView(r *bake.Runner) *bakeView {
	v := &bakeView{
		Version: fleet.ViewVersion, Image: r.Spec.Gallery.Image.Name, ImageVersion: r.Version(),
		Content: r.Content.Hash, Regions: []bakeRegion{},
	}
	if v.ImageVersion != "" {
		v.ID, v.Template = r.VersionID(), r.Spec.TemplateName(v.ImageVersion)
	}
	return v
}

// bakeDone prints what was made.
func (g *globals) bakeDone(r *bake.Runner, result *bake.Result) error {
	v := g.bakeView(r)
	v.Outcome = string(result.Outcome)
	if image := result.Image; image != nil {
		for _, region := range image.Regions {
			v.Regions = append(v.Regions, bakeRegion{region.Name, region.State, region.Replicas})
		}
		at := image.Tags[fleet.TagBooted]
		if at != "" || result.Verdict != nil {
			v.Boot = &bakeBoot{At: at, BootVerdict: result.Verdict}
		}
	}
	if result.Verdict != nil {
		v.Boot.Seconds = result.Verdict.BootTime.Seconds()
	}
	if g.json() {
		return g.out.JSON(v)
	}
	return g.print(g.bakePage(v))
}

// bakePage is a bake that went well.
func (g *globals) bakePage(v *bakeView) *page {
	p := g.newPage(g.now())
	name := v.Image + " " + v.ImageVersion
	switch bake.Outcome(v.Outcome) {
	case bake.Proven:
		p.Flow(p.leading(0, markGood), 2, painted(cli.BoldGreen, name+" is proven"), plain(bootText(v.Boot)))
	case bake.Untested:
		p.Flow(p.leading(0, markWarning), 2, painted(cli.BoldAmber, name+" is complete, and was not booted"))
	default:
		p.Flow(p.leading(0, markNote), 2, painted(cli.Bold, "the build of "+name+" runs in Azure"), plain("fleetctl bake goes on with it"))
		return p
	}
	p.Raw("  " + cli.Clean(string(v.ID))) // one line, to be copied
	table := &cli.Table{Indent: 2, Wrap: 4}
	table.Add(dim("regions"), plain(viewRegions(v.Regions)))
	table.Add(dim("content"), plain(v.Content))
	if without := v.Boot.without(); without != "" {
		table.Add(dim("without"), plain(without))
	}
	p.Table(table)
	next := "fleetctl promote " + v.ImageVersion + " makes it available"
	if v.Boot == nil {
		next = "fleetctl bake makes its boot test, where the file has one"
	}
	p.Text(2, cli.Plain, "It is excluded from latest; "+next+".", 2)
	return p
}

// without names what the booted instance did not have of those that it was like.
func (b *bakeBoot) without() string {
	if b == nil || b.BootVerdict == nil {
		return ""
	}
	var names []string
	for _, o := range b.Omitted {
		names = append(names, o.Property)
	}
	return strings.Join(names, ", ")
}

func viewRegions(regions []bakeRegion) string {
	var parts []string
	for _, r := range regions {
		parts = append(parts, fmt.Sprintf("%s %s (%s)", r.Name, r.State, cli.Plural(r.Replicas, "replica")))
	}
	return strings.Join(parts, ", ")
}

// bootText says what the boot test has shown.
func bootText(b *bakeBoot) string {
	switch {
	case b == nil:
		return ""
	case b.BootVerdict != nil:
		return b.Reason
	}
	return "it passed its boot test at " + b.At
}

// bakeFailed prints a failure as one screen on standard error, and returns the code to
// exit with.
func (g *globals) bakeFailed(r *bake.Runner, f *fleet.BakeError) error {
	if g.json() {
		v := g.bakeView(r)
		v.Outcome, v.Failure, v.Causes = bakeFailedOutcome, f, g.bakeCauses(f)
		if r.Verdict() != nil {
			v.Boot = &bakeBoot{BootVerdict: r.Verdict(), Seconds: r.Verdict().BootTime.Seconds()}
		}
		if err := g.out.JSON(v); err != nil {
			return err
		}
	}
	columns, _ := g.out.Size()
	p := &page{Page: cli.Page{Style: g.out.ErrStyle, Width: columns}, now: g.now()}
	p.bakeFailure(r.Spec, f)
	p.places(2, g.bakeCauses(f)) // what to do stands above them
	if _, err := p.WriteTo(g.out.Err); err != nil {
		return err
	}
	if f.OfImage() {
		return cli.Exit(exitRefused)
	}
	return cli.Exit(cli.ExitError)
}

// saidLines are shown of Azure's words.
const saidLines = 10

// bakeFailure adds a failure: what failed, what was said, the last lines of the
// customizer, where the log is, and what to do.
func (p *page) bakeFailure(spec *fleet.Spec, f *fleet.BakeError) {
	mark, color := markBad, cli.BoldRed
	if f.Kind == fleet.FailInconclusive {
		mark, color = markUnknown, cli.BoldAmber
	}
	name := spec.Gallery.Image.Name
	if f.Version != "" {
		name += " " + f.Version
	}
	p.Flow(p.leading(0, mark), 2, painted(color, name), painted(color, f.Headline()))
	if !f.OfScript() {
		p.section("said", f.Said)
	}
	if len(f.Lines) > 0 {
		p.Blank()
		p.Text(2, cli.Dim, "the last lines:", 1)
		for _, line := range f.Lines {
			p.Text(4, cli.Plain, line, 1)
		}
	}
	if f.LogProblem != "" {
		p.section("log", "it cannot be read: "+f.LogProblem)
	}
	if f.Log != "" {
		p.Blank()
		p.Text(2, cli.Dim, "the whole log:", 1)
		p.Raw("  " + cli.Clean(f.Log)) // one line, to be copied
	}
	p.Blank()
	for _, do := range f.Advice(spec) {
		p.Flow(painted(cli.Cyan, "  do: "), 6, plain(do))
	}
}

// section adds a paragraph with its name before it.
func (p *page) section(name, text string) {
	if text == "" {
		return
	}
	p.Blank()
	p.Text(2, cli.Dim, name+":", 1)
	p.Text(4, cli.Plain, text, saidLines)
}
