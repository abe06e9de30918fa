package azure

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// What follows makes the types of internal/fleet from those of the SDK: what Microsoft
// decodes is the judge of what internal/fleet reads from the text itself.

// sdkScaleSet is the model of a scale set; raw is its properties as they were read.
func sdkScaleSet(v *armcompute.VirtualMachineScaleSet, raw map[string]any) fleet.ScaleSet {
	p, sku := get(v.Properties), get(v.SKU)
	set := fleet.ScaleSet{
		ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location), Zones: texts(v.Zones), ETag: get(v.Etag), Tags: tags(v.Tags),
		Provisioning: get(p.ProvisioningState), Flexible: get(p.OrchestrationMode) == armcompute.OrchestrationModeFlexible,
		FaultDomains: int(get(p.PlatformFaultDomainCount)), SinglePlacement: p.SinglePlacementGroup,
		Capacity: int(get(sku.Capacity)), VMSize: get(sku.Name),
		SystemIdentity: v.Identity != nil && strings.Contains(text(v.Identity.Type), "SystemAssigned"),
		Upgrade:        sdkUpgradePolicy(p.UpgradePolicy),
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
	sdkMachineProfile(&set, get(p.VirtualMachineProfile))
	return set
}

// sdkMachineProfile adds what members are made from.
func sdkMachineProfile(set *fleet.ScaleSet, p armcompute.VirtualMachineScaleSetVMProfile) {
	set.Spot = get(p.Priority) == armcompute.VirtualMachinePriorityTypesSpot
	set.EvictionPolicy = text(p.EvictionPolicy)
	storage := get(p.StorageProfile)
	disk := get(storage.OSDisk)
	set.Image = sdkImageReference(storage.ImageReference)
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
			set.Extensions = append(set.Extensions, sdkExtension(e))
		}
	}
}

func sdkExtension(e *armcompute.VirtualMachineScaleSetExtension) fleet.Extension {
	p := get(e.Properties)
	settings, _ := p.Settings.(map[string]any)
	return fleet.Extension{
		Name: get(e.Name), Publisher: get(p.Publisher), Type: get(p.Type), Version: get(p.TypeHandlerVersion),
		AutoUpgrade: p.EnableAutomaticUpgrade, Settings: settings,
	}
}

// sdkImageReference is what a disk is made from. An image that is shared or of a
// community has an id of its own kind.
func sdkImageReference(r *armcompute.ImageReference) fleet.ImageReference {
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

func sdkUpgradePolicy(p *armcompute.UpgradePolicy) fleet.UpgradePolicy {
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

// sdkJoin makes members of a set's own list and of the list of virtual machines. Who is
// in the first only has vanished; who is in the second only has no model to compare.
func sdkJoin(listed []*armcompute.VirtualMachineScaleSetVM, running []*armcompute.VirtualMachine) []fleet.Member {
	machines := make(map[string]*armcompute.VirtualMachine, len(running))
	for _, v := range running {
		machines[strings.ToLower(get(v.Name))] = v
	}
	members := make([]fleet.Member, 0, max(len(listed), len(running)))
	for _, v := range listed {
		m := sdkListedMember(v)
		key := strings.ToLower(m.Name)
		if vm, ok := machines[key]; ok {
			sdkMachine(&m, vm)
			delete(machines, key)
		} else {
			m.Vanished = true
		}
		members = append(members, m)
	}
	for _, v := range machines {
		m := fleet.Member{Name: get(v.Name)}
		sdkMachine(&m, v)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b fleet.Member) int { return strings.Compare(a.Name, b.Name) })
	return members
}

// sdkListedMember is what a set's own list says of a member. Its id is the virtual
// machine's, where the list gives it.
func sdkListedMember(v *armcompute.VirtualMachineScaleSetVM) fleet.Member {
	p := get(v.Properties)
	protection := get(p.ProtectionPolicy)
	m := fleet.Member{
		Name: get(v.Name), ID: fleet.ResourceID(get(v.ID)), Created: utc(p.TimeCreated), Provisioning: get(p.ProvisioningState),
		Image: sdkImageReference(get(p.StorageProfile).ImageReference), LatestModel: p.LatestModelApplied, Health: fleet.HealthMissing,
		ProtectScaleIn: get(protection.ProtectFromScaleIn), ProtectSetActions: get(protection.ProtectFromScaleSetActions),
	}
	if zone := first(v.Zones); zone != nil {
		m.Zone = *zone
	}
	if id := get(p.VirtualMachineResourceID); id != "" {
		m.ID = fleet.ResourceID(id)
	}
	if m.Name == "" {
		m.Name = m.ID.Name()
	}
	return m
}

// sdkMachine adds what the virtual machine says of itself.
func sdkMachine(m *fleet.Member, v *armcompute.VirtualMachine) {
	p := get(v.Properties)
	m.ID = fleet.ResourceID(get(v.ID))
	m.Provisioning = get(p.ProvisioningState)
	m.Spot = get(p.Priority) == armcompute.VirtualMachinePriorityTypesSpot
	if p.TimeCreated != nil {
		m.Created = utc(p.TimeCreated)
	}
	if zone := first(v.Zones); zone != nil {
		m.Zone = *zone
	}
	if r := get(p.StorageProfile).ImageReference; r != nil {
		m.Image = sdkImageReference(r)
	}
	m.Health = fleet.HealthMissing
	if p.InstanceView != nil {
		sdkInstanceView(m, p.InstanceView)
	}
}

// sdkInstanceView adds the state of the moment.
func sdkInstanceView(m *fleet.Member, v *armcompute.VirtualMachineInstanceView) {
	for _, s := range v.Statuses {
		code := get(get(s).Code)
		if power, ok := strings.CutPrefix(code, "PowerState/"); ok {
			m.Power = fleet.PowerState(power)
		}
		if reason, ok := strings.CutPrefix(code, "ProvisioningState/failed"); ok && m.Provisioning == fleet.Failed {
			m.Failure = fleet.Failure{Code: strings.Trim(reason, "/"), Message: cmp.Or(get(s.Message), get(s.DisplayStatus))}
		}
	}
	if v.VMHealth != nil && v.VMHealth.Status != nil {
		m.Health, m.HealthAt = fleet.HealthOf(get(v.VMHealth.Status.Code)), utc(v.VMHealth.Status.Time)
	}
	m.Extensions = make(map[string]string)
	for _, e := range v.Extensions {
		if e == nil {
			continue
		}
		kind := get(e.Type) // with its publisher in front: Microsoft.ManagedServices.ApplicationHealthLinux
		if kind == "" {
			kind = get(e.Name)
		}
		m.Extensions[kind[strings.LastIndexByte(kind, '.')+1:]] = get(e.TypeHandlerVersion)
	}
}

func sdkGallery(v *armcompute.Gallery) fleet.Gallery {
	return fleet.Gallery{ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location)}
}

func sdkDefinition(v *armcompute.GalleryImage) fleet.Definition {
	p := get(v.Properties)
	identifier := get(p.Identifier)
	d := fleet.Definition{
		ID: fleet.ResourceID(get(v.ID)), Location: location(v.Location),
		Publisher: get(identifier.Publisher), Offer: get(identifier.Offer), SKU: get(identifier.SKU),
		OS: text(p.OSType), State: text(p.OSState), HyperV: text(p.HyperVGeneration),
	}
	for _, f := range p.Features {
		if f != nil && strings.EqualFold(get(f.Name), "SecurityType") {
			d.Security = get(f.Value)
		}
	}
	return d
}

func sdkVersion(v *armcompute.GalleryImageVersion) fleet.Version {
	p := get(v.Properties)
	profile, replication := get(p.PublishingProfile), get(p.ReplicationStatus)
	return fleet.Version{
		ID: fleet.ResourceID(get(v.ID)), Name: get(v.Name), Provisioning: text(p.ProvisioningState), Published: utc(profile.PublishedDate),
		Excluded: get(profile.ExcludeFromLatest), EndOfLife: utc(profile.EndOfLifeDate), Mode: text(profile.ReplicationMode),
		Storage: text(profile.StorageAccountType), BlockDelete: get(get(p.SafetyProfile).BlockDeletionBeforeEndOfLife), Tags: tags(v.Tags),
		Regions: sdkRegions(&profile, &replication), Aggregated: text(replication.AggregatedState),
	}
}

// sdkRegions are those where a version shall be, with how far it is there, and those
// where it still is although it shall not.
func sdkRegions(profile *armcompute.GalleryImageVersionPublishingProfile, replication *armcompute.ReplicationStatus) []fleet.Region {
	var all []fleet.Region
	index := make(map[string]int)
	for _, t := range profile.TargetRegions {
		if t == nil {
			continue
		}
		r := fleet.Region{Name: location(t.Name), Replicas: int(get(t.RegionalReplicaCount)), Storage: text(t.StorageAccountType), Excluded: get(t.ExcludeFromLatest)}
		if t.RegionalReplicaCount == nil {
			r.Replicas = int(get(profile.ReplicaCount))
		}
		if r.Storage == "" {
			r.Storage = text(profile.StorageAccountType)
		}
		if _, twice := index[r.Name]; !twice {
			index[r.Name] = len(all)
		}
		all = append(all, r)
	}
	for _, s := range replication.Summary {
		if s == nil {
			continue
		}
		name := location(s.Region)
		i, ok := index[name]
		if !ok {
			i = len(all)
			all = append(all, fleet.Region{Name: name})
		}
		all[i].State, all[i].Progress, all[i].Details = text(s.State), int(get(s.Progress)), get(s.Details)
	}
	return all
}

// sdkRollingUpgrade is what is under way, or was the last to be. An answer without
// properties says that there is nothing.
func sdkRollingUpgrade(p *armcompute.RollingUpgradeStatusInfoProperties) *fleet.RollingUpgrade {
	if p == nil {
		return nil
	}
	u := sdkUpgrade(p.Progress, p.Error)
	status := get(p.RunningStatus)
	u.Code, u.Start = text(status.Code), utc(status.StartTime)
	if !u.Active() {
		u.End = utc(status.LastActionTime)
	}
	return &u
}

func sdkPastUpgrade(v *armcompute.UpgradeOperationHistoricalStatusInfo) fleet.RollingUpgrade {
	p := get(v.Properties)
	u := sdkUpgrade(p.Progress, p.Error)
	status := get(p.RunningStatus)
	u.Code, u.Start, u.End = text(status.Code), utc(status.StartTime), utc(status.EndTime)
	u.StartedBy, u.Target = text(p.StartedBy), sdkImageReference(p.TargetImageReference)
	back := get(p.RollbackInfo)
	u.RolledBack, u.RollbackFailed = int(get(back.SuccessfullyRolledbackInstanceCount)), int(get(back.FailedRolledbackInstanceCount))
	return u
}

// sdkUpgrade is what both have in common.
func sdkUpgrade(progress *armcompute.RollingUpgradeProgressInfo, failure *armcompute.APIError) fleet.RollingUpgrade {
	n, f := get(progress), get(failure)
	return fleet.RollingUpgrade{
		Successful: int(get(n.SuccessfulInstanceCount)), Failed: int(get(n.FailedInstanceCount)),
		InProgress: int(get(n.InProgressInstanceCount)), Pending: int(get(n.PendingInstanceCount)),
		ErrorCode: get(f.Code), Error: get(f.Message),
	}
}

func sdkAutoscale(v *armmonitor.AutoscaleSettingResource) fleet.Autoscale {
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
			a.Rules = append(a.Rules, sdkScaleRule(r, a.Target))
		}
	}
	return a
}

func sdkScaleRule(r *armmonitor.ScaleRule, target fleet.ResourceID) fleet.ScaleRule {
	trigger, action := get(r.MetricTrigger), get(r.ScaleAction)
	odd := ""
	switch {
	case !target.Same(fleet.ResourceID(get(trigger.MetricResourceURI))):
		odd = "looks at " + get(trigger.MetricResourceURI)
	case text(trigger.Statistic) != "Average":
		odd = "takes of members the " + text(trigger.Statistic)
	case get(trigger.TimeGrain) != "PT1M":
		odd = "takes values each " + get(trigger.TimeGrain)
	case text(action.Type) != "ChangeCount":
		odd = "acts by " + text(action.Type)
	}
	return fleet.ScaleRule{
		Metric: get(trigger.MetricName), Aggregation: text(trigger.TimeAggregation), Operator: text(trigger.Operator), Threshold: get(trigger.Threshold),
		Out: get(action.Direction) == armmonitor.ScaleDirectionIncrease, By: number(action.Value),
		Window: get(duration(trigger.TimeWindow)), Cooldown: get(duration(action.Cooldown)), Odd: odd,
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

// get returns what p leads to, or nothing.
func get[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

// utc is the instant that p leads to, or none. The SDK keeps the zone that is written.
func utc(p *time.Time) time.Time { return get(p).UTC() }

// text returns what p leads to, a string of some kind, as a string.
func text[T ~string](p *T) string { return string(get(p)) }

// integer returns what p leads to as an int, or nil.
func integer(p *int32) *int {
	if p == nil {
		return nil
	}
	n := int(*p)
	return &n
}

func location(p *string) string { return fleet.NormalLocation(get(p)) }

func tags(m map[string]*string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	all := make(map[string]string, len(m))
	for k, v := range m {
		all[k] = get(v)
	}
	return all
}

func texts(list []*string) []string {
	var all []string
	for _, s := range list {
		if s != nil {
			all = append(all, *s)
		}
	}
	return all
}

// first returns the first element that is one.
func first[T any](list []*T) *T {
	for _, v := range list {
		if v != nil {
			return v
		}
	}
	return nil
}

// isoDuration is a duration as ARM writes it, of days and less: PT30M, P1DT2H.
var isoDuration = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})(?:\.\d+)?S)?)?$`)

// duration reads a duration. It is nil when there is none, or none that can be read.
func duration(p *string) *time.Duration {
	m := isoDuration.FindStringSubmatch(get(p))
	if m == nil || m[1]+m[2]+m[3]+m[4] == "" {
		return nil
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(m[i+1]) // "" is 0; the expression bounds the rest
		d += time.Duration(n) * unit
	}
	return &d
}
