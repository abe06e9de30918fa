package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aFleet is a set with autoscale between 2 and 6, and a load.
const aFleet = images + `
scale_sets:
  - name: vmss-authz
    image: galProd/ubuntu-app/1.7.1
    health: {version: "2.0", protocol: http, port: 8080, path: /healthz}
    members: [{count: 3}]
autoscale:
  - name: autoscale-authz
    scale_set: vmss-authz
    min: 2
    max: 6
    default: 3
    rules:
      - {above: 70, over: 5m, by: 2, cooldown: 5m}
      - {below: 30, over: 10m, by: 1, cooldown: 10m}
load:
`

func (w *world) capacity() int {
	w.Helper()
	return capacityOf(w.get(aSet).want(200).body)
}

func TestAutoscaleFollowsALoad(t *testing.T) {
	w := applied(t, aFleet+"  - {scale_set: vmss-authz, cpu: 50}\n  - {scale_set: vmss-authz, at: 1h, cpu: 90}\n  - {scale_set: vmss-authz, at: 2h, cpu: 10}\n")
	w.clock.Advance(time.Hour)
	require.Equal(t, 3, w.capacity())
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, 3, w.capacity(), "the mean of five minutes is 66")
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, 5, w.capacity())
	w.clock.Advance(3 * time.Minute)
	require.Equal(t, 5, w.capacity(), "it cools down")
	w.clock.Advance(4 * time.Minute)
	require.Equal(t, 6, w.capacity(), "the maximum")
	require.Len(t, w.members(), 6)
	w.clock.Advance(49 * time.Minute) // 2 h
	require.Equal(t, 6, w.capacity())
	w.clock.Advance(9 * time.Minute)
	require.Equal(t, 5, w.capacity(), "the mean of ten minutes is below 30")
	w.clock.Advance(2 * time.Hour)
	require.Equal(t, 2, w.capacity(), "the minimum")
	require.Len(t, w.members(), 2)
	require.Equal(t, autoscaler+" virtualMachines/delete", w.did("virtualMachines")[0])
	require.Equal(t, autoscaler+" AutoscaleSettings/Scaledown/Action", w.did("autoscalesettings")[0])
	require.LessOrEqual(t, w.server.store.Agenda.Len(), 5, "nothing goes on for ever")
}

func TestAutoscaleKeepsItsBounds(t *testing.T) {
	w := applied(t, aFleet+"  - {scale_set: vmss-authz, cpu: 50}\n  - {scale_set: vmss-authz, at: 10h}\n")
	w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":9}}`).want(200))
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, 6, w.capacity())
	w.finished(w.do("PATCH", aSet, `{"sku":{"capacity":1}}`).want(200))
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, 2, w.capacity())
	w.clock.Advance(10*time.Hour + 20*time.Minute)
	require.Equal(t, 3, w.capacity(), "without a metric it is the default, when there are fewer")
}

func TestSpotReclaims(t *testing.T) {
	w := applied(t, images+`
scale_sets:
  - name: vmss-authz
    image: galProd/ubuntu-app/1.7.1
    health: {version: "2.0", protocol: http, port: 8080, path: /healthz}
    spot: {eviction: Deallocate, regular_base: 2, regular_above_base: 0, restore: 40m}
    members: [{count: 6}]
reclaims:
  - {scale_set: vmss-authz, at: 10m, count: 3}
`, func(c *Config) {
		c.Rules.Machines.Capacity = []CapacityRule{{Code: "AllocationFailed", For: 30 * time.Minute}}
	})
	w.clock.Advance(10 * time.Minute)
	machines := 0
	require.NoError(t, w.server.within(func(tx *txn) error {
		for _, m := range tx.members(aSet) {
			if str(m.Hidden, "event.type") == eventPreempt {
				machines++
			}
		}
		return nil
	}))
	require.Equal(t, 3, machines, "they are told before")
	w.clock.Advance(evictTime)
	require.Equal(t, map[string]int{"deallocated ": 3, "running HealthState/healthy": 3}, states(w.members()))
	require.Equal(t, platform+" virtualMachines/evictSpotVM/action", w.did("virtualMachines")[0])
	require.Equal(t, 6, w.capacity(), "they count")
	w.clock.Advance(restoreEvery)
	require.Equal(t, 3, states(w.members())["deallocated "])
	w.clock.Advance(restoreEvery + 2*time.Minute)
	require.Equal(t, map[string]int{"running HealthState/healthy": 6}, states(w.members()), "there is room again")
}
