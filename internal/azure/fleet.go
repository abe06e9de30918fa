package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Scope says what to read: which scale sets, and what of them and around them. Its
// zero value reads nothing.
type Scope struct {
	// Subscription is that of the resource groups and of Providers.
	Subscription string
	// ResourceGroup is read whole, unless it is empty: its scale sets and, with Images,
	// its galleries.
	ResourceGroup string
	// Sets and GalleryIDs are read besides.
	Sets       []fleet.ResourceID
	GalleryIDs []fleet.ResourceID

	Members   bool // of each set
	Upgrades  bool // the latest rolling upgrade of each set
	History   bool // of operating system upgrades of each set
	Autoscale bool // of each set
	// Images asks for galleries: those named above and, of any other that a set refers
	// to, the definitions that it refers to.
	Images    bool
	Templates bool // of TemplateGroup
	Providers bool
	// TemplateGroup is another resource group than ResourceGroup, or the only one.
	TemplateGroup string
}

// Fleet reads what a scope asks for, as much of it as possible at the same time. It
// is whole or an error; what is there is in the order of the ids.
//
// It costs the pages of the lists, and for each set one request for the set when it
// is named, one for each of Upgrades and History, and two when members look vanished;
// for each gallery one, and for each version one.
func (c *Client) Fleet(ctx context.Context, scope Scope) (fleet.Fleet, error) {
	r := &reading{client: c, scope: scope}
	r.fleet.At = time.Now()
	// Which galleries there are to read depends on the sets.
	for _, stage := range []func(context.Context, *errgroup.Group){r.outline, r.details} {
		all, inner := errgroup.WithContext(ctx)
		stage(inner, all)
		if err := all.Wait(); err != nil {
			return fleet.Fleet{}, err
		}
	}
	return r.result(), nil
}

// A reading is a Fleet while it is read.
type reading struct {
	client *Client
	scope  Scope

	mu    sync.Mutex
	fleet fleet.Fleet
	// wanted are the galleries to read, by id in lower case.
	wanted map[string]*wantedGallery
	// autoscale are the settings of all groups with sets.
	autoscale []fleet.Autoscale
}

// A wantedGallery is one to read: whole, or the named definitions that sets refer to.
type wantedGallery struct {
	id       fleet.ResourceID
	whole    bool
	only     []string
	referred string // the set that refers to it, when nobody asked for it
}

// with changes the result.
func (r *reading) with(change func(f *fleet.Fleet)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.fleet)
}

// outline reads which sets and galleries there are, and what depends on neither.
func (r *reading) outline(ctx context.Context, all *errgroup.Group) {
	r.wanted = make(map[string]*wantedGallery)
	subscription, rg := r.scope.Subscription, r.scope.ResourceGroup
	for _, id := range r.scope.Sets {
		all.Go(func() error { return r.set(ctx, id) })
	}
	if rg != "" {
		all.Go(func() error {
			sets, err := r.client.ScaleSets(ctx, subscription, rg)
			r.add(sets...)
			return err
		})
	}
	for _, id := range r.scope.GalleryIDs {
		r.want(id, nil, "")
	}
	if rg != "" && r.scope.Images {
		all.Go(func() error {
			galleries, err := r.client.Galleries(ctx, subscription, rg)
			for _, g := range galleries {
				r.want(g.ID, nil, "")
			}
			return err
		})
	}
	if in := cmp.Or(r.scope.TemplateGroup, rg); in != "" && r.scope.Templates {
		all.Go(func() error {
			templates, err := r.client.Templates(ctx, subscription, in)
			r.with(func(f *fleet.Fleet) { f.Templates = templates })
			return err
		})
	}
	if r.scope.Providers {
		all.Go(func() error {
			providers, err := r.client.Providers(ctx, subscription)
			r.with(func(f *fleet.Fleet) { f.Providers = providers })
			return err
		})
	}
}

// set reads a set that is named, which need not be there.
func (r *reading) set(ctx context.Context, id fleet.ResourceID) error {
	model, err := r.client.ScaleSet(ctx, id)
	switch {
	case isNotFound(err):
		r.with(func(f *fleet.Fleet) { f.Missing = append(f.Missing, id) })
		return nil
	case err != nil:
		return err
	}
	r.add(model)
	return nil
}

// add adds sets, each of them once.
func (r *reading) add(models ...fleet.ScaleSet) {
	r.with(func(f *fleet.Fleet) {
		for _, m := range models {
			if !slices.ContainsFunc(f.Sets, func(s fleet.Set) bool { return s.Model.ID.Same(m.ID) }) {
				f.Sets = append(f.Sets, fleet.Set{Model: m})
			}
		}
	})
}

// want notes that a gallery is to be read: whole, or one definition of it, which set
// refers to.
func (r *reading) want(id fleet.ResourceID, definition *string, set string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.ToLower(string(id))
	g, ok := r.wanted[key]
	if !ok {
		g = &wantedGallery{id: id, referred: set}
		r.wanted[key] = g
	}
	if definition == nil {
		g.whole, g.referred = true, ""
	} else if !slices.Contains(g.only, *definition) {
		g.only = append(g.only, *definition)
	}
}

// details reads what is in the sets and galleries. A set in Uniform orchestration is
// left alone: its members are told in another way.
func (r *reading) details(ctx context.Context, all *errgroup.Group) {
	groups := make(map[string]group)
	for i := range r.fleet.Sets {
		s := &r.fleet.Sets[i]
		if r.scope.Images {
			r.wantImage(s.Model)
		}
		if !s.Model.Flexible {
			continue
		}
		g := group{s.Model.ID.Subscription(), s.Model.ID.ResourceGroup()}
		groups[g.key()] = g
		r.setDetails(ctx, all, s)
	}
	if r.scope.Autoscale {
		for _, g := range groups {
			all.Go(func() error {
				settings, err := r.client.Autoscale(ctx, g.subscription, g.name)
				r.with(func(*fleet.Fleet) { r.autoscale = append(r.autoscale, settings...) })
				return err
			})
		}
	}
	if r.scope.Images {
		for _, g := range r.wanted {
			all.Go(func() error { return r.gallery(ctx, g) })
		}
	}
}

// wantImage notes the image that a set refers to.
func (r *reading) wantImage(set fleet.ScaleSet) {
	image, err := set.Image.Gallery()
	if err != nil {
		return
	}
	i := strings.Index(strings.ToLower(string(image.Definition)), "/images/")
	if i < 0 || image.Definition.Subscription() == "" {
		return // shared in a way that has no gallery to read
	}
	name := image.Definition.Name()
	r.want(image.Definition[:i], &name, set.ID.Name())
}

// setDetails reads what is asked for of one set. Each part has a field of its own.
func (r *reading) setDetails(ctx context.Context, all *errgroup.Group, s *fleet.Set) {
	id := s.Model.ID
	if r.scope.Members {
		all.Go(func() (err error) {
			s.Members, err = r.client.Members(ctx, id)
			return err
		})
	}
	if r.scope.Upgrades {
		all.Go(func() (err error) {
			s.Rolling, err = r.client.RollingUpgrade(ctx, id)
			return err
		})
	}
	if r.scope.History {
		all.Go(func() (err error) {
			s.History, err = r.client.History(ctx, id)
			return err
		})
	}
}

// gallery reads a gallery. One that a set refers to and nobody asked for may be
// another team's, and out of reach.
func (r *reading) gallery(ctx context.Context, w *wantedGallery) error {
	only := w.only
	if w.whole {
		only = nil
	}
	found, err := r.client.Gallery(ctx, w.id, only)
	switch {
	case err == nil:
		r.with(func(f *fleet.Fleet) { f.Galleries = append(f.Galleries, found) })
		return nil
	case w.whole && isNotFound(err):
		r.with(func(f *fleet.Fleet) { f.Missing = append(f.Missing, w.id) })
		return nil
	case !w.whole && (isNotFound(err) || errors.Is(err, &Error{Kind: Denied})):
		note := fmt.Sprintf("gallery %s, which %s refers to, was not read: %v", w.id.Name(), w.referred, err)
		r.with(func(f *fleet.Fleet) { f.Notes = append(f.Notes, note) })
		return nil
	}
	return err
}

// result is the fleet that was read, in an order that is always the same.
func (r *reading) result() fleet.Fleet {
	f := r.fleet
	for i := range f.Sets {
		for _, a := range r.autoscale {
			if a.Target.Same(f.Sets[i].Model.ID) {
				f.Sets[i].Autoscale = &a
			}
		}
	}
	byID := func(a, b fleet.ResourceID) int {
		return strings.Compare(strings.ToLower(string(a)), strings.ToLower(string(b)))
	}
	slices.SortFunc(f.Sets, func(a, b fleet.Set) int { return byID(a.Model.ID, b.Model.ID) })
	slices.SortFunc(f.Galleries, func(a, b fleet.Gallery) int { return byID(a.ID, b.ID) })
	slices.SortFunc(f.Missing, byID)
	slices.Sort(f.Notes)
	return f
}
