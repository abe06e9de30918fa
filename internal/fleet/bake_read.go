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
