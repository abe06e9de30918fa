package arm

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A CapacityRule refuses the births of members that Region, VMSize and Set let through, and
// their starts from deallocated, from After on, until Count or For is used up. Empty fields
// fit everything. With Upgrades it refuses their upgrades and reimages in place of that.
type CapacityRule struct {
	Code   string // of the error: see noCapacity
	Region string
	VMSize string
	Set    string // pattern of the scale set's name

	Upgrades bool

	After, For time.Duration // since the simulation was started
	Count      int           // how many; 0 means any number
}

// limitCapacity puts the rules of capacity into force. Like faults they are not part of
// the state.
func (s *Server) limitCapacity() {
	for _, rule := range s.rules.Machines.Capacity {
		var until time.Time
		if rule.For > 0 {
			until = s.clock.Now().Add(rule.After + rule.For)
		}
		s.capacity.Set(limited{CapacityRule: rule, from: s.clock.Now().Add(rule.After)}, rule.Count, until)
	}
}

// limited is a CapacityRule in force.
type limited struct {
	CapacityRule

	from time.Time
}

// refused is why a member of a scale set cannot be born or started now, or nil.
func (tx *txn) refused(r *resource) *armError { return tx.noRoom(r, false) }

// refusedUpgrade is why a member cannot get another disk now, or nil.
func (tx *txn) refusedUpgrade(m *resource) error {
	if owner := tx.get(setOf(m)); owner != nil {
		if e := tx.noRoom(owner, true); e != nil {
			return e
		}
	}
	return nil
}

func (tx *txn) noRoom(r *resource, upgrade bool) *armError {
	size, region := str(r.Body, "sku.name"), location(str(r.Body, "location"))
	met := tx.server.capacity.Take(tx.now, func(rule limited) bool {
		return rule.Upgrades == upgrade && !tx.now.Before(rule.from) && (rule.Region == "" || location(rule.Region) == region) &&
			(rule.VMSize == "" || strings.EqualFold(rule.VMSize, size)) && matchName(rule.Set, r.name())
	})
	if met == nil {
		return nil
	}
	return noCapacity(met.Fault.Code, size, region, rulesLimit, rulesLimit)
}

// rulesLimit is the number of cores in the words of rules, whatever there is.
const rulesLimit = 100

// noCapacity is the error with a code, in Azure's words. OperationNotAllowed and
// QuotaExceeded are of quotas, of which so many cores are in use.
func noCapacity(code, size, region string, used, limit int) *armError {
	cores := coresOf(size)
	e := conflict(code, "%s", "")
	switch code {
	case "ZonalAllocationFailed":
		e.Message = "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone. " +
			"Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
	case "OverconstrainedZonalAllocationRequest":
		e.Message = "Allocation failed. VM(s) with the following constraints cannot be allocated, because the condition is too restrictive. " +
			"Please remove some constraints and try again. Constraints applied are:\n  - Availability Zone\n  - VM Size\n"
	case "OperationNotAllowed":
		e.Message = fmt.Sprintf("Operation could not be completed as it results in exceeding approved %s Cores quota. "+
			"Additional details - Deployment Model: Resource Manager, Location: %s, Current Limit: %d, Current Usage: %d, "+
			"Additional Required: %d, (Minimum) New Limit Required: %d. Setup Alerts when Quota reaches threshold. "+
			"Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota increase at https://aka.ms/quotaincrease "+
			"by specifying parameters listed in the 'Details' section for deployment to succeed. "+
			"Please read more about quota limits at https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests",
			familyOf(size), region, limit, used, cores, used+cores)
	case "QuotaExceeded":
		const limit = 4
		e.Message = fmt.Sprintf("The operation couldn't be completed as it results in exceeding quota limit of Core. "+
			"Maximum allowed: %d, Current in use: %d, Additional requested: %d. "+
			"Read more about quota limits at https://aka.ms/AzurePerVMQuotaLimits. Submit a request for Quota increase using the link https://aka.ms/quotaincrease.",
			limit, limit, cores)
	default: // AllocationFailed
		e.Message = "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. " +
			"Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
	}
	return e
}

// ofQuota says whether a birth was refused before there was a machine.
func ofQuota(e *armError) bool { return e.Code == "OperationNotAllowed" || e.Code == "QuotaExceeded" }

// vmSize are the parts of the name of a size: Standard_D2as_v5.
var vmSize = regexp.MustCompile(`^Standard_([A-Z]+)(\d+)[-\d]*([a-z]*)(?:_(v\d+))?$`)

// coresOf is how many cores a size has, by its name.
func coresOf(size string) int {
	if m := vmSize.FindStringSubmatch(size); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil {
			return n
		}
	}
	return 1
}

// familyOf is the family of a size, by its name: standardDASv5Family.
func familyOf(size string) string {
	m := vmSize.FindStringSubmatch(size)
	if m == nil {
		return "Total Regional"
	}
	return "standard" + m[1] + strings.ToUpper(m[3]) + m[4] + "Family"
}

// populate makes n members of a scale set. The first that is refused is
// the error; the others are born all the same.
func (tx *txn) populate(r *resource, b birth, n int) error {
	var first *armError
	for range n {
		if _, refused := tx.populateOne(r, b); refused != nil && first == nil {
			first = refused
		}
	}
	if first == nil {
		return nil
	}
	return first
}

// populateOne makes a member of a scale set, whose id is "" when there is no quota for it.
// One that is refused for want of a host is there, and fails.
func (tx *txn) populateOne(r *resource, b birth) (id string, refused *armError) {
	if refused = tx.refused(r); refused == nil {
		refused = tx.overQuota(r)
	}
	if refused != nil && ofQuota(refused) {
		return "", refused
	}
	m := tx.bear(r.ID, b)
	tx.note(event{Operation: vmType + "/write", Caller: cmp.Or(tx.by, platform), Resource: m.ID})
	if refused == nil {
		tx.schedule(tx.now.Add(bootTime), vmType, m.ID, "running", nil)
	} else {
		tx.schedule(tx.now.Add(allocationTime), vmType, m.ID, "unallocated", object{"code": refused.Code, "message": refused.Message})
	}
	return m.ID, refused
}

// allocationTime is how long the platform looks for a host.
const allocationTime = 5 * time.Second

// unallocated is the end of a birth for which there was no host.
func (tx *txn) unallocated(id string, args object) {
	tx.setPower(id, "deallocated")
	tx.edit(id, func(r *resource) {
		if r.state() != "Deleting" {
			set(r.Body, "properties.provisioningState", statusFailed)
		}
		r.Hidden["failure"] = args
	})
}
