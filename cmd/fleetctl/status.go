package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// defaultInterval is the time between two looks of --watch. A look costs a few
	// requests a scale set, of which Azure allows twelve a minute.
	defaultInterval = 15 * time.Second
	// minInterval is the shortest one.
	minInterval = 5 * time.Second
	// watchTimeout bounds one look of --watch.
	watchTimeout = 2 * time.Minute
	// shownMembers are listed of a scale set that was asked for.
	shownMembers = 40
)

// statusFlags are the flags of status.
type statusFlags struct {
	sets      []string
	watch     bool
	interval  time.Duration
	healthAge time.Duration
}

func newStatusCommand(g *globals) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [SET...]",
		Short: "say what every scale set runs, and what is wrong with it",
		Long: `Say what every scale set runs and what is wrong with it: members by health, the
exact versions that they run against the one that the model asks for, an upgrade
under way and whose it is, autoscale, Spot against regular, and members that are
protected, deallocated or gone. What needs attention comes first.

Named scale sets are shown with their members.

The exact version decides what a member runs. latestModelApplied is a second
signal, since it is true of members that are not on the latest model in known
cases.

Exit codes: 0 whatever the fleet looks like (verify judges it), 1 error, 2 wrong
usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl status
  fleetctl status -g rg-pay-prod
  fleetctl status vmss-authz --watch
  fleetctl status -o json | jq '.scale_sets[] | {name, level, counts}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.sets = args
			switch {
			case !f.watch && cmd.Flags().Changed("interval"):
				return usage.Error(cmd, errors.New("--interval is for --watch"))
			case f.interval < minInterval:
				return usage.Error(cmd, fmt.Errorf("--interval must be at least %s: Azure allows twelve looks a minute", cli.Duration(minInterval)))
			case f.healthAge < 0:
				return usage.Error(cmd, errors.New("--health-age must not be negative"))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			if f.watch {
				return g.watchStatus(ctx, f)
			}
			view, err := g.status(ctx, f)
			if err != nil {
				return err
			}
			if g.json() {
				return g.out.JSON(view)
			}
			return g.print(g.statusPage(view, len(f.sets) > 0))
		},
	}
	g.scopeFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&f.watch, "watch", "w", false, "show it again and again")
	flags.DurationVar(&f.interval, "interval", defaultInterval, "the `TIME` between two looks")
	healthAgeFlag(cmd, &f.healthAge)
	return cmd
}

// healthAgeFlag adds --health-age. It is off unless it is given: whether Azure renews
// the time of a health state, or gives that of the last change, is not documented.
func healthAgeFlag(cmd *cobra.Command, age *time.Duration) {
	cmd.Flags().DurationVar(age, "health-age", 0, "the `AGE` at which health is old (default: none)")
}

func (g *globals) status(ctx context.Context, f statusFlags) (fleet.StatusView, error) {
	read, spec, err := g.look(ctx, azure.Scope{Members: true, Upgrades: true, History: true, Autoscale: true, Images: true})
	if err == nil {
		read, err = only(read, f.sets)
	}
	if err != nil {
		return fleet.StatusView{}, err
	}
	view := fleet.Status(read, fleet.StatusOptions{Now: g.now(), HealthAge: f.healthAge})
	if _, note := g.holdToShow(ctx, spec); note != "" {
		view.Notes = append(view.Notes, note)
	}
	return view, nil
}

// watchStatus shows the status again and again until it is interrupted. A look that
// fails leaves the last table, with its age and the error; the first one that fails
// ends the command.
func (g *globals) watchStatus(ctx context.Context, f statusFlags) error {
	screen := &cli.Screen{Output: g.out}
	var last *fleet.StatusView
	for {
		start := time.Now()
		looking, cancel := context.WithTimeout(ctx, watchTimeout)
		view, err := g.status(looking, f)
		if looking.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %s", cli.Duration(watchTimeout))
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			last = &view
		case last == nil:
			return err
		}
		if err := g.showStatus(screen, last, err, len(f.sets) > 0); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pauseAfter(err, f.interval) - time.Since(start)):
		}
	}
}

// pauseAfter is the time from one look to the next: the interval, or what Azure asks
// for when it throttles. Who asks on meanwhile is throttled for longer.
func pauseAfter(err error, interval time.Duration) time.Duration {
	if e, ok := errors.AsType[*azure.Error](err); ok {
		return max(interval, e.After)
	}
	return interval
}

// watchError is the line of a look that failed, of --watch --output json.
type watchError struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	// LastAt is when the last status was read.
	LastAt time.Time `json:"last_at"`
}

// showStatus shows the last status, and why it is the last if a look failed since.
func (g *globals) showStatus(screen *cli.Screen, last *fleet.StatusView, failed error, members bool) error {
	switch {
	case g.json() && failed != nil:
		return g.out.JSONLine(watchError{fleet.ViewVersion, g.now(), failed.Error(), last.At})
	case g.json():
		return g.out.JSONLine(last)
	}
	p := g.newPage(g.now())
	if failed != nil {
		p.Flow(p.leading(0, markWarning), 2, painted(cli.BoldAmber, "this is "+cli.Countdown(p.now.Sub(last.At))+" old, and the last look failed"))
		p.Text(2, cli.Yellow, failed.Error(), 3)
		p.Blank()
	}
	p.status(last, members)
	return screen.Show(p.Lines())
}

func (g *globals) statusPage(view fleet.StatusView, members bool) *page {
	p := g.newPage(g.now())
	p.status(&view, members)
	return p
}

// status adds the fleet: how it is, and every scale set.
func (p *page) status(view *fleet.StatusView, members bool) {
	p.statusHeadline(view)
	p.missing(view.Missing)
	if len(view.ScaleSets) > 0 {
		p.sets(view, members)
	}
	p.notes(view.Notes)
}

// missing names what the file declares and what is not there.
func (p *page) missing(ids []fleet.ResourceID) {
	for _, id := range ids {
		p.problem(0, fleet.Problem{Level: fleet.LevelError, Text: "the file declares " + id.Name() + ", and it is not there: " + string(id)})
	}
}

// sets adds the table of scale sets, and below each row what there is to know.
func (p *page) sets(view *fleet.StatusView, members bool) {
	p.Blank()
	table := p.setTable(view.ScaleSets)
	lines := table.Lines(p.Style, p.Width)
	p.Raw(lines[0])
	for i := range view.ScaleSets {
		s := &view.ScaleSets[i]
		if members && i > 0 {
			p.Blank()
		}
		p.Raw(lines[i+1])
		for _, problem := range s.Problems {
			p.problem(2, problem)
		}
		p.Flow(cli.Cell{Text: "    "}, 4, p.setFacts(s)...)
		if members {
			p.members(s)
		}
	}
}

// statusHeadline says in one line how the fleet is.
func (p *page) statusHeadline(view *fleet.StatusView) {
	counts := make(map[fleet.Level]int)
	members, healthy := 0, 0
	for i := range view.ScaleSets {
		s := &view.ScaleSets[i]
		counts[s.Level]++
		members += s.Counts.Total
		healthy += s.Counts.Healthy
	}
	all := len(view.ScaleSets) + len(view.Missing)
	counts[fleet.LevelError] += len(view.Missing)
	read := dim("read " + cli.Clock(view.At, p.now))
	rest := []cli.Cell{plain(fmt.Sprintf("%d of %s Healthy", healthy, cli.Plural(members, "member"))), read}
	switch {
	case all == 0:
		p.Flow(p.leading(0, markUnknown), 2, plain("no scale sets"), read)
	case counts[fleet.LevelError] > 0:
		text := fmt.Sprintf("%d of %s failing", counts[fleet.LevelError], cli.Plural(all, "scale set"))
		if n := counts[fleet.LevelWarning]; n > 0 {
			text += fmt.Sprintf(", %d with warnings", n)
		}
		p.Flow(p.leading(0, markBad), 2, append([]cli.Cell{painted(cli.BoldRed, text)}, rest...)...)
	case counts[fleet.LevelWarning] > 0:
		text := fmt.Sprintf("%d of %s with warnings", counts[fleet.LevelWarning], cli.Plural(all, "scale set"))
		p.Flow(p.leading(0, markWarning), 2, append([]cli.Cell{painted(cli.BoldAmber, text)}, rest...)...)
	default:
		p.Flow(p.leading(0, markGood), 2, append([]cli.Cell{painted(cli.BoldGreen, cli.Plural(all, "scale set")+" as they should be")}, rest...)...)
	}
}

// Widths of the columns of a table of scale sets. What is longer is cut.
const (
	regionWidth = 18
	runsWidth   = 24
	modelWidth  = 14
	minName     = 14
)

// setTable has a row for each scale set below the one that names the columns.
func (p *page) setTable(sets []fleet.SetStatus) *cli.Table {
	rows := [][]string{{"SCALE SET", "REGION", "HEALTHY", "RUNS", "MODEL"}}
	for i := range sets {
		s := &sets[i]
		rows = append(rows, []string{
			cli.Clean(s.Name), p.cut(s.Location, regionWidth), fmt.Sprintf("%d/%d", s.Counts.Healthy, s.Counts.Total),
			p.cut(runsText(s), runsWidth), p.cut(targetText(&s.Target), modelWidth),
		})
	}
	p.fitFirst(rows)
	table := &cli.Table{}
	table.Add(append([]cli.Cell{{Text: " "}}, headings(rows[0]...)...)...)
	for i, row := range rows[1:] {
		s := &sets[i]
		healthy, runs := cli.Plain, cli.Plain
		if s.Counts.Healthy < s.Counts.Total {
			healthy = cli.Yellow
		}
		if s.Mixed || s.Behind > 0 {
			runs = cli.Yellow
		}
		table.Add(levelMark(s.Level).Cell(p.Style), painted(cli.Bold, row[0]), plain(row[1]), painted(healthy, row[2]), painted(runs, row[3]), plain(row[4]))
	}
	return table
}

// fitFirst cuts the names in the first column to the room that the others leave.
func (p *page) fitFirst(rows [][]string) {
	room := p.Width - 2 // the mark
	for column := 1; column < len(rows[0]); column++ {
		var texts []string
		for _, row := range rows {
			texts = append(texts, row[column])
		}
		room -= columnWidth(texts) + 2
	}
	for _, row := range rows {
		row[0] = cli.Cut(row[0], max(room, minName), p.Style)
	}
}

// runsText is what members run: "1.8.0", or "1.8.0 (2) 1.7.1 (1)".
func runsText(s *fleet.SetStatus) string {
	switch len(s.Versions) {
	case 0:
		return "-"
	case 1:
		return cmp.Or(s.Versions[0].Version, "?")
	}
	var parts []string
	for _, v := range s.Versions {
		parts = append(parts, fmt.Sprintf("%s (%d)", cmp.Or(v.Version, "?"), v.Members))
	}
	return strings.Join(parts, " ")
}

// targetText is what the model asks for.
func targetText(t *fleet.Target) string {
	version := cmp.Or(t.Version, "?")
	if t.Pinned {
		return version
	}
	return "latest " + version
}

// setFacts is what there is to say of a scale set that is no problem.
func (p *page) setFacts(s *fleet.SetStatus) []cli.Cell {
	n := s.Counts
	driver := string(s.Driver)
	if s.Driver == "" {
		driver = "driver unknown"
	}
	mode := string(cmp.Or(s.Mode, "unknown"))
	if s.AutoOS {
		mode += ", automatic OS upgrade"
	}
	capacity := fmt.Sprintf("capacity %d", s.Capacity)
	if n.Running != s.Capacity {
		capacity += fmt.Sprintf(", %d running", n.Running)
	}
	facts := []cli.Cell{dim(s.Target.Image), dim(driver + " (" + mode + ")"), dim(capacity)}
	add := func(format string, args ...any) { facts = append(facts, dim(fmt.Sprintf(format, args...))) }
	if a := s.Autoscale; a != nil {
		state := ""
		if !a.Enabled {
			state = " (off)"
		}
		add("autoscale %d to %d%s", a.Min, a.Max, state)
		if a.Predictive != "" && a.Predictive != "Disabled" {
			add("predictive %s", a.Predictive)
		}
	}
	if s.SpotEviction != "" {
		add("Spot %d, regular %d", n.Spot, n.Regular)
		if s.RegularBase != nil {
			add("base %d and %d%%", *s.RegularBase, *s.RegularAbove)
		}
		add("evicted: %s", s.SpotEviction)
	}
	for _, one := range []struct {
		n    int
		what string
	}{{n.Deallocated, "deallocated"}, {n.Vanished, "vanished"}, {n.Protected, "protected"}} {
		if one.n > 0 {
			add("%d %s", one.n, one.what)
		}
	}
	if u := s.Upgrade; u != nil && !u.Active && u.Code != "Faulted" {
		add("last upgrade %s (%s)", u.Code, u.StartedBy)
	}
	return facts
}

// members lists the members of a scale set, the worst first.
func (p *page) members(s *fleet.SetStatus) {
	if len(s.Members) == 0 {
		return
	}
	p.Blank()
	rows := [][]string{{"MEMBER", "ZONE", "STATE", "TOLD", "RUNS", "POWER", "NOTES"}}
	shown := s.Members[:min(len(s.Members), shownMembers)]
	for i := range shown {
		m := &shown[i]
		told := "-"
		if m.HealthAt != nil {
			told = cli.Relative(*m.HealthAt, p.now)
		}
		rows = append(rows, []string{
			cli.Clean(m.Name), cmp.Or(p.cut(m.Zone, 4), "-"), p.cut(m.State, 14), told,
			p.cut(cmp.Or(m.Version, "?"), runsWidth), p.cut(cmp.Or(string(m.Power), "?"), 12), memberNotes(m),
		})
	}
	p.fitMembers(rows)
	table := &cli.Table{Indent: 4}
	table.Add(headings(rows[0]...)...)
	for i, row := range rows[1:] {
		m := &shown[i]
		runs := cli.Plain
		if m.OnModel == nil || !*m.OnModel {
			runs = cli.Yellow
		}
		table.Add(plain(row[0]), plain(row[1]), painted(stateColor(m.State), row[2]), dim(row[3]), painted(runs, row[4]), dim(row[5]), dim(row[6]))
	}
	p.Table(table)
	if more := len(s.Members) - len(shown); more > 0 {
		p.Text(4, cli.Dim, fmt.Sprintf("and %s; --output json lists all", cli.Plural(more, "more member")), 1)
	}
}

// fitMembers leaves room for a word of notes.
func (p *page) fitMembers(rows [][]string) {
	const notes = 8
	narrow := make([][]string, len(rows))
	for i, row := range rows {
		narrow[i] = append(row[:6:6], strings.Repeat(" ", min(len(row[6]), notes)))
	}
	indented := &page{Page: cli.Page{Style: p.Style, Width: p.Width - 2}}
	indented.fitFirst(narrow)
	for i := range rows {
		rows[i][0] = narrow[i][0]
	}
}

func stateColor(state string) cli.Color {
	switch state {
	case string(fleet.Healthy):
		return cli.Green
	case string(fleet.Initializing), fleet.StateDeallocated:
		return cli.Yellow
	}
	return cli.Red
}

// memberNotes is what else there is to know of a member.
func memberNotes(m *fleet.MemberStatus) string {
	var notes []string
	if m.Provisioning != fleet.Succeeded && m.Provisioning != "" {
		notes = append(notes, m.Provisioning)
	}
	if m.Spot {
		notes = append(notes, "Spot")
	}
	if len(m.Protected) > 0 {
		notes = append(notes, "protected from "+strings.Join(m.Protected, " and "))
	}
	switch {
	case m.LatestModel == nil:
		notes = append(notes, "model unknown")
	case !*m.LatestModel:
		notes = append(notes, "stale model")
	}
	return strings.Join(notes, ", ")
}
