package arm

import (
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// events reads the activity log with a filter.
func (w *world) events(filter string) []object {
	w.Helper()
	return w.all("/subscriptions/" + DefaultSubscription + "/providers/microsoft.insights/eventtypes/management/values?api-version=2015-04-01&$filter=" + url.QueryEscape(filter))
}

const sinceEpoch = "eventTimestamp ge '2026-11-02T09:00:00Z'"

// did is who did what to resources of a type, the newest first.
func (w *world) did(typ string) (list []string) {
	w.Helper()
	for _, e := range w.events(sinceEpoch + " and resourceGroupName eq 'RG-PAY-PROD'") {
		if strings.HasSuffix(strings.ToLower(str(e, "resourceType.value")), "/"+strings.ToLower(typ)) {
			_, operation, _ := strings.Cut(str(e, "operationName.value"), "/")
			list = append(list, str(e, "caller")+" "+operation)
		}
	}
	return list
}

func TestActivityLog(t *testing.T) {
	w := upgradeWorld(t, 2)
	me := guid("principal", "caller")
	require.Equal(t, []string{me + " virtualMachines/write", me + " virtualMachines/write"}, w.did("virtualMachines"), "births")
	w.finished(w.do("PATCH", aSet, to(older)).want(200))
	upgrade := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202)
	w.do("PATCH", aSet, `{"sku":{"capacity":5000}}`).want(400)
	of := sinceEpoch + " and resourceUri eq '" + aSet + "'"
	require.Len(t, w.events(of), 5, "what was refused is not there")
	w.finished(upgrade)
	list := w.events(of)
	e := list[0]
	require.Equal(t, []string{setType + "/manualupgrade/action", "Succeeded", me, aSet, "rg-pay-prod", "Administrative", "Microsoft.Compute"}, []string{
		str(e, "operationName.value"), str(e, "status.value"), str(e, "caller"), str(e, "resourceId"), str(e, "resourceGroupName"),
		str(e, "category.value"), str(e, "resourceProviderName.value"),
	})
	require.Equal(t, "Accepted", str(list[1], "status.value"))
	at, err := time.Parse(time.RFC3339Nano, str(e, "eventTimestamp"))
	require.NoError(t, err)
	require.False(t, at.Before(epoch))
	require.Empty(t, w.events("eventTimestamp ge '"+stamp(at.Add(time.Second))+"'"))
	require.NotEmpty(t, w.events(sinceEpoch+" and eventTimestamp le '"+stamp(at.Add(-time.Second))+"' and resourceProvider eq 'Microsoft.Compute'"))

	w.do("PATCH", aSet, to("1.8.0")).want(200)
	failing := w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).want(202)
	w.clock.Advance(upgradeTime)
	w.get(failing.header.Get("Azure-AsyncOperation")).want(200)
	e = w.events(of)[0]
	require.Equal(t, []string{"Failed", "Error"}, []string{str(e, "status.value"), str(e, "level")})
	require.Contains(t, str(e, "properties.statusMessage"), "GalleryImageNotFound")

	for _, filter := range []string{"", "resourceUri eq '" + aSet + "'", "eventTimestamp ge 'today'", sinceEpoch + " and level eq 'Error'", "eventTimestamp ge"} {
		w.get("/subscriptions/"+DefaultSubscription+"/providers/Microsoft.Insights/eventtypes/management/values?$filter="+url.QueryEscape(filter)).refused(400, "BadRequest")
	}
}

// TestActivityLogNamesPeople: whose token has a name is called by it, programs by their
// object ids.
func TestActivityLogNamesPeople(t *testing.T) {
	w := newWorld(t)
	const oid = "33333333-3333-4333-a333-333333333333"
	for upn, want := range map[string]string{"ops@example.com": "ops@example.com", "": oid, "ops@example.com\nMicrosoft.Compute": oid} {
		w.do("PUT", group, `{"location":"eastus"}`, "Authorization", "Bearer "+jwt(object{"oid": oid, "upn": upn})).want(200)
		require.Equal(t, want, str(w.events(sinceEpoch)[0], "caller"))
	}
}

func TestActivityLogHasPagesAndABound(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PageSize = 2 })
	for range 3 {
		w.do("PUT", group, `{"location":"eastus"}`).want(200)
	}
	require.Len(t, w.events(sinceEpoch), 4)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, w.server.within(func(tx *txn) error {
		for range maxEvents {
			tx.note(event{Operation: vmType + "/write", Caller: platform, Resource: vms + "/vm-1"})
		}
		return nil
	}))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "an entry copies the log")
	require.LessOrEqual(t, len(w.server.store.Events), maxEvents)
	require.Equal(t, vmType+"/write", w.server.store.Events[len(w.server.store.Events)-1].Operation)
}

func TestPlatformUpgradeBlocksWrites(t *testing.T) {
	w := applied(t, images, func(c *Config) {
		c.Rules.Platform.Upgrades = []UpgradeWindow{{Set: "vmss-*", After: time.Hour, For: 10 * time.Minute}}
	})
	w.finished(w.do("PUT", aSet, model(t, 1)).want(201))
	name := w.names()[0]
	writes := func() map[string]int {
		return map[string]int{
			"PATCH " + aSet: w.do("PATCH", aSet, `{"tags":{}}`).status,
			"POST " + aSet:  w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["*"]}`).status,
			"member":        w.do("POST", vms+"/"+name+"/restart", nil).status,
			"extension":     w.do("DELETE", aSet+"/extensions/script", nil).status,
			"instance":      w.do("POST", aSet+"/virtualMachines/"+name+"/restart", nil).status,
		}
	}
	w.clock.Advance(time.Hour)
	for what, status := range writes() {
		require.Equal(t, 409, status, what)
	}
	w.do("PATCH", aSet, `{"tags":{}}`).refused(409, "OperationNotAllowed")
	w.get(aSet).want(200)
	w.do("PUT", group, `{"location":"eastus"}`).want(200)
	w.clock.Advance(10 * time.Minute)
	for what, status := range writes() {
		require.Less(t, status, 300, what)
	}
}
