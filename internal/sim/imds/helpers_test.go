package imds

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	eventsPath = "/metadata/scheduledevents?api-version=2020-07-01"
	latest     = "2025-04-07"
)

// A machine is a client that talks to the service as one machine.
type machine struct {
	t      *testing.T
	client *http.Client
	base   string
}

// within talks without sockets, for tests in a bubble.
func within(t *testing.T, s *Server, vm string) *machine {
	t.Helper()
	return &machine{t: t, client: &http.Client{Transport: s.Transport(vm)}, base: "http://imds"}
}

type response struct {
	status int
	header http.Header
	body   string
}

func (m *machine) do(method, path, body string, headers ...string) (response, error) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.base+path, strings.NewReader(body))
	require.NoError(m.t, err)
	req.Header.Set("Metadata", "true")
	for _, h := range headers {
		name, value, set := strings.Cut(h, ": ")
		if !set {
			req.Header.Del(strings.TrimPrefix(name, "-"))
			continue
		}
		req.Header[name] = append(req.Header[name], value)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(data)}, err
}

// events is the document that the machine sees now.
func (m *machine) events() wireDocument {
	m.t.Helper()
	r, err := m.do(http.MethodGet, eventsPath, "")
	require.NoError(m.t, err)
	require.Equal(m.t, http.StatusOK, r.status, r.body)
	var doc wireDocument
	require.NoError(m.t, json.Unmarshal([]byte(r.body), &doc))
	return doc
}

// ack approves events and returns the status of the answer.
func (m *machine) ack(ids ...string) int {
	m.t.Helper()
	var starts []string
	for _, id := range ids {
		starts = append(starts, `{"EventId":"`+id+`"}`)
	}
	r, err := m.do(http.MethodPost, eventsPath, `{"StartRequests":[`+strings.Join(starts, ",")+`]}`)
	require.NoError(m.t, err)
	if r.status == http.StatusOK {
		require.Empty(m.t, r.body)
	}
	return r.status
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func unlimited(vms ...Instance) Config { return Config{VMs: vms, RateLimit: -1} }

func statusOf(t *testing.T, s *Server, id string) Status {
	t.Helper()
	e, ok := s.Event(id)
	require.True(t, ok)
	return e.Status
}

const second = time.Second
