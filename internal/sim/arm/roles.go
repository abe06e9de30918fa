package arm

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	roleAssignmentType = "Microsoft.Authorization/roleAssignments"
	roleDefinitionType = "Microsoft.Authorization/roleDefinitions"
)

// guidName is what the name of a role assignment or of a role looks like.
var guidName = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// A role is one of those that Azure brings along.
type role struct {
	id, name            string
	actions, notActions []any
	dataActions         []any
}

// builtInRoles are those that are known by id.
var builtInRoles = []role{
	{id: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", name: "Owner", actions: []any{"*"}},
	{
		id: "b24988ac-6180-42a0-ab88-20f7382dd24c", name: "Contributor", actions: []any{"*"},
		notActions: []any{
			"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
			"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
			"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
		},
	},
	{id: "acdd72a7-3385-48ef-bd42-f606fba81ae7", name: "Reader", actions: []any{"*/read"}},
	{
		id: "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", name: "User Access Administrator",
		actions: []any{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"},
	},
	{
		id: "f1a07417-d97a-45cb-824c-7a7467783830", name: "Managed Identity Operator",
		actions: []any{
			"Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
			"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Resources/subscriptions/resourceGroups/read",
			"Microsoft.Resources/deployments/*", "Microsoft.Support/*",
		},
	},
	{id: "9980e02c-c2be-4d73-94e8-173b1dc7cf3c", name: "Virtual Machine Contributor", actions: []any{"Microsoft.Compute/virtualMachines/*", "Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.Compute/disks/*"}},
	{id: "4d97b98b-1d4f-4787-a291-c67834d212e7", name: "Network Contributor", actions: []any{"Microsoft.Network/*", "Microsoft.Authorization/*/read"}},
	{
		id: "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", name: "Storage Blob Data Reader",
		actions: []any{
			"Microsoft.Storage/storageAccounts/blobServices/containers/read",
			"Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
		},
		dataActions: []any{"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"},
	},
	{
		id: "ba92f5b4-2d11-453d-a403-e96b0029c9fe", name: "Storage Blob Data Contributor",
		actions:     []any{"Microsoft.Storage/storageAccounts/blobServices/containers/*"},
		dataActions: []any{"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"},
	},
	{
		id: "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", name: "Storage Blob Data Owner",
		actions:     []any{"Microsoft.Storage/storageAccounts/blobServices/containers/*"},
		dataActions: []any{"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"},
	},
}

// body is the role as Azure returns it.
func (r *role) body(subscription string) object {
	list := func(v []any) []any { return append([]any{}, v...) }
	return object{
		"id": roleID(subscription, r.id), "name": r.id, "type": roleDefinitionType,
		"properties": object{
			"roleName": r.name, "type": "BuiltInRole", "description": "", "assignableScopes": []any{"/"},
			"permissions": []any{object{"actions": list(r.actions), "notActions": list(r.notActions), "dataActions": list(r.dataActions), "notDataActions": []any{}}},
		},
	}
}

// roleID is the id of a role: it is of the subscription wherever it was asked for.
func roleID(subscription, name string) string {
	return "/subscriptions/" + subscription + "/providers/" + roleDefinitionType + "/" + name
}

// roleNamed returns the body of a role by the last segment of its id, or nil.
func (tx *txn) roleNamed(name string) object {
	subscription := tx.server.cfg.Subscription
	for i := range builtInRoles {
		if strings.EqualFold(builtInRoles[i].id, name) {
			return builtInRoles[i].body(subscription)
		}
	}
	r := tx.get(roleID(subscription, name))
	if r == nil {
		return nil
	}
	body := clone(r.Body)
	body["id"], body["name"], body["type"] = r.ID, r.name(), r.Type
	return body
}

// roleDefinitions is the kind of roles: those of Azure and custom ones. All are kept
// at the subscription.
func roleDefinitions() kind {
	return kind{
		name: roleDefinitionType, bare: true, orphan: true,
		methods: map[string]handler{
			"LIST":  listRoles,
			"GET":   getRole,
			"PUT":   putRole,
			"PATCH": func(_ *txn, c *call) (answer, error) { return answer{}, unknown("PATCH of %s", c.Target.kind()) },
			"DELETE": func(tx *txn, c *call) (answer, error) {
				r := tx.get(roleID(tx.server.cfg.Subscription, c.Target.name()))
				if r == nil {
					return answer{Status: http.StatusNoContent}, nil
				}
				if tx.roleIsAssigned(r.ID) {
					return answer{}, errorf(http.StatusBadRequest, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role '%s'.", str(r.Body, "properties.roleName"))
				}
				body := tx.roleNamed(r.name())
				tx.delete(r.ID)
				return ok(body), nil
			},
		},
	}
}

// roleIsAssigned says whether an assignment refers to a role.
func (tx *txn) roleIsAssigned(id string) bool {
	return slices.ContainsFunc(tx.assignments(), func(a *resource) bool {
		return strings.EqualFold(lastSegment(str(a.Body, "properties.roleDefinitionId")), lastSegment(id))
	})
}

// assignments are all role assignments.
func (tx *txn) assignments() []*resource {
	return tx.list(roleAssignmentType, "/subscriptions/"+tx.server.cfg.Subscription)
}

func lastSegment(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func getRole(tx *txn, c *call) (answer, error) {
	body := tx.roleNamed(c.Target.name())
	if body == nil {
		return answer{}, errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", strings.ReplaceAll(c.Target.name(), "-", ""))
	}
	return ok(body), nil
}

func putRole(tx *txn, c *call) (answer, error) {
	name := c.Target.name()
	if !guidName.MatchString(name) {
		return answer{}, errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID '%s' is not valid. The role definition ID must be a GUID.", name)
	}
	id := roleID(tx.server.cfg.Subscription, name)
	old := tx.get(id)
	if old == nil && tx.roleNamed(name) != nil {
		return answer{}, errorf(http.StatusBadRequest, "RoleDefinitionUpdateNotAllowed", "The role '%s' is a built-in role and cannot be updated.", name)
	}
	body := clone(c.Body)
	if err := checkRole(tx, id, body); err != nil {
		return answer{}, err
	}
	for _, key := range []string{"id", "name", "type"} {
		delete(body, key)
	}
	set(body, "properties.type", "CustomRole")
	set(body, "properties.updatedOn", stamp(tx.now))
	set(body, "properties.createdOn", stamp(tx.now))
	if old != nil {
		set(body, "properties.createdOn", str(old.Body, "properties.createdOn"))
	}
	tx.put(resource{ID: id, Type: roleDefinitionType, Body: body})
	return answer{Status: http.StatusCreated, Body: tx.roleNamed(name)}, nil
}

// checkRole says whether a custom role may be as its body says.
func checkRole(tx *txn, id string, body object) error {
	if err := need(body, "roleDefinition", "properties.roleName", "properties.permissions"); err != nil {
		return err
	}
	name := str(body, "properties.roleName")
	scopes, _ := dig(body, "properties.assignableScopes").([]any)
	if len(scopes) == 0 {
		return errorf(http.StatusBadRequest, "MissingAssignableScopes", "The role definition '%s' has no assignable scopes. At least one is required.", name)
	}
	for _, s := range scopes {
		scope, _ := s.(string)
		if !strings.HasPrefix(strings.ToLower(scope), "/subscriptions/") && !strings.HasPrefix(strings.ToLower(scope), "/providers/microsoft.management/managementgroups/") {
			return errorf(http.StatusBadRequest, "LinkedInvalidPropertyId", "Property id '%s' at path 'properties.assignableScopes' is invalid. Expect fully qualified resource Id that start with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.", scope)
		}
	}
	for _, other := range tx.allRoles() {
		if strings.EqualFold(str(other, "properties.roleName"), name) && !strings.EqualFold(str(other, "id"), id) {
			return conflict("RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name.")
		}
	}
	return nil
}

// allRoles are the bodies of Azure's roles and of the custom ones.
func (tx *txn) allRoles() []object {
	var all []object
	for i := range builtInRoles {
		all = append(all, builtInRoles[i].body(tx.server.cfg.Subscription))
	}
	for _, r := range tx.list(roleDefinitionType, "/subscriptions/"+tx.server.cfg.Subscription) {
		all = append(all, tx.roleNamed(r.name()))
	}
	return all
}

// roleCondition is a part of a filter of roles.
var roleCondition = regexp.MustCompile(`(?i)^(rolename|type) eq '([^']*)'$`)

// listRoles lists the roles that can be assigned at a scope, by name and type.
func listRoles(tx *txn, c *call) (answer, error) {
	values := []any{}
	below := false
	conditions := map[string]string{}
	for part := range splitWords(strings.TrimSpace(c.query("$filter")), " and ") {
		part = strings.TrimSpace(part)
		if m := roleCondition.FindStringSubmatch(part); m != nil {
			conditions[strings.ToLower(m[1])] = m[2]
			continue
		}
		switch strings.ToLower(part) {
		case "atscopeandbelow()":
			below = true
		default:
			return answer{}, unknown("the $filter '%s' of roles", part)
		}
	}
	for _, r := range tx.allRoles() {
		name, wantName := conditions["rolename"]
		typ, wantType := conditions["type"]
		if assignable(r, c.Target.scope, below) && (!wantName || strings.EqualFold(name, str(r, "properties.roleName"))) &&
			(!wantType || strings.EqualFold(typ, str(r, "properties.type"))) {
			values = append(values, r)
		}
	}
	return ok(object{"value": values}), nil
}

// assignable says whether a role can be assigned at a scope, or below it.
func assignable(role object, scope string, below bool) bool {
	scopes, _ := dig(role, "properties.assignableScopes").([]any)
	return slices.ContainsFunc(scopes, func(v any) bool {
		s, _ := v.(string)
		return s == "/" || covers(s, scope) || below && covers(scope, s)
	})
}

// covers says whether a scope is at or above another.
func covers(above, at string) bool { return strings.HasPrefix(key(at)+"/", key(above)+"/") }

// accessSettings is the id of the hidden resource that holds what a scenario says of who
// may do what.
const accessSettings = "/fleetsim/access"

// effectiveAfter is how long a new role assignment takes to take effect.
func (tx *txn) effectiveAfter() time.Duration {
	if r := tx.get(accessSettings); r != nil {
		d, _ := time.ParseDuration(str(r.Hidden, "effectiveAfter")) // written by this program
		return d
	}
	return 0
}

// roleAssignments is the kind of role assignments, at any scope. They count for
// identities of image templates, from some time after they were made.
func roleAssignments() kind {
	return kind{
		name: roleAssignmentType,
		bare: true,
		complete: func(tx *txn, w *write) error {
			if !guidName.MatchString(w.Target.name()) {
				return errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", w.Target.name())
			}
			if err := need(w.Body, "roleAssignment", "properties.roleDefinitionId", "properties.principalId"); err != nil {
				return err
			}
			if err := checkAssignment(tx, w); err != nil {
				return err
			}
			setDefault(w.Body, "properties.principalType", "ServicePrincipal")
			set(w.Body, "properties.scope", tx.canonicalScope(w.Target))
			set(w.Body, "properties.updatedOn", stamp(tx.now))
			setDefault(w.Body, "properties.createdOn", stamp(tx.now))
			if w.create() {
				w.Hidden = object{"effective": tx.now.Add(tx.effectiveAfter()).Format(time.RFC3339Nano)}
			}
			return nil
		},
		methods: map[string]handler{"LIST": listRoleAssignments},
	}
}

// checkAssignment refuses an assignment of a role that is not there, a second one, and
// a change of one.
func checkAssignment(tx *txn, w *write) error {
	definition := str(w.Body, "properties.roleDefinitionId")
	if tx.roleNamed(lastSegment(definition)) == nil {
		return errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", strings.ReplaceAll(lastSegment(definition), "-", ""))
	}
	if w.Old != nil {
		for _, path := range []string{"properties.roleDefinitionId", "properties.principalId"} {
			if !same(dig(w.Old.Body, path), dig(w.Body, path)) {
				return errorf(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
			}
		}
		return nil
	}
	scope := key(tx.canonicalScope(w.Target))
	for _, other := range tx.list(roleAssignmentType, w.Target.scope) {
		if assignmentScope(other) == scope && same(dig(other.Body, "properties.principalId"), dig(w.Body, "properties.principalId")) &&
			strings.EqualFold(lastSegment(str(other.Body, "properties.roleDefinitionId")), lastSegment(definition)) {
			return conflict("RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(other.name(), "-", ""))
		}
	}
	return nil
}

// assignmentScope is the scope of a role assignment, as the store knows it.
func assignmentScope(r *resource) string {
	scope, _, _ := cutFold(r.ID, "/providers/"+roleAssignmentType)
	return key(scope)
}

// listRoleAssignments lists those that count at a scope: at it, above it and, without
// the filter atScope(), below it.
func listRoleAssignments(tx *txn, c *call) (answer, error) {
	filter := strings.TrimSpace(c.query("$filter"))
	principal := ""
	var onlyAbove bool
	switch fields := strings.Fields(filter); {
	case filter == "":
	case strings.EqualFold(filter, "atScope()"):
		onlyAbove = true
	case len(fields) == 3 && strings.EqualFold(fields[0], "principalId") && strings.EqualFold(fields[1], "eq"):
		principal = strings.Trim(fields[2], "'")
	case strings.HasPrefix(strings.ToLower(filter), "assignedto("):
		principal = strings.Trim(filter[len("assignedto("):], "'()")
	default:
		return answer{}, unknown("the $filter '%s' of role assignments", filter)
	}
	at := key(c.Target.scope) + "/"
	var all []*resource
	for _, r := range tx.assignments() {
		scope := assignmentScope(r) + "/"
		above, below := strings.HasPrefix(at, scope), strings.HasPrefix(scope, at)
		if (above || below && !onlyAbove) && (principal == "" || strings.EqualFold(principal, str(r.Body, "properties.principalId"))) {
			all = append(all, r)
		}
	}
	return tx.server.page(c, all, tx.server.viewer(tx, c))
}

// allowed says whether an identity may do something at a scope now: by an assignment
// there or above that has taken effect, and its role as it is now.
func (tx *txn) allowed(principal, action, scope string, data bool) bool {
	for _, a := range tx.assignments() {
		if !strings.EqualFold(str(a.Body, "properties.principalId"), principal) || !covers(assignmentScope(a), scope) {
			continue
		}
		if t, err := time.Parse(time.RFC3339Nano, str(a.Hidden, "effective")); err == nil && t.After(tx.now) {
			continue
		}
		if grants(tx.roleNamed(lastSegment(str(a.Body, "properties.roleDefinitionId"))), action, data) {
			return true
		}
	}
	return false
}

// grants says whether a role has an action.
func grants(role object, action string, data bool) bool {
	with, without := "actions", "notActions"
	if data {
		with, without = "dataActions", "notDataActions"
	}
	return slices.ContainsFunc(items(role, "properties.permissions"), func(p object) bool {
		return anyMatches(p[with], action) && !anyMatches(p[without], action)
	})
}

// anyMatches says whether one of a list of patterns matches an action.
func anyMatches(patterns any, action string) bool {
	list, _ := patterns.([]any)
	return slices.ContainsFunc(list, func(v any) bool {
		p, _ := v.(string)
		return actionMatches(p, action)
	})
}

// actionMatches matches a pattern of actions, in which * stands for any text, without
// regard to case.
func actionMatches(pattern, action string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	rest, begins := strings.CutPrefix(strings.ToLower(action), parts[0])
	if !begins {
		return false
	}
	if len(parts) == 1 {
		return rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[last])
}

// notAuthorized is the text that Azure has for somebody who may not do something.
func notAuthorized(who, action, scope string) string {
	return "The client '" + who + "' with object id '" + who + "' does not have authorization to perform action '" + action + "' over scope '" + scope +
		"' or the scope is invalid. If access was recently granted, please refresh your credentials."
}

// callerNotActions are what the caller may not do, as patterns.
func (tx *txn) callerNotActions() []any {
	if r := tx.get(accessSettings); r != nil {
		list, _ := r.Hidden["notActions"].([]any)
		return list
	}
	return nil
}

// permissions is the kind of what a caller may do at a scope: everything, but for what
// the scenario takes away.
func permissions() kind {
	return kind{
		name: "Microsoft.Authorization/permissions", orphan: true,
		methods: map[string]handler{"LIST": func(tx *txn, _ *call) (answer, error) {
			return ok(object{"value": []any{object{
				"actions": []any{"*"}, "notActions": append([]any{}, tx.callerNotActions()...), "dataActions": []any{}, "notDataActions": []any{},
			}}}), nil
		}},
	}
}

// authorize refuses what the caller may not do. Nobody is kept from reading what he
// may do, nor from polling what he began.
func (tx *txn) authorize(c *call) error {
	patterns := tx.callerNotActions()
	if len(patterns) == 0 {
		return nil
	}
	action := actionOf(c)
	if action == "" || !anyMatches(patterns, action) {
		return nil
	}
	return errorf(http.StatusForbidden, "AuthorizationFailed", "%s", notAuthorized(principal(c.Header), action, strings.TrimSuffix(c.Target.id(), "/")))
}

// actionOf is the action that a call needs, or "" for none.
func actionOf(c *call) string {
	t := c.Target
	kind := t.kind()
	switch {
	case t.namespace == "" && t.group != "":
		kind = groupAction
	case t.namespace == "" || len(t.types) == 0, strings.EqualFold(kind, "Microsoft.Authorization/permissions"), strings.EqualFold(t.types[0], "locations"):
		return ""
	}
	switch c.Method {
	case http.MethodGet, http.MethodHead:
		return kind + "/read"
	case http.MethodPut, http.MethodPatch:
		return kind + "/write"
	case http.MethodDelete:
		return kind + "/delete"
	}
	return kind + "/action" // the last type is the action's name
}

// groupAction begins the actions on resource groups.
const groupAction = "Microsoft.Resources/subscriptions/resourceGroups"

// claims are what the token of a request says of who sent it.
type claims struct {
	OID string `json:"oid"`
	UPN string `json:"upn"` // of people
}

func claimsOf(h http.Header) (c claims) {
	if parts := strings.Split(h.Get("Authorization"), "."); len(parts) == 3 {
		if data, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(data, &c) != nil {
			return claims{}
		}
	}
	return c
}

// principal is the object id of who sent a request: what its token says, or always the
// same.
func principal(h http.Header) string {
	if c := claimsOf(h); guidName.MatchString(c.OID) {
		return c.OID
	}
	return guid("principal", "caller")
}

// userName is a user principal name.
var userName = regexp.MustCompile(`^[A-Za-z0-9._#+-]{1,100}@[A-Za-z0-9.-]{1,100}$`)

// caller is who sent a request as the activity log has it: people by their name.
func caller(h http.Header) string {
	if c := claimsOf(h); userName.MatchString(c.UPN) {
		return c.UPN
	}
	return principal(h)
}
