package fleet

// An IgnoreRule says what the owner of a scale set has to write in another tool, so that
// it leaves alone what rollouts write.
type IgnoreRule struct {
	Tool string `json:"tool"`
	// Lines are to be written; of a tool that has no such rule, they say what to do.
	Lines []string `json:"lines"`
}

// IgnoreChanges returns what the owner of a scale set has to write, by tool, where the
// image is ours and the rest is not. Of all other sets there is nothing to ignore.
func IgnoreChanges(m Manage) []IgnoreRule {
	if m != ManageImage {
		return nil
	}
	return []IgnoreRule{
		{"Terraform azurerm_orchestrated_virtual_machine_scale_set", []string{
			"lifecycle {",
			"  ignore_changes = [source_image_id]",
			"}",
		}},
		{"Terraform azapi_resource, azapi 2", []string{
			"lifecycle {",
			"  ignore_changes = [body.properties.virtualMachineProfile.storageProfile.imageReference]",
			"}",
		}},
		{"Terraform azapi_resource, azapi 1.9 to 1.15", []string{
			`ignore_body_changes = ["properties.virtualMachineProfile.storageProfile.imageReference"]`,
		}},
		{"Bicep", []string{
			"// Bicep ignores nothing: deploy the image that the set has now, as a parameter.",
			"param imageId string",
			"imageReference: { id: imageId }",
			"az deployment group create --parameters imageId=$(az vmss show --ids ID \\",
			"  --query virtualMachineProfile.storageProfile.imageReference.id -o tsv)",
		}},
	}
}
