package azure

import (
	"context"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// RollingUpgrade returns the latest rolling upgrade of a scale set, or nil when there
// never was one.
func (c *Client) RollingUpgrade(ctx context.Context, id fleet.ResourceID) (*fleet.RollingUpgrade, error) {
	g, err := groupOf(id)
	if err != nil {
		return nil, err
	}
	d, _, err := c.read(ctx, "read the rolling upgrade of "+id.Name(), g.id(typeSets, id.Name(), "rollingUpgrades/latest"), "")
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return fleet.ReadRollingUpgrade(d), nil
}

// History returns the operating system upgrades of a scale set as Azure remembers
// them: the last five of two months, the newest first.
func (c *Client) History(ctx context.Context, id fleet.ResourceID) ([]fleet.RollingUpgrade, error) {
	g, err := groupOf(id)
	if err != nil {
		return nil, err
	}
	return list(ctx, c, "list the upgrades of "+id.Name(), g.id(typeSets, id.Name(), "osUpgradeHistory"), nil, fleet.ReadPastUpgrade)
}
