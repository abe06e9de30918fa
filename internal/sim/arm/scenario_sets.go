package arm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scaleSet makes a scale set and its members.
func (b *builder) scaleSet(s setSpec) error {
	id := b.scope(s.place) + "/providers/" + setType + "/" + s.Name
	members := s.Members
	capacity := 0
	for _, m := range members {
		capacity += m.count()
	}
	if s.Capacity != nil {
		capacity = *s.Capacity
	}
	if len(members) == 0 {
		members = []memberSpec{{Count: &capacity}}
	}
	body := b.located(s.place, b.setProperties(s))
	body["sku"] = object{"name": cmp.Or(s.VMSize, "Standard_D2as_v5"), "tier": "Standard", "capacity": capacity}
	if len(s.Zones) > 0 {
		body["zones"] = s.Zones
	}
	if len(s.Identities) > 0 {
		body["identity"] = b.identity(s.place, s.Identities)
	}
	hidden := object{}
	if s.RollingUpgrade != nil {
		hidden["rolling"] = b.rolling(s, *s.RollingUpgrade)
	}
	if len(s.History) > 0 {
		var list []any
		for _, u := range s.History {
			list = append(list, b.historical(s, u))
		}
		hidden["history"] = list
	}
	hidden, err := normal(hidden)
	if err != nil {
		return err
	}
	r, err := b.put(id, setType, body, s.Body, hidden)
	if err != nil {
		return err
	}
	n := 0
	for _, m := range members {
		for range m.count() {
			if err := b.member(r.ID, m, n); err != nil {
				return fmt.Errorf("member %d of %s: %w", n, s.Name, err)
			}
			n++
		}
	}
	b.tx.watchOS(r.ID)
	return nil
}

func (b *builder) setProperties(s setSpec) object {
	domains := 1
	if s.FaultDomains != nil {
		domains = *s.FaultDomains
	}
	id := b.scope(s.place) + "/providers/" + setType + "/" + s.Name
	created := stamp(b.tx.now.Add(-90 * 24 * time.Hour))
	p := object{
		"orchestrationMode": "Flexible", "platformFaultDomainCount": domains, "singlePlacementGroup": s.SinglePlacement,
		"provisioningState": statusSucceeded, "uniqueId": guid("scale set", key(id)), "timeCreated": created,
		"upgradePolicy":         b.upgradePolicy(s),
		"virtualMachineProfile": b.profile(s, created),
	}
	if s.Repairs != nil {
		p["automaticRepairsPolicy"] = object{
			"enabled": true, "gracePeriod": iso(time.Duration(cmp.Or(s.Repairs.After, age(10*time.Minute)))), "repairAction": cmp.Or(s.Repairs.Action, "Replace"),
		}
	}
	if s.Spot == nil {
		return p
	}
	if s.Spot.RegularBase != nil || s.Spot.RegularAboveBase != nil {
		mix := object{}
		given(mix, "baseRegularPriorityCount", s.Spot.RegularBase)
		given(mix, "regularPriorityPercentageAboveBase", s.Spot.RegularAboveBase)
		p["priorityMixPolicy"] = mix
	}
	if s.Spot.Restore > 0 {
		p["spotRestorePolicy"] = object{"enabled": true, "restoreTimeout": iso(time.Duration(s.Spot.Restore))}
	}
	return p
}

// given sets what was given.
func given[T any](o object, name string, value *T) {
	if value != nil {
		o[name] = *value
	}
}

func (b *builder) upgradePolicy(s setSpec) object {
	policy := object{"mode": cmp.Or(s.Mode, "Manual")}
	if r := s.Rolling; r != nil {
		policy["rollingUpgradePolicy"] = rollingPolicy(r)
	}
	if s.AutoOS {
		policy["automaticOSUpgradePolicy"] = object{
			"enableAutomaticOSUpgrade": true, "disableAutomaticRollback": false, "useRollingUpgradePolicy": s.Rolling != nil,
		}
	}
	return policy
}

func rollingPolicy(r *rollingSpec) object {
	o := object{"pauseTimeBetweenBatches": iso(time.Duration(r.Pause))}
	given(o, "maxBatchInstancePercent", r.MaxBatch)
	given(o, "maxUnhealthyInstancePercent", r.MaxUnhealthy)
	given(o, "maxUnhealthyUpgradedInstancePercent", r.MaxUnhealthyUpgraded)
	given(o, "prioritizeUnhealthyInstances", r.PrioritizeUnhealthy)
	given(o, "maxSurge", r.MaxSurge)
	given(o, "enableCrossZoneUpgrade", r.CrossZone)
	given(o, "rollbackFailedInstancesOnPolicyBreach", r.RollbackFailed)
	return o
}

// profile is the virtual machine profile.
func (b *builder) profile(s setSpec, created string) object {
	scope := b.scope(s.place)
	subnet := scope + "/providers/Microsoft.Network/virtualNetworks/vnet-" + location(b.region(s.place)) + "/subnets/app"
	p := object{
		"timeCreated": created,
		"osProfile":   osProfile(s),
		"storageProfile": object{
			"imageReference": b.imageRef(s.Image),
			"osDisk": object{
				"osType": osType(s), "createOption": "FromImage", "caching": "ReadWrite", "diskSizeGB": 30,
				"managedDisk": object{"storageAccountType": "Premium_LRS"}, "deleteOption": cmp.Or(s.OSDiskDelete, "Delete"),
			},
		},
		"networkProfile": object{
			"networkApiVersion": "2020-11-01",
			"networkInterfaceConfigurations": []any{object{"name": s.Name + "-nic", "properties": object{
				"primary": true, "enableAcceleratedNetworking": false, "deleteOption": "Delete",
				"ipConfigurations": []any{object{"name": s.Name + "-ip", "properties": object{"primary": true, "subnet": object{"id": subnet}}}},
			}}},
		},
		"securityProfile":  object{"securityType": "TrustedLaunch", "uefiSettings": object{"secureBootEnabled": true, "vTpmEnabled": true}},
		"extensionProfile": object{"extensions": extensions(s)},
	}
	if s.TerminateNotice > 0 {
		p["scheduledEventsProfile"] = object{"terminateNotificationProfile": object{
			"enable": true, "notBeforeTimeout": iso(time.Duration(s.TerminateNotice)),
		}}
	}
	if s.Spot != nil {
		p["priority"], p["evictionPolicy"] = "Spot", cmp.Or(s.Spot.Eviction, "Deallocate")
		p["billingProfile"] = object{"maxPrice": -1}
	}
	return p
}

func osType(s setSpec) string {
	if s.Windows {
		return "Windows"
	}
	return "Linux"
}

func osProfile(s setSpec) object {
	prefix := strings.TrimPrefix(s.Name, "vmss-")
	o := object{"computerNamePrefix": prefix[:min(len(prefix), 9)], "adminUsername": "azureuser", "allowExtensionOperations": true, "secrets": []any{}}
	if s.Windows {
		o["windowsConfiguration"] = object{"provisionVMAgent": true, "enableAutomaticUpdates": false}
		return o
	}
	o["linuxConfiguration"] = object{
		"disablePasswordAuthentication": true, "provisionVMAgent": true,
		"ssh": object{"publicKeys": []any{object{
			"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHBheS1leGFtcGxlLWtleS1vZi1ub2JvZHktYXQtYWxs pay",
		}}},
		"patchSettings": object{"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"},
	}
	return o
}

func extensions(s setSpec) []any {
	all := []any{}
	if h := s.Health; h != nil {
		settings := object{"protocol": cmp.Or(h.Protocol, "http")}
		for name, n := range map[string]int{
			"port": h.Port, "intervalInSeconds": seconds(h.Interval), "numberOfProbes": h.Probes, "gracePeriod": seconds(h.Grace),
		} {
			if n != 0 {
				settings[name] = n
			}
		}
		if h.Path != "" {
			settings["requestPath"] = h.Path
		}
		typ := "ApplicationHealthLinux"
		if s.Windows {
			typ = "ApplicationHealthWindows"
		}
		all = append(all, object{"name": typ, "properties": object{
			"publisher": "Microsoft.ManagedServices", "type": typ, "typeHandlerVersion": cmp.Or(h.Version, "2.0"),
			"autoUpgradeMinorVersion": true, "enableAutomaticUpgrade": true, "settings": settings,
		}})
	}
	for _, e := range s.Extensions {
		p := object{"publisher": e.Publisher, "type": e.Type, "typeHandlerVersion": e.Version, "autoUpgradeMinorVersion": true}
		given(p, "enableAutomaticUpgrade", e.AutoUpgrade)
		if e.Settings != nil {
			p["settings"] = e.Settings
		}
		if e.ProtectedSettings != nil {
			p["protectedSettings"] = e.ProtectedSettings
		}
		all = append(all, object{"name": e.Name, "properties": p})
	}
	return all
}

func seconds(a age) int { return int(time.Duration(a).Seconds()) }

// member makes the nth member of a set.
func (b *builder) member(setID string, m memberSpec, n int) error {
	r := b.tx.get(setID)
	ref := sub(r.Body, imagePath)
	if m.Image != "" {
		ref = b.imageRef(m.Image)
	}
	exact := m.Version
	if exact == "" {
		img, err := b.tx.resolve(ref, str(r.Body, "location"))
		if err != nil {
			return err
		}
		exact = img.exact
	}
	spot := m.Spot
	if spot == nil {
		is := spotInTurn(r.Body, n)
		spot = &is
	}
	zone := m.Zone
	if zones, _ := r.Body["zones"].([]any); zone == "" && len(zones) > 0 {
		zone, _ = zones[n%len(zones)].(string)
	}
	made := b.tx.bear(setID, birth{exact: exact, name: m.Name, zone: zone, spot: spot})
	b.tx.edit(made.ID, func(r *resource) { b.condition(r, m, ref, exact) })
	b.tx.watchRepair(made.ID)
	return nil
}

// spotInTurn says whether the nth member of a set is a Spot one: the regular ones
// come first.
func spotInTurn(body object, n int) bool {
	if str(body, profile+".priority") != "Spot" {
		return false
	}
	mix := sub(body, "properties.priorityMixPolicy")
	if mix == nil {
		return true
	}
	base, _ := integer(mix, "baseRegularPriorityCount")
	percent, _ := integer(mix, "regularPriorityPercentageAboveBase")
	return n >= regularOf(capacityOf(body), base, percent)
}

// condition brings a member that was just made into the condition that is described.
func (b *builder) condition(r *resource, m memberSpec, ref object, exact string) {
	since := cmp.Or(m.Age, age(7*24*time.Hour))
	set(r.Body, "properties.timeCreated", b.ago(since))
	set(r.Body, "properties.provisioningState", cmp.Or(m.Provisioning, statusSucceeded))
	own := clone(ref)
	if exact != "" {
		own["exactVersion"] = exact
	}
	set(r.Body, "properties.storageProfile.imageReference", own)
	h := r.Hidden
	h["power"] = cmp.Or(m.Power, "running")
	if m.Extensions != nil {
		h["extensions"] = otherExtensions(items(h, "extensions"), m.Extensions)
	}
	h["health"] = cmp.Or(m.Health, "Healthy")
	h["healthAt"] = b.ago(cmp.Or(m.HealthSince, min(since, age(24*time.Hour))))
	if m.Stale {
		h["model"] = "stale"
	}
	if m.LatestModel != nil {
		h["latest"] = *m.LatestModel
	}
	if len(m.Protect) > 0 {
		actions := slices.Contains(m.Protect, "scale-set-actions")
		h["protection"] = object{"protectFromScaleIn": actions || slices.Contains(m.Protect, "scale-in"), "protectFromScaleSetActions": actions}
	}
	if m.Vanished {
		h["vanished"] = true
	}
}

// otherExtensions are the extensions that a member has instead of its set's, by type.
func otherExtensions(model []object, versions map[string]string) []any {
	all := []any{}
	for typ, version := range versions {
		publisher := "Microsoft.Azure.Extensions"
		name := typ
		if strings.HasPrefix(typ, "ApplicationHealth") {
			publisher = "Microsoft.ManagedServices"
		}
		for _, e := range model {
			if strings.EqualFold(str(e, "type"), typ) {
				publisher, name = str(e, "publisher"), str(e, "name")
			}
		}
		all = append(all, object{"name": name, "publisher": publisher, "type": typ, "version": version})
	}
	slices.SortFunc(all, func(a, b any) int { return cmp.Compare(str(a.(object), "type"), str(b.(object), "type")) })
	return all
}

// rolling is the properties of rollingUpgrades/latest.
func (b *builder) rolling(s setSpec, u upgradeSpec) object {
	action, at := "Start", b.ago(u.Started)
	if u.Code == "Cancelled" {
		action, at = "Cancel", b.ago(u.Ended)
	}
	p := object{
		"runningStatus": object{"code": u.Code, "startTime": b.ago(u.Started), "lastAction": action, "lastActionTime": at},
		"progress":      progressOf(u),
	}
	if s.Rolling != nil {
		p["policy"] = rollingPolicy(s.Rolling)
	}
	if u.ErrorCode != "" {
		p["error"] = object{"code": u.ErrorCode, "message": u.Error}
	}
	return p
}

func progressOf(u upgradeSpec) object {
	return object{
		"successfulInstanceCount": u.Successful, "failedInstanceCount": u.Failed,
		"inProgressInstanceCount": u.InProgress, "pendingInstanceCount": u.Pending,
	}
}

// historical is an entry of osUpgradeHistory.
func (b *builder) historical(s setSpec, u upgradeSpec) object {
	status := object{"code": u.Code, "startTime": b.ago(u.Started)}
	if u.Code != "RollingForward" && u.Code != "RollingBack" {
		status["endTime"] = b.ago(u.Ended)
	}
	p := object{"runningStatus": status, "progress": progressOf(u), "startedBy": cmp.Or(u.StartedBy, "Platform")}
	if u.ErrorCode != "" {
		p["error"] = object{"code": u.ErrorCode, "message": u.Error}
	}
	if u.Target != "" {
		ref := b.imageRef(u.Target)
		if parts := strings.Split(u.Target, "/versions/"); len(parts) == 2 {
			ref["exactVersion"] = parts[1]
		} else if parts := strings.Split(u.Target, "/"); len(parts) == 3 {
			ref["exactVersion"] = parts[2]
		}
		p["targetImageReference"] = ref
	}
	if u.RolledBack > 0 || u.Lost > 0 {
		p["rollbackInfo"] = object{"successfullyRolledbackInstanceCount": u.RolledBack, "failedRolledbackInstanceCount": u.Lost}
	}
	return object{"type": setType + "/rollingUpgrades", "location": b.region(s.place), "properties": p}
}
