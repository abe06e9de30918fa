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
// A batch is of one zone, unless the policy lets it cross zones, and is judged as soon as
// no member of it is Initializing any more, or after five minutes.
//
// With maxSurge a batch is new members, born from the model; those whose places they take
// are deleted once the batch was judged (see surge.go).
//
// The operation of the write lasts as long as the upgrade that it begins, and fails with what
// stopped that. Cancelling the upgrade ends it, too.
//
// Hidden in the set are under "rolling" the properties of rollingUpgrades/latest, and
// under "roll" the ids that are pending, in the batch, done and failed, when the batch is
// judged at the latest, and the number of the upgrade, which is how a transition of one
// before is known, and the operation that waits for it. An upgrade of the OS (autoos.go)
// has "os" there, too.

// rollingDefault is a percentage that a policy leaves open.
const rollingDefault = 20

// The codes of a rolling upgrade that stopped itself.
const (
	unhealthyBefore   = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
	unhealthyIn       = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
	unhealthyUpgraded = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
	failedUpgraded    = "RollingUpgradeInProgressWithFailedUpgradedVMs"
)

// healthTime is how long a batch is waited for until it is judged.
const healthTime = 5 * time.Minute

func rollingForward(r *resource) bool {
	return str(r.Hidden, "rolling.runningStatus.code") == "RollingForward"
}

// percentOf is a percentage of the policy that a rolling upgrade began with.
func percentOf(r *resource, name string) int {
	n, _ := integer(r.Hidden, "rolling.policy."+name)
	return n
}

// fewMembers is the size of a set below which members are upgraded one at a time.
const fewMembers = 5

// batchSize is how many of n members a batch has: at least one.
func batchSize(n, percent int) int {
	if n < fewMembers {
		return 1
	}
	return max(1, n*percent/100)
}

// exceeds says whether so many of n are more than a percentage.
func exceeds(unhealthy, n, percent int) bool { return n > 0 && unhealthy*100 > n*percent }

// unhealthy says whether a member counts as unhealthy. Initializing is waited for.
func unhealthy(r *resource) bool {
	health := str(r.Hidden, "health")
	return health != "Healthy" && health != "Initializing"
}

// inOrder are the members that a rolling upgrade is for, in its order: the unhealthy
// first when the policy says so, and zone by zone unless batches may cross zones.
func (tx *txn) inOrder(owner *resource, wanted func(r *resource) bool) []any {
	list := slices.DeleteFunc(tx.members(owner.ID), func(r *resource) bool { return !upgradable(r) || !wanted(r) })
	first := boolean(owner.Body, rollingPolicyPath+".prioritizeUnhealthyInstances")
	cross := boolean(owner.Body, rollingPolicyPath+".enableCrossZoneUpgrade")
	slices.SortStableFunc(list, func(a, b *resource) int {
		if first && unhealthy(a) != unhealthy(b) {
			if unhealthy(a) {
				return -1
			}
			return 1
		}
		if cross {
			return 0
		}
		return cmp.Compare(zoneOf(a), zoneOf(b))
	})
	var ids []any
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	return ids
}

const rollingPolicyPath = "properties.upgradePolicy.rollingUpgradePolicy"

// policyOf is a set's rolling policy with what it leaves open.
func policyOf(body object) object {
	policy := clone(sub(body, rollingPolicyPath))
	if policy == nil {
		policy = object{}
	}
	for _, name := range []string{"maxBatchInstancePercent", "maxUnhealthyInstancePercent", "maxUnhealthyUpgradedInstancePercent"} {
		setDefault(policy, name, whole(rollingDefault))
	}
	setDefault(policy, "pauseTimeBetweenBatches", "PT0S")
	return policy
}

// startRolling begins a rolling upgrade to the model, in place of one that is under way. The
// operation of the write waits for it.
func (tx *txn) startRolling(setID string, write *operation) {
	owner := tx.get(setID)
	pending := tx.inOrder(owner, func(r *resource) bool { return str(r.Hidden, "model") != modelOf(owner.Body) })
	if write != nil && len(pending) > 0 {
		tx.unschedule(write.ID, "end")
		tx.update(write.ID, func(o *operation) { o.Due = time.Time{} })
	}
	tx.roll(setID, pending, policyOf(owner.Body), write, nil)
}

// roll begins a rolling upgrade of members, for which an operation may wait; of their OS
// alone when os is given.
func (tx *txn) roll(setID string, pending []any, policy object, waits *operation, os object) {
	if len(pending) == 0 {
		return
	}
	owner := tx.get(setID)
	tx.replaced(setID)
	number, _ := integer(owner.Hidden, "roll.number")
	tx.editHidden(setID, func(hidden object) {
		roll := object{"number": whole(number + 1), "pending": pending, "batch": []any{}, "done": []any{}, "failed": []any{}}
		if os != nil {
			roll["os"] = os
		}
		if waits != nil {
			roll["operation"] = waits.ID
		}
		hidden["roll"] = roll
		hidden["rolling"] = object{"policy": policy, "runningStatus": object{
			"code": "RollingForward", "startTime": stamp(tx.now), "lastAction": "Start", "lastActionTime": stamp(tx.now),
		}}
	})
	tx.nextBatch(setID, object{"number": whole(number + 1)})
}

// replaced ends a rolling upgrade that another one takes the place of: its batch is left
// as it is.
func (tx *txn) replaced(setID string) {
	for _, id := range ids(tx.get(setID).Hidden, "roll.batch") {
		if !tx.went(id) && boolean(tx.get(id).Hidden, "down") {
			tx.running(id)
		}
	}
	tx.endRolling(setID, "Cancelled", "", "")
}

// ids are the strings of a list.
func ids(o object, path string) []string {
	list, _ := dig(o, path).([]any)
	all := make([]string, 0, len(list))
	for _, v := range list {
		if id, ok := v.(string); ok {
			all = append(all, id)
		}
	}
	return all
}

// listOf is the list of strings that ids reads.
func listOf(all []string) []any {
	list := make([]any, len(all))
	for i, id := range all {
		list[i] = id
	}
	return list
}

// nextBatch begins the next batch of a rolling upgrade, unless too many of the whole
// set are unhealthy. Members that went, or that are not to be touched any more, are left
// out.
func (tx *txn) nextBatch(setID string, args object) {
	r := tx.get(setID)
	if !isRoll(r, args) || !rollingForward(r) {
		return
	}
	pending := slices.DeleteFunc(ids(r.Hidden, "roll.pending"), func(id string) bool {
		m := tx.get(id)
		return !upgradable(m) || m.state() == "Deleting"
	})
	tx.editHidden(setID, func(hidden object) { set(hidden, "roll.pending", listOf(pending)) })
	if len(pending) == 0 {
		tx.endRolling(setID, "Completed", "", "")
		return
	}
	batches, _ := integer(r.Hidden, "roll.batches")
	if tx.halted(r, batches) {
		return
	}
	members := tx.members(setID)
	bad := 0
	for _, m := range members {
		if unhealthy(m) {
			bad++
		}
	}
	if exceeds(bad, len(members), percentOf(r, "maxUnhealthyInstancePercent")) {
		code := unhealthyIn
		if len(ids(r.Hidden, "roll.done")) == 0 {
			code = unhealthyBefore
		}
		tx.endRolling(setID, "Faulted", code, "Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the RollingUpgradePolicy.")
		return
	}
	n := tx.batchOf(r, pending, batchSize(len(members), percentOf(r, "maxBatchInstancePercent")))
	batch, takes := pending[:n], upgradeTime
	if surges(r) {
		var err error
		if batch, takes, err = tx.surge(setID, batch); err != nil {
			tx.failedVMs(setID, asARM(err))
			return
		}
	}
	for _, id := range batch {
		if tx.get(id).state() != "Creating" {
			tx.takeDown(id)
		}
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.batch", listOf(batch))
		set(hidden, "roll.pending", listOf(pending[n:]))
		set(hidden, "roll.batches", whole(batches+1))
	})
	tx.count(setID)
	tx.schedule(tx.now.Add(takes), setType, setID, "upgraded", args)
}

// A Halt stops rolling upgrades of a scale set after so many batches, whatever their
// health is.
type Halt struct {
	Set     string // pattern of its name
	Code    string // RollingUpgradeTimeoutError or InternalExecutionError
	Batches int
	Count   int // how many upgrades; 0 means any number
}

// halted stops a rolling upgrade that has had so many batches, if a scenario says so.
func (tx *txn) halted(r *resource, batches int) bool {
	met := tx.server.halts.Take(tx.now, func(h Halt) bool { return matchName(h.Set, r.name()) && h.Batches == batches })
	if met == nil {
		return false
	}
	message := "An internal execution error occurred. Please retry later."
	if met.Fault.Code == "RollingUpgradeTimeoutError" {
		message = "Rolling Upgrade did not complete within the time that it has."
	}
	tx.endRolling(r.ID, "Faulted", met.Fault.Code, message)
	return true
}

// batchOf is how many of those that are pending the next batch has: at most most, and of
// one zone unless batches may cross zones.
func (tx *txn) batchOf(owner *resource, pending []string, most int) int {
	n := min(most, len(pending))
	if boolean(owner.Hidden, "rolling.policy.enableCrossZoneUpgrade") {
		return n
	}
	for i, id := range pending[:n] {
		if zoneOf(tx.get(id)) != zoneOf(tx.get(pending[0])) {
			return i
		}
	}
	return n
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
	do := tx.upgrade
	if os := sub(r.Hidden, "roll.os"); os != nil {
		do = func(id string) error { return tx.upgradeOS(id, str(os, "exact")) }
	}
	born := ids(r.Hidden, "roll.born")
	for _, id := range ids(r.Hidden, "roll.batch") {
		if slices.Contains(born, id) {
			continue
		}
		if tx.went(id) {
			continue
		}
		if err := do(id); err != nil {
			tx.failMember(id, err)
			tx.failedVMs(setID, asARM(err))
		}
	}
	tx.editHidden(setID, func(hidden object) { set(hidden, "roll.until", stamp(tx.now.Add(healthTime))) })
	tx.schedule(tx.now.Add(reportTime+time.Second), setType, setID, "judged", args)
}

// failedVMs ends a rolling upgrade because a machine could not be upgraded.
func (tx *txn) failedVMs(setID string, why *armError) {
	tx.endRolling(setID, "Faulted", failedUpgraded, "Rolling Upgrade failed because virtual machines failed to be upgraded. "+why.Error())
	tx.editHidden(setID, func(hidden object) {
		if e := sub(hidden, "rolling.error"); e != nil {
			e["details"] = []any{why.object()}
		}
	})
}

// judgeEvery is how often a batch is looked at that is waited for.
const judgeEvery = 5 * time.Second

// batchJudged looks at all that were upgraded, and goes on after the pause.
func (tx *txn) batchJudged(setID string, args object) {
	r := tx.get(setID)
	if !isRoll(r, args) {
		return
	}
	batch := slices.DeleteFunc(ids(r.Hidden, "roll.batch"), func(id string) bool { return tx.get(id) == nil })
	until, _ := time.Parse(time.RFC3339Nano, str(r.Hidden, "roll.until")) // we wrote it
	if tx.now.Before(until) && slices.ContainsFunc(batch, func(id string) bool { return tx.awaited(r, id) }) {
		tx.schedule(tx.now.Add(judgeEvery), setType, setID, "judged", args)
		return
	}
	done := append(ids(r.Hidden, "roll.done"), batch...)
	failed := ids(r.Hidden, "roll.failed")
	for _, id := range batch {
		if tx.bad(id) {
			failed = append(failed, id)
		}
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.done", listOf(done))
		set(hidden, "roll.batch", []any{})
		if sub(hidden, "roll.os") != nil {
			set(hidden, "roll.failed", listOf(failed)) // they are not seen to be unhealthy when their old disks are back
		}
	})
	bad := tx.count(setID)
	restored := tx.restore(setID, batch)
	if !rollingForward(r) {
		tx.makeRoom(setID)
		return // it was cancelled
	}
	if exceeds(bad, len(done), percentOf(r, "maxUnhealthyUpgradedInstancePercent")) {
		tx.halt(setID, restored, unhealthyUpgraded,
			"Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the RollingUpgradePolicy.")
		return
	}
	tx.makeRoom(setID)
	pause, _ := parseISO(str(r.Hidden, "rolling.policy.pauseTimeBetweenBatches"))
	tx.schedule(tx.now.Add(pause), setType, setID, "batch", args)
}

// awaited says whether a batch is not judged yet because of a member: it is not known how
// it is or, in an upgrade of the OS, it may still become healthy.
func (tx *txn) awaited(owner *resource, id string) bool {
	m := tx.get(id)
	if str(m.Hidden, "power") != "running" || m.state() == statusFailed {
		return false
	}
	if sub(owner.Hidden, "roll.os") != nil {
		return str(m.Hidden, "health") != "Healthy"
	}
	return str(m.Hidden, "health") == "Initializing"
}

// bad says whether a member that was upgraded is not well.
func (tx *txn) bad(id string) bool {
	m := tx.get(id)
	return m != nil && (str(m.Hidden, "health") != "Healthy" || m.state() == statusFailed)
}

// count writes the progress of a rolling upgrade, and returns how many that it has
// upgraded are unhealthy. Members that are not there any more are not counted.
func (tx *txn) count(setID string) int {
	r := tx.get(setID)
	done := slices.DeleteFunc(ids(r.Hidden, "roll.done"), func(id string) bool { return tx.get(id) == nil })
	failed := ids(r.Hidden, "roll.failed")
	bad := 0
	for _, id := range done {
		if tx.bad(id) || slices.Contains(failed, id) {
			bad++
		}
	}
	tx.editHidden(setID, func(hidden object) {
		set(hidden, "roll.done", listOf(done))
		set(hidden, "rolling.progress", object{
			"successfulInstanceCount": whole(len(done) - bad), "failedInstanceCount": whole(bad),
			"inProgressInstanceCount": whole(len(ids(r.Hidden, "roll.batch"))), "pendingInstanceCount": whole(len(ids(r.Hidden, "roll.pending"))),
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
			remove(hidden, "roll.leave") // they stay
		}
	})
	tx.endWrite(setID, status, code, message)
	tx.endHistory(setID)
}

// endWrite ends the operation that waits for a rolling upgrade, if there is one.
func (tx *txn) endWrite(setID, status, code, message string) {
	id := str(tx.get(setID).Hidden, "roll.operation")
	o := tx.store.Operations[id]
	switch {
	case o == nil || o.Status != statusInProgress:
	case o.Fails != nil:
		tx.finish(id, o.Fails)
	case status == "Cancelled":
		tx.cancel(id, conflict("OperationPreempted", "The Rolling Upgrade was cancelled."))
	case code != "" && o.Start.Equal(tx.now): // the answer is that it was accepted
		tx.update(id, func(o *operation) { o.Fails = conflict(code, "%s", message) })
		tx.schedule(tx.now.Add(modelTime), operationKind, id, "end", nil)
	case code != "":
		tx.finish(id, conflict(code, "%s", message))
	default:
		tx.finish(id, tx.failed(setID))
	}
}

// latestRolling answers with the latest rolling upgrade.
func latestRolling(tx *txn, c *call) (answer, error) {
	r := tx.get(c.ID)
	p := clone(sub(r.Hidden, "rolling"))
	if p == nil {
		return answer{}, errorf(http.StatusNotFound, "NotFound", "There is no Rolling Upgrade of the Virtual Machine Scale Set '%s'.", r.name())
	}
	delete(p, "rollbackInfo") // which the history has, as it has the code RollingBack
	if rollingBack(r) {
		set(p, "runningStatus.code", "Faulted")
	}
	return ok(object{
		"id": r.ID + "/rollingUpgrades/latest", "name": "latest", "type": setType + "/rollingUpgrades",
		"location": str(r.Body, "location"), "properties": p,
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
	tx.endWrite(c.ID, "Cancelled", "", "")
	tx.endHistory(c.ID)
	return tx.act(c, c.ID, 10*time.Second, nil)
}
