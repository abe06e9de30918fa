package azure

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/virtualmachineimagebuilder/armvirtualmachineimagebuilder/v2"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Templates returns the image templates of a resource group.
func (c *Client) Templates(ctx context.Context, subscription, resourceGroup string) ([]fleet.Template, error) {
	s, err := c.in(subscription)
	if err != nil {
		return nil, err
	}
	pages, err := list(ctx, "list the image templates of "+resourceGroup, s.templates.NewListByResourceGroupPager(resourceGroup, nil),
		func(p armvirtualmachineimagebuilder.VirtualMachineImageTemplatesClientListByResourceGroupResponse) []*armvirtualmachineimagebuilder.ImageTemplate {
			return p.Value
		})
	if err != nil {
		return nil, err
	}
	var templates []fleet.Template
	for _, p := range pages {
		raw := propertiesByID(p.raw)
		for _, v := range p.values {
			templates = append(templates, template(v, raw[strings.ToLower(get(v.ID))]))
		}
	}
	return templates, nil
}

func template(v *armvirtualmachineimagebuilder.ImageTemplate, raw map[string]any) fleet.Template {
	p := get(v.Properties)
	run := get(p.LastRunStatus)
	return fleet.Template{
		ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location), Provisioning: text(p.ProvisioningState),
		RunState: text(run.RunState), RunSubState: text(run.RunSubState), RunMessage: get(run.Message),
		RunStart: get(run.StartTime), RunEnd: get(run.EndTime), Properties: raw,
	}
}
