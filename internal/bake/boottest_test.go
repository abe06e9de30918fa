package bake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const (
	testGroup = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	testSets  = testGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/"
	bootSet   = fleet.ResourceID(testSets + "boot-ubuntu-app-1-8-3")
)

// bootScenario is a fleet with a version that is baked and excluded.
const bootScenario = `
resource_group: rg-pay-prod
location: eastus
resource_groups:
  - {name: rg-pay-prod, location: eastus}
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        security_type: TrustedLaunchSupported
        versions:
          - {name: 1.7.1, regions: {eastus: {replicas: 3}}}
          - {name: 1.8.3, excluded: true, regions: {eastus: {replicas: 3HEALTH}}
scale_sets:
  - name: vmss-authz
    zones: ["1", "2", "3"]
    vm_size: Standard_D2as_v5
    image: galProd/ubuntu-app/1.7.1
    health: {version: "2.0", protocol: http, port: 8080, path: /healthz, interval: 5s, probes: 2, grace: 5m}
    repairs: {after: 30m, action: Replace}
    terminate_notice: 5m
    identities: [id-authz]
    members: [{count: 3, age: 29d}]
`

// A bootWorld is a simulated Azure behind a judge, with a network that can be cut.
type bootWorld struct {
	server *arm.Server
	proxy  *judgeproxy.Proxy
	test   *BootTest
	told   []string
	// answers says that the judge reads those to GET, too, which takes long.
	answers bool

	mu    sync.Mutex // guards what follows
	left  int        // requests until the caller dies; below 0: it never does
	last  bool       // the one at which it dies is served: its answer is lost
	asked []string   // "METHOD path"
}

// PublishedTypes reads Azure's types once: there are many worlds, also in bake_test.
func PublishedTypes(t *testing.T) *armtypes.Types {
	t.Helper()
	published.Do(func() { published.types, published.err = armtypes.Load(testkit.Published(t, "types")) })
	require.NoError(t, published.err)
	return published.types
}

var published struct {
	sync.Once

	types *armtypes.Types
	err   error
}

// newBootWorld serves a scenario, in which more is appended and every version boots with a
// state of health.
func newBootWorld(t *testing.T, health, more string) *bootWorld {
	t.Helper()
	if health != "" {
		health = "}}, health: " + health + "}"
	} else {
		health = "}}}"
	}
	text := strings.Replace(bootScenario, "HEALTH}}", health, 1)
	scenario, err := arm.ParseScenario("boot.yaml", []byte(text+more))
	require.NoError(t, err)
	rules := scenario.Rules()
	if strings.Contains(more, "machines:") {
		rules.Machines.Real = scenario.RealSets()
	}
	w := &bootWorld{left: -1}
	w.server, err = arm.New(arm.Config{Clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0), Unthrottled: true, Rules: rules})
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	w.proxy = judgeproxy.New(judgeproxy.Config{Next: w.server, Types: PublishedTypes(t)})
	endpoint := armjudge.Serve(t, standstill.Handler(w.server, w))
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		return map[string]string{azure.EndpointVariable: endpoint.URL}[name]
	}})
	require.NoError(t, err)
	w.test = &BootTest{
		Azure: client, Now: w.server.Clock().Now, Tell: func(text string) { w.told = append(w.told, text) },
		Wait: func(ctx context.Context, d time.Duration) error {
			w.server.Advance(d)
			return ctx.Err()
		},
		Spec: &fleet.Spec{
			Name: "pay", Subscription: arm.DefaultSubscription, ResourceGroup: "rg-pay-prod", Location: "eastus",
			Gallery: &fleet.GallerySpec{Name: "galProd", Image: fleet.DefinitionSpec{Name: "ubuntu-app"}},
			Bake:    &fleet.BakeSpec{BootTest: &fleet.BootTestSpec{Like: "vmss-authz", BootWithin: 90 * time.Second, Run: "smoke.sh"}},
			ScaleSets: map[string]fleet.SetSpec{
				"vmss-authz": {},
				"vmss-new": {
					Manage: fleet.ManageFull, Location: "eastus", Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches},
					Health: &fleet.HealthSpec{Extension: "2.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 2},
					Create: &fleet.CreateSpec{
						Capacity: 3, VMSize: "Standard_D2as_v5", FaultDomains: 1, Admin: "azureuser",
						Network: fleet.NetworkSpec{Subnet: testGroup + "/providers/Microsoft.Network/virtualNetworks/vnet-eastus/subnets/app"},
					},
				},
			},
		},
	}
	return w
}

func (w *bootWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	dead, lost := w.left == 0, w.left == 0 && w.last
	w.last = w.last && !lost
	if w.left > 0 {
		w.left--
	}
	w.asked = append(w.asked, r.Method+" "+r.URL.Path)
	w.mu.Unlock()
	if lost {
		w.proxy.ServeHTTP(httptest.NewRecorder(), r)
	}
	if dead { // what nobody sends again, and what no caller goes on after
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodGet && !w.answers {
		w.server.ServeHTTP(rw, r)
		return
	}
	w.proxy.ServeHTTP(rw, r)
}

// dead says whether the caller is.
func (w *bootWorld) dead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left == 0
}

func (w *bootWorld) setLeft(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = n
}

// clean requires that nothing is left of a boot test, and that Azure's types took all
// that was sent.
func (w *bootWorld) clean(t *testing.T) {
	t.Helper()
	_, err := w.test.Azure.Resource(context.WithoutCancel(t.Context()), bootSet, "")
	require.ErrorIs(t, err, &azure.Error{Kind: azure.NotFound})
	require.Empty(t, w.members(t))
	require.Empty(t, w.proxy.Report().Findings)
}

func (w *bootWorld) members(t *testing.T) []fleet.Document {
	t.Helper()
	list, err := w.test.Azure.Resources(context.WithoutCancel(t.Context()), testGroup+"/providers/Microsoft.Compute/virtualMachines", "'virtualMachineScaleSet/id' eq '"+string(bootSet)+"'")
	require.NoError(t, err)
	return list
}

func TestBootPasses(t *testing.T) {
	w := newBootWorld(t, "", "run_commands: [{contains: 'fleetctl: exit', stdout: \"served\\nfleetctl: exit 0\\n\"}]\n")
	w.answers = true
	w.test.Script = []byte("#!/bin/sh\ncurl -fsS localhost:8080/healthz\n")
	v, err := w.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	require.Equal(t, fleet.BootPassed, v.Outcome, v.Reason)
	require.Equal(t, 50*time.Second, v.BootTime)
	require.Equal(t, "Healthy 50s after its allocation, and boot_within is 1m30s; smoke.sh passed", v.Reason)
	require.Equal(t, "served", v.Words)
	require.Empty(t, v.Left)
	require.NotEmpty(t, v.Omitted)
	w.clean(t)
	report := w.proxy.Report()
	require.Equal(t, 1, report.Judged["PUT bodies"])
	require.Equal(t, 1, report.Judged["actions"])
	t.Logf("%v\n%s", report, strings.Join(w.told, "\n"))
	require.Equal(t, []string{
		"without automaticRepairsPolicy: a broken instance stays as it is",
		"without terminateNotificationProfile: the instance is removed without notice",
		"without customData: it cannot be read: if the instances need any, this one does not get it",
		"without zones: the one instance is in zone 1",
	}, w.told[:4])

	authz, err := w.test.Azure.Resource(t.Context(), testSets+"vmss-authz", "")
	require.NoError(t, err)
	require.EqualValues(t, 3, authz.Body["sku"].(fleet.Document)["capacity"], "the set that it is like is as it was")
}

// A set of the file that is not there yet: the test is like what the file makes.
func TestBootLikeFile(t *testing.T) {
	w := newBootWorld(t, "", "")
	w.test.Spec.Bake.BootTest.Like = "vmss-new"
	v, err := w.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	require.Equal(t, fleet.BootPassed, v.Outcome, v.Reason)
	w.clean(t)

	w.test.Spec.Bake.BootTest.Like = testSets + "vmss-none"
	_, err = w.test.Run(t.Context(), "1.8.3")
	require.ErrorContains(t, err, "there is no such scale set")
	w.test.Spec.Bake.BootTest.Like = testSets + "vmss-authz"
	v, err = w.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	require.Equal(t, fleet.BootPassed, v.Outcome, v.Reason)
	w.clean(t)
}

func TestBootFails(t *testing.T) {
	const agent = "run_commands: [{contains: 'fleet-agent status -o brief', stdout: \"unhealthy: hsm: connection refused\\n\"}]\n"
	script := func(stdout string) string {
		return fmt.Sprintf("run_commands: [{contains: 'fleetctl: exit', stdout: %q, stderr: \"cannot connect\\n\"}]\n", stdout)
	}
	for _, tt := range []struct {
		name, health, more string
		within             time.Duration
		script             string
		want               fleet.BootOutcome
		reason, words      string
	}{
		{"slow", "", "", 45 * time.Second, "", fleet.BootFailed, "Healthy 50s after its allocation, and boot_within is 45s", ""},
		{"unhealthy", "Unhealthy", agent, 90 * time.Second, "", fleet.BootFailed, "was not Healthy within 6m30s: its health is Unhealthy", "unhealthy: hsm: connection refused"},
		{"unknown", "Unknown", agent, 90 * time.Second, "", fleet.BootFailed, "its health is Unknown", "hsm"},
		{"no words", "Unhealthy", "run_commands: [{fails: no agent}]\n", 90 * time.Second, "", fleet.BootFailed, "Unhealthy", "diagnosis not possible: "},
		{"script", "", script("x\nfleetctl: exit 3\n"), 90 * time.Second, "exit 3", fleet.BootFailed, "smoke.sh ended with exit code 3", "x\ncannot connect"},
		{"script hangs", "", script("fleetctl: exit 124\n"), 90 * time.Second, "sleep 1d", fleet.BootFailed, "smoke.sh did not end within 10m0s", ""},
		{"script says nothing", "", script("fleetctl: exit \n"), 90 * time.Second, "true", fleet.BootInconclusive, "does not say how the script ended", ""},
		{"script not run", "", "run_commands: [{fails: no agent}]\n", 90 * time.Second, "true", fleet.BootInconclusive, "Run Command did not run the script: VMAgentStatusCommunicationError", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newBootWorld(t, tt.health, tt.more)
			w.test.Spec.Bake.BootTest.BootWithin, w.test.Script = tt.within, []byte(tt.script)
			v, err := w.test.Run(t.Context(), "1.8.3")
			require.NoError(t, err)
			require.Equal(t, tt.want, v.Outcome, v.Reason)
			require.Contains(t, v.Reason, tt.reason)
			require.Contains(t, v.Words, tt.words)
			require.Empty(t, v.Left)
			w.clean(t)
		})
	}
}

// What says nothing of the image never fails it, and nothing is left of it either.
func TestBootInconclusive(t *testing.T) {
	for name, tt := range map[string]struct {
		more   string
		health string
		fault  *arm.Fault
		change func(w *bootWorld)
		reason string
	}{
		"allocation":   {more: "capacity: [{set: 'boot-*', error: AllocationFailed}]\n", reason: "AllocationFailed: Allocation failed. We do not have"},
		"zone":         {more: "capacity: [{set: 'boot-*', error: ZonalAllocationFailed}]\n", reason: "ZonalAllocationFailed"},
		"constraints":  {more: "capacity: [{set: 'boot-*', error: OverconstrainedZonalAllocationRequest}]\n", reason: "OverconstrainedZonalAllocationRequest"},
		"quota":        {more: "capacity: [{set: 'boot-*', error: OperationNotAllowed}]\n", reason: "Cores quota"},
		"quota, too":   {more: "capacity: [{set: 'boot-*', error: QuotaExceeded}]\n", reason: "QuotaExceeded"},
		"policy":       {fault: &arm.Fault{Kind: arm.FaultError, Method: "PUT", Path: "boot-", Status: 403, Code: "RequestDisallowedByPolicy", Message: "Resource was disallowed by policy."}, reason: "RequestDisallowedByPolicy"},
		"no version":   {fault: &arm.Fault{Kind: arm.FaultError, Method: "PUT", Path: "boot-", Status: 404, Code: "GalleryImageNotFound", Message: "The gallery image is not available in eastus region."}, reason: "GalleryImageNotFound"},
		"Azure failed": {health: "Unhealthy", fault: &arm.Fault{Kind: arm.FaultOperation, Method: "PUT", Path: "boot-", Code: "InternalExecutionError", Message: "An internal execution error occurred."}, reason: "InternalExecutionError"},
		"blind":        {fault: &arm.Fault{Kind: arm.FaultError, Method: "GET", Path: "virtualMachines/boot-", Status: 400, Code: "BadRequest", Message: "No."}, reason: "BadRequest: No"},
		"no region": {change: func(w *bootWorld) {
			w.test.Spec.Bake.BootTest.Like = "vmss-new"
			w.test.Spec.ScaleSets["vmss-new"] = inRegion(w.test.Spec.ScaleSets["vmss-new"], "westus3")
		}, reason: "1.8.3 is not replicated to westus3"},
		"no health": {change: func(w *bootWorld) {
			w.test.Spec.Bake.BootTest.Like = "vmss-new"
			set := w.test.Spec.ScaleSets["vmss-new"]
			set.Health = nil
			w.test.Spec.ScaleSets["vmss-new"] = set
		}, reason: "vmss-new cannot be what the test is like: it has no Application Health extension"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newBootWorld(t, tt.health, tt.more)
			if tt.fault != nil {
				require.NoError(t, w.server.SetFault(*tt.fault))
			}
			if tt.change != nil {
				tt.change(w)
			}
			v, err := w.test.Run(t.Context(), "1.8.3")
			require.NoError(t, err)
			require.Equal(t, fleet.BootInconclusive, v.Outcome, v.Reason)
			require.Contains(t, v.Reason, tt.reason)
			require.NotEmpty(t, v.Hint)
			require.Empty(t, v.Left)
			w.server.ClearFaults()
			w.clean(t)
		})
	}
}

func inRegion(s fleet.SetSpec, region string) fleet.SetSpec {
	s.Location = region
	return s
}

// A call that is killed at any request leaves what the next one takes up or makes anew,
// or what a later one sweeps; nothing is there twice.
func TestBootKilled(t *testing.T) {
	whole := newBootWorld(t, "", "")
	_, err := whole.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	kills := 0
	var told []string
	for n, request := range whole.asked {
		if slices.Contains(whole.asked[max(n-2, 0):n], request) {
			continue // another look of the same loop
		}
		for _, lost := range []bool{false, true} {
			kills += killedAt(t, n, lost, func(w *bootWorld) {
				w.told = nil
				v, err := w.test.Run(t.Context(), "1.8.3")
				require.NoError(t, err)
				require.Equal(t, fleet.BootPassed, v.Outcome, "killed at %s: %s", request, v.Reason)
				require.Empty(t, v.Left)
				told = append(told, w.told...)
			})
		}
		kills += killedAt(t, n, true, func(w *bootWorld) {
			w.server.Advance(5 * time.Minute) // too late to be taken up
			v, err := w.test.Run(t.Context(), "1.8.3")
			require.NoError(t, err)
			require.Equal(t, fleet.BootPassed, v.Outcome, "killed at %s: %s", request, v.Reason)
			told = append(told, w.told...)
		})
		kills += killedAt(t, n, true, func(w *bootWorld) {
			w.server.Advance(3 * time.Hour)
			_, err := w.test.Sweep(t.Context())
			require.NoError(t, err)
		})
	}
	require.Greater(t, kills, 24)
	require.Contains(t, told, "going on with boot-ubuntu-app-1-8-3, which another call has made")
	require.Contains(t, told, "removing boot-ubuntu-app-1-8-3, which an earlier call has left")
	t.Logf("killed %d times", kills)
}

// killedAt kills a boot test at its n-th request, before Azure has it or before its
// answer, and requires that nothing is left when another call is done. It returns how
// often it killed: a run may be over before.
func killedAt(t *testing.T, n int, lost bool, another func(w *bootWorld)) int {
	t.Helper()
	w := newBootWorld(t, "", "")
	w.left, w.last = n, lost
	wait := w.test.Wait
	w.test.Wait = func(ctx context.Context, d time.Duration) error {
		if w.dead() {
			return errors.New("killed")
		}
		return wait(ctx, d)
	}
	_, _ = w.test.Run(t.Context(), "1.8.3")
	killed := w.dead()
	w.setLeft(-1)
	w.test.Wait = wait
	require.LessOrEqual(t, len(w.members(t)), 1)
	another(w)
	w.clean(t)
	if !killed {
		return 0
	}
	return 1
}

// An end that is asked for removes the set all the same.
func TestBootInterrupted(t *testing.T) {
	w := newBootWorld(t, "", "")
	ctx, cancel := context.WithCancel(t.Context())
	wait := w.test.Wait
	w.test.Wait = func(c context.Context, d time.Duration) error {
		if len(w.members(t)) > 0 {
			cancel()
		}
		return wait(c, d)
	}
	_, err := w.test.Run(ctx, "1.8.3")
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, w.told, "removing boot-ubuntu-app-1-8-3 before this ends; an interrupt now leaves it to the next bake")
	w.clean(t)
}

// A set of that name that is not of a boot test of this fleet is never touched.
func TestBootLeavesOthers(t *testing.T) {
	for name, tags := range map[string]string{
		"no tags": "{}", "another fleet's": `{fleetctl-fleet: other, fleetctl-expires: "2026-03-05T13:00:00Z"}`, "no expiry": `{fleetctl-fleet: pay}`,
	} {
		w := newBootWorld(t, "", "")
		other := fleet.Document{"location": "eastus", "properties": fleet.Document{"orchestrationMode": "Flexible", "platformFaultDomainCount": 1}, "tags": tagsOf(tags)}
		op, err := w.test.Azure.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: bootSet, Body: other})
		require.NoError(t, err)
		_, err = op.Wait(t.Context())
		require.NoError(t, err)
		before, err := w.test.Azure.Resource(t.Context(), bootSet, "")
		require.NoError(t, err)

		_, err = w.test.Run(t.Context(), "1.8.3")
		require.ErrorContains(t, err, "the scale set boot-ubuntu-app-1-8-3 is there, and is not of a boot test of the fleet pay", name)
		w.server.Advance(24 * time.Hour)
		swept, err := w.test.Sweep(t.Context())
		require.NoError(t, err)
		require.Empty(t, swept)
		after, err := w.test.Azure.Resource(t.Context(), bootSet, "")
		require.NoError(t, err)
		require.Equal(t, before.Body, after.Body, name)
	}
}

func tagsOf(text string) fleet.Document {
	switch {
	case strings.Contains(text, "other"):
		return fleet.Document{fleet.TagFleet: "other", fleet.TagExpires: "2026-03-05T13:00:00Z"}
	case strings.Contains(text, "pay"):
		return fleet.Document{fleet.TagFleet: "pay"}
	}
	return fleet.Document{}
}

// What cannot be removed is named, beside the verdict.
func TestBootLeft(t *testing.T) {
	w := newBootWorld(t, "", "")
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: "DELETE", Status: 409, Code: "ScopeLocked", Message: "The scope is locked."}))
	v, err := w.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	require.Equal(t, fleet.BootPassed, v.Outcome)
	require.Contains(t, v.Left, "boot-ubuntu-app-1-8-3 could not be removed: ")
	require.Contains(t, v.Left, "ScopeLocked")

	_, err = w.test.Sweep(t.Context())
	require.NoError(t, err)
	require.Len(t, w.members(t), 1, "it has not expired")
	w.server.Advance(3 * time.Hour)
	_, err = w.test.Sweep(t.Context())
	require.ErrorContains(t, err, "remove boot-ubuntu-app-1-8-3: ")
	w.server.ClearFaults()
	swept, err := w.test.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"boot-ubuntu-app-1-8-3"}, swept)
	w.clean(t)
}

// How long an instance has had is told by Azure's clock, also when this machine's stands
// still.
func TestBootAzuresClock(t *testing.T) {
	w := newBootWorld(t, "Unhealthy", "")
	here := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	var ahead time.Duration
	w.test.Now = func() time.Time { return here.Add(ahead) }
	w.test.Saw = func(at time.Time) { ahead = at.Sub(here) }
	wait, waits := w.test.Wait, 0
	w.test.Wait = func(ctx context.Context, d time.Duration) error {
		if waits++; waits > 500 {
			return errors.New("it has no end")
		}
		return wait(ctx, d)
	}
	v, err := w.test.Run(t.Context(), "1.8.3")
	require.NoError(t, err)
	require.Equal(t, fleet.BootFailed, v.Outcome, v.Reason)
	w.clean(t)
}
