package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withAutoOS is a simulation where automatic OS upgrade is there for Flexible sets.
func withAutoOS(c *Config) { c.Rules.Platform.AutoOS = true }

const autoOSOn = autoOSPath + ".enableAutomaticOSUpgrade"

// autoWorld is vmss-authz on what is the latest of ubuntu-app, 1.7.1, with automatic OS
// upgrade.
func autoWorld(t *testing.T, capacity int, change ...func(o object)) *world {
	t.Helper()
	w := applied(t, images, withAutoOS)
	change = append([]func(o object){at(imagePath, object{"id": anImage}), at(autoOSOn, true)}, change...)
	w.finished(w.do("PUT", aSet, model(t, capacity, change...)).want(201))
	w.clock.Advance(time.Minute)
	return w
}

// include makes a version one that may be the latest.
func (w *world) include(version string, is bool) {
	w.Helper()
	w.do("PATCH", anImage+"/versions/"+version, object{"properties": object{"publishingProfile": object{"excludeFromLatest": !is}}}).want(200)
}

// history is the newest entry of osUpgradeHistory, or nil.
func (w *world) history() object {
	w.Helper()
	list := w.all(aSet + "/osUpgradeHistory")
	if len(list) == 0 {
		return nil
	}
	return sub(list[0], "properties")
}

// until moves the clock until something holds.
func (w *world) until(most time.Duration, holds func() bool) {
	w.Helper()
	const step = 10 * time.Second
	for d := time.Duration(0); d <= most; d += step {
		if holds() {
			return
		}
		w.clock.Advance(step)
	}
	require.FailNow(w, "it does not come about")
}

func TestAutoOSIsACapability(t *testing.T) {
	w := applied(t, images)
	auto := model(t, 0, at(imagePath, object{"id": anImage}), at(autoOSOn, true))
	require.Contains(t, w.do("PUT", aSet, auto).refused(409, "OperationNotAllowed"), "Automatic OS Upgrade is not supported for this Virtual Machine Scale Set")
	w.do("PUT", aSet, model(t, 0, at(imagePath, object{"id": anImage}))).want(201)
	w.do("PATCH", aSet, `{"properties":{"upgradePolicy":{"automaticOSUpgradePolicy":{"enableAutomaticOSUpgrade":true}}}}`).refused(409, "OperationNotAllowed")
	require.Nil(t, w.history())
	autoWorld(t, 0).do("GET", aSet, nil).want(200)
}

func TestAutoOSUpgrade(t *testing.T) {
	w := autoWorld(t, 10)
	w.do("PUT", anImage+"/versions/1.8.1", object{"location": "eastus", "properties": object{
		"publishingProfile": object{"excludeFromLatest": true, "targetRegions": []any{object{"name": "eastus", "regionalReplicaCount": 1}}},
		"storageProfile":    object{"source": object{"id": group + "/providers/Microsoft.Compute/images/app"}},
	}}).want(201)
	w.clock.Advance(time.Hour)
	require.Nil(t, w.history(), "excluded from latest")
	w.include("1.8.1", true)
	w.clock.Advance(30 * time.Minute)
	require.Nil(t, w.history(), "it is seen some minutes after, and waits from then on")
	w.until(lookEvery, func() bool { return w.history() != nil })
	w.wantRolling("RollingForward", 0, 0, 2, 8, "")
	h := w.history()
	require.Equal(t, []string{"RollingForward", "Platform", "1.8.1", anImage},
		[]string{str(h, "runningStatus.code"), str(h, "startedBy"), str(h, "targetImageReference.exactVersion"), str(h, "targetImageReference.id")})
	require.Nil(t, dig(h, "runningStatus.endTime"))
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.8.1": 10}, w.exact())
	h = w.history()
	require.Equal(t, "Completed", str(h, "runningStatus.code"))
	require.NotEmpty(t, str(h, "runningStatus.endTime"))
	require.EqualValues(t, 10, dig(h, "progress.successfulInstanceCount"))
	require.Nil(t, dig(h, "rollbackInfo"))
	for _, i := range w.all(aSet + "/virtualMachines") {
		require.Equal(t, true, dig(i, "properties.latestModelApplied"), "the model is the same")
	}
	w.include("1.8.1", false)
	w.clock.Advance(24 * time.Hour)
	require.Equal(t, map[string]int{"1.8.1": 10}, w.exact(), "it never goes to an older version")
	require.Len(t, w.all(aSet+"/osUpgradeHistory"), 1)
}

// TestAutoOSUpgradeThatFails: 1.9.0 does not become healthy.
func TestAutoOSUpgradeThatFails(t *testing.T) {
	const bad = "          - {name: 1.9.0, regions: {eastus: {}}, health: Unhealthy, excluded: true}\n"
	begin := func(change ...func(o object)) *world {
		w := applied(t, images+bad, withAutoOS)
		change = append([]func(o object){at(imagePath, object{"id": anImage}), at(autoOSOn, true)}, change...)
		w.finished(w.do("PUT", aSet, model(t, 10, change...)).want(201))
		w.clock.Advance(lookEvery)
		w.include("1.9.0", true)
		w.until(time.Hour, func() bool { return w.history() != nil })
		w.clock.Advance(upgradeTime)
		return w
	}
	w := begin()
	require.Equal(t, map[string]int{"1.7.1": 8, "1.9.0": 2}, w.exact())
	w.clock.Advance(healthTime + judgeEvery)
	w.wantRolling("Faulted", 0, 2, 0, 8, unhealthyUpgraded)
	require.Equal(t, "RollingBack", str(w.history(), "runningStatus.code"))
	w.clock.Advance(upgradeTime + reportTime)
	w.wantRolling("Faulted", 0, 2, 0, 8, unhealthyUpgraded)
	require.Equal(t, map[string]int{"1.7.1": 10}, w.exact(), "previous disks are back")
	require.Equal(t, map[string]int{"running HealthState/healthy": 10}, states(w.members()))
	h := w.history()
	require.Equal(t, unhealthyUpgraded, str(h, "error.code"))
	require.EqualValues(t, 2, dig(h, "rollbackInfo.successfullyRolledbackInstanceCount"))
	require.EqualValues(t, 0, dig(h, "rollbackInfo.failedRolledbackInstanceCount"))
	require.NotEmpty(t, str(h, "runningStatus.endTime"))
	w.clock.Advance(24 * time.Hour)
	require.Len(t, w.all(aSet+"/osUpgradeHistory"), 1, "it is not tried again")

	w = begin(at(autoOSPath+".disableAutomaticRollback", true))
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.7.1": 8, "1.9.0": 2}, w.exact())
	require.Equal(t, "Faulted", str(w.history(), "runningStatus.code"))
}

func TestOSUpgradeStartedByHand(t *testing.T) {
	w := autoWorld(t, 5, at(autoOSOn, false))
	w.include("1.7.0", true)
	w.finished(w.do("POST", aSet+"/osRollingUpgrade", nil).want(202))
	require.Nil(t, w.history(), "nobody runs an older version")
	w.do("PATCH", anImage+"/versions/1.8.0", `{"properties":{"publishingProfile":{"targetRegions":[{"name":"westus3"},{"name":"eastus"}]}}}`).want(200)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.7.1": 5}, w.exact())
	w.do("POST", aSet+"/osRollingUpgrade", nil).want(202)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.8.0": 5}, w.exact())
	require.Equal(t, "User", str(w.history(), "startedBy"))
}

// TestOSUpgradeBringsTheExtensions: and nothing else that is pending in the model.
func TestOSUpgradeBringsTheExtensions(t *testing.T) {
	w := autoWorld(t, 1, at(autoOSOn, false))
	w.finished(w.do("DELETE", aSet+"/extensions/script", nil).want(202))
	w.finished(w.do("PATCH", aSet, `{"sku":{"name":"Standard_D4as_v5"}}`).want(200))
	w.do("PATCH", anImage+"/versions/1.8.0", `{"properties":{"publishingProfile":{"targetRegions":[{"name":"westus3"},{"name":"eastus"}]}}}`).want(200)
	w.clock.Advance(time.Hour)
	require.Len(t, items(w.members()[0], "properties.instanceView.extensions"), 2)
	w.do("POST", aSet+"/osRollingUpgrade", nil).want(202)
	w.clock.Advance(time.Hour)
	require.Equal(t, map[string]int{"1.8.0": 1}, w.exact())
	require.Len(t, items(w.members()[0], "properties.instanceView.extensions"), 1)
	require.Equal(t, "Standard_D2as_v5", str(w.members()[0], "properties.hardwareProfile.vmSize"))
	require.Equal(t, false, dig(w.all(aSet + "/virtualMachines")[0], "properties.latestModelApplied"))

	w.clock.Advance(58 * 24 * time.Hour)
	require.NotNil(t, w.history())
	w.clock.Advance(4 * 24 * time.Hour)
	require.Nil(t, w.history(), "it is of the last two months")
}

func TestAutoOSWithoutSurge(t *testing.T) {
	w := applied(t, images, withAutoOS)
	w.do("PUT", aSet, model(t, 0, rollingMode(object{"maxSurge": true}), at(imagePath, object{"id": anImage}), at(autoOSOn, true))).refused(409, "OperationNotAllowed")
}
