package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Galleries returns the galleries of a resource group, without what is in them.
func (c *Client) Galleries(ctx context.Context, subscription, resourceGroup string) ([]fleet.Gallery, error) {
	s, err := c.in(subscription)
	if err != nil {
		return nil, err
	}
	op := "list the galleries of " + resourceGroup
	pages, err := list(ctx, op, s.galleries.NewListByResourceGroupPager(resourceGroup, nil),
		func(p armcompute.GalleriesClientListByResourceGroupResponse) []*armcompute.Gallery { return p.Value })
	if err != nil {
		return nil, err
	}
	galleries := mapped(pages, gallery)
	for _, g := range galleries {
		if err := told(op, g.ID); err != nil {
			return nil, err
		}
	}
	return galleries, nil
}

// Gallery returns a gallery with its definitions and their versions; with only, those
// of the named definitions.
func (c *Client) Gallery(ctx context.Context, id fleet.ResourceID, only []string) (fleet.Gallery, error) {
	g, s, err := c.of(id)
	if err != nil {
		return fleet.Gallery{}, err
	}
	v, err := s.galleries.Get(ctx, g.name, id.Name(), nil)
	if err != nil {
		return fleet.Gallery{}, explain("read gallery "+id.Name(), err)
	}
	found := gallery(&v.Gallery)
	if err := told("read gallery "+id.Name(), found.ID); err != nil {
		return found, err
	}
	found.Definitions, err = c.Definitions(ctx, found.ID)
	if err != nil {
		return fleet.Gallery{}, err
	}
	if only != nil {
		found.Definitions = named(found.Definitions, only)
	}
	all, inner := errgroup.WithContext(ctx)
	for i := range found.Definitions {
		d := &found.Definitions[i]
		all.Go(func() (err error) {
			d.Versions, err = c.Versions(inner, d.ID)
			return err
		})
	}
	if err := all.Wait(); isNotFound(err) {
		return found, &Error{Kind: Conflict, Op: "read gallery " + id.Name(), Text: "it is changed while it is read: " + err.Error(), Hint: "try again", Err: err}
	} else if err != nil {
		return found, err
	}
	return found, nil
}

// named keeps the definitions with one of the names.
func named(all []fleet.Definition, names []string) []fleet.Definition {
	var kept []fleet.Definition
	for _, d := range all {
		for _, name := range names {
			if strings.EqualFold(d.ID.Name(), name) {
				kept = append(kept, d)
				break
			}
		}
	}
	return kept
}

// Definitions returns the definitions of a gallery, without their versions.
func (c *Client) Definitions(ctx context.Context, galleryID fleet.ResourceID) ([]fleet.Definition, error) {
	g, s, err := c.of(galleryID)
	if err != nil {
		return nil, err
	}
	op := "list the images of gallery " + galleryID.Name()
	pages, err := list(ctx, op, s.definitions.NewListByGalleryPager(g.name, galleryID.Name(), nil),
		func(p armcompute.GalleryImagesClientListByGalleryResponse) []*armcompute.GalleryImage { return p.Value })
	if err != nil {
		return nil, err
	}
	definitions := mapped(pages, definition)
	for i := range definitions {
		if err := told(op, definitions[i].ID); err != nil {
			return nil, err
		}
	}
	return definitions, nil
}

// Versions returns the versions of a definition with their replication, for which
// each has to be asked: the list does not say it. One that is deleted meanwhile is
// left out.
func (c *Client) Versions(ctx context.Context, definitionID fleet.ResourceID) ([]fleet.Version, error) {
	g, s, err := c.of(definitionID)
	if err != nil {
		return nil, err
	}
	gallery := definitionID.Part("galleries")
	if gallery == "" {
		return nil, usageError(fmt.Errorf("%q is not the id of an image of a gallery", string(definitionID)), "it ends in /galleries/NAME/images/NAME")
	}
	op := "list the versions of image " + definitionID.Name()
	pages, err := list(ctx, op, s.versions.NewListByGalleryImagePager(g.name, gallery, definitionID.Name(), nil),
		func(p armcompute.GalleryImageVersionsClientListByGalleryImageResponse) []*armcompute.GalleryImageVersion {
			return p.Value
		})
	if err != nil {
		return nil, err
	}
	listed := flat(pages)
	found := make([]*fleet.Version, len(listed))
	all, inner := errgroup.WithContext(ctx)
	for i, v := range listed {
		all.Go(func() error {
			options := &armcompute.GalleryImageVersionsClientGetOptions{Expand: new(armcompute.ReplicationStatusTypesReplicationStatus)}
			whole, err := s.versions.Get(inner, g.name, gallery, definitionID.Name(), get(v.Name), options)
			err = explain("read version "+get(v.Name)+" of image "+definitionID.Name(), err)
			if isNotFound(err) {
				return nil
			}
			if err == nil {
				found[i] = new(version(&whole.GalleryImageVersion))
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	var versions []fleet.Version
	for _, v := range found {
		if v != nil {
			versions = append(versions, *v)
		}
	}
	return versions, nil
}

func gallery(v *armcompute.Gallery) fleet.Gallery {
	return fleet.Gallery{ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location)}
}

func definition(v *armcompute.GalleryImage) fleet.Definition {
	p := get(v.Properties)
	identifier := get(p.Identifier)
	d := fleet.Definition{
		ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location),
		Publisher: get(identifier.Publisher), Offer: get(identifier.Offer), SKU: get(identifier.SKU),
		OS: text(p.OSType), State: text(p.OSState), HyperV: text(p.HyperVGeneration),
	}
	for _, f := range p.Features {
		if f != nil && strings.EqualFold(get(f.Name), "SecurityType") {
			d.Security = get(f.Value)
		}
	}
	return d
}

func version(v *armcompute.GalleryImageVersion) fleet.Version {
	p := get(v.Properties)
	profile, replication := get(p.PublishingProfile), get(p.ReplicationStatus)
	return fleet.Version{
		ID: fleet.ResourceID(get(v.ID)), Name: get(v.Name), Provisioning: text(p.ProvisioningState), Published: get(profile.PublishedDate),
		Excluded: get(profile.ExcludeFromLatest), EndOfLife: get(profile.EndOfLifeDate), Mode: text(profile.ReplicationMode),
		Storage: text(profile.StorageAccountType), BlockDelete: get(get(p.SafetyProfile).BlockDeletionBeforeEndOfLife), Tags: tags(v.Tags),
		Regions: regions(&profile, &replication), Aggregated: text(replication.AggregatedState),
	}
}

// regions are those where a version shall be, with how far it is there, and those
// where it still is although it shall not.
func regions(profile *armcompute.GalleryImageVersionPublishingProfile, replication *armcompute.ReplicationStatus) []fleet.Region {
	var all []fleet.Region
	index := make(map[string]int)
	for _, t := range profile.TargetRegions {
		if t == nil {
			continue
		}
		r := fleet.Region{Name: location(t.Name), Replicas: int(get(t.RegionalReplicaCount)), Storage: text(t.StorageAccountType), Excluded: get(t.ExcludeFromLatest)}
		if t.RegionalReplicaCount == nil {
			r.Replicas = int(get(profile.ReplicaCount))
		}
		if r.Storage == "" {
			r.Storage = text(profile.StorageAccountType)
		}
		index[r.Name] = len(all)
		all = append(all, r)
	}
	for _, s := range replication.Summary {
		if s == nil {
			continue
		}
		name := location(s.Region)
		i, ok := index[name]
		if !ok {
			i = len(all)
			all = append(all, fleet.Region{Name: name})
		}
		all[i].State, all[i].Progress, all[i].Details = text(s.State), int(get(s.Progress)), get(s.Details)
	}
	return all
}
