package arm

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A world is a simulation whose clock stands still, over real HTTP.
type world struct {
	*testing.T

	server *Server
	clock  *Clock
	url    string
}

var epoch = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// newWorld starts a simulation with the resource group rg-pay-prod.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	clock := NewClock(epoch, 0)
	cfg := Config{Clock: clock, Unthrottled: true}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	w := &world{T: t, server: s, clock: clock, url: ts.URL}
	w.do("PUT", "/subscriptions/"+DefaultSubscription+"/resourceGroups/rg-pay-prod", `{"location":"eastus"}`).want(201)
	return w
}

// group is the path of the resource group that every world has.
const group = "/subscriptions/" + DefaultSubscription + "/resourceGroups/rg-pay-prod"

// A reply is what a request was answered.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
	body   object
}

// do makes a request. A path without api-version gets one; a body is JSON text or
// nil; further arguments are pairs of a header's name and value.
func (w *world) do(method, path string, body any, headers ...string) *reply {
	w.Helper()
	if !strings.Contains(path, "api-version=") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "api-version=2026-04-01"
	}
	if !strings.Contains(path, "://") {
		path = w.url + path
	}
	var r io.Reader = http.NoBody
	if text, ok := body.(string); ok {
		r = strings.NewReader(text)
	} else if body != nil {
		data, err := json.Marshal(body)
		require.NoError(w, err)
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.Context(), method, path, r)
	require.NoError(w, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	got := &reply{t: w.T, status: resp.StatusCode, header: resp.Header, raw: string(data)}
	if len(data) > 0 {
		require.NoError(w, json.Unmarshal(data, &got.body), got.raw)
	}
	return got
}

func (w *world) get(path string, headers ...string) *reply {
	w.Helper()
	return w.do("GET", path, nil, headers...)
}

// want asserts the status.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	require.Equal(r.t, status, r.status, r.raw)
	return r
}

// refused asserts status and code of an error, and returns the message.
func (r *reply) refused(status int, code string) string {
	r.t.Helper()
	r.want(status)
	require.Equal(r.t, code, str(r.body, "error.code"), r.raw)
	require.NotEmpty(r.t, str(r.body, "error.message"))
	return str(r.body, "error.message")
}

// finished moves the clock until the operation of the reply has ended, and asserts
// that it succeeded.
func (w *world) finished(r *reply) *reply {
	w.Helper()
	url := r.header.Get("Azure-AsyncOperation")
	require.NotEmpty(w, url, "a long-running operation: %s", r.raw)
	for range 1000 {
		poll := w.get(url).want(200)
		if status := str(poll.body, "status"); status != "InProgress" {
			require.Equal(w, "Succeeded", status, poll.raw)
			return poll
		}
		w.clock.Advance(10 * time.Second)
	}
	require.FailNow(w, "the operation does not end")
	return nil
}
