package fleet

import (
	"cmp"
	"strings"
)

// ReadGallery makes a gallery of one that Azure gave, without what is in it.
func ReadGallery(d Document) Gallery {
	return Gallery{ID: ResourceID(textAt(d, "id")), Location: NormalLocation(textAt(d, "location"))}
}

// ReadDefinition makes an image definition of one that Azure gave, without its versions.
func ReadDefinition(d Document) Definition {
	p := dig(d, "properties")
	definition := Definition{
		ID: ResourceID(textAt(d, "id")), Location: NormalLocation(textAt(d, "location")),
		Publisher: textAt(p, "identifier", "publisher"), Offer: textAt(p, "identifier", "offer"), SKU: textAt(p, "identifier", "sku"),
		OS: textAt(p, "osType"), State: textAt(p, "osState"), HyperV: textAt(p, "hyperVGeneration"),
	}
	for _, f := range objectsAt(p, "features") {
		if strings.EqualFold(textAt(f, "name"), "SecurityType") {
			definition.Security = textAt(f, "value")
		}
	}
	return definition
}

// ReadVersion makes an image version of one that Azure gave, with the regions where it
// shall be. Without $expand it does not say how far the replication is.
func ReadVersion(d Document) Version {
	p := dig(d, "properties")
	profile := dig(p, "publishingProfile")
	v := Version{
		ID: ResourceID(textAt(d, "id")), Name: textAt(d, "name"), Provisioning: textAt(p, "provisioningState"),
		Published: timeAt(profile, "publishedDate"), EndOfLife: timeAt(profile, "endOfLifeDate"), Excluded: trueAt(profile, "excludeFromLatest"),
		Mode: textAt(profile, "replicationMode"), Storage: textAt(profile, "storageAccountType"),
		BlockDelete: trueAt(p, "safetyProfile", "blockDeletionBeforeEndOfLife"), Tags: tagsAt(d),
		Aggregated: textAt(p, "replicationStatus", "aggregatedState"),
	}
	for _, t := range objectsAt(profile, "targetRegions") {
		r := Region{
			Name: NormalLocation(textAt(t, "name")), Replicas: intAt(profile, "replicaCount"),
			Storage: cmp.Or(textAt(t, "storageAccountType"), v.Storage), Excluded: trueAt(t, "excludeFromLatest"),
		}
		if n := integerAt(t, "regionalReplicaCount"); n != nil {
			r.Replicas = *n
		}
		v.Regions = append(v.Regions, r)
	}
	for _, s := range objectsAt(p, "replicationStatus", "summary") {
		if r := v.Region(textAt(s, "region")); r != nil {
			r.replicated(s)
		}
	}
	return v
}

// ReadVersionEverywhere is ReadVersion with the regions besides where the version still
// is although it shall not be.
func ReadVersionEverywhere(d Document) Version {
	v := ReadVersion(d)
	for _, s := range objectsAt(d, "properties", "replicationStatus", "summary") {
		if name := textAt(s, "region"); v.Region(name) == nil {
			r := Region{Name: NormalLocation(name)}
			r.replicated(s)
			v.Regions = append(v.Regions, r)
		}
	}
	return v
}

// replicated notes how far the version is in the region.
func (r *Region) replicated(summary Document) {
	r.State, r.Progress, r.Details = textAt(summary, "state"), intAt(summary, "progress"), textAt(summary, "details")
}
