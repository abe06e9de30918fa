package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	heldSet   = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-auto"
	otherSet  = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-auto-2"
	otherKind = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/other"
)

// held is a rollout of 1.7.0 that has a set with a way back to 1.6.0.
func held() *Hold {
	return &Hold{
		ID: "7", Definition: pruneDefinition, Version: "1.7.0", Phase: "rolling", Since: time.Date(2026, 7, 9, 2, 0, 0, 0, time.UTC),
		Sets: []HeldSet{{ID: heldSet, Location: "eastus", LastGood: "1.6.0"}},
	}
}

// What of promotions and demotions a rollout refuses, and what it does not care about.
func TestHoldRelease(t *testing.T) {
	region := func(name, before, after string, tracking ...string) ReleaseRegion {
		return ReleaseRegion{
			Name: name, Asked: true, Before: RegionLatest{Region: name, Version: before, Known: true},
			After: RegionLatest{Region: name, Version: after, Known: true}, Tracking: tracking,
		}
	}
	for name, tt := range map[string]struct {
		action, version string
		regions         []ReleaseRegion
		change          func(h *Hold, view *ReleaseView)
		want            string // the last reason; empty: it may be done
	}{
		"promote its version":            {ActionPromote, "1.7.0", nil, nil, "a rollout promotes its version itself, when its last wave is done"},
		"demote its version":             {ActionDemote, "1.7.0", nil, nil, "to demote its version would not stop it, nor take any member back"},
		"promote what is left":           {ActionPromote, "1.7.0", nil, func(h *Hold, _ *ReleaseView) { h.Left = true }, "a rollout promotes its version itself, when its last wave is done"},
		"demote what is left":            {ActionDemote, "1.7.0", nil, func(h *Hold, _ *ReleaseView) { h.Left = true }, ""},
		"in capitals":                    {ActionDemote, "1.7.0", nil, func(_ *Hold, v *ReleaseView) { v.ID = ResourceID(strings.ToUpper(string(v.ID))) }, "to demote its version would not stop it, nor take any member back"},
		"of another image":               {ActionPromote, "1.7.0", nil, func(_ *Hold, v *ReleaseView) { v.ID = otherKind + "/versions/1.7.0" }, ""},
		"another version":                {ActionPromote, "1.8.0", []ReleaseRegion{region("eastus", "1.6.0", "1.8.0", "vmss-web")}, nil, ""},
		"latest of a set of it":          {ActionPromote, "1.8.0", []ReleaseRegion{region("eastus", "1.6.0", "1.8.0", "vmss-web", "vmss-auto")}, nil, "vmss-auto follows what is latest in eastus, which this would change"},
		"latest of a set of it, demoted": {ActionDemote, "1.6.0", []ReleaseRegion{region("eastus", "1.6.0", "1.5.0", "VMSS-Auto")}, nil, "VMSS-Auto follows what is latest in eastus, which this would change"},
		"latest stays":                   {ActionDemote, "1.5.0", []ReleaseRegion{region("eastus", "1.6.0", "1.6.0", "vmss-auto")}, nil, ""},
		"latest of another region":       {ActionPromote, "1.8.0", []ReleaseRegion{region("westus3", "1.6.0", "1.8.0", "vmss-auto")}, nil, ""},
		"latest of what is left":         {ActionPromote, "1.8.0", []ReleaseRegion{region("eastus", "1.6.0", "1.8.0", "vmss-auto")}, func(h *Hold, _ *ReleaseView) { h.Left = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, view := held(), &ReleaseView{Action: tt.action, Name: tt.version, ID: pruneDefinition + "/versions/" + ResourceID(tt.version), Regions: tt.regions}
			if tt.change != nil {
				tt.change(h, view)
			}
			err := h.Release(view)
			require.NoError(t, (*Hold)(nil).Release(view), "no rollout holds anything")
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, []string{"rollout 7 of 1.7.0 is rolling since 2026-07-09 02:00 UTC", tt.want}, refused.Reasons)
			require.Contains(t, refused.Hint, "fleetctl rollout status")
		})
	}
}

// Whoever is at work on a rollout is named.
func TestHoldSaysWho(t *testing.T) {
	h := held()
	h.By = "at work on this rollout: ada on ops-1"
	require.Equal(t, "rollout 7 of 1.7.0 is rolling since 2026-07-09 02:00 UTC; at work on this rollout: ada on ops-1", h.String())
}

func TestHoldHolds(t *testing.T) {
	for id, want := range map[ResourceID]bool{
		heldSet: true,
		ResourceID(strings.ToUpper(heldSet)) + "/extensions/health": true,
		otherSet:                             false,
		pruneDefinition:                      false,
		pruneDefinition + "/versions/1.7.0":  true,
		pruneDefinition + "/versions/1.7.01": false,
		pruneDefinition + "/versions/1.6.0":  false,
		"/subscriptions/s/resourceGroups/rg": false,
	} {
		require.Equal(t, want, held().Holds(id), id)
		require.False(t, (*Hold)(nil).Holds(id), id)
	}
}

func TestHoldImages(t *testing.T) {
	l := pruneLook()
	for _, tt := range []struct {
		change func(h *Hold)
		want   string
	}{
		{func(*Hold) {}, "1.7.0 7"},
		{func(h *Hold) { h.Left = true }, ""},
		{func(h *Hold) { h.Definition = otherKind }, ""},
	} {
		view := Images(l.Fleet, l.Now)
		view.Hold(nil)
		h := held()
		tt.change(h)
		view.Hold(h)
		var got []string
		for _, v := range view.Definitions[0].Versions {
			if v.Rollout != "" {
				got = append(got, v.Name+" "+v.Rollout)
			}
		}
		require.Equal(t, tt.want, strings.Join(got, ", "))
	}
}
