package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// The words of control.Check.Status, control.Drain.Phase and
// control.Step.Status that the text depends on.
const (
	checkUnknown = "unknown"
	checkPassing = "passing"
	checkFailing = "failing"
	checkBlocked = "blocked"

	phaseSettling   = "settling"
	phaseRunning    = "running"
	phaseFailed     = "failed"
	phaseUndraining = "undraining"

	stepPending  = "pending"
	stepRunning  = "running"
	stepDone     = "done"
	stepFailed   = "failed"
	stepTimedOut = "timed-out"

	imdsBlind    = "blind"
	imdsStarting = "starting"
)

const (
	// fewChecks are listed without being asked for.
	fewChecks = 6
	// fewTransitions are shown without being asked for.
	fewTransitions = 3
)

// imageName shortens the resource id of a gallery image to gallery/image/version,
// which is what tells images apart on one node.
func imageName(image string) string {
	parts := strings.Split(image, "/")
	i := slices.IndexFunc(parts, func(p string) bool { return strings.EqualFold(p, "galleries") })
	if i < 0 || len(parts) < i+4 || !strings.EqualFold(parts[i+2], "images") {
		return image
	}
	name := parts[i+1] + "/" + parts[i+3]
	if len(parts) >= i+6 {
		name += "/" + parts[i+5]
	}
	return name
}

// stateMarks are the first thing that an operator sees.
var stateMarks = map[control.State]mark{
	control.StateStarting:    {"↻", "~", cli.Cyan},
	control.StateServing:     {"●", "*", cli.BoldGreen},
	control.StateDegraded:    {"▲", "!", cli.BoldAmber},
	control.StateUnhealthy:   {"✗", "x", cli.BoldRed},
	control.StateMaintenance: {"■", "#", cli.BoldBlue},
	control.StateDraining:    {"▼", "v", cli.BoldAmber},
	control.StateDrained:     {"○", "o", cli.BoldBlue},
}

// statusPage tells what a node is doing, the most urgent first.
func (g *globals) statusPage(s *control.Status, verbose bool) *page {
	p := g.newPage(s.Now)
	p.headline(s)
	p.failures(s.Health)
	p.drain(s)
	p.blindness(s.IMDS)
	p.unread(s.IMDS)
	p.events(s)
	p.Blank()
	p.summary(s)
	p.checks(s, verbose)
	p.transitions(s.Transitions, verbose)
	p.warnings(s.Warnings)
	p.next(g.self, s)
	return p
}

func (p *page) headline(s *control.Status) {
	m, ok := stateMarks[s.State]
	if !ok {
		m = mark{"?", "?", cli.Bold}
	}
	if s.Drain != nil && s.Drain.Phase == phaseFailed && s.State == control.StateDraining {
		m = mark{"✗", "x", cli.BoldRed}
	}
	since := cli.Cell{}
	if !s.Since.IsZero() {
		since = painted(cli.Dim, "since "+p.clock(s.Since)+" ("+p.age(s.Since)+")")
	}
	name, reason := strings.ToUpper(string(s.State)), []cli.Cell{p.countdown(s), plain(s.Reason)}
	if s.State == control.StateDegraded && s.IMDS.State == imdsBlind {
		name, reason = "SERVING"+p.Style.Glyph(" · ", " - ")+"BLIND", nil // why is said below
	}
	if s.State == control.StateMaintenance && s.Maintenance != nil {
		reason = []cli.Cell{p.countdown(s), plain(s.Maintenance.Reason), labelled("by ", s.Maintenance.By)}
	}
	p.Flow(p.leading(0, m), 2, slices.Concat(
		[]cli.Cell{painted(m.color, name)}, reason, []cli.Cell{since})...)
}

// countdown says how much time is left, if something runs out.
func (p *page) countdown(s *control.Status) cli.Cell {
	switch {
	case s.State == control.StateDraining && s.Drain != nil && s.Drain.EndedAt == nil && s.Drain.Deadline != nil:
		left := s.Drain.Deadline.Sub(p.now)
		if left < 0 {
			return painted(cli.BoldRed, "deadline passed "+cli.Countdown(-left)+" ago")
		}
		return painted(cli.Bold, cli.Countdown(left)+" left")
	case s.State == control.StateMaintenance && s.Maintenance != nil:
		return painted(cli.Bold, "ends "+p.relative(s.Maintenance.Until))
	}
	return cli.Cell{}
}

// blindMeaning says what to do about a blindness, by its class.
var blindMeaning = map[string]string{
	"denied":       "IMDS refuses this agent: a rule of the Metadata Security Protocol does not allow its user or path.",
	"gone":         "IMDS is being serviced; it should be back within about a minute.",
	"throttled":    "Something on this VM asks IMDS too often: five requests a second are shared by all of its processes.",
	"server-error": "IMDS has a failure of its own.",
	"bad-request":  "IMDS does not accept the request: see scheduled_events.api_version and imds.endpoint.",
	"not-found":    "IMDS does not know the path: see imds.endpoint and scheduled_events.api_version.",
	"empty":        "IMDS answers with nothing in it.",
	"invalid":      "IMDS answers with something that is no events document, or with events that do not read.",
	"timeout":      "IMDS does not answer in time.",
	"unreachable":  "IMDS cannot be connected to: see imds.endpoint, the firewall, and that this is an Azure VM.",
	"no-name":      "IMDS has not said what this VM is called: it cannot tell its own events from others'.",
}

// blindness says loudly that events may be missed.
func (p *page) blindness(imds control.IMDS) {
	if imds.State != imdsBlind {
		return
	}
	p.Blank()
	duration := ""
	if imds.BlindSince != nil {
		duration = " for " + p.age(*imds.BlindSince)
	}
	p.Flow(p.leading(0, mark{"▲", "!", cli.BoldRed}), 2, painted(cli.BoldRed, "BLIND to scheduled events"+duration))
	p.Text(2, cli.Red, cmp.Or(imds.Error, imds.Class), 3)
	p.Text(2, cli.Plain, blindMeaning[imds.Class], 3)
	p.Text(2, cli.Plain, "Until that ends, an eviction or a reboot may come without a drain.", 3)
	last := "It has not answered since the agent started."
	if imds.LastSuccess != nil {
		last = "It last answered at " + p.clockAndRelative(*imds.LastSuccess) + "."
	}
	p.Text(2, cli.Dim, last, 2)
}

// unread shows what of the metadata service's answer does not read.
func (p *page) unread(imds control.IMDS) {
	if len(imds.Unread) == 0 {
		return
	}
	p.heading("does not read in what IMDS says")
	for _, what := range imds.Unread {
		p.Flow(p.leading(2, markWarning), 4, plain(what))
	}
}

// failures lists what fails, roots first, with what it blocks.
func (p *page) failures(h control.Health) {
	var failing []control.Check
	for urgency := range urgencies {
		for _, c := range h.Checks {
			if c.Status == checkFailing && rank(h, c) == urgency {
				failing = append(failing, c)
			}
		}
	}
	if len(failing) == 0 {
		return
	}
	p.heading("failing")
	for _, c := range failing {
		weight := cli.Cell{}
		if c.Severity == "warning" {
			weight = painted(cli.Yellow, "warning, gates nothing")
		} else if len(c.Gates) > 0 {
			weight = painted(cli.Dim, "gates "+strings.Join(c.Gates, " and "))
		}
		p.Flow(p.leading(2, markBad), 4, painted(cli.Bold, c.Name), plain(c.Kind), plain("for "+p.age(c.Since)), weight)
		p.Text(6, cli.Red, c.Error, 4)
		if blocked := blocks(h, c.Name); len(blocked) > 0 {
			p.Text(6, cli.Yellow, "blocks "+strings.Join(blocked, ", "), 2)
		}
	}
}

// urgencies is how many values rank has.
const urgencies = 3

// rank orders failing checks: roots that gate, other gating ones, warnings.
func rank(h control.Health, c control.Check) int {
	switch {
	case c.Severity == "warning":
		return 2
	case slices.Contains(h.Roots, c.Name):
		return 0
	}
	return 1
}

// blocks names the blocked checks that wait for the named one, directly or not.
// Checks are in dependency order, so that one pass finds them all.
func blocks(h control.Health, name string) []string {
	var names []string
	for _, c := range h.Checks {
		if c.Status != checkBlocked {
			continue
		}
		if slices.ContainsFunc(c.BlockedBy, func(by string) bool { return by == name || slices.Contains(names, by) }) {
			names = append(names, c.Name)
		}
	}
	return names
}

// summary is the quiet part: what is usually fine.
func (p *page) summary(s *control.Status) {
	p.field("checks", countChecks(s.Health.Checks)...)
	p.field("events", p.eventSummary(s)...)
	p.field("node", nodeText(s.Node)...)
	var up cli.Cell
	if !s.Agent.StartedAt.IsZero() {
		up = plain("up " + p.age(s.Agent.StartedAt))
	}
	p.field("agent", plain(s.Agent.Version), plain(fmt.Sprintf("pid %d", s.Agent.PID)), up, p.probes(s))
	if probed := p.probed(s.Probes); len(probed) > 0 {
		p.field("probed", probed...)
	}
	if m := s.Maintenance; m != nil && s.State != control.StateMaintenance {
		p.field("besides", plain("in maintenance until "+p.clockAndRelative(m.Until)), plain(m.Reason), labelled("by ", m.By))
	}
}

// probes says what probes are told.
func (p *page) probes(s *control.Status) cli.Cell {
	if !s.Health.Live {
		return painted(cli.BoldRed, "its loops stand still")
	}
	if s.Health.Ready {
		return plain(s.Health.State + " and ready on " + s.Agent.ProbeAddress)
	}
	return plain(s.Health.State + ", not ready on " + s.Agent.ProbeAddress)
}

// probed says what was asked for, and when last; nothing before the first probe.
func (p *page) probed(probes control.Probes) []cli.Cell {
	var cells []cli.Cell
	for _, one := range probes.Paths {
		if one.Last != nil {
			cells = append(cells, plain(one.Path+" "+p.relative(*one.Last)))
		}
	}
	return cells
}

// countChecks counts checks by status, the bad ones in colour.
func countChecks(checks []control.Check) []cli.Cell {
	if len(checks) == 0 {
		return []cli.Cell{plain("none configured")}
	}
	counts := make(map[string]int)
	for _, c := range checks {
		counts[c.Status]++
	}
	var cells []cli.Cell
	for _, one := range []struct {
		status string
		color  cli.Color
	}{{checkPassing, cli.Green}, {checkFailing, cli.Red}, {checkBlocked, cli.Yellow}, {checkUnknown, cli.Cyan}} {
		if n := counts[one.status]; n > 0 {
			cells = append(cells, painted(one.color, fmt.Sprintf("%d %s", n, one.status)))
		}
	}
	return cells
}

// eventSummary says what is scheduled and how fresh that knowledge is.
func (p *page) eventSummary(s *control.Status) []cli.Cell {
	mine := 0
	for _, e := range s.Events {
		if e.Mine {
			mine++
		}
	}
	var cells []cli.Cell
	switch {
	case mine > 0:
		cells = append(cells, painted(cli.BoldAmber, fmt.Sprintf("%d for this VM", mine)))
	case s.IMDS.State == imdsBlind:
		cells = append(cells, painted(cli.BoldRed, "unknown: blind"))
	case s.IMDS.State == imdsStarting:
		cells = append(cells, painted(cli.Cyan, "unknown yet"))
	default:
		cells = append(cells, plain("none for this VM"))
	}
	if others := len(s.Events) - mine; others > 0 {
		cells = append(cells, plain(fmt.Sprintf("%d for others", others)))
	}
	if s.IMDS.LastSuccess != nil {
		fresh := "IMDS answered " + p.relative(*s.IMDS.LastSuccess)
		if p.now.Sub(*s.IMDS.LastSuccess) < time.Second {
			fresh = "IMDS answered just now"
		}
		cells = append(cells, plain(fresh))
	}
	return cells
}

func nodeText(n control.Node) []cli.Cell {
	if n == (control.Node{}) {
		return []cli.Cell{painted(cli.Yellow, "unknown: IMDS has not said who this VM is")}
	}
	return []cli.Cell{
		painted(cli.Bold, n.Name), labelled("scale set ", n.ScaleSet), labelled("zone ", n.Zone),
		plain(n.Priority), labelled("image ", imageName(n.Image)),
	}
}

// labelled is a cell with a label, or none without a value.
func labelled(label, value string) cli.Cell {
	if value == "" {
		return cli.Cell{}
	}
	return plain(label + value)
}

// checks lists the checks when they are asked for, or when they are few and
// decide what the node does.
func (p *page) checks(s *control.Status, verbose bool) {
	h := s.Health
	out := s.Drain != nil || s.Maintenance != nil || s.State == control.StateDraining
	if len(h.Checks) == 0 || !verbose && (out || len(h.Checks) > fewChecks) {
		return
	}
	p.Blank()
	table := &cli.Table{Indent: 2}
	for _, c := range h.Checks {
		note := cli.Cell{}
		switch {
		case len(c.BlockedBy) > 0:
			note = painted(cli.Yellow, "by "+strings.Join(c.BlockedBy, ", "))
		case c.Severity == "warning":
			note = painted(cli.Dim, "warning only")
		}
		latency := ""
		if c.Status == checkPassing || c.Status == checkFailing {
			latency = milliseconds(c.LatencyMS)
		}
		table.Add(p.glyph(checkMark(c.Status)), plain(c.Name), painted(cli.Dim, c.Kind),
			painted(checkMark(c.Status).color, c.Status), plain(p.age(c.Since)), painted(cli.Dim, latency), note)
	}
	p.Table(table)
}

func checkMark(status string) mark {
	switch status {
	case checkPassing:
		return markGood
	case checkFailing:
		return markBad
	case checkBlocked:
		return markBlocked
	}
	return markUnknown
}

func (p *page) transitions(ts []control.Transition, verbose bool) {
	if len(ts) == 0 {
		return
	}
	if !verbose && len(ts) > fewTransitions {
		ts = ts[:fewTransitions]
	}
	p.heading("last transitions")
	table := &cli.Table{Indent: 2}
	arrow := p.Style.Glyph(" → ", " -> ")
	for _, t := range ts {
		table.Add(plain(p.clock(t.At)), painted(cli.Dim, p.relative(t.At)), plain(string(t.From)+arrow+string(t.To)), plain(t.Reason))
	}
	p.Table(table)
}

func (p *page) warnings(warnings []string) {
	if len(warnings) == 0 {
		return
	}
	p.heading("warnings")
	for _, w := range warnings {
		p.Flow(p.leading(2, markWarning), 4, plain(w))
	}
}
