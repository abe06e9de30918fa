package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// pageSpec declares the sets of pagePlans.
func pageSpec() *fleet.Spec {
	create := &fleet.CreateSpec{Capacity: 3, VMSize: "Standard_D2as_v5", Zones: []int{1, 2, 3}, Extra: map[string]any{
		"properties": map[string]any{"virtualMachineProfile": map[string]any{"userData": "c2VjcmV0", "osProfile": map[string]any{"customData": "c2VjcmV0"}}, "zoneBalance": true},
	}}
	full := fleet.SetSpec{Manage: fleet.ManageFull, Location: "eastus", Create: create, Autoscale: &fleet.AutoscaleSpec{Min: 3, Max: 30, Default: 3}}
	return &fleet.Spec{Name: "pay", ScaleSets: map[string]fleet.SetSpec{
		"vmss-authz": full, "vmss-new": full, "vmss-first": full, "vmss-drifted": full, "vmss-fine": full, "vmss-gate": full, "vmss-held": full, "vmss-zones": full,
		"vmss-legacy": {Manage: fleet.ManageImage}, "vmss-seen": {Manage: fleet.ManageObserve},
	}}
}

// pagePlans are plans of every sort.
func pagePlans() []fleet.SetPlan {
	id := func(name string) fleet.ResourceID {
		return fleet.ResourceID(planGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + name)
	}
	change := func(name string, properties ...fleet.PropertyChange) fleet.Change {
		return fleet.Change{
			Action: fleet.ActionUpdate, Kind: "scale set", Name: name, ID: id(name), Properties: properties,
			Write: &fleet.Write{Method: http.MethodPatch, ID: id(name), Body: fleet.Document{}},
		}
	}
	autoscale := func(name string) fleet.SetStep {
		return fleet.SetStep{Kind: fleet.StepAutoscale, State: fleet.StepLater, Change: fleet.Change{Action: fleet.ActionCreate, Kind: "autoscale setting", Name: name + "-autoscale"}}
	}
	const notice = "properties.virtualMachineProfile.scheduledEventsProfile.terminateNotificationProfile."
	repairs := fleet.PropertyChange{Path: "properties.automaticRepairsPolicy.enabled", Is: false, Want: true, Category: fleet.DiffChanged}
	plan := func(name string, steps ...fleet.SetStep) fleet.SetPlan {
		return fleet.SetPlan{Name: name, ID: id(name), Steps: steps}
	}
	create := fleet.Change{Action: fleet.ActionCreate, Kind: "scale set", Name: "vmss-new", Note: "on ubuntu-app 1.8.3", ID: id("vmss-new"), Write: &fleet.Write{
		Method: http.MethodPut, ID: id("vmss-new"), IfNew: true,
		Body: fleet.Document{"properties": fleet.Document{"virtualMachineProfile": fleet.Document{"osProfile": fleet.Document{"customData": "c2VjcmV0"}}}},
	}}
	booting := fleet.SetStep{Kind: fleet.StepMembers, State: fleet.StepLater, Why: "they have to boot, and to report Healthy"}

	drifted := plan("vmss-drifted",
		fleet.SetStep{Kind: fleet.StepModel, State: fleet.StepDue, Change: change("vmss-drifted", fleet.PropertyChange{Path: notice + "notBeforeTimeout", Is: "PT9M", Want: "PT5M", Category: fleet.DiffDrifted})},
		fleet.SetStep{Kind: fleet.StepMembers, State: fleet.StepLater, Members: []string{"vmss-drifted_1a2b3c4d", "vmss-drifted_2a2b3c4d", "vmss-drifted_3a2b3c4d", "vmss-drifted_4a2b3c4d", "vmss-drifted_5a2b3c4d"}},
	)
	drifted.Drifted = true
	drifted.Told = []fleet.PropertyChange{
		{Path: "sku.name", Is: "Standard_D4as_v5", Want: "Standard_D2as_v5", Category: fleet.DiffCreateOnly},
		{Path: "properties.virtualMachineProfile.extensionProfile.extensions[AzureMonitorLinuxAgent]", Is: "AzureMonitorLinuxAgent", Category: fleet.DiffUnmanaged, Note: "it stays as it is, and its protected settings with it"},
		{Path: "properties.virtualMachineProfile.osProfile.customData", Category: fleet.DiffNotComparable, Note: "Azure does not show it: it stays as it is"},
	}
	held := plan("vmss-held", fleet.SetStep{Kind: fleet.StepPolicy, State: fleet.StepBlocked, Cause: fleet.StopRollout, Why: "rollout 7 of 1.8.3 is rolling since 2026-03-05 14:00 UTC", Change: change("vmss-held", repairs)})
	held.Notes = []string{"protected from scale set actions, and left on an older model: vmss-held_1"}
	legacy, seen := plan("vmss-legacy"), plan("vmss-seen")
	legacy.Notes = []string{"manage: image: its image is written by rollouts, and nothing else of it"}
	seen.Notes = []string{"manage: observe: nothing of it is written"}
	return []fleet.SetPlan{
		plan("vmss-authz",
			fleet.SetStep{Kind: fleet.StepExtension, State: fleet.StepDue, Change: fleet.Change{Action: fleet.ActionUpdate, Name: "vmss-authz/HealthExtension", Properties: []fleet.PropertyChange{{Path: "properties.settings.port", Is: 80.0, Want: 8080.0}}}},
			fleet.SetStep{Kind: fleet.StepMembers, State: fleet.StepLater, Members: []string{"vmss-authz_1", "vmss-authz_2"}},
			fleet.SetStep{Kind: fleet.StepPolicy, State: fleet.StepLater, Override: "1 of 3 running members are not Healthy: vmss-authz_2", Change: change("vmss-authz", repairs)},
		),
		drifted,
		plan("vmss-fine"),
		plan("vmss-first", fleet.SetStep{Kind: fleet.StepCreate, State: fleet.StepBlocked, Cause: fleet.StopImage, Why: "no version of ubuntu-app is promoted in eastus yet: the very first set begins with fleetctl apply --image VERSION"}, booting, autoscale("vmss-first")),
		plan("vmss-gate", fleet.SetStep{Kind: fleet.StepPolicy, State: fleet.StepWaits, Cause: fleet.StopEvidence, Wait: 10 * time.Minute, Why: "1 of 3 running members are not Healthy: vmss-gate_2", Change: change("vmss-gate", repairs)}),
		held, legacy,
		plan("vmss-new", fleet.SetStep{Kind: fleet.StepCreate, State: fleet.StepDue, Change: create}, booting,
			fleet.SetStep{Kind: fleet.StepPolicy, State: fleet.StepLater, Why: "after the gate", Change: change("vmss-new", repairs)}, autoscale("vmss-new")),
		seen,
		plan("vmss-zones", fleet.SetStep{Kind: fleet.StepModel, State: fleet.StepRefused, Cause: fleet.StopFile, Why: "what the file says needs another scale set, under another name", Change: change("vmss-zones",
			fleet.PropertyChange{Path: "zones", Is: []any{"1", "2"}, Want: []any{"1", "2", "3"}, Category: fleet.DiffImmutable, Note: "cannot be changed: it takes another scale set, under another name"})}),
	}
}

// Every sort of plan as it is shown, on a narrow screen and on a wider one.
func TestPlanSetPages(t *testing.T) {
	for _, columns := range []int{80, 100} {
		view := newPlanView(pageSpec(), fleet.FoundationPlan{}, pagePlans(), ownFlags{})
		view.ScaleSets[1].Writers = []writerView{{ID: view.ScaleSets[1].ID, Caller: "terraform-prod", At: simStart().Add(-time.Hour)}}
		require.Equal(t, planCounts{Create: 1, Update: 2, None: 1, Refused: 1, Waits: 2, Blocked: 1}, view.Counts)
		require.True(t, view.unfinished())
		require.False(t, view.writes(), "one is refused")
		var out bytes.Buffer
		g := newGlobals(&out, new(bytes.Buffer), func(name string) string {
			return map[string]string{"LANG": "C.UTF-8", "COLUMNS": strconv.Itoa(columns)}[name]
		})
		g.now, g.zone = simStart, time.UTC
		p := g.planPage(&view)
		p.ignores(view.ScaleSets)
		require.NoError(t, g.print(p))
		golden(t, fmt.Sprintf("plan/sets-%d", columns), out.String())
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "    ") || !strings.Contains(line, "ignore") && !strings.Contains(line, "//") { // which are to be copied
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, line)
			}
		}
		require.NotContains(t, out.String(), "c2VjcmV0")
	}
}

// The plan for programs has the body of each write, and no secret.
func TestPlanSetJSON(t *testing.T) {
	view := newPlanView(pageSpec(), fleet.FoundationPlan{}, pagePlans(), ownFlags{})
	text, err := json.Marshal(view)
	require.NoError(t, err)
	require.NotContains(t, string(text), "c2VjcmV0")
	var shown planView
	require.NoError(t, json.Unmarshal(text, &shown))
	require.Len(t, shown.ScaleSets, 10)
	create := shown.ScaleSets[7]
	require.Equal(t, setCreate, create.Action)
	require.Equal(t, http.MethodPut, create.Steps[0].Request.Method)
	require.Equal(t, "REDACTED", create.Steps[0].Request.Body["properties"].(map[string]any)["virtualMachineProfile"].(map[string]any)["osProfile"].(map[string]any)["customData"])
	require.Nil(t, create.Steps[1].Request, "members are brought by more than one request")
	require.Len(t, shown.ScaleSets[6].IgnoreChanges, 4)
	require.Equal(t, setWaits, shown.ScaleSets[3].Action)
	require.InDelta(t, 600, shown.ScaleSets[4].Steps[0].WaitSeconds, 0)
}
