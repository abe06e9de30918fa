package arm_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A court holds simulations, one after the other, to what Azure publishes.
type court struct {
	*testing.T

	proxy  *judgeproxy.Proxy
	server *arm.Server
	clock  *arm.Clock
}

func newCourt(t *testing.T) *court {
	t.Helper()
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	c := &court{T: t}
	c.proxy = judgeproxy.New(judgeproxy.Config{
		Types: types,
		Next:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.server.ServeHTTP(w, r) }),
	})
	return c
}

// begin starts a new simulation.
func (c *court) begin() {
	c.clock = arm.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), 0)
	server, err := arm.New(arm.Config{Clock: c.clock, Unthrottled: true, Rules: arm.Rules{Platform: arm.PlatformRules{AutoOS: true}}})
	require.NoError(c, err)
	c.server = server
}

// answer is what a request was answered.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// code is that of an error.
func (a answer) code() string {
	e, _ := a.body["error"].(map[string]any)
	s, _ := e["code"].(string)
	return s
}

func (c *court) do(method, address string, body any, headers ...string) answer {
	c.Helper()
	var sent []byte
	if body != nil {
		var err error
		sent, err = json.Marshal(body)
		require.NoError(c, err)
	}
	r := httptest.NewRequestWithContext(c.Context(), method, address, bytes.NewReader(sent))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.proxy.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if w.Body.Len() > 0 {
		v, err := armtypes.Decode(w.Body.Bytes())
		require.NoError(c, err, w.Body.String())
		a.body, _ = v.(map[string]any)
	}
	return a
}

// put writes a resource, lets whatever follows happen, and polls its operation.
func (c *court) put(method, address string, body any) answer {
	c.Helper()
	a := c.do(method, address, body)
	c.clock.Advance(48 * time.Hour)
	for _, name := range []string{"Azure-AsyncOperation", "Location"} {
		link := a.header.Get(name)
		if link == "" {
			continue
		}
		end := c.do(http.MethodGet, link, nil).status
		require.Contains(c, []int{http.StatusOK, http.StatusNoContent}, end, "%s of %s %s", name, method, address)
		if method != http.MethodDelete {
			require.Equal(c, http.StatusOK, end, "%s of %s %s: clients take no other", name, method, address)
		}
	}
	return a
}

// A play is an example made fit for a simulation: its subscription, names without braces.
type play struct {
	armtypes.Example

	target  armtypes.Target
	version string
}

// resource is the address of the example's resource, without its query.
func (p play) resource() string { return p.URL.EscapedPath() + "?api-version=" + p.version }

// parent is the address of what the example's resource belongs to, one level up.
func (p play) parent() (play, bool) {
	parts := strings.Split(p.URL.Path, "/")
	up := p
	up.target.Type = p.target.Type[:strings.LastIndex(p.target.Type, "/")]
	up.URL = &url.URL{Path: strings.Join(parts[:len(parts)-2], "/")}
	return up, strings.Contains(up.target.Type, "/")
}

var (
	braces       = regexp.MustCompile(`\{([^{}/]+)\}`)
	subscription = regexp.MustCompile(`(?i)(/subscriptions/)(?:[0-9a-f]{8}-[0-9a-f-]{27}|\{?subscription-?id\}?|subscriptionId|subid)`)
)

// fit makes a play of an example.
func fit(t *testing.T, e armtypes.Example) play {
	t.Helper()
	change := func(s string) string {
		s = braces.ReplaceAllString(subscription.ReplaceAllString(s, "${1}"+arm.DefaultSubscription), "$1")
		return strings.ReplaceAll(s, "/versions/versionName", "/versions/1.0.0")
	}
	p := play{Example: e, version: e.URL.Query().Get("api-version")}
	p.URL = &url.URL{Path: change(e.URL.Path)}
	p.URL.RawQuery = e.URL.RawQuery
	p.target, _ = armtypes.Locate(p.URL.Path)
	if e.Body != nil {
		text, err := json.Marshal(e.Body)
		require.NoError(t, err)
		p.Body, err = armtypes.Decode(changeStrings(text, change))
		require.NoError(t, err)
	}
	return p.flexible()
}

// changeStrings changes the strings of a JSON text.
func changeStrings(text []byte, change func(string) string) []byte {
	return quoted.ReplaceAllFunc(text, func(s []byte) []byte { return []byte(change(string(s))) })
}

// quoted is a JSON string.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// flexible makes a scale set one of Flexible orchestration, which is what is simulated:
// the examples name no orchestration, and mean Uniform.
func (p play) flexible() play {
	if !strings.EqualFold(p.target.Type, "Microsoft.Compute/virtualMachineScaleSets") || p.Method != http.MethodPut {
		return p
	}
	properties := p.Body.(map[string]any)["properties"].(map[string]any)
	if properties["orchestrationMode"] != nil {
		return p
	}
	properties["orchestrationMode"] = "Flexible"
	if properties["platformFaultDomainCount"] == nil {
		properties["platformFaultDomainCount"] = json.Number("1")
	}
	return p
}

func plays(t *testing.T, method string) []play {
	t.Helper()
	examples, err := armtypes.Examples(testkit.Published(t, "examples"))
	require.NoError(t, err)
	var list []play
	for _, e := range examples {
		if e.Method == method {
			list = append(list, fit(t, e))
		}
	}
	require.NotEmpty(t, list)
	return list
}

// bodies are the least of what other resources belong to.
var bodies = map[string]any{
	"microsoft.compute/galleries": map[string]any{"location": "westus"},
	"microsoft.compute/galleries/images": map[string]any{"location": "westus", "properties": map[string]any{
		"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
		"identifier": map[string]any{"publisher": "kloudvin", "offer": "ubuntu", "sku": "app-jammy"},
	}},
	"microsoft.compute/galleries/images/versions": map[string]any{"location": "westus", "properties": map[string]any{
		"storageProfile": map[string]any{"source": map[string]any{"id": "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/images/img"}},
	}},
	"microsoft.compute/virtualmachinescalesets": scaleSet,
	"microsoft.virtualmachineimages/imagetemplates": map[string]any{
		"location": "westus",
		"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{"/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib": map[string]any{}}},
		"properties": map[string]any{
			"source":     map[string]any{"type": "PlatformImage", "publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest"},
			"distribute": []any{map[string]any{"type": "VHD", "runOutputName": "vhd"}},
		},
	},
}

var scaleSet = map[string]any{
	"location": "westus",
	"sku":      map[string]any{"name": "Standard_D2as_v5", "tier": "Standard", "capacity": 1},
	"properties": map[string]any{
		"orchestrationMode": "Flexible", "platformFaultDomainCount": 1,
		"virtualMachineProfile": map[string]any{
			"osProfile":      map[string]any{"computerNamePrefix": "authz", "adminUsername": "azureuser"},
			"storageProfile": map[string]any{"imageReference": map[string]any{"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest"}},
			"networkProfile": map[string]any{"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": []any{map[string]any{
				"name": "nic", "properties": map[string]any{"primary": true, "ipConfigurations": []any{map[string]any{
					"name": "ip", "properties": map[string]any{"subnet": map[string]any{"id": "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Network/virtualNetworks/vnet/subnets/app"}},
				}}},
			}}},
		},
	},
}

// prepare makes the resource group of a play, what its resource belongs to, and the
// galleries and scale sets that it names.
func (c *court) prepare(p play) play {
	c.Helper()
	parts := strings.Split(p.URL.Path, "/")
	require.Equal(c, "resourcegroups", strings.ToLower(parts[3]), p.URL.Path)
	c.group(parts[4])
	c.ancestors(p)
	for _, id := range references(p.Body) {
		at := play{Example: armtypes.Example{URL: &url.URL{Path: id}}, version: p.version}
		at.target, _ = armtypes.Locate(id)
		c.group(strings.Split(id, "/")[4])
		c.ancestors(at)
		c.make(at)
	}
	if strings.EqualFold(p.target.Type, "Microsoft.Compute/virtualMachineScaleSets/virtualMachines") {
		return c.member(p)
	}
	return p
}

func (c *court) group(name string) {
	c.Helper()
	a := c.do(http.MethodPut, "/subscriptions/"+arm.DefaultSubscription+"/resourceGroups/"+name+"?api-version=2021-04-01", map[string]any{"location": "westus"})
	require.Less(c, a.status, 300, a.body)
}

func (c *court) ancestors(p play) {
	c.Helper()
	if up, there := p.parent(); there {
		c.ancestors(up)
		c.make(up)
	}
}

// make puts the least of a resource that something belongs to. What only belongs to a
// path and is no resource, such as a location, needs nothing.
func (c *court) make(p play) {
	c.Helper()
	body, known := bodies[strings.ToLower(p.target.Type)]
	if !known {
		return
	}
	version := p.version
	if strings.Contains(p.URL.Path, "/galleries/") {
		version = "2025-12-03"
	}
	a := c.put(http.MethodPut, p.URL.EscapedPath()+"?api-version="+version, body)
	require.Less(c, a.status, 300, "%s: %v", p.URL.Path, a.body)
}

// member gives a play that is about a member of a scale set the name of one.
func (c *court) member(p play) play {
	c.Helper()
	parts := strings.Split(p.URL.Path, "/")
	list := c.do(http.MethodGet, (&url.URL{Path: strings.Join(parts[:len(parts)-1], "/")}).EscapedPath()+"?api-version="+p.version, nil)
	items, _ := list.body["value"].([]any)
	if len(items) == 0 {
		return p
	}
	parts[len(parts)-1], _ = items[0].(map[string]any)["instanceId"].(string)
	p.URL = &url.URL{Path: strings.Join(parts, "/"), RawQuery: p.URL.RawQuery}
	return p
}

// references are the ids of galleries, what is in them, and scale sets that a body names.
func references(v any) []string {
	var ids []string
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			ids = append(ids, references(v[name])...)
		}
	case []any:
		for _, item := range v {
			ids = append(ids, references(item)...)
		}
	case string:
		if target, ok := armtypes.Locate(v); ok && bodies[strings.ToLower(target.Type)] != nil && target.Rest == "" {
			ids = append(ids, v)
		}
	}
	return ids
}

// A line that an entry of a list must match, and why it is there. An entry that nothing
// matches has to go.
type excuse struct{ line, why string }

// refusals are "file: code" of the examples that are refused.
var refusals = excuses{
	{`ScaleSetExtension_CreateOrUpdate_MinimumSet_Gen.json: InvalidParameter`, "generated: an extension without publisher and type"},
	{`ScaleSetVM_Update_(Minimum|Maximum)Set_Gen.json: NotSimulated`, "of a member, its protection is written; the rest is its model's"},
	{`ScaleSet_Create_With(AutomaticRepairs|SecurityPostureReference|ServiceArtifactReference).json: BadRequest`, "repairs and automatic OS upgrades need a source of health, which the example left out"},
}

// losses are "file: path" of what is put and not read back.
var losses = excuses{
	{`.*: \$\.name`, "the name in the URL counts"},
	{`.*\.(adminPassword|protectedSettings|customData|userData)(\.|$)`, "secrets are never answered"},
}

// wrongs are findings of the judge about what the examples send.
var wrongs = excuses{
	{`lifecycleHookEvents/[^ ]*: \d+: \$\.properties: read-only`, "the published type is one that can only be read; the PATCH has its own"},
	{`virtualMachineScaleSets/[^/]*/virtualMachines/[^ ]*: \d+: \$\.(sku|properties\.instanceView): read-only`, "the example sends back what it has read"},
}

type excuses []excuse

// covers says whether an entry matches, and notes it in used.
func (list excuses) covers(line string, used map[string]bool) bool {
	for _, e := range list {
		if regexp.MustCompile(e.line).MatchString(line) {
			used[e.line] = true
			return true
		}
	}
	return false
}

// TestExamplesAreKept puts every example of Microsoft's, reads it back, and finds all of
// it there; every answer on the way keeps to the types.
func TestExamplesAreKept(t *testing.T) {
	c := newCourt(t)
	used := map[string]bool{}
	kept := 0
	for _, p := range plays(t, http.MethodPut) {
		c.begin()
		p = c.prepare(p)
		a := c.put(http.MethodPut, p.resource(), p.Body)
		if a.status >= 300 {
			if !refusals.covers(p.Name+": "+a.code(), used) {
				t.Errorf("%s: %d %v", p.Name, a.status, a.body)
			}
			continue
		}
		kept++
		got := c.do(http.MethodGet, p.resource(), nil)
		require.Equal(t, http.StatusOK, got.status, p.Name)
		for _, path := range judgeproxy.Missing(normal(p.Body), normal(got.body)) {
			if !losses.covers(p.Name+": "+path, used) {
				t.Errorf("%s: lost %s", p.Name, path)
			}
		}
		c.listed(p)
		require.Contains(t, []int{200, 202, 204}, c.put(http.MethodDelete, p.resource(), nil).status, p.Name)
		require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, p.resource(), nil).status, p.Name)
	}
	c.verdict(used)
	for _, e := range slices.Concat(refusals, losses, wrongs[1:]) {
		require.True(t, used[e.line], "nothing needs this any more: %s", e.line)
	}
	t.Logf("kept %d examples; %v", kept, c.proxy.Report())
	require.GreaterOrEqual(t, kept, 131)
}

// listed finds the resource in the list of its kind.
func (c *court) listed(p play) {
	c.Helper()
	path := p.URL.EscapedPath()
	list := c.do(http.MethodGet, path[:strings.LastIndex(path, "/")]+"?api-version="+p.version, nil)
	require.Equal(c, http.StatusOK, list.status, p.Name)
	items, _ := list.body["value"].([]any)
	require.True(c, slices.ContainsFunc(items, func(item any) bool {
		id, _ := item.(map[string]any)["id"].(string)
		return strings.EqualFold(id, p.URL.Path)
	}), "%s: %v", p.Name, list.body)
}

// verdict fails for each kind of finding, once.
func (c *court) verdict(used map[string]bool) {
	c.Helper()
	seen := map[string]string{}
	for _, f := range c.proxy.Report().Findings {
		if !wrongs.covers(f.String(), used) {
			seen[string(f.Kind)+" "+index.ReplaceAllString(f.Path, "[]")+": "+f.Message] = f.Exchange
		}
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		c.Errorf("%s (%s)", what, seen[what])
	}
}

var index = regexp.MustCompile(`\[\d+\]`)

// normal writes what Azure normalises in one way: names of regions.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, item := range v {
			if s, ok := item.(string); ok && strings.EqualFold(name, "location") {
				item = strings.ToLower(strings.ReplaceAll(s, " ", ""))
			}
			out[name] = normal(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	}
	return v
}

// others are "METHOD type part: file: code" of the examples, other than PUTs, that are
// refused.
var others = excuses{
	{`POST .*: NotSimulated`, "an action that is not simulated says so"},
	{`GET \S+/softdeletedartifacttypes/artifacts |GET \S+ (vmSizes|skus): `, "lists that are not simulated"},
	{`\S+ \S+/(runOutputs|lifecycleHookEvents|rollingUpgrades) : .*: (ResourceNotFound|NotFound|OperationNotAllowed)`, "nothing of the kind has happened"},
	{`GET \S+ instanceView: .*: OperationNotAllowed`, "the instance view of a Flexible set is refused"},
	{`_MaximumSet_Gen.json: (InvalidParameter|NotSimulated)`, "generated: names and filters of letters for words"},
	{`(DeleteInstances|UpdateInstances)_MinimumSet_Gen.json: InvalidParameter`, "generated: names of letters for words"},
	{`imulateEviction.json: OperationNotAllowed`, "the machine is no Spot instance"},
	{`PATCH .*GalleryImage_UpdateFeatures.json: PropertyChangeNotAllowed`, "the definition that another example puts is of generation V1"},
	{`RunImageTemplate.json: Conflict`, "the template of the example names an identity and an image that are not there"},
	{`SetOrchestrationServiceState_.*: OperationNotAllowed`, "the example has no automatic repairs"},
}

// simulated are the actions that must not be refused as not simulated.
var simulated = regexp.MustCompile(`POST \S+ (manualupgrade|reimage|delete|deallocate|start|simulateEviction|setOrchestrationServiceState)?:`)

// TestOtherExamplesAreAnswered sends the examples that are no PUT to a simulation in
// which their resource is what an example puts there.
func TestOtherExamplesAreAnswered(t *testing.T) {
	c := newCourt(t)
	puts := map[string]play{}
	for _, p := range plays(t, http.MethodPut) {
		if kind := strings.ToLower(p.target.Type); puts[kind].Body == nil {
			puts[kind] = p
		}
	}
	used := map[string]bool{}
	answered := map[string]int{}
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodDelete} {
		for _, p := range plays(t, method) {
			c.begin()
			p = c.stage(p, puts)
			a := c.put(method, p.URL.EscapedPath()+"?"+p.URL.RawQuery, p.Body)
			line := method + " " + p.target.Type + " " + p.target.Rest + ": " + p.Name + ": " + a.code()
			switch {
			case a.status < 300:
				answered[method]++
			case !others.covers(line, used), a.code() == "NotSimulated" && simulated.MatchString(line):
				t.Errorf("%s: %d %v", line, a.status, a.body)
			}
			if method == http.MethodPatch && a.status < 300 {
				got := c.do(http.MethodGet, p.resource(), nil)
				for _, path := range judgeproxy.Missing(normal(p.Body), normal(got.body)) {
					if !losses.covers(p.Name+": "+path, used) {
						t.Errorf("%s: lost %s", p.Name, path)
					}
				}
			}
		}
	}
	c.verdict(used)
	for _, e := range others {
		require.True(t, used[e.line], "nothing needs this any more: %s", e.line)
	}
	t.Logf("answered %v; %v", answered, c.proxy.Report())
	require.GreaterOrEqual(t, answered[http.MethodGet], 50)
	require.GreaterOrEqual(t, answered[http.MethodPatch], 11)
	require.GreaterOrEqual(t, answered[http.MethodPost], 12)
	require.Equal(t, 9, answered[http.MethodDelete])
}

// stage prepares what a play that is no PUT needs: its resource, or what that belongs to.
func (c *court) stage(p play, puts map[string]play) play {
	c.Helper()
	at := p
	if at.target.Rest != "" {
		at.URL = &url.URL{Path: p.URL.Path[:strings.LastIndex(p.URL.Path, "/")]}
		at.target.Rest = ""
	}
	if parts := strings.Split(p.URL.Path, "/"); strings.EqualFold(parts[3], "resourceGroups") {
		c.group(parts[4])
	}
	if !strings.Contains(at.target.Type, "/") || strings.HasSuffix(at.target.Type, "/locations") {
		return p
	}
	at.Body = nil
	if put, known := puts[strings.ToLower(at.target.Type)]; known {
		at.Body = put.Body
	}
	staged := c.prepare(at)
	if at.Body != nil {
		c.put(http.MethodPut, staged.resource(), at.Body)
	}
	tail := strings.TrimPrefix(p.URL.Path, at.URL.Path)
	p.URL = &url.URL{Path: staged.URL.Path + tail, RawQuery: p.URL.RawQuery}
	return p
}
