package arm

import (
	"net/http"
	"slices"
	"time"
)

// Automatic repairs look at a member when its health changes, and again at the end of its
// grace period, which begins anew with every write to the member. Hidden in a member are
//
//	sick       since when it is unhealthy
//	repairing  it is being repaired, or was born of a repair, and its health is not known
//	repaired   how many repairs in a row have not made it, or those before it, healthy

const repairsPath = "properties.automaticRepairsPolicy"

const (
	repairEvery   = time.Minute // between two looks at who has to wait for others
	repairsInARow = 3           // after which the platform suspends repairs
)

// repairs says whether a set's automatic repairs are at work.
func repairs(owner *resource) bool {
	return owner != nil && boolean(owner.Body, repairsPath+".enabled") && str(owner.Hidden, "repairs") != "Suspended"
}

// checkRepairsOn refuses repairs that are turned on while there are members without the
// health extension.
func (tx *txn) checkRepairsOn(setID string, old, body object) error {
	if boolean(old, repairsPath+".enabled") || !boolean(body, repairsPath+".enabled") {
		return nil
	}
	if slices.ContainsFunc(tx.members(setID), func(r *resource) bool { return !reportsHealth(r) }) {
		return errorf(http.StatusBadRequest, "BadRequest", "Automatic repairs not supported for this Virtual Machine Scale Set because a health extension "+
			"is not applied to all instances. Apply the health extension to all instances in the virtual machine scale set prior to switching to instance health repair mode.")
	}
	return nil
}

// sick says whether automatic repairs would take a member for unhealthy.
func sick(r *resource) bool {
	health := str(r.Hidden, "health")
	return up(r) && reportsHealth(r) && (health == "Unhealthy" || health == "Unknown")
}

// watchRepair is told whenever a member's health may have changed, or its protection.
func (tx *txn) watchRepair(id string) {
	r := tx.get(id)
	if r == nil || setOf(r) == "" {
		return
	}
	ill, health := sick(r), str(r.Hidden, "health")
	if !ill && r.Hidden["sick"] == nil && r.Hidden["repairing"] == nil && r.Hidden["repaired"] == nil {
		return
	}
	tx.unschedule(id, "repair")
	tx.editHidden(id, func(hidden object) {
		if ill || health == "Healthy" {
			delete(hidden, "repairing")
		}
		if health == "Healthy" {
			delete(hidden, "repaired")
		}
		if !ill {
			delete(hidden, "sick")
			return
		}
		setDefault(hidden, "sick", stamp(tx.now))
	})
	if owner := tx.get(setOf(r)); ill && repairs(owner) {
		tx.schedule(graceEnds(owner, tx.get(id)), vmType, id, "repair", nil)
	}
}

// watchRepairs is watchRepair for all members of a set, after a write of it.
func (tx *txn) watchRepairs(setID string) {
	for _, m := range tx.members(setID) {
		tx.watchRepair(m.ID)
	}
}

// graceEnds is when a member that is unhealthy may be repaired.
func graceEnds(owner, r *resource) time.Time {
	grace, given := parseISO(str(owner.Body, repairsPath+".gracePeriod"))
	if !given {
		grace = 10 * time.Minute
	}
	from, _ := time.Parse(time.RFC3339Nano, str(r.Hidden, "sick")) // we wrote it
	if r.Changed.After(from) {
		from = r.Changed
	}
	return from.Add(grace)
}

// repair is the end of a member's grace period. Members that are protected in any way and
// those that were not provisioned are not repaired. 5 % are at a time, or one.
func (tx *txn) repair(id string, _ object) {
	r := tx.get(id)
	if r == nil || !sick(r) || !repairs(tx.get(setOf(r))) || r.state() == "Deleting" || r.state() == statusFailed || r.state() == "Creating" {
		return
	}
	if p := sub(r.Hidden, "protection"); boolean(p, "protectFromScaleIn") || boolean(p, "protectFromScaleSetActions") {
		return
	}
	owner := tx.get(setOf(r))
	at := graceEnds(owner, r)
	members := tx.listed(owner.ID)
	busy := len(slices.DeleteFunc(slices.Clone(members), func(r *resource) bool { return !underRepair(r) }))
	if r.state() == "Updating" || !tx.now.Before(at) && busy >= max(1, len(members)*5/100) {
		at = tx.now.Add(repairEvery)
	}
	if at.After(tx.now) {
		tx.schedule(at, vmType, id, "repair", nil)
		return
	}
	n, _ := integer(r.Hidden, "repaired")
	if n >= repairsInARow {
		tx.editHidden(owner.ID, func(hidden object) { hidden["repairs"] = "Suspended" })
		return
	}
	tx.editHidden(id, func(hidden object) { hidden["repairing"], hidden["repaired"] = true, whole(n+1) })
	tx.note(event{Operation: vmType + "/automaticRepairs/action", Caller: platform, Resource: id})
	switch str(owner.Body, repairsPath+".repairAction") {
	case "Restart":
		tx.setPower(id, "starting")
		tx.schedule(tx.now.Add(powerTime), vmType, id, "running", nil)
	case "Reimage":
		tx.takeDown(id)
		tx.schedule(tx.now.Add(upgradeTime), vmType, id, "reimaged", nil)
	default: // Replace, whose new member does not wait for the notice that the old one has
		tx.depart(id)
		tx.succeed(owner.ID, object{"repaired": whole(n + 1)})
	}
}

// underRepair says whether a member takes one of the places for repairs. Of one that is
// replaced it is the successor.
func underRepair(r *resource) bool {
	return boolean(r.Hidden, "repairing") && r.state() != statusFailed && r.state() != "Deleting" && str(r.Hidden, "power") != "deallocated"
}

// reimaged is the end of a repair that gives a member a new disk.
func (tx *txn) reimaged(id string, _ object) {
	if tx.went(id) {
		return
	}
	if err := tx.renew(id); err != nil {
		tx.failMember(id, err)
	}
}

// succeed bears the successor of a member that was repaired, from the latest model, and
// tries again later when there is no image for it.
func (tx *txn) succeed(setID string, args object) {
	r := tx.get(setID)
	if r == nil || len(tx.members(setID)) >= capacityOf(r.Body) {
		return
	}
	img, err := tx.resolve(sub(r.Body, imagePath), str(r.Body, "location"))
	if err != nil {
		tx.schedule(tx.now.Add(5*time.Minute), setType, setID, "succeed", args)
		return
	}
	n, _ := integer(args, "repaired")
	_ = tx.populate(r, birth{exact: img.exact, repaired: n}, 1) // the member says why it failed
}

// forgive forgets the repairs in a row of a set's members.
func (tx *txn) forgive(setID string) {
	for _, m := range tx.members(setID) {
		tx.editHidden(m.ID, func(hidden object) { delete(hidden, "repaired") })
	}
}
