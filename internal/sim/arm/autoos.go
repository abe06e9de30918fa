package arm

import (
	"slices"
	"time"
)

// An upgrade of the OS brings members to the newest version of their image, and is a
// rolling upgrade with
//
//	os.exact      the version
//	os.startedBy  Platform (automatic OS upgrade) or User (osRollingUpgrade)
//	os.restores   whether a member that does not become healthy gets its old disk back
//	os.restoring  how many are on their way back
//
// in the set's hidden "roll". Automatic OS upgrade looks at a set every few minutes.
// Hidden in the set are under "autoos" the newest version that it has seen, since when,
// and the one that it has given up.

const autoOSPath = "properties.upgradePolicy.automaticOSUpgradePolicy"

// lookEvery is how often automatic OS upgrade looks for a version, and maxHistory how many
// upgrades are remembered.
const (
	lookEvery  = 5 * time.Minute
	maxHistory = 5
)

// enablesAutoOS says whether a body has automatic OS upgrade.
func enablesAutoOS(body object) bool { return boolean(body, autoOSPath+".enableAutomaticOSUpgrade") }

// checkCapability refuses automatic OS upgrade where it is not there for Flexible sets. A
// set that has it already is left alone.
func (tx *txn) checkCapability(old, body object) error {
	if tx.server.rules.Platform.AutoOS || !enablesAutoOS(body) || enablesAutoOS(old) {
		return nil
	}
	return conflict("OperationNotAllowed",
		"Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because its orchestration mode is 'Flexible'.")
}

// watchOS begins to look for versions when a set has automatic OS upgrade. A write lets a
// version be tried again, but not one of autoscale.
func (tx *txn) watchOS(setID string) {
	tx.unschedule(setID, "look")
	if r := tx.get(setID); tx.server.rules.Platform.AutoOS && enablesAutoOS(r.Body) {
		if tx.by != autoscaler {
			tx.editHidden(setID, func(hidden object) { remove(hidden, "autoos.gaveUp") })
		}
		tx.look(setID, nil)
	}
}

// look is what automatic OS upgrade does every few minutes: a version that has been the
// newest one for a while is brought to the members.
func (tx *txn) look(setID string, _ object) {
	r := tx.get(setID)
	if r == nil || !enablesAutoOS(r.Body) {
		return
	}
	again := lookEvery
	if img, err := tx.resolve(sub(r.Body, imagePath), str(r.Body, "location")); err == nil && img.exact != "" {
		if str(r.Hidden, "autoos.exact") != img.exact {
			tx.editHidden(setID, func(hidden object) {
				set(hidden, "autoos.exact", img.exact)
				set(hidden, "autoos.since", stamp(tx.now))
			})
			r = tx.get(setID)
		}
		since, _ := time.Parse(time.RFC3339Nano, str(r.Hidden, "autoos.since")) // we wrote it
		left := since.Add(tx.server.rules.Platform.AutoOSDelay).Sub(tx.now)
		if left > 0 {
			again = min(again, left)
		} else if !rollingForward(r) && !rollingBack(r) && str(r.Hidden, "autoos.gaveUp") != img.exact {
			tx.startOS(setID, img.exact, "Platform")
		}
	}
	tx.schedule(tx.now.Add(again), setType, setID, "look", nil)
}

func rollingBack(r *resource) bool {
	return str(r.Hidden, "rolling.runningStatus.code") == "RollingBack"
}

// startOS begins an upgrade of the OS of all members that run an older version.
func (tx *txn) startOS(setID, exact, by string) {
	r := tx.get(setID)
	pending := tx.inOrder(r, func(m *resource) bool {
		return lessVersion(str(m.Body, "properties.storageProfile.imageReference.exactVersion"), exact)
	})
	if len(pending) == 0 {
		return
	}
	policy := policyOf(object{})
	if boolean(r.Body, autoOSPath+".useRollingUpgradePolicy") {
		policy = policyOf(r.Body)
		if n, _ := integer(policy, "maxBatchInstancePercent"); n > rollingDefault {
			policy["maxBatchInstancePercent"] = whole(rollingDefault)
		}
	}
	target := clone(sub(r.Body, imagePath))
	target["exactVersion"] = exact
	entry := object{"type": setType + "/rollingUpgrades", "location": str(r.Body, "location"), "properties": object{
		"runningStatus": object{"code": "RollingForward", "startTime": stamp(tx.now)}, "startedBy": by, "targetImageReference": target,
	}}
	tx.replaced(setID)
	tx.editHidden(setID, func(hidden object) {
		list, _ := hidden["history"].([]any)
		list = slices.Insert(slices.Clone(list), 0, any(entry))
		hidden["history"] = list[:min(len(list), maxHistory)]
	})
	tx.roll(setID, pending, policy, nil, object{
		"exact": exact, "startedBy": by, "restores": by == "Platform" && !boolean(r.Body, autoOSPath+".disableAutomaticRollback"),
	})
}

// upgradeOS gives a member a disk of another version, on which the extensions of the set's
// model are installed, and remembers the version before. Nothing else of the model comes
// with it.
func (tx *txn) upgradeOS(id, exact string) error {
	owner := tx.get(setOf(tx.get(id)))
	ref := clone(sub(owner.Body, imagePath))
	ref["version"] = exact
	if str(ref, "id") != "" {
		delete(ref, "version")
		definition, _, _ := cutFold(str(ref, "id"), "/versions/")
		ref["id"] = definition + "/versions/" + exact
	}
	_, err := tx.resolve(ref, str(owner.Body, "location"))
	if err == nil {
		err = tx.refusedUpgrade(tx.get(id))
	}
	if err != nil {
		return err
	}
	now := clone(sub(owner.Body, imagePath))
	now["exactVersion"] = exact
	tx.edit(id, func(r *resource) {
		r.Hidden["before"] = clone(sub(r.Body, "properties.storageProfile.imageReference"))
		set(r.Body, "properties.storageProfile.imageReference", now)
		r.Hidden["extensions"] = installed(owner.Body)
	})
	tx.running(id)
	return nil
}

// restore begins to bring the old disks of those of a batch back that are not well, when
// the upgrade is one that does so, and returns how many.
func (tx *txn) restore(setID string, batch []string) int {
	r := tx.get(setID)
	if !boolean(r.Hidden, "roll.os.restores") {
		return 0
	}
	n := 0
	for _, id := range batch {
		if tx.bad(id) && sub(tx.get(id).Hidden, "before") != nil {
			tx.takeDown(id)
			tx.schedule(tx.now.Add(upgradeTime), vmType, id, "restored", object{"number": dig(r.Hidden, "roll.number")})
			n++
		}
	}
	restoring, _ := integer(r.Hidden, "roll.os.restoring")
	tx.editHidden(setID, func(hidden object) { set(hidden, "roll.os.restoring", whole(restoring+n)) })
	return n
}

// restored gives a member its old disk back.
func (tx *txn) restored(id string, args object) {
	r := tx.get(id)
	if r == nil {
		return
	}
	if before := sub(r.Hidden, "before"); before != nil && !tx.went(id) {
		tx.edit(id, func(r *resource) {
			set(r.Body, "properties.storageProfile.imageReference", before)
			delete(r.Hidden, "before")
		})
		tx.running(id)
	}
	owner := tx.get(setOf(r))
	if !isRoll(owner, args) {
		return
	}
	left, _ := integer(owner.Hidden, "roll.os.restoring")
	back, _ := integer(owner.Hidden, "rolling.rollbackInfo.successfullyRolledbackInstanceCount")
	tx.editHidden(owner.ID, func(hidden object) {
		set(hidden, "roll.os.restoring", whole(left-1))
		set(hidden, "rolling.rollbackInfo", object{
			"successfullyRolledbackInstanceCount": whole(back + 1), "failedRolledbackInstanceCount": whole(0),
		})
		if left == 1 && str(hidden, "rolling.runningStatus.code") == "RollingBack" {
			set(hidden, "rolling.runningStatus.code", "Faulted")
		}
	})
	tx.endHistory(owner.ID)
}

// halt ends a rolling upgrade that stopped itself: at once, or when the old disks of some
// are back.
func (tx *txn) halt(setID string, restoring int, code, message string) {
	status := "Faulted"
	if restoring > 0 {
		status = "RollingBack"
	}
	tx.endRolling(setID, status, code, message)
}

// endHistory brings the entry of the history up to date that belongs to a set's latest
// upgrade, when that is one of the OS.
func (tx *txn) endHistory(setID string) {
	r := tx.get(setID)
	list, _ := r.Hidden["history"].([]any)
	if sub(r.Hidden, "roll.os") == nil || len(list) == 0 {
		return
	}
	tx.editHidden(setID, func(hidden object) {
		list, _ := hidden["history"].([]any)
		entry, _ := list[0].(object)
		rolling := sub(hidden, "rolling")
		code := str(rolling, "runningStatus.code")
		set(entry, "properties.runningStatus.code", code)
		if code != "RollingForward" && code != "RollingBack" {
			setDefault(entry, "properties.runningStatus.endTime", stamp(tx.now))
		}
		for _, name := range []string{"progress", "error", "rollbackInfo"} {
			if v := rolling[name]; v != nil {
				set(entry, "properties."+name, cloneAny(v))
			}
		}
		if code == "Faulted" {
			set(hidden, "autoos.gaveUp", str(hidden, "roll.os.exact"))
		}
	})
}
