package arm

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// raw makes a request and returns what came, whatever it is.
func (w *world) raw(method, path string) (status int, header http.Header, body string, err error) {
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+path+"?api-version=2026-04-01", http.NoBody)
	require.NoError(w, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(data), err
}

func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  Fault
		status int    // 0: no answer
		body   string // part of it
	}{
		"error":          {Fault{Kind: FaultError, Status: 403, Message: "does not have authorization to perform action 'x'"}, 403, `"code":"AuthorizationFailed"`},
		"internal error": {Fault{Kind: FaultError}, 500, `"code":"InternalExecutionError"`},
		"throttle":       {Fault{Kind: FaultThrottle}, 429, `"target":"HighCostGetVMScaleSet30Min"`},
		"reset":          {Fault{Kind: FaultReset}, 0, ""},
		"lost":           {Fault{Kind: FaultLost}, 0, ""},
		"hang":           {Fault{Kind: FaultHang, For: time.Millisecond}, 0, ""},
		"html":           {Fault{Kind: FaultHTML}, 502, "<!DOCTYPE html>"},
		"html and 200":   {Fault{Kind: FaultHTML, Status: 200}, 200, "<!DOCTYPE html>"},
		"delay":          {Fault{Kind: FaultDelay, Delay: time.Millisecond}, 200, `"rg-pay-prod"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.fault.Count, tt.fault.Path, tt.fault.Method = 1, "/RESOURCEGROUPS/rg-pay", "get"
			require.NoError(t, w.server.SetFault(tt.fault))
			w.do("HEAD", group, nil).want(204) // another method
			w.get("/subscriptions").want(200)  // another path
			require.Len(t, w.server.Faults(), 1)
			status, _, body, err := w.raw("GET", group)
			require.Equal(t, tt.status, status)
			require.Equal(t, tt.status == 0, err != nil, err)
			require.Contains(t, body, tt.body)
			require.Empty(t, w.server.Faults())
			w.get(group).want(200)
		})
	}
}

func TestTruncatedAndEmpty(t *testing.T) {
	w := newWorld(t)
	whole := w.get(group).want(200).raw
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultTruncated, Count: 1}))
	_, _, body, err := w.raw("GET", group)
	require.NoError(t, err)
	require.Equal(t, whole[:len(whole)/2], body)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultEmpty, Count: 1}))
	status, _, body, err := w.raw("GET", group)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Empty(t, body)
}

func TestHugeAnswer(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultHuge, Count: 1}))
	resp, err := http.Get(w.url + group)
	require.NoError(t, err)
	n, err := io.CopyN(io.Discard, resp.Body, 8<<20)
	require.NoError(t, err)
	require.Equal(t, int64(8<<20), n, "and more would come")
	require.NoError(t, resp.Body.Close())
}

// TestLostDoesItsWork: the write that nobody heard of has happened.
func TestLostDoesItsWork(t *testing.T) {
	w := newWorld(t)
	w.do("PUT", thing, `{}`).want(201)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultLost, Method: "DELETE", Count: 1}))
	_, _, _, err := w.raw("DELETE", thing)
	require.Error(t, err)
	w.get(thing).want(404)
	require.Equal(t, 0, w.server.Requests()[2].Status, "not answered")
}

func TestOperationFails(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultOperation, Path: "/galleries/", Count: 1, Code: "InternalExecutionError"}))
	put := w.do("PUT", galProd, `{"location":"eastus"}`).want(201)
	w.clock.Advance(time.Minute)
	poll := w.get(put.header.Get("Azure-AsyncOperation")).want(200)
	require.Equal(t, "Failed", str(poll.body, "status"))
	require.Equal(t, "InternalExecutionError", str(poll.body, "error.code"))
	require.Equal(t, "Failed", str(w.get(galProd).body, "properties.provisioningState"))
}

// TestOperationOnMembersFails: none of them is at work for ever.
func TestOperationOnMembersFails(t *testing.T) {
	w := applied(t, images)
	w.do("PUT", aSet, model(t, 2)).want(201)
	w.clock.Advance(time.Minute)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultOperation, Path: "/manualupgrade", Count: 1, Code: "InternalExecutionError"}))
	members := w.all(aSet + "/virtualMachines")
	require.Len(t, members, 2)
	w.do("POST", aSet+"/manualupgrade", object{"instanceIds": []any{str(members[0], "name")}}).want(202)
	require.Equal(t, "Updating", str(w.all(aSet + "/virtualMachines")[0], "properties.provisioningState"))
	w.clock.Advance(2 * time.Minute)
	members = w.all(aSet + "/virtualMachines")
	require.Equal(t, "Failed", str(members[0], "properties.provisioningState"))
	require.Equal(t, "Succeeded", str(members[1], "properties.provisioningState"))
}

// TestFaultsInTime: after and for are simulated time.
func TestFaultsInTime(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultError, After: time.Hour, For: time.Hour}))
	w.get(group).want(200)
	w.clock.Advance(90 * time.Minute)
	w.get(group).want(500)
	left := w.server.Faults()
	require.Equal(t, 30*time.Minute, left[0].For)
	w.clock.Advance(30 * time.Minute)
	w.get(group).want(200)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultError}))
	w.get(group).want(500)
	w.server.ClearFaults()
	w.get(group).want(200)
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	for text, f := range map[string]Fault{
		"kind \"\" is none of":               {},
		"status 20 is not between":           {Kind: FaultError, Status: 20},
		"status is for the kinds error":      {Kind: FaultReset, Status: 500},
		"code and message are for the kinds": {Kind: FaultHTML, Code: "x"},
		"delay is missing":                   {Kind: FaultDelay},
		"are not negative":                   {Kind: FaultReset, Count: -1},
	} {
		require.ErrorContains(t, w.server.SetFault(f), text)
	}
	require.Empty(t, w.server.Faults())
}

// TestThrottling: 36 reads of a set at once, then 12 a minute, per set.
func TestThrottling(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Unthrottled = false })
	set := group + "/providers/Microsoft.Compute/virtualMachineScaleSets/none"
	var left string
	for range 36 {
		r := w.get(set).want(404)
		left = r.header.Get("x-ms-ratelimit-remaining-resource")
	}
	require.Equal(t, "Microsoft.Compute/GetVMScaleSet;0", left)
	r := w.get(set)
	r.refused(429, "OperationNotAllowed")
	require.Equal(t, "5", r.header.Get("Retry-After"))
	require.Equal(t, "TooManyRequestsReceived", str(r.body, "error.innerError.internalErrorCode"))
	detail := items(r.body, "error.details")[0]
	require.Equal(t, "TooManyRequests", str(detail, "code"))
	require.Equal(t, "GetVMScaleSet", str(detail, "target"))
	var message object
	require.NoError(t, json.Unmarshal([]byte(str(detail, "message")), &message))
	require.Equal(t, "GetVMScaleSet", message["operationGroup"])
	require.InDelta(t, 37, message["measuredRequestCount"], 0)

	w.get(set + "other").want(404) // another set
	w.get(group).want(200)         // nothing of Compute's
	w.clock.Advance(5 * time.Second)
	w.get(set).want(404)
	w.get(set).want(429)
}

func TestThrottledGroups(t *testing.T) {
	const compute = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/"
	for request, want := range map[string]string{
		"GET " + compute + "virtualMachineScaleSets/a":                              "GetVMScaleSet",
		"GET " + compute + "virtualMachineScaleSets/a/rollingUpgrades/latest":       "GetVMScaleSet",
		"GET " + compute + "virtualMachineScaleSets/a/osUpgradeHistory":             "GetVMScaleSet",
		"GET " + compute + "virtualMachineScaleSets/a/instanceView":                 "GetVMScaleSetInstanceView",
		"PATCH " + compute + "virtualMachineScaleSets/a":                            "UpdateVMScaleSet",
		"POST " + compute + "virtualMachineScaleSets/a/manualupgrade":               "UpdateVMScaleSet",
		"POST " + compute + "virtualMachineScaleSets/a/rollingUpgrades/cancel":      "UpdateVMScaleSet",
		"GET " + compute + "virtualMachines/a":                                      "GetVM GetVMSubscription",
		"GET " + compute + "virtualMachines":                                        "ListVM",
		"GET " + compute + "galleries/g":                                            "",
		"GET " + compute + "virtualMachineScaleSets":                                "",
		"GET /subscriptions/s/providers/Microsoft.Compute/locations/e/operations/o": "GetOperation",
	} {
		method, path, _ := strings.Cut(request, " ")
		target, err := parsePath(path)
		require.NoError(t, err)
		var met []string
		for _, l := range limits {
			if _, ok := l.meets(method, target); ok {
				met = append(met, l.name)
			}
		}
		require.Equal(t, want, strings.Join(met, " "), request)
	}
}

func TestControl(t *testing.T) {
	w := newWorld(t)
	control := httptest.NewServer(w.server.Control())
	defer control.Close()
	do := func(method, path string, body any) *reply { return w.do(method, control.URL+path, body) }

	do("GET", "/healthz", nil).want(204)
	require.Equal(t, "2026-11-02T09:00:00Z", do("GET", "/v1/clock", nil).want(200).body["now"])
	require.Equal(t, "2026-11-02T09:10:00Z", do("POST", "/v1/clock", `{"advance":"10m"}`).want(200).body["now"])
	require.InDelta(t, 60, do("POST", "/v1/clock", `{"factor":60}`).want(200).body["factor"], 0)
	do("POST", "/v1/clock", `{"factor":0}`).want(200)
	for _, odd := range []string{`{"factor":-1}`, `{"factor":2000}`, `{"advance":"-1s"}`, `{"advance":"9000h"}`, `{"speed":1}`, ``, `{"advance":10}`} {
		require.NotEmpty(t, do("POST", "/v1/clock", odd).want(400).body["error"], odd)
	}

	require.NotEmpty(t, w.do("POST", control.URL+"/v1/clock", `{"advance":"1h"}`, "Origin", "https://portal.example").want(403).body["error"])

	do("POST", "/v1/fault", `{"kind":"error","status":503,"path":"/things","after":"1m","count":2}`).want(204)
	faults := items(do("GET", "/v1/fault", nil).want(200).body, "faults")
	require.Equal(t, object{"kind": "error", "status": 503.0, "path": "/things", "after": "1m0s", "count": 2.0}, faults[0])
	do("POST", "/v1/fault", `{"kind":"odd"}`).want(400)
	do("DELETE", "/v1/fault", nil).want(204)
	require.Empty(t, items(do("GET", "/v1/fault", nil).body, "faults"))

	// Another tool's PATCH goes by the same rules, and no fault meets it.
	w.do("PUT", thing, `{"a":1}`).want(201)
	require.NoError(t, w.server.SetFault(Fault{Kind: FaultError}))
	require.InDelta(t, 2, do("POST", "/v1/patch", `{"id":"`+thing+`","body":{"b":2}}`).want(200).body["b"], 0)
	do("POST", "/v1/patch", `{"id":"`+thing+`x","body":{"b":2}}`).refused(404, "ResourceNotFound")
	w.server.ClearFaults()

	require.Equal(t, object{"disks": []any{}}, do("GET", "/v1/disks", nil).want(200).body)
	requests := do("GET", "/v1/requests", nil).want(200)
	require.NotEmpty(t, items(requests.body, "counts"))
	require.NotEmpty(t, items(requests.body, "requests"))
}

func TestClock(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newClock(epoch, 60, func() time.Time { return now })
	now = now.Add(time.Second)
	require.Equal(t, epoch.Add(time.Minute), c.Now())
	require.Equal(t, time.Second, c.wait(time.Minute))
	c.SetFactor(0)
	now = now.Add(time.Hour)
	require.Equal(t, epoch.Add(time.Minute), c.Now(), "it stands still")
	require.Equal(t, time.Minute, c.wait(time.Minute))
	c.Advance(-time.Hour)
	c.Advance(time.Hour)
	require.Equal(t, epoch.Add(61*time.Minute), c.Now())
	c.SetFactor(1)
	now = now.Add(time.Second)
	require.Equal(t, epoch.Add(61*time.Minute+time.Second), c.Now())
}

func TestRetryAfterInRealTime(t *testing.T) {
	at := time.Unix(1000, 0)
	w := newWorld(t, func(c *Config) { c.Clock = newClock(epoch, 100, func() time.Time { return at }) })
	r := w.do("PUT", galProd, `{"location":"eastus"}`).want(201)
	require.Equal(t, "1", r.header.Get("Retry-After"), "whole seconds, for clients that know no better")
	require.Equal(t, "50", r.header.Get("Retry-After-Ms"), "5 s until it ends")
}
