package arm

import "time"

// restoreEvery is how often the platform tries to start a Spot machine again that it has
// evicted.
const restoreEvery = 15 * time.Minute

// reclaim evicts so many Spot members of a set as the platform needs.
func (tx *txn) reclaim(setID string, args object) {
	n, _ := integer(args, "count")
	for _, m := range tx.members(setID) {
		if n == 0 {
			return
		}
		if str(m.Hidden, "event.type") == eventPreempt {
			continue
		}
		if _, err := tx.evict(m.ID); err == nil {
			n--
		}
	}
}

// awaitRestore lets the platform try to start a machine that it has just evicted, where
// its set asks for it.
func (tx *txn) awaitRestore(id string) {
	owner := tx.get(setOf(tx.get(id)))
	if owner == nil || !boolean(owner.Body, "properties.spotRestorePolicy.enabled") {
		return
	}
	timeout, given := parseISO(str(owner.Body, "properties.spotRestorePolicy.restoreTimeout"))
	if !given {
		timeout = time.Hour
	}
	tx.schedule(tx.now.Add(restoreEvery), vmType, id, "restore", object{"until": stamp(tx.now.Add(timeout))})
}

// restart tries to start a machine that was evicted, until its time is over or somebody
// else has done something with it.
func (tx *txn) restart(id string, args object) {
	r := tx.get(id)
	until, _ := time.Parse(time.RFC3339Nano, str(args, "until")) // we wrote it
	if r == nil || str(r.Hidden, "power") != "deallocated" || r.state() == "Deleting" || tx.now.After(until) {
		return
	}
	owner := tx.get(setOf(r))
	if owner == nil || tx.refused(owner) != nil {
		tx.schedule(tx.now.Add(restoreEvery), vmType, id, "restore", args)
		return
	}
	tx.note(event{Operation: vmType + "/start/action", Caller: platform, Resource: id})
	tx.setPower(id, "starting")
	tx.schedule(tx.now.Add(powerTime), vmType, id, "running", nil)
}
