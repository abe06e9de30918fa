package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/release"
)

// A releasing is a promotion or a demotion that was asked for.
type releasing struct {
	version  string
	regions  []string
	excluded bool
	untested bool
	dryRun   bool
}

func newPromoteCommand(g *globals) *cobra.Command {
	var r releasing
	cmd := &cobra.Command{
		Use:   "promote VERSION",
		Short: "make an image version the latest, in all regions or in some",
		Long: `End the exclusion of an image version from latest, in the regions of --region
or everywhere, in one write that leaves the other regions as they were.

Scale sets whose image reference has no version take it at once: each
scale-out, repair and reimage there, and automatic OS upgrades where they are
on. Sets that are pinned to a version do not. The output says which set is
which; it knows the scale sets of the file.

A version that is marked failed is refused, and so is one that is not
replicated to each of the regions. One that never passed the boot test of
fleetctl bake needs --untested.

While a rollout of the file is not over, its version is refused, and so is what
would change the latest for a scale set of it: a rollout promotes its version
itself. The journal that the file names is read for that.

Another writer may change the version at the same time. What is there after
the write is read and compared, and written again if need be. While Azure
shows the version as Updating, nothing is written.

Exit codes: 0 done, or it was so already; 3 refused; 1 error, 2 wrong usage, 4
not authorised, 130 interrupted.`,
		Example: `  fleetctl promote 1.8.3
  fleetctl promote 1.8.3 --region eastus
  fleetctl promote 1.8.3 --dry-run`,
		Args: usage.Arguments("VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.version = args[0]
			return g.release(cmd, r)
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&r.untested, "untested", false, "promote it although it never passed a boot test")
	return cmd
}

// flags adds the flags that promote and demote share.
func (r *releasing) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&r.regions, "region", nil, "only in this `REGION`; may be given again, or be a list\nwith commas")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "say what it means, and write nothing")
}

// release promotes or demotes a version, and says what that means.
func (g *globals) release(cmd *cobra.Command, r releasing) error {
	switch {
	case !fleet.IsVersion(r.version):
		return usage.Error(cmd, fmt.Errorf("%q is not the number of an image version, which is like 1.8.3", r.version))
	case cmd.Flags().Changed("region") && len(r.regions) == 0, slices.ContainsFunc(r.regions, func(name string) bool { return strings.TrimSpace(name) == "" }):
		return usage.Error(cmd, errors.New("--region is empty"))
	}
	ctx, cancel := g.within(cmd.Context())
	defer cancel()
	read, spec, err := g.look(ctx, azure.Scope{Members: true, Images: true})
	if err != nil {
		return err
	}
	definition := spec.DefinitionID()
	if definition == "" {
		return g.noGallery()
	}
	view, err := fleet.Release(read, definition, r.version, r.regions, r.excluded, g.now())
	if err != nil {
		return err
	}
	view.DryRun = r.dryRun
	if err := g.unheldRelease(ctx, spec, &view); err != nil {
		return err
	}
	if err := g.edit(ctx, spec, &view, r); err != nil {
		return err
	}
	if g.json() {
		return g.out.JSON(view)
	}
	return g.print(g.releasePage(&view))
}

// edit writes what a release changes. A dry run asks what would be refused, too.
func (g *globals) edit(ctx context.Context, spec *fleet.Spec, view *fleet.ReleaseView, r releasing) error {
	client, err := g.client()
	if err != nil {
		return err
	}
	edit := g.unheldEdit(ctx, spec, view, r)
	if r.dryRun {
		now, err := client.Resource(ctx, view.ID, "ReplicationStatus")
		if err != nil {
			return err
		}
		patch, err := edit(now.Body)
		view.Written = patch != nil
		return err
	}
	editor := release.NewEditor(client, g.sleep, func(text string) { g.out.Say("fleetctl: %s", text) })
	result, err := editor.Edit(ctx, view.ID, edit, g.noWait)
	view.Written, view.Pending = result.Written, result.Pending
	return err
}

// unheldRelease refuses a release of what an unfinished rollout holds.
func (g *globals) unheldRelease(ctx context.Context, spec *fleet.Spec, view *fleet.ReleaseView) error {
	h, err := g.holdToWrite(ctx, spec)
	if err != nil {
		return err
	}
	return h.Release(view)
}

// unheldEdit is what a release changes. Right before each write it asks again whether a
// rollout holds that: the editor may have waited for long.
func (g *globals) unheldEdit(ctx context.Context, spec *fleet.Spec, view *fleet.ReleaseView, r releasing) fleet.VersionEdit {
	edit := fleet.Demotion(r.regions)
	if !r.excluded {
		edit = fleet.Promotion(r.regions, r.untested)
	}
	return func(version fleet.Document) (fleet.Document, error) {
		patch, err := edit(version)
		if patch != nil && err == nil {
			err = g.unheldRelease(ctx, spec, view)
		}
		return patch, err
	}
}

func (g *globals) releasePage(view *fleet.ReleaseView) *page {
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, view.Image+" "+view.Name), plain(headline(view)))
	for _, warning := range view.Warnings {
		p.problem(2, fleet.Problem{Level: fleet.LevelWarning, Text: warning})
	}
	p.releaseRegions(view)
	p.releaseSets(view)
	p.notes(view.Notes)
	if view.DryRun {
		p.Blank()
		p.Text(0, cli.Dim, "a dry run: nothing was written", 1)
	}
	return p
}

// headline says in one line what was done where.
func headline(view *fleet.ReleaseView) string {
	words := [...]string{"promoted", "promoted already", "to be promoted", "is being promoted"}
	if view.Action == fleet.ActionDemote {
		words = [...]string{"demoted", "demoted already", "to be demoted", "is being demoted"}
	}
	var asked []string
	for _, r := range view.Regions {
		if r.Asked {
			asked = append(asked, r.Name)
		}
	}
	what := words[0]
	switch {
	case !view.Written:
		what = words[1]
	case view.DryRun:
		what = words[2]
	case view.Pending:
		what = words[3]
	}
	text := what + " in " + cmp.Or(andMore(asked, 6), "no region")
	if !view.Written {
		text += "; nothing was written"
	}
	return text
}

// releaseRegions is what a reference without version means in each region.
func (p *page) releaseRegions(view *fleet.ReleaseView) {
	if len(view.Regions) == 0 {
		return
	}
	p.Blank()
	table := &cli.Table{Indent: 2}
	table.Add(headings("REGION", view.Name, "LATEST", "TRACKED BY")...)
	for _, r := range view.Regions {
		table.Add(painted(cli.Bold, p.cut(r.Name, 20)), plain(p.became(exclusionText(r.Was), exclusionText(r.Excluded))),
			plain(p.became(latestWord(r.Before), latestWord(r.After))), plain(cmp.Or(p.setNames(r.Tracking), "nobody")))
	}
	p.Table(table)
}

func exclusionText(excluded bool) string {
	if excluded {
		return "excluded"
	}
	return "offered"
}

func latestWord(l fleet.RegionLatest) string {
	if !l.Known {
		return "not known"
	}
	return cmp.Or(l.Version, "none")
}

// became is what was and what is, or one of them when they are the same.
func (p *page) became(was, is string) string {
	if was == is {
		return is
	}
	arrow := " -> "
	if p.Style.Unicode {
		arrow = " → "
	}
	return was + arrow + is
}

func (p *page) setNames(names []string) string {
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = p.cut(name, nameWidth)
	}
	return andMore(shown, shownNames)
}

// releaseSets says which scale sets take the version from now on, and which run it.
func (p *page) releaseSets(view *fleet.ReleaseView) {
	demote := view.Action == fleet.ActionDemote
	heading, color := "takes it from now on", cli.Plain
	switch {
	case demote && view.DryRun:
		heading, color = "takes it even then", cli.Yellow
	case demote:
		heading, color = "still takes it", cli.Yellow
	case !view.Written:
		heading = "takes it"
	case view.DryRun:
		heading = "takes it then"
	}
	if len(view.Takes) > 0 {
		p.Blank()
		p.Text(2, color, heading+", with each scale-out, repair and reimage:", 2)
	}
	table := &cli.Table{Indent: 4, Wrap: problemLines}
	for _, s := range view.Takes {
		why := "its image reference has no version"
		switch {
		case s.Pinned && demote:
			why = "pinned: its model asks for " + view.Name
		case s.Pinned:
			why = "pinned: its model asked for " + view.Name + " before this, too"
		case s.AutoOS:
			why = "its image reference has no version, and automatic OS upgrade is on: members are upgraded without being asked"
		}
		table.Add(painted(cli.Bold, p.cut(s.ScaleSet, nameWidth)), plain(p.cut(s.Location, 20)), plain(why))
	}
	p.Table(table)
	if !demote {
		if len(view.Takes) == 0 {
			p.Blank()
			p.Text(2, cli.Plain, "no scale set of the file takes it by itself: all are pinned, or track something else", 2)
		}
		return
	}
	p.Blank()
	members := 0
	for _, s := range view.Runs {
		members += s.Members
	}
	if members == 0 {
		p.Text(2, cli.Plain, "no member of the file's scale sets runs it", 2)
		return
	}
	var names []string
	for _, s := range view.Runs {
		names = append(names, fmt.Sprintf("%s %d", p.cut(s.ScaleSet, nameWidth), s.Members))
	}
	p.Text(2, cli.Plain, cli.Plural(members, "member")+" running it: "+andMore(names, shownNames)+". They go on as they are, and so does an upgrade that is under way", 4)
}
