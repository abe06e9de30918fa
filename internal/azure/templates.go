package azure

import (
	"context"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Templates returns the image templates of a resource group.
func (c *Client) Templates(ctx context.Context, subscription, resourceGroup string) ([]fleet.Template, error) {
	all, err := c.Resources(ctx, fleet.ResourceID("/subscriptions/"+subscription+"/resourceGroups/"+resourceGroup+"/providers/Microsoft.VirtualMachineImages/imageTemplates"), "")
	if err != nil {
		return nil, err
	}
	var templates []fleet.Template
	for _, d := range all {
		templates = append(templates, fleet.TemplateOf(d))
	}
	return templates, nil
}
