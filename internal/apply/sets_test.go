package apply_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// setGround is a gallery with a version that is promoted, and no scale set.
const setGround = `
resource_group: rg-pay-prod
location: eastus
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        security_type: TrustedLaunchSupported
        versions:
          - {name: 1.8.3, published: 10d, regions: {eastus: {}, westus3: {}}, health: %s}
          - {name: 1.8.4, published: 1d, excluded: true, regions: {eastus: {}, westus3: {}}}
run_commands:
%s  - {contains: "fleet-agent drain", stdout: "drained\nfleetctl: exit 0\n"}
  - {contains: "fleet-agent undrain", stdout: "undrained\nfleetctl: exit 0\n"}
`

// setFile is a file with a set for each driver that the simulator knows, and a Spot mix.
const setFile = `version: 1
name: pay
subscription: ` + arm.DefaultSubscription + `
resource_group: rg-pay-prod
location: eastus
tags: {owner: payments}
gallery:
  name: galProd
  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}
defaults:
  create: {capacity: 3, vm_size: Standard_D2as_v5, zones: [1, 2, 3], network: {subnet: ` + group + `/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app}, admin: azureuser, ssh_key: key.pub}
  health: {extension: "2.0", protocol: http, port: 8080, path: /healthz, interval: 5s, probes: 2, grace: 5m}
  upgrade: {driver: batches, batch: 34%, max_unhealthy: 35%, pause: 1m}
  repairs: {after: 30m, action: replace}
  terminate_notice: 5m
scale_sets:
  vmss-authz:
    autoscale:
      min: 3
      max: 30
      default: 3
      out: {metric: Percentage CPU, above: 70, over: 5m, by: 2, cooldown: 5m}
      in: {metric: Percentage CPU, below: 30, over: 10m, by: 1, cooldown: 10m}
      predictive: {mode: forecast-only, look_ahead: 15m}
  vmss-batch:
    spot: {regular_base: 1, regular_above_base: 50%, eviction: deallocate, restore: 1h}
    terminate_notice: off
  vmss-rolling:
    upgrade: {driver: platform-rolling}
rollout:
  waves: [{name: all, scale_sets: [vmss-authz], soak: 10m}]
  drain: run-command
  journal: rollouts
`

const setKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx ops"

// A setWorld is a simulated Azure whose time passes only while somebody waits, behind a
// judge of everything that is sent.
type setWorld struct {
	*arm.Server

	t      *testing.T
	clock  *arm.Clock
	judge  *judgeproxy.Proxy
	next   http.Handler
	reader *azure.Client
	state  string // the directory in which the simulation is kept; empty: none
	gets   atomic.Int64
	lists  atomic.Int64 // of gets: pages of lists

	mu   sync.Mutex // guards what follows
	sent []sentWrite
}

// A sentWrite is a request that is no GET, and what became of it.
type sentWrite struct {
	method, path    string
	ifMatch, ifNone string
	body            fleet.Document
	status          int
}

func (w sentWrite) String() string {
	return fmt.Sprintf("%s %s %d", w.method, w.path[strings.LastIndexByte(w.path, '/')+1:], w.status)
}

// published are Azure's types, read once.
var published struct {
	sync.Once
	types *armtypes.Types
	err   error
}

type setSetup struct{ health, commands, state string }

func newSetWorld(t *testing.T, setup setSetup) *setWorld {
	t.Helper()
	dir := testkit.Published(t, "types")
	published.Do(func() { published.types, published.err = armtypes.Load(dir) })
	require.NoError(t, published.err)
	if setup.health == "" {
		setup.health = "Healthy"
	}
	w := &setWorld{t: t, clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0), state: setup.state}
	scenario, err := arm.ParseScenario("ground.yaml", fmt.Appendf(nil, setGround, setup.health, setup.commands))
	require.NoError(t, err)
	w.Server, err = arm.New(arm.Config{Clock: w.clock, Unthrottled: true, Rules: scenario.Rules(), State: setup.state})
	require.NoError(t, err)
	require.NoError(t, w.Apply(scenario))
	w.judge = judgeproxy.New(judgeproxy.Config{Next: w.Server, Types: published.types})
	w.next = standstill.Handler(w.Server, w.judge)
	t.Cleanup(func() {
		for _, f := range w.judge.Report().Findings {
			if !strings.Contains(f.Path, "future") { // what a newer client has made
				t.Errorf("%s", f)
			}
		}
	})
	w.reader = w.client(nil)
	return w
}

// listOf is the path of a list: it ends with a type.
var listOf = regexp.MustCompile(`(?i)/(virtualMachineScaleSets|virtualMachines|autoscaleSettings|images|versions)$`)

// client makes a client with connections of its own. Before is called with each request.
func (w *setWorld) client(before func(r *http.Request, serve func())) *azure.Client {
	w.t.Helper()
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		serve := func() { w.serve(rw, r) }
		if before == nil {
			serve()
			return
		}
		before(r, serve)
	})
	endpoint := httptest.NewServer(handler)
	w.t.Cleanup(endpoint.Close)
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(w.t, err)
	return client
}

// serve serves a request, and keeps what writes.
func (w *setWorld) serve(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.gets.Add(1)
		if listOf.MatchString(r.URL.Path) {
			w.lists.Add(1)
		}
		w.next.ServeHTTP(rw, r)
		return
	}
	write := sentWrite{method: r.Method, path: r.URL.Path, ifMatch: r.Header.Get("If-Match"), ifNone: r.Header.Get("If-None-Match")}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	_ = json.Unmarshal(text, &write.body) // the judge says what is wrong with it
	r.Body = io.NopCloser(bytes.NewReader(text))
	rec := httptest.NewRecorder()
	w.next.ServeHTTP(rec, r)
	write.status = rec.Code
	w.mu.Lock()
	w.sent = append(w.sent, write)
	w.mu.Unlock()
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(rec.Body.Bytes())
}

// took are the writes that were taken since the n-th.
func (w *setWorld) took(n int) []sentWrite {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.sent[n:]), func(s sentWrite) bool { return s.status >= 300 })
}

func (w *setWorld) writesOf(set string) []string {
	var list []string
	for _, s := range w.took(0) {
		if strings.Contains(s.path, set) {
			list = append(list, s.String())
		}
	}
	return list
}

func setSpec(t *testing.T, text string) *fleet.Spec {
	t.Helper()
	f, err := fleetfile.Read("fleet.yaml", []byte(text), os.LookupEnv)
	require.NoError(t, err)
	return f.Spec
}

func setOptions(spec *fleet.Spec) *fleet.OwnOptions {
	o := &fleet.OwnOptions{SSHKeys: make(map[string]string)}
	for name := range spec.ScaleSets {
		o.SSHKeys[name] = setKey
	}
	return o
}

// A setRun is an apply, and what it told.
type setOutcome struct {
	apply.SetResult

	told []string
}

func (o *setOutcome) log() string { return strings.Join(o.told, "\n") }

func (w *setWorld) applier(client *azure.Client, spec *fleet.Spec) *apply.SetApplier {
	return &apply.SetApplier{
		Azure: client, Spec: spec, Now: w.clock.Now,
		Held: func(context.Context, string) (string, error) { return "", nil },
		Wait: func(ctx context.Context, d time.Duration) error {
			w.Advance(d)
			return ctx.Err()
		},
		Tell: func(apply.SetEvent) {},
	}
}

// applySets reads and applies, as a process of its own would.
func (w *setWorld) applySets(ctx context.Context, client *azure.Client, spec *fleet.Spec, change ...func(*apply.SetApplier, *fleet.OwnOptions)) (setOutcome, error) {
	w.t.Helper()
	var out setOutcome
	a := w.applier(client, spec)
	a.Tell = func(e apply.SetEvent) {
		out.told = append(out.told, strings.Join(slices.DeleteFunc([]string{
			e.Set, string(e.Kind), string(e.Step.Kind), string(e.Do), strings.Join(e.Members, ","), e.Text,
		}, func(s string) bool { return s == "" }), " "))
	}
	o := setOptions(spec)
	for _, c := range change {
		c(a, o)
	}
	read, err := apply.ReadSets(ctx, client, spec, o, nil)
	if err != nil {
		return out, err
	}
	out.SetResult, err = a.Apply(ctx, read)
	return out, err
}

// requireSetsDone: all is as the file says, and a second apply writes nothing.
func (w *setWorld) requireSetsDone(spec *fleet.Spec) {
	w.t.Helper()
	before := len(w.took(0))
	out, err := w.applySets(w.t.Context(), w.reader, spec)
	require.NoError(w.t, err)
	require.Empty(w.t, out.Written)
	require.Empty(w.t, out.told)
	require.Len(w.t, w.took(0), before, "a second apply writes nothing")
	for _, plan := range out.Left {
		require.Empty(w.t, plan.Steps, plan.Name)
	}
}

// From nothing to all of it, in the order of the article; and then nothing more.
func TestSetsFromNothing(t *testing.T) {
	w := newSetWorld(t, setSetup{})
	spec := setSpec(t, setFile)
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	t.Log(out.log())
	require.Equal(t, []string{"PUT vmss-authz 201", "PATCH vmss-authz 200", "PUT vmss-authz-autoscale 201"}, w.writesOf("vmss-authz"))
	w.requireSetsDone(spec)
}
