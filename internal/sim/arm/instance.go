package arm

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"time"
)

// instanceKind is the kind of a scale set's view of its members. It is not stored: the
// member is a virtual machine, and its instance id is its name.
func instanceKind() kind {
	return kind{
		name: instanceType, orphan: true,
		methods: map[string]handler{
			"LIST":   listInstances,
			"GET":    getInstance,
			"PUT":    putInstance,
			"DELETE": deleteInstance,
		},
		actions: map[string]handler{
			"deallocate":       ofInstance(powerOne("deallocate")),
			"poweroff":         ofInstance(powerOne("poweroff")),
			"restart":          ofInstance(powerOne("restart")),
			"start":            ofInstance(powerOne("start")),
			"reimage":          ofInstance(reimageOne),
			"simulateeviction": ofInstance(evictOne),
			"runcommand":       ofInstance(runCommand),
		},
		reads: map[string]handler{"instanceview": ofInstance(viewOne)},
	}
}

// ofInstance is onInstance as a handler.
func ofInstance(f func(tx *txn, c *call, r *resource) (answer, error)) handler {
	return func(tx *txn, c *call) (answer, error) { return tx.onInstance(c, f) }
}

// onInstance answers with the member that a call names.
func (tx *txn) onInstance(c *call, f func(tx *txn, c *call, r *resource) (answer, error)) (answer, error) {
	up, _ := c.Target.parent()
	if tx.get(up.id()) == nil {
		return answer{}, notFound(up)
	}
	r := tx.member(up.id(), c.Target.name())
	if r == nil {
		return answer{}, notFound(c.Target)
	}
	if boolean(r.Hidden, "vanished") {
		return answer{}, errorf(http.StatusNotFound, "NotFound", "VM Instance %s cannot be found.", r.name())
	}
	return f(tx, c, r)
}

func listInstances(tx *txn, c *call) (answer, error) {
	up, _ := c.Target.parent()
	set := tx.get(up.id())
	if set == nil {
		return answer{}, notFound(up)
	}
	for _, option := range []string{"$expand", "$filter", "$select"} {
		if v := c.query(option); v != "" {
			return answer{}, unknown("%s=%s of the instances of a Flexible scale set: list virtual machines with $filter='virtualMachineScaleSet/id' eq '%s'", option, v, set.ID)
		}
	}
	return tx.server.page(c, tx.listed(set.ID), func(r *resource) (object, error) { return tx.instanceBody(c, set, r), nil })
}

func getInstance(tx *txn, c *call) (answer, error) {
	return tx.onInstance(c, func(tx *txn, c *call, r *resource) (answer, error) {
		a := ok(tx.instanceBody(c, tx.get(setOf(r)), r))
		a.Header = etag(r)
		return a, nil
	})
}

// instanceBody is a member as its scale set sees it.
func (tx *txn) instanceBody(c *call, set, r *resource) object {
	p := object{
		"latestModelApplied":     latestModel(set, r),
		"modelDefinitionApplied": "VirtualMachineScaleSet",
		"protectionPolicy":       object{"protectFromScaleIn": false, "protectFromScaleSetActions": false},
	}
	if str(r.Hidden, "model") == customModel {
		p["modelDefinitionApplied"] = "VirtualMachine"
	}
	if protection := sub(r.Hidden, "protection"); protection != nil {
		p["protectionPolicy"] = clone(protection)
	}
	for _, name := range append([]string{"vmId", "provisioningState", "timeCreated", "diagnosticsProfile", "licenseType"}, ownModel...) {
		if v := dig(r.Body, "properties."+name); v != nil {
			p[name] = cloneAny(v)
		}
	}
	if c.APIVersion >= "2025-11-01" {
		p["virtualMachineResourceId"] = r.ID
	}
	if strings.EqualFold(c.query("$expand"), "instanceView") {
		p["instanceView"] = tx.instanceView(r)
	}
	body := object{
		"id": set.ID + "/virtualMachines/" + r.name(), "name": r.name(), "type": instanceType, "instanceId": r.name(),
		"location": str(r.Body, "location"), "properties": p, "etag": r.ETag,
		"sku": object{"name": str(r.Body, "properties.hardwareProfile.vmSize"), "tier": "Standard"},
	}
	hideSecrets(body, "properties.osProfile")
	for _, name := range []string{"zones", "tags", "identity", "plan"} {
		if v := r.Body[name]; v != nil {
			body[name] = cloneAny(v)
		}
	}
	return body
}

// latestModel is latestModelApplied: a new version behind an image reference does
// not change it, a change of the model does.
func latestModel(set, r *resource) bool {
	if lie, told := dig(r.Hidden, "latest").(bool); told {
		return lie
	}
	return str(r.Hidden, "model") == modelOf(set.Body)
}

// protectionSince is the api-version from which members of Flexible scale sets can
// be protected.
const protectionSince = "2023-09-01"

// putInstance changes a member: its protection, and with a body that names parts of
// its model the model too. That makes the member one of its own, which the set's
// model is not applied to any more.
func putInstance(tx *txn, c *call) (answer, error) {
	return tx.onInstance(c, func(tx *txn, c *call, r *resource) (answer, error) {
		if err := precondition(c, r); err != nil {
			return answer{}, err
		}
		if atWork(r) {
			return answer{}, concurrent()
		}
		p := sub(c.Body, "properties")
		policy, given := p["protectionPolicy"].(object)
		if given {
			if c.APIVersion < protectionSince {
				return answer{}, errorf(http.StatusBadRequest, "BadRequest",
					"Instance protection of a Flexible Virtual Machine Scale Set needs api-version %s or later.", protectionSince)
			}
			if boolean(policy, "protectFromScaleSetActions") && !boolean(policy, "protectFromScaleIn") {
				return answer{}, invalid("protectionPolicy", "protectFromScaleIn cannot be false when protectFromScaleSetActions is true.")
			}
		}
		own := slices.ContainsFunc(ownModel, func(name string) bool { return p[name] != nil })
		if !given && !own {
			return answer{}, unknown("what to change: properties has neither protectionPolicy nor a part of the model")
		}
		if part := changedPart(c.Body, tx.instanceBody(c, tx.get(setOf(r)), r)); part != "" {
			return answer{}, unknown("changes of %s of a member: write its virtual machine", part)
		}
		r = tx.edit(r.ID, func(r *resource) {
			if given {
				r.Hidden["protection"] = object{
					"protectFromScaleIn":         boolean(policy, "protectFromScaleIn"),
					"protectFromScaleSetActions": boolean(policy, "protectFromScaleSetActions"),
				}
			}
			if own {
				r.Hidden["model"] = customModel
			}
		})
		tx.watchRepair(r.ID)
		o := tx.start(operation{
			Kind: vmType, Resource: r.ID, Location: location(str(r.Body, "location")), Name: "protect", Method: c.Method,
		}, modelTime)
		return answer{Status: http.StatusOK, Body: tx.instanceBody(c, tx.get(setOf(r)), r), Header: etag(r), Operation: o}, nil
	})
}

// changedPart is the first part of a member's body, but for its protection, that is
// given and not as it is; "" when there is none.
func changedPart(body, is object) string {
	for _, name := range []string{"sku", "tags", "zones", "identity", "plan"} {
		if v := body[name]; v != nil && !holds(is[name], v) {
			return name
		}
	}
	for _, name := range append([]string{"licenseType", "diagnosticsProfile", "userData", "availabilitySet"}, ownModel...) {
		if v := dig(body, "properties."+name); v != nil && !holds(dig(is, "properties."+name), v) {
			return "properties." + name
		}
	}
	return ""
}

// holds says whether a value has all of what is given of it.
func holds(is, given any) bool {
	switch given := given.(type) {
	case nil:
		return true
	case object:
		is, ok := is.(object)
		for name, v := range given {
			if !ok || !holds(is[name], v) {
				return len(given) == 0
			}
		}
		return true
	case []any:
		is, _ := is.([]any)
		return slices.EqualFunc(is, given, holds)
	}
	return bytes.EqualFold(flat(is), flat(given))
}

func deleteInstance(tx *txn, c *call) (answer, error) {
	up, _ := c.Target.parent()
	r := tx.member(up.id(), c.Target.name())
	if r == nil {
		return answer{Status: http.StatusNoContent}, nil
	}
	if err := precondition(c, r); err != nil {
		return answer{}, err
	}
	return tx.deleteNamed(c, setOf(r), []string{r.ID})
}

// deleteNamed deletes members, and lowers the capacity.
func (tx *txn) deleteNamed(c *call, setID string, ids []string) (answer, error) {
	takes := deleteTime
	for _, id := range ids {
		r := tx.get(id)
		tx.leave(r)
		if r.state() != "Deleting" {
			takes = max(takes, tx.depart(id))
		}
	}
	a, err := tx.act(c, setID, takes+time.Second, nil)
	if err != nil {
		return answer{}, err
	}
	for _, id := range ids {
		tx.editHidden(id, func(hidden object) {
			if told := sub(hidden, "event"); told != nil {
				told["operation"] = a.Operation.ID
			}
		})
	}
	return a, nil
}

// named resolves the instance ids of an action's body: names, or "*" for all.
func (tx *txn) named(c *call, setID string) (ids []string, err error) {
	list, given := c.Body["instanceIds"].([]any)
	if !given || len(list) == 0 {
		return nil, invalid("instanceIds", "Required parameter 'instanceIds' is missing (null).")
	}
	for _, v := range list {
		name, _ := v.(string)
		if name == "*" {
			for _, r := range tx.members(setID) {
				ids = append(ids, r.ID)
			}
			return ids, nil
		}
		r := tx.member(setID, name)
		if r == nil || r.state() == "Deleting" || boolean(r.Hidden, "vanished") {
			return nil, invalid("instanceIds", "The provided instanceId %s is not an active Virtual Machine Scale Set VM instanceId.", name)
		}
		ids = append(ids, r.ID)
	}
	return ids, nil
}

func deleteMembers(tx *txn, c *call) (answer, error) {
	ids, err := tx.named(c, c.ID)
	if err != nil {
		return answer{}, err
	}
	return tx.deleteNamed(c, c.ID, ids)
}

// powerMembers deallocates or starts members of a set: all when no names are given.
func powerMembers(verb string) handler {
	return func(tx *txn, c *call) (answer, error) {
		if c.Body["instanceIds"] == nil {
			c.Body = object{"instanceIds": []any{"*"}}
		}
		ids, err := tx.named(c, c.ID)
		if err != nil {
			return answer{}, err
		}
		return tx.power(c, verb, tx.unshielded(ids))
	}
}

func powerOne(verb string) func(tx *txn, c *call, r *resource) (answer, error) {
	return func(tx *txn, c *call, r *resource) (answer, error) {
		c.ID = r.ID
		return tx.power(c, verb, []string{r.ID})
	}
}

func viewOne(tx *txn, _ *call, r *resource) (answer, error) { return ok(tx.instanceView(r)), nil }

// powers say what becomes of a machine: the power states meanwhile and at the end,
// of which running comes with a boot.
var powers = map[string]struct{ during, end string }{
	"deallocate": {"deallocating", "deallocated"},
	"poweroff":   {"stopping", "stopped"},
	"restart":    {"starting", "running"},
	"start":      {"starting", "running"},
}

// power deallocates, stops, restarts or starts machines. One that does not run is not
// restarted, one that does not hold its host cannot be stopped, and one for which there is
// no host stays where it is.
func (tx *txn) power(c *call, verb string, ids []string) (answer, error) {
	var touched []any
	args := object{}
	for _, id := range ids {
		now := str(tx.get(id).Hidden, "power")
		switch {
		case verb != "restart" && now == powers[verb].end, verb == "restart" && now != "running":
			continue
		case verb == "poweroff" && now != "running":
			return answer{}, conflict("OperationNotAllowed", "Operation 'powerOff' is not allowed on VM '%s' since its power state is %s.", tx.get(id).name(), now)
		}
		if owner := tx.get(setOf(tx.get(id))); verb == "start" && now == "deallocated" && owner != nil {
			if e := tx.refused(owner); e != nil {
				setDefault(args, "refused", fromError(e))
				continue
			}
		}
		tx.setPower(id, powers[verb].during)
		touched = append(touched, id)
	}
	args["members"] = touched
	a, err := tx.act(c, c.ID, powerTime, args)
	if err == nil {
		a.Operation.Name = verb
	}
	return a, err
}

func reimageOne(tx *txn, c *call, r *resource) (answer, error) {
	return tx.reimage(c, r.ID, []string{r.ID})
}

func evictOne(tx *txn, _ *call, r *resource) (answer, error) { return tx.evict(r.ID) }

// evict begins a simulated eviction: it ends after its notice.
func (tx *txn) evict(id string) (answer, error) {
	r := tx.get(id)
	if str(r.Body, "properties.priority") != "Spot" {
		return answer{}, conflict("OperationNotAllowed", "Operation 'simulateEviction' is not allowed on VM '%s' since it is not an Azure Spot VM.", r.name())
	}
	if power := str(r.Hidden, "power"); power != "running" {
		return answer{}, conflict("OperationNotAllowed", "Operation 'simulateEviction' is not allowed on VM '%s' since its power state is %s.", r.name(), power)
	}
	if str(r.Hidden, "event.type") != eventPreempt { // it is under way
		tx.tell(id, eventPreempt, evictTime)
		tx.schedule(tx.now.Add(evictTime), vmType, id, "evicted", nil)
	}
	return answer{Status: http.StatusNoContent}, nil
}
