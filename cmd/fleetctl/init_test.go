package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// TestInitFrom: what is written of every fleet is read again by the commands that
// look at it.
func TestInitFrom(t *testing.T) {
	for name, f := range fleettest.Fleets() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fleet.yaml")
			g, stdout := seeing(t, cli.Style{}, 80, reads(f))
			root := newRootCommand(g)
			root.SetArgs([]string{"init", "--from", fleettest.Group, "--subscription", fleettest.Subscription, "-f", path})
			err := root.ExecuteContext(t.Context())
			if len(f.Sets) == 0 {
				require.ErrorContains(t, err, "there is no scale set in the resource group rg-pay-prod")
				require.NoFileExists(t, path)
				return
			}
			if name == "hostile" { // names that Azure does not have, and no file could
				require.ErrorContains(t, err, "is not the name of a scale set")
				require.NoFileExists(t, path)
				return
			}
			require.NoError(t, err)
			require.Empty(t, stdout.String())

			g, _ = seeing(t, cli.Style{}, 80, reads(f))
			g.file = path
			file, err := g.readFile()
			text, _ := os.ReadFile(path)
			require.NoError(t, err, string(text))
			require.Len(t, file.Spec.ScaleSets, len(f.Sets))
			for i := range f.Sets {
				id := f.Sets[i].Model.ID
				require.True(t, file.Spec.SetID(id.Name()).Same(id), id)
				require.Equal(t, fleet.ManageObserve, file.Spec.ScaleSets[id.Name()].Manage)
			}
		})
	}
}

func TestInitFromNeedsASubscription(t *testing.T) {
	for _, args := range [][]string{
		{"init", "--from", "rg-pay-prod"},
		{"init", "--from", "", "--subscription", "x"},
		{"init", "--subscription", "x"},
	} {
		g, _ := seeing(t, cli.Style{}, 80, reads(fleettest.Article()))
		g.resourceGroup, g.subscription = "", ""
		root := newRootCommand(g)
		root.SetArgs(args)
		err := root.ExecuteContext(t.Context())
		require.Error(t, err)
		require.Contains(t, err.Error(), "--", args)
	}
}

// TestInitTakesOver: a set that is managed in full after it was described has nothing to
// change, or the file says in a comment what it cannot say of the set.
func TestInitTakesOver(t *testing.T) {
	for _, scenario := range arm.Examples() {
		if scenario == "empty-group" {
			continue
		}
		t.Run(scenario, func(t *testing.T) {
			_, endpoint := serveScenario(t, scenario, 0)
			file := filepath.Join(t.TempDir(), "fleet.yaml")
			_, stderr, code := fleetctl(t, endpoint, "init", "--from", fleettest.Group, "-f", file)
			require.Zero(t, code, stderr)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, manage := range []string{"manage: observe", "manage: image", "manage: full"} {
				head, sets, _ := strings.Cut(string(text), "\nscale_sets:\n")
				raised := head + "\nscale_sets:\n" + strings.ReplaceAll(sets, "manage: observe", manage)
				require.NoError(t, os.WriteFile(file, []byte(raised), 0o600))
				stdout, stderr, code := fleetctl(t, endpoint, "plan", "-f", file, "--exit-code", "-o", "json")
				var view planView
				require.NoError(t, json.Unmarshal([]byte(stdout), &view), stderr)
				if scenario != "traps" || manage != "manage: full" {
					require.Zero(t, code, stdout)
				}
				for _, set := range view.ScaleSets {
					require.Equal(t, manage == "manage: image", len(set.IgnoreChanges) > 0)
					before, _, _ := strings.Cut(sets, "\n  "+set.Name+":\n")
					lines, told := strings.Split(before, "\n"), 0
					for told < len(lines) && strings.HasPrefix(lines[len(lines)-1-told], "  # ") {
						told++
					}
					for _, step := range set.Steps {
						require.True(t, step.Step == fleet.StepMembers || told > 1, "%s: %s", set.Name, step.Step) // one has the facts
					}
				}
			}
		})
	}
}
