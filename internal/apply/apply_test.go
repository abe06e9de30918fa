package apply_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/apply"
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
	group   = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	build   = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-build"
	account = build + "/providers/Microsoft.Storage/storageAccounts/stbuild"
	gallery = group + "/providers/Microsoft.Compute/galleries/galProd"
)

// all is how many resources the foundation of spec has when there is nothing.
const all = 7

func spec() *fleet.Spec {
	return &fleet.Spec{
		Name: "pay", Subscription: arm.DefaultSubscription, ResourceGroup: "rg-pay-prod", Location: "eastus", Tags: map[string]string{"owner": "payments"},
		Gallery: &fleet.GallerySpec{Name: "galProd", Manage: fleet.ManageFull, Image: fleet.DefinitionSpec{Name: "ubuntu-app", Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy"}},
		Bake: &fleet.BakeSpec{Identity: "id-aib", Customize: []fleet.CustomizeSpec{
			{Name: "cis", Script: "https://stbuild.blob.core.windows.net/scripts/cis.sh"},
		}},
	}
}

// An azureSim is a simulated subscription whose time passes when somebody waits, with
// a storage account in it and nothing else.
type azureSim struct {
	*arm.Server

	t        *testing.T
	endpoint *httptest.Server
}

func start(t *testing.T, wrap func(http.Handler) http.Handler) *azureSim {
	t.Helper()
	clock := arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0)
	server, err := arm.New(arm.Config{Clock: clock, Unthrottled: true})
	require.NoError(t, err)
	s := &azureSim{Server: server, t: t}
	handler := http.Handler(server)
	if wrap != nil {
		handler = wrap(handler)
	}
	s.endpoint = armjudge.Serve(t, standstill.Handler(server, handler))
	s.put(build, "2021-04-01", fleet.Document{"location": "eastus"})
	s.put(account, "2023-05-01", fleet.Document{"location": "eastus", "kind": "StorageV2", "sku": fleet.Document{"name": "Standard_LRS"}})
	return s
}

// ask asks the simulator directly, past what stands before it.
func (s *azureSim) ask(method, id, version string, body fleet.Document) int {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	r := httptest.NewRequestWithContext(s.t.Context(), method, id+"?api-version="+version, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

func (s *azureSim) put(id, version string, body fleet.Document) {
	s.t.Helper()
	require.Less(s.t, s.ask(http.MethodPut, id, version, body), 300, id)
}

func (s *azureSim) client() *azure.Client {
	s.t.Helper()
	c, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return s.endpoint.URL
		}
		return ""
	}})
	require.NoError(s.t, err)
	return c
}

// An outcome is what an apply did and told.
type outcome struct {
	apply.Result

	told []string
}

// apply reads and applies, as a process of its own would.
func (s *azureSim) apply(ctx context.Context, spec *fleet.Spec, change ...func(*apply.Applier)) (outcome, error) {
	s.t.Helper()
	live, err := apply.Read(ctx, s.client(), spec)
	if err != nil {
		return outcome{}, err
	}
	return s.applyTo(ctx, spec, live, change...)
}

func (s *azureSim) applyTo(ctx context.Context, spec *fleet.Spec, live *fleet.Live, change ...func(*apply.Applier)) (outcome, error) {
	s.t.Helper()
	var out outcome
	a := &apply.Applier{
		Azure: s.client(), Spec: spec,
		Wait: func(ctx context.Context, d time.Duration) error {
			s.Advance(d)
			return ctx.Err()
		},
		Tell: func(e apply.Event) {
			out.told = append(out.told, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Change.Kind, e.Text)))
		},
	}
	for _, c := range change {
		c(a)
	}
	var err error
	out.Result, err = a.Apply(ctx, live)
	return out, err
}

// writes are the writes that were answered since the n-th request: "PUT ID 201".
func (s *azureSim) writes(n int) []string {
	var list []string
	for _, r := range s.Requests()[n:] {
		if r.Method != http.MethodGet && r.Status < 300 {
			list = append(list, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
		}
	}
	return list
}

// requireDone: all that the file asks for is there.
func (s *azureSim) requireDone(spec *fleet.Spec) []fleet.Change {
	s.t.Helper()
	live, err := apply.Read(s.t.Context(), s.client(), spec)
	require.NoError(s.t, err)
	changes := fleet.PlanFoundation(spec, live, false).Changes
	require.Len(s.t, changes, all)
	for _, c := range changes {
		require.Equal(s.t, fleet.ActionNone, c.Action, "%s %s: %s %v", c.Kind, c.Name, c.Note, c.Properties)
	}
	require.Empty(s.t, fleet.FoundationMissing(spec, live))
	return changes
}

// requireOnce: all that the file asks for is there, and was made once.
func (s *azureSim) requireOnce(spec *fleet.Spec) {
	s.t.Helper()
	for _, c := range s.requireDone(spec) {
		made := 0
		for _, w := range s.writes(0) {
			if strings.EqualFold(w, "PUT "+string(c.ID)+" 201") {
				made++
			}
		}
		require.Equal(s.t, 1, made, "%s %s", c.Kind, c.Name)
	}
}

// From nothing to all of it, every body as Azure's types want it; and then nothing more.
func TestApplyFromNothing(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	var judge *judgeproxy.Proxy
	sim := start(t, func(next http.Handler) http.Handler {
		judge = judgeproxy.New(judgeproxy.Config{Next: next, Types: types})
		return judge
	})
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, all, out.Count(fleet.ActionCreate))
	require.Empty(t, out.Left.Notes)
	sim.requireOnce(spec())

	// Tags and the role drift, and are put right with the smallest body.
	require.Equal(t, 200, sim.ask(http.MethodPatch, group, "2021-04-01", fleet.Document{"tags": fleet.Document{"owner": "x", "cost": "7"}}))
	require.Equal(t, 200, sim.ask(http.MethodPatch, gallery, "2025-12-03", fleet.Document{"tags": fleet.Document{"owner": "x"}}))
	for _, i := range []int{1, 3} { // the identity and the definition
		sim.patch(string(out.Written[i].ID), fleet.Document{"tags": fleet.Document{"owner": "x"}})
	}
	role := out.Written[4].ID
	body := maps.Clone(out.Written[4].Write.Body["properties"].(fleet.Document))
	body["permissions"] = []any{fleet.Document{"actions": []any{"*"}}}
	sim.put(string(role), "2022-04-01", fleet.Document{"properties": body})
	drifted, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, 5, drifted.Count(fleet.ActionUpdate))
	require.Zero(t, drifted.Count(fleet.ActionCreate))
	read, err := sim.client().Resource(t.Context(), group, "")
	require.NoError(t, err)
	require.Equal(t, fleet.Document{"owner": "payments", "cost": "7"}, read.Body["tags"])
	sim.requireDone(spec())

	report := judge.Report()
	roles := 0
	for _, f := range report.Findings {
		if f.Path == "$.id" && strings.Contains(f.Exchange, "/roleDefinitions/") {
			roles++ // Azure keeps roles at the subscription, wherever they are asked for
			continue
		}
		t.Errorf("%s", f)
	}
	require.Positive(t, roles)
	require.Positive(t, report.Requests)
	t.Logf("%v", report) // Microsoft.Resources has no published type there

	before := len(sim.Requests())
	again, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Empty(t, again.Written)
	require.Empty(t, sim.writes(before), "a second apply writes nothing")
	require.Greater(t, len(sim.Requests()), before+all)
}

// A reaper ends a process at its n-th request, before or after it is served: the answer
// is lost, and nothing more is sent.
type reaper struct {
	next   http.Handler
	at     int64
	served bool
	kill   context.CancelFunc
	seen   atomic.Int64
}

func (r *reaper) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.seen.Add(1) != r.at {
		r.next.ServeHTTP(w, req)
		return
	}
	if r.served {
		r.next.ServeHTTP(httptest.NewRecorder(), req)
	}
	r.kill()
	panic(http.ErrAbortHandler)
}

// An apply that is killed at any request, served or not, leaves what the next one takes
// up: all is there in the end, and nothing was made twice.
func TestApplyKilled(t *testing.T) {
	kills := 0
	for _, served := range []bool{false, true} {
		for n := int64(1); ; n++ {
			ctx, kill := context.WithCancel(t.Context())
			var r *reaper
			sim := start(t, func(next http.Handler) http.Handler {
				r = &reaper{next: next, at: n, served: served, kill: kill}
				return r
			})
			_, err := sim.apply(ctx, spec())
			kill()
			if r.seen.Load() < n {
				require.NoError(t, err)
				break
			}
			kills++
			require.ErrorIs(t, err, context.Canceled, "request %d", n)
			_, err = sim.apply(t.Context(), spec())
			require.NoError(t, err, "request %d, served: %v", n, served)
			sim.requireOnce(spec())
		}
	}
	require.Greater(t, kills, 60)
	t.Logf("%d kills", kills)
}

// Two at once both end well: what one has made the other finds, and says so.
func TestApplyTwice(t *testing.T) {
	sim := start(t, nil)
	outs := make([]outcome, 2)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range outs {
		both.Go(func() { outs[i], errs[i] = sim.apply(t.Context(), spec()) })
	}
	both.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.GreaterOrEqual(t, len(outs[0].Written)+len(outs[1].Written), all)
	sim.requireDone(spec()) // the role is perhaps put twice, alike
}

// patch is what another tool does to a resource, and is over when it returns.
func (s *azureSim) patch(id string, body fleet.Document) {
	s.t.Helper()
	require.Less(s.t, s.ask(http.MethodPatch, id, fleet.APIVersion(fleet.ResourceID(id)), body), 300, id)
	s.Advance(time.Minute)
}

// What was changed between the plan and the write is planned again, and told.
func TestApplyAgain(t *testing.T) {
	sim := start(t, nil)
	_, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	sim.patch(gallery, fleet.Document{"tags": fleet.Document{"owner": "x"}})
	live, err := apply.Read(t.Context(), sim.client(), spec())
	require.NoError(t, err)
	sim.patch(gallery, fleet.Document{"tags": fleet.Document{"owner": "x", "cost": "7"}})

	out, err := sim.applyTo(t.Context(), spec(), live)
	require.NoError(t, err)
	require.Len(t, out.Written, 1)
	require.Contains(t, out.told[1], "again gallery PATCH galleries/galProd: PreconditionFailed")
	read, err := sim.client().Resource(t.Context(), gallery, "")
	require.NoError(t, err)
	require.Equal(t, fleet.Document{"owner": "payments", "cost": "7"}, read.Body["tags"], "what the other wrote is kept")

	// Its own deed, whose answer was lost, is found and counted.
	sim.patch(gallery, fleet.Document{"tags": fleet.Document{"owner": "x"}})
	require.NoError(t, sim.SetFault(arm.Fault{Kind: arm.FaultLost, Method: http.MethodPatch, Path: "galProd", Count: 1}))
	out, err = sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, 1, out.Count(fleet.ActionUpdate), out.told)

	// Not for ever: a resource that cannot be got hold of is an error.
	sim.patch(gallery, fleet.Document{"tags": fleet.Document{"owner": "x"}})
	require.NoError(t, sim.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPatch, Path: "galProd", Status: 409, Code: "Conflict", Message: "busy"}))
	_, err = sim.apply(t.Context(), spec())
	require.ErrorIs(t, err, &azure.Error{Kind: azure.Conflict})
}

// A write that goes on, of another one or of one that was killed, is waited for.
func TestApplyBusy(t *testing.T) {
	sim := start(t, nil)
	_, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Less(t, sim.ask(http.MethodPatch, gallery, "2025-12-03", fleet.Document{"tags": fleet.Document{"cost": "7"}}), 300)
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Empty(t, out.Written)
	require.Equal(t, []string{"waiting  galProd is Updating"}, out.told)

	// Not for ever.
	require.Less(t, sim.ask(http.MethodPatch, gallery, "2025-12-03", fleet.Document{"tags": fleet.Document{"cost": "8"}}), 300)
	looks := 0
	_, err = sim.apply(t.Context(), spec(), func(a *apply.Applier) {
		a.Wait = func(context.Context, time.Duration) error { looks++; return nil }
	})
	require.ErrorContains(t, err, "galProd is Updating for 15m0s now")
	require.Equal(t, 90, looks)
}

// What Azure makes something else of is written once, and told.
func TestApplyKept(t *testing.T) {
	sim := start(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/galProd") {
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder() // a policy's tag
			next.ServeHTTP(answer, r)
			maps.Copy(w.Header(), answer.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(answer.Code)
			_, _ = w.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte("payments"), []byte("policy")))
		})
	})
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Len(t, out.Written, all)
	require.Contains(t, out.told, "kept gallery")
	require.Equal(t, fleet.ActionUpdate, out.Left.Changes[2].Action)
}

// denied is Azure's answer to who may not.
func denied(method, path, action string) arm.Fault {
	return arm.Fault{
		Kind: arm.FaultError, Method: method, Path: path, Status: 403, Code: "AuthorizationFailed",
		Message: "The client 'x' does not have authorization to perform action '" + action + "' over scope '" + group + "'.",
	}
}

// Who may not write roles gets the commands, and the rest is done. When the commands
// were run, nothing is left.
func TestApplyDenied(t *testing.T) {
	sim := start(t, nil)
	for _, path := range []string{"roleDefinitions", "roleAssignments"} {
		require.NoError(t, sim.SetFault(denied(http.MethodPut, path, "Microsoft.Authorization/"+path+"/write")))
	}
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, 4, out.Count(fleet.ActionCreate))
	var commands []string
	for _, c := range out.Left.Changes {
		if c.Action != fleet.ActionNone {
			require.Equal(t, fleet.ActionUnknown, c.Action)
			commands = append(commands, c.Commands...)
		}
	}
	require.Len(t, commands, 3)
	require.Contains(t, commands[1], "az role assignment create --assignee-object-id ")
	require.NotContains(t, commands[1], "az identity show", "the principal is known now")

	// A role of another GUID, as az makes it, and its assignment.
	sim.ClearFaults()
	principal := strings.Trim(strings.Fields(commands[1])[5], "'")
	const role = "0a0a0a0a-0000-4000-8000-000000000001"
	name, _ := spec().BuilderRole()
	sim.put(group+"/providers/Microsoft.Authorization/roleDefinitions/"+role, "2022-04-01", fleet.Document{"properties": fleet.Document{
		"roleName": name, "type": "CustomRole", "description": "What Azure Image Builder needs to distribute an image.",
		"permissions": []any{fleet.Document{"actions": []any{
			"Microsoft.Compute/images/write", "Microsoft.Compute/images/read", "Microsoft.Compute/images/delete", "Microsoft.Compute/galleries/read",
			"Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read", "Microsoft.Compute/galleries/images/versions/write",
		}}},
		"assignableScopes": []any{group},
	}})
	live, err := apply.Read(t.Context(), sim.client(), spec())
	require.NoError(t, err)
	plan := fleet.PlanFoundation(spec(), live, false)
	require.Equal(t, fleet.ActionNone, plan.Changes[4].Action, "%v", plan.Changes[4])
	require.Contains(t, plan.Changes[5].Write.Body["properties"].(fleet.Document)["roleDefinitionId"], role)
	for i, scope := range []string{group, account} {
		id := role
		if scope == account {
			id = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1" // Storage Blob Data Reader
		}
		sim.put(fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/0b0b0b0b-0000-4000-8000-00000000000%d", scope, i), "2022-04-01", fleet.Document{"properties": fleet.Document{
			"roleDefinitionId": "/subscriptions/" + arm.DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/" + id, "principalId": principal,
		}})
	}
	before := len(sim.Requests())
	out, err = sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Empty(t, sim.writes(before))
	for i, c := range sim.requireDone(spec())[5:] {
		require.Equal(t, fmt.Sprintf("assigned already, as 0b0b0b0b-0000-4000-8000-00000000000%d", i), c.Note)
	}
	require.Empty(t, out.Written)
}

// An identity that has a role of Azure's that covers the builder's needs no other.
func TestApplyCovered(t *testing.T) {
	sim := start(t, nil)
	require.NoError(t, sim.SetFault(denied(http.MethodPut, "roleAssignments", "Microsoft.Authorization/roleAssignments/write")))
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	sim.ClearFaults()
	require.Equal(t, http.StatusOK, sim.ask(http.MethodDelete, string(out.Written[4].ID), "2022-04-01", nil))
	principal := strings.Trim(strings.Fields(out.Left.Changes[5].Commands[0])[5], "'")
	for name, role := range map[string]string{
		"0c0c0c0c-0000-4000-8000-000000000001": "b24988ac-6180-42a0-ab88-20f7382dd24c", // Contributor
		"0c0c0c0c-0000-4000-8000-000000000002": "ba92f5b4-2d11-453d-a403-e96b0029c9fe", // Storage Blob Data Contributor
	} {
		sim.put("/subscriptions/"+arm.DefaultSubscription+"/providers/Microsoft.Authorization/roleAssignments/"+name, "2022-04-01", fleet.Document{"properties": fleet.Document{
			"roleDefinitionId": "/subscriptions/" + arm.DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal,
		}})
	}
	before := len(sim.Requests())
	_, err = sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Empty(t, sim.writes(before))
	var notes []string
	for _, c := range sim.requireDone(spec())[4:] {
		notes = append(notes, c.Note)
	}
	require.Equal(t, []string{
		"not needed: id-aib has Contributor on " + arm.DefaultSubscription,
		"not needed: id-aib has Contributor on " + arm.DefaultSubscription,
		"not needed: id-aib has Storage Blob Data Contributor on " + arm.DefaultSubscription,
	}, notes)
}

// Who may not read what roles there are, and the like, can apply all the same, and
// again. What every Reader may read is needed.
func TestApplyBlind(t *testing.T) {
	sim := start(t, nil)
	_, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	for _, path := range []string{"roleAssignments", "/permissions", "storageAccounts", "/providers/Microsoft.KeyVault"} {
		require.NoError(t, sim.SetFault(denied(http.MethodGet, path, "x/read")))
	}
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Empty(t, out.Written)
	require.Len(t, out.Left.Notes, 2)
	require.Equal(t, http.StatusOK, sim.ask(http.MethodDelete, string(out.Left.Changes[5].ID), "2022-04-01", nil))
	out, err = sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Len(t, out.Written, 1)

	require.NoError(t, sim.SetFault(denied(http.MethodGet, "roleDefinitions", "Microsoft.Authorization/roleDefinitions/read")))
	_, err = sim.apply(t.Context(), spec())
	require.ErrorIs(t, err, &azure.Error{Kind: azure.Denied})
}

// A role that Azure does not know everywhere yet is waited for, with an end.
func TestApplyLate(t *testing.T) {
	for _, code := range []string{"RoleDefinitionDoesNotExist", "PrincipalNotFound"} {
		sim := start(t, nil)
		late := arm.Fault{Kind: arm.FaultError, Method: http.MethodPut, Path: "roleAssignments", Status: 400, Code: code, Message: "not there", Count: 2}
		require.NoError(t, sim.SetFault(late))
		out, err := sim.apply(t.Context(), spec())
		require.NoError(t, err)
		require.Contains(t, strings.Join(out.told, "\n"), "waiting role assignment Azure does not know everywhere yet")
		sim.requireOnce(spec())
	}
	sim := start(t, nil)
	require.NoError(t, sim.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPut, Path: "roleAssignments", Status: 400, Code: "PrincipalNotFound", Message: "not there"}))
	_, err := sim.apply(t.Context(), spec())
	require.ErrorContains(t, err, "PrincipalNotFound: not there")
}

// A write that failed in Azure is written again by the next run.
func TestApplyFailed(t *testing.T) {
	sim := start(t, nil)
	require.NoError(t, sim.SetFault(arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPut, Path: "galProd", Count: 1, Code: "InternalError", Message: "Azure failed."}))
	out, err := sim.apply(t.Context(), spec())
	require.ErrorContains(t, err, "InternalError: Azure failed.")
	require.Len(t, out.Written, 2)
	out, err = sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, 1, out.Count(fleet.ActionUpdate))
	require.Equal(t, "properties.provisioningState", out.Written[0].Properties[0].Path)
	sim.requireDone(spec())
}

// One that Azure has taken goes on when nobody can ask for its end.
func TestApplyUnpolled(t *testing.T) {
	sim := start(t, nil)
	require.NoError(t, sim.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodGet, Path: "/operations/", Status: 501, Code: "Outage", Message: "Azure failed.", Count: 3}))
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Contains(t, strings.Join(out.told, "\n"), "it goes on in Azure")
	sim.requireDone(spec())
}

// A definition that differs is refused before anything is written.
func TestApplyRefused(t *testing.T) {
	sim := start(t, nil)
	_, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	sim.patch(gallery, fleet.Document{"tags": fleet.Document{"owner": "x"}})
	other := spec()
	other.Gallery.Image.SKU = "app-noble"
	before := len(sim.Requests())
	_, err = sim.apply(t.Context(), other)
	require.ErrorIs(t, err, apply.ErrRefused)
	require.Empty(t, sim.writes(before))
}

// Resource providers are registered only when that is asked for, and first.
func TestApplyProviders(t *testing.T) {
	sim := start(t, nil)
	provider := "/subscriptions/" + arm.DefaultSubscription + "/providers/Microsoft.ManagedIdentity"
	require.Equal(t, 200, sim.ask(http.MethodPost, provider+"/unregister", "2021-04-01", nil))
	out, err := sim.apply(t.Context(), spec())
	require.NoError(t, err)
	require.Equal(t, 4, out.Count(fleet.ActionCreate), "group, gallery, definition and role")
	require.Equal(t, []string{"az provider register --namespace Microsoft.ManagedIdentity --subscription " + arm.DefaultSubscription}, out.Left.Changes[0].Commands)

	register := func(a *apply.Applier) { a.Register = true }
	require.NoError(t, sim.SetFault(denied(http.MethodPost, "register", "Microsoft.ManagedIdentity/register/action")))
	out, err = sim.apply(t.Context(), spec(), register)
	require.NoError(t, err)
	require.Empty(t, out.Written)
	require.NotEmpty(t, out.Left.Changes[0].Commands, "who may not gets the command")

	sim.ClearFaults()
	out, err = sim.apply(t.Context(), spec(), register)
	require.NoError(t, err)
	require.Equal(t, "resource provider", out.Written[0].Kind)
	sim.requireOnce(spec())
}

// A subscription that is not there is not an empty one.
func TestApplyNoSubscription(t *testing.T) {
	sim := start(t, nil)
	other := spec()
	other.Subscription = "99999999-9999-9999-9999-999999999999"
	_, err := sim.apply(t.Context(), other)
	require.ErrorContains(t, err, "SubscriptionNotFound")
}
