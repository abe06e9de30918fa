package arm

import (
	"slices"
	"time"
)

// With maxSurge a rolling upgrade leaves members as they are, and has new ones take their
// places. Hidden in a set's "roll" are
//
//	born   the new members of all batches
//	leave  the members whose places those of the batch take

// surges says whether a set's rolling upgrade has new members in place of upgrades.
func surges(r *resource) bool {
	return boolean(r.Hidden, "rolling.policy.maxSurge") && sub(r.Hidden, "roll.os") == nil
}

// surge bears those who take the places of a batch, and returns them and how long they
// take. What there is no quota for is in the batch itself, and upgraded in place. New
// members that an upgrade has left which stopped are not born again.
func (tx *txn) surge(setID string, places []string) (batch []string, takes time.Duration, err error) {
	owner := tx.get(setID)
	img, err := tx.resolve(sub(owner.Body, imagePath), str(owner.Body, "location"))
	if err != nil {
		return nil, 0, err
	}
	spare := len(slices.DeleteFunc(tx.members(setID), func(r *resource) bool { return r.state() == statusFailed })) - capacityOf(owner.Body)
	takes = bootTime
	born, leave := ids(owner.Hidden, "roll.born"), []string{}
	var failed *armError
	for _, id := range places {
		if spare > 0 {
			spare--
			leave = append(leave, id)
			continue
		}
		m := tx.get(id)
		spot := str(m.Body, "properties.priority") == "Spot"
		made, refused := tx.populateOne(tx.get(setID), birth{exact: img.exact, zone: zoneOf(m), spot: &spot})
		if made == "" {
			batch, takes = append(batch, id), upgradeTime
			continue
		}
		if refused != nil && failed == nil {
			failed = refused
		}
		batch, born, leave = append(batch, made), append(born, made), append(leave, id)
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.born", listOf(born))
		set(hidden, "roll.leave", listOf(leave))
	})
	if failed != nil {
		return nil, 0, failed
	}
	return batch, takes, nil
}

// makeRoom deletes the members whose places others have taken.
func (tx *txn) makeRoom(setID string) {
	for _, id := range ids(tx.get(setID).Hidden, "roll.leave") {
		if m := tx.get(id); m != nil && m.state() != "Deleting" {
			tx.depart(id)
		}
	}
	tx.editHidden(setID, func(hidden object) { remove(hidden, "roll.leave") })
}
