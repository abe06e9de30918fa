package fleet

import (
	"fmt"
	"strings"
	"time"
)

// maxFaultDomains is how many a regional Flexible scale set may have.
const maxFaultDomains = 3

var findFaultDomains = eachModel(func(m *model) []Finding {
	if !m.Flexible || m.FaultDomains == 0 {
		return nil
	}
	switch {
	case len(m.Zones) > 0 && m.FaultDomains != 1:
		return one(m.say("create.fault_domains", fmt.Sprintf("platformFaultDomainCount is %d in zones %s", m.FaultDomains, strings.Join(m.Zones, ", ")),
			"create "+m.set.name+" with platformFaultDomainCount 1; it cannot be changed later"))
	case len(m.Zones) == 0 && m.FaultDomains > maxFaultDomains || m.FaultDomains < 0:
		return one(m.say("create.fault_domains", fmt.Sprintf("platformFaultDomainCount is %d", m.FaultDomains),
			"create "+m.set.name+" with platformFaultDomainCount 1 to 3; it cannot be changed later"))
	}
	return nil
})

func findSinglePlacement(s *scene) []Finding {
	all := eachModel(func(m *model) []Finding {
		if m.PriorityMix == nil || !isTrue(m.SinglePlacement) {
			return nil
		}
		return one(m.say("create.extra", "singlePlacementGroup is true beside a Spot mix", "create "+m.set.name+" with singlePlacementGroup false"))
	})(s)
	for _, j := range s.sets {
		if j.file != nil && j.live != nil && isTrue(j.file.SinglePlacement) && isFalse(j.live.SinglePlacement) {
			all = append(all, j.file.say("create.extra", "singlePlacementGroup is true in the file and false in Azure", "take singlePlacementGroup out of "+j.name))
		}
	}
	return all
}

var findMixWithoutSpot = eachModel(func(m *model) []Finding {
	if m.PriorityMix == nil || m.Spot {
		return nil
	}
	return one(m.say("spot", fmt.Sprintf("a mix of %d regular members and %d %% above, and the priority is not Spot", m.PriorityMix.RegularBase, m.PriorityMix.RegularAboveBase),
		"create "+m.set.name+" with priority Spot; it cannot be changed later"))
})

var findDeallocatedSpot = eachLive(func(_ *scene, m *model) []Finding {
	if !m.Spot || !strings.EqualFold(m.EvictionPolicy, "Deallocate") {
		return nil
	}
	gone := m.members(func(member *Member) bool { return member.Spot && member.Power == Deallocated })
	if len(gone) == 0 {
		return nil
	}
	return one(m.say("", fmt.Sprintf("capacity %d, %d run, %s deallocated: %s", m.Capacity, len(m.running()), count(len(gone), "Spot member"), memberNames(gone)),
		"count running members, not capacity; start "+memberNames(gone)+" or delete them"))
})

var findEviction = eachModel(func(m *model) []Finding {
	restored := m.SpotRestore != nil && m.SpotRestore.Enabled
	scaled := m.autoscale != nil && m.autoscale.Enabled
	switch {
	case !m.Spot || restored:
		return nil
	case strings.EqualFold(m.EvictionPolicy, "Deallocate"):
		return one(m.say("spot.restore", "evictionPolicy is Deallocate, and spotRestorePolicy is off", "turn spotRestorePolicy on, or start evicted members of "+m.set.name+" yourself"))
	case strings.EqualFold(m.EvictionPolicy, "Delete") && !scaled:
		return one(m.say("spot.eviction", "evictionPolicy is Delete, without autoscale", "give "+m.set.name+" an autoscale minimum, or turn spotRestorePolicy on"))
	}
	return nil
})

// The range of a terminate notice.
const (
	leastNotice = 5 * time.Minute
	mostNotice  = 15 * time.Minute
)

var findNotices = eachModel(func(m *model) []Finding {
	var all []Finding
	if n := m.TerminateNotice; n != nil && n.Enabled {
		if m.Spot {
			all = append(all, m.say("terminate_notice", "terminate notifications are on, and the priority is Spot",
				"turn terminate notifications off; Spot members get Preempt, 30 seconds ahead"))
		}
		if n.NotBefore != 0 && (n.NotBefore < leastNotice || n.NotBefore > mostNotice) {
			all = append(all, m.say("terminate_notice", "the notBeforeTimeout of terminate notifications is "+minutes(n.NotBefore), "set it to PT5M to PT15M"))
		}
	}
	if n := m.OSImageNotice; n != nil && n.Enabled && n.NotBefore != 0 && n.NotBefore != osImageNotice {
		all = append(all, m.say("os_image_notification", "the notBeforeTimeout of OS image notifications is "+minutes(n.NotBefore), "set it to PT15M"))
	}
	return all
})

var findSystemIdentity = eachModel(func(m *model) []Finding {
	if !m.Flexible || !m.SystemIdentity {
		return nil
	}
	return one(m.say("create.extra", "the identity is SystemAssigned", "give "+m.set.name+" a user-assigned identity"))
})

func findMarketplace(s *scene) []Finding {
	return eachLive(func(s *scene, m *model) []Finding {
		if m.Image.Publisher == "" || m.Image.ID != "" {
			return nil
		}
		image := strings.Join([]string{m.Image.Publisher, m.Image.Offer, m.Image.SKU}, ":")
		fix := "create a scale set beside " + m.set.name + " on the gallery image, and move the traffic"
		switch definition := s.definitionInUse(); {
		case s.spec != nil && m.set.spec.Manage != ManageObserve && s.spec.Gallery != nil:
			return one(m.say("", fmt.Sprintf("it runs %s of the Marketplace, the file has %s", image, s.spec.Gallery.Image.Name), fix))
		case s.spec == nil && definition != "":
			return one(m.say("", fmt.Sprintf("it runs %s of the Marketplace, beside the gallery image %s", image, definition), fix).less(SeverityWarning))
		}
		return nil
	})(s)
}

// definitionInUse names a gallery image that was read.
func (s *scene) definitionInUse() string {
	for _, g := range s.live.Galleries {
		for _, d := range g.Definitions {
			return d.ID.Name()
		}
	}
	return ""
}

var findCapacity = eachModel(func(m *model) []Finding {
	a := m.autoscale
	if a == nil || !a.Enabled || a.Max <= 0 || m.Capacity <= 0 && !m.inAzure || m.Capacity >= a.Min && m.Capacity <= a.Max {
		return nil
	}
	return one(m.say("create.capacity", fmt.Sprintf("capacity is %d, and autoscale keeps %d to %d", m.Capacity, a.Min, a.Max),
		"leave sku.capacity of "+m.set.name+" out of every write: PATCH without sku, with If-Match"))
})

// The range of the grace period of automatic repairs, and its default.
const (
	leastGrace = 10 * time.Minute
	mostGrace  = 90 * time.Minute
)

func findRepairs(s *scene) []Finding {
	all := eachModel(func(m *model) []Finding {
		grace := m.Repairs.Grace
		if !m.Repairs.Enabled || grace == nil || *grace >= leastGrace && *grace <= mostGrace {
			return nil
		}
		return one(m.say("repairs.after", "gracePeriod of automatic repairs is "+minutes(*grace), "set it to PT10M to PT90M, longer than a boot and a warm start"))
	})(s)
	for _, j := range s.sets {
		if j.file == nil || j.live == nil {
			continue
		}
		want, has := j.file.Repairs, j.live.Repairs
		if want.Enabled && has.Enabled && want.Action != "" && has.Action != "" && !strings.EqualFold(want.Action, has.Action) {
			all = append(all, j.file.say("repairs.action", fmt.Sprintf("repairAction is %s in the file and %s in Azure", want.Action, has.Action),
				"turn the repairs of "+j.name+" off, then on with the other action").less(SeverityWarning))
		}
	}
	return all
}

var findProtection = eachLive(func(_ *scene, m *model) []Finding {
	odd := m.members(func(member *Member) bool { return member.ProtectSetActions && !member.ProtectScaleIn })
	half := m.members(func(member *Member) bool { return member.ProtectScaleIn && !member.ProtectSetActions })
	var all []Finding
	if len(odd) > 0 {
		all = append(all, m.say("", "protectFromScaleSetActions without protectFromScaleIn: "+memberNames(odd), "set both for "+memberNames(odd)+", or neither"))
	}
	if len(half) > 0 {
		all = append(all, m.say("", count(len(half), "member")+" with protectFromScaleIn alone: "+memberNames(half), "set protectFromScaleSetActions too, if upgrades are to leave "+memberNames(half)+" alone").less(SeverityWarning))
	}
	return all
})

var findProtectionModel = eachLive(func(_ *scene, m *model) []Finding {
	both := m.members(func(member *Member) bool { return member.protected() && member.stale() })
	if len(both) == 0 {
		return nil
	}
	return one(m.say("", count(len(both), "protected member")+" not on the latest model: "+memberNames(both),
		"compare the models; write protection with a body of protectionPolicy alone (fleetctl protect), then bring "+memberNames(both)+" to the model"))
})

var findKeptDisks = eachModel(func(m *model) []Finding {
	if m.OSDiskDelete == "" || strings.EqualFold(m.OSDiskDelete, "Delete") {
		return nil
	}
	return one(m.say("create.extra", "the OS disk's deleteOption is "+m.OSDiskDelete, "set storageProfile.osDisk.deleteOption of "+m.set.name+" to Delete, and delete the disks that nobody has"))
})

// customScript says whether the extension runs a script of the user's.
func (e *Extension) customScript() bool {
	return strings.EqualFold(e.Type, "CustomScript") || strings.EqualFold(e.Type, "CustomScriptExtension") || strings.EqualFold(e.Type, "CustomScriptForLinux")
}

// An extension whose settings have gone to the protected ones cannot be read back
// whole. That is certain of one that is said to have them, and of a custom script
// whose command is not among the settings that can be read.
var findLostSettings = eachModel(func(m *model) []Finding {
	var hidden []string
	for _, e := range m.Extensions {
		if e.HasProtectedSettings || m.inAzure && e.customScript() && dig(e.Settings, "commandToExecute") == nil && dig(e.Settings, "script") == nil {
			hidden = append(hidden, e.Name)
		}
	}
	if len(hidden) == 0 {
		return nil
	}
	return one(m.say("", "protected settings, which cannot be read back: "+names(hidden), "never write the extensions of "+m.set.name+" as they were read: write one at a time, with its protected settings"))
})

var findCustomScript = eachModel(func(m *model) []Finding {
	var scripts []string
	for _, e := range m.Extensions {
		if e.customScript() {
			scripts = append(scripts, e.Name)
		}
	}
	if len(scripts) == 0 {
		return nil
	}
	return one(m.say("", "a script that members run by themselves: "+names(scripts), "bake what the script does into the image of "+m.set.name))
})
