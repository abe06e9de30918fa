package arm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const thing = group + "/providers/Microsoft.Example/things/one"

func TestUnknownTypeIsKept(t *testing.T) {
	w := newWorld(t)
	put := w.do("PUT", thing, `{"location":"eastus","properties":{"n":1.50,"big":12345678901234567890,"deep":{"list":[1,null,"x"]}},"odd":true}`).want(201)
	got := w.get(group + "/PROVIDERS/microsoft.example/THINGS/One").want(200)
	require.Equal(t, put.raw, got.raw)
	require.Contains(t, got.raw, `"n":1.50`)
	require.Contains(t, got.raw, `"big":12345678901234567890`)
	require.JSONEq(t, `{"id":"`+thing+`","name":"one","type":"Microsoft.Example/things","location":"eastus",
		"properties":{"n":1.50,"big":12345678901234567890,"deep":{"list":[1,null,"x"]}},"odd":true}`, got.raw)
	w.do("PATCH", thing, `{"properties":{"deep":null,"more":2}}`).want(200)
	got = w.get(thing).want(200)
	require.Equal(t, []string{"big", "more", "n"}, slices.Sorted(keysOf(got.body["properties"].(object))))
	require.Len(t, w.get(group + "/providers/Microsoft.Example/things").want(200).body["value"], 1)
	w.do("DELETE", thing, nil).want(200)
	w.do("DELETE", thing, nil).want(204)
	message := w.get(thing).refused(404, "ResourceNotFound")
	require.Contains(t, message, "The Resource 'Microsoft.Example/things/one' under resource group 'rg-pay-prod' was not found.")
}

func keysOf(o object) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range o {
			if !yield(k) {
				return
			}
		}
	}
}

// TestSpelling: ids come back as they were first written, with the fixed words and
// the types in Azure's spelling.
func TestSpelling(t *testing.T) {
	w := newWorld(t)
	put := w.do("PUT", strings.ToLower(group)+"/providers/microsoft.managedidentity/USERASSIGNEDIDENTITIES/id-Aib", `{"location":"eastus"}`).want(201)
	require.Equal(t, group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-Aib", put.body["id"])
	require.Equal(t, "Microsoft.ManagedIdentity/userAssignedIdentities", put.body["type"])
	again := w.do("PUT", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ID-AIB", `{"location":"eastus"}`).want(200)
	require.Equal(t, put.body["id"], again.body["id"])
}

func TestWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	sub := "/subscriptions/" + DefaultSubscription
	for name, tt := range map[string]struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		"another subscription":    {"GET", "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/x", nil, 404, "SubscriptionNotFound"},
		"no group":                {"PUT", sub + "/resourceGroups/rg-other/providers/A.B/c/d", `{}`, 404, "ResourceGroupNotFound"},
		"no group to read":        {"GET", sub + "/resourceGroups/rg-other", nil, 404, "ResourceGroupNotFound"},
		"no group to delete":      {"DELETE", sub + "/resourceGroups/rg-other", nil, 404, "ResourceGroupNotFound"},
		"no parent":               {"PUT", thing + "/parts/p", `{}`, 404, "ParentResourceNotFound"},
		"no parent to list":       {"GET", thing + "/parts", nil, 404, "ResourceNotFound"},
		"nothing to patch":        {"PATCH", thing, `{}`, 404, "ResourceNotFound"},
		"no body":                 {"PUT", thing, nil, 400, "InvalidRequestContent"},
		"an array":                {"PUT", thing, `[]`, 400, "InvalidRequestContent"},
		"half a body":             {"PUT", thing, `{"a":`, 400, "InvalidRequestContent"},
		"two bodies":              {"PUT", thing, `{}{}`, 400, "InvalidRequestContent"},
		"an action":               {"POST", thing + "/restart", `{}`, 501, "NotSimulated"},
		"an action of no type":    {"POST", sub + "/providers/Microsoft.Compute/odd", `{}`, 501, "NotSimulated"},
		"what is computed":        {"GET", sub + "/providers/Microsoft.Compute/locations/eastus/vmSizes", nil, 501, "NotSimulated"},
		"a list that is computed": {"GET", sub + "/providers/Microsoft.Compute/skus", nil, 501, "NotSimulated"},
		"a put of a list":         {"PUT", group + "/providers/A.B/c", `{}`, 501, "NotSimulated"},
		"management groups":       {"GET", "/providers/Microsoft.Management/managementGroups/x", nil, 501, "NotSimulated"},
		"nothing at all":          {"GET", "/", nil, 400, "InvalidRequestUri"},
		"an odd method":           {"PURGE", thing, nil, 501, "NotSimulated"},
		"an empty segment":        {"GET", sub + "//x", nil, 400, "InvalidRequestUri"},
		"a hidden slash":          {"GET", group + "/providers/A.B/c/d%2Fe", nil, 400, "InvalidRequestUri"},
		"a long path":             {"GET", sub + strings.Repeat("/a", 50), nil, 400, "InvalidRequestUri"},
		"an odd version":          {"GET", thing + "?api-version=latest", nil, 400, "InvalidApiVersionParameter"},
		"an odd skip token":       {"GET", group + "/providers/A.B/c?$skiptoken=%2B%2B", nil, 400, "InvalidSkipToken"},
		"an odd page size":        {"GET", group + "/providers/A.B/c?$top=ten", nil, 400, "InvalidParameter"},
		"no page size":            {"GET", group + "/providers/A.B/c?$top=0", nil, 400, "InvalidParameter"},
		"a filter of no meaning":  {"GET", group + "/providers/A.B/c?$filter=x%20eq%201", nil, 501, "NotSimulated"},
		"a line break in a name":  {"PUT", group + "/providers/A.B/c/d%0Ae", `{}`, 400, "InvalidRequestUri"},
		"a name that is no text":  {"PUT", group + "/providers/A.B/c/%FF", `{}`, 400, "InvalidRequestUri"},
		"an odd location":         {"PUT", sub + "/resourceGroups/rg-other", `{"location":"a/b?c#"}`, 400, "LocationNotAvailableForResourceType"},
		"an odd gallery location": {"PUT", group + "/providers/Microsoft.Compute/galleries/galProd", `{"location":"east/us"}`, 400, "LocationNotAvailableForResourceType"},
		"no location":             {"PUT", sub + "/resourceGroups/rg-other", `{}`, 400, "LocationRequired"},
		"the group's location":    {"PUT", group, `{"location":"westus"}`, 409, "InvalidResourceGroupLocation"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.do(tt.method, tt.path, tt.body)
			r.t = t
			message := r.refused(tt.status, tt.code)
			if tt.status == http.StatusNotImplemented {
				require.Contains(t, message, "fleetsim")
			}
			require.Equal(t, tt.code, r.header.Get("x-ms-error-code"))
		})
	}
	w.do("HEAD", sub+"/resourceGroups/rg-other", nil).want(404)
	w.do("HEAD", group, nil).want(204)
	resp, err := http.Get(w.url + thing)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 400, resp.StatusCode, "without an api-version")
}

func TestMediaTypeAndSize(t *testing.T) {
	w := newWorld(t)
	w.do("PUT", thing, `{}`, "Content-Type", "text/plain").refused(415, "UnsupportedMediaType")
	w.do("PUT", thing, `{}`, "Content-Type", "application/json; charset=utf-8").want(201)
	w.do("PATCH", thing, `{}`, "Content-Type", "application/merge-patch+json").want(200)
	w.do("PUT", thing, `{"x":"`+strings.Repeat("x", maxBody)+`"}`).refused(413, "RequestEntityTooLarge")
}

func TestETags(t *testing.T) {
	w := newWorld(t)
	w.do("PUT", thing, `{"n":1}`, "If-Match", "*").refused(412, "PreconditionFailed")
	first := w.do("PUT", thing, `{"n":1}`, "If-None-Match", "*").want(201).header.Get("ETag")
	require.NotEmpty(t, first)
	w.do("PUT", thing, `{"n":2}`, "If-None-Match", "*").refused(412, "PreconditionFailed")
	require.Equal(t, first, w.get(thing).header.Get("ETag"), "what was refused changed nothing")
	w.get(thing, "If-None-Match", first).want(304)
	require.Equal(t, first, w.do("HEAD", thing, nil).want(204).header.Get("ETag"))
	second := w.do("PATCH", thing, `{"n":2}`, "If-Match", first).want(200).header.Get("ETag")
	require.NotEqual(t, first, second)
	w.do("PATCH", thing, `{"n":3}`, "If-Match", first).refused(412, "PreconditionFailed")
	w.do("DELETE", thing, nil, "If-Match", first).refused(412, "PreconditionFailed")
	w.do("DELETE", thing, nil, "If-Match", strings.Trim(second, `"`)).want(200)
}

func TestPaging(t *testing.T) {
	for _, size := range []int{1, 2, 3, 50} {
		w := newWorld(t, func(c *Config) { c.PageSize = size })
		for i := range 5 {
			w.do("PUT", fmt.Sprintf("%s/providers/Microsoft.Example/things/t%d", group, i), `{"location":"eastus"}`).want(201)
		}
		var names []string
		pages := 0
		for next := group + "/providers/Microsoft.Example/things?$expand=x"; next != ""; pages++ {
			page := w.get(next).want(200)
			require.LessOrEqual(t, len(items(page.body, "value")), size)
			for _, o := range items(page.body, "value") {
				names = append(names, str(o, "name"))
			}
			next = str(page.body, "nextLink")
			require.NotContains(t, next, "t4", "the token is opaque")
			if pages == 0 { // what comes and goes between pages moves nothing
				w.do("PUT", group+"/providers/Microsoft.Example/things/t00", `{"location":"eastus"}`)
				w.do("DELETE", group+"/providers/Microsoft.Example/things/t0", nil)
			}
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "t00" })
		require.Equal(t, []string{"t0", "t1", "t2", "t3", "t4"}, names)
	}
}

func TestGenericLists(t *testing.T) {
	w := newWorld(t)
	sub := "/subscriptions/" + DefaultSubscription
	w.do("PUT", thing, `{"location":"East US","tags":{"owner":"payments"},"properties":{"secret":1}}`).want(201)
	w.do("PUT", group+"/providers/Microsoft.Example/others/two", `{"location":"westus3"}`).want(201)
	w.do("PUT", sub+"/resourceGroups/rg-pay-test", `{"location":"eastus"}`).want(201)
	list := func(path string) (names []string) {
		for _, o := range items(w.get(path).want(200).body, "value") {
			names = append(names, str(o, "name"))
		}
		return names
	}
	require.Equal(t, []string{"two", "one"}, list(sub+"/resources"))
	require.Equal(t, []string{"two", "one"}, list(group+"/resources"))
	require.Equal(t, []string{"two"}, list(group+"/resources?$top=1"))
	require.Empty(t, list(sub+"/resourceGroups/rg-pay-test/resources"))
	require.Equal(t, []string{"one"}, list(sub+"/resources?$filter=resourceType%20eq%20'microsoft.example/THINGS'"))
	require.Equal(t, []string{"two"}, list(sub+"/resources?$filter=location%20eq%20'westus3'%20and%20name%20eq%20'two'"))
	w.get(sub+"/resources?$filter=tagName%20eq%20'owner'").refused(400, "InvalidFilterInQueryString")
	w.get(sub+"/resources?$filter=nonsense").refused(400, "InvalidFilterInQueryString")
	require.Equal(t, []string{"rg-pay-prod", "rg-pay-test"}, list(sub+"/resourcegroups"))
	require.NotContains(t, w.get(sub+"/resources").raw, "secret")

	require.Equal(t, DefaultSubscription, str(items(w.get("/subscriptions").body, "value")[0], "subscriptionId"))
	require.Equal(t, "Enabled", str(w.get(sub).body, "state"))
	require.NotEmpty(t, items(w.get(sub+"/locations").body, "value"))

	w.finished(w.do("DELETE", group, nil).want(202))
	w.get(thing).refused(404, "ResourceGroupNotFound")
	require.Empty(t, list(sub+"/resources"))
}

func TestProviders(t *testing.T) {
	w := newWorld(t)
	path := "/subscriptions/" + DefaultSubscription + "/providers"
	require.Equal(t, "Registered", str(w.get(path+"/microsoft.compute").body, "registrationState"))
	w.do("POST", path+"/Microsoft.KeyVault/unregister", nil).want(200)
	require.Equal(t, "Unregistering", str(w.get(path+"/Microsoft.KeyVault").body, "registrationState"))
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, "NotRegistered", str(w.get(path+"/Microsoft.KeyVault").body, "registrationState"))
	states := map[string]string{}
	for _, p := range items(w.get(path).body, "value") {
		states[str(p, "namespace")] = str(p, "registrationState")
	}
	require.Equal(t, "NotRegistered", states["Microsoft.KeyVault"])
	require.Equal(t, "Registered", states["Microsoft.Compute"])
	require.Equal(t, "Registering", str(w.do("POST", path+"/Microsoft.KeyVault/register", nil).want(200).body, "registrationState"))
	w.do("POST", path+"/Microsoft.Compute/register", nil).want(200)
	require.Equal(t, "Registered", str(w.get(path+"/Microsoft.Compute").body, "registrationState"), "as it was")
	w.clock.Advance(2 * time.Minute)
	require.Equal(t, "Registered", str(w.get(path+"/Microsoft.KeyVault").body, "registrationState"))
}

func TestOperations(t *testing.T) {
	w := newWorld(t)
	put := w.do("PUT", galProd, `{"location":"eastus"}`).want(201)
	require.Empty(t, put.header.Get("Location"), "a 201 is followed by Azure-AsyncOperation")
	async := put.header.Get("Azure-AsyncOperation")
	poll := w.get(async).want(200)
	require.Equal(t, "InProgress", str(poll.body, "status"))
	require.NotEmpty(t, poll.header.Get("Retry-After"))
	require.Equal(t, "Creating", str(w.get(galProd).body, "properties.provisioningState"))
	w.finished(put)
	poll = w.get(async).want(200)
	require.Equal(t, "2026-11-02T09:00:05.0000000+00:00", str(poll.body, "endTime"), "it ends at its own instant")
	require.Equal(t, "Succeeded", str(w.get(galProd).body, "properties.provisioningState"))

	deleted := w.do("DELETE", galProd, nil).want(202)
	at := deleted.header.Get("Location")
	w.get(at).want(202)
	require.Equal(t, "Deleting", str(w.get(galProd).body, "properties.provisioningState"))
	w.clock.Advance(time.Minute)
	w.get(at).want(204)
	w.get(galProd).refused(404, "ResourceNotFound")
	w.get(strings.Replace(async, "/operations/", "/operations/x", 1)).refused(404, "NotFound")
}

func TestDeletePreempts(t *testing.T) {
	w := newWorld(t)
	put := w.do("PUT", galProd, `{"location":"eastus"}`).want(201)
	w.do("PUT", galProd, `{"location":"eastus"}`).refused(409, "Conflict")
	w.finished(w.do("DELETE", galProd, nil).want(202))
	poll := w.get(put.header.Get("Azure-AsyncOperation")).want(200)
	require.Equal(t, "Canceled", str(poll.body, "status"))
	require.Equal(t, "OperationPreempted", str(poll.body, "error.code"))
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	r := w.do("PUT", thing, `{}`, "x-ms-client-request-id", "c1", "x-ms-return-client-request-id", "true", "x-ms-correlation-request-id", "c2").want(201)
	require.NotEmpty(t, r.header.Get("x-ms-request-id"))
	require.Equal(t, "c2", r.header.Get("x-ms-correlation-request-id"))
	require.Equal(t, "c1", r.header.Get("x-ms-client-request-id"))
	require.NotEmpty(t, r.header.Get("x-ms-ratelimit-remaining-subscription-writes"))
	other := w.get(thing).want(200)
	require.NotEqual(t, r.header.Get("x-ms-request-id"), other.header.Get("x-ms-request-id"))
	require.Equal(t, other.header.Get("x-ms-request-id"), other.header.Get("x-ms-correlation-request-id"))
	require.NotEmpty(t, other.header.Get("x-ms-ratelimit-remaining-subscription-reads"))
	require.Equal(t, "application/json; charset=utf-8", other.header.Get("Content-Type"))
}

func TestRequestLog(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(c *Config) { c.RequestLog = &log })
	w.do("PUT", thing, `{}`, "x-ms-client-request-id", "c1", "Authorization", "Bearer secret").want(201)
	w.get(thing + "x").want(404)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 3)
	var q Request
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &q))
	require.Equal(t, Request{Time: epoch, Method: "PUT", Path: thing, Query: "api-version=2026-04-01", Status: 201, ClientID: "c1", Size: 2}, q)
	require.NotContains(t, log.String(), "secret")
	require.Len(t, w.server.Requests(), 3)
	require.Contains(t, w.server.Counts(), Count{Method: "GET", What: "Microsoft.Example/things", Status: 404, Count: 1})
}

// TestRollback: what a kind's function did before it failed is undone.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.server.kinds["microsoft.example/things"] = &kind{name: "Microsoft.Example/things", stored: func(tx *txn, c *write, _ *resource) error {
		tx.delete(group)
		tx.put(resource{ID: thing + "/parts/p", Type: "Microsoft.Example/things/parts", Body: object{}})
		tx.schedule(tx.now, "Microsoft.Example/things", c.ID, "never", nil)
		tx.editHidden(galProd, func(hidden object) { hidden["x"] = true })
		return conflict("Refused", "no")
	}}
	w.finished(w.do("PUT", galProd, `{"location":"eastus"}`).want(201))
	before, err := json.Marshal(w.server.store.Resources)
	require.NoError(t, err)
	keys := slices.Clone(w.server.store.keys)
	w.do("PUT", thing, `{}`).refused(409, "Refused")
	require.Equal(t, keys, w.server.store.keys)
	after, err := json.Marshal(w.server.store.Resources)
	require.NoError(t, err)
	require.JSONEq(t, string(before), string(after))
	require.Empty(t, w.server.store.Agenda)
}

// TestSettleInOrder: what is due happens at its own instant, in order, and what
// follows from it as well.
func TestSettleInOrder(t *testing.T) {
	w := newWorld(t)
	var seen []string
	note := func(tx *txn, id string, args object) {
		seen = append(seen, id+" "+tx.now.Sub(epoch).String())
		if n, _ := integer(args, "n"); n > 0 {
			tx.schedule(tx.now.Add(time.Minute), "Microsoft.Example/things", id, "tick", object{"n": whole(n - 1)})
		}
	}
	w.server.kinds["microsoft.example/things"] = &kind{name: "Microsoft.Example/things", transitions: map[string]transition{"tick": note}}
	require.NoError(t, w.server.within(func(tx *txn) error {
		tx.schedule(tx.now.Add(90*time.Second), "Microsoft.Example/things", "b", "tick", nil)
		tx.schedule(tx.now.Add(time.Minute), "Microsoft.Example/things", "a", "tick", object{"n": whole(2)})
		tx.schedule(tx.now.Add(time.Minute), "Microsoft.Example/things", "c", "tick", nil)
		tx.schedule(tx.now.Add(time.Hour), "Microsoft.Example/things", "gone", "tick", nil)
		tx.unschedule("gone", "tick")
		return nil
	}))
	require.Empty(t, seen)
	w.server.Advance(24 * time.Hour)
	require.Equal(t, []string{"a 1m0s", "c 1m0s", "b 1m30s", "a 2m0s", "a 3m0s"}, seen)
}

// TestManyAtOnce: requests that come at the same time are answered one after another,
// each as if it were alone.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	const clients, writes = 8, 10
	done := make(chan error, clients)
	for client := range clients {
		go func() {
			for i := range writes {
				r := httptest.NewRequest(http.MethodPut, fmt.Sprintf("%s/providers/Microsoft.Example/things/c%dw%d?api-version=2026-04-01", group, client, i), strings.NewReader(`{}`))
				r.Header.Set("Content-Type", "application/json")
				got := httptest.NewRecorder()
				w.server.ServeHTTP(got, r)
				if got.Code != http.StatusCreated {
					done <- fmt.Errorf("status %d: %s", got.Code, got.Body)
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		require.NoError(t, <-done)
	}
	etags := map[string]bool{}
	for _, r := range w.server.store.within(group, "Microsoft.Example/things") {
		etags[r.ETag] = true
	}
	require.Len(t, etags, clients*writes, "each write has an ETag of its own")
}

func TestClockHeader(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, epoch.Format(time.RFC3339Nano)+" 0", w.get(group).want(200).header.Get(ClockHeader))
	w.clock.Advance(90 * time.Second)
	w.clock.SetFactor(0.5)
	told := w.get(group + "/providers/" + setType + "/none").want(404).header.Get(ClockHeader)
	require.Regexp(t, `^2026-11-02T09:0\S+Z 0\.5$`, told, "an error has it, too")
}
