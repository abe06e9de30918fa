package fleet

import "strings"

// ReadScaleSet makes the model of a scale set of one that Azure gave. What is not what it
// should be is not there.
func ReadScaleSet(d Document) ScaleSet {
	p, _ := dig(d, "properties").(Document)
	set := ScaleSet{
		ID: ResourceID(textAt(d, "id")), Location: NormalLocation(textAt(d, "location")), Zones: textsAt(d, "zones"), ETag: textAt(d, "etag"), Tags: tagsAt(d),
		Provisioning: textAt(p, "provisioningState"), Flexible: textAt(p, "orchestrationMode") == "Flexible",
		FaultDomains: intAt(p, "platformFaultDomainCount"), SinglePlacement: boolAt(p, "singlePlacementGroup"),
		Capacity: intAt(d, "sku", "capacity"), VMSize: textAt(d, "sku", "name"),
		SystemIdentity: strings.Contains(textAt(d, "identity", "type"), "SystemAssigned"),
		Upgrade:        readUpgradePolicy(dig(p, "upgradePolicy")),
		Properties:     p,
	}
	if r := dig(p, "automaticRepairsPolicy"); r != nil {
		set.Repairs = RepairsPolicy{Enabled: trueAt(r, "enabled"), Grace: durationAt(r, "gracePeriod"), Action: textAt(r, "repairAction")}
	}
	if has(p, "priorityMixPolicy") {
		m := dig(p, "priorityMixPolicy")
		set.PriorityMix = &PriorityMix{RegularBase: intAt(m, "baseRegularPriorityCount"), RegularAboveBase: intAt(m, "regularPriorityPercentageAboveBase")}
	}
	if has(p, "spotRestorePolicy") {
		r := dig(p, "spotRestorePolicy")
		set.SpotRestore = &SpotRestore{Enabled: trueAt(r, "enabled"), Timeout: spanAt(r, "restoreTimeout")}
	}
	readMachineProfile(&set, dig(p, "virtualMachineProfile"))
	return set
}

// readMachineProfile adds what members are made from.
func readMachineProfile(set *ScaleSet, p any) {
	set.Spot = textAt(p, "priority") == spotPriority
	set.EvictionPolicy = textAt(p, "evictionPolicy")
	set.Image = readImageReference(dig(p, "storageProfile", "imageReference"))
	set.OSDiskDelete = textAt(p, "storageProfile", "osDisk", "deleteOption")
	set.Windows = textAt(p, "storageProfile", "osDisk", "osType") == "Windows"

	if has(p, "osProfile", "windowsConfiguration") {
		w := dig(p, "osProfile", "windowsConfiguration")
		set.Windows = true
		set.WindowsAutoUpdates = boolAt(w, "enableAutomaticUpdates")
		set.PatchMode = textAt(w, "patchSettings", "patchMode")
	}
	if has(p, "osProfile", "linuxConfiguration") {
		set.PatchMode = textAt(p, "osProfile", "linuxConfiguration", "patchSettings", "patchMode")
	}

	network := dig(p, "networkProfile")
	set.HealthProbe = textAt(network, "healthProbe", "id")
	card := firstAt(network, "networkInterfaceConfigurations")
	set.SubnetID = textAt(firstAt(card, "properties", "ipConfigurations"), "properties", "subnet", "id")

	set.TerminateNotice = readNotice(dig(p, "scheduledEventsProfile", "terminateNotificationProfile"))
	set.OSImageNotice = readNotice(dig(p, "scheduledEventsProfile", "osImageNotificationProfile"))
	for _, e := range objectsAt(p, "extensionProfile", "extensions") {
		set.Extensions = append(set.Extensions, readExtension(e))
	}
}

// spotPriority is the priority of a Spot machine, of a scale set and of a member.
const spotPriority = "Spot"

func readNotice(v any) *Notice {
	if !has(v) {
		return nil
	}
	return &Notice{Enabled: trueAt(v, "enable"), NotBefore: spanAt(v, "notBeforeTimeout")}
}

func readExtension(e Document) Extension {
	p := dig(e, "properties")
	settings, _ := dig(p, "settings").(Document)
	return Extension{
		Name: textAt(e, "name"), Publisher: textAt(p, "publisher"), Type: textAt(p, "type"), Version: textAt(p, "typeHandlerVersion"),
		AutoUpgrade: boolAt(p, "enableAutomaticUpgrade"), Settings: settings,
	}
}

// readImageReference is what a disk is made from. An image that is shared or of a
// community has an id of its own kind.
func readImageReference(v any) ImageReference {
	ref := ImageReference{
		ID: textAt(v, "id"), Publisher: textAt(v, "publisher"), Offer: textAt(v, "offer"), SKU: textAt(v, "sku"),
		Version: textAt(v, "version"), ExactVersion: textAt(v, "exactVersion"),
	}
	for _, other := range []string{"sharedGalleryImageId", "communityGalleryImageId"} {
		if ref.ID == "" {
			ref.ID = textAt(v, other)
		}
	}
	return ref
}

func readUpgradePolicy(v any) UpgradePolicy {
	auto, r := dig(v, "automaticOSUpgradePolicy"), dig(v, "rollingUpgradePolicy")
	return UpgradePolicy{
		Mode:   UpgradeMode(textAt(v, "mode")),
		AutoOS: trueAt(auto, "enableAutomaticOSUpgrade"), DisableRollback: boolAt(auto, "disableAutomaticRollback"), UseRolling: boolAt(auto, "useRollingUpgradePolicy"),
		Rolling: RollingPolicy{
			MaxBatch: integerAt(r, "maxBatchInstancePercent"), MaxUnhealthy: integerAt(r, "maxUnhealthyInstancePercent"),
			MaxUnhealthyUpgraded: integerAt(r, "maxUnhealthyUpgradedInstancePercent"), Pause: durationAt(r, "pauseTimeBetweenBatches"),
			PrioritizeUnhealthy: boolAt(r, "prioritizeUnhealthyInstances"), MaxSurge: boolAt(r, "maxSurge"), CrossZone: boolAt(r, "enableCrossZoneUpgrade"),
			RollbackFailed: boolAt(r, "rollbackFailedInstancesOnPolicyBreach"),
		},
	}
}

// ReadAutoscale makes an autoscale setting of one that Azure gave. Azure Monitor writes
// its whole numbers as texts.
func ReadAutoscale(d Document) Autoscale {
	p := dig(d, "properties")
	predictive, profile := dig(p, "predictiveAutoscalePolicy"), usualIn(d)
	if profile == nil {
		profile = firstAt(p, "profiles")
	}
	a := Autoscale{
		ID: ResourceID(textAt(d, "id")), Target: ResourceID(textAt(p, "targetResourceUri")), Enabled: trueAt(p, "enabled"),
		Min: numberAt(profile, "capacity", "minimum"), Max: numberAt(profile, "capacity", "maximum"), Def: numberAt(profile, "capacity", "default"),
		Predictive: textAt(predictive, "scaleMode"), LookAhead: spanAt(predictive, "scaleLookAheadTime"),
	}
	for _, r := range objectsAt(profile, "rules") {
		trigger, action := dig(r, "metricTrigger"), dig(r, "scaleAction")
		threshold, _ := dig(trigger, "threshold").(float64)
		a.Rules = append(a.Rules, ScaleRule{
			Metric: textAt(trigger, "metricName"), Aggregation: textAt(trigger, "timeAggregation"), Operator: textAt(trigger, "operator"), Threshold: threshold,
			Out: textAt(action, "direction") == "Increase", By: numberAt(action, "value"),
			Window: spanAt(trigger, "timeWindow"), Cooldown: spanAt(action, "cooldown"), Odd: oddRule(r, a.Target),
		})
	}
	return a
}

// oddRule says what of a rule is not like those of a file; empty: nothing.
func oddRule(rule any, target ResourceID) string {
	usual := scaleRuleBody(&ScaleRule{}, target)
	for _, one := range []struct{ part, name, what string }{
		{"metricTrigger", "metricResourceUri", "looks at "},
		{"metricTrigger", "statistic", "takes of members the "},
		{"metricTrigger", "timeGrain", "takes values each "},
		{"scaleAction", "type", "acts by "},
	} {
		is := textAt(rule, one.part, one.name)
		if !sameScalar(one.name, is, textAt(usual, one.part, one.name)) {
			return one.what + is
		}
	}
	return ""
}
