package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// What happens to be refused is made to happen in cmd/fleetctl; this is of what is no
// cause of the file's.
func TestExplainKnowsWhatItDoesNot(t *testing.T) {
	s := &fleet.Spec{Subscription: "s", ResourceGroup: "rg", Location: "eastus", ScaleSets: map[string]fleet.SetSpec{
		"vmss-web": {Location: "eastus"}, "vmss-web-2": {Location: "eastus", ID: "/subscriptions/s/resourceGroups/other/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-web"},
	}}
	const group = "/subscriptions/s/resourceGroups/rg/providers/"
	zones := fleet.Refusal{Code: "PropertyChangeNotAllowed", Message: "Changing property 'zones' is not allowed."}
	for id, key := range map[fleet.ResourceID]string{
		group + "Microsoft.Compute/virtualMachineScaleSets/vmss-web":                                         "scale_sets.vmss-web",
		"/subscriptions/s/resourceGroups/OTHER/providers/microsoft.compute/virtualmachinescalesets/VMSS-WEB": "scale_sets.vmss-web-2",
		group + "Microsoft.Compute/virtualMachineScaleSets/vmss-other":                                       "",
		group + "Microsoft.Compute/disks/d":                                                                  "",
		"":                                                                                                   "",
		"x":                                                                                                  "",
	} {
		zones.ID = id
		e, ok := fleet.Explain(s, &zones)
		require.Equal(t, key != "", ok, id)
		if ok {
			require.Equal(t, []string{key}, e.Keys, "the file says nothing of zones")
		}
	}
	_, ok := fleet.Explain(s, &fleet.Refusal{ID: group + "Microsoft.Compute/virtualMachineScaleSets/vmss-web", Code: "TooManyRequests", Message: "later"})
	require.False(t, ok, "throttling is not the file's")
	e, ok := fleet.Explain(s, &fleet.Refusal{ID: group + "Microsoft.Compute/galleries/galProd", Code: "RequestDisallowedByPolicy", Fields: []string{"location"}})
	require.True(t, ok)
	require.Equal(t, []string{"gallery"}, e.Keys, "a file without a gallery explains all the same")
}

// A set that the file did not make has a shape all the same, which never changes.
func TestKeysOfShape(t *testing.T) {
	s := contract(t)
	set := s.ScaleSets["vmss-batch"]
	set.Create, set.ID = nil, s.SetID("vmss-batch")
	s.ScaleSets["vmss-batch"] = set
	const profile = "properties.virtualMachineProfile."
	require.Equal(t, []string{"scale_sets.vmss-batch.spot.eviction"}, fleet.KeysOf(s, set.ID, profile+"evictionPolicy"))
	require.Equal(t, []string{"scale_sets.vmss-batch.spot"}, fleet.KeysOf(s, set.ID, profile+"priority"))
	set.Spot = nil
	s.ScaleSets["vmss-batch"] = set
	require.Equal(t, []string{"scale_sets.vmss-batch.spot"}, fleet.KeysOf(s, set.ID, profile+"priority"), "where it would stand")
}
