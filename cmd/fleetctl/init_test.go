package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
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
