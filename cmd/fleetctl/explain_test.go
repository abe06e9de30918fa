package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// refusedFile is a file whose keys have a line each.
const refusedFile = `version: 1
name: pay
subscription: ` + arm.DefaultSubscription + `
resource_group: rg-pay-prod
location: eastus
tags:
  owner: payments
gallery:
  name: galProd
  image:
    name: ubuntu-app
    publisher: kloudvin
    offer: ubuntu
    sku: app-jammy
  storage: Standard_ZRS
  regions:
    westus3: 2
  end_of_life: 180d
bake:
  identity: id-aib
  source:
    publisher: Canonical
    offer: 0001-com-ubuntu-server-jammy
    sku: 22_04-lts-gen2
  version: 1.9.{n}
  timeout: 60m
  artifacts: https://stpaybake.blob.core.windows.net/bake
  customize:
    - name: install
      script: install.sh
scale_sets:
  vmss-web:
    create:
      capacity: 2
      vm_size: Standard_D2as_v5
      zones: [1, 2, 3]
      fault_domains: 1
      admin: azureuser
      ssh_key: key.pub
      network:
        subnet: ` + planGroup + `/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app
    health:
      extension: "1.0"
      port: 8080
      path: /healthz
    upgrade:
      driver: batches
      batch: 50%
      max_unhealthy: 20%
      max_unhealthy_upgraded: 10%
    autoscale:
      min: 1
      max: 5
      default: 2
      out:
        above: 70
      in:
        below: 20
`

// refusedGround is the Azure in which nothing is wrong.
const refusedGround = `
resource_group: rg-pay-prod
location: eastus
roles:
  definitions:
    - name: Image Builder of rg-pay-prod
      actions: ["Microsoft.Compute/images/*", "Microsoft.Compute/galleries/*"]
  assignments:
    - {identity: id-aib, role: Image Builder of rg-pay-prod}
    - {identity: id-aib, role: Storage Blob Data Reader}
storage_accounts:
  - {name: stpaybake, containers: [bake]}
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        security_type: TrustedLaunchSupported
        versions:
          - {name: 1.8.3, storage: Standard_ZRS, regions: {eastus: {replicas: 1}}, end_of_life: 90d, block_delete: true}
`

const (
	webSet     = planGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-web"
	webVersion = planDefinition + "/versions/1.8.3"
	builderDoc = planGroup + "/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.9.0"
	policyWeb  = "policies:\n  - {name: Allowed sizes, type: Microsoft.Compute/virtualMachineScaleSets, field: %s}\n"
)

// A refusedCase is a refusal of Azure that is made to happen.
type refusedCase struct {
	cause string
	// edits are pairs of a text of refusedFile and what stands there in its place.
	edits []string
	// was are the edits of the file that made the set which is there already.
	was      []string
	scenario string   // more of Azure
	here     []string // parts of the lines of the file that cause it
	do       func(w *refusedWorld) error
	wrong    string // the place in a body of what fleetctl itself never sends
}

// A refusedWorld is Azure and a file in which one of them is at odds with the other.
type refusedWorld struct {
	*baking

	t    *testing.T
	g    *globals
	file *fleetfile.File
	azur *azure.Client
}

// load reads a file that has been edited.
func (w *refusedWorld) load(edits []string) *fleetfile.File {
	w.t.Helper()
	for i := 0; i < len(edits); i += 2 {
		require.Contains(w.t, refusedFile, edits[i])
	}
	require.NoError(w.t, os.WriteFile(w.baking.file, []byte(strings.NewReplacer(edits...).Replace(refusedFile)), 0o600))
	file, err := w.g.loadFile()
	require.NoError(w.t, err)
	return file
}

// send writes, and waits until Azure is done with it.
func (w *refusedWorld) send(method, id string, body fleet.Document) error {
	w.t.Helper()
	write := fleet.Write{Method: method, ID: fleet.ResourceID(id), Body: body}
	if action, rest, found := strings.Cut(id, " "); found {
		write.ID, write.Action = fleet.ResourceID(action), rest
	}
	op, err := w.azur.Send(w.t.Context(), write)
	if err == nil {
		_, err = op.Wait(w.t.Context())
	}
	return err
}

// set is the body of the set that a file declares.
func (w *refusedWorld) set(file *fleetfile.File) fleet.Document {
	return fleet.SetBody(file.Spec, "vmss-web", webVersion, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB pay")
}

// putSet makes the set of the file.
func putSet(w *refusedWorld) error { return w.send(http.MethodPut, webSet, w.set(w.file)) }

// patchSet writes a part of it.
func patchSet(properties fleet.Document) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		return w.send(http.MethodPatch, webSet, fleet.Document{"properties": properties})
	}
}

// putTemplate makes the image template of the file, with a part of it in the place of its own.
func putTemplate(part fleet.Document) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		return w.send(http.MethodPut, builderDoc, w.template(part))
	}
}

func (w *refusedWorld) template(part fleet.Document) fleet.Document {
	w.t.Helper()
	content, err := bakeContent(w.file)
	require.NoError(w.t, err)
	body := fleet.ImageTemplate(w.file.Spec, content, "1.9.0")
	if part != nil {
		properties := maps.Clone(body["properties"].(fleet.Document))
		maps.Copy(properties, part)
		body["properties"] = properties
	}
	return body
}

// putAutoscale writes an autoscale setting with this policy, capacity and metric.
func putAutoscale(predictive fleet.Document, minimum, metric string) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		rule := fleet.Document{
			"metricTrigger": fleet.Document{"metricName": metric, "metricResourceUri": webSet, "timeGrain": "PT1M", "statistic": "Average", "timeWindow": "PT5M", "timeAggregation": "Average", "operator": "GreaterThan", "threshold": 70.0},
			"scaleAction":   fleet.Document{"direction": "Increase", "type": "ChangeCount", "value": "1", "cooldown": "PT5M"},
		}
		properties := fleet.Document{"enabled": true, "targetResourceUri": webSet, "profiles": []any{fleet.Document{
			"name": "default", "rules": []any{rule}, "capacity": fleet.Document{"minimum": minimum, "maximum": "5", "default": "2"},
		}}}
		if predictive != nil {
			properties["predictiveAutoscalePolicy"] = predictive
		}
		return w.send(http.MethodPut, planGroup+"/providers/Microsoft.Insights/autoscaleSettings/vmss-web-autoscale", fleet.Document{"location": "eastus", "properties": properties})
	}
}

// patchVersion writes a part of the image version's publishing profile.
func patchVersion(profile fleet.Document) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		return w.send(http.MethodPatch, webVersion, fleet.Document{"properties": fleet.Document{"storageProfile": fleet.Document{}, "publishingProfile": profile}})
	}
}

// fault lets Azure answer a write with an error.
func fault(status int, code, message string, do func(w *refusedWorld) error) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		require.NoError(w.t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPut, Status: status, Code: code, Message: message}))
		return do(w)
	}
}

// rolledBadly lets the platform upgrade the set, and returns what it says of it.
func rolledBadly(w *refusedWorld) error {
	err := w.send(http.MethodPatch, webSet, fleet.Document{"properties": fleet.Document{"virtualMachineProfile": fleet.Document{
		"scheduledEventsProfile": fleet.Document{"terminateNotificationProfile": fleet.Document{"enable": true, "notBeforeTimeout": "PT6M"}},
	}}})
	if err != nil {
		return err
	}
	for range 60 {
		w.server.Advance(time.Minute)
	}
	latest, err := w.azur.Resource(w.t.Context(), fleet.ResourceID(webSet+"/rollingUpgrades/latest"), "")
	if err != nil {
		return err
	}
	return &upgradeError{fleet.Refusal{
		ID:   webSet,
		Code: fleet.TextAt(latest.Body, "properties", "error", "code"), Message: fleet.TextAt(latest.Body, "properties", "error", "message"),
	}}
}

// An upgradeError is what the platform says of a rolling upgrade.
type upgradeError struct{ fleet.Refusal }

func (e *upgradeError) Error() string { return e.Code + ": " + e.Message }

// extra is the edit that gives the set raw properties.
func extra(lines ...string) []string {
	const after = "      ssh_key: key.pub\n"
	return []string{after, after + "      extra:\n        " + strings.Join(lines, "\n        ") + "\n"}
}

// liveSet is the set of the file with members, as a scenario has it.
func liveSet(more string) string {
	return `
scale_sets:
  - name: vmss-web
    zones: ["1", "2", "3"]
    vm_size: Standard_D2as_v5
    image: galProd/ubuntu-app/1.8.3
` + more
}

const (
	withHealth = "    health: {version: \"1.0\", protocol: http, port: 8080, path: /healthz}\n"
	sixMembers = "    members:\n      - {count: 6}\n"
)

// refusedCases are all of them. Every row of the table of causes is among them.
func refusedCases() []refusedCase {
	autoOS := "auto_os_on_flexible: true\n"
	onAutoOS := fleet.Document{"upgradePolicy": fleet.Document{"automaticOSUpgradePolicy": fleet.Document{"enableAutomaticOSUpgrade": true}}}
	tracking := []string{"  vmss-web:\n", "  vmss-web:\n    tracks: latest\n", "driver: batches", "driver: platform-auto-os"}
	noHealth := []string{"    health:\n      extension: \"1.0\"\n      port: 8080\n      path: /healthz\n", ""}
	spot := []string{"    autoscale:\n", "    spot:\n      regular_base: 1\n      eviction: delete\n    autoscale:\n"}
	trackingImage := func(w *refusedWorld) error {
		body := fleet.SetBody(w.file.Spec, "vmss-web", planDefinition, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB pay")
		return w.send(http.MethodPut, webSet, body)
	}
	return []refusedCase{
		// Health, upgrades and repairs.
		{
			cause: "rolling-without-health", here: []string{"mode: Rolling"}, edits: slices.Concat(noHealth, extra("properties:", "  upgradePolicy:", "    mode: Rolling")), do: putSet,
		},
		{cause: "two-health-sources", here: []string{"id: " + planGroup + "/probes/http"}, do: putSet, edits: extra(
			"properties:", "  upgradePolicy:", "    mode: Rolling", "  virtualMachineProfile:", "    networkProfile:", "      healthProbe:", "        id: "+planGroup+"/probes/http")},
		{cause: "auto-os-not-latest", scenario: autoOS + liveSet(withHealth), here: []string{"driver: batches"}, do: patchSet(onAutoOS)},
		{
			cause: "auto-os-without-health", scenario: autoOS, here: []string{"driver: platform-auto-os", "extension: \"1.0\""}, edits: tracking,
			do: func(w *refusedWorld) error {
				body := fleet.SetBody(w.file.Spec, "vmss-web", planDefinition, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB pay")
				delete(body["properties"].(fleet.Document)["virtualMachineProfile"].(fleet.Document), "extensionProfile")
				return w.send(http.MethodPut, webSet, body)
			},
		},
		{cause: "auto-os-surge", scenario: autoOS, here: []string{"maxSurge: true"}, do: trackingImage, edits: slices.Concat(tracking, extra("properties:", "  upgradePolicy:", "    rollingUpgradePolicy:", "      maxSurge: true"))},
		{cause: "auto-os-patches", scenario: autoOS, here: []string{"patchMode: AutomaticByPlatform"}, do: trackingImage, edits: slices.Concat(tracking, extra(
			"properties:", "  virtualMachineProfile:", "    osProfile:", "      linuxConfiguration:", "        patchSettings:", "          patchMode: AutomaticByPlatform"))},
		{cause: "auto-os-flexible", here: []string{"driver: platform-auto-os"}, edits: tracking, do: trackingImage},
		{cause: "os-upgrade-not-latest", scenario: liveSet(withHealth), here: []string{"    create:"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPost, webSet+" osRollingUpgrade", nil)
		}},
		{cause: "rollback-uniform-only", here: []string{"rollbackFailedInstancesOnPolicyBreach: true"}, do: putSet, edits: extra(
			"properties:", "  upgradePolicy:", "    rollingUpgradePolicy:", "      rollbackFailedInstancesOnPolicyBreach: true")},
		{
			cause: "upgrade-unhealthy-before", here: []string{"max_unhealthy: 20%"}, do: rolledBadly,
			scenario: liveSet(withHealth + "    mode: Rolling\n    members:\n      - {count: 3}\n      - {count: 3, health: Unhealthy}\n"),
		},
		{
			cause: "upgrade-unhealthy-after", here: []string{"max_unhealthy_upgraded: 10%"},
			scenario: liveSet(withHealth+"    mode: Rolling\n"+sixMembers) + "halts:\n  - {scale_set: vmss-web, error: RollingUpgradeTimeoutError, count: 1}\n",
			do: func(w *refusedWorld) error {
				return fault(409, "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade", "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value.", putSet)(w)
			},
		},
		{
			cause: "upgrade-timeout", here: []string{"batch: 50%"}, do: rolledBadly,
			scenario: liveSet(withHealth+"    mode: Rolling\n"+sixMembers) + "halts:\n  - {scale_set: vmss-web, error: RollingUpgradeTimeoutError, count: 1}\n",
		},
		{
			cause: "repairs-without-health", here: []string{"repairs:", "extension: \"1.0\""}, edits: []string{"    upgrade:\n", "    repairs: {after: 30m}\n    upgrade:\n"}, scenario: liveSet(sixMembers),
			do: patchSet(fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": true, "gracePeriod": "PT30M"}}),
		},
		{
			cause: "repair-action", here: []string{"action: restart"}, edits: []string{"    upgrade:\n", "    repairs:\n      after: 30m\n      action: restart\n    upgrade:\n"},
			scenario: liveSet(withHealth + "    repairs: {after: 30m, action: Replace}\n" + sixMembers),
			do:       patchSet(fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": true, "gracePeriod": "PT30M", "repairAction": "Restart"}}),
		},
		// What never changes.
		{
			cause: "image-type", here: []string{"name: ubuntu-app"},
			do: func(w *refusedWorld) error {
				body := w.set(w.file)
				profile := body["properties"].(fleet.Document)["virtualMachineProfile"].(fleet.Document)["storageProfile"].(fleet.Document)
				image := profile["imageReference"]
				profile["imageReference"] = fleet.Document{"publisher": "Canonical", "offer": "o", "sku": "s", "version": "latest"}
				require.NoError(w.t, w.send(http.MethodPut, webSet, body))
				return patchSet(fleet.Document{"virtualMachineProfile": fleet.Document{"storageProfile": fleet.Document{"imageReference": image}}})(w)
			},
		},
		{cause: "set-immutable", was: []string{}, here: []string{"zones: [1, 2]"}, edits: []string{"zones: [1, 2, 3]", "zones: [1, 2]"}, do: putSet},
		{cause: "set-immutable", was: []string{"      zones: [1, 2, 3]\n", ""}, here: []string{"fault_domains: 3"}, edits: []string{"      zones: [1, 2, 3]\n", "", "fault_domains: 1", "fault_domains: 3"}, do: putSet},
		{cause: "set-immutable", was: []string{}, here: []string{"admin: another"}, edits: []string{"admin: azureuser", "admin: another"}, do: putSet},
		{cause: "set-immutable", was: extra("properties:", "  virtualMachineProfile:", "    priority: Regular"), here: []string{"regular_base: 1"}, edits: spot, do: putSet},
		{cause: "set-immutable", was: spot, here: []string{"eviction: deallocate"}, edits: []string{spot[0], strings.Replace(spot[1], "delete", "deallocate", 1)}, do: putSet},
		{cause: "set-immutable", was: []string{}, here: []string{"singlePlacementGroup: true"}, edits: extra("properties:", "  singlePlacementGroup: true"), do: putSet},
		{cause: "set-immutable", was: []string{}, here: []string{"orchestrationMode: Uniform"}, edits: extra("properties:", "  orchestrationMode: Uniform"), do: putSet},
		{cause: "set-not-in-patch", was: []string{}, here: []string{"zoneBalance: true"}, edits: extra("properties:", "  zoneBalance: true"), do: patchSet(fleet.Document{"zoneBalance": true}), wrong: "$.properties.zoneBalance"},
		{cause: "set-not-in-patch", was: []string{}, here: []string{"fault_domains: 1"}, do: patchSet(fleet.Document{"platformFaultDomainCount": 1.0}), wrong: "$.properties.platformFaultDomainCount"},
		{cause: "location-immutable", was: []string{}, here: []string{"location: westus3"}, edits: []string{"location: eastus", "location: westus3"}, do: putSet},
		// Shape.
		{cause: "zones-with-fault-domains", here: []string{"platformFaultDomainCount: 2", "zones: [1, 2, 3]"}, edits: extra("properties:", "  platformFaultDomainCount: 2"), do: putSet},
		{cause: "fault-domains-range", here: []string{"platformFaultDomainCount: 5"}, edits: slices.Concat([]string{"      zones: [1, 2, 3]\n", ""}, extra("properties:", "  platformFaultDomainCount: 5")), do: putSet},
		{cause: "system-identity", here: []string{"type: SystemAssigned"}, edits: extra("identity:", "  type: SystemAssigned"), do: putSet},
		{cause: "mix-with-one-placement-group", here: []string{"singlePlacementGroup: true", "regular_base: 1"}, edits: slices.Concat(spot, extra("properties:", "  singlePlacementGroup: true")), do: putSet},
		{cause: "mix-without-spot", here: []string{"baseRegularPriorityCount: 1"}, edits: extra("properties:", "  priorityMixPolicy:", "    baseRegularPriorityCount: 1"), do: putSet},
		{cause: "eviction-without-spot", here: []string{"evictionPolicy: Delete"}, edits: extra("properties:", "  virtualMachineProfile:", "    evictionPolicy: Delete"), do: putSet},
		{
			cause: "notice-on-spot", here: []string{"regular_base: 1"}, edits: spot,
			do: func(w *refusedWorld) error {
				body := w.set(w.file)
				body["properties"].(fleet.Document)["virtualMachineProfile"].(fleet.Document)["scheduledEventsProfile"] = fleet.Document{"terminateNotificationProfile": fleet.Document{"enable": true, "notBeforeTimeout": "PT5M"}}
				return w.send(http.MethodPut, webSet, body)
			},
		},
		{
			cause: "spot-restore", here: []string{"restore: 1h"}, edits: []string{spot[0], strings.Replace(spot[1], "      eviction", "      restore: 1h\n      eviction", 1)},
			do: fault(400, "InvalidParameter", "The value of parameter spotRestorePolicy is invalid.", putSet),
		},
		// Values out of range.
		{cause: "value-refused", here: []string{"batch: 50%"}, scenario: liveSet(withHealth), do: patchSet(fleet.Document{"upgradePolicy": fleet.Document{"rollingUpgradePolicy": fleet.Document{"maxBatchInstancePercent": 101.0}}}), wrong: "$.properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent", edits: []string{"driver: batches", "driver: platform-rolling"}},
		{cause: "value-refused", here: []string{"max_unhealthy: 20%"}, scenario: liveSet(withHealth), do: patchSet(fleet.Document{"upgradePolicy": fleet.Document{"rollingUpgradePolicy": fleet.Document{"maxUnhealthyInstancePercent": 2.0}}}), wrong: "$.properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyInstancePercent", edits: []string{"driver: batches", "driver: platform-rolling"}},
		{cause: "value-refused", here: []string{"pauseTimeBetweenBatches: 2m"}, do: putSet, edits: extra("properties:", "  upgradePolicy:", "    rollingUpgradePolicy:", "      pauseTimeBetweenBatches: 2m")},
		{cause: "value-refused", here: []string{"capacity: 2000"}, do: putSet, edits: extra("sku:", "  capacity: 2000")},
		{cause: "value-refused", here: []string{"after: 30m"}, edits: []string{"    upgrade:\n", "    repairs:\n      after: 30m\n    upgrade:\n"}, scenario: liveSet(withHealth), do: patchSet(fleet.Document{"automaticRepairsPolicy": fleet.Document{"enabled": true, "gracePeriod": "PTPT30MM"}})},
		{cause: "value-refused", here: []string{"terminate_notice: 15m"}, edits: []string{"    upgrade:\n", "    terminate_notice: 15m\n    upgrade:\n"}, scenario: liveSet(withHealth), do: patchSet(fleet.Document{
			"virtualMachineProfile": fleet.Document{"scheduledEventsProfile": fleet.Document{"terminateNotificationProfile": fleet.Document{"enable": true, "notBeforeTimeout": "PT16M"}}},
		})},
		{cause: "value-refused", here: []string{"regularPriorityPercentageAboveBase: 101"}, wrong: "$.properties.priorityMixPolicy.regularPriorityPercentageAboveBase", edits: slices.Concat(spot, extra("properties:", "  priorityMixPolicy:", "    regularPriorityPercentageAboveBase: 101")), do: putSet},
		{cause: "member-protection", scenario: liveSet(withHealth + "    members:\n      - {name: vmss-web_1}\n"), here: []string{"    create:"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPut, webSet+"/virtualMachines/vmss-web_1", fleet.Document{"location": "eastus", "properties": fleet.Document{"protectionPolicy": fleet.Document{"protectFromScaleIn": false, "protectFromScaleSetActions": true}}})
		}},
		// Capacity.
		{cause: "quota", scenario: "quotas: {eastus: 2}\n", here: []string{"vm_size: Standard_D2as_v5", "capacity: 2"}, do: putSet},
		{cause: "quota", scenario: "capacity:\n  - {error: QuotaExceeded}\n", here: []string{"vm_size: Standard_D2as_v5", "capacity: 2"}, do: putSet},
		{cause: "quota", scenario: "capacity:\n  - {error: OperationNotAllowed}\n", here: []string{"vm_size: Standard_D2as_v5", "capacity: 2"}, do: putSet},
		{cause: "allocation", scenario: "capacity:\n  - {error: OverconstrainedZonalAllocationRequest}\n", here: []string{"vm_size: Standard_D2as_v5", "zones: [1, 2, 3]"}, do: putSet},
		{cause: "allocation", scenario: "capacity:\n  - {error: ZonalAllocationFailed}\n", here: []string{"vm_size: Standard_D2as_v5", "zones: [1, 2, 3]"}, do: putSet},
		{cause: "allocation", scenario: "capacity:\n  - {error: AllocationFailed}\n", here: []string{"vm_size: Standard_D2as_v5", "zones: [1, 2, 3]"}, do: putSet},
		// What it is made of.
		{cause: "reference-missing", here: []string{"subnet: /"}, do: fault(400, "InvalidResourceReference", "Resource "+planGroup+"/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app referenced by resource "+webSet+
			" was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", putSet)},
		{cause: "subnet-full", here: []string{"subnet: /", "capacity: 2"}, do: fault(400, "SubnetIsFull", "Subnet app with address prefix 10.0.0.0/29 does not have enough capacity for 2 IP addresses.", putSet)},
		{cause: "size-not-there", here: []string{"vm_size: Standard_D2as_v5", "location: eastus"}, do: fault(400, "InvalidParameter", "The requested VM size Standard_D2as_v5 is not available in the current region. The sizes available in the current region are: Standard_A1.", putSet)},
		{cause: "size-not-there", here: []string{"vm_size: Standard_D2as_v5", "location: eastus"}, do: fault(400, "InvalidParameter", "The value Standard_D2as_v5 provided for the VM size is not valid. The valid sizes in the current region are: Standard_A1.", putSet)},
		{cause: "size-generation", here: []string{"vm_size: Standard_D2as_v5"}, do: fault(400, "BadRequest", "The selected VM size 'Standard_D2as_v5' cannot boot Hypervisor Generation '2'.", putSet)},
		{cause: "admin-name", here: []string{"admin: azureuser"}, do: fault(400, "InvalidParameter", "The Admin Username specified is not allowed.", putSet)},
		{cause: "ssh-key", here: []string{"ssh_key: key.pub"}, do: fault(400, "InvalidParameter", "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.", putSet)},
		{cause: "locked", here: []string{"resource_group: rg-pay-prod"}, do: fault(409, "ScopeLocked", "The scope '"+webSet+"' cannot perform write operation because following scope(s) are locked: '"+planGroup+"'. Please remove the lock and try again.", putSet)},
		// Autoscale.
		{cause: "autoscale-capacity", here: []string{"min: 1"}, do: putAutoscale(nil, "9", "Percentage CPU")},
		{cause: "autoscale-mode", here: []string{"mode: enabled"}, edits: []string{"      in:\n", "      predictive:\n        mode: enabled\n      in:\n"}, do: putAutoscale(fleet.Document{"scaleMode": "enabled"}, "1", "Percentage CPU"), wrong: "$.properties.predictiveAutoscalePolicy.scaleMode"},
		{cause: "autoscale-look-ahead", here: []string{"look_ahead: 60m"}, edits: []string{"      in:\n", "      predictive:\n        mode: enabled\n        look_ahead: 60m\n      in:\n"}, do: putAutoscale(fleet.Document{"scaleMode": "Enabled", "scaleLookAheadTime": "PT2H"}, "1", "Percentage CPU")},
		{cause: "autoscale-metric", here: []string{"metric: Network In Total"}, edits: []string{"        above: 70\n", "        above: 70\n        metric: Network In Total\n"}, do: putAutoscale(fleet.Document{"scaleMode": "Enabled"}, "1", "Network In Total")},
		// The gallery.
		{cause: "version-immutable", here: []string{"storage: Standard_ZRS"}, do: patchVersion(fleet.Document{"storageAccountType": "Premium_LRS"})},
		{cause: "version-immutable", here: []string{"galProd"}, do: patchVersion(fleet.Document{"replicationMode": "Shallow"})},
		{cause: "version-immutable", here: []string{"version: 1.9.{n}"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPatch, webVersion, fleet.Document{"properties": fleet.Document{"storageProfile": fleet.Document{"source": fleet.Document{"id": planGroup + "/providers/Microsoft.Compute/images/other"}}}})
		}},
		{cause: "definition-immutable", here: []string{"name: ubuntu-app"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPatch, planDefinition, fleet.Document{"properties": fleet.Document{"identifier": fleet.Document{"publisher": "another", "offer": "ubuntu", "sku": "app-jammy"}}})
		}},
		{cause: "name-refused", here: []string{"name: galProd"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPut, planGallery+".", fleet.Document{"location": "eastus"})
		}},
		{cause: "location-unavailable", here: []string{"location: eastus"}, do: func(w *refusedWorld) error {
			return w.send(http.MethodPut, planGallery+"2", fleet.Document{"location": "east_us!"})
		}},
		{cause: "region-twice", here: []string{"westus3: 2"}, do: patchVersion(fleet.Document{"targetRegions": []any{fleet.Document{"name": "eastus"}, fleet.Document{"name": "East US"}}})},
		{cause: "deletion-blocked", here: []string{"end_of_life: 180d"}, do: func(w *refusedWorld) error { return w.send(http.MethodDelete, webVersion, nil) }},
		{cause: "image-not-there", here: []string{"location: westus3", "westus3: 2"}, edits: []string{"  vmss-web:\n", "  vmss-web:\n    location: westus3\n"}, do: putSet},
		// Image Builder.
		{cause: "template-unknown-field", here: []string{"id-aib"}, do: putTemplate(fleet.Document{"proxySize": 1.0}), wrong: "$.properties.proxySize"},
		{cause: "template-exists", here: []string{"version: 1.9.{n}"}, do: func(w *refusedWorld) error {
			require.NoError(w.t, putTemplate(nil)(w))
			return putTemplate(nil)(w)
		}},
		{cause: "template-busy", here: []string{"version: 1.9.{n}"}, do: func(w *refusedWorld) error {
			_, err := w.azur.Send(w.t.Context(), fleet.Write{Method: http.MethodPut, ID: builderDoc, Body: w.template(nil)})
			require.NoError(w.t, err)
			return w.send(http.MethodDelete, builderDoc, nil)
		}},
		{cause: "staging-group", here: []string{"id-aib"}, do: putTemplate(fleet.Document{"stagingResourceGroup": planGroup})},
		{cause: "build-timeout", here: []string{"timeout: 60m"}, do: putTemplate(fleet.Document{"buildTimeoutInMinutes": 5.0})},
		{cause: "provider-unregistered", here: []string{"id-aib"}, scenario: "providers: {Microsoft.VirtualMachineImages: NotRegistered}\n", do: putTemplate(nil)},
		{cause: "builder-identity", here: []string{"identity: id-none"}, edits: []string{"identity: id-aib", "identity: id-none"}, do: putTemplate(nil)},
		{cause: "builder-role", here: []string{"identity: id-two"}, edits: []string{"identity: id-aib", "identity: id-two"}, do: func(w *refusedWorld) error {
			require.NoError(w.t, w.send(http.MethodPut, planGroup+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-two", fleet.Document{"location": "eastus"}))
			return putTemplate(nil)(w)
		}},
		{cause: "artifacts-unreadable", here: []string{"artifacts:", "identity: id-aib"}, do: putTemplate(fleet.Document{"customize": []any{fleet.Document{
			"type": "Shell", "name": "install", "scriptUri": "https://stpaybake.blob.core.windows.net/bake/none.sh",
		}}})},
		{cause: "file-too-large", here: []string{"name: install"}, do: fault(400, "NoCustomizerScript", "The file 'https://stpaybake.blob.core.windows.net/bake/big' of the customizer 'install' has 30000000 bytes; at most 20971520 are supported.", putTemplate(nil))},
		{cause: "file-destination", here: []string{"name: install"}, do: putTemplate(fleet.Document{"customize": []any{fleet.Document{
			"type": "File", "name": "install", "sourceUri": "https://stpaybake.blob.core.windows.net/bake/f", "destination": "/etc/f",
		}}})},
		{cause: "container-quota", scenario: "builds:\n  - {fails: quota}\n", here: []string{"location: eastus"}},
		{cause: "storage-keys", scenario: "builds:\n  - {fails: shared-key}\n", here: []string{"id-aib"}},
		{cause: "storage-keys", scenario: "builds:\n  - {fails: policy}\n", here: []string{"id-aib"}},
		// What somebody forbids.
		{cause: "policy", scenario: fmt.Sprintf(policyWeb, "sku.name, allowed: [Standard_D4as_v5]"), here: []string{"vm_size: Standard_D2as_v5"}, do: putSet},
		{cause: "policy", scenario: fmt.Sprintf(policyWeb, "tags.cost-center"), here: []string{"owner: payments"}, do: putSet},
		{cause: "policy", scenario: fmt.Sprintf(policyWeb, "location, allowed: [westus3]"), here: []string{"location: eastus"}, do: putSet},
		{
			cause: "policy", scenario: "policies:\n  - {name: Allowed places, type: Microsoft.Compute/galleries, field: location, allowed: [westus3]}\n", here: []string{"location: eastus"},
			edits: []string{"name: galProd", "name: galTwo"}, do: commanded("apply", "--yes"),
		},
		{cause: "denied", scenario: "caller: {not_actions: [Microsoft.Compute/virtualMachineScaleSets/write]}\n", here: []string{"    create:"}, do: putSet},
		{cause: "denied", scenario: "caller: {not_actions: [Microsoft.Compute/galleries/write]}\n", here: []string{"name: galTwo"}, edits: []string{"name: galProd", "name: galTwo"}, do: commanded("apply", "--yes")},
		{cause: "denied-linked", scenario: "caller: {not_actions: [Microsoft.Network/virtualNetworks/subnets/join/action]}\n", here: []string{"subnet: /"}, do: putSet},
		{cause: "denied-linked", scenario: "caller: {not_actions: [Microsoft.Compute/galleries/images/versions/read]}\n", here: []string{"name: ubuntu-app"}, do: putSet},
	}
}

// errRun says that fleetctl itself has shown what there is.
var errRun = errors.New("shown")

// commanded is a command in the place of a write.
func commanded(args ...string) func(w *refusedWorld) error {
	return func(w *refusedWorld) error {
		text, code := w.fleetctl(args...)
		require.NotZero(w.t, code, text)
		return fmt.Errorf("%w: %s", errRun, text)
	}
}

// shownFor makes a case happen, and returns what is shown of it.
func (w *refusedWorld) shownFor(tt *refusedCase) string {
	do := tt.do
	if do == nil {
		do = commanded("bake", "--yes")
	}
	err := do(w)
	require.Error(w.t, err)
	if errors.Is(err, errRun) {
		return err.Error()
	}
	if upgrade, ok := errors.AsType[*upgradeError](err); ok {
		return w.shown(err.Error() + "\n" + causesOf(w.file, &upgrade.Refusal).Error())
	}
	refusal, ok := azure.RefusalOf(err)
	require.True(w.t, ok, err)
	e, ok := fleet.Explain(w.file.Spec, &refusal)
	require.True(w.t, ok, err)
	require.Equal(w.t, tt.cause, e.Cause, err)
	var out strings.Builder
	cli.Report(&out, cli.Style{}, "fleetctl", w.g.placed(explained(err)))
	return w.shown(out.String())
}

// placeShown is a place of the file in a text.
var placeShown = regexp.MustCompile(`fleet\.yaml:(\d+):\d+`)

func TestRefusalsShowTheLine(t *testing.T) {
	seen := map[string]bool{}
	for i, tt := range refusedCases() {
		seen[tt.cause] = true
		t.Run(fmt.Sprintf("%d %s", i, tt.cause), func(t *testing.T) {
			scenario, err := arm.ParseScenario("azure.yaml", []byte(refusedGround+tt.scenario))
			require.NoError(t, err)
			w := &refusedWorld{t: t, baking: newBakingOf(t, scenario)}
			if tt.wrong != "" {
				armjudge.Expect(w.endpoint, tt.wrong)
			}
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(w.baking.file), "key.pub"), []byte("ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB pay\n"), 0o600))
			w.g, _, _ = w.globals()
			w.g.file, w.g.auth = w.baking.file, "default"
			w.azur, err = w.g.client()
			require.NoError(t, err)
			if tt.was != nil {
				require.NoError(t, w.send(http.MethodPut, webSet, w.set(w.load(tt.was))))
			}
			w.file = w.load(tt.edits)
			text := w.shownFor(&tt)

			var want, got []string
			for n, line := range strings.Split(strings.NewReplacer(tt.edits...).Replace(refusedFile), "\n") {
				if slices.ContainsFunc(tt.here, func(part string) bool { return strings.Contains(line, part) }) {
					want = append(want, strconv.Itoa(n+1))
				}
			}
			for _, m := range placeShown.FindAllStringSubmatch(text, -1) {
				got = append(got, m[1])
			}
			require.NotEmpty(t, want)
			require.Subset(t, want, got, text)
			require.Len(t, got, len(tt.here), text)
		})
	}
	require.ElementsMatch(t, fleet.Refusals(), slices.Collect(maps.Keys(seen)), "every cause is made to happen")
	require.Len(t, fleet.Refusals(), 64)
}

// A rollout that the platform stops shows the line of the file that has it stopped, to
// people and to programs.
func TestRolloutHaltsByFile(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy", edits: []string{
		"    zones:", "    mode: Rolling\n    zones:", // in Azure
		"manage: image", "manage: full", "driver: batches", "driver: platform-rolling", "pause: 0s", "max_unhealthy_upgraded: 20%",
		"instances: 1, ", "", "[vmss-authz, vmss-authz-west]", "[vmss-authz-west]",
	}})
	text, code := w.fleetctl("run", "1.7.1", "--yes")
	require.Equal(t, exitHalted, code, text)
	const lines = "\n  at: fleet.yaml:11:75 scale_sets.vmss-authz.upgrade.max_unhealthy_upgraded\n  members did not get healthy"
	require.Contains(t, text, lines)
	v := w.status("--offline")
	require.Contains(t, v.Why, ": MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade: ")
	require.Len(t, v.Causes, 1)
	require.Equal(t, 11, v.Causes[0].Line)
	text, code = w.fleetctl("show")
	require.Zero(t, code, text)
	require.Contains(t, text, lines)
}

// Of what a rollout stands still for, the file causes what it says of a scale set that is
// its own.
func TestRolloutCauses(t *testing.T) {
	const noRoom = ": AllocationFailed: Allocation failed: there is no room."
	g, file := newGlobals(io.Discard, io.Discard, func(string) string { return "" }), filepath.Join(t.TempDir(), "fleet.yaml")
	text := strings.Replace(refusedFile, "scale_sets:\n", "scale_sets:\n  vmss-web-2: {manage: image, id: "+webSet+"-2}\n", 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	g.file = file
	_, err := g.loadFile()
	require.NoError(t, err)
	for _, tt := range []struct {
		v    rollout.View
		want string
	}{
		{rollout.View{Why: "vmss-web" + noRoom}, "scale_sets.vmss-web.create.vm_size"},
		{rollout.View{Why: "begun", Paused: "refused: PATCH virtualMachineScaleSets/vmss-web" + noRoom}, "scale_sets.vmss-web.create.vm_size"},
		{rollout.View{Why: "vmss-web-2" + noRoom}, ""},
		{rollout.View{Why: "vmss-else" + noRoom}, ""},
		{rollout.View{Why: "vmss-web_1 of vmss-web: it is Unhealthy 10m after its upgrade"}, ""},
		{rollout.View{Why: "vmss-web: AllocationFailed", Paused: "paused by ana"}, ""},
	} {
		tt.v.Sets = []rollout.SetView{{Name: "vmss-web"}, {Name: "vmss-web-2"}, {Name: "vmss-gone"}}
		got := ""
		if causes := g.rolloutCauses(&tt.v); len(causes) > 0 {
			got = causes[0].Key
		}
		require.Equal(t, tt.want, got, "%s %s", tt.v.Why, tt.v.Paused)
	}
}
