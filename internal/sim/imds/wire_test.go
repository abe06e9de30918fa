package imds

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The id of the published sample document.
const sampleID = "C7061BAC-AFDC-4513-B24B-AA5F13A16123"

// TestContract holds the fake to the published contract, one rule a request.
// testdata/contract.golden has the answers in full.
func TestContract(t *testing.T) {
	const instance = "/metadata/instance?api-version=" + latest
	ackOf := func(ids ...string) string {
		return `{"StartRequests":[{"EventId":"` + strings.Join(ids, `"},{"EventId":"`) + `"}]}`
	}
	rules := []struct {
		rule    string
		method  string
		path    string
		headers []string
		body    string
		status  int
	}{
		{"the header Metadata is needed", "GET", instance, []string{"-Metadata"}, "", 400},
		{"the header Metadata is true", "GET", instance, []string{"-Metadata", "Metadata: yes"}, "", 400},
		{"also for versions", "GET", "/metadata/versions", []string{"-Metadata"}, "", 400},
		{"also for events", "GET", eventsPath, []string{"-Metadata"}, "", 400},
		{"also for acks", "POST", eventsPath, []string{"-Metadata"}, ackOf(sampleID), 400},
		{"True is true", "GET", "/metadata/versions", []string{"-Metadata", "Metadata: True"}, "", 200},
		{"a forwarded request is refused", "GET", instance, []string{"X-Forwarded-For: 10.0.0.1"}, "", 400},
		{"a forwarded request is refused for events", "GET", eventsPath, []string{"X-Forwarded-For: 10.0.0.1"}, "", 400},

		{"the api-version is needed", "GET", "/metadata/instance", nil, "", 400},
		{"the api-version is known", "GET", "/metadata/instance?api-version=2022-01-01", nil, "", 400},
		{"latest is not a version", "GET", "/metadata/instance?api-version=latest", nil, "", 400},
		{"the api-version is needed for events", "GET", "/metadata/scheduledevents", nil, "", 400},
		{"{latest} is no longer supported", "GET", "/metadata/scheduledevents?api-version=%7Blatest%7D", nil, "", 400},
		{"events have versions of their own", "GET", "/metadata/scheduledevents?api-version=" + latest, nil, "", 400},
		{"the api-version is needed for acks", "POST", "/metadata/scheduledevents", nil, ackOf(sampleID), 400},
		{"a parameter comes once", "GET", instance + "&api-version=" + latest, nil, "", 400},
		{"any parameter comes once", "GET", eventsPath + "&x=1&x=1", nil, "", 400},
		{"other parameters are ignored", "GET", "/metadata/instance/compute/name?api-version=" + latest + "&format=text&x=1", nil, "", 200},

		{"versions need no version", "GET", "/metadata/versions", nil, "", 200},
		{"instance is for GET", "POST", instance, nil, "", 405},
		{"instance is not for HEAD", "HEAD", instance, nil, "", 405},
		{"versions are for GET", "PUT", "/metadata/versions", nil, "", 405},
		{"events are for GET and POST", "DELETE", eventsPath, nil, "", 405},
		{"the root is not there", "GET", "/metadata", nil, "", 404},
		{"nothing outside of /metadata", "GET", "/instance?api-version=" + latest, nil, "", 404},
		{"other endpoints are not there", "GET", "/metadata/attestation?api-version=" + latest, nil, "", 404},
		{"events have no parts", "GET", "/metadata/scheduledevents/Events?api-version=2020-07-01", nil, "", 404},

		{"a part of the instance", "GET", "/metadata/instance/compute/osProfile?api-version=" + latest, nil, "", 200},
		{"a slash at the end", "GET", "/metadata/instance/compute/osProfile/?api-version=" + latest, nil, "", 200},
		{"an element of a list", "GET", "/metadata/instance/network/interface/0?api-version=" + latest, nil, "", 200},
		{"a leaf is not JSON", "GET", "/metadata/instance/compute/name?api-version=" + latest, nil, "", 400},
		{"a leaf is not JSON on request either", "GET", "/metadata/instance/compute/name?format=json&api-version=" + latest, nil, "", 400},
		{"a leaf is text", "GET", "/metadata/instance/compute/name?format=text&api-version=" + latest, nil, "", 200},
		{"a leaf that is missing is empty", "GET", "/metadata/instance/compute/licenseType?format=text&api-version=" + latest, nil, "", 200},
		{"a node as text", "GET", "/metadata/instance?format=text&api-version=" + latest, nil, "", 200},
		{"no other format", "GET", instance + "&format=xml", nil, "", 400},
		{"a part that is not there", "GET", "/metadata/instance/compute/nothing?api-version=" + latest, nil, "", 404},
		{"a part below a leaf", "GET", "/metadata/instance/compute/name/x?format=text&api-version=" + latest, nil, "", 404},
		{"an element beyond the end", "GET", "/metadata/instance/network/interface/1?api-version=" + latest, nil, "", 404},
		{"an old version lacks a field", "GET", "/metadata/instance/compute/priority?format=text&api-version=2020-10-01", nil, "", 404},
		{"extended changes nothing when all is there", "GET", "/metadata/instance/compute/zone?format=text&extended=true&api-version=" + latest, nil, "", 200},

		{"the document", "GET", eventsPath, nil, "", 200},
		{"an ack of an unknown id", "POST", eventsPath, nil, ackOf("00000000-0000-4000-8000-000000000000"), 400},
		{"an ack of a known and an unknown id", "POST", eventsPath, nil, ackOf(sampleID, "x"), 400},
		{"an ack in other letters", "POST", eventsPath, nil, ackOf(strings.ToLower(sampleID)), 400},
		{"an ack without a body", "POST", eventsPath, nil, "", 400},
		{"an ack that is not JSON", "POST", eventsPath, nil, "StartRequests", 400},
		{"an ack that is a list", "POST", eventsPath, nil, `[{"EventId":"` + sampleID + `"}]`, 400},
		{"an ack of nothing", "POST", eventsPath, nil, `{"StartRequests":[]}`, 400},
		{"an ack without an id", "POST", eventsPath, nil, `{"StartRequests":[{}]}`, 400},
		{"an ack that is too large", "POST", eventsPath, nil, `{"x":"` + strings.Repeat("x", maxBody) + `"}`, 400},
		{"nothing was acked by all this", "GET", eventsPath, nil, "", 200},
		{"an ack", "POST", eventsPath, nil, ackOf(sampleID), 200},
		{"it has started", "GET", eventsPath, nil, "", 200},
		{"another ack", "POST", eventsPath, nil, ackOf(sampleID), 200},
		{"an ack with the document's incarnation", "POST", eventsPath, nil, `{"DocumentIncarnation":2,` + ackOf(sampleID)[1:], 200},
	}
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited(Instance{Name: "WestNO_0", ScaleSet: "WestNO"}, Instance{Name: "WestNO_1", ScaleSet: "WestNO"}))
		s.Publish(EventSpec{ID: sampleID, Type: Freeze, Resources: []string{"WestNO_0", "WestNO_1"}, Hold: true})
		m := within(t, s, "WestNO_0")
		var b strings.Builder
		for _, rule := range rules {
			r, err := m.do(rule.method, rule.path, rule.body, rule.headers...)
			require.NoError(t, err, rule.rule)
			require.Equal(t, rule.status, r.status, "%s: %s", rule.rule, r.body)
			fmt.Fprintf(&b, "# %s\n> %s %s\n", rule.rule, rule.method, rule.path)
			for _, h := range rule.headers {
				fmt.Fprintf(&b, "> %s\n", h)
			}
			if rule.body != "" {
				fmt.Fprintf(&b, "> %.100s\n", rule.body)
			}
			fmt.Fprintf(&b, "< %d %s\n", r.status, r.header.Get("Content-Type"))
			if allow := r.header.Get("Allow"); allow != "" {
				fmt.Fprintf(&b, "< Allow: %s\n", allow)
			}
			fmt.Fprintf(&b, "%s\n\n", r.body)
		}
		golden(t, "contract.golden", b.String())
	})
}

// TestSampleDocument: byte for byte the document that Microsoft publishes,
// apart from the time.
func TestSampleDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited(Instance{Name: "WestNO_0"}, Instance{Name: "WestNO_1"}))
		s.Publish(EventSpec{ID: sampleID, Type: Freeze, Resources: []string{"WestNO_0", "WestNO_1"}})
		r, err := within(t, s, "WestNO_1").do(http.MethodGet, eventsPath, "")
		require.NoError(t, err)
		require.Equal(t, "application/json; charset=utf-8", r.header.Get("Content-Type"))
		//nolint:testifylint // the order of the keys is part of the shape
		require.Equal(t, `{"DocumentIncarnation":2,"Events":[{"EventId":"C7061BAC-AFDC-4513-B24B-AA5F13A16123",`+
			`"EventStatus":"Scheduled","EventType":"Freeze","ResourceType":"VirtualMachine","Resources":["WestNO_0","WestNO_1"],`+
			`"NotBefore":"Sat, 01 Jan 2000 00:15:00 GMT",`+
			`"Description":"Virtual machine is being paused because of a memory-preserving Live Migration operation.",`+
			`"EventSource":"Platform","DurationInSeconds":5}]}`, r.body)

		_, err = time.Parse(time.RFC1123, "Sat, 01 Jan 2000 00:15:00 GMT")
		require.NoError(t, err)
	})
}

func TestOldEventVersionsHideTypesAndFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		for _, kind := range []string{Freeze, Reboot, Redeploy, Preempt, Terminate, "Rebalance"} {
			s.Publish(EventSpec{Type: kind})
		}
		m := within(t, s, "web_0")
		always := []string{"EventId", "EventStatus", "EventType", "NotBefore", "ResourceType", "Resources"}
		oldest := []string{Freeze, Reboot, Redeploy, "Rebalance"}
		preempt := []string{Freeze, Reboot, Redeploy, Preempt, "Rebalance"}
		all := []string{Freeze, Reboot, Redeploy, Preempt, Terminate, "Rebalance"}
		for _, want := range []struct {
			version, resource string
			types, fields     []string
		}{
			{"2017-03-01", "_web_0", oldest, nil},
			{"2017-08-01", "web_0", oldest, nil},
			{"2017-11-01", "web_0", preempt, nil},
			{"2019-01-01", "web_0", all, nil},
			{"2019-04-01", "web_0", all, []string{"Description"}},
			{"2019-08-01", "web_0", all, []string{"Description", "EventSource"}},
			{"2020-07-01", "web_0", all, []string{"Description", "EventSource", "DurationInSeconds"}},
		} {
			r, err := m.do(http.MethodGet, "/metadata/scheduledevents?api-version="+want.version, "")
			require.NoError(t, err)
			var doc struct{ Events []map[string]any }
			require.NoError(t, json.Unmarshal([]byte(r.body), &doc))
			var types []string
			for _, e := range doc.Events {
				types = append(types, e["EventType"].(string))
				require.ElementsMatch(t, append(slices.Clone(always), want.fields...), mapKeys(e), want.version)
				require.Equal(t, []any{want.resource}, e["Resources"], want.version)
			}
			require.Equal(t, want.types, types, want.version)
		}

		// An event that a version hides cannot be acked in it.
		id := s.Events()[4].ID
		r, err := m.do(http.MethodPost, "/metadata/scheduledevents?api-version=2017-11-01", `{"StartRequests":[{"EventId":"`+id+`"}]}`)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, r.status)
		require.Equal(t, Scheduled, statusOf(t, s, id))
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{VMs: []Instance{{Name: "web_0"}, {Name: "web_1"}}})
		first, second := within(t, s, "web_0"), within(t, s, "web_1")
		get := func(m *machine) int {
			r, err := m.do(http.MethodGet, "/metadata/versions", "")
			require.NoError(t, err)
			return r.status
		}
		for range DefaultRateLimit {
			require.Equal(t, http.StatusOK, get(first))
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, http.StatusTooManyRequests, get(first), "the sixth within a second")
		require.Equal(t, http.StatusOK, get(second), "another machine")
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, http.StatusOK, get(first), "a second after the first one")
		require.Equal(t, http.StatusTooManyRequests, get(first), "the others are not a second ago")
	})
}

func TestFirstCallDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{RateLimit: -1, FirstCallDelay: 2 * time.Minute})
		m := within(t, s, "web_0")
		begin := time.Now()
		_, err := m.do(http.MethodGet, "/metadata/versions", "")
		require.NoError(t, err)
		require.Zero(t, time.Since(begin), "only events are slow")

		m.client.Timeout = 10 * second
		_, err = m.do(http.MethodGet, eventsPath, "")
		require.Error(t, err)
		require.Equal(t, 10*second, time.Since(begin))

		m.client.Timeout = 0
		m.events()
		require.Equal(t, 2*time.Minute, time.Since(begin), "counted from the first call, not from each")
		m.events()
		require.Equal(t, 2*time.Minute, time.Since(begin))
	})
}

func mapKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func FuzzParseAck(f *testing.F) {
	f.Add(`{"StartRequests":[{"EventId":"` + sampleID + `"}]}`)
	f.Add(`{"StartRequests":[]}`)
	f.Add(`{"StartRequests":null}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		ids, err := parseAck(strings.NewReader(body))
		if err == nil {
			require.NotEmpty(t, ids)
			require.NotContains(t, ids, "")
		}
	})
}
