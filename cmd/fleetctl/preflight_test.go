package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

const preflightGroup = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod/providers/"

// armedFleet has findings of every severity, on a scale set and on a template.
func armedFleet() fleet.Fleet {
	set := fleet.Set{Model: fleet.ScaleSet{
		ID: preflightGroup + "Microsoft.Compute/virtualMachineScaleSets/vmss-authz", Location: "eastus", Flexible: true, Capacity: 3,
		Image: fleet.ImageReference{ID: preflightGroup + "Microsoft.Compute/galleries/galProd/images/ubuntu-app"},
		Extensions: []fleet.Extension{{Publisher: fleet.HealthPublisher, Type: fleet.HealthTypeLinux, Version: "2.0", Settings: map[string]any{
			"protocol": "https", "port": 8443.0, "requestPath": "/ready", "intervalInSeconds": 5.0, "gracePeriod": 900.0,
		}}},
		Upgrade: fleet.UpgradePolicy{Mode: fleet.Rolling},
	}}
	for i := range 3 {
		set.Members = append(set.Members, fleet.Member{Name: fmt.Sprintf("vmss-authz_5a1e000%d", i), Power: fleet.Running, Health: fleet.HealthUnknown, LatestModel: new(false)})
	}
	return fleet.Fleet{At: fleettest.Now, Sets: []fleet.Set{set}, Templates: []fleet.Template{{
		ID: preflightGroup + "Microsoft.VirtualMachineImages/imageTemplates/aib-ubuntu-app", Provisioning: "Failed",
	}}}
}

// preflightPages are what preflight shows, by the name of the golden file.
func preflightPages(t *testing.T) map[string]func(*globals) *page {
	t.Helper()
	view := func(e fleet.Evidence) func(*globals) *page {
		return func(g *globals) *page {
			v := newPreflightView(e)
			return g.preflightPage(&v)
		}
	}
	armed := armedFleet()
	article := fleettest.Fleets()["article"]
	warned := armedFleet()
	warned.Templates = nil
	warned.Sets[0].Members = nil
	text, err := os.ReadFile("testdata/template/aib-ubuntu-app.json")
	require.NoError(t, err)
	template, err := fleet.ReadTemplate("aib-ubuntu-app.json", text)
	require.NoError(t, err)
	trap, found := fleet.FindTrap("health-without-json")
	require.True(t, found)
	unseen, found := fleet.FindTrap("51")
	require.True(t, found)
	return map[string]func(*globals) *page{
		"armed":       view(fleet.Evidence{Now: fleettest.Now, Live: &armed}),
		"warned":      view(fleet.Evidence{Now: fleettest.Now, Live: &warned}),
		"clean":       view(fleet.Evidence{Now: fleettest.Now, Live: &fleet.Fleet{}}),
		"article":     view(fleet.Evidence{Now: fleettest.Now, Live: &article}),
		"file":        view(fleet.Evidence{Now: fleettest.Now, Spec: armedSpec()}),
		"template":    view(fleet.Evidence{Now: fleettest.Now, Template: template}),
		"explain":     func(g *globals) *page { return g.trapPage(&trap) },
		"explain-not": func(g *globals) *page { return g.trapPage(&unseen) },
		"explain-all": func(g *globals) *page { return g.trapsPage(fleet.Traps()) },
	}
}

func armedSpec() *fleet.Spec {
	return &fleet.Spec{Name: "pay", ResourceGroup: "rg-pay-prod", ScaleSets: map[string]fleet.SetSpec{"vmss-authz": {
		Manage: fleet.ManageFull, Tracks: fleet.TracksPinned, Location: "eastus",
		Create:  &fleet.CreateSpec{Capacity: 3, Zones: []int{1, 2, 3}, FaultDomains: 2},
		Upgrade: fleet.UpgradeSpec{Driver: fleet.DriverBatches, MaxUnhealthy: 20},
		Health:  &fleet.HealthSpec{Extension: "1.0", Protocol: "http", Port: 8080, Path: "/healthz", Interval: 5 * time.Second, Probes: 1},
	}}}
}

// TestPreflightPages: the pages as they are, at 80 and at 100 columns.
func TestPreflightPages(t *testing.T) {
	pages := preflightPages(t)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, c := range []struct {
				columns int
				style   cli.Style
			}{{80, cli.Style{Unicode: true}}, {100, cli.Style{}}} {
				g, _ := seeing(t, c.style, c.columns, nil)
				fmt.Fprintf(&text, "== %d columns\n%s", c.columns, pageText(pages[name](g)))
			}
			golden(t, "preflight/"+name, text.String())
		})
	}
}

// TestPreflightKeepsItsWidth: no line is wider than the terminal.
func TestPreflightKeepsItsWidth(t *testing.T) {
	for name, render := range preflightPages(t) {
		for _, columns := range []int{60, 80, 100, 200} {
			g, _ := seeing(t, cli.Style{Unicode: true}, columns, nil)
			for line := range strings.Lines(pageText(render(g))) {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s: %s", name, line)
			}
		}
	}
}

// TestPreflightExit: an error refuses, a warning does not, and JSON says the same.
func TestPreflightExit(t *testing.T) {
	warned := armedFleet()
	warned.Templates, warned.Sets[0].Members = nil, nil
	for name, c := range map[string]struct {
		fleet          fleet.Fleet
		code           int
		errors, notes  int
		warningsAtMost int
	}{
		"error":   {armedFleet(), exitRefused, 1, 1, 20},
		"warning": {warned, 0, 0, 1, 20},
		"nothing": {fleet.Fleet{}, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g, stdout := seeing(t, cli.Style{}, 80, reads(c.fleet))
			root := newRootCommand(g)
			root.SetArgs([]string{"preflight", "-g", "rg-pay-prod", "--subscription", "11111111-1111-1111-1111-111111111111", "-o", "json"})
			err := root.ExecuteContext(t.Context())
			require.Equal(t, c.code, cli.Report(stdout, cli.Style{}, "fleetctl", err))
			var view preflightView
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &view))
			require.Equal(t, 1, view.Version)
			require.Equal(t, fleet.LooksLive, view.LookedIn)
			require.Equal(t, c.errors, view.Errors)
			require.Equal(t, c.notes, view.Notes)
			require.LessOrEqual(t, view.Warnings, c.warningsAtMost)
			require.Len(t, view.Findings, view.Errors+view.Warnings+view.Notes)
			require.NotNil(t, view.Findings)
		})
	}
}

// TestPreflightExample: the file that the documentation shows has no trap in it.
func TestPreflightExample(t *testing.T) {
	text, err := os.ReadFile("../../internal/fleetfile/testdata/contract.yaml")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	g, stdout := seeing(t, cli.Style{}, 80, nil)
	g.getenv = func(name string) string {
		return map[string]string{
			"AZURE_SUBSCRIPTION_ID": "11111111-1111-1111-1111-111111111111", "ROLLOUT_WEBHOOK": "https://hooks.example/x",
		}[name]
	}
	root := newRootCommand(g)
	root.SetArgs([]string{"preflight", "--offline", "-f", path})
	require.NoError(t, root.ExecuteContext(t.Context()))
	require.Contains(t, stdout.String(), "no trap is armed")
}

// TestPreflightScenario: in the simulator's fleet with every trap armed, each that
// Azure can show is found, over the wire.
func TestPreflightScenario(t *testing.T) {
	_, endpoint := serveScenario(t, "traps", 50)
	stdout, stderr, code := fleetctl(t, endpoint, "preflight", "-g", "rg-pay-prod", "-o", "json")
	require.Equal(t, exitRefused, code, stderr)
	var view preflightView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	found := make(map[int]bool)
	for _, f := range view.Findings {
		found[f.Trap] = true
		require.True(t, f.Live)
	}
	for _, trap := range fleet.Traps() {
		// Where automatic OS upgrade is on there, it has a history.
		if trap.SeenIn(fleet.LooksLive) && trap.ID != "auto-os-flexible" {
			require.True(t, found[trap.Number], "%d %s", trap.Number, trap.ID)
		}
	}
	text, _, code := fleetctl(t, endpoint, "preflight", "-g", "rg-pay-prod")
	require.Equal(t, exitRefused, code)
	require.Contains(t, text, "An error was found: the exit code is 3.")
}
