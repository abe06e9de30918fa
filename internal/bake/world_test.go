package bake_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const (
	group      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	definition = group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
	builds     = group + "/providers/Microsoft.VirtualMachineImages/imageTemplates"
)

// ground is an Azure in which a bake can begin: a gallery with an image definition, the
// identity of Image Builder with its role, and the set that the boot test is like.
const ground = `
resource_group: rg-pay-prod
location: eastus
providers: {Microsoft.VirtualMachineImages: Registered, Microsoft.KeyVault: Registered, Microsoft.Compute: Registered, Microsoft.Storage: Registered, Microsoft.Network: Registered, Microsoft.ContainerInstance: Registered, Microsoft.ManagedIdentity: Registered}
galleries:
  - name: galProd
    definitions:
      - {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy, security_type: TrustedLaunchSupported%s}
scale_sets:
  - name: vmss-authz
    zones: ["1", "2", "3"]
    vm_size: Standard_D2as_v5
    health: {version: "2.0", protocol: http, port: 8080, path: /healthz, interval: 5s, probes: 2, grace: 5m}
    identities: [id-authz]
    image: Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest
roles:
  effective_after: %s
  definitions:
    - name: builder
      actions:
        - Microsoft.Compute/galleries/read
        - Microsoft.Compute/galleries/images/read
        - Microsoft.Compute/galleries/images/versions/read
        - Microsoft.Compute/galleries/images/versions/write
        - Microsoft.Compute/images/write
        - Microsoft.Compute/images/read
        - Microsoft.Compute/images/delete
  assignments: [{identity: id-aib, role: builder}]
storage_accounts:
  - {name: stbuild, containers: [artifacts]}
replication: {takes: %s}
builds:
%s`

// file is the fleet.yaml of the tests.
const file = `version: 1
name: pay
subscription: ` + arm.DefaultSubscription + `
resource_group: rg-pay-prod
location: eastus
gallery:
  name: galProd
  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}
  replicas: 3
  regions: {westus3: 2}
  end_of_life: 180d
bake:
  identity: id-aib
  source: {publisher: Canonical, offer: 0001-com-ubuntu-server-jammy, sku: 22_04-lts-gen2, version: latest}
  vm_size: Standard_D2as_v5
  timeout: 60m
  version: %s
  customize:
    - {name: agent, script: agent.sh}
    - {name: install, script: install.sh}
  validate:
    - {name: boots, script: boots.sh}
  boot_test: {like: vmss-authz, boot_within: 5m}
scale_sets:
  vmss-authz: {manage: image, id: /subscriptions/` + arm.DefaultSubscription + `/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz}
`

// quick makes a build of few polls.
const quick = "  - {takes: {creating: 15s, queued: 10s, building: 10s, customizer: 5s, optimizing: 5s, validating: 5s, canceling: 20s}}\n"

// A world is a simulated Azure whose time passes only while somebody waits, behind a
// judge of everything that is sent.
type world struct {
	t      *testing.T
	server *arm.Server
	clock  *arm.Clock
	judge  *judgeproxy.Proxy
	next   http.Handler

	// lost is called with each request that was served; true: its answer is lost on the
	// way, and the client lives on.
	lost func(r *http.Request) bool
	// refuse is called with the number of each request; true: it is denied.
	refuse func(n int, r *http.Request) bool
	// before is called with the number of each request; true: the client dies there,
	// and the request is not served. after is the same, once it was.
	before, after func(n int, r *http.Request) bool

	reader *azure.Client // beside all calls

	mu     sync.Mutex // guards what follows
	asked  int
	dead   bool
	killed func()   // ends what the client was doing
	served []string // METHOD path status
}

// A setup is what is different from the usual.
type setup struct {
	builds      string // entries of the scenario's section
	versions    string // of the definition, with a comma before
	rolesAfter  string
	replication string
	answers     bool // the judge reads those to GET, too, which takes long
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0)}
	or := func(a, b string) string {
		if a == "" {
			return b
		}
		return a
	}
	scenario, err := arm.ParseScenario("ground.yaml", fmt.Appendf(nil, ground, s.versions, or(s.rolesAfter, "0s"), or(s.replication, "20s"), s.builds+quick))
	require.NoError(t, err)
	w.server, err = arm.New(arm.Config{Clock: w.clock, Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	w.judge = judgeproxy.New(judgeproxy.Config{Next: w.server, Types: bake.PublishedTypes(t)})
	w.next = standstill.Handler(w.server, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		blob := strings.HasPrefix(r.URL.Path, "/blob/") // which is no Azure Resource Manager
		if blob || r.Method == http.MethodGet && !s.answers {
			w.server.ServeHTTP(rw, r)
			return
		}
		w.judge.ServeHTTP(rw, r)
	}))
	w.reader = w.client()
	t.Cleanup(func() {
		report := w.judge.Report()
		for _, f := range report.Findings {
			t.Errorf("%s", f)
		}
		t.Logf("%v", report)
	})
	return w
}

// ServeHTTP stands between a client and the judge.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked++
	n := w.asked
	dead := w.dead
	w.mu.Unlock()
	if dead {
		http.Error(rw, "{}", http.StatusBadRequest) // what a dead client sends on is not served
		return
	}
	if w.refuse != nil && w.refuse(n, r) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(rw, `{"error":{"code":"AuthorizationFailed","message":"not now"}}`)
		return
	}
	if w.before != nil && w.before(n, r) {
		w.die()
	}
	rec := httptest.NewRecorder()
	w.next.ServeHTTP(rec, r)
	w.mu.Lock()
	w.served = append(w.served, fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, rec.Code))
	w.mu.Unlock()
	if w.after != nil && w.after(n, r) {
		w.die()
	}
	if w.lost != nil && w.lost(r) {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(rec.Body.Bytes())
}

// die cuts the connection, and every later one.
func (w *world) die() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.killed()
	panic(http.ErrAbortHandler)
}

func (w *world) revive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead, w.before, w.after = false, nil, nil
}

// count returns how many requests were served whose text has all the parts.
func (w *world) count(parts ...string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.served {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) }) {
			n++
		}
	}
	return n
}

// A call is one call of bake with what it told.
type call struct {
	*bake.Runner

	told []string
}

// newCall makes a client and a runner with a call id of its own. Version is that of the
// file; content stands in a script.
func (w *world) newCall(id, version, content string) *call {
	w.t.Helper()
	spec := specOf(w.t, version)
	c := &call{}
	c.Runner = &bake.Runner{
		Azure: w.client(), Spec: spec, Content: contentOf(w.t, spec, content), Call: id, Now: w.clock.Now,
		Wait: func(ctx context.Context, d time.Duration) error {
			w.server.Advance(d)
			return ctx.Err()
		},
		Tell: func(e bake.Event) { c.told = append(c.told, string(e.Kind)+" "+e.Text) },
	}
	return c
}

// client makes a client with connections of its own.
func (w *world) client() *azure.Client {
	w.t.Helper()
	endpoint := armjudge.Serve(w.t, w)
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(w.t, err)
	return client
}

func specOf(t *testing.T, version string) *fleet.Spec {
	t.Helper()
	f, err := fleetfile.Read("fleet.yaml", fmt.Appendf(nil, file, version), os.LookupEnv)
	require.NoError(t, err)
	return f.Spec
}

func contentOf(t *testing.T, spec *fleet.Spec, text string) *fleet.Content {
	t.Helper()
	var files []fleet.SourceFile
	for _, path := range spec.SourcePaths() {
		data := []byte("echo " + filepath.Base(path) + " " + text + "\n")
		files = append(files, fleet.SourceFile{Path: path, Size: int64(len(data)), Data: data})
	}
	content, err := fleet.NewContent(spec, files)
	require.NoError(t, err)
	return content
}

// read returns a resource as it is, beside all clients.
func (w *world) read(path string) (map[string]any, bool) {
	w.t.Helper()
	body, err := w.reader.Resource(context.Background(), fleet.ResourceID(path), "")
	if err != nil {
		require.ErrorIs(w.t, err, &azure.Error{Kind: azure.NotFound})
		return nil, false
	}
	return body.Body, true
}

// names returns the names of a collection.
func (w *world) names(collection string) []string {
	w.t.Helper()
	all, err := w.reader.Resources(context.Background(), fleet.ResourceID(collection), "")
	require.NoError(w.t, err)
	names := []string{}
	for _, d := range all {
		names = append(names, d["name"].(string))
	}
	return names
}

// tags returns the tags of a version.
func (w *world) tags(version string) map[string]any {
	w.t.Helper()
	body, ok := w.read(definition + "/versions/" + version)
	require.True(w.t, ok, version)
	tags, _ := body["tags"].(map[string]any)
	return tags
}
