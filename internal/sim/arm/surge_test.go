package arm

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aSurge is how long a batch of new members takes without its pause.
const aSurge = bootTime + reportTime + time.Second

// surging is the policy of a set that has new members in place of upgrades.
func surging(policy object) func(o object) {
	policy["maxSurge"] = true
	return rollingMode(policy)
}

// TestSurge: 20 % of ten are two, and there are never fewer than ten that serve.
func TestSurge(t *testing.T) {
	w := upgradeWorld(t, 10, surging(object{"pauseTimeBetweenBatches": "PT1M", "enableCrossZoneUpgrade": true}))
	before := w.names()
	w.do("PATCH", aSet, to(older)).want(200)
	w.wantRolling("RollingForward", 0, 0, 2, 8, "")
	require.Len(t, w.names(), 12)
	w.clock.Advance(aSurge)
	require.Equal(t, map[string]int{"1.7.1": 10, older: 2}, w.exact())
	w.wantRolling("RollingForward", 2, 0, 0, 8, "")
	w.clock.Advance(deleteTime)
	require.Equal(t, map[string]int{"1.7.1": 8, older: 2}, w.exact(), "they are deleted when the new ones are healthy")
	for range 120 {
		w.clock.Advance(5 * time.Second)
		require.GreaterOrEqual(t, states(w.members())["running HealthState/healthy"], 10)
	}
	w.wantRolling("Completed", 10, 0, 0, 0, "")
	require.Equal(t, map[string]int{older: 10}, w.exact())
	require.EqualValues(t, 10, dig(w.get(aSet).body, "sku.capacity"))
	require.False(t, slices.ContainsFunc(w.names(), func(name string) bool { return slices.Contains(before, name) }))
}

// TestSurgeKeepsZones: whoever is new is where the one is whose place it takes.
func TestSurgeKeepsZones(t *testing.T) {
	w := upgradeWorld(t, 3, surging(object{}))
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(time.Hour)
	zones := map[string]int{}
	for _, m := range w.members() {
		zones[m["zones"].([]any)[0].(string)]++
	}
	require.Equal(t, map[string]int{"1": 1, "2": 1, "3": 1}, zones)
	require.Equal(t, map[string]int{older: 3}, w.exact())
}

// TestSurgeHalts: the bad ones stay, and so do those whose places they were to take.
func TestSurgeHalts(t *testing.T) {
	w := upgradeWorld(t, 5, surging(object{}), at("zones", nil))
	w.do("PATCH", aSet, to("1.7.0")).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 1, 0, 4, unhealthyUpgraded)
	require.Equal(t, map[string]int{"1.7.1": 5, "1.7.0": 1}, w.exact())
	w.do("PATCH", aSet, to("1.7.1")).want(200)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.7.1": 5}, w.exact(), "a way back needs no other one")
}

// TestSurgeWithoutQuota: what there is no quota for is upgraded in place.
func TestSurgeWithoutQuota(t *testing.T) {
	w := upgradeWorld(t, 10, surging(object{"enableCrossZoneUpgrade": true}))
	before := w.names()
	w.server.rules.Machines.Capacity = []CapacityRule{{Code: "QuotaExceeded", Count: 1}}
	w.server.limitCapacity()
	w.do("PATCH", aSet, to(older)).want(200)
	require.Len(t, w.names(), 11)
	require.Len(t, w.updating(), 1)
	w.clock.Advance(time.Hour)
	w.wantRolling("Completed", 10, 0, 0, 0, "")
	require.Equal(t, map[string]int{older: 10}, w.exact())
	left := slices.DeleteFunc(w.names(), func(name string) bool { return !slices.Contains(before, name) })
	require.Len(t, left, 1)
}

// TestSurgeWithoutHost: members that fail to be allocated end the upgrade.
func TestSurgeWithoutHost(t *testing.T) {
	w := upgradeWorld(t, 3, surging(object{}))
	w.server.rules.Machines.Capacity = []CapacityRule{{Code: "OverconstrainedZonalAllocationRequest", Count: 1}}
	w.server.limitCapacity()
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(time.Minute)
	w.wantRolling("Faulted", 0, 0, 0, 3, failedUpgraded)
	e := sub(w.get(aSet+"/rollingUpgrades/latest").body, "properties.error")
	require.Equal(t, "OverconstrainedZonalAllocationRequest", str(items(e, "details")[0], "code"))
	require.Equal(t, 3, w.exact()["1.7.1"])

	w = upgradeWorld(t, 3, surging(object{}))
	w.do("PATCH", aSet, to("1.8.0")).want(200)
	w.wantRolling("Faulted", 0, 0, 0, 3, failedUpgraded)
	require.Len(t, w.names(), 3, "there is no image")
}

// TestSurgeIsDisturbed: by a cancel, which lets the batch be finished, and by autoscale.
func TestSurgeIsDisturbed(t *testing.T) {
	w := upgradeWorld(t, 5, surging(object{}), at("zones", nil))
	w.do("PATCH", aSet, to(older)).want(200)
	w.do("POST", aSet+"/rollingUpgrades/cancel", nil).want(202)
	w.clock.Advance(time.Hour)
	w.wantRolling("Cancelled", 1, 0, 0, 4, "")
	require.Equal(t, map[string]int{"1.7.1": 4, older: 1}, w.exact())

	w = upgradeWorld(t, 5, surging(object{}), at("zones", nil))
	w.do("PATCH", aSet, to(older)).want(200)
	w.do("PATCH", aSet, `{"sku":{"capacity":7}}`).want(200)
	require.Len(t, w.names(), 8)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{older: 7}, w.exact())
}
