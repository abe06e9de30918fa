package fleet_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

const (
	group     = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod"
	version   = fleet.ResourceID(group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.8.3")
	publicKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB pay"
)

// contract is the example of the file's documentation.
func contract(t *testing.T) *fleet.Spec {
	t.Helper()
	file, err := fleetfile.Load("../fleetfile/testdata/contract.yaml", func(name string) (string, bool) {
		return map[string]string{"AZURE_SUBSCRIPTION_ID": "11111111-1111-1111-1111-111111111111", "ROLLOUT_WEBHOOK": "https://hooks.example/x"}[name], true
	})
	require.NoError(t, err)
	return file.Spec
}

// judged requires that Azure's types take a body of a PUT.
func judged(t *testing.T, types *armtypes.Types, body fleet.Document) {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	decoded, err := armtypes.Decode(text)
	require.NoError(t, err)
	require.Empty(t, types.Check("Microsoft.Compute/virtualMachineScaleSets", "2026-04-01", decoded, armtypes.Request))
}

// decoded is a body as it comes back over the wire.
func decoded(t *testing.T, body fleet.Document) (again fleet.Document) {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &again))
	return again
}

func order() fleet.BootSetOrder {
	return fleet.BootSetOrder{
		Version: version, Fleet: "pay", Expires: time.Date(2026, 3, 5, 16, 0, 0, 0, time.UTC), SSHKey: func() string { return "ssh-rsa AAAA nobody" },
	}
}

// What the file says is in the body, and Azure's types take it, for every driver.
func TestSetBody(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	spec := contract(t)
	on := true
	rolling := spec.ScaleSets["vmss-authz"]
	rolling.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformRolling, Batch: 20, MaxUnhealthy: 35, Pause: 90 * time.Second, MaxSurge: &on}
	auto := rolling
	auto.Tracks, auto.OSImageNotification = fleet.TracksLatest, true
	auto.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformAutoOS, Batch: 20, MaxUnhealthy: 20, AutoOSRollback: &on}
	spec.ScaleSets["vmss-rolling"], spec.ScaleSets["vmss-auto"] = rolling, auto
	made := 0
	for _, name := range slices.Sorted(maps.Keys(spec.ScaleSets)) {
		body := fleet.SetBody(spec, name, version, publicKey+"\n")
		if spec.ScaleSets[name].Create == nil {
			require.Nil(t, body, name)
			continue
		}
		judged(t, types, body)
		made++
	}
	require.Equal(t, 5, made)

	text, err := json.Marshal(fleet.SetBody(spec, "vmss-authz", version, publicKey+"\n"))
	require.NoError(t, err)
	require.JSONEq(t, `{
		"location": "eastus", "tags": {"owner": "payments"}, "zones": ["1", "2", "3"],
		"sku": {"name": "Standard_D2as_v5", "tier": "Standard", "capacity": 3},
		"properties": {
			"orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "singlePlacementGroup": false,
			"upgradePolicy": {"mode": "Manual"},
			"automaticRepairsPolicy": {"enabled": true, "gracePeriod": "PT30M", "repairAction": "Replace"},
			"virtualMachineProfile": {
				"osProfile": {"computerNamePrefix": "vmss-authz", "adminUsername": "azureuser", "linuxConfiguration": {
					"disablePasswordAuthentication": true, "provisionVMAgent": true,
					"ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "`+publicKey+`"}]}}},
				"storageProfile": {
					"imageReference": {"id": "`+string(version)+`"},
					"osDisk": {"osType": "Linux", "createOption": "FromImage", "caching": "ReadWrite", "deleteOption": "Delete",
						"managedDisk": {"storageAccountType": "StandardSSD_LRS"}}},
				"networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [{
					"name": "vmss-authz-nic", "properties": {"primary": true, "deleteOption": "Delete", "ipConfigurations": [{
						"name": "vmss-authz-ip", "properties": {"primary": true,
							"subnet": {"id": "`+group+`/providers/Microsoft.Network/virtualNetworks/vnet-pay/subnets/app"},
							"loadBalancerBackendAddressPools": [{"id": "`+group+`/providers/Microsoft.Network/loadBalancers/lb-pay/backendAddressPools/authz"}]}}]}}]},
				"securityProfile": {"securityType": "TrustedLaunch", "uefiSettings": {"secureBootEnabled": true, "vTpmEnabled": true}},
				"extensionProfile": {"extensions": [{"name": "ApplicationHealthLinux", "properties": {
					"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0",
					"autoUpgradeMinorVersion": true, "enableAutomaticUpgrade": true,
					"settings": {"protocol": "http", "port": 8080, "requestPath": "/healthz", "intervalInSeconds": 5, "numberOfProbes": 2, "gracePeriod": 300}}}]},
				"scheduledEventsProfile": {"terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "PT5M"}}}}}`, string(text))

	batch, err := json.Marshal(fleet.SetBody(spec, "vmss-batch", version, publicKey)["properties"])
	require.NoError(t, err)
	for _, part := range []string{
		`"priorityMixPolicy":{"baseRegularPriorityCount":3,"regularPriorityPercentageAboveBase":50}`, `"spotRestorePolicy":{"enabled":true,"restoreTimeout":"PT1H"}`,
		`"priority":"Spot"`, `"evictionPolicy":"Deallocate"`, `"maxPrice":-1`,
	} {
		require.Contains(t, string(batch), part)
	}
	require.NotContains(t, string(batch), "terminateNotificationProfile")
	latest, err := json.Marshal(fleet.SetBody(spec, "vmss-auto", version, publicKey))
	require.NoError(t, err)
	require.NotContains(t, string(latest), "/versions/", "a set that tracks the latest names no version")
	require.Contains(t, string(latest), `"pauseTimeBetweenBatches":"PT0S"`)
}

// What stands in extra is over all else: objects are merged, null takes away.
func TestSetBodyExtra(t *testing.T) {
	spec := contract(t)
	set := spec.ScaleSets["vmss-authz"]
	create := *set.Create
	create.Extra = map[string]any{
		"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{"id": map[string]any{}}},
		"zones":    nil,
		"properties": map[string]any{
			"scaleInPolicy": map[string]any{"rules": []any{"OldestVM"}},
			"virtualMachineProfile": map[string]any{
				"securityProfile": nil,
				"storageProfile":  map[string]any{"osDisk": map[string]any{"diskSizeGB": 64}},
			},
		},
	}
	set.Create = &create
	spec.ScaleSets["vmss-authz"] = set
	body := decoded(t, fleet.SetBody(spec, "vmss-authz", version, publicKey))
	require.NotContains(t, body, "zones")
	require.Equal(t, "UserAssigned", body["identity"].(fleet.Document)["type"])
	machine := body["properties"].(fleet.Document)["virtualMachineProfile"].(fleet.Document)
	require.NotContains(t, machine, "securityProfile")
	disk := machine["storageProfile"].(fleet.Document)["osDisk"].(fleet.Document)
	require.EqualValues(t, 64, disk["diskSizeGB"])
	require.Equal(t, "FromImage", disk["createOption"])
}

// liveSet is a set as Azure answers it, with all that a boot test must not have, and
// with properties of another day.
const liveSet = `{
	"id": "` + group + `/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz", "name": "vmss-authz",
	"type": "Microsoft.Compute/virtualMachineScaleSets", "etag": "\"7\"", "location": "eastus", "zones": ["2", "1"],
	"tags": {"owner": "payments"}, "sku": {"name": "Standard_D2as_v5", "tier": "Standard", "capacity": 30},
	"ofAnotherDay": {"a": [1.5, null]},
	"identity": {"type": "SystemAssigned, UserAssigned", "principalId": "p", "tenantId": "t", "userAssignedIdentities": {"/id-authz": {"principalId": "x", "clientId": "y"}}},
	"properties": {
		"provisioningState": "Succeeded", "uniqueId": "u", "timeCreated": "2025-11-02T09:00:00Z",
		"orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "singlePlacementGroup": false, "zoneBalance": true,
		"upgradePolicy": {"mode": "Rolling", "rollingUpgradePolicy": {"maxSurge": true}},
		"automaticRepairsPolicy": {"enabled": true, "gracePeriod": "PT30M"},
		"resiliencyPolicy": {"resilientVMCreationPolicy": {"enabled": true}},
		"priorityMixPolicy": {"baseRegularPriorityCount": 1}, "spotRestorePolicy": {"enabled": false},
		"hostGroup": {"id": "/host"}, "proximityPlacementGroup": {"id": "/near"}, "ofAnotherDay": "kept",
		"virtualMachineProfile": {
			"timeCreated": "2025-11-02T09:00:00Z", "priority": "Spot", "evictionPolicy": "Deallocate", "billingProfile": {"maxPrice": -1},
			"capacityReservation": {"capacityReservationGroup": {"id": "/reserved"}}, "userData": "c2VjcmV0",
			"osProfile": {"computerNamePrefix": "authz", "adminUsername": "azureuser", "adminPassword": "x",
				"linuxConfiguration": {"disablePasswordAuthentication": false, "provisionVMAgent": true},
				"secrets": [{"sourceVault": {"id": "/vault"}, "vaultCertificates": []}]},
			"storageProfile": {
				"imageReference": {"id": "` + group + `/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.7.1", "exactVersion": "1.7.1"},
				"osDisk": {"osType": "Linux", "createOption": "FromImage", "deleteOption": "Detach"},
				"dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 64, "deleteOption": "Detach"}]},
			"networkProfile": {"networkApiVersion": "2020-11-01", "healthProbe": {"id": "/probe"}, "networkInterfaceConfigurations": [{"name": "nic", "properties": {
				"primary": true, "networkSecurityGroup": {"id": "/nsg"}, "ipConfigurations": [{"name": "ip", "properties": {
					"primary": true, "subnet": {"id": "/subnet"}, "applicationSecurityGroups": [{"id": "/asg"}],
					"loadBalancerBackendAddressPools": [{"id": "/pool"}], "applicationGatewayBackendAddressPools": [],
					"loadBalancerInboundNatPools": [{"id": "/nat"}],
					"publicIPAddressConfiguration": {"name": "public", "properties": {"idleTimeoutInMinutes": 15}}}}]}}]},
			"scheduledEventsProfile": {"terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "PT5M"}, "osImageNotificationProfile": {"enable": false}},
			"extensionProfile": {"extensionsTimeBudget": "PT1H", "extensions": [
				{"id": "/e", "name": "health", "properties": {"provisioningState": "Succeeded", "publisher": "microsoft.managedservices", "type": "ApplicationHealthLinux",
					"typeHandlerVersion": "2.0", "provisionAfterExtensions": ["monitor"], "settings": {"port": 8080}}},
				{"name": "monitor", "properties": {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent", "typeHandlerVersion": "1.33"}}]}}}}`

func live(t *testing.T) (set fleet.Document) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(liveSet), &set))
	return set
}

func TestBootSet(t *testing.T) {
	like := live(t)
	body, omitted, err := fleet.BootSet(like, order())
	require.NoError(t, err)
	require.Equal(t, live(t), like, "what was read stays as it is")

	text, err := json.Marshal(body)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"location": "eastus", "zones": ["2"], "ofAnotherDay": {"a": [1.5, null]},
		"tags": {"owner": "payments", "fleetctl-fleet": "pay", "fleetctl-expires": "2026-03-05T16:00:00Z"},
		"sku": {"name": "Standard_D2as_v5", "tier": "Standard", "capacity": 1},
		"identity": {"type": "UserAssigned", "userAssignedIdentities": {"/id-authz": {}}},
		"properties": {
			"orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "singlePlacementGroup": false, "ofAnotherDay": "kept",
			"upgradePolicy": {"mode": "Manual"},
			"virtualMachineProfile": {
				"userData": "c2VjcmV0",
				"osProfile": {"computerNamePrefix": "authz", "adminUsername": "azureuser",
					"linuxConfiguration": {"disablePasswordAuthentication": true, "provisionVMAgent": true,
						"ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-rsa AAAA nobody"}]}},
					"secrets": [{"sourceVault": {"id": "/vault"}, "vaultCertificates": []}]},
				"storageProfile": {
					"imageReference": {"id": "`+string(version)+`"},
					"osDisk": {"osType": "Linux", "createOption": "FromImage", "deleteOption": "Delete"},
					"dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 64, "deleteOption": "Delete"}]},
				"networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [{"name": "nic", "properties": {
					"primary": true, "deleteOption": "Delete", "networkSecurityGroup": {"id": "/nsg"}, "ipConfigurations": [{"name": "ip", "properties": {
						"primary": true, "subnet": {"id": "/subnet"}, "applicationSecurityGroups": [{"id": "/asg"}]}}]}}]},
				"scheduledEventsProfile": {},
				"extensionProfile": {"extensionsTimeBudget": "PT1H", "extensions": [
					{"name": "health", "properties": {"publisher": "microsoft.managedservices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0", "settings": {"port": 8080}}}]}}}}`,
		string(text))

	require.Equal(t, strings.Join([]string{
		"loadBalancerBackendAddressPools: the instance gets no traffic of production",
		"loadBalancerInboundNatPools, publicIPAddressConfiguration: the instance is not reached from outside",
		"healthProbe: it goes with the load balancer",
		"automaticRepairsPolicy, resiliencyPolicy: a broken instance stays as it is",
		"terminateNotificationProfile: the instance is removed without notice",
		"priority, evictionPolicy, billingProfile, priorityMixPolicy: a Spot instance may be taken away during the test",
		"capacityReservation, hostGroup, proximityPlacementGroup: room of production is not used",
		"adminPassword: it cannot be read",
		"customData: it cannot be read: if the instances need any, this one does not get it",
		"system-assigned identity: it would be another one, without the roles of the first",
		"zones: the one instance is in zone 2",
		"upgradePolicy: nothing is upgraded: the mode is Manual and not Rolling",
		"extension monitor: its protected settings, if it has any, cannot be read",
		"password: it cannot be read: the instance takes SSH keys only",
	}, "\n"), strings.Join(fleet.OmissionLines(omitted), "\n"))
}

// A set of the file that is not there yet is a set like another.
func TestBootSetOfFile(t *testing.T) {
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	spec := contract(t)
	for name, want := range map[string]string{
		"vmss-authz": "loadBalancerBackendAddressPools: the instance gets no traffic of production\n" +
			"automaticRepairsPolicy: a broken instance stays as it is\n" +
			"terminateNotificationProfile: the instance is removed without notice\n" +
			"zones: the one instance is in zone 1",
		"vmss-batch": "automaticRepairsPolicy: a broken instance stays as it is\n" +
			"priority, evictionPolicy, billingProfile, priorityMixPolicy, spotRestorePolicy: a Spot instance may be taken away during the test",
	} {
		body, omitted, err := fleet.BootSet(fleet.SetBody(spec, name, version, publicKey), order())
		require.NoError(t, err)
		judged(t, types, body)
		require.Equal(t, want, strings.Join(fleet.OmissionLines(omitted), "\n"), name)
		text, err := json.Marshal(body)
		require.NoError(t, err)
		require.Contains(t, string(text), publicKey, "a key is kept")
		require.NotContains(t, string(text), "nobody")
	}
}

// Azure does not tell the letters of keys apart, and neither does a boot test.
func TestBootSetLetters(t *testing.T) {
	text := strings.NewReplacer("loadBalancerBackendAddressPools", "LoadBalancerBackendAddressPools", `"sku"`, `"SKU"`, `"virtualMachineProfile"`, `"VirtualMachineProfile"`).Replace(liveSet)
	var like fleet.Document
	require.NoError(t, json.Unmarshal([]byte(text), &like))
	body, _, err := fleet.BootSet(like, order())
	require.NoError(t, err)
	written, err := json.Marshal(body)
	require.NoError(t, err)
	require.NotContains(t, strings.ToLower(string(written)), "backendaddresspools")
	require.Contains(t, string(written), `"SKU":{"capacity":1,`)
	require.NotContains(t, string(written), `"sku"`)
}

func TestBootSetRefuses(t *testing.T) {
	for want, change := range map[string]func(properties, machine fleet.Document){
		"it is not a Flexible scale set":             func(p, _ fleet.Document) { p["orchestrationMode"] = "Uniform" },
		"it runs Windows":                            func(_, m fleet.Document) { m["osProfile"] = fleet.Document{"windowsConfiguration": fleet.Document{}} },
		"it has no Application Health extension":     func(_, m fleet.Document) { delete(m, "extensionProfile") },
		"it has no virtual machine profile":          func(p, _ fleet.Document) { delete(p, "virtualMachineProfile") },
		"it has no Application Health extension, so": func(_, m fleet.Document) { m["extensionProfile"] = fleet.Document{"extensions": "odd"} },
		"it runs Windows, whose administrator's passw": func(_, m fleet.Document) {
			m["storageProfile"] = fleet.Document{"osDisk": fleet.Document{"osType": "windows"}}
		},
	} {
		like := live(t)
		properties := like["properties"].(fleet.Document)
		change(properties, properties["virtualMachineProfile"].(fleet.Document))
		_, _, err := fleet.BootSet(like, order())
		require.ErrorContains(t, err, want)
	}
	for _, odd := range []fleet.Document{nil, {}, {"properties": 1}, {"properties": fleet.Document{"virtualMachineProfile": []any{}}}} {
		_, _, err := fleet.BootSet(odd, order())
		require.Error(t, err)
	}
}

func TestBootSetName(t *testing.T) {
	require.Equal(t, "boot-ubuntu-app-1-8-3", fleet.BootSetName("ubuntu-app", "1.8.3"))
	require.Equal(t, "boot-a-b_c-10-20-30", fleet.BootSetName("a.b_c", "10.20.30"))
	long := fleet.BootSetName(strings.Repeat("x-", 40), "1.8.3")
	require.LessOrEqual(t, len(long)+len("_12345678"), 64, "the name of a member is longer")
	require.Regexp(t, `^boot-[x-]+x-1-8-3$`, long)
}

// What is not of a boot test of this fleet is never ours.
func TestBootSetOf(t *testing.T) {
	set := func(name string, tags fleet.Document) fleet.Document {
		return fleet.Document{"id": group + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + name, "tags": tags}
	}
	expires, ours := fleet.BootSetOf(set("boot-ubuntu-app-1-8-3", fleet.Document{"Fleetctl-Fleet": "pay", "fleetctl-expires": "2026-03-05T16:00:00Z"}), "pay")
	require.True(t, ours)
	require.Equal(t, time.Date(2026, 3, 5, 16, 0, 0, 0, time.UTC), expires)
	for _, other := range []fleet.Document{
		nil, set("boot-x", nil),
		set("boot-x", fleet.Document{"fleetctl-fleet": "pay"}),
		set("boot-x", fleet.Document{"fleetctl-fleet": "pay", "fleetctl-expires": "soon"}),
		set("boot-x", fleet.Document{"fleetctl-fleet": "other", "fleetctl-expires": "2026-03-05T16:00:00Z"}),
		set("vmss-authz", fleet.Document{"fleetctl-fleet": "pay", "fleetctl-expires": "2026-03-05T16:00:00Z"}),
	} {
		_, ours := fleet.BootSetOf(other, "pay")
		require.False(t, ours, other)
	}
}
