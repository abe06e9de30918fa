package arm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExamplesAreServed(t *testing.T) {
	tests := map[string]struct{ sets, members int }{
		"article": {4, 22}, "thousand": {10, 1000}, "traps": {18, 97},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := example(t, name)
			sets := w.all(group + "/providers/" + setType)
			require.Len(t, sets, tt.sets)
			n := 0
			for _, set := range sets {
				instances := w.all(str(set, "id") + "/virtualMachines")
				n += len(instances)
				if name == "traps" {
					continue
				}
				require.Len(t, instances, capacityOf(set), "a healthy fleet has as many members as its capacity says")
				path := str(set, "id")
				w.do("PUT", path, set).want(200)
				for _, i := range instances {
					require.Equal(t, true, dig(i, "properties.latestModelApplied"))
				}
			}
			require.Equal(t, tt.members, n)
		})
	}
}

const (
	aSet      = group + "/providers/" + setType + "/vmss-authz"
	gallery   = group + "/providers/" + galleryType + "/galProd"
	anImage   = gallery + "/images/ubuntu-app"
	vms       = group + "/providers/" + vmType
	ofTheSet  = "$filter=%27virtualMachineScaleSet%2Fid%27%20eq%20%27" + aSet + "%27"
	withViews = ofTheSet + "&$expand=instanceView"
)

// images is a scenario of a gallery with three versions, of which the last is not
// everywhere, and no scale set.
const images = `
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        security_type: TrustedLaunchSupported
        versions:
          - {name: 1.7.0, regions: {eastus: {}, westus3: {}}, health: Unhealthy, excluded: true}
          - {name: 1.7.1, regions: {eastus: {}, westus3: {}}}
          - {name: 1.8.0, regions: {westus3: {}}}
`

// model is a body of a scale set, to be changed before it is put.
func model(t *testing.T, capacity int, change ...func(o object)) object {
	t.Helper()
	text := fmt.Sprintf(`{
		"location": "eastus", "zones": ["1", "2", "3"], "sku": {"name": "Standard_D2as_v5", "capacity": %d},
		"properties": {
			"orchestrationMode": "Flexible", "platformFaultDomainCount": 1, "upgradePolicy": {"mode": "Manual"},
			"virtualMachineProfile": {
				"osProfile": {"computerNamePrefix": "authz", "adminUsername": "azureuser", "adminPassword": "not-returned", "linuxConfiguration": {"disablePasswordAuthentication": false}},
				"storageProfile": {"imageReference": {"id": "%s/versions/1.7.1"}, "osDisk": {"createOption": "FromImage", "managedDisk": {"storageAccountType": "Premium_LRS"}}},
				"networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [{"name": "nic", "properties": {"primary": true, "ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": "%s/providers/Microsoft.Network/virtualNetworks/vnet/subnets/app"}}}]}}]},
				"extensionProfile": {"extensions": [
					{"name": "health", "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0", "settings": {"protocol": "http", "port": 8080, "requestPath": "/healthz"}}},
					{"name": "script", "properties": {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1", "settings": {}, "protectedSettings": {"commandToExecute": "secret"}}}
				]}
			}
		}
	}`, capacity, anImage, group)
	var o object
	require.NoError(t, json.Unmarshal([]byte(text), &o))
	for _, c := range change {
		c(o)
	}
	return o
}

// at is a change of a model: a value at a path, or nil to take it away.
func at(path string, value any) func(o object) {
	return func(o object) {
		if value == nil {
			remove(o, path)
			return
		}
		set(o, path, value)
	}
}

func TestSetIsRefused(t *testing.T) {
	noHealth := at(extensionPath, []any{})
	spot := at(profile+".priority", "Spot")
	const (
		notice  = profile + ".scheduledEventsProfile.terminateNotificationProfile"
		repairs = "properties.automaticRepairsPolicy"
		rolling = "properties.upgradePolicy.rollingUpgradePolicy"
		autoOS  = "properties.upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade"
	)
	latest := at(imagePath, object{"id": anImage})
	tests := map[string]struct {
		bad, good []func(o object)
		status    int
		code      string
		message   string
	}{
		"uniform": {
			bad:    []func(o object){at("properties.orchestrationMode", "Uniform")},
			status: 501, code: "NotSimulated", message: "fleetsim does not know scale sets with Uniform orchestration",
		},
		"no location": {bad: []func(o object){at("location", nil)}, status: 400, code: "LocationRequired", message: "location property is required"},
		"fault domains with zones": {
			bad:    []func(o object){at("properties.platformFaultDomainCount", 2)},
			good:   []func(o object){at("properties.platformFaultDomainCount", 2), at("zones", nil)},
			status: 400, code: "BadRequest", message: "Specifying Availability Zones is not allowed when Virtual Machine Scale Set has platformFaultDomainCount higher than 1 with OrchestrationMode: 'Flexible'.",
		},
		"fault domains": {
			bad:    []func(o object){at("properties.platformFaultDomainCount", 5), at("zones", nil)},
			good:   []func(o object){at("properties.platformFaultDomainCount", 3), at("zones", nil)},
			status: 400, code: "InvalidParameter", message: "The specified fault domain count 5 must fall in the range 1 to 3.",
		},
		"system identity": {
			bad:    []func(o object){at("identity", object{"type": "SystemAssigned, UserAssigned"})},
			good:   []func(o object){at("identity", object{"type": "None"})},
			status: 400, code: "InvalidParameter", message: "The value 'SystemAssigned, UserAssigned' of parameter 'identity' is not allowed. Allowed values are: UserAssigned, None.",
		},
		"one placement group with a mix": {
			bad:    []func(o object){spot, at("properties.singlePlacementGroup", true), at("properties.priorityMixPolicy", object{"baseRegularPriorityCount": 1})},
			good:   []func(o object){spot, at("properties.singlePlacementGroup", false), at("properties.priorityMixPolicy", object{"baseRegularPriorityCount": 1})},
			status: 400, code: "InvalidParameter", message: "singlePlacementGroup",
		},
		"mix without Spot": {
			bad:    []func(o object){at("properties.priorityMixPolicy", object{"baseRegularPriorityCount": 1})},
			status: 400, code: "InvalidParameter", message: "priorityMixPolicy",
		},
		"mix out of range": {
			bad:    []func(o object){spot, at("properties.priorityMixPolicy", object{"regularPriorityPercentageAboveBase": 101})},
			good:   []func(o object){spot, at("properties.priorityMixPolicy", object{"regularPriorityPercentageAboveBase": 100})},
			status: 400, code: "InvalidParameter", message: "The value '101' of parameter 'regularPriorityPercentageAboveBase' is out of range. The value must be between '0' and '100', inclusive.",
		},
		"eviction policy without Spot": {
			bad:    []func(o object){at(profile+".evictionPolicy", "Delete")},
			good:   []func(o object){spot, at(profile+".evictionPolicy", "Delete")},
			status: 400, code: "InvalidParameter", message: "Eviction policy",
		},
		"notice on Spot": {
			bad:    []func(o object){spot, at(notice, object{"enable": true, "notBeforeTimeout": "PT5M"})},
			good:   []func(o object){spot, at(notice, object{"enable": false})},
			status: 400, code: "InvalidParameter", message: "Terminate notifications cannot be enabled on Spot instances",
		},
		"notice out of range": {
			bad:    []func(o object){at(notice, object{"enable": true, "notBeforeTimeout": "PT16M"})},
			good:   []func(o object){at(notice, object{"enable": true, "notBeforeTimeout": "PT15M"})},
			status: 400, code: "InvalidParameter", message: "The value 'PT16M' of parameter 'notBeforeTimeout' is not allowed. It is an ISO 8601 duration between 'PT5M' and 'PT15M', inclusive.",
		},
		"repairs as az writes them": {
			bad:    []func(o object){at(repairs, object{"enabled": true, "gracePeriod": "PTPT30MM"})},
			good:   []func(o object){at(repairs, object{"enabled": true, "gracePeriod": "PT30M"})},
			status: 400, code: "InvalidParameter", message: "The value 'PTPT30MM' of parameter 'gracePeriod'",
		},
		"repairs out of range": {
			bad:    []func(o object){at(repairs, object{"enabled": true, "gracePeriod": "PT2H"})},
			good:   []func(o object){at(repairs, object{"enabled": true, "gracePeriod": "PT1H30M"})},
			status: 400, code: "InvalidParameter", message: "between 'PT10M' and 'PT90M'",
		},
		"repairs without health": {
			bad:    []func(o object){noHealth, at(repairs, object{"enabled": true})},
			good:   []func(o object){noHealth, at(repairs, object{"enabled": false})},
			status: 400, code: "BadRequest", message: "because a health probe or health extension was not provided",
		},
		"batch out of range": {
			bad:    []func(o object){at(rolling, object{"maxBatchInstancePercent": 4})},
			good:   []func(o object){at(rolling, object{"maxBatchInstancePercent": 5})},
			status: 400, code: "InvalidParameter", message: "The value '4' of parameter 'maxBatchInstancePercent' is out of range. The value must be between '5' and '100', inclusive.",
		},
		"unhealthy out of range": {
			bad:    []func(o object){at(rolling, object{"maxUnhealthyInstancePercent": 0})},
			good:   []func(o object){at(rolling, object{"maxUnhealthyUpgradedInstancePercent": 0})},
			status: 400, code: "InvalidParameter", message: "maxUnhealthyInstancePercent",
		},
		"pause": {
			bad:    []func(o object){at(rolling, object{"pauseTimeBetweenBatches": "2m"})},
			good:   []func(o object){at(rolling, object{"pauseTimeBetweenBatches": "PT2M"})},
			status: 400, code: "InvalidParameter", message: "pauseTimeBetweenBatches",
		},
		"Rolling without health": {
			bad:    []func(o object){noHealth, at("properties.upgradePolicy.mode", "Rolling")},
			good:   []func(o object){at("properties.upgradePolicy.mode", "Rolling")},
			status: 400, code: "BadRequest", message: "Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe or health extension was not provided.",
		},
		"automatic OS upgrade of a pinned image": {
			bad:    []func(o object){at(autoOS, true)},
			good:   []func(o object){at(autoOS, true), latest},
			status: 400, code: "BadRequest", message: "must use Platform or Gallery Image with version set to 'latest'",
		},
		"automatic OS upgrade without health": {
			bad:    []func(o object){at(autoOS, true), latest, noHealth},
			status: 400, code: "BadRequest", message: "Automatic OS Upgrade is not supported for this Virtual Machine Scale Set because a health probe or health extension was not specified.",
		},
		"automatic OS upgrade with the platform's patches": {
			bad:    []func(o object){at(autoOS, true), latest, at(profile+".osProfile.linuxConfiguration.patchSettings", object{"patchMode": "AutomaticByPlatform"})},
			good:   []func(o object){at(autoOS, true), latest, at(profile+".osProfile.linuxConfiguration.patchSettings", object{"patchMode": "ImageDefault"})},
			status: 409, code: "OperationNotAllowed", message: "AutomaticByPlatform",
		},
		"capacity": {
			bad:    []func(o object){at("sku.capacity", 1001)},
			status: 400, code: "InvalidParameter", message: "'sku.capacity' is out of range",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := applied(t, images, withAutoOS)
			message := w.do("PUT", aSet, model(t, 0, tt.bad...)).refused(tt.status, tt.code)
			require.Contains(t, message, tt.message)
			w.get(aSet).want(404)
			w.do("PUT", aSet, model(t, 0, tt.good...)).want(201)
		})
	}
}

func TestSetIsFixed(t *testing.T) {
	tests := map[string]struct {
		change func(o object)
		code   string
		text   string
	}{
		"fault domains":       {at("properties.platformFaultDomainCount", 2), "PropertyChangeNotAllowed", "Changing property 'platformFaultDomainCount' is not allowed."},
		"orchestration":       {at("properties.orchestrationMode", "Uniform"), "PropertyChangeNotAllowed", "Changing property 'orchestrationMode' is not allowed."},
		"one placement group": {at("properties.singlePlacementGroup", true), "PropertyChangeNotAllowed", "Changing property 'singlePlacementGroup' is not allowed."},
		"a zone less":         {at("zones", []any{"1"}), "PropertyChangeNotAllowed", "Changing property 'zones' is not allowed."},
		"administrator":       {at(profile+".osProfile.adminUsername", "root2"), "PropertyChangeNotAllowed", "Changing property 'adminUsername' is not allowed."},
		"priority":            {at(profile+".priority", "Spot"), "PropertyChangeNotAllowed", "Changing property 'priority' is not allowed."},
		"to the Marketplace":  {at(imagePath, object{"publisher": "Canonical", "offer": "o", "sku": "s", "version": "latest"}), "OperationNotAllowed", "The Image type for a Virtual Machine Scale Set may not be changed."},
		"to a plain image":    {at(imagePath, object{"id": group + "/providers/Microsoft.Compute/images/i"}), "OperationNotAllowed", "The Image type for a Virtual Machine Scale Set may not be changed."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := applied(t, images)
			flat := at("zones", nil)
			if name == "a zone less" {
				flat = func(object) {}
			}
			regular := at(profile+".priority", "Regular")
			w.do("PUT", aSet, model(t, 0, flat, regular)).want(201)
			w.clock.Advance(time.Minute)
			require.Equal(t, tt.text, w.do("PUT", aSet, model(t, 0, flat, regular, tt.change)).refused(409, tt.code))
			w.do("PUT", aSet, model(t, 0, flat, regular, at(imagePath+".id", anImage+"/versions/1.7.0"))).want(200)
		})
	}
	w := applied(t, images)
	market := at(imagePath, object{"publisher": "Canonical", "offer": "o", "sku": "s", "version": "latest"})
	w.do("PUT", aSet, model(t, 0, market)).want(201)
	w.clock.Advance(time.Minute)
	w.do("PATCH", aSet, object{"properties": object{"virtualMachineProfile": object{"storageProfile": object{"imageReference": object{"version": "1.2.3"}}}}}).want(200)
	w.clock.Advance(time.Minute)
	other := w.do("PATCH", aSet, object{"properties": object{"virtualMachineProfile": object{"storageProfile": object{"imageReference": object{"sku": "5_2"}}}}})
	require.Equal(t, "Changing property 'imageReference.sku' is not allowed.", other.refused(409, "PropertyChangeNotAllowed"))
	require.Equal(t, "imageReference.sku", str(other.body, "error.target"))
	w.do("PUT", aSet, model(t, 0)).refused(409, "OperationNotAllowed")
}

func TestSetPatch(t *testing.T) {
	w := applied(t, images)
	put := w.do("PUT", aSet, model(t, 0, at("tags", object{"a": "1", "b": "2"}), at("properties.somethingNew", object{"x": 1}))).want(201)
	require.NotEmpty(t, str(put.body, "properties.uniqueId"))
	require.Equal(t, stamp(epoch), str(put.body, "properties.timeCreated"))
	require.Equal(t, "Creating", str(put.body, "properties.provisioningState"))
	w.finished(put)

	for _, name := range notInPatch {
		require.Contains(t, w.do("PATCH", aSet, object{"properties": object{name: true}}).refused(400, "BadRequest"), "Could not find member '"+name+"'")
	}
	patch := w.do("PATCH", aSet, `{"tags":{"c":"3"},"properties":{"upgradePolicy":{"mode":"Automatic"}}}`).want(200)
	require.Equal(t, "Updating", str(patch.body, "properties.provisioningState"))
	w.finished(patch)
	got := w.get(aSet).want(200).body
	require.Equal(t, object{"c": "3"}, got["tags"])
	require.Equal(t, object{"x": 1.0}, dig(got, "properties.somethingNew"), "what is not known survives")
	require.Equal(t, "Automatic", str(got, "properties.upgradePolicy.mode"))
	require.Equal(t, str(put.body, "properties.uniqueId"), str(got, "properties.uniqueId"))
	require.Equal(t, str(put.body, "properties.timeCreated"), str(got, "properties.timeCreated"))
	require.Equal(t, "Succeeded", str(got, "properties.provisioningState"))
	require.NotEqual(t, str(put.body, "etag"), str(got, "etag"))

	w.do("PATCH", aSet, `{"tags":{}}`, "If-Match", str(put.body, "etag")).refused(412, "PreconditionFailed")
	w.do("PATCH", aSet, `{"tags":{}}`, "If-Match", str(got, "etag")).want(200)
}

// secret is the protected setting that the simulator holds for an extension.
func (w *world) secret(name string) any {
	var value any
	require.NoError(w, w.server.within(func(tx *txn) error {
		list := items(tx.get(aSet).Body, extensionPath)
		if i := extensionIn(list, name); i >= 0 {
			value = dig(list[i], "properties.protectedSettings.commandToExecute")
		}
		return nil
	}))
	return value
}

func TestSecretsAreNeverReturned(t *testing.T) {
	w := applied(t, images)
	put := w.do("PUT", aSet, model(t, 1)).want(201)
	w.finished(put)
	for _, r := range []*reply{
		put, w.get(aSet), w.get(group + "/providers/" + setType), w.get(aSet + "/extensions/script"), w.get(aSet + "/extensions"),
		w.get(aSet + "/virtualMachines"), w.get(vms),
	} {
		require.Less(t, r.status, 300, r.raw)
		require.NotContains(t, r.raw, "secret")
		require.NotContains(t, r.raw, "not-returned")
	}
	require.Equal(t, "secret", w.secret("script"))

	w.finished(w.do("PATCH", aSet, `{"properties":{"upgradePolicy":{"mode":"Automatic"}}}`).want(200))
	require.Equal(t, "secret", w.secret("script"), "a PATCH that does not touch the extensions keeps them")
	require.Equal(t, true, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"))
	w.finished(w.do("PATCH", aSet+"/extensions/script", `{"properties":{"settings":{"timestamp":1}}}`).want(200))
	require.Equal(t, "secret", w.secret("script"), "so does one of the extension itself")
	w.finished(w.do("PUT", aSet+"/extensions/health", dig(model(t, 0), extensionPath).([]any)[0]).want(200))
	require.Equal(t, "secret", w.secret("script"), "and a PUT of another one")

	require.Equal(t, false, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"), "the extension's settings are another model")
	w.finished(w.do("PUT", aSet, w.get(aSet).body).want(200))
	require.Nil(t, w.secret("script"), "a set that is read and written back loses them")
}

// TestPasswordIsKept: a set that is read and written back has the model that it had.
func TestPasswordIsKept(t *testing.T) {
	w := applied(t, images)
	w.finished(w.do("PUT", aSet, model(t, 1, at(extensionPath, []any{}))).want(201))
	w.finished(w.do("PUT", aSet, w.get(aSet).body).want(200))
	require.Equal(t, true, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"))
}

func TestSetExtensions(t *testing.T) {
	w := applied(t, images)
	w.get(aSet+"/extensions").refused(404, "ResourceNotFound")
	w.finished(w.do("PUT", aSet, model(t, 1)).want(201))
	require.Len(t, w.all(aSet+"/extensions"), 2)
	health := w.get(aSet + "/extensions/HEALTH").want(200).body
	require.Equal(t, aSet+"/extensions/health", str(health, "id"))
	require.Equal(t, "2.0", str(health, "properties.typeHandlerVersion"))
	w.get(aSet+"/extensions/none").refused(404, "ResourceNotFound")

	monitor := `{"properties":{"publisher":"Microsoft.Azure.Monitor","type":"AzureMonitorLinuxAgent","typeHandlerVersion":"1.33"}}`
	require.Contains(t, w.do("PUT", aSet+"/extensions/monitor", `{"properties":{"publisher":"p","type":"t"}}`).refused(400, "InvalidParameter"), "typeHandlerVersion")
	made := w.do("PUT", aSet+"/extensions/monitor", monitor).want(201)
	require.Equal(t, "Creating", str(made.body, "properties.provisioningState"))
	w.finished(made)
	require.Len(t, w.all(aSet+"/extensions"), 3)
	require.Equal(t, false, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"), "an extension is part of the model")
	w.do("PATCH", aSet+"/extensions/none", monitor).want(404)
	w.finished(w.do("PATCH", aSet+"/extensions/monitor", `{"properties":{"typeHandlerVersion":"1.34"}}`).want(200))
	require.Equal(t, "1.34", str(w.get(aSet+"/extensions/monitor").body, "properties.typeHandlerVersion"))
	w.finished(w.do("DELETE", aSet+"/extensions/monitor", nil).want(202))
	require.Len(t, w.all(aSet+"/extensions"), 2)
	w.do("DELETE", aSet+"/extensions/monitor", nil).want(204)
	require.Equal(t, true, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"), "it is what it was")
}

func TestSetReads(t *testing.T) {
	w := example(t, "article")
	message := w.get(aSet+"/instanceView").refused(409, "OperationNotAllowed")
	require.Contains(t, message, "Operation 'VirtualMachineScaleSets.instanceView.GET' is not allowed on Virtual Machine Scale Set")
	w.get(aSet+"/rollingUpgrades/latest").refused(404, "NotFound")
	require.Empty(t, w.all(aSet+"/osUpgradeHistory"))

	legacy := strings.Replace(aSet, "authz", "legacy", 1)
	latest := w.get(legacy + "/rollingUpgrades/latest").want(200).body
	require.Equal(t, "Completed", str(latest, "properties.runningStatus.code"))
	require.EqualValues(t, 6, dig(latest, "properties.progress.successfulInstanceCount"))
	history := w.all(legacy + "/osUpgradeHistory")
	require.Len(t, history, 2)
	require.Equal(t, "1.7.0", str(history[1], "properties.targetImageReference.exactVersion"))
	require.Equal(t, "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade", str(history[1], "properties.error.code"))
	require.Equal(t, "There is no ongoing Rolling Upgrade to cancel.", w.do("POST", legacy+"/rollingUpgrades/cancel", nil).refused(409, "OperationNotAllowed"))
}

func TestServiceState(t *testing.T) {
	w := example(t, "article")
	w.finished(w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Suspend"}`).want(202))
	w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"DummyOrchestrationServiceName","action":"Suspend"}`).refused(400, "InvalidParameter")
	w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Stop"}`).refused(400, "InvalidParameter")
	w.finished(w.do("PATCH", aSet, `{"properties":{"automaticRepairsPolicy":{"enabled":false}}}`).want(200))
	w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Resume"}`).refused(409, "OperationNotAllowed")
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT5M": 5 * time.Minute, "PT1H30M": 90 * time.Minute, "P1DT1S": 24*time.Hour + time.Second, "PT0S": 0, "PT1.5S": 1500 * time.Millisecond,
	} {
		d, ok := parseISO(text)
		require.True(t, ok, text)
		require.Equal(t, want, d, text)
	}
	for _, text := range []string{"", "P", "PT", "5m", "PTPT30MM", "PT5", "-PT5M", "P1Y", "PT5M "} {
		_, ok := parseISO(text)
		require.False(t, ok, text)
	}
	for d, want := range map[time.Duration]string{0: "PT0S", time.Hour: "PT1H", 90 * time.Minute: "PT90M", 1500 * time.Millisecond: "PT1.5S"} {
		require.Equal(t, want, iso(d))
	}
}
