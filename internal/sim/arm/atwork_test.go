package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMembersThatGoAreNotUpgraded: an eviction, or a deletion, is not undone by the end of an
// operation that began before.
func TestMembersThatGoAreNotUpgraded(t *testing.T) {
	for name, action := range map[string]string{"manualupgrade": aSet + "/manualupgrade", "reimage": aSet + "/reimage"} {
		t.Run(name, func(t *testing.T) {
			w := upgradeWorld(t, 3, at(profile+".priority", "Spot"), at(profile+".evictionPolicy", "Deallocate"))
			w.finished(w.do("PATCH", aSet, to(older)).want(200))
			evicted, deleted := str(w.members()[0], "name"), str(w.members()[1], "name")
			upgrade := w.do("POST", action, `{"instanceIds":["*"]}`).want(202)
			w.do("POST", vms+"/"+evicted+"/simulateEviction", nil).want(204)
			w.clock.Advance(upgradeTime - time.Second)
			w.do("POST", aSet+"/delete", `{"instanceIds":["`+deleted+`"]}`).want(202)
			w.finished(upgrade)
			w.clock.Advance(time.Hour)
			require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()))
			vm := w.get(vms + "/" + evicted).body
			require.Equal(t, "Succeeded", str(vm, "properties.provisioningState"), "it is at rest")
			require.Equal(t, "1.7.1", str(vm, "properties.storageProfile.imageReference.exactVersion"), "on the disk that it had")
		})
	}
}

// TestOneThingAtATime: what a member, or its set, is at work on is not begun a second time.
func TestOneThingAtATime(t *testing.T) {
	w := upgradeWorld(t, 3)
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	name, other := str(w.members()[0], "name"), str(w.members()[1], "name")
	upgrade := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+name+`"]}`).want(202)
	require.Contains(t, w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+name+`"]}`).refused(409, "Conflict"), "concurrent request")
	w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+other+`"]}`).refused(409, "Conflict")
	w.do("POST", aSet+"/reimage", `{"instanceIds":["`+other+`"]}`).refused(409, "Conflict")
	w.do("POST", vms+"/"+name+"/reimage", nil).refused(409, "Conflict")
	w.do("POST", vms+"/"+name+"/runCommand", `{"commandId":"RunShellScript","script":["true"]}`).refused(409, "Conflict")
	w.do("PUT", aSet+"/virtualMachines/"+name, `{"properties":{"protectionPolicy":{"protectFromScaleIn":true}}}`).refused(409, "Conflict")
	again := w.do("POST", vms+"/"+other+"/reimage", nil).want(202)
	w.finished(upgrade)
	require.Equal(t, map[string]int{"1.7.1": 2, older: 1}, w.exact(), "what was refused was not done")
	w.finished(again)
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	require.Equal(t, map[string]int{older: 3}, w.exact())
}

// TestNothingRunsWithoutADisk: the system of a member stops when its upgrade begins. What runs
// there is not asked, and nothing is heard of it until the next boot.
func TestNothingRunsWithoutADisk(t *testing.T) {
	w := ruled(t, images+"          - {name: 1.6.2, regions: {eastus: {}}}\ncapacity: [{error: AllocationFailed, upgrades: true, after: 30m}]\n", "*")
	w.put(model(t, 2))
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	m := w.machines()[0]
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Healthy"))
	view := func() object { return w.get(m.ID + "/instanceView").body }
	require.Equal(t, "HealthState/healthy", str(view(), "vmHealth.status.code"))

	upgrade := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+m.Name+`"]}`).want(202)
	require.Len(t, w.machines(), 1)
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Unhealthy"))
	require.Nil(t, view()["vmHealth"])
	require.Nil(t, view()["vmAgent"])
	w.finished(upgrade)
	require.Len(t, w.machines(), 2)
	require.Equal(t, m.Boot+1, w.machines()[0].Boot)

	w.clock.Advance(30 * time.Minute)
	require.NoError(t, w.server.ReportHealth(m.ID, m.Boot+1, "Healthy"))
	w.do("POST", aSet+"/reimage", `{"instanceIds":["`+m.Name+`"]}`).want(202)
	require.Nil(t, view()["vmHealth"])
	w.clock.Advance(upgradeTime)
	require.Equal(t, "HealthState/healthy", str(view(), "vmHealth.status.code"), "it goes on with the disk that it had")
	require.Equal(t, m.Boot+1, w.machines()[0].Boot)
}
