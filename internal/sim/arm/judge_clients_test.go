package arm_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
)

const (
	inSubscription = "/subscriptions/" + arm.DefaultSubscription
	inGroup        = inSubscription + "/resourceGroups/rg-pay-prod"
	lowerGroup     = inSubscription + "/resourcegroups/rg-pay-prod" // as az and azurerm write it in places
	setPath        = "/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz"
	imagePath      = "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
)

// A request is one that az 2.45 or Terraform's azurerm was seen to make.
type request struct {
	name         string
	method, path string
	body         any // of type func(read map[string]any) any: made of what was read last
	status       int
	code         string
	check        func(t *testing.T, body map[string]any)
}

// version is how az 2.45 writes a gallery version: it knows no excludeFromLatest at
// create, and needs storageProfile.source.
var version = map[string]any{
	"location": "eastus", "tags": map[string]any{},
	"properties": map[string]any{
		"publishingProfile": map[string]any{
			"replicaCount": 1, "excludeFromLatest": false, "storageAccountType": "Standard_LRS",
			"targetRegions": []any{map[string]any{"name": "eastus"}, map[string]any{"name": "westus3", "regionalReplicaCount": 2}},
		},
		"storageProfile": map[string]any{"source": map[string]any{"id": inGroup + "/providers/Microsoft.Compute/images/img"}},
	},
}

// repaired is what az makes of --automatic-repairs-grace-period PT30M.
func repaired(read map[string]any) any {
	body := deepCopy(read)
	properties := body["properties"].(map[string]any)
	properties["automaticRepairsPolicy"] = map[string]any{"enabled": true, "gracePeriod": "PTPT30MM"}
	return body
}

// whole is what az sends for an update: all that it has read, capacity and read-only
// properties too, with the change in it.
func whole(read map[string]any) any {
	body := deepCopy(read)
	body["tags"] = map[string]any{"owner": "payments"}
	return body
}

func deepCopy(v map[string]any) map[string]any {
	text, _ := json.Marshal(v)
	c, _ := armtypes.Decode(text)
	return c.(map[string]any)
}

func has(path ...string) func(*testing.T, map[string]any) {
	return func(t *testing.T, body map[string]any) {
		t.Helper()
		for _, p := range path {
			v, _ := body[p]
			require.NotEmpty(t, v, p)
		}
	}
}

var requests = []request{
	// Before anything else: where is the cloud, and who am I.
	{"azurerm: the cloud's endpoints", "GET", "/metadata/endpoints?api-version=2022-09-01", nil, 200, "", has("authentication", "resourceManager", "suffixes", "name")},
	{"az: the cloud's endpoints", "GET", "/metadata/endpoints?api-version=2015-01-01", nil, 200, "", has("authentication", "graphEndpoint")},
	{"az: subscriptions", "GET", "/subscriptions?api-version=2019-11-01", nil, 200, "", func(t *testing.T, body map[string]any) {
		t.Helper()
		require.Equal(t, arm.DefaultSubscription, body["value"].([]any)[0].(map[string]any)["subscriptionId"])
	}},
	{"az: tenants", "GET", "/tenants?api-version=2019-11-01", nil, 200, "", has("value")},
	{"azurerm: providers", "GET", inSubscription + "/providers?api-version=2022-09-01", nil, 200, "", has("value")},

	{"az group create", "PUT", lowerGroup + "?api-version=2021-04-01", map[string]any{"location": "eastus"}, 201, "", has("id")},
	{"az group show", "GET", lowerGroup + "?api-version=2021-04-01", nil, 200, "", func(t *testing.T, body map[string]any) {
		t.Helper()
		require.Equal(t, "rg-pay-prod", body["name"])
	}},
	{"az group exists", "HEAD", lowerGroup + "?api-version=2021-04-01", nil, 204, "", nil},
	{"az group exists, of another", "HEAD", lowerGroup + "x?api-version=2021-04-01", nil, 404, "", nil},

	{"az sig create", "PUT", inGroup + "/providers/Microsoft.Compute/galleries/galProd?api-version=2022-01-03", map[string]any{"location": "eastus"}, 201, "", nil},
	{"az sig image-definition create", "PUT", inGroup + imagePath + "?api-version=2021-10-01", bodies["microsoft.compute/galleries/images"], 201, "", nil},
	{"az sig image-version create", "PUT", inGroup + imagePath + "/versions/1.8.0?api-version=2022-03-03", version, 201, "", nil},
	{"az sig image-version show", "GET", inGroup + imagePath + "/versions/1.8.0?api-version=2022-03-03&$expand=ReplicationStatus", nil, 200, "", func(t *testing.T, body map[string]any) {
		t.Helper()
		status := body["properties"].(map[string]any)["replicationStatus"].(map[string]any)
		require.Equal(t, "Completed", status["aggregatedState"])
		require.Len(t, status["summary"], 2)
	}},
	{"azurerm: a version", "GET", inGroup + imagePath + "/versions/1.8.0?api-version=2023-07-03", nil, 200, "", has("properties")},
	{"az sig image-version list", "GET", lowerGroup + imagePath + "/versions?api-version=2022-03-03", nil, 200, "", has("value")},

	{"az vmss create", "PUT", inGroup + setPath + "?api-version=2022-08-01", scaleSet, 201, "", has("id")},
	{"az vmss show", "GET", inGroup + setPath + "?api-version=2022-08-01", nil, 200, "", has("sku", "properties")},
	{"azurerm: a scale set", "GET", inGroup + setPath + "?api-version=2025-04-01", nil, 200, "", has("sku", "properties")},
	{"az vmss update: the whole set, with its capacity", "PUT", inGroup + setPath + "?api-version=2022-08-01", whole, 200, "", func(t *testing.T, body map[string]any) {
		t.Helper()
		require.Equal(t, map[string]any{"owner": "payments"}, body["tags"])
		require.Equal(t, json.Number("1"), body["sku"].(map[string]any)["capacity"])
	}},
	{"az vmss show, in lower case", "GET", lowerGroup + "/providers/microsoft.compute/virtualmachinescalesets/VMSS-AUTHZ?api-version=2022-08-01", nil, 200, "", has("sku", "properties")},
	{"az vmss update --automatic-repairs-grace-period PT30M", "PUT", inGroup + setPath + "?api-version=2022-08-01", repaired, 400, "", nil},
	{"az vmss list-instances", "GET", inGroup + setPath + "/virtualMachines?api-version=2022-08-01", nil, 200, "", has("value")},
	{"az vmss get-instance-view", "GET", inGroup + setPath + "/instanceView?api-version=2022-08-01", nil, 409, "OperationNotAllowed", nil},
	{"az vmss update-instances --instance-ids '*'", "POST", inGroup + setPath + "/manualupgrade?api-version=2022-08-01", map[string]any{"instanceIds": []any{"*"}}, 202, "", nil},
	{"az vmss rolling-upgrade cancel, with none", "POST", inGroup + setPath + "/rollingUpgrades/cancel?api-version=2022-08-01", nil, 409, "", nil},
	{"az vmss show, of another", "GET", inGroup + setPath + "x?api-version=2022-08-01", nil, 404, "ResourceNotFound", nil},
	{"az vm list", "GET", lowerGroup + "/providers/Microsoft.Compute/virtualMachines?api-version=2022-08-01", nil, 200, "", has("value")},
	{"az resource show, without a version", "GET", inGroup + setPath, nil, 400, "MissingApiVersionParameter", nil},
	{"az vmss delete", "DELETE", inGroup + setPath + "?api-version=2022-08-01", nil, 202, "", nil},
	{"az group delete", "DELETE", lowerGroup + "?api-version=2021-04-01", nil, 202, "", nil},
	{"az group show, afterwards", "GET", lowerGroup + "?api-version=2021-04-01", nil, 404, "ResourceGroupNotFound", nil},
}

// TestRequestsOfOtherTools makes the requests of az and azurerm, in their order, with
// their versions and spellings.
func TestRequestsOfOtherTools(t *testing.T) {
	c := newCourt(t)
	c.begin()
	var read map[string]any
	for _, r := range requests {
		body := r.body
		if from, made := body.(func(map[string]any) any); made {
			body = from(read)
		}
		a := c.put(r.method, r.path, body)
		if a.status != r.status || r.code != "" && a.code() != r.code {
			t.Errorf("%s: %d %v", r.name, a.status, a.body)
			continue
		}
		if r.check != nil {
			r.check(t, a.body)
		}
		if r.method == http.MethodGet && a.status == http.StatusOK {
			read = a.body
		}
	}
	c.sentReadOnly()
	t.Logf("made %d requests; %v", len(requests), c.proxy.Report())
}

// sentReadOnly fails for each finding but that a whole set was sent back as it was read,
// which is what az does.
func (c *court) sentReadOnly() {
	c.Helper()
	readOnly := 0
	for _, f := range c.proxy.Report().Findings {
		if f.Kind == armtypes.ReadOnly && strings.HasPrefix(f.Exchange, "PUT "+inGroup+setPath) {
			readOnly++
			continue
		}
		c.Error(f)
	}
	require.Positive(c, readOnly, "az sends back what only Azure says")
}

// TestTokensOfOtherTools asks for tokens as az, azurerm and the SDKs do.
func TestTokensOfOtherTools(t *testing.T) {
	c := newCourt(t)
	c.begin()
	for path, form := range map[string]string{
		"/adfs/oauth2/token":                                      "grant_type=client_credentials&client_id=a&client_secret=b&resource=https%3A%2F%2Fmanagement.core.windows.net%2F",
		"/organizations/oauth2/token":                             "grant_type=refresh_token&client_id=a&refresh_token=b&resource=https%3A%2F%2Fmanagement.core.windows.net%2F",
		"/22222222-2222-2222-2222-222222222222/oauth2/v2.0/token": "grant_type=client_credentials&client_id=a&client_secret=b&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		c.server.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, path)
		var token map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &token))
		require.Equal(t, "Bearer", token["token_type"], path)
		require.Equal(t, 2, strings.Count(token["access_token"].(string), "."), "a token has three parts")
		require.Subset(t, slices.Collect(maps.Keys(token)), []string{"access_token", "expires_in"})
	}
}
