package arm

import (
	"strings"
	"testing"

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
