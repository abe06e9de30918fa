package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// RollingUpgrade returns the latest rolling upgrade of a scale set, or nil when there
// never was one.
func (c *Client) RollingUpgrade(ctx context.Context, id fleet.ResourceID) (*fleet.RollingUpgrade, error) {
	g, s, err := c.of(id)
	if err != nil {
		return nil, err
	}
	v, err := s.upgrades.GetLatest(ctx, g.name, id.Name(), nil)
	err = explain("read the rolling upgrade of "+id.Name(), err)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return rollingUpgrade(v.Properties), nil
}

// History returns the operating system upgrades of a scale set as Azure remembers
// them: the last five of two months, the newest first.
func (c *Client) History(ctx context.Context, id fleet.ResourceID) ([]fleet.RollingUpgrade, error) {
	g, s, err := c.of(id)
	if err != nil {
		return nil, err
	}
	pages, err := list(ctx, "list the upgrades of "+id.Name(), s.sets.NewGetOSUpgradeHistoryPager(g.name, id.Name(), nil),
		func(p armcompute.VirtualMachineScaleSetsClientGetOSUpgradeHistoryResponse) []*armcompute.UpgradeOperationHistoricalStatusInfo {
			return p.Value
		})
	return mapped(pages, pastUpgrade), err
}

// rollingUpgrade is what is under way, or was the last to be. An answer without
// properties says that there is nothing.
func rollingUpgrade(p *armcompute.RollingUpgradeStatusInfoProperties) *fleet.RollingUpgrade {
	if p == nil {
		return nil
	}
	u := upgrade(p.Progress, p.Error)
	status := get(p.RunningStatus)
	u.Code, u.Start = text(status.Code), get(status.StartTime)
	if !u.Active() {
		u.End = get(status.LastActionTime)
	}
	return &u
}

func pastUpgrade(v *armcompute.UpgradeOperationHistoricalStatusInfo) fleet.RollingUpgrade {
	p := get(v.Properties)
	u := upgrade(p.Progress, p.Error)
	status := get(p.RunningStatus)
	u.Code, u.Start, u.End = text(status.Code), get(status.StartTime), get(status.EndTime)
	u.StartedBy, u.Target = text(p.StartedBy), imageReference(p.TargetImageReference)
	back := get(p.RollbackInfo)
	u.RolledBack, u.RollbackFailed = int(get(back.SuccessfullyRolledbackInstanceCount)), int(get(back.FailedRolledbackInstanceCount))
	return u
}

// upgrade is what both have in common.
func upgrade(progress *armcompute.RollingUpgradeProgressInfo, failure *armcompute.APIError) fleet.RollingUpgrade {
	n, f := get(progress), get(failure)
	return fleet.RollingUpgrade{
		Successful: int(get(n.SuccessfulInstanceCount)), Failed: int(get(n.FailedInstanceCount)),
		InProgress: int(get(n.InProgressInstanceCount)), Pending: int(get(n.PendingInstanceCount)),
		ErrorCode: get(f.Code), Error: get(f.Message),
	}
}
