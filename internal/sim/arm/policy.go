package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// policySpec is an assignment of Azure Policy: it denies writes of a type of resource whose
// field has another value than it allows.
type policySpec struct {
	Name    string   `yaml:"name" required:"true" doc:"of the assignment"`
	Type    string   `yaml:"type" required:"true" doc:"of the resources that it is for: Microsoft.Compute/virtualMachineScaleSets"`
	Field   string   `yaml:"field" required:"true" doc:"the property that it looks at: sku.name"`
	Allowed []string `yaml:"allowed" doc:"what the property may be; without it, anything but nothing"`
}

// object is the policy as the store keeps it.
func (p *policySpec) object() object {
	allowed := make([]any, len(p.Allowed))
	for i, value := range p.Allowed {
		allowed[i] = value
	}
	return object{"name": p.Name, "type": p.Type, "field": p.Field, "allowed": allowed}
}

// disallowed is the first policy that denies a write, as Azure words it, or nil.
func (tx *txn) disallowed(w *write) error {
	settings := tx.get(accessSettings)
	if settings == nil {
		return nil
	}
	for _, p := range items(settings.Hidden, "policies") {
		if !strings.EqualFold(str(p, "type"), w.Target.kind()) || w.Method == http.MethodDelete {
			continue
		}
		field, value := str(p, "field"), dig(w.Body, str(p, "field"))
		allowed, _ := p["allowed"].([]any)
		fits := slices.ContainsFunc(allowed, func(one any) bool { return sameText(one, value) })
		if value != nil && (fits || len(allowed) == 0) {
			continue
		}
		return policyError(w, p, field, value, allowed)
	}
	return nil
}

func policyError(w *write, p object, field string, value any, allowed []any) error {
	name := guid("policy", str(p, "name"))
	scope := "/subscriptions/" + w.Target.subscription + "/providers/Microsoft.Authorization/"
	e := errorf(http.StatusForbidden, "RequestDisallowedByPolicy", "Resource '%s' was disallowed by policy. Policy identifiers: "+
		`'[{"policyAssignment":{"name":"%s","id":"%spolicyAssignments/%s"},"policyDefinition":{"name":"%s","id":"%spolicyDefinitions/%s"}}]'.`,
		w.Target.name(), str(p, "name"), scope, name, str(p, "name"), scope, name)
	e.Target = w.Target.name()
	looked := object{"result": "False", "expressionKind": "Field", "expression": w.Target.kind() + "/" + field, "path": field, "operator": "Exists", "targetValue": "true"}
	if len(allowed) > 0 {
		looked["operator"], looked["targetValue"] = "In", allowed
	}
	if value != nil {
		looked["expressionValue"] = value
	}
	e.Info = object{"type": "PolicyViolation", "info": object{
		"policyAssignmentDisplayName": str(p, "name"), "policyDefinitionEffect": "Deny",
		"evaluationDetails": object{"evaluatedExpressions": []any{
			object{"result": "True", "expressionKind": "Field", "expression": "type", "path": "type", "expressionValue": w.Target.kind(), "targetValue": str(p, "type"), "operator": "Equals"},
			looked,
		}},
	}}
	return e
}

// linkedActions are what a caller has to be allowed on the resources that a body names.
var linkedActions = map[string]string{
	"microsoft.network/virtualnetworks/subnets":           "Microsoft.Network/virtualNetworks/subnets/join/action",
	"microsoft.network/loadbalancers/backendaddresspools": "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
	"microsoft.compute/galleries/images/versions":         "Microsoft.Compute/galleries/images/versions/read",
	"microsoft.managedidentity/userassignedidentities":    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
}

// authorizeLinks refuses a write that names a resource which the caller may not use.
func (tx *txn) authorizeLinks(c *call) error {
	patterns := tx.callerNotActions()
	if len(patterns) == 0 || c.Method == http.MethodPost {
		return nil
	}
	for _, id := range idsIn(c.Body) {
		t, err := parsePath(id)
		if err != nil || t.collection() {
			continue
		}
		action := linkedActions[strings.ToLower(t.kind())]
		if action == "" || !anyMatches(patterns, action) {
			continue
		}
		who := principal(c.Header)
		return errorf(http.StatusForbidden, "LinkedAuthorizationFailed", "The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; "+
			"however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
			who, who, actionOf(c), strings.TrimSuffix(c.Target.id(), "/"), action, id)
	}
	return nil
}

// idsIn are the ids of resources that a body names, as values or as keys.
func idsIn(v any) []string {
	var ids []string
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "/subscriptions/") {
			ids = append(ids, v)
		}
	case []any:
		for _, one := range v {
			ids = append(ids, idsIn(one)...)
		}
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			ids = append(append(ids, idsIn(name)...), idsIn(v[name])...)
		}
	}
	return ids
}
