package judgeproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

const (
	group   = "/subscriptions/1/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/"
	gallery = `{"id": "` + group + `galleries/galProd", "name": "galProd", "type": "Microsoft.Compute/galleries", "location": "eastus"}`
	set     = `{"id": "` + group + `virtualMachineScaleSets/vmss-authz", "name": "vmss-authz", "type": "Microsoft.Compute/virtualMachineScaleSets", "location": "eastus"}`
)

// An exchange through the proxy, and what it is judged to be: the kind and the path of
// each finding.
var exchanges = map[string]struct {
	method, path, sent string
	status             int
	header             map[string]string
	answered           string
	want               []string
}{
	"a resource": {method: "GET", path: group + "galleries/galProd", answered: gallery},
	"a resource with a property that the type does not have": {
		method: "GET", path: group + "galleries/galProd", answered: strings.Replace(gallery, "location", "place", 1),
		want: []string{"unknown $.place", "missing $.location"},
	},
	"a resource of another name": {
		method: "GET", path: group + "galleries/galTest", answered: gallery, want: []string{"envelope $.id"},
	},
	"a resource without its type": {
		method: "GET", path: group + "galleries/galProd", answered: strings.Replace(gallery, `"type"`, `"tags"`, 1),
		want: []string{"envelope $.type", "type $.tags"},
	},
	"a PUT": {method: "PUT", path: group + "galleries/galProd", sent: `{"location": "eastus"}`, status: 201, answered: gallery},
	"a PUT with what only Azure says": {
		method: "PUT", path: group + "galleries/galProd", sent: `{"location": "eastus", "properties": {"provisioningState": "Succeeded"}}`, status: 201, answered: gallery,
		want: []string{"read-only $.properties.provisioningState"},
	},
	"a PUT without what is required": {
		method: "PUT", path: group + "galleries/galProd", sent: `{}`, status: 400, answered: `{"error": {"code": "LocationRequired", "message": "The location property is required."}}`,
		want: []string{"missing $.location"},
	},
	"a PUT that is no JSON": {
		method: "PUT", path: group + "galleries/galProd", sent: `{`, status: 400, answered: `{"error": {"code": "InvalidRequestContent", "message": "No JSON."}}`,
		want: []string{"envelope $"},
	},
	"a PATCH requires nothing": {method: "PATCH", path: group + "galleries/galProd", sent: `{"tags": {"owner": "payments"}}`, answered: gallery},
	"a PATCH of the wrong type": {
		method: "PATCH", path: group + "galleries/galProd", sent: `{"tags": "payments"}`, answered: gallery, want: []string{"type $.tags"},
	},
	"an action": {method: "POST", path: group + "virtualMachines/vm/runCommand", sent: `{"commandId": "RunShellScript"}`, answered: `{"value": []}`},
	"an action with unknown words, either way": {
		method: "POST", path: group + "virtualMachines/vm/runCommand", sent: `{"command": "RunShellScript"}`, answered: `{"values": []}`,
		want: []string{"unknown $.command", "missing $.commandId", "unknown $.values"},
	},
	"an action that goes on": {
		method: "POST", path: group + "virtualMachineScaleSets/vmss-authz/manualupgrade", sent: `{"instanceIds": ["a"]}`, status: 202,
		header: map[string]string{"Location": "https://management.azure.com/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operationResults/1?api-version=2026-04-01"},
	},
	"an action that goes on, nobody knows where": {
		method: "POST", path: group + "virtualMachineScaleSets/vmss-authz/manualupgrade", sent: `{"instanceIds": ["a"]}`, status: 202,
		want: []string{"envelope Location"},
	},
	"an operation at a relative address": {
		method: "DELETE", path: group + "virtualMachineScaleSets/vmss-authz", status: 202,
		header: map[string]string{"Azure-AsyncOperation": "/operations/1?api-version=2026-04-01"}, want: []string{"envelope Azure-AsyncOperation"},
	},
	"a list": {method: "GET", path: group + "galleries", answered: `{"value": [` + gallery + `], "nextLink": "http://127.0.0.1:1/x?api-version=2025-12-03&$skiptoken=1"}`},
	"a list in a region": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/virtualMachineScaleSets",
		answered: `{"value": [` + strings.Replace(set, "location", "locality", 1) + `]}`, want: []string{"unknown $.value[0].locality", "missing $.value[0].location"},
	},
	"a list without its value":         {method: "GET", path: group + "galleries", answered: `{"values": []}`, want: []string{"envelope $.value"}},
	"a list of words":                  {method: "GET", path: group + "galleries", answered: `{"value": ["galProd"]}`, want: []string{"envelope $.value[0]"}},
	"a list that goes on with nothing": {method: "GET", path: group + "galleries", answered: `{"value": [], "nextLink": ""}`, want: []string{"envelope $.nextLink"}},
	"a type in another case":           {method: "GET", path: group + "galleries/galProd", answered: strings.Replace(gallery, "Compute/galleries\"", "Compute/Galleries\"", 1)},
	"a provider":                       {method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute", answered: `{"id": "/subscriptions/1/providers/Microsoft.Compute", "namespace": "Microsoft.Compute"}`},
	"the cloud":                        {method: "GET", path: "/metadata/endpoints", answered: `{"name": "fleetsim"}`},
	"another provider": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute", answered: `{"id": "/subscriptions/1/providers/Microsoft.Network"}`, want: []string{"envelope $.id"},
	},
	"an instance view": {method: "GET", path: group + "virtualMachines/vm/instanceView", answered: `{"vmHealth": {"status": {"code": "HealthState/healthy"}}}`},
	"an instance view with another word": {
		method: "GET", path: group + "virtualMachines/vm/instanceView", answered: `{"health": {}}`, want: []string{"unknown $.properties.instanceView.health"},
	},
	"an operation under way": {method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operations/1", answered: `{"name": "1", "status": "InProgress"}`},
	"an operation that failed": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operations/1", answered: `{"status": "Failed", "error": {"code": "AllocationFailed", "message": "No capacity."}}`,
	},
	"an operation that failed without a word": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operations/1", answered: `{"status": "Failed"}`, want: []string{"envelope $.error"},
	},
	"an operation that succeeded with an error": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operations/1", answered: `{"status": "Succeeded", "error": {}}`, want: []string{"envelope $.error"},
	},
	"an operation without a status": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operations/1", answered: `{}`, want: []string{"envelope $.status"},
	},
	"the result of an operation": {
		method: "GET", path: "/subscriptions/1/providers/Microsoft.Compute/locations/eastus/operationResults/1", answered: strings.Replace(set, "location", "locality", 1),
		want: []string{"unknown $.locality", "missing $.location"},
	},
	"an answer that is no JSON":   {method: "GET", path: group + "galleries/galProd", answered: `<html>`, want: []string{"envelope $"}},
	"an answer that is no object": {method: "GET", path: group + "galleries/galProd", answered: `[]`, want: []string{"envelope $"}},
	"an answer of another media type": {
		method: "GET", path: group + "galleries/galProd", answered: gallery, header: map[string]string{"Content-Type": "text/plain"}, want: []string{"envelope Content-Type"},
	},
	"an error that is a page":      {method: "GET", path: group + "galleries/galProd", status: 502, answered: `<html>`, want: []string{"envelope $"}},
	"an error without its code":    {method: "GET", path: group + "galleries/galProd", status: 404, answered: `{"error": {"code": "not found", "message": "It is not there."}}`, want: []string{"envelope $.error.code"}},
	"an error without words":       {method: "GET", path: group + "galleries/galProd", status: 404, answered: `{"error": {"code": "NotFound"}}`, want: []string{"envelope $.error.message"}},
	"too many requests":            {method: "GET", path: group + "galleries", status: 429, header: map[string]string{"Retry-After": "17"}, answered: `{"error": {"code": "OperationNotAllowed", "message": "Slow down."}}`},
	"too many requests, and again": {method: "GET", path: group + "galleries", status: 429, answered: `{"error": {"code": "OperationNotAllowed", "message": "Slow down."}}`, want: []string{"envelope Retry-After"}},
	"a type that nobody published": {method: "PUT", path: group + "disks/osdisk", sent: `{"any": 1}`, status: 200, answered: `{"id": "` + group + `disks/osdisk", "name": "osdisk", "type": "Microsoft.Compute/disks", "any": 1}`},
}

func TestExchanges(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	for name, tt := range exchanges {
		t.Run(name, func(t *testing.T) {
			var sent []byte
			p := New(Config{Types: types, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent, _ = io.ReadAll(r.Body)
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				for name, value := range tt.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(max(tt.status, 200))
				_, _ = io.WriteString(w, tt.answered)
			})})
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path+"?api-version=2026-04-01", strings.NewReader(tt.sent)))
			require.Equal(t, tt.sent, string(sent), "what the simulator gets")
			require.Equal(t, max(tt.status, 200), w.Code)
			require.Equal(t, tt.answered, w.Body.String(), "what the client gets")
			var got []string
			for _, f := range p.Report().Findings {
				require.True(t, strings.HasPrefix(f.Exchange, tt.method+" "+tt.path+": "), f.Exchange)
				got = append(got, fmt.Sprintf("%s %s", f.Kind, f.Path))
			}
			require.Equal(t, tt.want, got)
			require.Equal(t, 1, p.Report().Requests)
		})
	}
}

func TestTheReportCounts(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	p := New(Config{Types: types, Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, gallery)
	})})
	for range 3 {
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "PUT", group+"galleries/galProd?api-version=2025-12-03", strings.NewReader(`{"location": "eastus"}`)))
	}
	require.Equal(t, "judged 3 requests: 3 PUT bodies, 3 answers; of 1 types; 0 findings", p.Report().String())
}

// patch is what a client has for the body of a PATCH.
type patch struct {
	Tags       map[string]string `json:"tags,omitempty"`
	Properties *struct {
		Zones []int `json:"zones,omitempty"`
	} `json:"properties,omitempty"`
}

func TestBodiesAreDecodedStrictly(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	for body, want := range map[string][]string{
		`{"tags": {"owner": "payments"}, "properties": {"zones": [1, 2]}}`: nil,
		`{"tags": null}`:                              nil,
		`{"tag": {"owner": "payments"}}`:              {"lost $.tag"},
		`{"properties": {"zone": [1], "zones": [2]}}`: {"lost $.properties.zone"},
		`{"properties": {"zones": ["1"]}}`:            {"lost $"},
	} {
		p := New(Config{
			Types: types,
			Next:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
			Into: func(method string, target armtypes.Target) any {
				if method == "PATCH" && target.Type == "Microsoft.Compute/disks" {
					return &patch{}
				}
				return nil
			},
		})
		for method, want := range map[string][]string{"PATCH": want, "POST": nil} {
			before := len(p.Report().Findings)
			p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, group+"disks/osdisk?api-version=2025-01-02", strings.NewReader(body)))
			var got []string
			for _, f := range p.Report().Findings[before:] {
				got = append(got, fmt.Sprintf("%s %s", f.Kind, f.Path))
			}
			require.Equal(t, want, got, body)
		}
		require.Equal(t, 1, p.Report().Judged["bodies decoded strictly"])
	}
}

// A request of which only the body is judged, and what it is judged to be.
func TestSent(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	sent := map[string]int{}
	for _, tt := range []struct {
		method, path, body string
		want               []string
		counted            string
	}{
		{"PUT", group + "galleries/galProd", `{"location": "eastus"}`, nil, "PUT Microsoft.Compute/galleries"},
		{"PUT", group + "galleries/galProd", `{"place": "eastus"}`, []string{"unknown $.place", "missing $.location"}, "PUT Microsoft.Compute/galleries"},
		{"PATCH", group + "galleries/galProd", `{"tags": {}}`, []string{"unjudged $"}, ""},
		{"POST", group + "virtualMachines/vm/runCommand", `{"commandId": "RunShellScript"}`, []string{"unjudged $"}, ""},
		{"POST", group + "virtualMachines/vm/start", ``, nil, ""},
		{"PUT", group + "disks/osdisk", `{"zone": 1}`, []string{"lost $.zone"}, "PUT Microsoft.Compute/disks"},
		{"POST", group + "disks/osdisk/beginGetAccess", `{"zone": 1}`, []string{"lost $.zone"}, "POST Microsoft.Compute/disks beginGetAccess"},
		{"POST", group + "disks/osdisk/beginGetAccess", ``, []string{"missing $"}, ""},
		{"PUT", group + "snapshots/s", `{}`, []string{"unjudged $"}, ""},
		{"PATCH", group + "galleries/galProd", ``, []string{"missing $"}, ""},
		{"PUT", group + "galleries/galProd", `{`, []string{"envelope $"}, ""},
		{"POST", "/subscriptions/1/moveResources", `{}`, []string{"unjudged $"}, ""},
		{"DELETE", group + "galleries/galProd", ``, nil, ""},
		{"GET", group + "galleries/galProd", ``, nil, ""},
		{"PUT", "/blob/stpay/rollouts/000001.json", `{}`, nil, ""},
		{"POST", "/organizations/oauth2/v2.0/token", `grant_type=client_credentials`, nil, ""},
	} {
		reached := false
		p := New(Config{
			Types: types, Sent: true,
			Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, err := io.ReadAll(r.Body)
				reached = err == nil && string(got) == tt.body
				w.WriteHeader(http.StatusTeapot) // and no word of JSON
			}),
			Into: func(_ string, target armtypes.Target) any {
				if target.Type == "Microsoft.Compute/disks" {
					return &patch{}
				}
				return nil
			},
		})
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path+"?api-version=2026-04-01", strings.NewReader(tt.body)))
		require.True(t, reached)
		require.Equal(t, http.StatusTeapot, w.Code)
		var got []string
		for _, f := range p.Report().Findings {
			require.Equal(t, tt.method+" "+tt.path, f.Exchange)
			got = append(got, fmt.Sprintf("%s %s", f.Kind, f.Path))
		}
		require.Equal(t, tt.want, got, "%s %s %s", tt.method, tt.path, tt.body)
		if tt.counted == "" {
			require.Empty(t, p.Report().Sent)
			continue
		}
		require.Equal(t, map[string]int{tt.counted: 1}, p.Report().Sent)
		sent[tt.counted]++
	}
	require.Len(t, sent, 3)
}

// TestToAnotherServer: links that the server makes of the host's name lead to the proxy.
func TestToAnotherServer(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"value": [], "nextLink": "http://`+r.Host+r.URL.Path+`?api-version=2025-12-03&next=1"}`)
	}))
	defer server.Close()
	to, err := url.Parse(server.URL)
	require.NoError(t, err)
	p := New(Config{Types: types, Next: To(to)})
	proxy := httptest.NewServer(p)
	defer proxy.Close()

	resp, err := http.Get(proxy.URL + group + "galleries?api-version=2025-12-03")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), proxy.URL)
	require.Empty(t, p.Report().Findings)
	require.Equal(t, 1, p.Report().Judged["lists"])
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		want, got string
		missing   []string
	}{
		{`{"a": 1, "b": null}`, `{"a": 1, "c": 2}`, nil},
		{`{"a": 1}`, `{"a": 2}`, []string{"$.a"}},
		{`{"a": {"b": [1, {"c": true}]}}`, `{"a": {"b": [1, {"c": false}]}}`, []string{"$.a.b[1].c"}},
		{`{"a": [1]}`, `{"a": [1, 2]}`, []string{"$.a"}},
		{`{"a": {}}`, `{"a": []}`, []string{"$.a"}},
		{`{"a": {}}`, `{}`, []string{"$.a"}},
		{`{"a": "1"}`, `{"a": 1}`, []string{"$.a"}},
		{`{"a": 1.0}`, `{"a": 1}`, nil},
	} {
		want, err := armtypes.Decode([]byte(tt.want))
		require.NoError(t, err)
		got, err := armtypes.Decode([]byte(tt.got))
		require.NoError(t, err)
		require.Equal(t, tt.missing, Missing(want, got), "%s in %s", tt.want, tt.got)
	}
}
