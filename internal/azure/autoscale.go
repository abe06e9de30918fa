package azure

import (
	"context"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Autoscale returns the autoscale settings of a resource group.
func (c *Client) Autoscale(ctx context.Context, subscription, resourceGroup string) ([]fleet.Autoscale, error) {
	all := group{subscription, resourceGroup}.id("Microsoft.Insights/autoscaleSettings")
	return list(ctx, c, "list the autoscale settings of "+resourceGroup, all, nil, fleet.ReadAutoscale)
}
