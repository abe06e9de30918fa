package arm

import (
	"net/http"
	"slices"
	"strings"
)

// manualUpgrade brings members to the set's model: all of it, not the image alone.
// Members that are protected from the set's actions and those that do not run are
// left as they are.
func manualUpgrade(tx *txn, c *call) (answer, error) {
	ids, err := tx.named(c, c.ID)
	if err != nil {
		return answer{}, err
	}
	if rollingForward(tx.get(c.ID)) {
		return answer{}, conflict("OperationNotAllowed",
			"Operation 'manualupgrade' is not allowed on Virtual Machine Scale Set '%s' while a Rolling Upgrade is in progress.", c.Target.name())
	}
	if err := tx.locked(c.ID, ids); err != nil {
		return answer{}, err
	}
	var touched []any
	for _, id := range ids {
		if upgradable(tx.get(id)) {
			tx.takeDown(id)
			touched = append(touched, id)
		}
	}
	return tx.act(c, c.ID, upgradeTime, object{"members": touched})
}

// locked refuses to give members another disk while one of them, or the set by another request
// of this kind, is at work. Clients that ask for one member after the other without waiting are
// told so by Azure.
func (tx *txn) locked(setID string, ids []string) error {
	for _, o := range tx.store.Operations {
		if o.Status == statusInProgress && key(o.Resource) == key(setID) && (o.Name == "manualupgrade" || o.Name == "reimage") {
			return concurrent()
		}
	}
	for _, id := range ids {
		if atWork(tx.get(id)) {
			return concurrent()
		}
	}
	return nil
}

// atWork says whether a machine is getting another disk.
func atWork(r *resource) bool { return r.state() == "Updating" }

// takeDown begins to give a machine another disk. Its system is stopped at once, and nothing
// on it hears of that: there is no event.
func (tx *txn) takeDown(id string) {
	tx.edit(id, func(r *resource) {
		set(r.Body, "properties.provisioningState", "Updating")
		r.Hidden["down"] = true
	})
}

// up says whether the system of a machine runs: it does not while its disk is replaced.
func up(r *resource) bool { return str(r.Hidden, "power") == "running" && !boolean(r.Hidden, "down") }

// upgradable says whether an upgrade reaches a member.
func upgradable(r *resource) bool {
	return r != nil && str(r.Hidden, "power") == "running" && !shielded(r)
}

// shielded says whether a member is protected from actions of its set. Those on the member
// alone reach it all the same.
func shielded(r *resource) bool {
	return boolean(r.Hidden, "protection.protectFromScaleSetActions")
}

// unshielded leaves the members that an action of their set reaches.
func (tx *txn) unshielded(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return shielded(tx.get(id)) })
}

// reimageMembers gives members a new disk from their own model: all of them when no
// names are given.
func reimageMembers(tx *txn, c *call) (answer, error) {
	if c.Body["instanceIds"] == nil {
		c.Body = object{"instanceIds": []any{"*"}}
	}
	ids, err := tx.named(c, c.ID)
	if err != nil {
		return answer{}, err
	}
	return tx.reimage(c, c.ID, tx.unshielded(ids))
}

func (tx *txn) reimage(c *call, id string, ids []string) (answer, error) {
	if err := tx.locked(id, ids); err != nil {
		return answer{}, err
	}
	var touched []any
	for _, m := range ids {
		if str(tx.get(m).Hidden, "power") == "running" {
			tx.takeDown(m)
			touched = append(touched, m)
		}
	}
	a, err := tx.act(c, id, upgradeTime, object{"members": touched})
	if err == nil {
		a.Operation.Name = "reimage"
	}
	return a, err
}

// endMemberAction is the end of an action on members: each is done, or the first
// error is what the operation fails with and that member stays as it was.
func (tx *txn) endMemberAction(o operation) error {
	do := map[string]func(id string) error{
		"manualupgrade": tx.upgrade,
		"reimage":       tx.renew,
	}[o.Name]
	disk := do != nil
	if p, is := powers[o.Name]; is {
		do = func(id string) error {
			tx.setPower(id, p.end)
			if p.end == "running" {
				tx.running(id)
			}
			return nil
		}
	}
	if do == nil {
		return nil
	}
	members, _ := o.Args["members"].([]any)
	first := toError(sub(o.Args, "refused"))
	for _, v := range members {
		id, _ := v.(string)
		if tx.get(id) == nil || disk && tx.went(id) {
			continue
		}
		if err := do(id); err != nil {
			tx.failMember(id, err)
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// went says whether a member that was to get another disk is not there any more, or does
// not run: it was evicted, deallocated or deleted meanwhile. It keeps its disk, and is at rest.
func (tx *txn) went(id string) bool {
	r := tx.get(id)
	if r == nil || r.state() == "Deleting" {
		return true
	}
	if str(r.Hidden, "power") == "running" {
		return false
	}
	tx.edit(id, func(r *resource) {
		set(r.Body, "properties.provisioningState", statusSucceeded)
		delete(r.Hidden, "down")
	})
	return true
}

// failMember says that a member could not be brought where it should be, and why.
func (tx *txn) failMember(id string, why error) {
	e := asARM(why)
	tx.edit(id, func(r *resource) {
		set(r.Body, "properties.provisioningState", statusFailed)
		r.Hidden["failure"] = object{"code": e.Code, "message": e.Message}
		delete(r.Hidden, "down")
	})
}

// upgrade brings a member to its set's model, now. The disk is replaced when the
// image is another one.
func (tx *txn) upgrade(id string) error {
	r := tx.get(id)
	owner := tx.get(setOf(r))
	if owner == nil {
		return nil
	}
	img, err := tx.resolve(sub(owner.Body, imagePath), str(owner.Body, "location"))
	if err == nil {
		err = tx.refusedUpgrade(r)
	}
	if err != nil {
		return err
	}
	tx.edit(id, func(r *resource) {
		applyImage(r.Body, owner, img.exact)
		for _, name := range []string{"securityProfile", "diagnosticsProfile", "scheduledEventsProfile"} {
			if v := sub(owner.Body, profile+"."+name); v != nil && str(r.Body, "properties.priority") != "Spot" {
				set(r.Body, "properties."+name, clone(v))
			}
		}
		set(r.Body, "properties.hardwareProfile.vmSize", str(owner.Body, "sku.name"))
		r.Hidden["extensions"], r.Hidden["model"] = installed(owner.Body), modelOf(owner.Body)
		delete(r.Hidden, "latest")
		delete(r.Hidden, "before")
	})
	tx.running(id)
	return nil
}

// renew gives a member a new disk from its own model, whose image reference is
// resolved anew when it has no version.
func (tx *txn) renew(id string) error {
	r := tx.get(id)
	ref := sub(r.Body, "properties.storageProfile.imageReference")
	if ref == nil {
		return nil
	}
	img, err := tx.resolve(ref, str(r.Body, "location"))
	if err == nil {
		err = tx.refusedUpgrade(r)
	}
	if err != nil {
		return err
	}
	if img.exact != "" {
		tx.edit(id, func(r *resource) { set(r.Body, "properties.storageProfile.imageReference.exactVersion", img.exact) })
	}
	tx.running(id)
	return nil
}

// upgradeAll upgrades every member at once, as the mode Automatic does.
func (tx *txn) upgradeAll(setID string) {
	r := tx.get(setID)
	var touched []any
	for _, m := range tx.members(setID) {
		if upgradable(m) {
			touched = append(touched, m.ID)
		}
	}
	if len(touched) == 0 {
		return
	}
	tx.start(operation{
		Kind: setType, Resource: setID, Location: location(str(r.Body, "location")), Name: "manualupgrade", Method: http.MethodPost,
		Args: object{"members": touched},
	}, upgradeTime)
}

// historyMonths is how long an upgrade of the OS is told of.
const historyMonths = 2

// osHistory answers with the upgrades of the OS, the newest first.
func osHistory(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	list := []any{}
	for _, entry := range items(r.Hidden, "history") {
		if stamp(tx.now.AddDate(0, -historyMonths, 0)) < str(entry, "properties.runningStatus.startTime") {
			list = append(list, clone(entry))
		}
	}
	return ok(object{"value": list}), nil
}

// startOSUpgrade begins an upgrade of the OS at once, which brings no old disks back.
// Where automatic OS upgrade is not there the simulator does not know whether this is.
func startOSUpgrade(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	image := sub(r.Body, imagePath)
	if version := str(image, "version"); version != "" && version != "latest" || strings.Contains(strings.ToLower(str(image, "id")), "/versions/") {
		return answer{}, conflict("OperationNotAllowed", "The OS Rolling Upgrade API cannot be used on a Virtual Machine Scale Set "+
			"unless the Virtual Machine Scale Set has some unprotected instances which have imageReference.version set to latest.")
	}
	if !tx.server.rules.Platform.AutoOS {
		return answer{}, unknown("the action osRollingUpgrade")
	}
	img, err := tx.resolve(image, str(r.Body, "location"))
	if err != nil {
		return answer{}, err
	}
	tx.startOS(c.ID, img.exact, "User")
	return tx.act(c, c.ID, modelTime, nil)
}
