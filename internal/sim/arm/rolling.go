package arm

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// The platform's rolling upgrade of a scale set is begun by any write of a set in
// mode Rolling that has members which are not on its model:
//
//	start ─▶ check the whole set ─▶ batch ─▶ upgraded ─▶ judge ─▶ pause ─┐
//	             ▲    │                                 │                │
//	             └────┼─────────────────────────────────┼────────────────┘
//	                  └─▶ Faulted                       └─▶ Faulted | Completed
//
// Hidden in the set are under "rolling" the properties of rollingUpgrades/latest, and
// under "roll" the ids that are pending, in the batch and done, and the number of the
// upgrade, which is how a transition of one before is known.

// rollingDefault is a percentage that a policy leaves open.
const rollingDefault = 20

// The codes of a rolling upgrade that stopped itself.
const (
	unhealthyBefore   = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
	unhealthyIn       = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
	unhealthyUpgraded = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
)

func rollingForward(r *resource) bool {
	return str(r.Hidden, "rolling.runningStatus.code") == "RollingForward"
}

// percentOf is a percentage of a set's rolling policy.
func percentOf(body object, name string) int {
	if n, ok := integer(body, "properties.upgradePolicy.rollingUpgradePolicy."+name); ok {
		return n
	}
	return rollingDefault
}

// batchSize is how many of n members a batch has: at least one.
func batchSize(n, percent int) int { return max(1, n*percent/100) }

// exceeds says whether so many of n are more than a percentage.
func exceeds(unhealthy, n, percent int) bool { return n > 0 && unhealthy*100 > n*percent }

// unhealthy says whether a member counts as unhealthy. Initializing is waited for.
func unhealthy(r *resource) bool {
	health := str(r.Hidden, "health")
	return health != "Healthy" && health != "Initializing"
}

// stale are the members that a rolling upgrade is for, in its order: zone by zone, or
// the unhealthy first.
func (tx *txn) stale(owner *resource) []*resource {
	list := slices.DeleteFunc(tx.members(owner.ID), func(r *resource) bool {
		return !upgradable(r) || str(r.Hidden, "model") == modelOf(owner.Body)
	})
	first := boolean(owner.Body, "properties.upgradePolicy.rollingUpgradePolicy.prioritizeUnhealthyInstances")
	slices.SortStableFunc(list, func(a, b *resource) int {
		if first && unhealthy(a) != unhealthy(b) {
			if unhealthy(a) {
				return -1
			}
			return 1
		}
		return cmp.Compare(zoneOf(a), zoneOf(b))
	})
	return list
}

// startRolling begins a rolling upgrade, in place of one that is under way.
func (tx *txn) startRolling(setID string) {
	owner := tx.get(setID)
	var pending []any
	for _, m := range tx.stale(owner) {
		pending = append(pending, m.ID)
	}
	if len(pending) == 0 {
		return
	}
	left, _ := dig(owner.Hidden, "roll.batch").([]any)
	for _, v := range left { // of one before, which is replaced
		id, _ := v.(string)
		tx.edit(id, func(r *resource) { set(r.Body, "properties.provisioningState", statusSucceeded) })
	}
	number, _ := integer(owner.Hidden, "roll.number")
	tx.editHidden(setID, func(hidden object) {
		hidden["roll"] = object{"number": whole(number + 1), "pending": pending, "batch": []any{}, "done": []any{}}
		policy := clone(sub(owner.Body, "properties.upgradePolicy.rollingUpgradePolicy"))
		if policy == nil {
			policy = object{}
		}
		for _, name := range []string{"maxBatchInstancePercent", "maxUnhealthyInstancePercent", "maxUnhealthyUpgradedInstancePercent"} {
			setDefault(policy, name, whole(rollingDefault))
		}
		setDefault(policy, "pauseTimeBetweenBatches", "PT0S")
		hidden["rolling"] = object{"policy": policy, "runningStatus": object{
			"code": "RollingForward", "startTime": stamp(tx.now), "lastAction": "Start", "lastActionTime": stamp(tx.now),
		}}
	})
	tx.nextBatch(setID, object{"number": whole(number + 1)})
}

// nextBatch begins the next batch of a rolling upgrade, unless too many of the whole
// set are unhealthy.
func (tx *txn) nextBatch(setID string, args object) {
	r := tx.get(setID)
	if !isRoll(r, args) || !rollingForward(r) {
		return
	}
	pending, _ := dig(r.Hidden, "roll.pending").([]any)
	done, _ := dig(r.Hidden, "roll.done").([]any)
	if len(pending) == 0 {
		tx.endRolling(setID, "Completed", "", "")
		return
	}
	members := tx.members(setID)
	bad := 0
	for _, m := range members {
		if unhealthy(m) {
			bad++
		}
	}
	if exceeds(bad, len(members), percentOf(r.Body, "maxUnhealthyInstancePercent")) {
		code := unhealthyIn
		if len(done) == 0 {
			code = unhealthyBefore
		}
		tx.endRolling(setID, "Faulted", code, "Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the RollingUpgradePolicy.")
		return
	}
	n := min(batchSize(len(members), percentOf(r.Body, "maxBatchInstancePercent")), len(pending))
	batch := pending[:n]
	for _, v := range batch {
		id, _ := v.(string)
		tx.edit(id, func(r *resource) { set(r.Body, "properties.provisioningState", "Updating") })
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.batch", cloneAny(batch))
		set(hidden, "roll.pending", cloneAny(pending[n:]))
	})
	tx.count(setID)
	tx.schedule(tx.now.Add(upgradeTime), setType, setID, "upgraded", args)
}

// isRoll says whether a transition is of the set's latest upgrade.
func isRoll(r *resource, args object) bool {
	if r == nil {
		return false
	}
	latest, _ := integer(r.Hidden, "roll.number")
	n, _ := integer(args, "number")
	return n == latest
}

// batchUpgraded brings the members of a batch to the model. Their health is known
// after a while. A batch is finished although its upgrade was cancelled.
func (tx *txn) batchUpgraded(setID string, args object) {
	r := tx.get(setID)
	if !isRoll(r, args) {
		return
	}
	batch, _ := dig(r.Hidden, "roll.batch").([]any)
	for _, v := range batch {
		id, _ := v.(string)
		if tx.get(id) == nil {
			continue
		}
		if err := tx.upgrade(id); err != nil {
			tx.edit(id, func(r *resource) { set(r.Body, "properties.provisioningState", statusFailed) })
			tx.endRolling(setID, "Faulted", asARM(err).Code, asARM(err).Message)
		}
	}
	tx.schedule(tx.now.Add(reportTime+time.Second), setType, setID, "judged", args)
}

// batchJudged looks at all that were upgraded, and goes on after the pause.
func (tx *txn) batchJudged(setID string, args object) {
	r := tx.get(setID)
	if !isRoll(r, args) {
		return
	}
	batch, _ := dig(r.Hidden, "roll.batch").([]any)
	done, _ := dig(r.Hidden, "roll.done").([]any)
	done = append(slices.Clone(done), batch...)
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.done", cloneAny(done))
		set(hidden, "roll.batch", []any{})
	})
	bad := tx.count(setID)
	if !rollingForward(r) {
		return // it was cancelled
	}
	if exceeds(bad, len(done), percentOf(r.Body, "maxUnhealthyUpgradedInstancePercent")) {
		tx.endRolling(setID, "Faulted", unhealthyUpgraded,
			"Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the RollingUpgradePolicy.")
		return
	}
	pause, _ := parseISO(str(r.Hidden, "rolling.policy.pauseTimeBetweenBatches"))
	tx.schedule(tx.now.Add(pause), setType, setID, "batch", args)
}

// count writes the progress of a rolling upgrade, and returns how many that it has
// upgraded are unhealthy.
func (tx *txn) count(setID string) int {
	r := tx.get(setID)
	done, _ := dig(r.Hidden, "roll.done").([]any)
	batch, _ := dig(r.Hidden, "roll.batch").([]any)
	pending, _ := dig(r.Hidden, "roll.pending").([]any)
	bad := 0
	for _, v := range done {
		id, _ := v.(string)
		if m := tx.get(id); m == nil || unhealthy(m) || m.state() == statusFailed {
			bad++
		}
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "rolling.progress", object{
			"successfulInstanceCount": whole(len(done) - bad), "failedInstanceCount": whole(bad),
			"inProgressInstanceCount": whole(len(batch)), "pendingInstanceCount": whole(len(pending)),
		})
	})
	return bad
}

// endRolling ends a rolling upgrade that goes forward.
func (tx *txn) endRolling(setID, status, code, message string) {
	if !rollingForward(tx.get(setID)) {
		return
	}
	tx.count(setID)
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "rolling.runningStatus.code", status)
		if code != "" {
			set(hidden, "rolling.error", object{"code": code, "message": message})
		}
	})
}

// latestRolling answers with the latest rolling upgrade.
func latestRolling(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	p := sub(r.Hidden, "rolling")
	if p == nil {
		return answer{}, errorf(http.StatusNotFound, "NotFound", "There is no Rolling Upgrade of the Virtual Machine Scale Set '%s'.", r.name())
	}
	return ok(object{
		"id": r.ID + "/rollingUpgrades/latest", "name": "latest", "type": setType + "/rollingUpgrades",
		"location": str(r.Body, "location"), "properties": clone(p),
	}), nil
}

// cancelRolling ends a rolling upgrade: what is under way in its batch is finished,
// the rest stays as it is.
func cancelRolling(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	if str(r.Hidden, "rolling.runningStatus.code") != "RollingForward" {
		return answer{}, conflict("OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel.")
	}
	tx.editHidden(c.ID, func(hidden object) {
		set(hidden, "rolling.runningStatus.code", "Cancelled")
		set(hidden, "rolling.runningStatus.lastAction", "Cancel")
		set(hidden, "rolling.runningStatus.lastActionTime", stamp(tx.now))
	})
	return tx.act(c, c.ID, 10*time.Second, nil)
}
