package fleet

import (
	"cmp"
	"slices"
	"strings"
)

// ReadListedMember makes a member of what a scale set's own list says of it: which model
// it has and what protects it. Its id is the virtual machine's, where the list gives it.
func ReadListedMember(d Document) Member {
	p := dig(d, "properties")
	m := Member{
		Name: textAt(d, "name"), ID: ResourceID(cmp.Or(textAt(p, "virtualMachineResourceId"), textAt(d, "id"))), Zone: zoneOf(d),
		Created: timeAt(p, "timeCreated"), Provisioning: textAt(p, "provisioningState"),
		Image: readImageReference(dig(p, "storageProfile", "imageReference")), LatestModel: boolAt(p, "latestModelApplied"), Health: HealthMissing,
		ProtectScaleIn: trueAt(p, "protectionPolicy", "protectFromScaleIn"), ProtectSetActions: trueAt(p, "protectionPolicy", "protectFromScaleSetActions"),
	}
	if m.Name == "" {
		m.Name = m.ID.Name()
	}
	return m
}

// ReadMachine makes a member of a virtual machine: what it runs and, with the instance
// view, how it is.
func ReadMachine(d Document) Member {
	p := dig(d, "properties")
	m := Member{
		Name: textAt(d, "name"), ID: ResourceID(textAt(d, "id")), Zone: zoneOf(d),
		Created: timeAt(p, "timeCreated"), Provisioning: textAt(p, "provisioningState"), Spot: textAt(p, "priority") == spotPriority,
		Image: readImageReference(dig(p, "storageProfile", "imageReference")), Health: HealthMissing,
	}
	if view, ok := dig(p, "instanceView").(Document); ok {
		readInstanceView(&m, view)
	}
	return m
}

// zoneOf is the zone that a machine is in, or "".
func zoneOf(d Document) string {
	zones := textsAt(d, "zones")
	if len(zones) == 0 {
		return ""
	}
	return zones[0]
}

// readInstanceView adds the state of the moment.
func readInstanceView(m *Member, view Document) {
	for _, s := range objectsAt(view, "statuses") {
		code := textAt(s, "code")
		if power, ok := strings.CutPrefix(code, "PowerState/"); ok {
			m.Power = PowerState(power)
		}
		if reason, ok := strings.CutPrefix(code, "ProvisioningState/failed"); ok && m.Provisioning == Failed {
			m.Failure = Failure{Code: strings.Trim(reason, "/"), Message: cmp.Or(textAt(s, "message"), textAt(s, "displayStatus"))}
		}
	}
	if has(view, "vmHealth", "status") {
		m.Health, m.HealthAt = HealthOf(textAt(view, "vmHealth", "status", "code")), timeAt(view, "vmHealth", "status", "time")
	}
	m.Extensions = make(map[string]string)
	for _, e := range objectsAt(view, "extensions") {
		kind := cmp.Or(textAt(e, "type"), textAt(e, "name")) // a type has its publisher in front: Microsoft.ManagedServices.ApplicationHealthLinux
		m.Extensions[kind[strings.LastIndexByte(kind, '.')+1:]] = textAt(e, "typeHandlerVersion")
	}
}

// JoinMembers makes members of a set's own list and of the list of virtual machines, by
// name. Who is in the first only has vanished; who is in the second only has no model to
// compare.
func JoinMembers(listed, machines []Member) []Member {
	byName := make(map[string]Member, len(machines))
	for _, vm := range machines {
		byName[strings.ToLower(vm.Name)] = vm
	}
	members := make([]Member, 0, max(len(listed), len(machines)))
	for _, m := range listed {
		key := strings.ToLower(m.Name)
		if vm, ok := byName[key]; ok {
			m.Meet(vm)
			delete(byName, key)
		} else {
			m.Vanished = true
		}
		members = append(members, m)
	}
	for _, vm := range byName {
		members = append(members, vm)
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return members
}

// Meet adds what the virtual machine of a listed member says of itself: it is there.
func (m *Member) Meet(vm Member) {
	vm.Name, vm.LatestModel = m.Name, m.LatestModel
	vm.ProtectScaleIn, vm.ProtectSetActions = m.ProtectScaleIn, m.ProtectSetActions
	vm.Zone = cmp.Or(vm.Zone, m.Zone)
	vm.Image = cmp.Or(vm.Image, m.Image)
	if vm.Created.IsZero() {
		vm.Created = m.Created
	}
	*m = vm
}

// ReadRollingUpgrade makes what is under way, or was the last to be, of rollingUpgrades/
// latest as Azure gave it. An answer without properties says that there is nothing: nil.
func ReadRollingUpgrade(d Document) *RollingUpgrade {
	if !has(d, "properties") {
		return nil
	}
	u := readUpgrade(d)
	if !u.Active() {
		u.End = timeAt(d, "properties", "runningStatus", "lastActionTime")
	}
	return &u
}

// ReadPastUpgrade makes an upgrade of an entry of the history of operating system
// upgrades.
func ReadPastUpgrade(d Document) RollingUpgrade {
	p := dig(d, "properties")
	u := readUpgrade(d)
	u.End = timeAt(p, "runningStatus", "endTime")
	u.StartedBy, u.Target = textAt(p, "startedBy"), readImageReference(dig(p, "targetImageReference"))
	u.RolledBack = intAt(p, "rollbackInfo", "successfullyRolledbackInstanceCount")
	u.RollbackFailed = intAt(p, "rollbackInfo", "failedRolledbackInstanceCount")
	return u
}

// readUpgrade is what both have in common.
func readUpgrade(d Document) RollingUpgrade {
	p := dig(d, "properties")
	n := dig(p, "progress")
	return RollingUpgrade{
		Code: textAt(p, "runningStatus", "code"), Start: timeAt(p, "runningStatus", "startTime"),
		Successful: intAt(n, "successfulInstanceCount"), Failed: intAt(n, "failedInstanceCount"),
		InProgress: intAt(n, "inProgressInstanceCount"), Pending: intAt(n, "pendingInstanceCount"),
		ErrorCode: textAt(p, "error", "code"), Error: textAt(p, "error", "message"),
	}
}
