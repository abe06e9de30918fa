package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// articleSpec is a file for the fleet of the article.
func articleSpec() *fleet.Spec {
	set := func(location string) fleet.SetSpec {
		return fleet.SetSpec{
			Manage: fleet.ManageFull, Tracks: fleet.TracksPinned, Location: location,
			Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute, Order: "zone"},
		}
	}
	return &fleet.Spec{
		Version: 1, Name: "pay", Subscription: fleettest.Subscription, ResourceGroup: fleettest.Group, Location: "eastus",
		Gallery:   &fleet.GallerySpec{Name: "galProd", Manage: fleet.ManageFull, Image: fleet.DefinitionSpec{Name: "ubuntu-app"}, Replicate: fleet.ReplicateAtBake},
		ScaleSets: map[string]fleet.SetSpec{"vmss-authz": set("eastus"), "vmss-batch": set("eastus"), "vmss-authz-west": set("westus3")},
		Rollout: &fleet.RolloutSpec{
			Waves: []fleet.WaveSpec{
				{Name: "canary", ScaleSets: []string{"vmss-authz"}, Instances: 1, Soak: 30 * time.Minute},
				{Name: "east", ScaleSets: []string{"vmss-authz", "vmss-batch"}, Soak: 4 * time.Hour},
				{Name: "west", ScaleSets: []string{"vmss-authz-west"}, Soak: 24 * time.Hour, Approve: true},
			},
			ObserveEvery: 5 * time.Minute, Drain: "run-command",
			Gates: fleet.GatesSpec{
				HealthyWithin: 10 * time.Minute, HealthyFor: time.Minute, Stuck: 30 * time.Minute,
				Window: &fleet.WindowSpec{Days: []string{"mon", "tue", "wed", "thu"}, From: "09:00", To: "16:00", Timezone: "Europe/Berlin"},
				Prometheus: []fleet.PrometheusSpec{{
					Name: "error-rate", URL: "https://prometheus.internal/secret-path", Headers: map[string]string{"Authorization": "Bearer secret"},
					Query: `sum(rate(http_requests_total{code=~"5..", version="{{.Version}}"}[5m])) / sum(rate(http_requests_total{version="{{.Version}}"}[5m]))`,
					Above: new(0.01), Step: time.Minute, For: 3, NoData: "pause",
					Traffic: &fleet.TrafficSpec{Query: `sum(rate(http_requests_total{version="{{.Version}}"}[5m]))`, AtLeast: 1},
				}},
			},
			OnHalt: fleet.OnHaltSpec{Scope: "rollout", Diagnose: "run-command", Notify: "https://hooks.example/secret"},
		},
	}
}

// plannedView is a plan of this version for this fleet.
func plannedView(f fleet.Fleet, version string, o rollout.Options) *rolloutPlanView {
	spec := articleSpec()
	plan, refusals := rollout.PlanFor(*spec, f, version, o)
	v := newRolloutPlanView(&plan, refusals)
	v.foresee(&plan, f)
	v.gates(spec.Rollout, &plan)
	v.capacity(&plan, f, func(region string) (int, int, error) {
		if region == "eastus" {
			return 40, 100, nil
		}
		return 0, 0, errors.New("read usages: 403 Forbidden")
	})
	return v
}

// planViews are plans by the names of their golden files.
func planViews() map[string]*rolloutPlanView {
	good := plannedView(fleettest.Article(), "1.8.0", rollout.Options{})
	again := plannedView(fleettest.Article(), "1.8.0", rollout.Options{})
	again.unfinished(&found{"3", roll.Status{Plan: rollout.Plan{Version: "1.7.2"}, State: rollout.State{Phase: rollout.Rolling}}})
	running := plannedView(fleettest.Article(), "1.8.0", rollout.Options{})
	running.unfinished(&found{"3", roll.Status{Plan: rollout.Plan{Version: "1.8.0"}, State: rollout.State{Phase: rollout.Held}}})
	brief := articleSpec()
	plan, refusals := rollout.PlanFor(*brief, fleettest.Article(), "1.8.0", rollout.Options{})
	return map[string]*rolloutPlanView{
		"plan": good, "plan-unfinished": again, "plan-running": running, "plan-of-run": newRolloutPlanView(&plan, refusals),
		"plan-refused": plannedView(fleettest.NoHealth(), "9.9.9", rollout.Options{}),
		"plan-mixed":   plannedView(fleettest.Mixed(), "1.8.0", rollout.Options{NoReturn: true}),
	}
}

func TestRolloutPlanPages(t *testing.T) {
	views := planViews()
	for _, name := range slices.Sorted(maps.Keys(views)) {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, style := range []cli.Style{{Unicode: true}, {}} {
				g, _ := seeing(t, style, 80, nil)
				p := g.newPage(shown)
				p.rolloutPlan(views[name])
				fmt.Fprintf(&text, "== 80 columns, %s\n%s", map[bool]string{true: "Unicode", false: "ASCII"}[style.Unicode], pageText(p))
			}
			require.NotContains(t, text.String(), "secret")
			golden(t, "rollout/"+name, text.String())
			for _, columns := range []int{40, 60, 120} {
				g, _ := seeing(t, cli.Style{}, columns, nil)
				p := g.newPage(shown)
				p.rolloutPlan(views[name])
				for line := range strings.Lines(pageText(p)) {
					require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, line)
				}
			}
		})
	}
}

func TestRolloutPlanJSON(t *testing.T) {
	v := plannedView(fleettest.Article(), "1.8.0", rollout.Options{})
	data, err := json.Marshal(v)
	require.NoError(t, err)
	require.NotContains(t, string(data), "secret")
	var doc map[string]any
	require.NoError(t, json.Unmarshal(data, &doc))
	require.InDelta(t, 1, doc["version"], 0)
	require.Equal(t, []any{}, doc["refusals"])
	canary, _ := doc["waves"].([]any)[0].(map[string]any)
	require.InDelta(t, 1800, canary["soak_seconds"], 0)
	set, _ := canary["scale_sets"].([]any)[0].(map[string]any)
	require.Equal(t, "vmss-authz", set["name"])
	require.Len(t, set["batches"], 1)
	require.InDelta(t, 1, set["taken"], 0)
}

// TestQuota reads the usages of a region as Azure gives them.
func TestQuota(t *testing.T) {
	answer := `{"value": [
		{"limit": 10, "currentValue": 1, "unit": "Count", "name": {"value": "availabilitySets", "localizedValue": "Availability Sets"}},
		{"limit": 100, "currentValue": 40, "unit": "Count", "name": {"value": "cores", "localizedValue": "Total Regional vCPUs"}}]}`
	server := armjudge.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/providers/Microsoft.Compute/locations/eastus2/usages") || r.URL.Query().Get("api-version") == "" {
			http.Error(w, `{"error":{"code":"Odd","message":"odd"}}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answer))
	}))
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		return map[string]string{azure.EndpointVariable: server.URL}[name]
	}})
	require.NoError(t, err)
	r := &rollouts{spec: articleSpec(), azure: client}
	used, limit, err := r.quota(t.Context(), "East US 2")
	require.NoError(t, err)
	require.Equal(t, []int{40, 100}, []int{used, limit})

	answer = `{"value": []}`
	_, _, err = r.quota(t.Context(), "eastus2")
	require.ErrorContains(t, err, "have no cores")
	_, _, err = r.quota(t.Context(), "westus3")
	require.Error(t, err)
}

// TestRolloutPlanCommand plans against a simulated Azure, and writes nothing.
func TestRolloutPlanCommand(t *testing.T) {
	w := newRolling(t, rollSetup{})
	text, code := w.fleetctl("plan", "1.7.1")
	require.Zero(t, code, text)
	require.Contains(t, text, "ubuntu-app 1.7.1 to pay can begin")
	require.Contains(t, text, "vmss-authz · 1 member in 1 batch")
	require.Contains(t, text, "vCPUs used")
	require.NoDirExists(t, w.directory())

	text, code = w.fleetctl("plan", "9.9.9")
	require.Equal(t, exitRefused, code, text)
	require.Contains(t, text, "there is no version 9.9.9 of ubuntu-app")
	_, code = w.fleetctl("plan", "new")
	require.Equal(t, exitUsage, code)

	w.begin()
	text, code = w.fleetctl("plan", "1.7.2")
	require.Equal(t, exitRefused, code, text)
	require.Contains(t, text, "rollout 1 of 1.7.1 is rolling, and a fleet has one unfinished rollout")

	w.server.Advance(2 * time.Minute) // the canary has its disk
	g, stdout, stderr := w.globals()
	code = g.run([]string{"rollout", "plan", "1.7.1", "-o", "json", "--file", w.file})
	require.Zero(t, code, stderr.String())
	var v rolloutPlanView
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
	require.Equal(t, 1, v.Version)
	require.Len(t, v.Notes, 1)
	require.Contains(t, v.Notes[0], "goes on with it")
}

// TestRolloutWatchCommand: a rollout that is over is shown from its journal and Azure,
// with its exit code.
func TestRolloutWatchCommand(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy"})
	require.NoError(t, os.Mkdir(w.directory(), 0o755))
	text, code := w.fleetctl("watch")
	require.Zero(t, code, text)
	require.Contains(t, text, "there is no rollout")
	_, code = w.fleetctl("watch", "--interval", "1s")
	require.Equal(t, exitUsage, code)

	text, code = w.fleetctl("run", "1.7.1", "--yes")
	require.Equal(t, exitHalted, code, text)
	text, code = w.fleetctl("watch")
	require.Equal(t, exitHalted, code, text)
	require.Contains(t, text, "✗ rollout 1 of ubuntu-app 1.7.1 · halted")
	require.Contains(t, text, "hsm: connection refused")
	require.Contains(t, text, "    oro\n")
	text, code = w.fleetctl("watch", "-o", "json")
	require.Equal(t, exitHalted, code, text)
	require.Contains(t, text, `"phase":"halted"`)
}
