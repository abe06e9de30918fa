package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProtecting: every change of every protection. Azure has no scale-set-actions
// without scale-in, and none of the results has.
func TestProtecting(t *testing.T) {
	both, in, none := Protection{true, true}, Protection{ScaleIn: true}, Protection{}
	actions := Protection{SetActions: true}
	for _, tt := range []struct {
		from    Protection
		on      bool
		was, is Protection
		refused bool
	}{
		{from: both, on: true, was: none, is: both},
		{from: both, on: true, was: in, is: both},
		{from: both, on: true, was: both, is: both},
		{from: in, on: true, was: none, is: in},
		{from: in, on: true, was: both, is: both},
		{from: actions, on: true, was: none, is: both},
		{from: both, was: both, is: none},
		{from: both, was: none, is: none},
		{from: actions, was: both, is: in},
		{from: actions, was: in, is: in},
		{from: in, was: in, is: none},
		{from: in, was: none, is: none},
		{from: in, was: both, is: both, refused: true},
	} {
		is, err := Protecting{From: tt.from, On: tt.on}.Of(tt.was)
		require.Equal(t, tt.is, is, tt)
		require.Equal(t, tt.refused, err != nil, tt)
		require.False(t, is.SetActions && !is.ScaleIn, tt)
		if err == nil {
			again, err := Protecting{From: tt.from, On: tt.on}.Of(is)
			require.NoError(t, err)
			require.Equal(t, is, again, "a second time does nothing")
		}
	}
}

func TestProtectionWrite(t *testing.T) {
	const id = ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz/virtualMachines/vmss-authz_1")
	require.Equal(t, Write{Method: "PUT", ID: id, IfMatch: `"7"`, Body: Document{
		"location":   "eastus",
		"properties": Document{"protectionPolicy": Document{"protectFromScaleIn": true, "protectFromScaleSetActions": false}},
	}}, Protection{ScaleIn: true}.Write(id, "eastus", `"7"`))
	require.Equal(t, "2026-04-01", APIVersion(id))
}

// TestInstanceOf: odd answers are a member that is not protected and whose model is not
// known.
func TestInstanceOf(t *testing.T) {
	on, off := true, false
	read := InstanceOf(Document{"location": "eastus", "properties": Document{
		"latestModelApplied": true, "protectionPolicy": Document{"protectFromScaleIn": true, "protectFromScaleSetActions": true},
	}})
	require.Equal(t, Instance{Protection: Protection{true, true}, Location: "eastus", LatestModel: &on}, read)
	for _, odd := range []Document{nil, {"properties": "x"}, {"properties": Document{"protectionPolicy": []any{}, "latestModelApplied": "true"}}} {
		require.Equal(t, Instance{}, InstanceOf(odd))
	}

	var m ProtectedMember
	m.Shows(Protection{true, true}, read, Instance{LatestModel: &off})
	require.True(t, m.Drifted)
	require.Len(t, m.Warnings, 2, "its model, and that it is not protected")
	m.Shows(Protection{}, Instance{LatestModel: &off}, Instance{LatestModel: &off})
	require.False(t, m.Drifted, "it was so before")
	require.Empty(t, m.Warnings)
}

func TestSpotOf(t *testing.T) {
	s := SpotOf(Document{"properties": Document{
		"priority": "Spot", "evictionPolicy": "Delete", "virtualMachineScaleSet": Document{"id": "/x/vmss-batch"},
		"instanceView": Document{
			"statuses": []any{nil, Document{"code": "ProvisioningState/succeeded"}, Document{"code": "PowerState/deallocated"}},
			"vmHealth": Document{"status": Document{"code": "HealthState/healthy"}},
		},
	}})
	require.Equal(t, Spot{Set: "/x/vmss-batch", Spot: true, Delete: true, Power: Deallocated, Health: Healthy}, s)
	require.True(t, s.Evicted())
	require.NoError(t, s.Evictable("vmss-batch_1"))
	require.Equal(t, Spot{Health: HealthMissing}, SpotOf(nil))
	require.ErrorContains(t, SpotOf(nil).Evictable("vmss-authz_1"), "vmss-authz_1 is a regular virtual machine")
}

func TestAgentSays(t *testing.T) {
	require.Equal(t, []string{"state: draining since x", "event: Preempt"}, AgentSays("state: draining since x\r\nhealthz: healthy\nevent: Preempt\n state: no\n"))
	require.Empty(t, AgentSays("sh: 1: fleet-agent: not found\n"))
}

// TestHoldMembers: what a rollout keeps others from doing to members of its sets.
func TestHoldMembers(t *testing.T) {
	const set = ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz")
	h := &Hold{ID: "7", Version: "1.7.0", Phase: "rolling", Sets: []HeldSet{{ID: set}}}
	require.ErrorContains(t, h.Action(set, "why"), "it holds scale set vmss-authz: why")
	require.NoError(t, h.Action(set+"-west", "why"))
	require.Error(t, h.Protect(set, true))
	require.Error(t, h.Protect(set, false))
	h.Left = true
	require.Error(t, h.Protect(set, true))
	require.NoError(t, h.Protect(set, false), "it waits for that")
	require.NoError(t, (*Hold)(nil).Protect(set, true))
	require.NoError(t, (*Hold)(nil).Action(set, "why"))
}
