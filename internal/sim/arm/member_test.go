package arm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// members are the members of vmss-authz with their instance views.
func (w *world) members() []object {
	w.Helper()
	return w.all(vms + "?" + withViews)
}

// states counts the members by power and health.
func states(members []object) map[string]int {
	count := map[string]int{}
	for _, m := range members {
		power := ""
		for _, s := range items(m, "properties.instanceView.statuses") {
			if code := str(s, "code"); len(code) > 11 && code[:11] == "PowerState/" {
				power = code[11:]
			}
		}
		count[power+" "+str(m, "properties.instanceView.vmHealth.status.code")]++
	}
	return count
}

// born is a world with vmss-authz of a number of members that are up.
func born(t *testing.T, capacity int, change ...func(o object)) *world {
	t.Helper()
	w := applied(t, images)
	w.finished(w.do("PUT", aSet, model(t, capacity, change...)).want(201))
	w.clock.Advance(time.Minute)
	return w
}

func TestBirth(t *testing.T) {
	w := applied(t, images)
	put := w.do("PUT", aSet, model(t, 3, at("tags", object{"owner": "payments"}))).want(201)
	require.Equal(t, map[string]int{"starting ": 3}, states(w.members()))
	require.Equal(t, "Creating", str(w.members()[0], "properties.provisioningState"))
	w.clock.Advance(bootTime - time.Nanosecond)
	require.Equal(t, map[string]int{"starting ": 3}, states(w.members()))
	w.clock.Advance(time.Nanosecond)
	require.Equal(t, map[string]int{"running HealthState/initializing": 3}, states(w.members()))
	w.clock.Advance(reportTime)
	require.Equal(t, map[string]int{"running HealthState/healthy": 3}, states(w.members()))
	w.finished(put)

	var zones []string
	for _, m := range w.members() {
		require.Regexp(t, `^vmss-authz_[0-9a-f]{8}$`, str(m, "name"))
		require.Equal(t, "Succeeded", str(m, "properties.provisioningState"))
		require.Equal(t, "1.7.1", str(m, "properties.storageProfile.imageReference.exactVersion"))
		require.Equal(t, anImage+"/versions/1.7.1", str(m, "properties.storageProfile.imageReference.id"))
		require.Equal(t, aSet, str(m, "properties.virtualMachineScaleSet.id"))
		require.Equal(t, object{"owner": "payments"}, m["tags"])
		require.Equal(t, stamp(epoch.Add(bootTime+reportTime)), str(m, "properties.instanceView.vmHealth.status.time"))
		require.Equal(t, "Microsoft.ManagedServices.ApplicationHealthLinux", str(items(m, "properties.instanceView.extensions")[0], "type"))
		zones = append(zones, m["zones"].([]any)[0].(string))
	}
	slices.Sort(zones)
	require.Equal(t, []string{"1", "2", "3"}, zones, "zones are filled evenly")
}

func TestBirthFromLatest(t *testing.T) {
	w := applied(t, images)
	latest := at(imagePath, object{"id": anImage})
	w.finished(w.do("PUT", aSet, model(t, 1, latest)).want(201))
	require.Equal(t, "1.7.1", str(w.members()[0], "properties.storageProfile.imageReference.exactVersion"), "1.8.0 is not in this region")

	gone := at(imagePath, object{"id": anImage + "/versions/1.8.0"})
	put := w.do("PUT", aSet, model(t, 3, gone)).want(200)
	w.clock.Advance(time.Minute)
	poll := w.get(put.header.Get("Azure-AsyncOperation")).want(200)
	require.Equal(t, "Failed", str(poll.body, "status"))
	require.Equal(t, "GalleryImageNotFound", str(poll.body, "error.code"))
	require.Equal(t, "Failed", str(w.get(aSet).body, "properties.provisioningState"))
	require.Len(t, w.members(), 1, "nothing is born of an image that is not there")

	w.finished(w.do("PUT", aSet, model(t, 2, latest)).want(200))
	require.Equal(t, "Succeeded", str(w.get(aSet).body, "properties.provisioningState"))
	require.Len(t, w.members(), 2)
}

func TestHealthFollowsTheImage(t *testing.T) {
	w := born(t, 2, at(imagePath+".id", anImage+"/versions/1.7.0"))
	require.Equal(t, map[string]int{"running HealthState/unhealthy": 2}, states(w.members()))
	w = born(t, 2, at(extensionPath, []any{}))
	require.Equal(t, map[string]int{"running ": 2}, states(w.members()), "without the extension nobody tells")
}

func TestScaleIn(t *testing.T) {
	w := born(t, 5)
	names := func() (all []string) {
		for _, m := range w.members() {
			all = append(all, str(m, "name"))
		}
		return all
	}
	protected := names()[:2]
	for _, name := range protected {
		w.finished(w.do("PUT", aSet+"/virtualMachines/"+name, `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true}}}`).want(200))
	}
	w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":2}}`).want(200))
	require.ElementsMatch(t, protected, names())
	w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":0}}`).want(200))
	require.ElementsMatch(t, protected, names(), "a protected member stays")
}

func TestScaleInWithNotice(t *testing.T) {
	w := born(t, 2, at(profile+".scheduledEventsProfile.terminateNotificationProfile", object{"enable": true, "notBeforeTimeout": "PT5M"}))
	w.do("PATCH", aSet, `{"sku":{"capacity":1}}`).want(200)
	w.clock.Advance(5 * time.Minute)
	require.Len(t, w.members(), 2, "the member may drain for five minutes")
	w.clock.Advance(deleteTime)
	require.Len(t, w.members(), 1)
}

func TestVictims(t *testing.T) {
	member := func(name, zone, created string) *resource {
		return &resource{ID: "/" + name, Body: object{"zones": []any{zone}, "properties": object{"timeCreated": created}}}
	}
	all := []*resource{member("a", "1", "1"), member("b", "2", "2"), member("c", "1", "3"), member("d", "2", "4"), member("e", "1", "0")}
	names := func(list []*resource) string {
		var all []string
		for _, r := range list {
			all = append(all, r.name())
		}
		return strings.Join(all, "")
	}
	require.Equal(t, "cda", names(victims(object{}, all, 3)), "the fullest zone first, and there the newest")
	require.Equal(t, "eabcd", names(victims(object{"properties": object{"scaleInPolicy": object{"rules": []any{"OldestVM"}}}}, all, 9)))
	require.Empty(t, victims(object{}, all, -1))
}

func TestMix(t *testing.T) {
	for n, want := range map[int]int{0: 0, 2: 2, 3: 3, 4: 4, 5: 4, 10: 7} {
		require.Equal(t, want, regularOf(n, 3, 50), n)
	}
	require.Equal(t, 9, regularOf(9, 0, 100))
	w := born(t, 5, at(profile+".priority", "Spot"), at(profile+".evictionPolicy", "Delete"),
		at("properties.priorityMixPolicy", object{"baseRegularPriorityCount": 2, "regularPriorityPercentageAboveBase": 0}))
	spot := 0
	for _, m := range w.members() {
		if str(m, "properties.priority") == "Spot" {
			require.Equal(t, "Delete", str(m, "properties.evictionPolicy"))
			spot++
		}
	}
	require.Equal(t, 3, spot)
}

func TestListMachines(t *testing.T) {
	w := example(t, "article", func(c *Config) { c.PageSize = 1 })
	require.Len(t, w.all(vms), 22)
	require.Len(t, w.all(vms+"?"+ofTheSet), 3)
	require.Len(t, w.all(vms+"?$filter=virtualMachineScaleSet/id%20eq%20"+aSet), 3, "the SDK's documentation has no quotes")
	require.Nil(t, sub(w.all(vms + "?" + ofTheSet)[0], "properties.instanceView"))
	require.NotNil(t, sub(w.members()[0], "properties.instanceView.vmHealth"))
	require.Contains(t, w.get(vms+"?$expand=instanceView").refused(400, "InvalidParameter"), "can only be specified if a valid $filter option is specified")
	w.get(vms+"?$filter=name%20eq%20%27a%27").refused(400, "InvalidParameter")

	const inWest = "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Compute/locations/westus3/"
	require.Len(t, w.all(inWest+"virtualMachines"), 3)
	require.Equal(t, "vmss-authz-west", str(w.all(inWest + "virtualMachineScaleSets")[0], "name"))

	name := str(w.members()[0], "name")
	require.Nil(t, sub(w.get(vms+"/"+name).want(200).body, "properties.instanceView"))
	view := w.get(vms + "/" + name + "?$expand=instanceView").want(200).body
	require.Equal(t, sub(view, "properties.instanceView"), w.get(vms+"/"+name+"/instanceView").want(200).body)
	require.Equal(t, sub(view, "properties.instanceView"), w.get(aSet+"/virtualMachines/"+name+"/instanceView").want(200).body)
}

func TestInstances(t *testing.T) {
	w := born(t, 2)
	list := w.all(aSet + "/virtualMachines")
	require.Len(t, list, 2)
	i := list[0]
	name := str(i, "name")
	require.Equal(t, name, str(i, "instanceId"))
	require.Equal(t, aSet+"/virtualMachines/"+name, str(i, "id"))
	require.Equal(t, vms+"/"+name, str(i, "properties.virtualMachineResourceId"))
	require.Equal(t, true, dig(i, "properties.latestModelApplied"))
	require.Equal(t, "VirtualMachineScaleSet", str(i, "properties.modelDefinitionApplied"))
	require.Equal(t, "1.7.1", str(i, "properties.storageProfile.imageReference.exactVersion"))
	old := w.get(aSet + "/virtualMachines/" + name + "?api-version=2025-04-01").want(200).body
	require.Nil(t, dig(old, "properties.virtualMachineResourceId"), "older api-versions have no such property")
	require.Nil(t, sub(i, "properties.instanceView"))
	require.NotNil(t, sub(w.get(aSet+"/virtualMachines/"+name+"?$expand=instanceView").body, "properties.instanceView.vmHealth"))
	require.Contains(t, w.get(aSet+"/virtualMachines?$expand=instanceView").refused(501, "NotSimulated"), "fleetsim")
	w.get(aSet+"/virtualMachines/none").refused(404, "ResourceNotFound")
	w.get(aSet+"x/virtualMachines").refused(404, "ResourceNotFound")
}

func TestProtection(t *testing.T) {
	w := born(t, 1)
	path := aSet + "/virtualMachines/" + str(w.members()[0], "name")
	const protect = `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true}}}`
	put := w.do("PUT", path, protect).want(200)
	require.Equal(t, true, dig(put.body, "properties.protectionPolicy.protectFromScaleSetActions"))
	require.Equal(t, true, dig(put.body, "properties.latestModelApplied"), "the smallest body leaves the model alone")
	w.finished(put)
	require.Equal(t, "VirtualMachineScaleSet", str(w.get(path).body, "properties.modelDefinitionApplied"))

	w.do("PUT", path+"?api-version=2022-08-01", protect).refused(400, "BadRequest")
	w.do("PUT", path, `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":false,"protectFromScaleSetActions":true}}}`).refused(400, "InvalidParameter")
	w.do("PUT", path, `{"location":"eastus","properties":{}}`).refused(501, "NotSimulated")
	w.do("PUT", path, protect, "If-Match", `"1"`).refused(412, "PreconditionFailed")

	for _, part := range []string{`"tags":{"a":"b"}`, `"sku":{"name":"Standard_D4as_v5"}`} {
		require.Contains(t, w.do("PUT", path, `{"location":"eastus",`+part+`,"properties":{"protectionPolicy":{}}}`).refused(501, "NotSimulated"), "a member")
	}
	for _, part := range []string{`"hardwareProfile":{"vmSize":"Standard_D4as_v5"}`, `"storageProfile":{"dataDisks":[{"lun":0}]}`, `"userData":"x"`} {
		require.Contains(t, w.do("PUT", path, `{"location":"eastus","properties":{"protectionPolicy":{},`+part+`}}`).refused(501, "NotSimulated"), "a member")
	}
	round := w.get(path).want(200).body
	set(round, "properties.protectionPolicy.protectFromScaleSetActions", false)
	w.finished(w.do("PUT", path, round).want(200))
	got := w.get(path).body
	require.Equal(t, false, dig(got, "properties.latestModelApplied"), "a member that is read and written back has a model of its own")
	require.Equal(t, "VirtualMachine", str(got, "properties.modelDefinitionApplied"))
	require.Equal(t, false, dig(got, "properties.protectionPolicy.protectFromScaleSetActions"))
}

func TestPower(t *testing.T) {
	w := born(t, 2)
	name := str(w.members()[0], "name")
	deallocate := w.do("POST", vms+"/"+name+"/deallocate", nil).want(202)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocating ": 1}, states(w.members()))
	w.finished(deallocate)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()))
	require.Equal(t, 2, capacityOf(w.get(aSet).body), "it counts as capacity still")
	w.finished(w.do("POST", aSet+"/virtualMachines/"+name+"/start", nil).want(202))
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "running HealthState/initializing": 1}, states(w.members()))
	w.clock.Advance(reportTime)
	require.Equal(t, map[string]int{"running HealthState/healthy": 2}, states(w.members()))
	w.finished(w.do("POST", aSet+"/deallocate", `{"instanceIds":["`+name+`"]}`).want(202))
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()))
	w.do("POST", vms+"/"+name+"/powerOff", nil).refused(409, "OperationNotAllowed")
	w.finished(w.do("POST", aSet+"/start", nil).want(202))
	w.clock.Advance(reportTime)
	w.finished(w.do("POST", vms+"/"+name+"/powerOff", nil).want(202))
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "stopped ": 1}, states(w.members()))
	w.finished(w.do("POST", aSet+"/restart", nil).want(202))
	require.Equal(t, map[string]int{"running HealthState/initializing": 1, "stopped ": 1}, states(w.members()))
	w.do("POST", vms+"/none/start", nil).refused(404, "ResourceNotFound")
}

func TestDelete(t *testing.T) {
	w := born(t, 4)
	list := w.members()
	name := func(i int) string { return str(list[i], "name") }
	w.finished(w.do("DELETE", vms+"/"+name(0), nil).want(202))
	require.Equal(t, 3, capacityOf(w.get(aSet).body))
	w.get(vms+"/"+name(0)).refused(404, "ResourceNotFound")
	w.finished(w.do("DELETE", aSet+"/virtualMachines/"+name(1), nil).want(202))
	require.Equal(t, 2, capacityOf(w.get(aSet).body))
	w.do("DELETE", aSet+"/virtualMachines/"+name(1), nil).want(204)
	w.finished(w.do("POST", aSet+"/delete", `{"instanceIds":["`+name(2)+`"]}`).want(202))
	require.Len(t, w.members(), 1)
	require.Equal(t, 1, capacityOf(w.get(aSet).body))
	w.finished(w.do("DELETE", aSet, nil).want(202))
	w.get(aSet).want(404)
	require.Empty(t, w.all(vms), "its members go with a set")
}

func TestEviction(t *testing.T) {
	spot := []func(o object){at(profile+".priority", "Spot"), at(profile+".evictionPolicy", "Deallocate")}
	w := born(t, 2, spot...)
	name := str(w.members()[0], "name")
	w.do("POST", vms+"/"+name+"/simulateEviction", nil).want(204)
	w.clock.Advance(evictTime - time.Nanosecond)
	require.Equal(t, map[string]int{"running HealthState/healthy": 2}, states(w.members()))
	w.clock.Advance(time.Nanosecond)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()))
	require.Equal(t, 2, capacityOf(w.get(aSet).body))
	w.do("POST", vms+"/"+name+"/simulateEviction", nil).refused(409, "OperationNotAllowed")
	w.clock.Advance(24 * time.Hour)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()), "it does not come back by itself")

	w = born(t, 2, spot[0], at(profile+".evictionPolicy", "Delete"))
	w.do("POST", aSet+"/virtualMachines/"+str(w.members()[0], "name")+"/simulateEviction", nil).want(204)
	w.clock.Advance(evictTime)
	require.Len(t, w.members(), 1)
	require.Equal(t, 1, capacityOf(w.get(aSet).body))

	w = born(t, 1)
	require.Contains(t, w.do("POST", vms+"/"+str(w.members()[0], "name")+"/simulateEviction", nil).refused(409, "OperationNotAllowed"), "not an Azure Spot VM")
}

func TestVanished(t *testing.T) {
	w := example(t, "traps")
	stale := group + "/providers/" + setType + "/vmss-stale"
	require.NotNil(t, byName(w.all(stale+"/virtualMachines"), "vmss-stale_vanished"))
	require.Nil(t, byName(w.all(vms), "vmss-stale_vanished"))
	w.get(vms+"/vmss-stale_vanished").refused(404, "ResourceNotFound")
	w.get(vms+"/vmss-stale_vanished/instanceView").refused(404, "ResourceNotFound")
	require.Equal(t, "VM Instance vmss-stale_vanished cannot be found.", w.get(stale+"/virtualMachines/vmss-stale_vanished").refused(404, "NotFound"))
	require.Contains(t, w.do("POST", stale+"/manualupgrade", `{"instanceIds":["vmss-stale_vanished"]}`).refused(400, "InvalidParameter"), "is not an active Virtual Machine Scale Set VM instanceId")
}

func TestAttach(t *testing.T) {
	w := born(t, 1)
	body := object{"location": "eastus", "properties": object{"virtualMachineScaleSet": object{"id": aSet}, "hardwareProfile": object{"vmSize": "Standard_D2as_v5"}}}
	w.finished(w.do("PUT", vms+"/attached", body).want(201))
	require.Len(t, w.members(), 2)
	require.Equal(t, 2, capacityOf(w.get(aSet).body))
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "running ": 1}, states(w.members()), "it has no health extension")

	extension := `{"location":"eastus","properties":{"publisher":"Microsoft.ManagedServices","type":"ApplicationHealthLinux","typeHandlerVersion":"1.0","settings":{},"protectedSettings":{"k":"secret"}}}`
	w.do("PATCH", vms+"/attached/extensions/health", extension).want(404)
	put := w.do("PUT", vms+"/attached/extensions/health", extension).want(201)
	w.finished(put)
	w.clock.Advance(reportTime)
	require.Equal(t, map[string]int{"running HealthState/healthy": 2}, states(w.members()))
	w.finished(w.do("PATCH", vms+"/attached/extensions/health", `{"properties":{"typeHandlerVersion":"2.0"}}`).want(200))
	got := w.get(vms + "/attached/extensions/HEALTH").want(200)
	require.Equal(t, "2.0", str(got.body, "properties.typeHandlerVersion"))
	require.NotContains(t, put.raw+got.raw, "secret")
	require.Len(t, w.all(vms+"/attached/extensions"), 1)
	w.finished(w.do("DELETE", vms+"/attached/extensions/health", nil).want(202))
	w.do("DELETE", vms+"/attached/extensions/health", nil).want(204)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "running ": 1}, states(w.members()))
	w.get(vms+"/attached/extensions/health").refused(404, "ResourceNotFound")
	w.get(vms+"/none/extensions").refused(404, "ResourceNotFound")
	for _, m := range w.members() {
		if str(m, "name") != "attached" {
			require.Len(t, w.all(str(m, "id")+"/extensions"), 2, "those of the model")
		}
	}

	set(body, "properties.virtualMachineScaleSet.id", aSet+"x")
	w.do("PUT", vms+"/other", body).refused(400, "InvalidParameter")
	w.finished(w.do("PUT", vms+"/lone", `{"location":"eastus","properties":{"hardwareProfile":{"vmSize":"Standard_D2as_v5"}}}`).want(201))
	require.Len(t, w.members(), 2)
}
