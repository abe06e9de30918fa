package arm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const templateBody = `{"location":"eastus","identity":{"type":"UserAssigned","userAssignedIdentities":{"/subscriptions/s/id-aib":{}}},
	"properties":{"source":{"type":"PlatformImage","publisher":"Canonical"},"customize":[],"distribute":[{"type":"SharedImage","runOutputName":"out"}]}}`

func TestTemplatesAreStored(t *testing.T) {
	w := newWorld(t)
	id := group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.8.0"
	put := w.do("PUT", id+"?api-version=2024-02-01", templateBody).want(201)
	w.do("DELETE", id, nil).refused(409, "Conflict")
	w.finished(put)
	require.Contains(t, w.do("PUT", id, templateBody).refused(409, "Conflict"), "Update/Upgrade of image templates is currently not supported")
	w.do("PATCH", id, `{"properties":{"source":{"publisher":"Other"}}}`).refused(409, "Conflict")
	w.do("PATCH", id, `{"tags":{"fleetctl":"hash"}}`).want(200)
	require.Equal(t, "hash", str(w.get(id).body, "tags.fleetctl"))
	for _, action := range []string{"run", "cancel"} {
		require.Equal(t, "fleetsim does not build images yet", w.do("POST", id+"/"+action, nil).refused(501, "NotSimulated"))
	}
	w.do("POST", id+"x/run", nil).refused(404, "ResourceNotFound")
	require.Empty(t, items(w.get(id+"/runOutputs").want(200).body, "value"))
	w.finished(w.do("DELETE", id, nil).want(202))

	w.do("PUT", id+"?api-version=2024-02-01", strings.Replace(templateBody, "customize", "Customize", 1)).refused(400, "ValidationFailed")
	w.do("PUT", id+"?api-version=2022-07-01", strings.Replace(templateBody, "customize", "Customize", 1)).want(201)
	w.do("PUT", id+"2", strings.Replace(templateBody, `"customize":[]`, `"buildTimeoutInMinutes":5`, 1)).refused(400, "ValidationFailed")
	w.do("PUT", id+"3", `{"location":"eastus","properties":{}}`).refused(400, "InvalidParameter")
}

const autoscaleBody = `{"location":"eastus","properties":{"enabled":true,"targetResourceUri":"/subscriptions/s/vmss-authz",
	"profiles":[{"name":"default","capacity":{"minimum":"3","maximum":"30","default":"3"},"rules":[]}]}}`

func TestAutoscaleSettings(t *testing.T) {
	w := newWorld(t)
	id := group + "/providers/microsoft.insights/autoscaleSettings/as-authz"
	put := w.do("PUT", id, autoscaleBody).want(201)
	require.Equal(t, "Microsoft.Insights/autoscalesettings", put.body["type"])
	require.Equal(t, "as-authz", str(put.body, "properties.name"))
	require.Empty(t, put.header.Get("Azure-AsyncOperation"))
	w.do("PATCH", id, `{"properties":{"enabled":false},"tags":{"a":"b"}}`).want(200)
	got := w.get(id).body
	require.Equal(t, false, dig(got, "properties.enabled"))
	require.Equal(t, "30", str(items(got, "properties.profiles")[0], "capacity.maximum"))
	for name, change := range map[string][2]string{
		"bounds":      {`"default":"3"`, `"default":"31"`},
		"numbers":     {`"minimum":"3"`, `"minimum":3`},
		"no profile":  {`"profiles":[`, `"profiles":[],"x":[`},
		"no name":     {`"name":"default",`, ``},
		"scale mode":  {`"enabled":true`, `"predictiveAutoscalePolicy":{"scaleMode":"forecastOnly"}`},
		"no location": {`"location":"eastus",`, ``},
	} {
		body := strings.Replace(autoscaleBody, change[0], change[1], 1)
		require.NotEqual(t, autoscaleBody, body, name)
		w.do("PUT", id, body).want(400)
	}
}

func TestIdentities(t *testing.T) {
	w := newWorld(t)
	id := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib"
	first := w.do("PUT", id, `{"location":"eastus"}`).want(201)
	second := w.do("PUT", strings.ToUpper(id), `{"location":"eastus","tags":{"a":"b"}}`).want(200)
	require.NotEmpty(t, str(first.body, "properties.principalId"))
	require.Equal(t, first.body["properties"], second.body["properties"])
	other := w.do("PUT", id+"2", `{"location":"eastus"}`).want(201)
	require.NotEqual(t, str(first.body, "properties.principalId"), str(other.body, "properties.principalId"))
	w.do("PUT", id+"/federatedIdentityCredentials/github", `{"properties":{"issuer":"https://token.actions.githubusercontent.com"}}`).want(201)
}

func TestSubnetsAreBoth(t *testing.T) {
	w := newWorld(t)
	id := group + "/providers/Microsoft.Network/virtualNetworks/vnet-pay"
	put := w.do("PUT", id, `{"location":"eastus","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
		"subnets":[{"name":"app","properties":{"addressPrefix":"10.0.1.0/24"}},{"name":"aci","properties":{"addressPrefix":"10.0.2.0/24"}}]}}`).want(201)
	require.Len(t, items(put.body, "properties.subnets"), 2)
	require.Equal(t, "10.0.1.0/24", str(w.get(id+"/subnets/app").want(200).body, "properties.addressPrefix"))
	w.do("PUT", id+"/subnets/db", `{"properties":{"addressPrefix":"10.0.3.0/24"}}`).want(201)
	require.Len(t, items(w.get(id).body, "properties.subnets"), 3)
	w.do("PATCH", id, `{"tags":{"a":"b"}}`).want(200)
	require.Len(t, items(w.get(id).body, "properties.subnets"), 3)
	w.do("PUT", id, `{"location":"eastus","properties":{"subnets":[{"name":"app","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`).want(200)
	w.get(id+"/subnets/db").refused(404, "ResourceNotFound")
	w.do("PUT", id, `{"location":"eastus","properties":{"subnets":[{}]}}`).refused(400, "InvalidRequestFormat")
}

func TestRoleAssignments(t *testing.T) {
	w := newWorld(t)
	w.finished(w.do("PUT", galProd, `{"location":"eastus"}`).want(201))
	const list = "/providers/Microsoft.Authorization/roleAssignments"
	const body = `{"properties":{"roleDefinitionId":"/r/contributor","principalId":"p1"}}`
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
