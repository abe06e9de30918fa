package armjudge

import (
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
)

const (
	compute = "Microsoft.Compute/"
	sets    = compute + "virtualMachineScaleSets"
)

// sdk is what Microsoft's own clients send in the same place. A PUT is here only where
// Azure publishes no type.
var sdk = map[string]func() any{
	"PUT Microsoft.Resources/resourceGroups":                 of[armresources.ResourceGroup],
	"PATCH Microsoft.Resources/resourceGroups":               of[armresources.ResourceGroupPatchable],
	"PATCH Microsoft.ManagedIdentity/userAssignedIdentities": of[armmsi.IdentityUpdate],
	"PATCH Microsoft.Insights/autoscaleSettings":             of[armmonitor.AutoscaleSettingResourcePatch],
	"PATCH " + compute + "galleries":                         of[armcompute.GalleryUpdate],
	"PATCH " + compute + "galleries/images":                  of[armcompute.GalleryImageUpdate],
	"PATCH " + compute + "galleries/images/versions":         of[armcompute.GalleryImageVersionUpdate],
	"PATCH " + sets:                                  of[armcompute.VirtualMachineScaleSetUpdate],
	"PATCH " + sets + "/extensions":                  of[armcompute.VirtualMachineScaleSetExtensionUpdate],
	"POST " + sets + " manualupgrade":                of[armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs],
	"POST " + sets + " setOrchestrationServiceState": of[armcompute.OrchestrationServiceStateInput],
	"POST " + compute + "virtualMachines runCommand": of[armcompute.RunCommandInput],
}

func of[T any]() any { return new(T) }

// into is what a body is decoded into.
func into(method string, target armtypes.Target) any {
	body, known := byKey[key(method, target)]
	if !known {
		return nil
	}
	return body()
}

// byKey is sdk, without regard to upper and lower case, as Azure reads addresses.
var byKey = func() map[string]func() any {
	all := make(map[string]func() any, len(sdk))
	for what, body := range sdk {
		all[strings.ToLower(what)] = body
	}
	return all
}()

func key(method string, target armtypes.Target) string {
	return strings.ToLower(strings.TrimSpace(method + " " + target.Type + " " + target.Rest))
}
