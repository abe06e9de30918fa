package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	subscription = "11111111-1111-1111-1111-111111111111"
	groupID      = "/subscriptions/" + subscription + "/resourceGroups/rg-pay-prod"
	compute      = groupID + "/providers/Microsoft.Compute/"
	authz        = compute + "virtualMachineScaleSets/vmss-authz"
)

// env returns a lookup of variables: env("A", "1", "B", "2").
func env(pairs ...string) func(string) string {
	values := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

// clientOf returns a client of a simulator.
func clientOf(t *testing.T, server *httptest.Server) *Client {
	t.Helper()
	c, err := New(Config{Auth: authDefault, Getenv: env(EndpointVariable, server.URL)})
	require.NoError(t, err)
	return c
}

// A canned is a server of what it was given, in pages.
type canned struct {
	pageSize int
	lists    map[string][]string // by path in lower case, of JSON values
	things   map[string]string   // by path in lower case
	failPage int                 // of every list, from 1: the page that fails; 0: none
	failList string              // the only list that it fails of, by path in lower case; "": all

	mu       sync.Mutex
	requests []string // "GET PATH?QUERY" without api-version
}

func (c *canned) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

func (c *canned) start(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return server
}

func (c *canned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	version := query.Get("api-version")
	query.Del("api-version")
	c.mu.Lock()
	c.requests = append(c.requests, r.Method+" "+r.URL.Path+"?"+query.Encode())
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if version == "" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":{"code":"MissingApiVersionParameter"}}`)
		return
	}
	path := strings.ToLower(r.URL.Path)
	if filter := query.Get("$filter"); filter != "" {
		path += "?" + strings.ToLower(filter)
	}
	if values, ok := c.lists[path]; ok {
		c.page(w, r, values, c.failList == "" || c.failList == path)
		return
	}
	if thing, ok := c.things[path]; ok {
		_, _ = fmt.Fprint(w, thing)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = fmt.Fprintf(w, `{"error":{"code":"ResourceNotFound","message":"The Resource '%s' was not found."}}`, r.URL.Path)
}

func (c *canned) page(w http.ResponseWriter, r *http.Request, values []string, fails bool) {
	skip, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	if fails && c.failPage > 0 && skip/c.pageSize == c.failPage-1 {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":{"code":"BadRequest","message":"no such page"}}`)
		return
	}
	end := min(skip+c.pageSize, len(values))
	answer := map[string]any{"value": rawValues(values[skip:end])}
	if end < len(values) {
		query := r.URL.Query()
		query.Set("$skiptoken", strconv.Itoa(end))
		answer["nextLink"] = "http://" + r.Host + r.URL.EscapedPath() + "?" + query.Encode()
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func rawValues(values []string) []json.RawMessage {
	raw := make([]json.RawMessage, len(values))
	for i, v := range values {
		raw[i] = json.RawMessage(v)
	}
	return raw
}

// setID is the id of the n-th scale set, memberID of its m-th member.
func setID(n int) fleet.ResourceID {
	return fleet.ResourceID(fmt.Sprintf("%svirtualMachineScaleSets/vmss-%02d", compute, n))
}

// fleetOf is a group with sets of members, and a gallery with an image of versions.
func fleetOf(sets, members, versions, pageSize int) *canned {
	c := &canned{pageSize: pageSize, lists: make(map[string][]string), things: make(map[string]string)}
	galleryID := compute + "galleries/galProd"
	imageID := galleryID + "/images/ubuntu-app"
	add := func(path, value string) {
		path = strings.ToLower(path)
		c.lists[path] = append(c.lists[path], value)
	}
	for n := range sets {
		id := string(setID(n))
		set := fmt.Sprintf(`{"id":%q,"name":"vmss-%02d","location":"East US","sku":{"name":"Standard_D2as_v5","capacity":%d},"properties":{
			"orchestrationMode":"Flexible","newThing":{"a":1},
			"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"%s/versions/1.0.0"}}}}}`, id, n, members, imageID)
		add(compute+"virtualMachineScaleSets", set)
		c.things[strings.ToLower(id)] = set
		add(groupID+"/providers/Microsoft.Insights/autoscaleSettings",
			fmt.Sprintf(`{"id":"%s/providers/Microsoft.Insights/autoscaleSettings/as-%02d","location":"eastus","properties":{"enabled":true,"targetResourceUri":%q,"profiles":[{"name":"p","capacity":{"minimum":"3","maximum":"30","default":"3"},"rules":[]}]}}`, groupID, n, strings.ToUpper(id)))
		for m := range members {
			name := fmt.Sprintf("vmss-%02d_%04d", n, m)
			add(id+"/virtualMachines", fmt.Sprintf(`{"id":"%s/virtualMachines/%s","name":%q,"instanceId":%q,"location":"eastus","properties":{"latestModelApplied":true}}`, id, name, name, name))
			add(compute+"virtualMachines?'virtualMachineScaleSet/id' eq '"+id+"'", fmt.Sprintf(`{"id":"%svirtualMachines/%s","name":%q,"location":"eastus","properties":{
				"storageProfile":{"imageReference":{"id":"%s/versions/1.0.0","exactVersion":"1.0.0"}},
				"instanceView":{"statuses":[{"code":"ProvisioningState/succeeded"},{"code":"PowerState/running"}],"vmHealth":{"status":{"code":"HealthState/healthy"}}}}}`, compute, name, name, imageID))
		}
		c.lists[strings.ToLower(id+"/osUpgradeHistory")] = []string{}
		c.things[strings.ToLower(id+"/rollingUpgrades/latest")] = `{"properties":{"runningStatus":{"code":"Completed"},"progress":{"successfulInstanceCount":3}}}`
	}
	gallery := fmt.Sprintf(`{"id":%q,"name":"galProd","location":"eastus"}`, galleryID)
	add(compute+"galleries", gallery)
	c.things[strings.ToLower(galleryID)] = gallery
	add(galleryID+"/images", fmt.Sprintf(`{"id":%q,"name":"ubuntu-app","location":"eastus","properties":{"osType":"Linux","osState":"Generalized","identifier":{"publisher":"kloudvin","offer":"ubuntu","sku":"app-jammy"}}}`, imageID))
	for n := range versions {
		version := fmt.Sprintf(`{"id":"%s/versions/1.%d.0","name":"1.%d.0","location":"eastus","properties":{"publishingProfile":{"targetRegions":[{"name":"East US","regionalReplicaCount":3}]},"replicationStatus":{"aggregatedState":"Completed","summary":[{"region":"East US","state":"Completed","progress":100}]}}}`, imageID, n, n)
		add(imageID+"/versions", version)
		c.things[strings.ToLower(fmt.Sprintf("%s/versions/1.%d.0", imageID, n))] = version
	}
	add(groupID+"/providers/Microsoft.VirtualMachineImages/imageTemplates",
		fmt.Sprintf(`{"id":"%s/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.0.0","name":"ubuntu-app-1.0.0","location":"eastus","properties":{"provisioningState":"Succeeded","lastRunStatus":{"runState":"Succeeded"}}}`, groupID))
	for _, name := range namespaces() {
		c.things[strings.ToLower("/subscriptions/"+subscription+"/providers/"+name)] = `{"registrationState":"Registered"}`
	}
	return c
}

// everything is a scope that reads the group whole.
func everything() Scope {
	return Scope{
		Subscription: subscription, ResourceGroup: "rg-pay-prod",
		Members: true, Upgrades: true, History: true, Autoscale: true, Images: true, Templates: true, Providers: true,
	}
}

// A handlerTransport answers requests without a network, so that a test's clock can
// be virtual.
type handlerTransport struct {
	http.Handler
	calls atomic.Int64
}

func (h *handlerTransport) Do(req *http.Request) (*http.Response, error) {
	h.calls.Add(1)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// transportFunc is a network that does what it says.
type transportFunc func(req *http.Request) (*http.Response, error)

func (f transportFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }

// with returns a client whose network is transport, and the waits that it told.
func with(t *testing.T, transport policy.Transporter) (*Client, *[]string) {
	t.Helper()
	var waits []string
	c, err := New(Config{
		Auth: authDefault, Getenv: env(EndpointVariable, "http://127.0.0.1:1"), testOnlyTransport: transport,
		Waiting: func(w Wait) { waits = append(waits, w.String()) },
	})
	require.NoError(t, err)
	return c, &waits
}
