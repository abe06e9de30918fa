package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// shownVersions are listed of a definition when they are of no interest: in use,
// newest and troubled ones are always.
const shownVersions = 10

func newImagesCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "say which image versions are where, and who uses them",
		Long: `Say which image versions there are: how far each is replicated in each region,
whether it is excluded from latest, marked failed or good, when its life ends,
and which scale sets use it, by their model and by what their members run.

What a reference without version means is resolved as Azure does it: the highest
version that is provisioned, replicated to the region and not excluded. It is
marked latest. The version of a rollout of the file that is not over is marked
rollout.`,
		Example: `  fleetctl images
  fleetctl images -g rg-pay-prod
  fleetctl images -o json | jq '.definitions[].versions[] | {name, replication}'`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			read, spec, err := g.look(ctx, azure.Scope{Members: true, Images: true})
			if err != nil {
				return err
			}
			view := fleet.Images(read, g.now())
			hold, note := g.holdToShow(ctx, spec)
			view.Hold(hold)
			if note != "" {
				view.Notes = append(view.Notes, note)
			}
			if g.json() {
				return g.out.JSON(view)
			}
			return g.print(g.imagesPage(view))
		},
	}
	g.scopeFlags(cmd)
	cmd.AddCommand(newPruneCommand(g))
	return cmd
}

func (g *globals) imagesPage(view fleet.ImagesView) *page {
	p := g.newPage(g.now())
	for i := range view.Definitions {
		p.Blank()
		p.definition(&view.Definitions[i])
	}
	if len(view.Definitions) == 0 {
		p.Flow(p.leading(0, markUnknown), 2, plain("no image definitions"), dim("read "+cli.Clock(view.At, p.now)))
	}
	p.unread(view.Unread)
	p.notes(view.Notes)
	return p
}

// definition adds an image definition: what is wrong, what is latest, every version.
func (p *page) definition(d *fleet.DefinitionImages) {
	p.Flow(p.leading(0, levelMark(d.Level)), 2, painted(cli.Bold, d.Name), plain("gallery "+d.Gallery), plain(cli.Plural(len(d.Versions), "version")))
	for _, problem := range d.Problems {
		p.problem(2, problem)
	}
	if len(d.Latest) > 0 {
		p.Flow(dim("  latest "), 9, plain(p.latestText(d.Latest)))
	}
	if len(d.Versions) == 0 {
		return
	}
	p.Blank()
	rows, left := [][]string{{"VERSION", "REPLICATION", "MARKS", "AGE", "ENDS", "USED BY"}}, 0
	var shown []*fleet.VersionImages
	for i := range d.Versions {
		v := &d.Versions[i]
		if len(shown) >= shownVersions && len(v.UsedBy) == 0 && v.Replication == fleet.Replicated {
			left++
			continue
		}
		shown = append(shown, v)
		rows = append(rows, []string{p.cut(v.Name, 16), p.replicationText(v), p.markText(v), p.ageText(v), p.endText(v), p.usesText(v)})
	}
	table := &cli.Table{Indent: 2, Wrap: problemLines}
	table.Add(headings(rows[0]...)...)
	for i, row := range rows[1:] {
		v := shown[i]
		table.Add(painted(cli.Bold, row[0]), painted(replicationColor(v.Replication), row[1]), painted(markColor(v), row[2]), dim(row[3]), dim(row[4]), plain(row[5]))
	}
	p.Table(table)
	if left > 0 {
		p.Text(2, cli.Dim, fmt.Sprintf("and %s that nobody uses; --output json lists all", cli.Plural(left, "more version")), 1)
	}
}

// latestText is what a reference without version means, by version: "1.7.1 in
// eastus, westus3".
func (p *page) latestText(list []fleet.RegionLatest) string {
	var order []string
	regions := make(map[string][]string)
	for _, l := range list {
		name := cmp.Or(l.Version, "none")
		if !l.Known {
			name = "not known"
		}
		if regions[name] == nil {
			order = append(order, name)
		}
		regions[name] = append(regions[name], l.Region)
	}
	var parts []string
	for _, name := range order {
		parts = append(parts, p.cut(name, 24)+" in "+andMore(regions[name], 6))
	}
	return strings.Join(parts, "; ")
}

// replicationText is "2 regions", or how far each region is that is not done.
func (p *page) replicationText(v *fleet.VersionImages) string {
	var open []string
	for _, r := range v.Regions {
		switch r.State {
		case fleet.Replicated:
		case fleet.Replicating:
			open = append(open, fmt.Sprintf("%s %d%%", r.Name, r.Progress))
		default:
			open = append(open, r.Name+" "+cmp.Or(r.State, "unknown"))
		}
	}
	switch {
	case v.Provisioning != fleet.Succeeded:
		return p.cut(cmp.Or(v.Provisioning, "unknown"), 14)
	case len(v.Regions) == 0:
		return "nowhere"
	case len(open) == 0:
		return cli.Plural(len(v.Regions), "region")
	case len(open) == 1:
		return p.cut(open[0], 26)
	}
	return fmt.Sprintf("%d of %s not", len(open), cli.Plural(len(v.Regions), "region"))
}

// markText is what is said of a version: excluded, failed, good, and whether it is
// the latest anywhere.
func (p *page) markText(v *fleet.VersionImages) string {
	var words []string
	latest, excluded := 0, 0
	for _, r := range v.Regions {
		if r.Latest {
			latest++
		}
		if r.Excluded {
			excluded++
		}
	}
	if latest > 0 {
		words = append(words, "latest")
	}
	switch {
	case v.Excluded:
		words = append(words, "excluded")
	case excluded > 0:
		words = append(words, fmt.Sprintf("excluded in %d", excluded))
	}
	if v.Failed {
		words = append(words, "failed")
	}
	if v.Good {
		words = append(words, "good")
	}
	if v.Rollout != "" {
		words = append(words, "rollout "+v.Rollout)
	}
	if v.Ended {
		words = append(words, "ended")
	}
	return strings.Join(words, " ")
}

// ageText is how long ago a version was published.
func (p *page) ageText(v *fleet.VersionImages) string {
	if v.Published == nil {
		return "?"
	}
	return days(p.now.Sub(*v.Published))
}

// endText is how long a version still has.
func (p *page) endText(v *fleet.VersionImages) string {
	switch {
	case v.EndOfLife == nil:
		return "never"
	case v.Ended:
		return "ended"
	}
	return "in " + days(v.EndOfLife.Sub(p.now))
}

// days is a span in whole days, or in hours when it has none.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < day {
		return fmt.Sprintf("%dh", max(d, 0)/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// usesText is who uses a version, with the members that run it.
func (p *page) usesText(v *fleet.VersionImages) string {
	var parts []string
	for i, u := range v.UsedBy {
		if i == shownNames {
			parts = append(parts, cli.Plural(len(v.UsedBy)-i, "more set"))
			break
		}
		text := p.cut(u.ScaleSet, nameWidth)
		if u.Members > 0 {
			text += fmt.Sprintf(" %d", u.Members)
		}
		switch {
		case !u.Model:
			text += " (not its model)"
		case u.Members == 0:
			text += " (model only)"
		}
		parts = append(parts, text)
	}
	return cmp.Or(strings.Join(parts, ", "), "nobody")
}

func replicationColor(state string) cli.Color {
	switch state {
	case fleet.Replicated:
		return cli.Green
	case fleet.ReplicationFailed:
		return cli.Red
	}
	return cli.Yellow
}

func markColor(v *fleet.VersionImages) cli.Color {
	switch {
	case v.Failed:
		return cli.Red
	case v.Good:
		return cli.Green
	}
	return cli.Plain
}

// unread names what scale sets use and this cannot look at.
func (p *page) unread(uses []fleet.ImageUse) {
	for i, u := range uses {
		if i == 0 {
			p.Blank()
		}
		if i == shownVersions {
			p.Text(2, cli.Dim, fmt.Sprintf("and %d more", len(uses)-i), 1)
			return
		}
		image := strings.TrimSpace(u.Definition.Name() + " " + u.Version)
		p.Flow(p.leading(0, markUnknown), 2, plain(fmt.Sprintf("%s uses %s, whose gallery was not read", u.ScaleSet, image)), dim(string(u.Definition)))
	}
}
