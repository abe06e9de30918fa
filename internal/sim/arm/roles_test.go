package arm

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRoleAssignments(t *testing.T) {
	w := newWorld(t)
	w.finished(w.do("PUT", galProd, `{"location":"eastus"}`).want(201))
	const list = "/providers/Microsoft.Authorization/roleAssignments"
	const body = `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c","principalId":"p1"}}`
	name := func(n string) string { return list + "/00000000-0000-0000-0000-00000000000" + n }
	put := w.do("PUT", galProd+name("1"), body).want(201)
	require.Equal(t, galProd, str(put.body, "properties.scope"))
	require.Equal(t, "ServicePrincipal", str(put.body, "properties.principalType"))
	w.do("PUT", galProd+name("2"), body).refused(409, "RoleAssignmentExists")
	w.do("PUT", galProd+name("1"), strings.Replace(body, "p1", "p2", 1)).refused(400, "RoleAssignmentUpdateNotPermitted")
	w.do("PUT", galProd+list+"/one", body).refused(400, "InvalidRoleAssignmentId")
	w.do("PUT", group+name("3"), strings.Replace(body, "p1", "p2", 1)).want(201)
	w.do("PUT", thing+name("4"), body).refused(404, "ParentResourceNotFound")

	count := func(path string) int { return len(items(w.get(path).want(200).body, "value")) }
	require.Equal(t, 2, count(group+list), "at the group and below")
	require.Equal(t, 2, count(galProd+list), "at the gallery and above")
	require.Equal(t, 1, count(group+list+"?$filter=atScope()"))
	require.Equal(t, 1, count("/subscriptions/"+DefaultSubscription+list+"?$filter=principalId%20eq%20'P2'"))
	require.Equal(t, 1, count(group+list+"?$filter=assignedTo('p1')"))
	w.get(group+list+"?$filter=odd").refused(501, "NotSimulated")
	require.Equal(t, []any{"*"}, items(w.get(group+"/providers/Microsoft.Authorization/permissions").want(200).body, "value")[0]["actions"])

	w.finished(w.do("DELETE", galProd, nil).want(202))
	require.Equal(t, 1, count(group+list), "it went with the gallery")
}

const (
	rolesPath   = "/providers/Microsoft.Authorization/roleDefinitions"
	builderRole = "/subscriptions/" + DefaultSubscription + rolesPath + "/11111111-2222-4333-a444-555555555555"
)

// aRole is a custom role with actions.
func aRole(name string, actions ...any) object {
	return object{"properties": object{"roleName": name, "assignableScopes": []any{group}, "permissions": []any{object{"actions": actions, "notActions": []any{}}}}}
}

func TestRoleDefinitions(t *testing.T) {
	w := newWorld(t)
	subscription := "/subscriptions/" + DefaultSubscription
	put := w.do("PUT", group+rolesPath+"/11111111-2222-4333-a444-555555555555", aRole("Image Builder", "Microsoft.Compute/images/read")).want(201)
	require.Equal(t, builderRole, put.body["id"], "it is of the subscription")
	require.Equal(t, "CustomRole", str(put.body, "properties.type"))
	require.Equal(t, put.body, w.get(group+rolesPath+"/11111111-2222-4333-a444-555555555555").want(200).body)
	w.do("PUT", builderRole, aRole("Image Builder", "Microsoft.Compute/images/write")).want(201)
	w.do("PUT", subscription+rolesPath+"/21111111-2222-4333-a444-555555555555", aRole("image builder")).refused(409, "RoleDefinitionWithSameNameExists")
	w.do("PUT", subscription+rolesPath+"/21111111-2222-4333-a444-555555555555", aRole("Reader")).refused(409, "RoleDefinitionWithSameNameExists")
	w.do("PUT", subscription+rolesPath+"/acdd72a7-3385-48ef-bd42-f606fba81ae7", aRole("Reader")).refused(400, "RoleDefinitionUpdateNotAllowed")
	w.do("PUT", subscription+rolesPath+"/builder", aRole("x")).refused(400, "InvalidRoleDefinitionId")
	noScope := aRole("x")
	set(noScope, "properties.assignableScopes", []any{})
	w.do("PUT", subscription+rolesPath+"/21111111-2222-4333-a444-555555555555", noScope).refused(400, "MissingAssignableScopes")
	set(noScope, "properties.assignableScopes", []any{"rg-pay-prod"})
	w.do("PUT", subscription+rolesPath+"/21111111-2222-4333-a444-555555555555", noScope).refused(400, "LinkedInvalidPropertyId")
	w.do("PATCH", builderRole, `{}`).refused(501, "NotSimulated")

	names := func(path string) (names []string) {
		for _, r := range items(w.get(path).want(200).body, "value") {
			names = append(names, str(r, "properties.roleName"))
		}
		return names
	}
	require.Contains(t, names(group+rolesPath), "Image Builder")
	require.NotContains(t, names(subscription+rolesPath), "Image Builder", "it cannot be assigned there")
	require.Equal(t, []string{"Image Builder"}, names(subscription+rolesPath+"?$filter=atScopeAndBelow()%20and%20type%20eq%20'CustomRole'"))
	require.Equal(t, []string{"Storage Blob Data Reader"}, names(subscription+rolesPath+"?$filter=roleName%20eq%20'storage%20blob%20data%20reader'"))
	w.get(subscription+rolesPath+"?$filter=odd").refused(501, "NotSimulated")
	for _, known := range []string{"2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "b24988ac-6180-42a0-ab88-20f7382dd24c", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "f1a07417-d97a-45cb-824c-7a7467783830"} {
		require.Equal(t, "BuiltInRole", str(w.get(subscription+rolesPath+"/"+known).want(200).body, "properties.type"))
	}
	w.get(subscription+rolesPath+"/21111111-2222-4333-a444-555555555555").refused(404, "RoleDefinitionDoesNotExist")

	assignment := group + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001"
	w.do("PUT", assignment, object{"properties": object{"roleDefinitionId": builderRole + "0", "principalId": "p"}}).refused(400, "RoleDefinitionDoesNotExist")
	w.do("PUT", assignment, object{"properties": object{"roleDefinitionId": builderRole, "principalId": "p"}}).want(201)
	w.do("DELETE", builderRole, nil).refused(400, "RoleDefinitionHasAssignments")
	w.do("DELETE", assignment, nil).want(200)
	require.Equal(t, builderRole, w.do("DELETE", builderRole, nil).want(200).body["id"])
	w.do("DELETE", builderRole, nil).want(204)
}

// TestRoleTakesEffectLate: from the foundation to a template that Image Builder takes.
func TestRoleTakesEffectLate(t *testing.T) {
	w := applied(t, strings.Split(workshop, "roles:")[0]+"roles: {effective_after: 5m}\n")
	w.do("PUT", identityID, `{"location":"eastus"}`).want(201)
	principal := str(w.get(identityID).body, "properties.principalId")
	all := []any{"Microsoft.Compute/galleries/read", "Microsoft.Compute/galleries/images/*", "Microsoft.Compute/images/read", "Microsoft.Compute/images/write"}
	w.do("PUT", builderRole, aRole("Image Builder", all...)).want(201)
	w.do("PUT", group+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001",
		object{"properties": object{"roleDefinitionId": builderRole, "principalId": principal}}).want(201)
	try := func() string {
		w.do("PUT", templateID, aTemplate()).want(201)
		w.clock.Advance(time.Minute)
		why := str(w.get(templateID).body, "properties.provisioningError.message")
		w.clock.Advance(2 * time.Minute)
		w.finished(w.do("DELETE", templateID, nil).want(202))
		return why
	}
	denied := "does not have authorization to perform action '%' over scope '" + group + "' or the scope is invalid."
	require.Contains(t, try(), "The client '"+principal+"' with object id '"+principal+"' does not have authorization to perform action 'Microsoft.Compute/galleries/read'", "not yet")
	w.clock.Advance(2 * time.Minute)
	require.Contains(t, try(), strings.Replace(denied, "%", "Microsoft.Compute/images/delete", 1))
	w.do("PUT", builderRole, aRole("Image Builder", append(all, "microsoft.compute/IMAGES/delete")...)).want(201)
	require.Empty(t, try(), "a role that is changed counts at once")
	broad := aRole("Image Builder", "*")
	set(broad, "properties.permissions", []any{object{"actions": []any{"*"}, "notActions": []any{"*/versions/write"}}})
	w.do("PUT", builderRole, broad).want(201)
	require.Contains(t, try(), "Microsoft.Compute/galleries/images/versions/write")
}

func TestActionMatches(t *testing.T) {
	for pattern, matches := range map[string]bool{
		"*": true, "*/read": true, "Microsoft.Compute/*": true, "microsoft.compute/IMAGES/read": true, "Microsoft.*/images/*": true, "*/images/*/x": false,
		"Microsoft.Compute/images/write": false, "Microsoft.Compute/images": false, "Microsoft.Compute/images/read/action": false, "": false, "*read*read": false,
	} {
		require.Equal(t, matches, actionMatches(pattern, "Microsoft.Compute/images/read"), pattern)
	}
}

// TestCaller: what the scenario takes from the caller is refused, and shown.
func TestCaller(t *testing.T) {
	w := applied(t, workshop+"caller: {not_actions: [Microsoft.Authorization/*/write, '*/register/action', Microsoft.VirtualMachineImages/imageTemplates/run/action, Microsoft.Storage/*/read]}\n")
	role := group + rolesPath + "/11111111-2222-4333-a444-555555555555"
	message := w.do("PUT", role, aRole("x")).refused(403, "AuthorizationFailed")
	who := guid("principal", "caller")
	require.Equal(t, "The client '"+who+"' with object id '"+who+"' does not have authorization to perform action 'Microsoft.Authorization/roleDefinitions/write' over scope '"+role+
		"' or the scope is invalid. If access was recently granted, please refresh your credentials.", message)
	w.get(group + rolesPath).want(200)
	w.do("POST", "/subscriptions/"+DefaultSubscription+"/providers/Microsoft.Compute/register", nil).refused(403, "AuthorizationFailed")
	w.get(group+"/providers/Microsoft.Storage/storageAccounts").refused(403, "AuthorizationFailed")
	w.created(aTemplate())
	require.Contains(t, w.do("POST", templateID+"/run", nil).refused(403, "AuthorizationFailed"), "imageTemplates/run/action")
	not := dig(items(w.get(group+"/providers/Microsoft.Authorization/permissions").want(200).body, "value")[0], "notActions")
	require.Contains(t, not, "Microsoft.Authorization/*/write")

	token := jwt(object{"oid": "33333333-3333-4333-a333-333333333333"})
	require.Contains(t, w.do("PUT", role, aRole("x"), "Authorization", "Bearer "+token).refused(403, "AuthorizationFailed"), "The client '33333333-3333-4333-a333-333333333333'")
	require.Contains(t, w.do("PUT", role, aRole("x"), "Authorization", "Bearer a.b.c").refused(403, "AuthorizationFailed"), who)
	w = applied(t, "caller: {not_actions: [Microsoft.Resources/subscriptions/resourceGroups/write]}")
	w.do("PUT", group+"2", `{"location":"eastus"}`).refused(403, "AuthorizationFailed")
	w.get(group).want(200)
}
