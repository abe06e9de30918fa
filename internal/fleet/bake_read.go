package fleet

import "time"

// A BakeTemplate is the image template that stands for the number of a version.
type BakeTemplate struct {
	Template
	Version string
	Tags    map[string]string
}

// ReadBakeTemplate makes one of an image template as Azure gave it. It is nil when its
// name is none that a bake of the image gives: IMAGE-VERSION.
func ReadBakeTemplate(s *Spec, d Document) *BakeTemplate {
	id := ResourceID(textAt(d, "id"))
	version, ok := cutPrefixFold(id.Name(), s.imageName()+"-")
	if !ok || versionNumbers(version) == nil {
		return nil
	}
	return &BakeTemplate{Version: version, Tags: tagsAt(d), Template: TemplateOf(d)}
}

// TemplateOf makes an image template of one that Azure gave.
func TemplateOf(d Document) Template {
	run := dig(d, "properties", "lastRunStatus")
	properties, _ := dig(d, "properties").(map[string]any)
	return Template{
		ID: ResourceID(textAt(d, "id")), Location: NormalLocation(textAt(d, "location")), Provisioning: textAt(properties, "provisioningState"),
		RunState: textAt(run, "runState"), RunSubState: textAt(run, "runSubState"), RunMessage: textAt(run, "message"),
		RunStart: timeAt(run, "startTime"), RunEnd: timeAt(run, "endTime"), Properties: properties,
	}
}

// Problem is why the template could not be made, in Azure's words; "" when it does not
// say.
func (t *BakeTemplate) Problem() string {
	return textAt(t.Properties, "provisioningError", "message")
}

// Staging is the resource group that Image Builder made for the build; "" before.
func (t *BakeTemplate) Staging() ResourceID {
	return ResourceID(textAt(t.Properties, "exactStagingResourceGroup"))
}

// BlobService is the URL of the blob service of a storage account; "" when it does not
// say.
func BlobService(account Document) string {
	return textAt(account, "properties", "primaryEndpoints", "blob")
}

// reserved is when the number was reserved; zero when the tag does not say.
func (t *BakeTemplate) reserved() time.Time {
	at, _ := time.Parse(time.RFC3339, t.Tags[TagReserved]) // zero when it is odd
	return at
}

// ReadVersion makes an image version of one that Azure gave. Without $expand it does
// not say how far the replication is.
func ReadVersion(d Document) Version {
	p := dig(d, "properties")
	profile := dig(p, "publishingProfile")
	excluded, _ := dig(profile, "excludeFromLatest").(bool)
	blocked, _ := dig(p, "safetyProfile", "blockDeletionBeforeEndOfLife").(bool)
	v := Version{
		ID: ResourceID(textAt(d, "id")), Name: textAt(d, "name"), Provisioning: textAt(p, "provisioningState"),
		Published: timeAt(profile, "publishedDate"), EndOfLife: timeAt(profile, "endOfLifeDate"),
		Excluded: excluded, BlockDelete: blocked, Tags: tagsAt(d),
		Aggregated: textAt(p, "replicationStatus", "aggregatedState"),
	}
	for _, target := range listAt(profile, "targetRegions") {
		r := Region{Name: NormalLocation(textAt(target, "name")), Storage: textAt(target, "storageAccountType")}
		r.Replicas, _ = integer(dig(target, "regionalReplicaCount"))
		r.Excluded, _ = dig(target, "excludeFromLatest").(bool)
		v.Regions = append(v.Regions, r)
	}
	for _, s := range listAt(p, "replicationStatus", "summary") {
		if r := v.Region(textAt(s, "region")); r != nil {
			r.State, r.Details = textAt(s, "state"), textAt(s, "details")
			r.Progress, _ = integer(dig(s, "progress"))
		}
	}
	return v
}

func tagsAt(d Document) map[string]string {
	tags := map[string]string{}
	object, _ := dig(d, "tags").(map[string]any)
	for name, v := range object {
		if text, ok := v.(string); ok {
			tags[name] = text
		}
	}
	return tags
}
