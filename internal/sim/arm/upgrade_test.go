package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exact counts the members of vmss-authz by exact version.
func (w *world) exact() map[string]int {
	w.Helper()
	count := map[string]int{}
	for _, m := range w.members() {
		count[str(m, "properties.storageProfile.imageReference.exactVersion")]++
	}
	return count
}

// to is the patch that moves the image to a version.
func to(version string) string {
	return `{"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"` + anImage + `/versions/` + version + `"}}}}}`
}

const older = "1.6.2"

// upgradeWorld is vmss-authz on 1.7.1 in Manual mode, with 1.6.2 beside it.
func upgradeWorld(t *testing.T, capacity int, change ...func(o object)) *world {
	t.Helper()
	w := applied(t, images+"          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}\n")
	w.finished(w.do("PUT", aSet, model(t, capacity, change...)).want(201))
	w.clock.Advance(time.Minute)
	return w
}

func TestManualUpgrade(t *testing.T) {
	w := upgradeWorld(t, 3)
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	require.Equal(t, map[string]int{"1.7.1": 3}, w.exact(), "in Manual mode nothing happens by itself")
	list := w.all(aSet + "/virtualMachines")
	for _, i := range list {
		require.Equal(t, false, dig(i, "properties.latestModelApplied"))
	}
	name := str(list[0], "name")
	w.do("POST", aSet+"/manualupgrade", `{"instanceIds":[]}`).refused(400, "InvalidParameter")
	w.do("POST", aSet+"/manualupgrade", nil).refused(400, "InvalidParameter")
	require.Equal(t, "The provided instanceId 0 is not an active Virtual Machine Scale Set VM instanceId.",
		w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+name+`","0"]}`).refused(400, "InvalidParameter"))

	upgrade := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+name+`"]}`).want(202)
	require.Equal(t, "Updating", str(w.get(vms+"/"+name).body, "properties.provisioningState"))
	w.finished(upgrade)
	require.Equal(t, map[string]int{"1.7.1": 2, older: 1}, w.exact())
	require.Equal(t, map[string]int{"running HealthState/healthy": 2, "running HealthState/initializing": 1}, states(w.members()))
	require.Equal(t, true, dig(w.get(aSet+"/virtualMachines/"+name).body, "properties.latestModelApplied"))
	w.clock.Advance(reportTime)
	require.Equal(t, map[string]int{"running HealthState/healthy": 3}, states(w.members()))
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	require.Equal(t, map[string]int{older: 3}, w.exact())
}

func TestManualUpgradeSparesTheProtected(t *testing.T) {
	w := upgradeWorld(t, 3)
	list := w.all(aSet + "/virtualMachines")
	w.finished(w.do("PUT", aSet+"/virtualMachines/"+str(list[0], "name"), `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true}}}`).want(200))
	w.finished(w.do("PUT", aSet+"/virtualMachines/"+str(list[1], "name"), `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true}}}`).want(200))
	w.finished(w.do("POST", vms+"/"+str(list[2], "name")+"/deallocate", nil).want(202))
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	require.Equal(t, map[string]int{"1.7.1": 2, older: 1}, w.exact(), "protection from scale-in alone does not stop an upgrade")
}

// TestActionsOfTheSet: protection stops those of the set, and none on the member alone.
func TestActionsOfTheSet(t *testing.T) {
	w := upgradeWorld(t, 2)
	name := str(w.all(aSet + "/virtualMachines")[0], "name")
	w.finished(w.do("PUT", aSet+"/virtualMachines/"+name, `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true}}}`).want(200))
	state := func() string { return str(w.get(vms+"/"+name).body, "properties.provisioningState") }
	power := func() string {
		return str(items(w.get(vms+"/"+name+"?$expand=instanceView").body, "properties.instanceView.statuses")[1], "code")
	}
	w.do("POST", aSet+"/reimage", `{"instanceIds":["`+name+`"]}`).want(202)
	require.Equal(t, "Succeeded", state())
	w.finished(w.do("POST", aSet+"/deallocate", `{"instanceIds":["`+name+`"]}`).want(202))
	require.Equal(t, "PowerState/running", power())
	reimage := w.do("POST", aSet+"/virtualMachines/"+name+"/reimage", nil).want(202)
	require.Equal(t, "Updating", state())
	w.finished(reimage)
	w.finished(w.do("POST", aSet+"/virtualMachines/"+name+"/deallocate", nil).want(202))
	require.Equal(t, "PowerState/deallocated", power())
}

func TestManualUpgradeFails(t *testing.T) {
	w := upgradeWorld(t, 1)
	w.finished(w.do("PATCH", aSet, to("1.8.0")).want(200))
	upgrade := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202)
	w.clock.Advance(upgradeTime)
	poll := w.get(upgrade.header.Get("Azure-AsyncOperation")).want(200)
	require.Equal(t, "GalleryImageNotFound", str(poll.body, "error.code"), "1.8.0 is not in eastus")
	require.Equal(t, map[string]int{"1.7.1": 1}, w.exact())
	require.Equal(t, "Failed", str(w.members()[0], "properties.provisioningState"))
}

// TestExtensionRidesAlong: an upgrade brings every pending change of the model.
func TestExtensionRidesAlong(t *testing.T) {
	w := upgradeWorld(t, 1)
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	w.finished(w.do("DELETE", aSet+"/extensions/script", nil).want(202))
	require.Len(t, items(w.members()[0], "properties.instanceView.extensions"), 2)
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	require.Len(t, items(w.members()[0], "properties.instanceView.extensions"), 1)
	require.Equal(t, map[string]int{older: 1}, w.exact())
}

// TestLatestModelMayLie: what latestModelApplied says of a member is the scenario's,
// until the member is upgraded.
func TestLatestModelMayLie(t *testing.T) {
	w := applied(t, images+"scale_sets:\n  - {name: vmss-authz, image: galProd/ubuntu-app/1.7.1, members: [{latest_model: false}]}\n")
	latest := func() any { return dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied") }
	require.Equal(t, false, latest())
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	require.Equal(t, true, latest())
}

func TestReimage(t *testing.T) {
	w := upgradeWorld(t, 2, at(imagePath, object{"id": anImage}))
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	name := str(w.members()[0], "name")
	w.do("PATCH", anImage+"/versions/1.7.1", `{"properties":{"publishingProfile":{"excludeFromLatest":true}}}`)
	w.clock.Advance(time.Hour)
	w.finished(w.do("POST", aSet+"/virtualMachines/"+name+"/reimage", nil).want(202))
	require.Equal(t, map[string]int{"1.7.1": 1, older: 1}, w.exact(), "a reference without version is resolved anew: 1.6.2 is the latest now")
	require.Equal(t, anImage, str(w.get(vms+"/"+name).body, "properties.storageProfile.imageReference.id"), "it is the member's own model")
	require.Equal(t, false, dig(w.get(aSet+"/virtualMachines/"+name).body, "properties.latestModelApplied"))

	w = upgradeWorld(t, 2)
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	w.finished(w.do("POST", aSet+"/reimage", nil).want(202))
	require.Equal(t, map[string]int{"1.7.1": 2}, w.exact(), "a version in the member's own model stays")
}

func TestAutomaticMode(t *testing.T) {
	w := upgradeWorld(t, 3, at("properties.upgradePolicy.mode", "Automatic"))
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(upgradeTime)
	require.Equal(t, map[string]int{older: 3}, w.exact())
}

func TestOSUpgradeByHand(t *testing.T) {
	w := upgradeWorld(t, 1)
	require.Contains(t, w.do("POST", aSet+"/osRollingUpgrade", nil).refused(409, "OperationNotAllowed"), "imageReference.version set to latest")
	w = upgradeWorld(t, 1, at(imagePath, object{"id": anImage}))
	w.do("POST", aSet+"/osRollingUpgrade", nil).refused(501, "NotSimulated")
}
