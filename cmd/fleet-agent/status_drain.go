package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// barWidth is the width of the bar of a running step.
const barWidth = 16

// drain shows the steps of the drain.
func (p *page) drain(s *control.Status) {
	d := s.Drain
	if d == nil {
		return
	}
	resumed, deadline := cli.Cell{}, cli.Cell{}
	if d.Resumed {
		resumed = plain("resumed after a restart of the agent")
	}
	if d.Deadline != nil && d.EndedAt == nil {
		deadline = plain("deadline " + p.clock(*d.Deadline))
	}
	causes := []string{causeText(d.Cause)}
	for _, c := range d.Joined {
		causes = append(causes, causeText(c))
	}
	p.heading("drain", plain(d.Phase+" "+p.drainTime(d)), plain(strings.Join(causes, ", then ")), deadline, resumed)
	p.steps(2, d.Steps)
	if !strings.Contains(s.Reason, d.Error) {
		p.Text(2, cli.Red, d.Error, 4)
	}
}

// drainTime says how long the drain has taken, or took.
func (p *page) drainTime(d *control.Drain) string {
	if d.EndedAt != nil {
		return "after " + cli.Duration(d.EndedAt.Sub(d.StartedAt))
	}
	return "for " + p.age(d.StartedAt)
}

// causeText names a cause in a few words.
func causeText(c control.Cause) string {
	var text string
	switch c.Kind {
	case "scheduled-event":
		return cmp.Or(c.EventType, "scheduled event") // the event itself is told elsewhere
	case "shutdown":
		text = "system shutdown"
	case "operator":
		text = "by " + cmp.Or(c.By, "an operator")
	default:
		text = c.Kind
	}
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	if c.Until != nil {
		text += " until " + c.Until.UTC().Format("15:04:05 MST")
	}
	return text
}

// steps is a table of steps; errors follow the step that they belong to.
func (p *page) steps(indent int, steps []control.Step) {
	table := &cli.Table{Indent: indent}
	for _, st := range steps {
		name := st.Name
		if st.Optional {
			name += " (optional)"
		}
		table.Add(p.stepGlyph(st.Status), plain(name), painted(cli.Dim, st.Kind), plain(stepTime(st)), p.stepNote(st))
	}
	for i, line := range table.Lines(p.Style, max(p.Width, 20)) {
		p.Raw(line)
		p.Text(indent+4, cli.Red, steps[i].Error, 4)
	}
}

func (p *page) stepGlyph(status string) cli.Cell {
	switch status {
	case stepDone:
		return p.glyph(markGood)
	case stepRunning:
		return p.glyph(markRunning)
	case stepFailed, stepTimedOut:
		return p.glyph(markBad)
	case stepPending:
		return p.glyph(markUnknown)
	}
	return p.glyph(markSkipped)
}

// stepTime says how long a step took, takes or may take.
func stepTime(st control.Step) string {
	elapsed, limit := cli.Seconds(st.ElapsedSeconds), cli.Seconds(st.LimitSeconds)
	switch st.Status {
	case stepDone, stepFailed, stepTimedOut, stepRunning:
		if st.LimitSeconds > 0 {
			return elapsed + " of " + limit
		}
		return elapsed
	case stepPending:
		if st.LimitSeconds > 0 {
			return "up to " + limit
		}
	}
	return ""
}

func (p *page) stepNote(st control.Step) cli.Cell {
	switch st.Status {
	case stepDone, stepPending:
		return cli.Cell{}
	case stepRunning:
		if st.LimitSeconds <= 0 {
			return painted(cli.Blue, stepRunning)
		}
		return painted(cli.Blue, p.bar(st.ElapsedSeconds/st.LimitSeconds, barWidth))
	case stepFailed, stepTimedOut:
		return painted(cli.Red, strings.ReplaceAll(st.Status, "-", " "))
	}
	return painted(cli.Dim, st.Status)
}

// bar shows a part of a whole.
func (p *page) bar(part float64, width int) string {
	full := min(max(int(part*float64(width)), 0), width)
	return strings.Repeat(p.Style.Glyph("━", "="), full) + strings.Repeat(p.Style.Glyph("─", "-"), width-full)
}

// events shows the events that name this VM, and counts the others.
func (p *page) events(s *control.Status) {
	mine := slices.DeleteFunc(slices.Clone(s.Events), func(e control.Event) bool { return !e.Mine })
	if len(mine) == 0 {
		return
	}
	p.heading(strings.TrimPrefix(cli.Plural(len(mine), "event"), "1 "))
	for _, e := range mine {
		p.event(e)
	}
}

func (p *page) event(e control.Event) {
	notBefore := cli.Cell{}
	switch {
	case e.NotBefore == nil && e.Status == "Scheduled":
		notBefore = plain("no time given")
	case e.NotBefore != nil:
		notBefore = plain("not before " + p.clockAndRelative(*e.NotBefore))
	}
	action := cli.Cell{}
	if e.Action != "" {
		action = plain("action " + e.Action)
	}
	p.Flow(plain("  "), 4, painted(cli.BoldAmber, e.Type), plain(e.Status), notBefore, action)
	p.Text(4, cli.Dim, e.Reason, 3)
	if e.Ack != "" {
		ack := "ack " + e.Ack
		if e.AckReason != "" {
			ack += ": " + e.AckReason
		}
		p.Text(4, ackColor(e.Ack), ack, 3)
	}
	p.Text(4, cli.Dim, e.Description, 2)
	var shared cli.Cell
	if others := len(e.Resources) - 1; others > 0 {
		shared = painted(cli.Yellow, "names "+cli.Plural(others, "other VM"))
	}
	source := cli.Cell{}
	if e.Source != "" {
		source = painted(cli.Dim, "from "+e.Source)
	}
	p.Flow(plain("    "), 4, painted(cli.Dim, e.ID), source, shared)
}

func ackColor(ack string) cli.Color {
	switch ack {
	case "accepted":
		return cli.Green
	case "failed", "refused":
		return cli.Red
	}
	return cli.Plain
}
