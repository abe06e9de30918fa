package arm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// disks is the record in short: what each member had, in minutes since the start of the
// world; from/ran-until.
func (w *world) disks() (list []string) {
	w.Helper()
	all, err := w.server.Disks()
	require.NoError(w, err)
	for _, d := range all {
		ran, until := "never", ""
		if !d.Ran.IsZero() {
			ran = fmt.Sprint(d.Ran.Sub(epoch).Seconds())
		}
		if !d.Until.IsZero() {
			until = fmt.Sprint(d.Until.Sub(epoch).Seconds())
		}
		require.Equal(w, aSet, d.Set)
		require.NotEmpty(w, d.VMID)
		list = append(list, fmt.Sprintf("%s %s %v/%s-%s", d.Member, d.Version, d.From.Sub(epoch).Seconds(), ran, until))
	}
	return list
}

var errAny = errors.New("any")

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	w := applied(t, images+"          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}\n", func(c *Config) { c.State = dir })
	require.Empty(t, w.disks())
	w.do("PUT", aSet, model(t, 1)).want(201)
	one := w.names()[0]
	require.Equal(t, []string{one + " 1.7.1 0/never-"}, w.disks(), "it boots")
	w.server.Advance(time.Minute)
	require.Equal(t, []string{one + " 1.7.1 0/30-"}, w.disks())

	// A refused write is not remembered, nor is one that leaves the disk as it is.
	w.do("PATCH", aSet, `{"sku":{"capacity":5000}}`).want(400)
	w.do("PATCH", aSet, to(older)).want(200)
	w.server.Advance(time.Minute)
	w.do("POST", aSet+"/reimage", nil).want(202) // its own model has a version
	w.server.Advance(2 * time.Minute)
	require.Equal(t, []string{one + " 1.7.1 0/30-"}, w.disks())

	w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202)
	w.server.Advance(time.Minute)
	upgraded := []string{one + " 1.7.1 0/30-300", one + " 1.6.2 300/300-"}
	require.Equal(t, upgraded, w.disks())

	// What is undone was not.
	require.ErrorIs(t, w.server.within(func(tx *txn) error {
		tx.delete(vms + "/" + one)
		return errAny
	}), errAny)
	require.Equal(t, upgraded, w.disks())

	// A birth that fails has a disk and never runs from it.
	w.do("PATCH", aSet, `{"sku":{"capacity":0}}`).want(200)
	w.server.Advance(time.Minute)
	w.do("PATCH", aSet, to("1.7.1")).want(200)
	w = w.restarted(dir, false)
	w.server.rules.Machines.Capacity = []CapacityRule{{Code: "AllocationFailed"}}
	w.server.limitCapacity()
	w.do("PATCH", aSet, `{"sku":{"capacity":1}}`).want(200)
	two := w.names()[0]
	w.server.Advance(time.Minute)
	upgraded[1] = one + " 1.6.2 300/300-315"
	require.Equal(t, append(upgraded, two+" 1.7.1 360/never-"), w.disks(), "also after a restart")
	w.do("DELETE", aSet, nil).want(202)
	w.server.Advance(time.Minute)
	require.Equal(t, append(upgraded, two+" 1.7.1 360/never-435"), w.disks())

	// It is bounded.
	gone := &Disk{Version: "1.7.1"}
	require.NoError(t, w.server.within(func(tx *txn) error {
		for range maxDisks {
			tx.endDisk(gone)
		}
		return nil
	}))
	all, err := w.server.Disks()
	require.NoError(t, err)
	require.Len(t, all, maxDisks/2+len(upgraded)+1)
}

// TestDisksOfAScenario: what a scenario has its members made of counts from the start.
func TestDisksOfAScenario(t *testing.T) {
	w := applied(t, images+`          - {name: 1.6.2, regions: {eastus: {}, westus3: {}}}
scale_sets:
  - {name: vmss-authz, image: galProd/ubuntu-app, members: [{name: vmss-authz_1, image: galProd/ubuntu-app/1.6.2}, {name: vmss-authz_2, power: deallocated}]}
`)
	require.Equal(t, []string{"vmss-authz_1 1.6.2 0/0-", "vmss-authz_2 1.7.1 0/never-"}, w.disks())
	w.do("POST", vms+"/vmss-authz_2/start", nil).want(202)
	w.server.Advance(time.Minute)
	require.Equal(t, "vmss-authz_2 1.7.1 0/20-", w.disks()[1])
}
