package fleet

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Declared returns what a file says of the scale sets that it manages in full, in
// the shape of those that are read from Azure, so that both can be looked at alike.
// The sets are in the order of their names and have no members.
//
// What the file leaves to others is empty: the image of a pinned set, which belongs
// to rollouts, and the capacity of a set that exists, which is that of create. The
// rolling policy holds the numbers of the file whoever upgrades by them.
func Declared(s *Spec) []Set {
	var sets []Set
	for _, name := range slices.Sorted(maps.Keys(s.ScaleSets)) {
		set := s.ScaleSets[name]
		if set.Manage != ManageFull {
			continue
		}
		sets = append(sets, Set{Model: declaredModel(s, name, &set), Autoscale: declaredAutoscale(set.Autoscale)})
	}
	return sets
}

func declaredModel(s *Spec, name string, set *SetSpec) ScaleSet {
	m := ScaleSet{
		ID:              s.SetID(name),
		Location:        set.Location,
		Tags:            mergedTags(s.Tags, set.Tags),
		Flexible:        true,
		OSDiskDelete:    "Delete", // an upgraded member leaves no disk behind
		Upgrade:         declaredUpgrade(set),
		TerminateNotice: declaredNotice(set.TerminateNotice),
	}
	if set.Tracks == TracksLatest {
		m.Image.ID = string(s.DefinitionID())
	}
	if set.Health != nil {
		m.Extensions = []Extension{declaredHealth(set.Health)}
	}
	if set.Repairs != nil {
		m.Repairs = RepairsPolicy{Enabled: true, Grace: &set.Repairs.After, Action: title(set.Repairs.Action)}
	}
	if set.OSImageNotification {
		m.OSImageNotice = declaredNotice(osImageNotice)
	}
	if set.Spot != nil {
		declareSpot(&m, set.Spot)
	}
	if set.Create != nil {
		declareCreate(&m, set.Create)
	}
	return m
}

// osImageNotice is the only time that Azure takes for osImageNotificationProfile.
const osImageNotice = 15 * time.Minute

func declaredNotice(before time.Duration) *Notice {
	if before == 0 {
		return nil
	}
	return &Notice{Enabled: true, NotBefore: before}
}

func declaredUpgrade(set *SetSpec) UpgradePolicy {
	u := set.Upgrade
	percent := func(p Percent) *int { n := int(p); return &n }
	policy := UpgradePolicy{
		Mode:   Manual,
		AutoOS: u.Driver == DriverPlatformAutoOS,
		Rolling: RollingPolicy{
			MaxBatch:             percent(u.Batch),
			MaxUnhealthy:         percent(u.MaxUnhealthy),
			MaxUnhealthyUpgraded: percent(u.MaxUnhealthyUpgraded),
			Pause:                &u.Pause,
			PrioritizeUnhealthy:  u.PrioritizeUnhealthy,
			MaxSurge:             u.MaxSurge,
			CrossZone:            u.CrossZone,
		},
	}
	if policy.AutoOS {
		policy.UseRolling = new(true) // what Azure does without it is not sure
	}
	if u.Driver == DriverPlatformRolling {
		policy.Mode = Rolling
	}
	if u.AutoOSRollback != nil {
		disabled := !*u.AutoOSRollback
		policy.DisableRollback = &disabled
	}
	return policy
}

// declaredHealth is the Application Health extension, its settings as Azure has them:
// numbers are those of JSON.
func declaredHealth(h *HealthSpec) Extension {
	settings := map[string]any{
		"protocol":          h.Protocol,
		"intervalInSeconds": h.Interval.Seconds(),
		"numberOfProbes":    float64(h.Probes),
	}
	if h.Port != 0 {
		settings["port"] = float64(h.Port)
	}
	if h.Path != "" {
		settings["requestPath"] = h.Path
	}
	if h.Grace != 0 {
		settings["gracePeriod"] = h.Grace.Seconds()
	}
	automatic := true
	return Extension{
		Name: HealthTypeLinux, Publisher: HealthPublisher, Type: HealthTypeLinux, Version: h.Extension,
		AutoUpgrade: &automatic, Settings: settings,
	}
}

func declareSpot(m *ScaleSet, s *SpotSpec) {
	m.Spot = true
	m.EvictionPolicy = title(s.Eviction)
	m.PriorityMix = &PriorityMix{RegularBase: s.RegularBase, RegularAboveBase: int(s.RegularAboveBase)}
	if s.Restore != 0 {
		m.SpotRestore = &SpotRestore{Enabled: true, Timeout: s.Restore}
	}
}

func declareCreate(m *ScaleSet, c *CreateSpec) {
	m.Capacity, m.VMSize, m.FaultDomains, m.SubnetID = c.Capacity, c.VMSize, c.FaultDomains, string(c.Network.Subnet)
	for _, zone := range c.Zones {
		m.Zones = append(m.Zones, strconv.Itoa(zone))
	}
	declareExtra(m, c.Extra)
}

// declareExtra takes from raw properties those that decide something here.
func declareExtra(m *ScaleSet, extra map[string]any) {
	if t, ok := at(extra, "identity", "type").(string); ok {
		m.SystemIdentity = strings.Contains(t, "SystemAssigned")
	}
	if single, ok := at(extra, "properties", "singlePlacementGroup").(bool); ok {
		m.SinglePlacement = &single
	}
	if back, ok := at(extra, "properties", "upgradePolicy", "rollingUpgradePolicy", "rollbackFailedInstancesOnPolicyBreach").(bool); ok {
		m.Upgrade.Rolling.RollbackFailed = &back
	}
	if mode, ok := at(extra, "properties", "virtualMachineProfile", "osProfile", "linuxConfiguration", "patchSettings", "patchMode").(string); ok {
		m.PatchMode = mode
	}
	if option, ok := at(extra, "properties", "virtualMachineProfile", "storageProfile", "osDisk", "deleteOption").(string); ok {
		m.OSDiskDelete = option
	}
	if probe, ok := at(extra, "properties", "virtualMachineProfile", "networkProfile", "healthProbe", "id").(string); ok {
		m.HealthProbe = probe
	}
}

// at returns the value at a path of nested maps, or nil.
func at(m map[string]any, path ...string) any {
	var value any = m
	for _, key := range path {
		inner, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = lookUp(inner, key)
	}
	return value
}

func declaredAutoscale(a *AutoscaleSpec) *Autoscale {
	if a == nil {
		return nil
	}
	declared := &Autoscale{Enabled: true, Min: a.Min, Max: a.Max, Def: a.Default}
	if r := a.Out; r != nil {
		declared.Rules = append(declared.Rules, ScaleRule{
			Metric: r.Metric, Aggregation: "Average", Operator: "GreaterThan", Threshold: r.Above,
			Out: true, By: r.By, Window: r.Over, Cooldown: r.Cooldown,
		})
	}
	if r := a.In; r != nil {
		declared.Rules = append(declared.Rules, ScaleRule{
			Metric: r.Metric, Aggregation: "Average", Operator: "LessThan", Threshold: r.Below,
			By: r.By, Window: r.Over, Cooldown: r.Cooldown,
		})
	}
	if p := a.Predictive; p != nil {
		declared.Predictive, declared.LookAhead = predictiveModes[p.Mode], p.LookAhead
	}
	return declared
}

// predictiveModes are the modes of the file in Azure's words, whose case counts.
var predictiveModes = map[string]string{"off": "Disabled", "forecast-only": "ForecastOnly", "enabled": "Enabled"}

// mergedTags are the tags of a set: those of the file, and its own over them. Azure has no
// two whose names differ in their letters alone.
func mergedTags(file, own map[string]string) map[string]string {
	if len(file)+len(own) == 0 {
		return nil
	}
	tags := maps.Clone(file)
	if tags == nil {
		tags = make(map[string]string)
	}
	for name := range own {
		maps.DeleteFunc(tags, func(other, _ string) bool { return strings.EqualFold(other, name) })
	}
	maps.Copy(tags, own)
	return tags
}

// title writes a word of the file as Azure does: "replace" as "Replace".
func title(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + word[1:]
}
