package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// shownRows are the rows of cells that are shown of a scale set. Of a larger one the
	// worst are shown, and the others counted.
	shownRows = 6
	// shownFailing are the members that are listed with what is wrong with them.
	shownFailing = 6
	// shownWaits are the waits that are listed.
	shownWaits = 5
	// shownLeft are the things left or owed that are listed.
	shownLeft = 8
	// whyLines are shown of one reason: Azure hides causes at the ends of texts.
	whyLines = 4
)

// cellMarks are how members are shown: capitals run the version, or did; small letters
// run another one.
var cellMarks = map[rollout.Cell]cli.Mark{
	rollout.CellFailed:    {Unicode: "X", ASCII: "X", Color: cli.BoldRed},
	rollout.CellGone:      {Unicode: "G", ASCII: "G", Color: cli.Red},
	rollout.CellUpgrading: {Unicode: "U", ASCII: "U", Color: cli.BoldBlue},
	rollout.CellVerifying: {Unicode: "N", ASCII: "N", Color: cli.Yellow},
	rollout.CellVerified:  {Unicode: "V", ASCII: "V", Color: cli.BoldGreen},
	rollout.CellUnhealthy: {Unicode: "x", ASCII: "x", Color: cli.Red},
	rollout.CellStarting:  {Unicode: "s", ASCII: "s", Color: cli.Yellow},
	rollout.CellStopped:   {Unicode: "d", ASCII: "d", Color: cli.Dim},
	rollout.CellReturned:  {Unicode: "r", ASCII: "r", Color: cli.Cyan},
	rollout.CellOther:     {Unicode: "o", ASCII: "o", Color: cli.Green},
	rollout.CellUnknown:   {Unicode: "?", ASCII: "?", Color: cli.Dim},
}

// cellTexts say what a cell means.
var cellTexts = map[rollout.Cell]string{
	rollout.CellFailed:    "failed",
	rollout.CellGone:      "gone or stopped on it",
	rollout.CellUpgrading: "upgrading",
	rollout.CellVerifying: "on it, not verified yet",
	rollout.CellVerified:  "verified",
	rollout.CellUnhealthy: "other version, not Healthy",
	rollout.CellStarting:  "other version, starting",
	rollout.CellStopped:   "other version, deallocated",
	rollout.CellReturned:  "returned, Healthy",
	rollout.CellOther:     "other version, Healthy",
	rollout.CellUnknown:   "not read",
}

// rolloutPage is how a rollout stands.
func (g *globals) rolloutPage(v *rollout.View) *page {
	p := g.newPage(v.At)
	p.rollout(v)
	return p
}

// rollout adds a rollout: how it stands and why, its waves, members and gates, what it
// waits for, and what an operator can do.
func (p *page) rollout(v *rollout.View) {
	p.rolloutHeadline(v)
	p.rolloutBody(v, shownRows)
	p.Blank()
	p.advice(v)
}

// liveRollout adds a rollout for a screen that may be too low for all of it: what matters
// comes first. The notes are what happened last.
func (p *page) liveRollout(v *rollout.View, rows int, notes []string) {
	p.rolloutHeadline(v)
	p.advice(v)
	if len(notes) > 0 {
		p.Blank()
	}
	for _, note := range notes {
		p.problem(2, fleet.Problem{Level: fleet.LevelInfo, Text: note})
	}
	p.rolloutBody(v, rows)
}

// rolloutBody adds what is between how a rollout stands and what to do about it.
func (p *page) rolloutBody(v *rollout.View, rows int) {
	p.failing(v)
	p.waves(v)
	p.rolloutSets(v, rows)
	p.gates(v.Gates)
	p.waits(v)
	p.leftOver("left as it is", markBad, v.Left)
	p.leftOver("owed by this rollout", markNote, v.Owed)
	p.asked(v.Asked)
}

// advice says what an operator can do next.
func (p *page) advice(v *rollout.View) {
	for _, do := range rolloutAdvice(v, p.now) {
		p.Flow(painted(cli.Cyan, "do: "), 4, plain(do))
	}
}

// rolloutHeadline says which rollout it is, how it stands, since when and why.
func (p *page) rolloutHeadline(v *rollout.View) {
	mark, color := viewMark(v)
	title := fmt.Sprintf("rollout %s of %s %s", v.ID, v.Image, v.ImageVersion)
	phase, since := string(v.Phase), v.Since
	if i := v.Wave(); i >= 0 && v.Phase == rollout.Rolling {
		phase, since = fmt.Sprintf("wave %d of %d, %s: %s", i+1, len(v.Waves), v.Waves[i].Name, stepText(v.Waves[i].Step)), v.Waves[i].Since
	}
	p.Flow(p.leading(0, mark), 2, painted(color, title), painted(color, phase), dim(p.since(since)))
	if v.Why != "" && v.Phase != rollout.Rolling {
		p.Text(2, cli.Plain, v.Why, whyLines)
	}
	if v.Overdue {
		p.Flow(p.leading(0, markBad), 2, painted(cli.BoldRed, "OVERDUE: nobody has worked on it for "+cli.Countdown(p.now.Sub(v.Worked))), dim("since "+cli.Clock(v.Worked, p.now)))
	}
	if v.Paused != "" {
		p.Flow(p.leading(0, markWarning), 2, painted(cli.BoldAmber, fmt.Sprintf("it stands still (%s)", v.Class)), dim(p.since(v.PausedSince)))
		p.Text(2, cli.Yellow, v.Paused, whyLines)
	}
	if p.places(2, v.Causes); len(v.Causes) > 0 {
		p.Text(2, cli.Plain, v.Causes[0].Do, whyLines)
	}
	ran, running := rollout.Reached(v.Ran)
	observed := "Azure was not read yet"
	if !v.Observed.IsZero() {
		observed = "read " + cli.Relative(v.Observed, p.now)
	}
	next := ""
	if v.Next.After(p.now) && !v.Overdue {
		next = "next look " + cli.Relative(v.Next, p.now)
	}
	p.Flow(cli.Cell{Text: "  "}, 2, dim("begun "+cli.Clock(v.Begun, p.now)), dim(fmt.Sprintf("%s ran it, %d now", cli.Plural(ran, "member"), running)), dim(observed), dim(next), dim(v.Lock))
}

// since says since when something is so.
func (p *page) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("since %s (%s)", cli.Clock(t, p.now), cli.Countdown(max(p.now.Sub(t), 0)))
}

// viewMark is how a rollout is marked: by its phase, and by whether it goes on.
func viewMark(v *rollout.View) (cli.Mark, cli.Color) {
	mark := phaseMark(v.Phase)
	if !v.Phase.Over() && (v.Paused != "" || v.Overdue) && mark == markRunning {
		mark = markWarning
	}
	switch mark {
	case markGood:
		return mark, cli.BoldGreen
	case markRunning:
		return mark, cli.BoldBlue
	case markBad, markWarning:
		return mark, mark.Color
	}
	return mark, cli.Bold
}

// waves adds the table of waves.
func (p *page) waves(v *rollout.View) {
	p.Blank()
	table := &cli.Table{Wrap: 3}
	table.Add(append([]cli.Cell{{Text: " "}}, headings("WAVE", "STEP", "BATCHES", "SOAKED", "VERIFIED", "WORST", "SCALE SETS")...)...)
	for i := range v.Waves {
		w := &v.Waves[i]
		mark, color := viewMark(v)
		switch w.Step {
		case rollout.WaveDone:
			mark, color = markGood, cli.Plain
		case rollout.Skipped, "":
			mark, color = markNote, cli.Dim
		default:
		}
		verified := "-"
		if w.Step != "" {
			verified = strconv.Itoa(w.Evidence)
		}
		table.Add(mark.Cell(p.Style), painted(color, p.cut(w.Name, 16)), painted(color, stepText(w.Step)), plain(batchesText(w)),
			plain(soakText(w)), plain(verified), dim(strconv.Itoa(w.Worst)), dim(waveText(w)))
	}
	p.Table(table)
}

// batchesText says how many batches of how many are done, those of the way back left out.
func batchesText(w *rollout.WaveView) string {
	begun, done := 0, 0
	for i := range w.Batches {
		if b := &w.Batches[i]; !b.Back && b.Step != rollout.GivenUp {
			begun++
			if b.Step == rollout.BatchDone {
				done++
			}
		}
	}
	return fmt.Sprintf("%d/%d", done, max(begun, w.Foreseen))
}

func soakText(w *rollout.WaveView) string {
	if w.Soaked == 0 {
		return "0 of " + cli.Duration(w.Soak)
	}
	return fmt.Sprintf("%s of %s", cli.Countdown(w.Soaked), cli.Duration(w.Soak))
}

// waveText says what a wave takes, and whether it may.
func waveText(w *rollout.WaveView) string {
	text := cli.Plural(len(w.Sets), "scale set")
	if len(w.Sets) == 1 {
		text = w.Sets[0]
	}
	if w.Instances > 0 {
		text = strconv.Itoa(w.Instances) + " of " + text
		if len(w.Sets) > 1 {
			text = strconv.Itoa(w.Instances) + " of each of " + cli.Plural(len(w.Sets), "scale set")
		}
	}
	switch {
	case w.Approved != "":
		return text + ", approved by " + w.Approved
	case w.Approve:
		return text + ", needs an approval"
	}
	return text
}

// rolloutSets adds every scale set with its members as cells, and what the cells mean.
func (p *page) rolloutSets(v *rollout.View, rows int) {
	occur := make(map[rollout.Cell]bool)
	for i := range v.Sets {
		s := &v.Sets[i]
		p.Blank()
		p.Flow(cli.Cell{Text: "  "}, 4, append([]cli.Cell{painted(cli.Bold, s.Name), dim(s.Location)}, rolloutSetFacts(s)...)...)
		switch {
		case s.Unknown != "":
			p.Text(4, cli.Yellow, "it could not be read: "+s.Unknown, whyLines)
		case s.Busy != "":
			p.Text(4, cli.Yellow, "busy: "+s.Busy, whyLines)
		}
		p.cells(s, rows)
		for i := range s.Members {
			occur[s.Members[i].Cell] = true
		}
		if s.Unnamed > 0 {
			occur[rollout.CellUnknown] = true
		}
		p.leftOut(s)
	}
	var legend []cli.Cell
	for _, c := range rollout.Cells {
		if occur[c] {
			mark := cellMarks[c].Cell(p.Style)
			legend = append(legend, painted(mark.Color, mark.Text+" "+cellTexts[c]))
		}
	}
	if len(legend) > 0 {
		p.Blank()
		p.Flow(cli.Cell{Text: "  "}, 2, legend...)
	}
}

// rolloutSetFacts is what there is to know of a set besides its members.
func rolloutSetFacts(s *rollout.SetView) []cli.Cell {
	return []cli.Cell{dim(s.Driver), dim("model " + cmp.Or(s.Model, "latest")), dim("last good " + cmp.Or(s.LastGood, "none"))}
}

// cells adds the members of a set, one character each. When there are too many, the
// worst are shown, and the others are counted.
func (p *page) cells(s *rollout.SetView, rows int) {
	const indent = 4
	width := max(p.Width, 20) - indent
	members := slices.Clip(s.Members)
	for range min(s.Unnamed, rows*width) {
		members = append(members, rollout.MemberView{Cell: rollout.CellUnknown})
	}
	total := len(s.Members) + s.Unnamed
	if len(members) > rows*width {
		members = slices.Clone(members)
		slices.SortStableFunc(members, func(a, b rollout.MemberView) int {
			return slices.Index(rollout.Cells, a.Cell) - slices.Index(rollout.Cells, b.Cell)
		})
	}
	shown := members[:min(len(members), rows*width)]
	for row := range slices.Chunk(shown, width) {
		p.Raw(strings.Repeat(" ", indent) + p.cellRow(row))
	}
	if total > 0 && total == len(shown) {
		return
	}
	counts := make(map[rollout.Cell]int)
	for i := range s.Members {
		counts[s.Members[i].Cell]++
	}
	counts[rollout.CellUnknown] += s.Unnamed
	var texts []cli.Cell
	if total > len(shown) {
		texts = append(texts, dim(fmt.Sprintf("the worst %d of %d", len(shown), total)))
	}
	for _, c := range rollout.Cells {
		if counts[c] > 0 {
			mark := cellMarks[c].Cell(p.Style)
			texts = append(texts, painted(mark.Color, fmt.Sprintf("%s %d", mark.Text, counts[c])))
		}
	}
	if total == 0 {
		texts = append(texts, dim("no members"))
	}
	p.Flow(cli.Cell{Text: strings.Repeat(" ", indent)}, indent, texts...)
}

// cellRow is one row of cells. Neighbours of one kind are painted together.
func (p *page) cellRow(row []rollout.MemberView) string {
	var text strings.Builder
	for len(row) > 0 {
		n := 1
		for n < len(row) && row[n].Cell == row[0].Cell {
			n++
		}
		mark := cellMarks[row[0].Cell].Cell(p.Style)
		text.WriteString(p.Style.Paint(mark.Color, strings.Repeat(mark.Text, n)))
		row = row[n:]
	}
	return text.String()
}

// leftOut names the members that no wave can take as they are.
func (p *page) leftOut(s *rollout.SetView) {
	var names []string
	why := ""
	for i := range s.Members {
		if m := &s.Members[i]; m.Why != "" && (m.Cell == rollout.CellStopped || m.Cell == rollout.CellOther || m.Cell == rollout.CellUnknown) {
			names, why = append(names, m.Name), m.Why
		}
	}
	switch len(names) {
	case 0:
	case 1:
		p.Text(4, cli.Dim, fmt.Sprintf("left out: %s: %s", names[0], why), 2)
	default:
		p.Text(4, cli.Dim, fmt.Sprintf("left out: %s (%s; --output json says why of each)", andMore(names, shownNames), cli.Plural(len(names), "member")), 2)
	}
}

// stepText is a step of a wave for people.
func stepText(s rollout.Step) string {
	switch s {
	case "":
		return "not begun"
	case rollout.Asking:
		return "may it begin?"
	case rollout.Batches:
		return "in batches"
	default:
	}
	return string(s)
}

// nonEmpty are the texts that say something.
func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return strings.TrimSpace(text) == "" })
}

// gates adds what the rollout asks before it goes on, with the answers and their age.
func (p *page) gates(gates []rollout.GateView) {
	p.Blank()
	table := &cli.Table{Wrap: 3}
	table.Add(append([]cli.Cell{{Text: " "}}, headings("GATE", "ASKED", "EVIDENCE")...)...)
	for i := range gates {
		gate := &gates[i]
		asked := "-"
		if !gate.Asked.IsZero() {
			asked = cli.Relative(gate.Asked, p.now)
		}
		color := cli.Plain
		if gate.Verdict == rollout.Fail {
			color = cli.Red
		}
		table.Add(gateMark(gate.Verdict).Cell(p.Style), plain(p.cut(gate.Name, 20)), dim(asked), painted(color, cmp.Or(gate.Why, string(gate.Verdict))))
	}
	p.Table(table)
}

func gateMark(v rollout.Verdict) cli.Mark {
	switch v {
	case rollout.Pass:
		return markGood
	case rollout.Fail:
		return markBad
	case rollout.Waiting:
		return markNote
	case rollout.NoData, rollout.Unknown:
	}
	return markUnknown
}

// waits adds what is waited for, and until when at most.
func (p *page) waits(v *rollout.View) {
	if len(v.Waits) == 0 {
		return
	}
	p.Blank()
	p.Text(2, cli.Dim, "it waits for", 1)
	waits := slices.SortedStableFunc(slices.Values(v.Waits), func(a, b rollout.WaitView) int { return a.Until.Compare(b.Until) })
	table := &cli.Table{Indent: 4, Wrap: 3}
	for _, w := range waits[:min(len(waits), shownWaits)] {
		until := "-"
		if !w.Until.IsZero() {
			until = cli.Relative(w.Until, p.now)
		}
		table.Add(dim("at most "+until), plain(w.For))
	}
	p.Table(table)
	if more := len(waits) - shownWaits; more > 0 {
		p.Text(4, cli.Dim, fmt.Sprintf("and %d more", more), 1)
	}
}

// failing lists the members that have failed, why, and what their agents say.
func (p *page) failing(v *rollout.View) {
	shown, more := 0, 0
	for i := range v.Sets {
		for _, m := range v.Sets[i].Members {
			bad := m.Cell == rollout.CellFailed || m.Cell == rollout.CellGone || m.Node != "" || m.Why != "" && m.Cell == rollout.CellReturned
			switch {
			case !bad:
				continue
			case shown == shownFailing:
				more++
				continue
			case shown == 0:
				p.Blank()
			}
			shown++
			mark := cellMarks[m.Cell]
			p.Flow(p.leading(2, mark), 4, painted(mark.Color, m.Name), dim(v.Sets[i].Name), plain(m.Why))
			for i, line := range nonEmpty(strings.Split(m.Node, "\n")...) {
				if i == whyLines {
					break
				}
				p.Text(6, cli.Yellow, line, whyLines)
			}
		}
	}
	if more > 0 {
		p.Text(4, cli.Dim, fmt.Sprintf("and %d more; --output json lists all", more), 1)
	}
}

// leftOver lists what is not as it should be.
func (p *page) leftOver(title string, mark cli.Mark, list []rollout.Left) {
	if len(list) == 0 {
		return
	}
	p.Blank()
	p.Text(2, cli.Dim, title, 1)
	for _, l := range list[:min(len(list), shownLeft)] {
		name := strings.Trim(l.Set+"/"+l.Member, "/")
		p.Flow(p.leading(4, mark), 6, plain(name), plain(l.Why))
	}
	if more := len(list) - shownLeft; more > 0 {
		p.Text(6, cli.Dim, fmt.Sprintf("and %d more; --output json lists all", more), 1)
	}
}

// asked lists what operators asked and nobody has taken up yet.
func (p *page) asked(list []rollout.Request) {
	if len(list) == 0 {
		return
	}
	p.Blank()
	p.Text(2, cli.Dim, "asked, and not taken up yet", 1)
	for i := range list[:min(len(list), shownLeft)] {
		r := &list[i]
		what := strings.TrimSpace(string(r.Do) + " " + r.Wave)
		if r.Keep {
			what += ", members stay as they are"
		}
		p.Flow(p.leading(4, markNote), 6, plain(what+", by "+cmp.Or(r.By, "an operator")), plain(r.Why), dim(cli.Relative(r.At, p.now)))
	}
}

// rolloutAdvice says what an operator can do next, with the commands.
func rolloutAdvice(v *rollout.View, now time.Time) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	switch {
	case v.Overdue && v.Lock != "":
		add("see whether who holds it still works; if not: fleetctl rollout unlock")
	case v.Overdue:
		add("fleetctl rollout advance does what is due: see why the schedule does not")
	}
	switch v.Phase {
	case rollout.Held:
		add("fleetctl rollout resume goes on; fleetctl rollout abort takes it back")
		return list
	case rollout.Incomplete:
		add("bring back what is left, then: fleetctl rollout advance")
		return list
	case rollout.Halted:
		add("bake a version that is repaired; fleetctl rollout show %s lists who ran this one", v.ID)
		return list
	case rollout.Succeeded, rollout.Aborted:
		add("fleetctl rollout show %s lists who ran it when", v.ID)
		return list
	case rollout.Halting, rollout.Returning, rollout.Demoting:
		if !v.Overdue && v.Lock == "" {
			add("nobody works on it just now; fleetctl rollout advance goes on")
		}
		return list
	case rollout.Pending, rollout.Rolling, rollout.Promoting:
	}
	if i := v.Wave(); i >= 0 && v.Waves[i].Step == rollout.Asking && v.Waves[i].Approve && v.Waves[i].Approved == "" {
		add("fleetctl rollout approve %s lets the wave begin", v.Waves[i].Name)
	}
	switch {
	case v.Paused != "" && v.Class == rollout.ByOperator:
		add("fleetctl rollout resume goes on")
	case v.NeedsResume:
		add("it tries no more by itself: when the cause is gone, fleetctl rollout resume, which takes things as they are")
	case v.Paused != "":
		add("it goes on by itself when the cause is gone; fleetctl rollout resume takes things as they are")
	case !slices.ContainsFunc(v.Asked, func(q rollout.Request) bool { return q.Do == rollout.Pause }):
		add("fleetctl rollout pause lets nothing new begin")
	}
	add("fleetctl rollout abort ends it, and takes members back")
	if !v.Overdue && v.Lock == "" && !v.Next.IsZero() && !v.Next.After(now) {
		add("fleetctl rollout advance does what is due")
	}
	return list
}
