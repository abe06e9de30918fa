package arm

import "strings"

const (
	galleryType = "Microsoft.Compute/galleries"
	imageType   = galleryType + "/images"
	versionType = imageType + "/versions"
)

func (tx *txn) resolve(ref object, region string) (string, error) {
	id := str(ref, "id")
	if id == "" {
		if v := str(ref, "version"); v != "latest" {
			return v, nil
		}
		return "22.04.202610200", nil
	}
	definition, version, pinned := strings.Cut(id, "/versions/")
	if pinned {
		if tx.get(id) == nil {
			return "", errorf(404, "GalleryImageNotFound", "The gallery image %s is not available in %s region. Please contact image owner to replicate to this region, or change your requested region.", id, region)
		}
		return version, nil
	}
	best := ""
	for _, v := range tx.list(versionType, definition) {
		if !boolean(v.Body, "properties.publishingProfile.excludeFromLatest") {
			best = max(best, v.name())
		}
	}
	if best == "" {
		return "", errorf(404, "GalleryImageNotFound", "The gallery image %s is not available in %s region. Please contact image owner to replicate to this region, or change your requested region.", id, region)
	}
	return best, nil
}

func galleryVersion(ref object) bool {
	return strings.Contains(strings.ToLower(str(ref, "id")), "/versions/")
}

func (b *builder) replication(id string, v versionSpec) {}
