package azure

import (
	"context"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	typeSets     = "Microsoft.Compute/virtualMachineScaleSets"
	typeMachines = "Microsoft.Compute/virtualMachines"
)

// ScaleSets returns the scale sets of a resource group, those in Uniform
// orchestration too: what is not Flexible is for the caller to leave alone.
func (c *Client) ScaleSets(ctx context.Context, subscription, resourceGroup string) ([]fleet.ScaleSet, error) {
	op := "list the scale sets of " + resourceGroup
	sets, err := list(ctx, c, op, group{subscription, resourceGroup}.id(typeSets), nil, fleet.ReadScaleSet)
	if err != nil {
		return nil, err
	}
	for i := range sets {
		if err := told(op, sets[i].ID); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// ScaleSet returns a scale set. The error is a NotFound when there is none.
func (c *Client) ScaleSet(ctx context.Context, id fleet.ResourceID) (fleet.ScaleSet, error) {
	g, err := groupOf(id)
	if err != nil {
		return fleet.ScaleSet{}, err
	}
	d, _, err := c.read(ctx, "read scale set "+id.Name(), g.id(typeSets, id.Name()), "")
	if err != nil {
		return fleet.ScaleSet{}, err
	}
	return fleet.ReadScaleSet(d), nil
}
