package azure

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const typeGalleries = "Microsoft.Compute/galleries"

// Galleries returns the galleries of a resource group, without what is in them.
func (c *Client) Galleries(ctx context.Context, subscription, resourceGroup string) ([]fleet.Gallery, error) {
	op := "list the galleries of " + resourceGroup
	galleries, err := list(ctx, c, op, group{subscription, resourceGroup}.id(typeGalleries), nil, fleet.ReadGallery)
	if err != nil {
		return nil, err
	}
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
	g, err := groupOf(id)
	if err != nil {
		return fleet.Gallery{}, err
	}
	op := "read gallery " + id.Name()
	d, _, err := c.read(ctx, op, g.id(typeGalleries, id.Name()), "")
	if err != nil {
		return fleet.Gallery{}, err
	}
	found := fleet.ReadGallery(d)
	if err := told(op, found.ID); err != nil {
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
		return found, &Error{Kind: Conflict, Op: op, Text: "it is changed while it is read: " + err.Error(), Hint: "try again", Err: err}
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
	g, err := groupOf(galleryID)
	if err != nil {
		return nil, err
	}
	op := "list the images of gallery " + galleryID.Name()
	definitions, err := list(ctx, c, op, g.id(typeGalleries, galleryID.Name(), "images"), nil, fleet.ReadDefinition)
	if err != nil {
		return nil, err
	}
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
	g, err := groupOf(definitionID)
	if err != nil {
		return nil, err
	}
	gallery := definitionID.Part("galleries")
	if gallery == "" {
		return nil, usageError(fmt.Errorf("%q is not the id of an image of a gallery", string(definitionID)), "it ends in /galleries/NAME/images/NAME")
	}
	image := definitionID.Name()
	op := "list the versions of image " + image
	all := g.id(typeGalleries, gallery, "images", image, "versions")
	listed, err := list(ctx, c, op, all, nil, fleet.ReadVersion)
	if err != nil {
		return nil, err
	}
	found := make([]*fleet.Version, len(listed))
	each, inner := errgroup.WithContext(ctx)
	for i := range listed {
		name := listed[i].Name
		id := all + "/" + fleet.ResourceID(name)
		each.Go(func() error {
			if err := told(op, id); err != nil {
				return err
			}
			d, _, err := c.read(inner, "read version "+name+" of image "+image, id, "ReplicationStatus")
			if isNotFound(err) {
				return nil
			}
			if err == nil {
				found[i] = new(fleet.ReadVersionEverywhere(d))
			}
			return err
		})
	}
	if err := each.Wait(); err != nil {
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
