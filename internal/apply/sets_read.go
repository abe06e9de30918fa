package apply

import (
	"context"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// setsAtOnce bounds the scale sets that are read, or written, at the same time.
	setsAtOnce = 8
	// fewSets of a resource group are read one by one; of more, the group is listed.
	fewSets = 3
)

// Sets are the scale sets of a file as they were read, and what a plan of them goes by.
type Sets struct {
	Owned   map[string]*fleet.OwnedSet // by their names in the file
	Options *fleet.OwnOptions
}

// ReadSets reads the scale sets of a file. The image definition is read where the options
// have none; one that is not there is none. Held says which rollout holds a set; nil: none
// holds any.
//
// It costs the pages of the lists (of the sets and the autoscale settings of each resource
// group, of the members and the machines of each set), one request a set for its rolling
// upgrade, and one for the set itself where its group has but a few of the file. Of a set
// that is not managed in full, nothing but the set is read.
func ReadSets(ctx context.Context, client *azure.Client, spec *fleet.Spec, o *fleet.OwnOptions, held func(name string) string) (*Sets, error) {
	options := *o
	r := setReader{client: client, spec: spec}
	found := &Sets{Owned: make(map[string]*fleet.OwnedSet), Options: &options}
	for name := range spec.ScaleSets {
		found.Owned[name] = &fleet.OwnedSet{}
		if held != nil {
			found.Owned[name].Held = held(name)
		}
	}
	// What belongs to a set depends on whether it is there.
	for _, stage := range []func(context.Context, *errgroup.Group, *Sets){r.outline, r.details} {
		all, inner := errgroup.WithContext(ctx)
		all.SetLimit(setsAtOnce)
		stage(inner, all, found)
		if err := all.Wait(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Plans says what brings the sets to what a file says, in the order of their names.
func (s *Sets) Plans(spec *fleet.Spec) []fleet.SetPlan {
	var plans []fleet.SetPlan
	for _, name := range setNames(spec) {
		plans = append(plans, fleet.PlanSet(spec, name, s.Owned[name], s.Options))
	}
	return plans
}

func setNames(spec *fleet.Spec) []string { return slices.Sorted(maps.Keys(spec.ScaleSets)) }

// A setReader reads scale sets.
type setReader struct {
	client *azure.Client
	spec   *fleet.Spec
}

// groups are the names of the sets, by the resource group that they are in.
func (r *setReader) groups() map[fleet.ResourceID][]string {
	groups := make(map[fleet.ResourceID][]string)
	for _, name := range setNames(r.spec) {
		group := groupOf(r.spec.SetID(name))
		groups[group] = append(groups[group], name)
	}
	return groups
}

// groupOf is the resource group of a resource, in lower case.
func groupOf(id fleet.ResourceID) fleet.ResourceID {
	group, _, _ := strings.Cut(fleet.Key(id), "/providers/")
	return fleet.ResourceID(group)
}

const (
	setsOf      = "/providers/Microsoft.Compute/virtualMachineScaleSets"
	autoscaleOf = "/providers/Microsoft.Insights/autoscaleSettings"
)

// outline reads the sets, and what is read beside them.
func (r *setReader) outline(ctx context.Context, all *errgroup.Group, found *Sets) {
	for group, names := range r.groups() {
		if len(names) > fewSets {
			all.Go(func() error { return r.list(ctx, group, names, found) })
			continue
		}
		for _, name := range names {
			all.Go(func() (err error) {
				found.Owned[name].Seen, _, err = see(ctx, r.client, r.spec.SetID(name))
				return err
			})
		}
	}
	if found.Options.Definition == nil && r.spec.Gallery != nil {
		all.Go(func() (err error) {
			found.Options.Definition, err = r.definition(ctx)
			return err
		})
	}
}

// list reads the sets of a group by its list. A group that is not there has none.
func (r *setReader) list(ctx context.Context, group fleet.ResourceID, names []string, found *Sets) error {
	bodies, err := r.client.Resources(ctx, group+setsOf, "")
	if is(err, azure.NotFound) && says(err, "ResourceGroupNotFound") {
		return nil
	}
	for _, body := range bodies {
		id, _ := body["id"].(string)
		etag, _ := body["etag"].(string)
		for _, name := range names {
			if r.spec.SetID(name).Same(fleet.ResourceID(id)) {
				found.Owned[name].Seen = fleet.Seen{Body: body, ETag: etag}
			}
		}
	}
	return err
}

// definition reads the image definition with its versions; nil: there is none yet.
func (r *setReader) definition(ctx context.Context) (*fleet.Definition, error) {
	gallery, err := r.client.Gallery(ctx, r.spec.GalleryID(), []string{r.spec.Gallery.Image.Name})
	if is(err, azure.NotFound) || err == nil && len(gallery.Definitions) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &gallery.Definitions[0], nil
}

// details reads what belongs to the sets that are ours.
func (r *setReader) details(ctx context.Context, all *errgroup.Group, found *Sets) {
	for group, names := range r.groups() {
		all.Go(func() error { return r.autoscale(ctx, group, names, found) })
	}
	for name, seen := range found.Owned {
		if r.ours(name) && seen.Seen.Body != nil {
			r.parts(ctx, all, name, seen)
		}
	}
}

// ours says whether a set is managed in full.
func (r *setReader) ours(name string) bool { return r.spec.ScaleSets[name].Manage == fleet.ManageFull }

// parts reads the members of a set, and what the platform does to them.
func (r *setReader) parts(ctx context.Context, all *errgroup.Group, name string, seen *fleet.OwnedSet) {
	id := r.spec.SetID(name)
	seen.Set = &fleet.Set{Model: fleet.ReadScaleSet(seen.Seen.Body)}
	all.Go(func() (err error) {
		seen.Set.Members, err = r.client.Members(ctx, id)
		return err
	})
	all.Go(func() (err error) {
		seen.Set.Rolling, err = r.client.RollingUpgrade(ctx, id)
		return err
	})
}

// autoscale reads the autoscale settings of a group, for its sets that are ours.
func (r *setReader) autoscale(ctx context.Context, group fleet.ResourceID, names []string, found *Sets) error {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !r.ours(name) })
	if len(names) == 0 {
		return nil
	}
	bodies, err := r.client.Resources(ctx, group+autoscaleOf, "")
	if is(err, azure.NotFound) && says(err, "ResourceGroupNotFound") {
		return nil
	}
	for _, body := range bodies {
		setting := fleet.ReadAutoscale(body)
		for _, name := range names {
			switch own, id := found.Owned[name], r.spec.SetID(name); {
			case setting.Target.Same(id):
				own.AutoscaleID, own.Autoscale = setting.ID, fleet.Seen{Body: body}
			case own.AutoscaleID == "" && setting.ID.Same(fleet.AutoscaleID(id)):
				own.Autoscale = fleet.Seen{Body: body}
			}
		}
	}
	return err
}

// again reads one set anew, with all that belongs to it. Its autoscale setting is the one
// that was read, or else the one that the file would make.
func (r *setReader) again(ctx context.Context, name string, before *fleet.OwnedSet) (*fleet.OwnedSet, error) {
	seen := &fleet.OwnedSet{AutoscaleID: before.AutoscaleID, Held: before.Held}
	if seen.AutoscaleID == "" {
		seen.AutoscaleID = fleet.AutoscaleID(r.spec.SetID(name))
	}
	var err error
	if seen.Seen, _, err = see(ctx, r.client, r.spec.SetID(name)); err != nil {
		return nil, err
	}
	all, inner := errgroup.WithContext(ctx)
	if seen.Seen.Body != nil {
		r.parts(inner, all, name, seen)
	}
	all.Go(func() (err error) {
		seen.Autoscale, _, err = see(inner, r.client, seen.AutoscaleID)
		setting := fleet.ReadAutoscale(seen.Autoscale.Body)
		if !setting.Target.Same(r.spec.SetID(name)) { // there is none, or it is another's
			seen.AutoscaleID = ""
		}
		return err
	})
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return seen, nil
}
