package arm

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// happens tells the control API what happens, and returns what it answers.
func (w *world) happens(body string) (status int, text string) {
	w.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(w.Context(), http.MethodPost, "http://127.0.0.1/v1/happen", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w.server.Control().ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

func TestHappen(t *testing.T) {
	w := upgradeWorld(t, 2, func(o object) {
		set(o, "properties.virtualMachineProfile.priority", "Spot")
		set(o, "properties.virtualMachineProfile.evictionPolicy", "Deallocate")
		remove(o, "properties.virtualMachineProfile.scheduledEventsProfile")
	})
	status, text := w.happens(`{"scale_set": "VMSS-AUTHZ", "reclaim": 1}`)
	require.Equal(t, http.StatusNoContent, status, text)
	w.clock.Advance(time.Minute)
	require.Equal(t, map[string]int{"running HealthState/healthy": 1, "deallocated ": 1}, states(w.members()))

	status, text = w.happens(`{"scale_set": "vmss-authz", "load": 90}`)
	require.Equal(t, http.StatusNoContent, status, text)
	require.NotNil(t, w.server.store.Resources[key(aSet)].Hidden["load"])

	status, text = w.happens(`{"scale_set": "vmss-authz", "platform_upgrade": "5m"}`)
	require.Equal(t, http.StatusNoContent, status, text)
	w.do("PATCH", aSet, to(older)).refused(409, "OperationNotAllowed")
	w.clock.Advance(5 * time.Minute)
	w.do("PATCH", aSet, to(older)).want(200)
}

// TestHappenIsOfTheState: what the platform was told to do it goes on with after a crash;
// told again it does it once, for the new time, and only to that set.
func TestHappenIsOfTheState(t *testing.T) {
	dir := t.TempDir()
	w := applied(t, images, func(c *Config) { c.State = dir })
	w.put(model(t, 1))
	w.do("PUT", aSet+"2", model(t, 0)).want(201)
	for _, span := range []string{"1h", "5m"} {
		status, text := w.happens(`{"scale_set": "vmss-authz", "platform_upgrade": "` + span + `"}`)
		require.Equal(t, http.StatusNoContent, status, text)
	}
	w = w.restarted(dir, false)
	w.do("PATCH", aSet, `{"tags":{"a":"b"}}`).refused(409, "OperationNotAllowed")
	w.do("PATCH", aSet+"2", `{"tags":{"a":"b"}}`).want(200)
	w.server.Advance(5 * time.Minute)
	w.do("PATCH", aSet, `{"tags":{"a":"b"}}`).want(200)
}

func TestHappenRefuses(t *testing.T) {
	w := upgradeWorld(t, 1)
	for body, why := range map[string]string{
		`{"scale_set": "vmss-authz"}`:                              "one of load",
		`{"scale_set": "vmss-authz", "load": 1, "reclaim": 1}`:     "one of load",
		`{"scale_set": "vmss-authz", "load": 101}`:                 "0 to 100",
		`{"scale_set": "vmss-authz", "reclaim": -1}`:               "negative",
		`{"scale_set": "vmss-authz", "platform_upgrade": "-1m"}`:   "negative",
		`{"scale_set": "vmss-none", "reclaim": 1}`:                 "no scale set",
		`{"scale_set": "vmss-authz", "reclaim": 1, "odd": "true"}`: "odd",
	} {
		status, text := w.happens(body)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, text, why, body)
	}
}
