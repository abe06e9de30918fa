package armjudge

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A told is a test that is told of findings.
type told struct {
	*testing.T
	texts []string
	ends  []func()
}

func (t *told) Cleanup(f func()) { t.ends = append(t.ends, f) }

func (t *told) Errorf(format string, args ...any) {
	t.texts = append(t.texts, fmt.Sprintf(format, args...))
}

// end ends the test, and returns what it was told.
func (t *told) end() string {
	for _, f := range slices.Backward(t.ends) {
		f()
	}
	t.ends = nil
	return strings.Join(t.texts, "\n")
}

// send serves nothing behind a judge, sends it requests, and returns what the test was told.
func send(t *testing.T, method, path string, bodies ...string) string {
	t.Helper()
	testkit.Published(t, "types")
	asked := &told{T: t}
	got := 0
	server := Serve(asked, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && string(body) == bodies[got] {
			got++
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	for _, body := range bodies {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path+"?api-version=2026-04-01", strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
	}
	text := asked.end()
	require.Equal(t, len(bodies), got, "bodies go on as they are")
	return text
}

const (
	subscription = "/subscriptions/11111111-1111-1111-1111-111111111111"
	group        = subscription + "/resourceGroups/rg-pay-prod"
	gallery      = group + "/providers/Microsoft.Compute/galleries/galProd"
	set          = group + "/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz"
)

// bodies are some as fleetctl sends them, by method and path.
var bodies = map[string]string{
	"PUT " + group:   `{"location": "eastus", "tags": {"owner": "payments"}}`,
	"PATCH " + group: `{"tags": {"owner": "payments"}}`,
	"PUT " + group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib":   `{"location": "eastus", "tags": {"owner": "payments"}}`,
	"PATCH " + group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib": `{"tags": {"owner": "payments"}}`,
	"PUT " + group + "/providers/Microsoft.Authorization/roleAssignments/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": `{"properties": {"principalId": "7807e0e9-221c-4b23-ab9c-a67c7eaf3f96", "principalType": "ServicePrincipal",
		"roleDefinitionId": "` + subscription + `/providers/Microsoft.Authorization/roleDefinitions/358cbdc9-2482-5649-95c1-c63bf125612e"}}`,
	"PUT " + group + "/providers/Microsoft.Authorization/roleDefinitions/358cbdc9-2482-5649-95c1-c63bf125612e": `{"properties": {"roleName": "fleetctl image builder", "type": "CustomRole", "description": "What it needs.",
		"assignableScopes": ["` + group + `"], "permissions": [{"actions": ["Microsoft.Compute/images/read"], "dataActions": [], "notActions": [], "notDataActions": []}]}}`,
	"PUT " + gallery:   `{"location": "eastus", "tags": {"owner": "payments"}}`,
	"PATCH " + gallery: `{"tags": {"owner": "payments"}}`,
	"PUT " + gallery + "/images/ubuntu-app": `{"location": "eastus", "properties": {"architecture": "x64", "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}],
		"hyperVGeneration": "V2", "identifier": {"offer": "ubuntu", "publisher": "kloudvin", "sku": "app-jammy"}, "osState": "Generalized", "osType": "Linux"}}`,
	"PATCH " + gallery + "/images/ubuntu-app": `{"tags": {"owner": "payments"}}`,
	"PATCH " + gallery + "/images/ubuntu-app/versions/1.7.1": `{"properties": {"publishingProfile": {"excludeFromLatest": false,
		"targetRegions": [{"excludeFromLatest": false, "name": "East US", "regionalReplicaCount": 3, "storageAccountType": "Standard_ZRS"}]}, "storageProfile": {}}}`,
	"PUT " + group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.8.1": `{"location": "eastus",
		"identity": {"type": "UserAssigned", "userAssignedIdentities": {"` + group + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib": {}}},
		"properties": {"buildTimeoutInMinutes": 60, "customize": [{"type": "Shell", "name": "install", "inline": ["true"]}],
			"source": {"type": "PlatformImage", "publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest"},
			"distribute": [{"type": "SharedImage", "galleryImageId": "` + gallery + `/images/ubuntu-app/versions/1.8.1", "runOutputName": "image", "excludeFromLatest": true,
				"artifactTags": {"fleetctl-fleet": "pay"}, "targetRegions": [{"name": "eastus", "replicaCount": 3, "storageAccountType": "Standard_ZRS"}]}],
			"optimize": {"vmBoot": {"state": "Enabled"}}, "errorHandling": {"onCustomizerError": "cleanup", "onValidationError": "cleanup"}}}`,
	"PUT " + set: `{"location": "eastus", "sku": {"name": "Standard_D2as_v5", "capacity": 3, "tier": "Standard"}, "properties": {"orchestrationMode": "Flexible", "platformFaultDomainCount": 1,
		"singlePlacementGroup": false, "upgradePolicy": {"mode": "Manual"}, "virtualMachineProfile": {"osProfile": {"computerNamePrefix": "authz", "adminUsername": "azureuser",
			"linuxConfiguration": {"disablePasswordAuthentication": true, "ssh": {"publicKeys": [{"keyData": "ssh-ed25519 AAAA pay", "path": "/home/azureuser/.ssh/authorized_keys"}]}}},
			"extensionProfile": {"extensions": [{"name": "ApplicationHealthLinux", "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux",
				"typeHandlerVersion": "2.0", "settings": {"protocol": "http", "port": 8080}}}]}}}}`,
	"PATCH " + set: `{"tags": {"fleetctl-applied": "0123456789ab"}, "properties": {"automaticRepairsPolicy": {"enabled": true, "gracePeriod": "PT30M", "repairAction": "Replace"},
		"upgradePolicy": {"mode": "Rolling", "rollingUpgradePolicy": {"maxBatchInstancePercent": 20, "pauseTimeBetweenBatches": "PT2M"},
			"automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": true, "useRollingUpgradePolicy": true}},
		"virtualMachineProfile": {"storageProfile": {"imageReference": {"id": "` + gallery + `/images/ubuntu-app/versions/1.7.1"}},
			"scheduledEventsProfile": {"terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "PT5M"}}}}}`,
	"POST " + set + "/manualupgrade":                      `{"instanceIds": ["vmss-authz_36fe5cc1"]}`,
	"POST " + set + "/setOrchestrationServiceState":       `{"action": "Suspend", "serviceName": "AutomaticRepairs"}`,
	"PUT " + set + "/virtualMachines/vmss-authz_36fe5cc1": `{"location": "eastus", "properties": {"protectionPolicy": {"protectFromScaleIn": true, "protectFromScaleSetActions": false}}}`,
	"PUT " + set + "/extensions/ApplicationHealthLinux": `{"properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0",
		"autoUpgradeMinorVersion": true, "settings": {"protocol": "http", "port": 8080}}}`,
	"PATCH " + set + "/extensions/ApplicationHealthLinux":                                           `{"properties": {"enableAutomaticUpgrade": true, "settings": {"protocol": "http", "port": 8080}}}`,
	"POST " + group + "/providers/Microsoft.Compute/virtualMachines/vmss-authz_36fe5cc1/runCommand": `{"commandId": "RunShellScript", "script": ["fleet-agent status"]}`,
	"PUT " + group + "/providers/Microsoft.Insights/autoscaleSettings/autoscale-authz": `{"location": "eastus", "properties": {"enabled": true, "targetResourceUri": "` + set + `",
		"predictiveAutoscalePolicy": {"scaleMode": "Enabled", "scaleLookAheadTime": "PT10M"},
		"profiles": [{"name": "default", "capacity": {"minimum": "3", "maximum": "30", "default": "3"}, "rules": [{
			"metricTrigger": {"metricName": "Percentage CPU", "metricResourceUri": "` + set + `", "operator": "GreaterThan", "statistic": "Average", "threshold": 70, "timeAggregation": "Average", "timeGrain": "PT1M", "timeWindow": "PT5M"},
			"scaleAction": {"direction": "Increase", "type": "ChangeCount", "value": "2", "cooldown": "PT5M"}}]}]}}`,
	"PATCH " + group + "/providers/Microsoft.Insights/autoscaleSettings/autoscale-authz": `{"properties": {"profiles": [{"name": "default", "capacity": {"minimum": "3", "maximum": "30", "default": "3"}, "rules": []}]}}`,
}

// TestEveryMisspelledKeyIsFound: a body as it is passes; and whichever of its keys has a
// letter too many, the judge says where.
func TestEveryMisspelledKeyIsFound(t *testing.T) {
	known := make(map[string]bool)
	misspelled := 0
	for _, where := range slices.Sorted(maps.Keys(bodies)) {
		method, path, _ := strings.Cut(where, " ")
		target, located := armtypes.Locate(path)
		require.True(t, located, path)
		known[key(method, target)] = true
		require.Empty(t, send(t, method, path, bodies[where]), where)

		var body any
		require.NoError(t, json.Unmarshal([]byte(bodies[where]), &body))
		for at, text := range misspellings(t, body) {
			told := send(t, method, path, text)
			require.Contains(t, told, "Azure would not take what was sent:\n"+where+": ", "%s in %s", at, text)
			require.Regexp(t, regexp.QuoteMeta(strings.TrimSuffix(at, "x"))+"x?: ", told, text) // or what is missing then
			misspelled++
		}
	}
	require.Greater(t, misspelled, 150)
	for what := range byKey {
		require.True(t, known[what], "no body of a test: %s", what)
	}
	for name := range article {
		require.True(t, name == "Microsoft.Compute/virtualMachines" || known[strings.ToLower("PUT "+name)] || known[strings.ToLower("PATCH "+name)], name)
	}
}

// open are the keys below which any word is right.
var open = []string{"tags", "artifactTags", "settings", "userAssignedIdentities"}

// misspellings are the bodies in which one key is wrong, by the path of that.
func misspellings(t *testing.T, body any) map[string]string {
	t.Helper()
	all := make(map[string]string)
	var visit func(path string, v any)
	visit = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				value := v[name]
				delete(v, name)
				v[name+"x"] = value
				text, err := json.Marshal(body)
				require.NoError(t, err)
				all[path+"."+name+"x"] = string(text)
				delete(v, name+"x")
				v[name] = value
				if !slices.Contains(open, name) {
					visit(path+"."+name, value)
				}
			}
		case []any:
			for i := range v {
				visit(path+"["+strconv.Itoa(i)+"]", v[i])
			}
		}
	}
	visit("$", body)
	return all
}

// TestFindingsFailTheTest: each is told once, with how often it was.
func TestFindingsFailTheTest(t *testing.T) {
	const wrong = `{"location": "eastus", "tags": {"owner": 7}}`
	text := send(t, http.MethodPut, gallery, wrong, wrong, `{"location": "eastus"}`, `{}`)
	where := "\nPUT " + gallery + ": "
	require.Equal(t, "Azure would not take what was sent:"+
		where+"$.tags.owner: type: 7 for a string (2 times)"+
		where+"$.location: missing: Microsoft.Compute/galleries requires it (1 times)", text)
}

func TestComplaintsAreBounded(t *testing.T) {
	var findings []judgeproxy.Finding
	for i := range 25 {
		findings = append(findings, judgeproxy.Finding{Exchange: "PUT /x", Finding: armtypes.Finding{Kind: armtypes.Unknown, Path: "$." + strconv.Itoa(i)}})
	}
	asked := &told{T: t}
	complain(asked, findings)
	require.Len(t, asked.texts, 1)
	require.Equal(t, 22, strings.Count(asked.texts[0], "\n")+1)
	require.True(t, strings.HasSuffix(asked.texts[0], "\nand 5 more"), asked.texts[0])
}

// An exit is the tests of a package that end with a code.
type exit int

func (e exit) Run() int { return int(e) }

func TestSession(t *testing.T) {
	testkit.Published(t, "types")
	require.Equal(t, 3, Session{M: exit(3), Article: true}.Run())

	all := make(map[string]int)
	for name := range article {
		all["PUT "+name] = 2
	}
	var counted tally
	counted.add(all, 0)
	counted.add(map[string]int{"PATCH Microsoft.Compute/galleries": 1}, 0)
	for _, e := range excuses {
		counted.excuse(e)
	}
	var out bytes.Buffer
	require.Zero(t, counted.verdict(&out, 0, true), out.String())
	require.Contains(t, out.String(), fmt.Sprintf("judged %d bodies sent to 2 servers, of %d types of resources: 0 findings, ", 2*len(article)+1, len(article)))
	require.Contains(t, out.String(), "; 1 PATCH Microsoft.Compute/galleries, 2 PUT Microsoft.Authorization/roleAssignments, ")
	require.NotContains(t, out.String(), "no test")

	// Less than all is a failure only where all tests ran, and none failed.
	delete(all, "PUT Microsoft.Insights/autoscaleSettings")
	for _, tt := range []struct {
		code  int
		whole bool
		want  int
		says  bool
	}{{0, true, 1, true}, {0, false, 0, false}, {2, true, 2, false}} {
		var less tally
		less.add(all, 0)
		out.Reset()
		require.Equal(t, tt.want, less.verdict(&out, tt.code, tt.whole))
		require.Equal(t, tt.says, strings.Contains(out.String(), "no test had a body of Microsoft.Insights/autoscaleSettings judged, which the article writes: az monitor autoscale create, rule create\n"))
	}
	out.Reset()
	require.Zero(t, new(tally).verdict(&out, 0, true), "a process of a test starts no server")
	require.Empty(t, out.String())
}

func TestWhole(t *testing.T) {
	for args, want := range map[string]bool{"": true, "-test.run=X": false, "-test.skip=X": false, "-test.count=2": false, "-test.short": false, "-test.v": true} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		for _, name := range []string{"test.run", "test.skip", "test.list"} {
			flags.String(name, "", "")
		}
		flags.Uint("test.count", 1, "")
		flags.Bool("test.short", false, "")
		flags.Bool("test.v", false, "")
		require.NoError(t, flags.Parse(strings.Fields(args)))
		require.Equal(t, want, whole(flags), args)
	}
}

func TestExcuses(t *testing.T) {
	list := excuseList{{kind: armtypes.Unknown, path: "$.a", what: "POST Microsoft.Compute/virtualMachines runCommand", why: "an example"}}
	finding := func(exchange, kind, path string) judgeproxy.Finding {
		return judgeproxy.Finding{Exchange: exchange, Finding: armtypes.Finding{Kind: armtypes.Kind(kind), Path: path}}
	}
	vm := group + "/providers/microsoft.compute/virtualMachines/vm"
	rest := []judgeproxy.Finding{
		finding("POST "+vm+"/runCommand", "unknown", "$.b"),
		finding("POST "+vm+"/runCommand", "type", "$.a"),
		finding("POST "+vm+"/start", "unknown", "$.a"),
		finding("PUT "+vm+"/runCommand", "unknown", "$.a"),
	}
	before := total.excused[list[0]]
	require.Equal(t, rest, list.without(append([]judgeproxy.Finding{finding("POST "+vm+"/runCommand", "unknown", "$.a")}, rest...)))
	require.Equal(t, before+1, total.excused[list[0]])
	delete(total.excused, list[0])
	for _, e := range excuses {
		require.NotEmpty(t, e.why)
	}
}
