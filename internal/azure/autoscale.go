package azure

import (
	"context"
	"strconv"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Autoscale returns the autoscale settings of a resource group.
func (c *Client) Autoscale(ctx context.Context, subscription, resourceGroup string) ([]fleet.Autoscale, error) {
	s, err := c.in(subscription)
	if err != nil {
		return nil, err
	}
	pages, err := list(ctx, "list the autoscale settings of "+resourceGroup, s.autoscale.NewListByResourceGroupPager(resourceGroup, nil),
		func(p armmonitor.AutoscaleSettingsClientListByResourceGroupResponse) []*armmonitor.AutoscaleSettingResource {
			return p.Value
		})
	return mapped(pages, autoscale), err
}

func autoscale(v *armmonitor.AutoscaleSettingResource) fleet.Autoscale {
	p := get(v.Properties)
	a := fleet.Autoscale{ID: fleet.ResourceID(get(v.ID)), Target: fleet.ResourceID(get(p.TargetResourceURI)), Enabled: get(p.Enabled)}
	if predictive := p.PredictiveAutoscalePolicy; predictive != nil {
		a.Predictive, a.LookAhead = text(predictive.ScaleMode), get(duration(predictive.ScaleLookAheadTime))
	}
	profile := get(first(p.Profiles))
	capacity := get(profile.Capacity)
	a.Min, a.Max, a.Def = number(capacity.Minimum), number(capacity.Maximum), number(capacity.Default)
	for _, r := range profile.Rules {
		if r != nil {
			a.Rules = append(a.Rules, scaleRule(r))
		}
	}
	return a
}

func scaleRule(r *armmonitor.ScaleRule) fleet.ScaleRule {
	trigger, action := get(r.MetricTrigger), get(r.ScaleAction)
	return fleet.ScaleRule{
		Metric: get(trigger.MetricName), Aggregation: text(trigger.TimeAggregation), Operator: text(trigger.Operator), Threshold: get(trigger.Threshold),
		Out: get(action.Direction) == armmonitor.ScaleDirectionIncrease, By: number(action.Value),
		Window: get(duration(trigger.TimeWindow)), Cooldown: get(duration(action.Cooldown)),
	}
}

// number reads one of Azure Monitor's numbers, which are text.
func number(p *string) int {
	n, err := strconv.Atoi(get(p))
	if err != nil {
		return 0
	}
	return n
}
