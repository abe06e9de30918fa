package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// networkAPIVersion is the version of Microsoft.Network with which a Flexible scale set
// makes its network interfaces; it has to be given.
const networkAPIVersion = "2020-11-01"

// SetBody returns the body of the PUT that makes a scale set of the file, or nil for
// one that the file does not say how to make. Image is the id of the version that its
// members begin with; a set that tracks the latest has the definition in its place.
// sshKey is the text of the administrator's public key.
func SetBody(s *Spec, name string, image ResourceID, sshKey string) Document {
	set := s.ScaleSets[name]
	c := set.Create
	if c == nil {
		return nil
	}
	m := declaredModel(s, name, &set)
	properties := Document{
		"orchestrationMode":        "Flexible",
		"platformFaultDomainCount": float64(c.FaultDomains),
		"singlePlacementGroup":     false,
		"upgradePolicy":            upgradeBody(&m, set.Upgrade.Driver),
		"virtualMachineProfile":    machineBody(&m, c, cmp.Or(m.Image.ID, string(image)), sshKey),
	}
	if m.Repairs.Enabled {
		properties["automaticRepairsPolicy"] = repairsBody(&m.Repairs)
	}
	if mix := m.PriorityMix; mix != nil {
		properties["priorityMixPolicy"] = priorityMixBody(mix)
	}
	if r := m.SpotRestore; r != nil {
		properties["spotRestorePolicy"] = spotRestoreBody(r)
	}
	body := Document{
		"location":   m.Location,
		"sku":        Document{"name": m.VMSize, "tier": "Standard", "capacity": float64(c.Capacity)},
		"properties": properties,
	}
	if len(m.Tags) > 0 {
		body["tags"] = tagsBody(m.Tags)
	}
	if len(c.Zones) > 0 {
		body["zones"] = zonesBody(c.Zones)
	}
	body = overlay(body, c.Extra)
	keepHealth(body, m.Extensions)
	return body
}

// keepHealth puts the health extension beside raw extensions, whose list has taken its
// place, unless one of them is one.
func keepHealth(body Document, health []Extension) {
	profile := objectAt(body, "properties", "virtualMachineProfile")
	there := listAt(profile, "extensionProfile", "extensions")
	has := func(e any) bool {
		return isHealthExtension(textAt(e, "properties", "publisher"), textAt(e, "properties", "type"))
	}
	if len(health) == 0 || profile == nil || slices.ContainsFunc(there, has) {
		return
	}
	profile["extensionProfile"] = overlaid(profile["extensionProfile"], Document{"extensions": slices.Concat([]any{extensionBody(&health[0])}, there)})
}

func zonesBody(zones []int) []any {
	list := make([]any, len(zones))
	for i, zone := range zones {
		list[i] = strconv.Itoa(zone)
	}
	return list
}

func repairsBody(r *RepairsPolicy) Document {
	return Document{"enabled": true, "gracePeriod": isoDuration(*r.Grace), "repairAction": r.Action}
}

func priorityMixBody(m *PriorityMix) Document {
	return Document{"baseRegularPriorityCount": float64(m.RegularBase), "regularPriorityPercentageAboveBase": float64(m.RegularAboveBase)}
}

func spotRestoreBody(r *SpotRestore) Document {
	return Document{"enabled": true, "restoreTimeout": isoDuration(r.Timeout)}
}

// notices are the profiles of scheduledEventsProfile, by name; nil: it has none.
func (s *ScaleSet) notices() map[string]*Notice {
	return map[string]*Notice{"terminateNotificationProfile": s.TerminateNotice, "osImageNotificationProfile": s.OSImageNotice}
}

func noticeBody(n *Notice) Document {
	return Document{"enable": true, "notBeforeTimeout": isoDuration(n.NotBefore)}
}

// upgradeBody is upgradePolicy. The rolling policy is the platform's, and stays out of
// sets whose members fleetctl picks.
func upgradeBody(m *ScaleSet, driver Driver) Document {
	body := Document{"mode": string(m.Upgrade.Mode)}
	if m.Upgrade.AutoOS {
		auto := Document{"enableAutomaticOSUpgrade": true, "useRollingUpgradePolicy": isTrue(m.Upgrade.UseRolling)}
		if disabled := m.Upgrade.DisableRollback; disabled != nil {
			auto["disableAutomaticRollback"] = *disabled
		}
		body["automaticOSUpgradePolicy"] = auto
	}
	if !driver.Platform() {
		return body
	}
	r, rolling := m.Upgrade.Rolling, Document{}
	for name, percent := range map[string]*int{
		"maxBatchInstancePercent": r.MaxBatch, "maxUnhealthyInstancePercent": r.MaxUnhealthy, "maxUnhealthyUpgradedInstancePercent": r.MaxUnhealthyUpgraded,
	} {
		if percent != nil {
			rolling[name] = float64(*percent)
		}
	}
	for name, on := range map[string]*bool{
		"prioritizeUnhealthyInstances": r.PrioritizeUnhealthy, "maxSurge": r.MaxSurge, "enableCrossZoneUpgrade": r.CrossZone,
	} {
		if on != nil {
			rolling[name] = *on
		}
	}
	if r.Pause != nil {
		rolling["pauseTimeBetweenBatches"] = isoDuration(*r.Pause)
	}
	body["rollingUpgradePolicy"] = rolling
	return body
}

// machineBody is virtualMachineProfile.
func machineBody(m *ScaleSet, c *CreateSpec, image, sshKey string) Document {
	name := m.ID.Name()
	body := Document{
		"osProfile": Document{
			"computerNamePrefix": computerPrefix(name),
			"adminUsername":      c.Admin,
			"linuxConfiguration": Document{
				"disablePasswordAuthentication": true,
				"provisionVMAgent":              true,
				"ssh":                           Document{"publicKeys": []any{sshKeyBody(c.Admin, sshKey)}},
			},
		},
		"storageProfile": Document{
			"imageReference": Document{"id": image},
			"osDisk": Document{
				"osType": "Linux", "createOption": "FromImage", "caching": "ReadWrite", "deleteOption": m.OSDiskDelete,
				"managedDisk": Document{"storageAccountType": "StandardSSD_LRS"}, // the one that every size takes
			},
		},
		"networkProfile": networkBody(name, &c.Network),
		// The definition supports it, and it cannot be switched on later everywhere.
		"securityProfile": Document{
			"securityType": "TrustedLaunch", "uefiSettings": Document{"secureBootEnabled": true, "vTpmEnabled": true},
		},
	}
	if len(m.Extensions) > 0 {
		var list []any
		for _, e := range m.Extensions {
			list = append(list, extensionBody(&e))
		}
		body["extensionProfile"] = Document{"extensions": list}
	}
	events := Document{}
	for profile, notice := range m.notices() {
		if notice != nil {
			events[profile] = noticeBody(notice)
		}
	}
	if len(events) > 0 {
		body["scheduledEventsProfile"] = events
	}
	if m.Spot {
		body["priority"], body["evictionPolicy"] = "Spot", m.EvictionPolicy
		body["billingProfile"] = Document{"maxPrice": float64(-1)} // up to the price of a regular one
	}
	return body
}

// networkBody is one interface with one private address.
func networkBody(name string, n *NetworkSpec) Document {
	address := Document{"primary": true, "subnet": Document{"id": string(n.Subnet)}}
	if len(n.BackendPools) > 0 {
		var pools []any
		for _, pool := range n.BackendPools {
			pools = append(pools, Document{"id": string(pool)})
		}
		address["loadBalancerBackendAddressPools"] = pools
	}
	return Document{
		"networkApiVersion": networkAPIVersion,
		"networkInterfaceConfigurations": []any{Document{"name": name + "-nic", "properties": Document{
			"primary": true, "deleteOption": "Delete",
			"ipConfigurations": []any{Document{"name": name + "-ip", "properties": address}},
		}}},
	}
}

func extensionBody(e *Extension) Document {
	properties := Document{
		"publisher": e.Publisher, "type": e.Type, "typeHandlerVersion": e.Version, "autoUpgradeMinorVersion": true,
		"settings": maps.Clone(e.Settings),
	}
	if e.AutoUpgrade != nil {
		properties["enableAutomaticUpgrade"] = *e.AutoUpgrade
	}
	return Document{"name": e.Name, "properties": properties}
}

func sshKeyBody(admin, key string) Document {
	return Document{"path": "/home/" + admin + "/.ssh/authorized_keys", "keyData": strings.TrimSpace(key)}
}

// computerPrefix is what the host names of a set's members begin with. Azure adds six
// characters, and Linux takes 64.
func computerPrefix(name string) string {
	const most = 58
	return strings.TrimRight(name[:min(len(name), most)], "-_.")
}

func tagsBody(tags map[string]string) Document {
	body := Document{}
	for name, value := range tags {
		body[name] = value
	}
	return body
}

// overlay puts raw properties over a body: objects are merged, all else is replaced,
// and null takes a property away. Azure reads names in any letters: what has one keeps it.
func overlay(body Document, raw map[string]any) Document {
	merged := maps.Clone(body)
	if merged == nil {
		merged = Document{}
	}
	for _, given := range slices.Sorted(maps.Keys(raw)) {
		name, value := nameIn(merged, given), raw[given]
		inner, isObject := value.(map[string]any)
		below, _ := merged[name].(map[string]any)
		switch {
		case value == nil:
			delete(merged, name)
		case isObject:
			if below == nil {
				below = Document{}
			}
			merged[name] = overlay(below, inner)
		default:
			merged[name] = value
		}
	}
	return merged
}

// nameIn is a name as an object has it, or else as it is given.
func nameIn(object Document, given string) string {
	if _, there := object[given]; there {
		return given
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if strings.EqualFold(name, given) {
			return name
		}
	}
	return given
}

// isoDuration writes a duration of whole seconds as ARM does: PT30M, PT1M30S.
func isoDuration(d time.Duration) string {
	seconds := int64(d / time.Second)
	if seconds == 0 {
		return "PT0S"
	}
	var text strings.Builder
	text.WriteString("PT")
	for _, unit := range []struct {
		length int64
		letter string
	}{{3600, "H"}, {60, "M"}, {1, "S"}} {
		if n := seconds / unit.length; n > 0 {
			text.WriteString(strconv.FormatInt(n, 10) + unit.letter)
			seconds %= unit.length
		}
	}
	return text.String()
}
