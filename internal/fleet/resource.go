package fleet

import (
	"errors"
	"strings"
)

// A ResourceID is the id of a resource of Azure Resource Manager. Azure compares ids
// without regard to case, and so does Same.
type ResourceID string

// Same says whether both name the same resource.
func (id ResourceID) Same(other ResourceID) bool {
	return strings.EqualFold(string(id), string(other))
}

// Name returns the last segment.
func (id ResourceID) Name() string {
	s := strings.TrimSuffix(string(id), "/")
	return s[strings.LastIndexByte(s, '/')+1:]
}

// Part returns the segment behind the one with this name: Part("resourceGroups") of
// "/subscriptions/S/resourceGroups/rg" is "rg". It is empty when there is none.
func (id ResourceID) Part(name string) string {
	parts := strings.Split(strings.Trim(string(id), "/"), "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], name) {
			return parts[i+1]
		}
	}
	return ""
}

// ResourceGroup returns the name of the resource group, or "".
func (id ResourceID) ResourceGroup() string { return id.Part("resourceGroups") }

// Subscription returns the id of the subscription, or "".
func (id ResourceID) Subscription() string { return id.Part("subscriptions") }

// An ImageID is a gallery image that a scale set refers to, taken apart.
type ImageID struct {
	Definition ResourceID
	// Version is "" in a reference without version, which means the latest of the
	// moment.
	Version string
}

// ErrNotGallery says that an image reference is not of a Compute Gallery.
var ErrNotGallery = errors.New("not an image of a Compute Gallery")

// Gallery takes the reference apart. The error is ErrNotGallery.
func (r ImageReference) Gallery() (ImageID, error) {
	id := ResourceID(r.ID)
	if id.Part("galleries") == "" || id.Part("images") == "" {
		return ImageID{}, ErrNotGallery
	}
	version := id.Part("versions")
	definition := r.ID
	if i := strings.Index(strings.ToLower(r.ID), "/versions/"); i >= 0 {
		definition = r.ID[:i]
	}
	return ImageID{Definition: ResourceID(strings.TrimSuffix(definition, "/")), Version: version}, nil
}

// shared says whether the image is of a gallery that is shared directly or with the
// community: its id is of no subscription, and its gallery cannot be read with it.
func (r ImageReference) shared() bool {
	id := ResourceID(r.ID)
	return id.Part("images") != "" && (id.Part("sharedGalleries") != "" || id.Part("communityGalleries") != "")
}

// NormalLocation writes a region as its id: "East US" as "eastus".
func NormalLocation(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}
