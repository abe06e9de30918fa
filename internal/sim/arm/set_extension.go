package arm

import (
	"net/http"
	"slices"
	"strings"
)

// setExtensionKind is the kind of the extensions of a scale set's model: a view of a
// part of the set's body. Writing one of them leaves the others, and the protected
// settings that are not written, as they are.
func setExtensionKind() kind {
	return kind{
		name: setExtType, orphan: true,
		methods: map[string]handler{
			"LIST":   listSetExtensions,
			"GET":    getSetExtension,
			"PUT":    writeSetExtension,
			"PATCH":  writeSetExtension,
			"DELETE": deleteSetExtension,
		},
	}
}

// owner is the scale set of a call to one of its parts.
func (tx *txn) owner(c *call) (*resource, error) {
	up, _ := c.Target.parent()
	if r := tx.get(up.id()); r != nil {
		return r, nil
	}
	return nil, notFound(up)
}

// extensionIn is the index of an extension of a model by its name, or -1.
func extensionIn(list []object, name string) int {
	return slices.IndexFunc(list, func(e object) bool { return strings.EqualFold(str(e, "name"), name) })
}

func setExtensionView(set *resource, e object) object {
	v := clone(e)
	remove(v, "properties.protectedSettings")
	v["id"], v["type"] = set.ID+"/extensions/"+str(e, "name"), setExtType
	setDefault(v, "properties.provisioningState", statusSucceeded)
	return v
}

func listSetExtensions(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := []any{}
	for _, e := range items(r.Body, extensionPath) {
		list = append(list, setExtensionView(r, e))
	}
	return ok(object{"value": list}), nil
}

func getSetExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := items(r.Body, extensionPath)
	i := extensionIn(list, c.Target.name())
	if i < 0 {
		return answer{}, notFound(c.Target)
	}
	return ok(setExtensionView(r, list[i])), nil
}

// writeSetExtension puts or patches an extension: a write of the set's model.
func writeSetExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	if c.Body == nil {
		return answer{}, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is empty: an extension is expected.")
	}
	list := items(r.Body, extensionPath)
	i := extensionIn(list, c.Target.name())
	e := clone(c.Body)
	if c.Method == http.MethodPatch {
		if i < 0 {
			return answer{}, notFound(c.Target)
		}
		e = merge(list[i], c.Body)
	}
	for _, name := range []string{"id", "type"} {
		delete(e, name)
	}
	e["name"] = c.Target.name()
	remove(e, "properties.provisioningState")
	for _, name := range []string{"publisher", "type", "typeHandlerVersion"} {
		if str(e, "properties."+name) == "" {
			return answer{}, invalid(name, "Required parameter '%s' is missing (null).", name)
		}
	}
	status := http.StatusOK
	if i >= 0 {
		list[i] = e
	} else {
		list, status = append(list, e), http.StatusCreated
	}
	o, err := tx.writeExtensions(c, r, list)
	if err != nil {
		return answer{}, err
	}
	v := setExtensionView(r, e)
	set(v, "properties.provisioningState", map[int]string{http.StatusOK: "Updating", http.StatusCreated: "Creating"}[status])
	return answer{Status: status, Body: v, Operation: o}, nil
}

func deleteSetExtension(tx *txn, c *call) (answer, error) {
	r, err := tx.owner(c)
	if err != nil {
		return answer{}, err
	}
	list := items(r.Body, extensionPath)
	i := extensionIn(list, c.Target.name())
	if i < 0 {
		return answer{Status: http.StatusNoContent}, nil
	}
	o, err := tx.writeExtensions(c, r, slices.Delete(list, i, i+1))
	if err != nil {
		return answer{}, err
	}
	return accepted(o), nil
}

// writeExtensions writes the extensions of a model as a PATCH of the set would. Where the
// one before began a rolling upgrade, the next waits for its end.
func (tx *txn) writeExtensions(c *call, r *resource, list []object) (*operation, error) {
	if rollingForward(r) {
		return nil, conflict("OperationNotAllowed",
			"The extensions of the Virtual Machine Scale Set '%s' cannot be changed while a Rolling Upgrade is in progress.", r.name())
	}
	all := make([]any, len(list))
	for i, e := range list {
		all[i] = e
	}
	inner := *c
	inner.Method, inner.ID, inner.Target, inner.Header = http.MethodPatch, r.ID, mustParse(r.ID), http.Header{}
	inner.Body = object{"properties": object{"virtualMachineProfile": object{"extensionProfile": object{"extensions": all}}}}
	a, err := tx.server.patchResource(tx, &inner, tx.server.kind(setType))
	return a.Operation, err
}

// mustParse is the target of an id of the store.
func mustParse(id string) target {
	t, _ := parsePath(id) // it was parsed when it was stored
	return t
}
