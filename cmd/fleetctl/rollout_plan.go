package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// shownBatches are listed of a set in a wave.
	shownBatches = 3
	// quotaWithin bounds the question for the quota of a region.
	quotaWithin = 15 * time.Second
	// queryLines are shown of a query.
	queryLines = 8
)

func newRolloutPlanCommand(g *globals) *cobra.Command {
	var o rollout.Options
	cmd := &cobra.Command{
		Use:   "plan VERSION",
		Short: "show what a rollout would do, and what speaks against it",
		Long: `Show what the rollout of a version would do: its waves, and the members of the
first batches by name, how many members may run the version at worst and why,
how long it takes at least, how soon a failing member stops it, the quota of
the regions, what each gate would ask, and to which version each scale set goes
back.

What speaks against the rollout is told all at once, each with what to do about
it. Nothing is written.

At worst counts the members that a wave takes, births by autoscale while the
model points at the version, and others that may be made anew meanwhile:
repairs, Spot.

Exit codes: 0 it can begin, 3 something speaks against it, 1 error, 2 wrong
usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout plan 1.8.3
  fleetctl rollout plan 1.8.3 --no-return
  fleetctl rollout plan 1.8.3 -o json | jq '.waves[] | {name, worst}'`,
		Args: usage.Arguments("VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !fleet.IsVersion(args[0]) {
				return usage.Error(cmd, fmt.Errorf("%q is not the number of an image version, which is like 1.8.3", args[0]))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.planRollout(ctx, args[0], o)
		},
	}
	planFlags(cmd, &o)
	return cmd
}

// planRollout plans, prints, and refuses when something speaks against the rollout.
func (g *globals) planRollout(ctx context.Context, version string, o rollout.Options) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	read, err := r.runner(nil).Survey(ctx)
	if err != nil {
		return explained(err)
	}
	last, _, _, err := r.newestOrFirst(ctx)
	if err != nil {
		return explained(err)
	}
	plan, refusals := rollout.PlanFor(*r.spec, read, version, o)
	v := newRolloutPlanView(&plan, refusals)
	v.foresee(&plan, read)
	v.gates(r.spec.Rollout, &plan)
	v.capacity(&plan, read, func(region string) (used, limit int, err error) { return r.quota(ctx, region) })
	v.unfinished(last)
	if g.json() {
		err = g.out.JSON(v)
	} else {
		p := g.newPage(r.now())
		p.rolloutPlan(v)
		err = g.print(p)
	}
	if err == nil && len(v.Refusals) > 0 {
		err = cli.Exit(exitRefused)
	}
	return err
}

// planPage is a plan that nothing speaks against. Run shows it before it asks.
func (r *rollouts) planPage(plan *rollout.Plan) *page {
	p := r.g.newPage(r.now())
	p.rolloutPlan(newRolloutPlanView(plan, nil))
	return p
}

// A rolloutPlanView is what a rollout would do.
type rolloutPlanView struct {
	Version      int    `json:"version"`
	Fleet        string `json:"fleet"`
	Image        string `json:"image"`
	ImageVersion string `json:"image_version"`

	Waves    []plannedWave     `json:"waves"`
	Sets     []plannedSet      `json:"scale_sets"`
	Gates    []plannedGate     `json:"gates,omitempty"`
	Regions  []plannedRegion   `json:"regions,omitempty"`
	Worst    int               `json:"worst"` // members on the version at once
	Shortest float64           `json:"shortest_seconds"`
	Reaction float64           `json:"reaction_seconds"` // the longest from a failing member to the halt
	Drain    bool              `json:"drain"`
	Refusals []rollout.Refusal `json:"refusals"`
	Notes    []string          `json:"notes,omitempty"`
}

type plannedWave struct {
	Name      string           `json:"name"`
	Instances int              `json:"instances,omitempty"` // of each set; 0: all
	Soak      float64          `json:"soak_seconds"`
	Approve   bool             `json:"approve,omitempty"`
	Worst     int              `json:"worst"` // of all sets up to and with this wave
	Sets      []plannedSetWave `json:"scale_sets"`
}

type plannedSetWave struct {
	Name     string     `json:"name"`
	Platform bool       `json:"platform,omitempty"` // it picks the members
	Taken    int        `json:"taken"`              // by the wave
	Births   int        `json:"births"`             // by autoscale, while the model points at the version
	Others   int        `json:"others"`             // made anew meanwhile: repairs, Spot
	Worst    int        `json:"worst"`              // of these together
	Batches  [][]string `json:"batches,omitempty"`  // if everything stays as it is
	foreseen bool       // the batches are known; none: nobody is left to take
}

type plannedSet struct {
	Name      string         `json:"name"`
	Location  string         `json:"location"`
	Driver    fleet.Driver   `json:"driver"`
	Model     string         `json:"model,omitempty"`
	LastGood  string         `json:"last_good,omitempty"` // the way back; empty: there is none
	Members   int            `json:"members"`
	Max       int            `json:"max"`
	Unhealthy []string       `json:"unhealthy,omitempty"`
	LeftOut   []rollout.Left `json:"left_out,omitempty"`
}

// A plannedGate is what would be asked, and what would stop the rollout.
type plannedGate struct {
	Name    string `json:"name"`
	Asks    string `json:"asks"`
	Server  string `json:"server,omitempty"` // its host
	Query   string `json:"query,omitempty"`
	Traffic string `json:"traffic_query,omitempty"`
}

// A plannedRegion is the capacity that a rollout may need, and what the subscription may
// have.
type plannedRegion struct {
	Name   string   `json:"name"`
	Births int      `json:"births"` // that autoscale may add beyond the members of now
	Sizes  []string `json:"vm_sizes,omitempty"`
	Used   int      `json:"vcpus_used"`
	Limit  int      `json:"vcpus_limit"`
	// Unknown is why the quota is not known; empty: it is.
	Unknown string `json:"unknown,omitempty"`
}

func newRolloutPlanView(plan *rollout.Plan, refusals []rollout.Refusal) *rolloutPlanView {
	v := &rolloutPlanView{
		Version: 1, Fleet: plan.Fleet, Image: plan.Definition.Name(), ImageVersion: plan.Version, Waves: []plannedWave{}, Sets: []plannedSet{},
		Shortest: plan.Shortest.Seconds(), Reaction: plan.Reaction.Seconds(), Drain: plan.Drain, Refusals: slices.Clone(refusals), Notes: plan.Notes,
	}
	if v.Refusals == nil {
		v.Refusals = []rollout.Refusal{}
	}
	for i := range plan.Waves {
		w := &plan.Waves[i]
		wave := plannedWave{Name: w.Name, Instances: w.Instances, Soak: w.Soak.Seconds(), Approve: w.Approve, Sets: []plannedSetWave{}}
		if i < len(plan.Exposure) {
			e := &plan.Exposure[i]
			wave.Worst = e.Worst
			v.Worst = max(v.Worst, e.Worst)
			for _, x := range e.Sets {
				wave.Sets = append(wave.Sets, plannedSetWave{
					Name: x.Set, Platform: plan.Sets[x.Set].Driver.Platform(), Taken: x.Taken, Births: x.Births, Others: x.Others, Worst: x.Worst,
				})
			}
		}
		v.Waves = append(v.Waves, wave)
	}
	for _, name := range slices.Sorted(maps.Keys(plan.Sets)) {
		s := plan.Sets[name]
		v.Sets = append(v.Sets, plannedSet{
			Name: name, Location: s.Location, Driver: s.Driver, Model: s.Model, LastGood: s.LastGood,
			Members: s.Members, Max: s.Max, Unhealthy: s.Unhealthy, LeftOut: s.LeftOut,
		})
	}
	return v
}

// foresee adds the members of the batches.
func (v *rolloutPlanView) foresee(plan *rollout.Plan, read fleet.Fleet) {
	for _, next := range rollout.Foresee(*plan, read) {
		for i := range v.Waves {
			for j := range v.Waves[i].Sets {
				if s := &v.Waves[i].Sets[j]; v.Waves[i].Name == next.Wave && s.Name == next.Set {
					s.Batches, s.foreseen = next.Batches, true
				}
			}
		}
	}
}

// gates adds what each gate would ask.
func (v *rolloutPlanView) gates(r *fleet.RolloutSpec, plan *rollout.Plan) {
	l := &plan.Limits
	add := func(g plannedGate) { v.Gates = append(v.Gates, g) }
	healthy := fmt.Sprintf("each member on the version: Healthy within %s, and for %s", cli.Duration(l.HealthyWithin), cli.Duration(l.HealthyFor))
	if plan.Drain {
		healthy += "; then its agent: does it serve?"
	}
	add(plannedGate{Name: "healthy", Asks: healthy})
	add(plannedGate{Name: "vanished", Asks: "a member on the version that is gone has failed, unless Azure says another cause"})
	add(plannedGate{Name: "stuck", Asks: "what is under way for " + cli.Duration(l.Stuck) + " pauses the rollout; a pause of " + cli.Duration(l.Pause) + " holds it"})
	if w := r.Gates.Window; w != nil {
		days := "on any day"
		if len(w.Days) > 0 {
			days = strings.Join(w.Days, ", ")
		}
		add(plannedGate{Name: "window", Asks: fmt.Sprintf("batches begin %s from %s to %s, %s", days, w.From, w.To, cmp.Or(w.Timezone, "UTC"))})
	}
	var approvals []string
	for i := range plan.Waves {
		if plan.Waves[i].Approve {
			approvals = append(approvals, plan.Waves[i].Name)
		}
	}
	if len(approvals) > 0 {
		add(plannedGate{Name: "approval", Asks: fmt.Sprintf("of wave %s, within %s", strings.Join(approvals, ", "), cli.Duration(l.Approval))})
	}
	for i := range r.Gates.Prometheus {
		add(prometheusGate(&r.Gates.Prometheus[i], plan))
	}
}

// prometheusGate is what a gate would ask. Its headers are secret, and so may be the path
// of its URL.
func prometheusGate(g *fleet.PrometheusSpec, plan *rollout.Plan) plannedGate {
	limit := ""
	switch {
	case g.Above != nil:
		limit = fmt.Sprintf("above %g", *g.Above)
	case g.Below != nil:
		limit = fmt.Sprintf("below %g", *g.Below)
	}
	gate := plannedGate{Name: g.Name, Query: rendered(g.Query, plan.Version)}
	if u, err := url.Parse(g.URL); err == nil {
		gate.Server = u.Host
	}
	for i := range plan.Gates {
		if plan.Gates[i].Name == g.Name {
			gate.Asks = fmt.Sprintf("each %s; fails when %s, %s in a row; no data: %s", cli.Duration(plan.Gates[i].Every), limit, cli.Plural(max(g.For, 1), "time"), cmp.Or(g.NoData, "pause"))
		}
	}
	if t := g.Traffic; t != nil {
		gate.Traffic = rendered(t.Query, plan.Version)
		gate.Asks += fmt.Sprintf("; counts from a traffic of %g on", t.AtLeast)
	}
	return gate
}

// rendered is a query as it is asked.
func rendered(query, version string) string {
	return strings.ReplaceAll(query, "{{.Version}}", version)
}

// capacity adds what may be born in each region, and the quota there.
func (v *rolloutPlanView) capacity(plan *rollout.Plan, read fleet.Fleet, quota func(region string) (used, limit int, err error)) {
	regions := make(map[string]*plannedRegion)
	for _, name := range slices.Sorted(maps.Keys(plan.Sets)) {
		s := plan.Sets[name]
		r := regions[s.Location]
		if r == nil {
			r = &plannedRegion{Name: s.Location}
			regions[s.Location] = r
		}
		r.Births += max(0, s.Max-s.Members)
		for i := range read.Sets {
			if m := &read.Sets[i].Model; m.ID.Same(s.ID) && m.VMSize != "" && !slices.Contains(r.Sizes, m.VMSize) {
				r.Sizes = append(r.Sizes, m.VMSize)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(regions)) {
		r := regions[name]
		var err error
		if r.Used, r.Limit, err = quota(name); err != nil {
			r.Unknown = cli.Clean(err.Error())
		}
		v.Regions = append(v.Regions, *r)
	}
}

// quota reads how many vCPUs the subscription uses in a region, and how many it may.
func (r *rollouts) quota(ctx context.Context, region string) (used, limit int, err error) {
	ctx, cancel := context.WithTimeout(ctx, quotaWithin)
	defer cancel()
	id := fleet.ResourceID("/subscriptions/" + r.spec.Subscription + "/providers/Microsoft.Compute/locations/" + fleet.NormalLocation(region) + "/usages")
	list, err := r.azure.Resources(ctx, id, "")
	if err != nil {
		return 0, 0, err
	}
	for _, u := range list {
		name, _ := u["name"].(fleet.Document)
		current, _ := u["currentValue"].(float64)
		most, ok := u["limit"].(float64)
		if name["value"] == "cores" && ok {
			return int(current), int(most), nil
		}
	}
	return 0, 0, fmt.Errorf("the usages of %s have no cores", region)
}

// unfinished adds what a rollout that is under way means for a new one.
func (v *rolloutPlanView) unfinished(last *found) {
	switch {
	case last == nil || !unfinished(last.State.Phase):
	case last.Plan.Version == v.ImageVersion:
		v.Notes = append(v.Notes, fmt.Sprintf("%s is %s: fleetctl rollout run goes on with it, by the plan that it was begun with", last.title(), last.State.Phase))
	default:
		v.Refusals = append(v.Refusals, rollout.Refusal{
			ID: "unfinished", Text: fmt.Sprintf("%s is %s, and a fleet has one unfinished rollout", last.title(), last.State.Phase),
			Hint: "let it come to its end, or abort it; fleetctl rollout run " + v.ImageVersion + " --supersede does that first",
		})
	}
}

// rolloutPlan adds a plan.
func (p *page) rolloutPlan(v *rolloutPlanView) {
	p.planHeadline(v)
	for i := range v.Waves {
		p.plannedWave(i, &v.Waves[i])
	}
	p.wayBack(v.Sets)
	p.plannedGates(v.Gates)
	p.plannedCapacity(v.Regions)
	p.notes(v.Notes)
	if len(v.Refusals) > 0 {
		p.Blank()
		p.Text(0, cli.Dim, fmt.Sprintf("Something speaks against it: the exit code is %d.", exitRefused), 2)
	}
}

// planHeadline says what is planned, and what speaks against it.
func (p *page) planHeadline(v *rolloutPlanView) {
	title := fmt.Sprintf("%s %s to %s", v.Image, v.ImageVersion, v.Fleet)
	if n := len(v.Refusals); n > 0 {
		p.Flow(p.leading(0, markBad), 2, painted(cli.BoldRed, title+" would be refused"), painted(cli.Red, cli.Plural(n, "reason")))
	} else {
		p.Flow(p.leading(0, markGood), 2, painted(cli.BoldGreen, title+" can begin"))
	}
	for _, no := range v.Refusals {
		text := no.Text
		if no.Set != "" && !strings.Contains(text, no.Set) {
			text = no.Set + ": " + text
		}
		p.problem(2, fleet.Problem{Level: fleet.LevelError, Text: text})
		p.Flow(painted(cli.Cyan, "    do: "), 8, plain(no.Hint))
	}
	if len(v.Waves) == 0 {
		return
	}
	p.Flow(cli.Cell{Text: "  "}, 2,
		plain(fmt.Sprintf("%s, %s", cli.Plural(len(v.Waves), "wave"), cli.Plural(len(v.Sets), "scale set"))),
		plain(fmt.Sprintf("at worst %s at once on it", cli.Plural(v.Worst, "member"))),
		plain("takes at least "+cli.Seconds(v.Shortest)),
		plain("a failing member stops it within "+cli.Seconds(v.Reaction)))
}

// plannedWave adds a wave with its sets and their first batches.
func (p *page) plannedWave(i int, w *plannedWave) {
	p.Blank()
	approve := ""
	if w.Approve {
		approve = "needs an approval"
	}
	p.Flow(cli.Cell{Text: "  "}, 4, painted(cli.Bold, fmt.Sprintf("wave %d, %s", i+1, w.Name)), painted(cli.Yellow, approve),
		dim("soaks "+cli.Seconds(w.Soak)), plain(fmt.Sprintf("at worst %d", w.Worst)))
	for i := range w.Sets {
		s := &w.Sets[i]
		p.Flow(cli.Cell{Text: "    "}, 6, plain(s.Name), plain(takesText(w, s)), dim(worstText(s)))
		if len(s.Batches) > 0 {
			p.plannedBatches(s.Batches)
		}
	}
}

func takesText(w *plannedWave, s *plannedSetWave) string {
	n := s.Taken
	if len(s.Batches) > 0 {
		n = 0
		for _, b := range s.Batches {
			n += len(b)
		}
	}
	text := cli.Plural(n, "member")
	switch {
	case s.Platform:
		return text + ", picked by the platform"
	case s.foreseen && len(s.Batches) == 0:
		return "nobody is left to take"
	case len(s.Batches) > 0:
		return fmt.Sprintf("%s in %s", text, batchCount(len(s.Batches)))
	case w.Instances > 0:
		return text
	}
	return text + " in all"
}

func batchCount(n int) string {
	if n == 1 {
		return "1 batch"
	}
	return strconv.Itoa(n) + " batches"
}

// worstText says why that many may run the version.
func worstText(s *plannedSetWave) string {
	text := fmt.Sprintf("at worst %d: %d taken", s.Worst, s.Taken)
	if s.Births > 0 {
		text += fmt.Sprintf(", %d born", s.Births)
	}
	if s.Others > 0 {
		text += fmt.Sprintf(", %d made anew", s.Others)
	}
	return text
}

// plannedBatches adds the members of the first batches.
func (p *page) plannedBatches(batches [][]string) {
	table := &cli.Table{Indent: 6, Wrap: 2}
	for i, names := range batches[:min(len(batches), shownBatches)] {
		table.Add(dim(strconv.Itoa(i+1)), plain(andMore(names, shownNames)))
	}
	p.Table(table)
	if more := len(batches) - shownBatches; more > 0 {
		p.Text(9, cli.Dim, fmt.Sprintf("and %d more; --output json lists all", more), 1)
	}
}

// wayBack adds to what each set would go back, and which members are left out.
func (p *page) wayBack(sets []plannedSet) {
	if len(sets) == 0 {
		return
	}
	p.Blank()
	rows := [][]string{{"SCALE SET", "REGION", "MEMBERS", "MAX", "DRIVER", "GOES BACK TO"}}
	for i := range sets {
		s := &sets[i]
		rows = append(rows, []string{cli.Clean(s.Name), p.cut(s.Location, regionWidth), strconv.Itoa(s.Members), strconv.Itoa(s.Max), string(s.Driver), cmp.Or(p.cut(s.LastGood, modelWidth), "nothing")})
	}
	p.fitFirst(rows)
	for i, row := range rows {
		rows[i] = append([]string{" "}, row...)
	}
	table := &cli.Table{}
	table.Add(headings(rows[0]...)...)
	for i, row := range rows[1:] {
		mark, color := markGood, cli.Plain
		if sets[i].LastGood == "" {
			mark, color = markWarning, cli.BoldAmber
		}
		table.Add(mark.Cell(p.Style), painted(cli.Bold, row[1]), plain(row[2]), plain(row[3]), plain(row[4]), dim(row[5]), painted(color, row[6]))
	}
	lines := table.Lines(p.Style, p.Width)
	p.Raw(lines[0])
	for i := range sets {
		p.Raw(lines[i+1])
		s := &sets[i]
		if n := len(s.LeftOut); n > 0 {
			var why []string
			for _, l := range s.LeftOut[:min(n, shownNames)] {
				why = append(why, l.Member+": "+l.Why)
			}
			if n > shownNames {
				why = append(why, fmt.Sprintf("and %d more", n-shownNames))
			}
			p.problem(4, fleet.Problem{Level: fleet.LevelWarning, Text: "left out: " + strings.Join(why, "; ")})
		}
		if len(s.Unhealthy) > 0 {
			p.problem(4, fleet.Problem{Level: fleet.LevelWarning, Text: fmt.Sprintf("%d not Healthy before it begins", len(s.Unhealthy)), Members: s.Unhealthy})
		}
	}
}

// plannedGates adds what the gates would ask.
func (p *page) plannedGates(gates []plannedGate) {
	if len(gates) == 0 {
		return
	}
	p.Blank()
	table := &cli.Table{Indent: 2, Wrap: queryLines}
	table.Add(headings("GATE", "WHAT IT ASKS")...)
	for i := range gates {
		g := &gates[i]
		table.Add(plain(p.cut(g.Name, 20)), plain(g.Asks))
		for _, more := range []string{prefixed("query: ", g.Query), prefixed("traffic: ", g.Traffic), prefixed("asked of ", g.Server)} {
			if more != "" {
				table.Add(plain(""), dim(more))
			}
		}
	}
	p.Table(table)
}

// plannedCapacity adds what may be born in each region, and the quota there.
func (p *page) plannedCapacity(regions []plannedRegion) {
	if len(regions) == 0 {
		return
	}
	p.Blank()
	table := &cli.Table{Indent: 2, Wrap: 3}
	table.Add(headings("REGION", "BIRTHS", "QUOTA")...)
	for _, r := range regions {
		quota := fmt.Sprintf("%d of %d vCPUs used, %d left", r.Used, r.Limit, r.Limit-r.Used)
		if r.Unknown != "" {
			quota = "not known: " + r.Unknown
		}
		births := fmt.Sprintf("at most %d", r.Births)
		if r.Births > 0 && len(r.Sizes) > 0 {
			births += " of " + strings.Join(r.Sizes, ", ")
		}
		table.Add(plain(r.Name), plain(p.cut(births, 40)), dim(quota))
	}
	p.Table(table)
}
