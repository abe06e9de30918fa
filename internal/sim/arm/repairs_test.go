package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// repairing is a model with automatic repairs.
func repairing(action string) func(o object) {
	return at(repairsPath, object{"enabled": true, "gracePeriod": "PT30M", "repairAction": action})
}

// turn makes members be seen with a health, as their machines would report it.
func (w *world) turn(health string, names ...string) {
	w.Helper()
	for _, name := range names {
		boot, _ := integer(w.server.store.Resources[key(vms+"/"+name)].Hidden, "boot")
		require.NoError(w, w.server.ReportHealth(vms+"/"+name, boot, health))
	}
}

func (w *world) names() (names []string) {
	w.Helper()
	for _, m := range w.members() {
		names = append(names, str(m, "name"))
	}
	return names
}

func TestRepairByReplace(t *testing.T) {
	w := upgradeWorld(t, 3, repairing("Replace"))
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	name := w.names()[0]
	w.turn("Unhealthy", name)
	w.clock.Advance(20 * time.Minute)
	w.finished(w.do("PATCH", vms+"/"+name, `{"tags":{"looked":"at"}}`).want(200))
	w.clock.Advance(30*time.Minute - modelTime - 10*time.Second)
	require.Equal(t, map[string]int{"1.7.1": 3}, w.exact(), "a write begins the grace period anew")
	w.clock.Advance(time.Minute)
	require.Equal(t, map[string]int{"1.7.1": 2, older: 1}, w.exact(), "the new one is made from the latest model")
	require.NotContains(t, w.names(), name)
	w.clock.Advance(time.Minute)
	require.Equal(t, map[string]int{"running HealthState/healthy": 3}, states(w.members()))
	require.EqualValues(t, 3, dig(w.get(aSet).body, "sku.capacity"))
	require.Equal(t, []string{platform + " virtualMachines/write", platform + " virtualMachines/delete", platform + " virtualMachines/automaticRepairs/action"},
		w.did("virtualMachines")[:3])
}

func TestRepairIsSpared(t *testing.T) {
	w := upgradeWorld(t, 5, repairing("Replace"))
	names := w.names()
	w.hidden(func(hidden object) { set(hidden, "protection.protectFromScaleIn", true) }, names[0])
	w.turn("Unknown", names[0])
	w.turn("Unhealthy", names[1])
	w.clock.Advance(29 * time.Minute)
	w.turn("Healthy", names[1])
	w.clock.Advance(time.Hour)
	require.Equal(t, names, w.names(), "one is protected, the other became healthy in time")

	w.finished(w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Suspend"}`).want(202))
	w.turn("Unhealthy", names[2])
	w.clock.Advance(2 * time.Hour)
	require.Equal(t, names, w.names(), "suspended")
	w.finished(w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Resume"}`).want(202))
	w.clock.Advance(time.Minute)
	require.NotContains(t, w.names(), names[2])
	require.Contains(t, w.names(), names[0])
}

// TestRepairsAreFewAtATime: 5 % of 40 are two.
func TestRepairsAreFewAtATime(t *testing.T) {
	for capacity, most := range map[int]int{5: 1, 19: 1, 40: 2} {
		w := upgradeWorld(t, capacity, repairing("Restart"))
		w.turn("Unhealthy", w.names()[:4]...)
		w.clock.Advance(30 * time.Minute)
		require.Equal(t, most, states(w.members())["starting "], capacity)
		w.clock.Advance(10 * time.Minute)
		require.Equal(t, capacity, states(w.members())["running HealthState/healthy"], "restarted, one after the other")
	}
}

func TestRepairByReimage(t *testing.T) {
	w := upgradeWorld(t, 2, repairing("Reimage"))
	names := w.names()
	w.turn("Unhealthy", names[0])
	w.clock.Advance(30 * time.Minute)
	require.Equal(t, "Updating", str(w.get(vms+"/"+names[0]).body, "properties.provisioningState"))
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, names, w.names())
	require.Equal(t, map[string]int{"running HealthState/healthy": 2}, states(w.members()))
}

// TestRepairsThatDoNotHelp: the platform suspends repairs itself, and a member that was
// never provisioned is not repaired.
func TestRepairsThatDoNotHelp(t *testing.T) {
	w := upgradeWorld(t, 1, repairing("Replace"))
	w.finished(w.do("PATCH", aSet, to("1.7.0")).want(200))
	seen := map[string]bool{w.names()[0]: true}
	w.turn("Unhealthy", w.names()...)
	for range 20 {
		w.clock.Advance(10 * time.Minute)
		for _, name := range w.names() {
			seen[name] = true
		}
	}
	require.Len(t, seen, 1+repairsInARow)
	require.Equal(t, map[string]int{"1.7.0": 1}, w.exact())
	w.finished(w.do("POST", aSet+"/setOrchestrationServiceState", `{"serviceName":"AutomaticRepairs","action":"Resume"}`).want(202))
	w.clock.Advance(2 * time.Minute)
	require.NotSubset(t, seen, map[string]bool{w.names()[0]: true}, "whoever resumes it begins anew")

	w = upgradeWorld(t, 1, repairing("Replace"))
	name := w.names()[0]
	require.NoError(t, w.server.within(func(tx *txn) error {
		tx.edit(vms+"/"+name, func(r *resource) { set(r.Body, "properties.provisioningState", statusFailed) })
		return nil
	}))
	w.turn("Unhealthy", name)
	w.clock.Advance(2 * time.Hour)
	require.Equal(t, []string{name}, w.names())
}

// TestRepairWithoutImage: the successor is born as soon as there is an image again.
func TestRepairWithoutImage(t *testing.T) {
	w := upgradeWorld(t, 2, repairing("Replace"))
	w.finished(w.do("PATCH", aSet, to("1.8.0")).want(200))
	w.turn("Unhealthy", w.names()[0])
	w.clock.Advance(time.Hour)
	require.Len(t, w.names(), 1, "1.8.0 is not in eastus")
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	w.clock.Advance(10 * time.Minute)
	require.Equal(t, map[string]int{"1.7.1": 1, older: 1}, w.exact())
}

// TestRepairDoesNotWaitForTheNotice: the one that goes does, its successor does not.
func TestRepairDoesNotWaitForTheNotice(t *testing.T) {
	w := upgradeWorld(t, 2, repairing("Replace"), at(notice, object{"enable": true, "notBeforeTimeout": "PT10M"}))
	name := w.names()[0]
	w.turn("Unhealthy", name)
	w.clock.Advance(30 * time.Minute)
	require.Equal(t, "Deleting", str(w.get(vms+"/"+name).body, "properties.provisioningState"))
	require.Len(t, w.names(), 3, "its successor is there at once")
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, map[string]int{"running HealthState/healthy": 2, "running HealthState/unhealthy": 1}, states(w.members()))
	require.Contains(t, w.names(), name)
	w.clock.Advance(10 * time.Minute)
	require.NotContains(t, w.names(), name)
	require.Len(t, w.names(), 2)
	require.EqualValues(t, 2, dig(w.get(aSet).body, "sku.capacity"))
}

// TestRepairsAreTurnedOn: when every member has the health extension.
func TestRepairsAreTurnedOn(t *testing.T) {
	w := upgradeWorld(t, 1, at(extensionPath, []any{}))
	health := model(t, 1)
	on := object{"properties": object{"virtualMachineProfile": sub(health, profile), "automaticRepairsPolicy": object{"enabled": true}}}
	require.Contains(t, w.do("PATCH", aSet, on).refused(400, "BadRequest"), "is not applied to all instances")
	w.finished(w.do("PATCH", aSet, object{"properties": object{"virtualMachineProfile": sub(health, profile)}}).want(200))
	w.do("PATCH", aSet, on).refused(400, "BadRequest")
	w.finished(w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202))
	w.finished(w.do("PATCH", aSet, on).want(200))

	restart := `{"properties":{"automaticRepairsPolicy":{"enabled":true,"repairAction":"Restart"}}}`
	w.do("PATCH", aSet, restart).refused(409, "PropertyChangeNotAllowed")
	w.do("PATCH", aSet, `{"properties":{"automaticRepairsPolicy":{"repairAction":"Replace"}}}`).want(200)
	w.do("PATCH", aSet, `{"properties":{"automaticRepairsPolicy":{"enabled":false}}}`).want(200)
	w.do("PATCH", aSet, restart).want(200)
}
