package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// shownNotes are kept below the stages on a terminal.
	shownNotes = 6
	// redrawEvery is how often the times on a terminal move.
	redrawEvery = time.Second
)

// A bakeDisplay shows the progress of a bake on standard error: on a terminal one
// screen that is drawn again, elsewhere a line for each change.
type bakeDisplay struct {
	g      *globals
	spec   *fleet.Spec
	screen *cli.Screen // nil: lines

	began   time.Time
	version string
	stages  []bakeStage
	notes   []string
	regions string // as they were told last
	failed  bool   // the bake ended in its last stage, without a version
}

// A bakeStage is a stage that the bake has come to.
type bakeStage struct {
	name  string
	began time.Time
	// doing is what it is at now, since when.
	doing string
	since time.Time
}

func (g *globals) newBakeDisplay(spec *fleet.Spec, follow bool) *bakeDisplay {
	d := &bakeDisplay{g: g, spec: spec, began: g.now()}
	out := cli.NewOutput(cli.OutputConfig{Out: g.out.Err, Err: g.out.Err, Getenv: g.getenv, NoColor: g.noColor})
	if out.Terminal() && !follow && !g.debug {
		d.screen = &cli.Screen{Output: out}
	}
	return d
}

// take takes an event. What it says is shown at once.
func (d *bakeDisplay) take(e bake.Event) {
	d.version = e.Version
	text := e.Text
	switch e.Kind {
	case bake.Stage:
		if n := len(d.stages); n == 0 || d.stages[n-1].name != e.Text { // once more under another number is the same stage
			d.stages = append(d.stages, bakeStage{name: e.Text, began: e.At})
		}
	case bake.Customizer:
		d.doing(e.At, e.Text)
		text = d.kindOf(e.Text) + e.Text
		if e.Text == "" {
			d.draw()
			return
		}
	case bake.Boot:
		d.doing(e.At, e.Text)
	case bake.Regions:
		if text = regionsText(e.Regions); text == d.regions {
			d.draw()
			return
		}
		d.regions = text
		d.doing(e.At, text)
	case bake.Note:
		if n := len(d.notes); n == 0 || d.notes[n-1] != e.Text {
			d.notes = append(d.notes, e.Text)
		}
		d.notes = d.notes[max(len(d.notes)-shownNotes, 0):]
	case bake.Line:
	}
	if d.screen != nil {
		d.draw()
		return
	}
	if e.Kind == bake.Line {
		d.g.out.Say("  %s", text)
		return
	}
	d.g.out.Say("%s %s", e.At.In(d.g.zone).Format(time.TimeOnly), cli.Clean(strings.TrimSpace(d.name()+": "+text)))
}

// kindOf says what the build runs: a customizer, or a validator, or uploads.
func (d *bakeDisplay) kindOf(name string) string {
	for _, v := range d.spec.Bake.Validate {
		if v.Name == name {
			return "validator "
		}
	}
	for _, c := range d.spec.Bake.Customize {
		if c.Name == name {
			return "customizer "
		}
	}
	return ""
}

// name is what is baked.
func (d *bakeDisplay) name() string {
	if d.version == "" {
		return d.spec.Gallery.Image.Name
	}
	return d.spec.Gallery.Image.Name + " " + d.version
}

func (d *bakeDisplay) doing(at time.Time, text string) {
	if n := len(d.stages); n > 0 {
		d.stages[n-1].doing, d.stages[n-1].since = text, at
	}
}

// regionsText says how far the version is in each region.
func regionsText(regions []fleet.Region) string {
	var parts []string
	for _, r := range regions {
		state := r.State
		switch state {
		case "":
			state = "unknown"
		case fleet.Replicating:
			state = fmt.Sprintf("%d%%", r.Progress)
		}
		parts = append(parts, r.Name+" "+state)
	}
	return strings.Join(parts, ", ")
}

// wait sleeps. The times on a terminal move meanwhile.
func (d *bakeDisplay) wait(ctx context.Context, span time.Duration) error {
	d.draw()
	for d.screen != nil && span > redrawEvery {
		if err := d.g.sleep(ctx, redrawEvery); err != nil {
			return err
		}
		span -= redrawEvery
		d.draw()
	}
	return d.g.sleep(ctx, span)
}

// draw shows the screen, if there is one.
func (d *bakeDisplay) draw() {
	if d.screen == nil {
		return
	}
	_ = d.screen.Show(d.lines(d.g.now())) // when it fails there is nobody to tell
}

// end leaves the screen as it is.
func (d *bakeDisplay) end(failed bool) {
	d.failed = failed
	d.draw()
}

// lines are the screen: each stage with its time, and what the last one is at.
func (d *bakeDisplay) lines(now time.Time) []string {
	columns, _ := d.g.out.Size()
	style := d.g.out.ErrStyle
	p := &page{Page: cli.Page{Style: style, Width: columns}, now: now}
	p.Flow(cli.Cell{}, 0, painted(cli.Bold, "baking "+d.name()), dim(cli.Countdown(now.Sub(d.began))))
	table := &cli.Table{Indent: 2}
	for i, s := range d.stages {
		mark, until, detail := markGood, now, ""
		if i+1 < len(d.stages) {
			until = d.stages[i+1].began
		} else if s.name != bake.StageDone {
			if mark = markRunning; d.failed {
				mark = markBad
			}
			if detail = s.doing; detail != "" {
				detail += ", " + cli.Countdown(now.Sub(s.since))
			}
		}
		took := cli.Countdown(until.Sub(s.began))
		if s.name == bake.StageDone {
			took = ""
		}
		table.Add(mark.Cell(style), plain(s.name), dim(took), dim(detail))
	}
	p.Table(table)
	for _, note := range d.notes {
		p.problem(2, fleet.Problem{Level: fleet.LevelInfo, Text: note})
	}
	return p.Lines()
}

// markRunning is the mark of what is under way.
var markRunning = cli.Mark{Unicode: "▸", ASCII: ">", Color: cli.Blue}
