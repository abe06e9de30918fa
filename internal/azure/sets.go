package azure

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// ScaleSets returns the scale sets of a resource group, those in Uniform
// orchestration too: what is not Flexible is for the caller to leave alone.
func (c *Client) ScaleSets(ctx context.Context, subscription, resourceGroup string) ([]fleet.ScaleSet, error) {
	s, err := c.in(subscription)
	if err != nil {
		return nil, err
	}
	pages, err := list(ctx, "list the scale sets of "+resourceGroup, s.sets.NewListPager(resourceGroup, nil),
		func(p armcompute.VirtualMachineScaleSetsClientListResponse) []*armcompute.VirtualMachineScaleSet {
			return p.Value
		})
	if err != nil {
		return nil, err
	}
	var sets []fleet.ScaleSet
	for _, p := range pages {
		raw := propertiesByID(p.raw)
		for _, v := range p.values {
			set := scaleSet(v, raw[strings.ToLower(get(v.ID))])
			if err := told("list the scale sets of "+resourceGroup, set.ID); err != nil {
				return nil, err
			}
			sets = append(sets, set)
		}
	}
	return sets, nil
}

// ScaleSet returns a scale set. The error is a NotFound when there is none.
func (c *Client) ScaleSet(ctx context.Context, id fleet.ResourceID) (fleet.ScaleSet, error) {
	g, s, err := c.of(id)
	if err != nil {
		return fleet.ScaleSet{}, err
	}
	var answer capture
	v, err := s.sets.Get(answer.in(ctx), g.name, id.Name(), nil)
	if err != nil {
		return fleet.ScaleSet{}, explain("read scale set "+id.Name(), err)
	}
	return scaleSet(&v.VirtualMachineScaleSet, properties(answer.body())), nil
}

// of returns the group that a resource is in, and the clients for it.
func (c *Client) of(id fleet.ResourceID) (group, *services, error) {
	g, err := groupOf(id)
	if err != nil {
		return g, nil, err
	}
	s, err := c.in(g.subscription)
	return g, s, err
}

// scaleSet is the model of a scale set; raw is its properties as they were read.
func scaleSet(v *armcompute.VirtualMachineScaleSet, raw map[string]any) fleet.ScaleSet {
	p, sku := get(v.Properties), get(v.SKU)
	set := fleet.ScaleSet{
		ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location), Zones: texts(v.Zones), ETag: get(v.Etag), Tags: tags(v.Tags),
		Provisioning: get(p.ProvisioningState), Flexible: get(p.OrchestrationMode) == armcompute.OrchestrationModeFlexible,
		FaultDomains: int(get(p.PlatformFaultDomainCount)), SinglePlacement: p.SinglePlacementGroup,
		Capacity: int(get(sku.Capacity)), VMSize: get(sku.Name),
		SystemIdentity: v.Identity != nil && strings.Contains(text(v.Identity.Type), "SystemAssigned"),
		Upgrade:        upgradePolicy(p.UpgradePolicy),
		Properties:     raw,
	}
	if r := p.AutomaticRepairsPolicy; r != nil {
		set.Repairs = fleet.RepairsPolicy{Enabled: get(r.Enabled), Grace: duration(r.GracePeriod), Action: text(r.RepairAction)}
	}
	if m := p.PriorityMixPolicy; m != nil {
		set.PriorityMix = &fleet.PriorityMix{RegularBase: int(get(m.BaseRegularPriorityCount)), RegularAboveBase: int(get(m.RegularPriorityPercentageAboveBase))}
	}
	if r := p.SpotRestorePolicy; r != nil {
		set.SpotRestore = &fleet.SpotRestore{Enabled: get(r.Enabled), Timeout: get(duration(r.RestoreTimeout))}
	}
	machineProfile(&set, get(p.VirtualMachineProfile))
	return set
}

// machineProfile adds what members are made from.
func machineProfile(set *fleet.ScaleSet, p armcompute.VirtualMachineScaleSetVMProfile) {
	set.Spot = get(p.Priority) == armcompute.VirtualMachinePriorityTypesSpot
	set.EvictionPolicy = text(p.EvictionPolicy)
	storage := get(p.StorageProfile)
	disk := get(storage.OSDisk)
	set.Image = imageReference(storage.ImageReference)
	set.OSDiskDelete = text(disk.DeleteOption)
	set.Windows = get(disk.OSType) == armcompute.OperatingSystemTypesWindows

	os := get(p.OSProfile)
	if w := os.WindowsConfiguration; w != nil {
		set.Windows = true
		set.WindowsAutoUpdates = w.EnableAutomaticUpdates
		set.PatchMode = text(get(w.PatchSettings).PatchMode)
	}
	if l := os.LinuxConfiguration; l != nil {
		set.PatchMode = text(get(l.PatchSettings).PatchMode)
	}

	network := get(p.NetworkProfile)
	set.HealthProbe = get(get(network.HealthProbe).ID)
	if card := first(network.NetworkInterfaceConfigurations); card != nil {
		if ip := first(get(card.Properties).IPConfigurations); ip != nil {
			set.SubnetID = get(get(get(ip.Properties).Subnet).ID)
		}
	}

	events := get(p.ScheduledEventsProfile)
	if n := events.TerminateNotificationProfile; n != nil {
		set.TerminateNotice = &fleet.Notice{Enabled: get(n.Enable), NotBefore: get(duration(n.NotBeforeTimeout))}
	}
	if n := events.OSImageNotificationProfile; n != nil {
		set.OSImageNotice = &fleet.Notice{Enabled: get(n.Enable), NotBefore: get(duration(n.NotBeforeTimeout))}
	}
	for _, e := range get(p.ExtensionProfile).Extensions {
		if e != nil {
			set.Extensions = append(set.Extensions, extension(e))
		}
	}
}

func extension(e *armcompute.VirtualMachineScaleSetExtension) fleet.Extension {
	p := get(e.Properties)
	settings, _ := p.Settings.(map[string]any)
	return fleet.Extension{
		Name: get(e.Name), Publisher: get(p.Publisher), Type: get(p.Type), Version: get(p.TypeHandlerVersion),
		AutoUpgrade: p.EnableAutomaticUpgrade, Settings: settings,
	}
}

// imageReference is what a disk is made from. An image that is shared or of a
// community has an id of its own kind.
func imageReference(r *armcompute.ImageReference) fleet.ImageReference {
	v := get(r)
	ref := fleet.ImageReference{
		ID: get(v.ID), Publisher: get(v.Publisher), Offer: get(v.Offer), SKU: get(v.SKU), Version: get(v.Version), ExactVersion: get(v.ExactVersion),
	}
	for _, other := range []*string{v.SharedGalleryImageID, v.CommunityGalleryImageID} {
		if ref.ID == "" {
			ref.ID = get(other)
		}
	}
	return ref
}

func upgradePolicy(p *armcompute.UpgradePolicy) fleet.UpgradePolicy {
	v := get(p)
	policy := fleet.UpgradePolicy{Mode: fleet.UpgradeMode(text(v.Mode))}
	if auto := v.AutomaticOSUpgradePolicy; auto != nil {
		policy.AutoOS = get(auto.EnableAutomaticOSUpgrade)
		policy.DisableRollback = auto.DisableAutomaticRollback
		policy.UseRolling = auto.UseRollingUpgradePolicy
	}
	if r := v.RollingUpgradePolicy; r != nil {
		policy.Rolling = fleet.RollingPolicy{
			MaxBatch: integer(r.MaxBatchInstancePercent), MaxUnhealthy: integer(r.MaxUnhealthyInstancePercent),
			MaxUnhealthyUpgraded: integer(r.MaxUnhealthyUpgradedInstancePercent), Pause: duration(r.PauseTimeBetweenBatches),
			PrioritizeUnhealthy: r.PrioritizeUnhealthyInstances, MaxSurge: r.MaxSurge, CrossZone: r.EnableCrossZoneUpgrade,
			RollbackFailed: r.RollbackFailedInstancesOnPolicyBreach,
		}
	}
	return policy
}
