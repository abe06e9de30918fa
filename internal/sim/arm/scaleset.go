package arm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// The types of scale sets and of what belongs to them.
const (
	setType       = "Microsoft.Compute/virtualMachineScaleSets"
	setExtType    = setType + "/extensions"
	instanceType  = setType + "/virtualMachines"
	vmType        = "Microsoft.Compute/virtualMachines"
	profile       = "properties.virtualMachineProfile"
	extensionPath = profile + ".extensionProfile.extensions"
	imagePath     = profile + ".storageProfile.imageReference"
)

// How long things take, on the clock.
const (
	modelTime   = 3 * time.Second  // a write that makes and deletes no member
	bootTime    = 30 * time.Second // from allocation to a running machine
	reportTime  = 20 * time.Second // from running to the first health that is known
	deleteTime  = 15 * time.Second
	upgradeTime = 60 * time.Second // a new OS disk, and a boot
	powerTime   = 20 * time.Second // start or deallocate
	evictTime   = 30 * time.Second // the notice of an eviction
)

// scaleSetKind is the kind of Flexible scale sets. The extensions of the model are part
// of the body, with their protected settings, which no answer has. Hidden are
//
//	failure    what the operation that is under way will fail with
//	rolling    properties of rollingUpgrades/latest
//	roll       what it is about (see rolling.go)
//	history    osUpgradeHistory
//	repairs    Suspended, when setOrchestrationServiceState or the platform said so
//	load, ...  what autoscale knows (see load.go)
//	autoos     what automatic OS upgrade has seen (see autoos.go)
//	upgrading  until when the platform upgrades its own agent, when it was told to
//	born       how many members the set has ever had, for their names
func scaleSetKind() kind {
	return kind{
		name: setType, bodyETag: true, preempts: true,
		complete: completeSet,
		patch:    patchSet,
		takes:    setTakes,
		stored:   setStored,
		end:      endSet,
		view:     viewSet,
		actions: map[string]handler{
			"manualupgrade":                manualUpgrade,
			"reimage":                      reimageMembers,
			"delete":                       deleteMembers,
			"deallocate":                   powerMembers("deallocate"),
			"poweroff":                     powerMembers("poweroff"),
			"restart":                      powerMembers("restart"),
			"start":                        powerMembers("start"),
			"rollingupgrades/cancel":       cancelRolling,
			"osrollingupgrade":             startOSUpgrade,
			"setorchestrationservicestate": setServiceState,
		},
		transitions: map[string]transition{
			"batch":    (*txn).nextBatch,
			"upgraded": (*txn).batchUpgraded,
			"judged":   (*txn).batchJudged,
			"look":     (*txn).look,
			"succeed":  (*txn).succeed,
			"reclaim":  (*txn).reclaim,
			"load":     (*txn).loaded,
			"agreed":   (*txn).agreed,

			"autoscale": (*txn).autoscale,
		},
		reads: map[string]handler{
			"instanceview":           refuseInstanceView,
			"rollingupgrades/latest": latestRolling,
			"osupgradehistory":       osHistory,
		},
	}
}

// completeSet checks a model and adds what Azure adds.
func completeSet(tx *txn, w *write) error {
	if err := checkSet(w); err != nil {
		return err
	}
	p := sub(w.Body, "properties")
	old := object{}
	if w.Old != nil {
		old = w.Old.Body
	}
	if err := tx.checkCapability(old, w.Body); err != nil {
		return err
	}
	if err := tx.checkRepairsOn(w.ID, old, w.Body); err != nil {
		return err
	}
	keepSecrets(old, w.Body, profile+".osProfile")
	for path, value := range map[string]any{
		"properties.uniqueId":    guid("scale set", key(w.ID)),
		"properties.timeCreated": stamp(tx.now),
	} {
		if known := dig(old, path); known != nil {
			value = known
		}
		set(w.Body, path, value)
	}
	setDefault(p, "singlePlacementGroup", false)
	setDefault(p, "platformFaultDomainCount", whole(1))
	setDefault(p, "upgradePolicy.mode", "Manual")
	if sub(w.Body, profile) != nil {
		set(w.Body, profile+".timeCreated", profileTime(tx, w))
		setDefault(w.Body, profile+".storageProfile.osDisk.createOption", "FromImage")
	}
	if w.Body["sku"] != nil {
		setDefault(w.Body, "sku.tier", "Standard")
		setDefault(w.Body, "sku.capacity", whole(0))
	}
	setDefault(w.Body, "properties.orchestrationMode", "Flexible")
	if w.Hidden == nil {
		w.Hidden = object{}
	}
	return nil
}

// profileTime is when the profile was last changed.
func profileTime(tx *txn, w *write) string {
	if w.Old != nil && modelOf(w.Old.Body) == modelOf(w.Body) {
		if at := str(w.Old.Body, profile+".timeCreated"); at != "" {
			return at
		}
	}
	return stamp(tx.now)
}

// modelOf identifies what members are made from: the profile and the size. Members
// remember it, which says whether they have the latest.
func modelOf(body object) string {
	p := clone(sub(body, profile))
	delete(p, "timeCreated")
	text, _ := json.Marshal([]any{p, str(body, "sku.name")}) // it came from JSON
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// capacityOf is sku.capacity.
func capacityOf(body object) int {
	n, _ := integer(body, "sku.capacity")
	return n
}

func setTakes(_ *txn, w *write) time.Duration {
	before := 0
	if w.Old != nil {
		before = capacityOf(w.Old.Body)
	}
	switch {
	case w.Method == http.MethodDelete:
		return deleteTime
	case capacityOf(w.Body) > before:
		return bootTime + 5*time.Second
	case capacityOf(w.Body) < before:
		return deleteTime + 5*time.Second
	}
	return modelTime
}

// setStored makes and deletes members, and hands a changed model on as the mode says.
func setStored(tx *txn, w *write, r *resource) error {
	changed := w.Old != nil && modelOf(w.Old.Body) != modelOf(r.Body)
	switch mode := str(r.Body, "properties.upgradePolicy.mode"); {
	case mode == "Automatic" && changed:
		tx.upgradeAll(r.ID)
	case mode == "Rolling" && (changed || !rollingForward(r)):
		tx.startRolling(r.ID, w.Operation)
	}
	if w.create() || capacityOf(w.Old.Body) != capacityOf(r.Body) {
		if err := tx.scale(r.ID); err != nil {
			tx.fail(r.ID, err)
		}
	}
	tx.watchOS(r.ID)
	tx.watchRepairs(r.ID)
	tx.watchLoad(r.ID)
	return nil
}

// fail lets the operation that is under way on a scale set fail.
func (tx *txn) fail(setID string, err error) {
	tx.editHidden(setID, func(hidden object) { set(hidden, "failure", fromError(asARM(err))) })
}

// endSet is the end of an operation on a scale set.
func endSet(tx *txn, o operation) error {
	r := tx.get(o.Resource)
	if r == nil {
		return nil
	}
	switch o.Name {
	case http.MethodDelete:
		for _, m := range tx.listed(r.ID) {
			tx.delete(m.ID)
		}
		return nil
	case http.MethodPut, http.MethodPatch:
	default:
		return tx.endMemberAction(o)
	}
	if failure := tx.failed(r.ID); failure != nil {
		return failure
	}
	return nil
}

// failed is what fail said of a scale set, once, or nil.
func (tx *txn) failed(setID string) *armError {
	failure := toError(sub(tx.get(setID).Hidden, "failure"))
	if failure == nil {
		return nil
	}
	tx.editHidden(setID, func(hidden object) { delete(hidden, "failure") })
	return asARM(failure)
}

// viewSet leaves out what is only ever written.
func viewSet(_ *txn, _ *call, _ *resource, body object) (object, error) {
	for _, e := range items(body, extensionPath) {
		remove(e, "properties.protectedSettings")
	}
	hideSecrets(body, profile+".osProfile")
	return body, nil
}

// osSecrets are what is only ever written of an OS profile.
var osSecrets = []string{"adminPassword", "customData"}

// hideSecrets leaves the secrets of an OS profile out of an answer.
func hideSecrets(body object, osProfile string) {
	for _, name := range osSecrets {
		remove(body, osProfile+"."+name)
	}
}

// keepSecrets keeps those that a write leaves out, as one does that was read before.
func keepSecrets(old, body object, osProfile string) {
	if sub(body, osProfile) == nil {
		return
	}
	for _, name := range osSecrets {
		if secret := dig(old, osProfile+"."+name); secret != nil {
			setDefault(body, osProfile+"."+name, secret)
		}
	}
}

// patchSet merges a PATCH. An array takes the place of the one before, extensions
// too: their protected settings go with it.
func patchSet(_ *txn, w *write, patch object) (object, error) {
	for _, name := range notInPatch {
		if _, given := sub(patch, "properties")[name]; given {
			return nil, errorf(http.StatusBadRequest, "BadRequest",
				"Could not find member '%s' on object of type 'VirtualMachineScaleSetUpdateProperties'. Path 'properties.%s'.", name, name)
		}
	}
	body := merge(w.Old.Body, patch)
	if tags, given := patch["tags"]; given { // they are replaced whole
		body["tags"] = cloneAny(tags)
	}
	return body, nil
}

// notInPatch are properties that a PUT has and a PATCH has not.
var notInPatch = []string{
	"scheduledEventsPolicy", "externalHealthPolicy", "zoneBalance", "platformFaultDomainCount", "orchestrationMode", "hostGroup",
	"constrainedMaximumCapacity",
}

// refuseInstanceView is the answer of Flexible scale sets.
func refuseInstanceView(_ *txn, c *call) (answer, error) {
	return answer{}, errorf(http.StatusConflict, "OperationNotAllowed",
		"Operation 'VirtualMachineScaleSets.instanceView.GET' is not allowed on Virtual Machine Scale Set '%s'.", c.Target.name())
}

// setServiceState suspends and resumes automatic repairs.
func setServiceState(tx *txn, c *call) (answer, error) {
	if name := str(c.Body, "serviceName"); name != "AutomaticRepairs" {
		return answer{}, invalid("serviceName", "The value '%s' of parameter 'serviceName' is not allowed. Allowed values are: AutomaticRepairs.", name)
	}
	state := map[string]string{"Suspend": "Suspended", "Resume": "Running"}[str(c.Body, "action")]
	if state == "" {
		return answer{}, invalid("action", "The value '%s' of parameter 'action' is not allowed. Allowed values are: Resume, Suspend.", str(c.Body, "action"))
	}
	if r := tx.get(c.ID); !boolean(r.Body, "properties.automaticRepairsPolicy.enabled") {
		return answer{}, conflict("OperationNotAllowed",
			"Automatic repairs are not enabled on the Virtual Machine Scale Set '%s'.", r.name())
	}
	tx.editHidden(c.ID, func(hidden object) { hidden["repairs"] = state })
	if state == "Running" {
		tx.forgive(c.ID)
		tx.watchRepairs(c.ID)
	}
	return tx.act(c, c.ID, modelTime, nil)
}

// act begins an action's operation on a resource.
func (tx *txn) act(c *call, id string, takes time.Duration, args object) (answer, error) {
	r := tx.get(id)
	name := c.Sub[strings.LastIndexByte(c.Sub, '/')+1:]
	return accepted(tx.start(operation{
		Kind: r.Type, Resource: r.ID, Location: location(str(r.Body, "location")), Name: name, Method: c.Method, Args: args,
	}, takes)), nil
}
