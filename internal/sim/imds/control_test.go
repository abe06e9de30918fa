package imds

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

func TestControlClient(t *testing.T) {
	s := New(unlimited(Instance{Name: "web_0"}, Instance{Name: "web_1"}))
	web := httptest.NewServer(s.Control())
	defer web.Close()
	c := NewControlClient(strings.TrimPrefix(web.URL, "http://"))
	ctx := t.Context()

	five := 5
	spec := EventSpec{
		ID: sampleID, Type: Terminate, Resources: []string{"web_0", "web_1"}, Notice: 7 * time.Minute, StartDelay: time.Second,
		Description: "d", Source: "User", DurationSeconds: &five, CompleteAfter: time.Hour,
	}
	e, err := c.Publish(ctx, spec)
	require.NoError(t, err)
	require.Equal(t, sampleID, e.ID)
	require.Equal(t, Scheduled, e.Status)
	require.Equal(t, spec.Resources, e.Resources)
	require.Equal(t, "User", e.Source)
	require.Equal(t, 5, e.DurationSeconds)
	require.InDelta(t, 7*60, e.NotBefore.Sub(e.PublishedAt).Seconds(), 1)

	e, err = c.Start(ctx, sampleID)
	require.NoError(t, err)
	require.Equal(t, Started, e.Status)
	_, err = c.Cancel(ctx, sampleID)
	require.EqualError(t, err, "the control API refused: cancel event "+sampleID+": the event cannot do that now: it has started")
	e, err = c.Complete(ctx, sampleID)
	require.NoError(t, err)
	require.Equal(t, Completed, e.Status)
	events, err := c.Events(ctx)
	require.NoError(t, err)
	require.Len(t, events, 1)

	f := Fault{
		Kind: FaultStatus, Status: 429, Endpoint: EndpointScheduledEvents, Method: "GET", VM: "web_1",
		Delay: time.Second, RetryAfter: 2 * time.Second, Count: 3, Omit: []string{"name"},
	}
	require.NoError(t, c.SetFault(ctx, f))
	faults, err := c.Faults(ctx)
	require.NoError(t, err)
	require.Equal(t, []Fault{f}, faults)
	require.NoError(t, c.ClearFaults(ctx))
	require.Empty(t, s.Faults())
	for _, f := range []Fault{{Kind: FaultBody, Body: `{"a":"\u0000"}`}, {Kind: FaultClock, Ahead: -time.Minute}} {
		require.NoError(t, c.SetFault(ctx, f))
		require.Equal(t, []Fault{f}, s.Faults())
	}
	s.ClearFaults()

	m := &machine{t: t, client: &http.Client{Transport: s.Transport("web_1")}, base: "http://imds"}
	require.Equal(t, 400, m.ack(sampleID))
	acks, err := c.Acks(ctx)
	require.NoError(t, err)
	require.Len(t, acks, 1)
	require.Equal(t, "web_1", acks[0].VM)
	counts, err := c.Counts(ctx)
	require.NoError(t, err)
	require.Equal(t, s.Counts(), counts)

	web.Close()
	_, err = c.Acks(ctx)
	require.ErrorContains(t, err, "reach the control API")
}

func TestControlAPI(t *testing.T) {
	tests := map[string]struct {
		request string // method, path and body
		status  int
		want    string // part of the body
	}{
		"no body":            {"POST /v1/events", 400, "the request has no body"},
		"no type":            {"POST /v1/events {}", 400, "type is missing: Preempt, Terminate, Reboot, Redeploy or Freeze"},
		"wrong letters":      {`POST /v1/events {"type":"preempt"}`, 400, `type \"preempt\" is written Preempt`},
		"another type":       {`POST /v1/events {"type":"Rebalance"}`, 201, `"type": "Rebalance"`},
		"source":             {`POST /v1/events {"type":"Reboot","source":"me"}`, 400, `source \"me\" is neither Platform nor User`},
		"duration":           {`POST /v1/events {"type":"Reboot","duration_seconds":-2}`, 400, "duration_seconds is at least -1"},
		"empty resource":     {`POST /v1/events {"type":"Reboot","resources":[""]}`, 400, "resources has an empty name"},
		"negative":           {`POST /v1/events {"type":"Reboot","notice":"-1s"}`, 400, "are not negative"},
		"bare number":        {`POST /v1/events {"type":"Reboot","notice":30}`, 400, `30 is not a duration: write a string with a unit, like \"30s\"`},
		"bad span":           {`POST /v1/events {"type":"Reboot","notice":"30"}`, 400, `\"30\" is not a duration`},
		"unknown key":        {`POST /v1/events {"type":"Reboot","when":"now"}`, 400, `unknown field \"when\"`},
		"not JSON":           {`POST /v1/events type: Reboot`, 400, "invalid character"},
		"two values":         {`POST /v1/events {"type":"Reboot"}{}`, 400, "more than one JSON value"},
		"taken id":           {`POST /v1/events {"type":"Reboot","id":"` + sampleID + `"}`, 400, `id \"` + sampleID + `\" is taken`},
		"too much":           {`POST /v1/events {"type":"` + strings.Repeat("x", steer.MaxBody) + `"}`, 413, "request body too large"},
		"unknown event":      {"POST /v1/events/x/start", 404, "change event x: no such event"},
		"unknown event's":    {"GET /v1/events/x", 404, "find event x: no such event"},
		"an event":           {"GET /v1/events/" + sampleID, 200, sampleID},
		"unknown verb":       {"POST /v1/events/" + sampleID + "/stop", 404, ""},
		"cancel":             {"POST /v1/events/" + sampleID + "/cancel", 200, `"status": "Cancelled"`},
		"events":             {"GET /v1/events", 200, sampleID},
		"acks":               {"GET /v1/acks", 200, `"acks": []`},
		"requests":           {"GET /v1/requests", 200, `"requests": []`},
		"faults":             {"GET /v1/fault", 200, `"faults": []`},
		"bad fault":          {`PUT /v1/fault {"kind":"status"}`, 400, "status 0 is not between 200 and 599"},
		"fault":              {`PUT /v1/fault {"kind":"hang","for":"1m"}`, 204, ""},
		"wrong method":       {"PATCH /v1/fault", 405, ""},
		"reset":              {"POST /v1/incarnation/reset", 204, ""},
		"reset to":           {`POST /v1/incarnation/reset {"to":7}`, 204, ""},
		"reset to what":      {`POST /v1/incarnation/reset {"to":"7"}`, 400, "cannot unmarshal string"},
		"instance":           {"GET /v1/instance", 200, `"name": "web_0"`},
		"unknown instance":   {"GET /v1/instance?vm=x", 404, `find machine \"x\": no such machine`},
		"change an instance": {`PUT /v1/instance?vm=web_0 {"zone":"3"}`, 200, `"zone": "3"`},
		"bad instance":       {`PUT /v1/instance {"zones":"3"}`, 400, `unknown field \"zones\"`},
		"no metadata here":   {"GET /metadata/versions", 404, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(unlimited())
			s.Publish(EventSpec{ID: sampleID, Type: Reboot})
			parts := append(strings.SplitN(tt.request, " ", 3), "")
			w := httptest.NewRecorder()
			s.Control().ServeHTTP(w, httptest.NewRequest(parts[0], parts[1], strings.NewReader(parts[2])))
			body, err := io.ReadAll(w.Result().Body)
			require.NoError(t, err)
			require.Equal(t, tt.status, w.Code, string(body))
			require.Contains(t, string(body), tt.want)
			if tt.status == http.StatusNoContent {
				require.Empty(t, string(body))
			}
		})
	}
}

func TestControlKeepsTheRestOfAnInstance(t *testing.T) {
	s := New(unlimited(Instance{Name: "web_0", Zone: "1", Tags: map[string]string{"a": "1"}}))
	before := s.Instance("web_0")
	w := httptest.NewRecorder()
	s.Control().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/instance", strings.NewReader(`{"priority":"Spot","tags":{"b":"2"}}`)))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, map[string]string{"a": "1"}, before.Tags, "a copy")
	before.Priority, before.Tags = "Spot", map[string]string{"a": "1", "b": "2"}
	require.Equal(t, before, s.Instance("web_0"))
}
