package arm

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBatches(t *testing.T) {
	for _, tt := range []struct{ members, percent, batch int }{
		// under five one at a time
		{1, 100, 1},
		{3, 20, 1},
		{4, 20, 1},
		{4, 50, 1},
		{4, 100, 1},
		{5, 20, 1},
		{5, 40, 2},
		{5, 39, 1},
		{5, 100, 5},
		{9, 20, 1},
		{10, 20, 2},
		{11, 20, 2},
		{10, 5, 1},
		{19, 5, 1},
		{20, 5, 1},
		{40, 5, 2},
		{10, 100, 10},
		{1000, 20, 200},
	} {
		require.Equal(t, tt.batch, batchSize(tt.members, tt.percent), tt)
	}
	require.False(t, exceeds(1, 5, 20))
	require.True(t, exceeds(1, 4, 20), "under five members one is too many")
	require.False(t, exceeds(0, 0, 20))
	require.False(t, exceeds(5, 5, 100))
	require.True(t, exceeds(1, 100, 0))
}

// rollingMode is a model with the mode Rolling and a policy.
func rollingMode(policy object) func(o object) {
	return at("properties.upgradePolicy", object{"mode": "Rolling", "rollingUpgradePolicy": policy})
}

// rolling is rollingUpgrades/latest in short.
func (w *world) rolling() (code string, successful, failed, inProgress, pending int, why string) {
	w.Helper()
	p := sub(w.get(aSet+"/rollingUpgrades/latest").want(200).body, "properties")
	n := func(name string) int {
		v, given := integer(p, "progress."+name+"InstanceCount")
		require.True(w, given)
		return v
	}
	return str(p, "runningStatus.code"), n("successful"), n("failed"), n("inProgress"), n("pending"), str(p, "error.code")
}

func (w *world) wantRolling(code string, successful, failed, inProgress, pending int, why string) {
	w.Helper()
	c, s, f, i, p, y := w.rolling()
	require.Equal(w, []any{code, successful, failed, inProgress, pending, why}, []any{c, s, f, i, p, y})
}

// aBatch is how long a batch takes without its pause.
const aBatch = upgradeTime + reportTime + time.Second

func TestRollingUpgrade(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{"maxBatchInstancePercent": 40, "pauseTimeBetweenBatches": "PT2M"}))
	w.get(aSet+"/rollingUpgrades/latest").refused(404, "NotFound")
	w.finished(w.do("PATCH", aSet, `{"tags":{"owner":"payments"}}`).want(200))
	w.get(aSet+"/rollingUpgrades/latest").refused(404, "NotFound")

	w.do("PATCH", aSet, to(older)).want(200)
	w.wantRolling("RollingForward", 0, 0, 2, 3, "")
	w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).refused(409, "OperationNotAllowed")
	w.clock.Advance(upgradeTime - time.Nanosecond)
	require.Equal(t, map[string]int{"1.7.1": 5}, w.exact())
	w.clock.Advance(time.Nanosecond)
	require.Equal(t, map[string]int{"1.7.1": 3, older: 2}, w.exact())
	w.clock.Advance(aBatch - upgradeTime)
	w.wantRolling("RollingForward", 2, 0, 0, 3, "")
	w.clock.Advance(2*time.Minute - time.Nanosecond)
	w.wantRolling("RollingForward", 2, 0, 0, 3, "")
	w.clock.Advance(time.Nanosecond)
	w.wantRolling("RollingForward", 2, 0, 2, 1, "")
	w.clock.Advance(2 * (aBatch + 2*time.Minute))
	w.wantRolling("Completed", 5, 0, 0, 0, "")
	require.Equal(t, map[string]int{older: 5}, w.exact())
	require.EqualValues(t, 40, dig(w.get(aSet+"/rollingUpgrades/latest").body, "properties.policy.maxBatchInstancePercent"))
	require.EqualValues(t, 20, dig(w.get(aSet+"/rollingUpgrades/latest").body, "properties.policy.maxUnhealthyInstancePercent"), "what the policy leaves open")
}

func TestRollingUpgradeHalts(t *testing.T) {
	w := upgradeWorld(t, 10, rollingMode(object{"maxUnhealthyInstancePercent": 50}))
	w.do("PATCH", aSet, to("1.7.0")).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 2, 0, 8, unhealthyUpgraded)
	require.Equal(t, map[string]int{"1.7.1": 8, "1.7.0": 2}, w.exact(), "the platform leaves them where they are")

	// 2 of 10 are unhealthy, which the whole set may have: any write starts it again.
	w.do("PATCH", aSet, `{"tags":{}}`).want(200)
	w.wantRolling("RollingForward", 0, 0, 2, 6, "")
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 2, 0, 6, unhealthyUpgraded)
}

func TestRollingUpgradeBefore(t *testing.T) {
	w := upgradeWorld(t, 4, rollingMode(object{}))
	w.do("PATCH", aSet, to("1.7.0")).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 1, 0, 3, unhealthyUpgraded)
	w.do("PATCH", aSet, to(older)).want(200)
	w.wantRolling("Faulted", 0, 0, 0, 4, unhealthyBefore)
	require.Equal(t, map[string]int{"1.7.1": 3, "1.7.0": 1}, w.exact(), "a second change of the model does not go back")
}

func TestInitializingIsWaitedFor(t *testing.T) {
	w := upgradeWorld(t, 4, rollingMode(object{}))
	require.NoError(t, w.server.within(func(tx *txn) error {
		tx.editHidden(tx.members(aSet)[3].ID, func(hidden object) { hidden["health"] = "Initializing" })
		return nil
	}))
	w.do("PATCH", aSet, to(older)).want(200)
	w.wantRolling("RollingForward", 0, 0, 1, 3, "")
}

func TestRollingUpgradeIn(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{"maxUnhealthyUpgradedInstancePercent": 100}))
	w.do("PATCH", aSet, to("1.7.0")).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 2, 0, 3, unhealthyIn)
}

func TestRollingUpgradeOrder(t *testing.T) {
	w := upgradeWorld(t, 6, rollingMode(object{"maxBatchInstancePercent": 34}))
	w.do("PATCH", aSet, to(older)).want(200)
	var zones []string
	for _, m := range w.members() {
		if str(m, "properties.provisioningState") == "Updating" {
			zones = append(zones, m["zones"].([]any)[0].(string))
		}
	}
	require.Equal(t, []string{"1", "1"}, zones, "zone by zone")

	first := rollingMode(object{"maxBatchInstancePercent": 20, "maxUnhealthyInstancePercent": 100, "prioritizeUnhealthyInstances": true})
	w = upgradeWorld(t, 5, first, at("zones", nil))
	last := str(slices.MaxFunc(w.members(), func(a, b object) int { return slices.Compare([]byte(str(a, "name")), []byte(str(b, "name"))) }), "name")
	require.NoError(t, w.server.within(func(tx *txn) error {
		tx.editHidden(vms+"/"+last, func(hidden object) { hidden["health"] = "Unhealthy" })
		return nil
	}))
	w.do("PATCH", aSet, to(older)).want(200)
	require.Equal(t, "Updating", str(w.get(vms+"/"+last).body, "properties.provisioningState"), "the unhealthy first")
}

func TestRollingUpgradeIsCancelled(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{}))
	w.do("PATCH", aSet, to(older)).want(200)
	cancel := w.do("POST", aSet+"/rollingUpgrades/cancel", nil).want(202)
	w.clock.Advance(time.Hour)
	w.finished(cancel)
	w.wantRolling("Cancelled", 1, 0, 0, 4, "")
	require.Equal(t, "Cancel", str(w.get(aSet+"/rollingUpgrades/latest").body, "properties.runningStatus.lastAction"))
	require.Equal(t, map[string]int{"1.7.1": 4, older: 1}, w.exact(), "the batch that was under way is finished")
	w.do("POST", aSet+"/rollingUpgrades/cancel", nil).refused(409, "OperationNotAllowed")
}

func TestRollingUpgradeIsReplaced(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{}))
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(10 * time.Second)
	w.do("PATCH", aSet, to("1.7.1")).want(200)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.7.1": 5}, w.exact(), "whatever was begun before")
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(aBatch)
	w.do("PATCH", aSet, to("1.7.1")).want(200)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.7.1": 5}, w.exact(), "what was upgraded is taken back")
	w.wantRolling("Completed", 1, 0, 0, 0, "")
	for _, m := range w.members() {
		require.Equal(t, "Succeeded", str(m, "properties.provisioningState"))
	}
}

func TestRollingUpgradeOfWhatIsNotThere(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{}))
	w.do("PATCH", aSet, to("1.8.0")).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 0, 1, 0, 4, failedUpgraded)
	e := sub(w.get(aSet+"/rollingUpgrades/latest").body, "properties.error")
	require.Contains(t, str(e, "message"), "GalleryImageNotFound: The gallery image")
	require.Equal(t, "GalleryImageNotFound", str(items(e, "details")[0], "code"))
}

// TestRollingUpgradeIsHalted: for reasons that are not the members'.
func TestRollingUpgradeIsHalted(t *testing.T) {
	w := ruled(t, images+`          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}
halts:
  - {scale_set: vmss-*, error: RollingUpgradeTimeoutError, batches: 1, count: 1}
  - {scale_set: vmss-*, error: InternalExecutionError, count: 1}
`)
	w.put(model(t, 3, rollingMode(object{})))
	w.do("PATCH", aSet, to(older)).want(200)
	w.wantRolling("Faulted", 0, 0, 0, 3, "InternalExecutionError")
	w.do("PATCH", aSet, `{"tags":{}}`).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Faulted", 1, 0, 0, 2, "RollingUpgradeTimeoutError")
	w.do("PATCH", aSet, `{"tags":{}}`).want(200)
	w.clock.Advance(time.Hour)
	w.wantRolling("Completed", 2, 0, 0, 0, "")

	for text, want := range map[string]string{
		"halts: [{error: Odd}]":                                     "is not one of RollingUpgradeTimeoutError, InternalExecutionError",
		"halts: [{error: InternalExecutionError, batches: -1}]":     "batches and count are not negative",
		"halts: [{error: InternalExecutionError, scale_set: '[x'}]": "is no pattern of names",
		"platform_upgrades: [{for: 1m, scale_set: '[x'}]":           "is no pattern of names",
	} {
		_, err := ParseScenario("s.yaml", []byte(text))
		require.ErrorContains(t, err, want)
	}
}

// hidden changes what only the simulator knows of members.
func (w *world) hidden(change func(hidden object), names ...string) {
	w.Helper()
	require.NoError(w, w.server.within(func(tx *txn) error {
		for _, name := range names {
			tx.editHidden(vms+"/"+name, change)
		}
		return nil
	}))
}

// updating are the zones of the members that are being upgraded.
func (w *world) updating() (zones []string) {
	w.Helper()
	for _, m := range w.members() {
		if str(m, "properties.provisioningState") == "Updating" {
			zones = append(zones, m["zones"].([]any)[0].(string))
		}
	}
	slices.Sort(zones)
	return zones
}

// TestZonesAreUpgradedOneByOne: 50 % of six members are three, of which a zone has two.
func TestZonesAreUpgradedOneByOne(t *testing.T) {
	policy := func(cross bool) func(o object) {
		return rollingMode(object{"maxBatchInstancePercent": 50, "enableCrossZoneUpgrade": cross})
	}
	w := upgradeWorld(t, 6, policy(false))
	w.do("PATCH", aSet, to(older)).want(200)
	for _, zone := range []string{"1", "2", "3"} {
		require.Equal(t, []string{zone, zone}, w.updating())
		w.clock.Advance(aBatch)
	}
	w.wantRolling("Completed", 6, 0, 0, 0, "")

	w = upgradeWorld(t, 6, policy(true))
	w.do("PATCH", aSet, to(older)).want(200)
	require.Len(t, w.updating(), 3)
	w.clock.Advance(2 * aBatch)
	w.wantRolling("Completed", 6, 0, 0, 0, "")
}

// TestBatchIsWaitedFor: a member whose health is not known yet is waited for, but not for
// ever.
func TestBatchIsWaitedFor(t *testing.T) {
	w := applied(t, images+"          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}\n",
		func(c *Config) { c.Rules.Machines.Real = []string{"*"} })
	w.finished(w.do("PUT", aSet, model(t, 2, rollingMode(object{"maxUnhealthyUpgradedInstancePercent": 40}))).want(201))
	w.clock.Advance(time.Minute)
	report := func() {
		machines, err := w.server.Machines()
		require.NoError(t, err)
		for _, m := range machines {
			require.NoError(t, w.server.ReportHealth(m.ID, m.Boot, "Healthy"))
		}
	}
	report()
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(upgradeTime + 4*time.Minute)
	w.wantRolling("RollingForward", 0, 0, 1, 1, "")
	report()
	w.clock.Advance(judgeEvery)
	w.wantRolling("RollingForward", 1, 0, 1, 0, "")
	w.clock.Advance(upgradeTime + healthTime - 2*judgeEvery)
	w.wantRolling("RollingForward", 1, 0, 1, 0, "")
	w.clock.Advance(3 * judgeEvery)
	w.wantRolling("Faulted", 1, 1, 0, 0, unhealthyUpgraded)
}

// TestRollingUpgradeLosesMembers: whoever goes, stops or is protected meanwhile is left
// out.
func TestRollingUpgradeLosesMembers(t *testing.T) {
	w := upgradeWorld(t, 5, rollingMode(object{}), at("zones", nil))
	var names []string
	for _, m := range w.members() {
		names = append(names, str(m, "name"))
	}
	w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(aBatch)
	w.do("POST", aSet+"/delete", `{"instanceIds":["`+names[0]+`"]}`).want(202)
	w.do("POST", aSet+"/delete", `{"instanceIds":["`+names[4]+`"]}`).want(202)
	w.hidden(func(hidden object) { set(hidden, "protection.protectFromScaleSetActions", true) }, names[3])
	w.clock.Advance(2 * aBatch)
	w.wantRolling("Completed", 2, 0, 0, 0, "")
	require.Equal(t, map[string]int{"1.7.1": 1, older: 2}, w.exact())
}

const custom = `{"properties":{"publisher":"Microsoft.Azure.Monitor","type":"AzureMonitorLinuxAgent","typeHandlerVersion":"1.0"}}`

// TestWriteLastsAsLongAsItsUpgrade: the operation of a write that begins a rolling upgrade
// ends with it, and as it does.
func TestWriteLastsAsLongAsItsUpgrade(t *testing.T) {
	status := func(w *world, write *reply) string {
		poll := w.get(write.header.Get("Azure-AsyncOperation")).body
		return str(poll, "status") + " " + str(poll, "error.code")
	}
	w := upgradeWorld(t, 5, rollingMode(object{}))
	write := w.do("PATCH", aSet, to(older)).want(200)
	w.clock.Advance(4 * aBatch)
	require.Equal(t, "InProgress ", status(w, write))
	require.Equal(t, "Updating", str(w.get(aSet).body, "properties.provisioningState"))
	w.clock.Advance(aBatch)
	require.Equal(t, "Succeeded ", status(w, write))
	require.Equal(t, "Succeeded", str(w.get(aSet).body, "properties.provisioningState"))

	write = w.do("PATCH", aSet, to("1.7.0")).want(200)
	w.clock.Advance(aBatch)
	require.Equal(t, "Failed "+unhealthyUpgraded, status(w, write))
	require.Equal(t, "Failed", str(w.get(aSet).body, "properties.provisioningState"))

	write = w.do("PUT", aSet+"/extensions/monitor", custom).want(201)
	require.Equal(t, "InProgress ", status(w, write), "an extension is a part of the model")
	w.do("DELETE", aSet+"/extensions/monitor", nil).refused(409, "OperationNotAllowed")
	w.do("POST", aSet+"/rollingUpgrades/cancel", nil).want(202)
	require.Equal(t, "Canceled OperationPreempted", status(w, write))

	write = w.do("PATCH", aSet, to(older)).want(200)
	another := w.do("PATCH", aSet, to("1.7.1")).want(200)
	require.Equal(t, "Canceled OperationPreempted", status(w, write), "another write takes its place")
	w.clock.Advance(time.Hour)
	require.NotEqual(t, "InProgress ", status(w, another))
}
