package nodes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A world is a simulated control plane with the image ubuntu-app, in real time.
type world struct {
	*testing.T

	server *arm.Server
	agents string // directory of the files of real agents
	notice string // of a deletion; empty: five minutes
}

const (
	group   = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	compute = group + "/providers/Microsoft.Compute/"
	aSet    = compute + "virtualMachineScaleSets/vmss-authz"
)

const images = `
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        versions:
          - {name: 1.7.0, regions: {eastus: {}}}
          - {name: 1.7.1, regions: {eastus: {}}}
`

func newWorld(t *testing.T, factor float64) *world {
	t.Helper()
	server, err := arm.New(arm.Config{
		Clock: arm.NewClock(time.Now(), factor), Unthrottled: true, Rules: arm.Rules{Machines: arm.MachineRules{Real: []string{"*"}}},
	})
	require.NoError(t, err)
	sc, err := arm.ParseScenario("s.yaml", []byte(images))
	require.NoError(t, err)
	require.NoError(t, server.Apply(sc))
	return &world{T: t, server: server}
}

// do makes a request, and returns the body of what was answered.
func (w *world) do(method, path, body string) map[string]any {
	w.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r := httptest.NewRequestWithContext(w.Context(), method, path+sep+"api-version=2026-04-01", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	require.Less(w, rec.Code, http.StatusBadRequest, rec.Body)
	var got map[string]any
	if rec.Body.Len() > 0 {
		require.NoError(w, json.Unmarshal(rec.Body.Bytes(), &got))
	}
	if at := rec.Header().Get("Azure-Asyncoperation"); at != "" && got == nil {
		got = map[string]any{"operation": at}
	}
	return got
}

// put makes the scale set, of Spot machines that hear of their deletion when that is
// asked for.
func (w *world) put(capacity int, version, port string, spot bool) {
	w.Helper()
	priority := `"scheduledEventsProfile": {"terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "` + cmp.Or(w.notice, "PT5M") + `"}}`
	if spot {
		priority = `"priority": "Spot", "evictionPolicy": "Deallocate"`
	}
	w.do("PUT", aSet, fmt.Sprintf(`{"location": "eastus", "tags": {"owner": "payments"}, "sku": {"name": "Standard_D2as_v5", "capacity": %d}, "properties": {
		"orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "virtualMachineProfile": {%s,
			"osProfile": {"computerNamePrefix": "authz", "adminUsername": "azureuser"},
			"storageProfile": {"imageReference": {"id": "%sgalleries/galProd/images/ubuntu-app/versions/%s"}, "osDisk": {"createOption": "FromImage"}},
			"networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [{"name": "nic", "properties": {"primary": true, "ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": "%s/providers/Microsoft.Network/virtualNetworks/vnet/subnets/app"}}}]}}]},
			"extensionProfile": {"extensions": [{"name": "health", "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0",
				"settings": {"protocol": "http", "port": %s, "requestPath": "/healthz", "intervalInSeconds": 5, "gracePeriod": 600}}}]}
		}}}`, capacity, priority, compute, version, group, port))
}

// members are the machines of the scale set with their instance views.
func (w *world) members() (list []map[string]any) {
	w.Helper()
	all := w.do("GET", compute+"virtualMachines?$expand=instanceView&$filter='virtualMachineScaleSet/id'%20eq%20'"+aSet+"'", "")
	for _, m := range all["value"].([]any) {
		list = append(list, m.(map[string]any))
	}
	return list
}

// health are the states of health of the members, and of one that does not run its power.
func (w *world) health() string {
	w.Helper()
	var all []string
	for _, m := range w.members() {
		state := at(m, "properties", "instanceView", "vmHealth", "status", "code")
		if state == "" {
			statuses := m["properties"].(map[string]any)["instanceView"].(map[string]any)["statuses"].([]any)
			state = at(statuses[len(statuses)-1].(map[string]any), "code")
		}
		all = append(all, state[strings.LastIndexByte(state, '/')+1:])
	}
	return strings.Join(all, " ")
}

func at(v any, keys ...string) string {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	s, _ := v.(string)
	return s
}
