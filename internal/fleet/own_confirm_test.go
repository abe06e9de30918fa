package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// What somebody else has changed since a plan was confirmed is beyond it; what has been
// done of it since, or is nobody's business, is not.
func TestPlanBeyond(t *testing.T) {
	repairs := func(c *ownCase) fleet.Document { return c.at("properties.automaticRepairsPolicy") }
	for name, tt := range map[string]struct {
		before, after func(c *ownCase)
		want          string
	}{
		"nothing":               {},
		"what the file is told": {after: func(c *ownCase) { c.at("tags")["cost"] = "7" }},
		"done by another":       {before: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT20M" }},
		"as it was":             {before: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT20M" }, after: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT20M" }},
		"another value": {
			before: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT20M" }, after: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT50M" },
			want: "properties.automaticRepairsPolicy.gracePeriod is something else than before",
		},
		"another property": {after: func(c *ownCase) { repairs(c)["gracePeriod"] = "PT50M" }, want: "properties.automaticRepairsPolicy.gracePeriod is something else than before"},
		"members":          {after: func(c *ownCase) { c.seen.Set.Members[0].LatestModel = new(false) }, want: "members are to be brought to the model: vm_0"},
		"members, as before": {
			before: func(c *ownCase) { c.seen.Set.Members[1].LatestModel = new(false) }, after: func(c *ownCase) { c.seen.Set.Members[0].LatestModel = new(false) },
		},
		"autoscale is gone": {after: func(c *ownCase) { c.seen.Autoscale, c.seen.AutoscaleID = fleet.Seen{}, "" }, want: "autoscale setting vmss-authz-autoscale is to be made"},
		"autoscale, as before": {
			before: func(c *ownCase) { c.seen.Autoscale, c.seen.AutoscaleID = fleet.Seen{}, "" },
			after:  func(c *ownCase) { c.seen.Autoscale, c.seen.AutoscaleID = fleet.Seen{}, "" },
		},
		"the set is gone": {after: func(c *ownCase) { *c.seen = fleet.OwnedSet{} }, want: "scale set vmss-authz is to be made"},
		"held then":       {before: func(c *ownCase) { c.seen.Held = "rollout 7"; c.set.TerminateNotice = 6 * time.Minute }, after: func(c *ownCase) { c.set.TerminateNotice = 6 * time.Minute }, want: "properties.virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile.notBeforeTimeout is something else than before"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := func(change func(c *ownCase)) fleet.SetPlan {
				c := settled(t, "vmss-authz")
				if change != nil {
					change(c)
				}
				c.spec.ScaleSets["vmss-authz"] = c.set
				return fleet.PlanSet(c.spec, "vmss-authz", c.seen, c.options)
			}
			before, after := plan(tt.before), plan(tt.after)
			require.Equal(t, tt.want, after.Beyond(&before))
		})
	}
}
