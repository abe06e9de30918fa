package fleet

import "cmp"

// SetID returns the id of a scale set of the file.
func (s *Spec) SetID(name string) ResourceID {
	if id := s.ScaleSets[name].ID; id != "" {
		return id
	}
	return s.resource(s.ResourceGroup, "virtualMachineScaleSets/"+name)
}

// GalleryID returns the id of the gallery of the file, or "" when it has none.
func (s *Spec) GalleryID() ResourceID {
	if s.Gallery == nil || s.Gallery.Name == "" {
		return ""
	}
	return s.resource(cmp.Or(s.Gallery.ResourceGroup, s.ResourceGroup), "galleries/"+s.Gallery.Name)
}

// resource is a resource of Microsoft.Compute in a group of the file's subscription.
func (s *Spec) resource(group, below string) ResourceID {
	return ResourceID("/subscriptions/" + s.Subscription + "/resourceGroups/" + group + "/providers/Microsoft.Compute/" + below)
}
