package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypeAndAPIVersion(t *testing.T) {
	const rg = "/subscriptions/S/resourceGroups/rg"
	for _, tt := range []struct{ id, typ, version string }{
		{rg, "Microsoft.Resources/resourceGroups", "2021-04-01"},
		{rg + "/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0", "Microsoft.Compute/galleries/images/versions", "2025-12-03"},
		{rg + "/providers/microsoft.compute/virtualMachineScaleSets/v", "microsoft.compute/virtualMachineScaleSets", "2026-04-01"},
		{rg + "/providers/Microsoft.Compute/galleries/g/providers/Microsoft.Authorization/roleAssignments/a", "Microsoft.Authorization/roleAssignments", "2022-04-01"},
		{rg + "/providers/Microsoft.Compute/galleries", "Microsoft.Compute/galleries", "2025-12-03"},
		{rg + "/providers/Unknown.Kind/things/t", "Unknown.Kind/things", ""},
		{"/subscriptions/S", "", ""},
		{"", "", ""},
		{"/providers", "", ""},
	} {
		require.Equal(t, tt.typ, ResourceID(tt.id).Type(), tt.id)
		require.Equal(t, tt.version, APIVersion(ResourceID(tt.id)), tt.id)
	}
}

func TestWriteString(t *testing.T) {
	id := ResourceID("/subscriptions/S/resourceGroups/rg/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.8.3")
	require.Equal(t, "PUT imageTemplates/ubuntu-app-1.8.3", Write{Method: "PUT", ID: id}.String())
	require.Equal(t, "POST imageTemplates/ubuntu-app-1.8.3/run", Write{Method: "POST", ID: id, Action: "run"}.String())
}
