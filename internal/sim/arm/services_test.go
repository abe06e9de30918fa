package arm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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
