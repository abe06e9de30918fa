package arm

import (
	"net/http"
	"slices"
)

const machineExtType = vmType + "/extensions"

// machineExtensionKind is the kind of the extensions of a machine: those that came
// with its set's model and those that were put on it alone. Hidden in the machine,
// under "extensions", each has name, publisher, type, version and settings; of one that
// was put, "resource" is its body.
func machineExtensionKind() kind {
	return kind{
		name: machineExtType, orphan: true,
		methods: map[string]handler{
			"LIST":   listMachineExtensions,
			"GET":    getMachineExtension,
			"PUT":    writeMachineExtension,
			"PATCH":  writeMachineExtension,
			"DELETE": deleteMachineExtension,
		},
	}
}

func machineExtensionView(r *resource, e object) object {
	v := clone(sub(e, "resource"))
	if v == nil {
		v = object{"location": str(r.Body, "location"), "properties": object{
			"publisher": str(e, "publisher"), "type": str(e, "type"), "typeHandlerVersion": modelVersion(str(e, "version")),
			"autoUpgradeMinorVersion": true,
		}}
	}
	remove(v, "properties.protectedSettings")
	v["id"], v["name"], v["type"] = r.ID+"/extensions/"+str(e, "name"), str(e, "name"), machineExtType
	set(v, "properties.provisioningState", statusSucceeded)
	return v
}

func listMachineExtensions(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := []any{}
	for _, e := range items(r.Hidden, "extensions") {
		list = append(list, machineExtensionView(r, e))
	}
	return ok(object{"value": list}), nil
}

func getMachineExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := items(r.Hidden, "extensions")
	i := extensionIn(list, c.Target.name())
	if i < 0 {
		return answer{}, notFound(c.Target)
	}
	return ok(machineExtensionView(r, list[i])), nil
}

// writeMachineExtension puts or patches an extension of one machine.
func writeMachineExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	if c.Body == nil {
		return answer{}, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is empty: an extension is expected.")
	}
	list := items(r.Hidden, "extensions")
	i := extensionIn(list, c.Target.name())
	body := clone(c.Body)
	if c.Method == http.MethodPatch {
		if i < 0 {
			return answer{}, notFound(c.Target)
		}
		old := machineExtensionView(r, list[i])
		if secret := dig(list[i], "resource.properties.protectedSettings"); secret != nil {
			set(old, "properties.protectedSettings", secret)
		}
		body = merge(old, c.Body)
	}
	for _, name := range []string{"id", "name", "type"} {
		delete(body, name)
	}
	setDefault(body, "location", str(r.Body, "location"))
	e := object{
		"name": c.Target.name(), "publisher": str(body, "properties.publisher"), "type": str(body, "properties.type"),
		"version": handlerVersion(str(body, "properties.typeHandlerVersion")), "settings": cloneAny(dig(body, "properties.settings")),
		"resource": body,
	}
	status := http.StatusOK
	if i >= 0 {
		list[i] = e
	} else {
		list, status = append(list, e), http.StatusCreated
	}
	o := tx.writeMachineExtensions(c, r, list)
	v := machineExtensionView(r, e)
	set(v, "properties.provisioningState", map[int]string{http.StatusOK: "Updating", http.StatusCreated: "Creating"}[status])
	return answer{Status: status, Body: v, Operation: o}, nil
}

func deleteMachineExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := items(r.Hidden, "extensions")
	i := extensionIn(list, c.Target.name())
	if i < 0 {
		return answer{Status: http.StatusNoContent}, nil
	}
	return accepted(tx.writeMachineExtensions(c, r, slices.Delete(list, i, i+1))), nil
}

// writeMachineExtensions writes a machine's extensions. A health extension that comes
// begins to report after a while; without one there is no health.
func (tx *txn) writeMachineExtensions(c *call, r *resource, list []object) *operation {
	all := make([]any, len(list))
	for i, e := range list {
		all[i] = e
	}
	reported := reportsHealth(r)
	tx.editHidden(r.ID, func(hidden object) { hidden["extensions"] = all })
	if !reported && reportsHealth(tx.get(r.ID)) {
		tx.expectReport(tx.get(r.ID))
	}
	return tx.start(operation{
		Kind: vmType, Resource: r.ID, Location: location(str(r.Body, "location")), Name: "extension", Method: c.Method,
	}, modelTime)
}
