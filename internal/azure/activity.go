package azure

import (
	"context"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// An Activity is an entry of the activity log: somebody did something to a resource.
// Entries come some minutes late.
type Activity struct {
	At        time.Time
	Operation string // "Microsoft.Compute/virtualMachines/delete"
	Status    string // Started, Accepted, Succeeded, Failed
	Caller    string // who asked: an address, the id of an application, or a service
	Resource  fleet.ResourceID
}

// Activities returns the activity log of a resource group between two times, as Azure
// orders it. Azure keeps 90 days.
func (c *Client) Activities(ctx context.Context, subscription, resourceGroup string, since, until time.Time) ([]Activity, error) {
	id := fleet.ResourceID("/subscriptions/" + subscription + "/providers/Microsoft.Insights/eventtypes/management/values")
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	filter := "eventTimestamp ge '" + stamp(since) + "' and eventTimestamp le '" + stamp(until) + "' and resourceGroupName eq '" + resourceGroup + "'"
	all, err := c.Resources(ctx, id, filter)
	if err != nil {
		return nil, err
	}
	list := make([]Activity, 0, len(all))
	for _, d := range all {
		at, err := time.Parse(time.RFC3339, fleet.TextAt(d, "eventTimestamp"))
		if err != nil {
			continue // an entry without a time is none
		}
		list = append(list, Activity{
			At: at, Operation: fleet.TextAt(d, "operationName", "value"), Status: fleet.TextAt(d, "status", "value"),
			Caller: fleet.TextAt(d, "caller"), Resource: fleet.ResourceID(fleet.TextAt(d, "resourceId")),
		})
	}
	return list, nil
}
