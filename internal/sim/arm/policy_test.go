package arm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPoliciesDenyWrites(t *testing.T) {
	w := applied(t, images+`
policies:
  - {name: Allowed sizes, type: Microsoft.Compute/virtualMachineScaleSets, field: sku.name, allowed: [Standard_D4as_v5]}
  - {name: Tags are needed, type: Microsoft.Compute/virtualMachineScaleSets, field: tags.owner}
`)
	denied := w.do("PUT", aSet, model(t, 0))
	require.Contains(t, denied.refused(403, "RequestDisallowedByPolicy"), `Resource 'vmss-authz' was disallowed by policy. Policy identifiers: '[{"policyAssignment":{"name":"Allowed sizes"`)
	require.Contains(t, denied.raw, `"path":"sku.name"`)
	size := at("sku.name", "Standard_D4as_v5")
	require.Contains(t, w.do("PUT", aSet, model(t, 0, size)).refused(403, "RequestDisallowedByPolicy"), "Tags are needed")
	w.do("PUT", aSet, model(t, 0, size, at("tags", object{"owner": "payments"}))).want(201)
}

func TestLinkedResourcesNeedARight(t *testing.T) {
	w := applied(t, images+"caller: {not_actions: [\"Microsoft.Network/virtualNetworks/subnets/join/*\"]}\n")
	message := w.do("PUT", aSet, model(t, 0)).refused(403, "LinkedAuthorizationFailed")
	require.Contains(t, message, "action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '"+group+"/providers/Microsoft.Network/virtualNetworks/vnet/subnets/app'")
	w.get(aSet).want(404)
	w = applied(t, images)
	w.do("PUT", aSet, model(t, 0)).want(201)
}
