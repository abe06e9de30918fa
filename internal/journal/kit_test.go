package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit/azurite"
)

// A site is a kind of place with nothing in it.
type site struct {
	// open returns the place as a process sees it, and what its requests go over; nil
	// for a directory.
	open func() (*Place, *wire)
	// pass lets time pass for the service, not for processes; nil: it does not obey.
	pass func(time.Duration)
}

const account = azurite.Account

// onEverySite runs a test against a directory, the simulator, and Azurite when that is
// asked for.
func onEverySite(t *testing.T, test func(t *testing.T, s site)) {
	t.Helper()
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		test(t, directorySite(t))
	})
	onBlobs(t, test)
}

func onBlobs(t *testing.T, test func(t *testing.T, s site)) {
	t.Helper()
	t.Run("simulator", func(t *testing.T) {
		t.Parallel()
		test(t, simulatorSite(t))
	})
	t.Run("azurite", func(t *testing.T) {
		handler := azurite.Service(t)
		t.Parallel()
		test(t, blobSite(t, handler))
	})
}

func directorySite(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	return site{open: func() (*Place, *wire) {
		p, err := At(dir+"/pay", nil, nil)
		require.NoError(t, err)
		return p, nil
	}}
}

func simulatorSite(t *testing.T) site {
	t.Helper()
	server := simulator(t)
	s := blobSite(t, server)
	s.pass = server.Advance
	return s
}

// simulator is a simulated Azure with a storage account. Its clock stands still.
func simulator(t *testing.T) *arm.Server {
	t.Helper()
	server, err := arm.New(arm.Config{Clock: arm.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), 0), Unthrottled: true})
	require.NoError(t, err)
	scenario, err := arm.ParseScenario("journal.yaml", []byte("storage_accounts: [{name: "+account+"}]"))
	require.NoError(t, err)
	require.NoError(t, server.Apply(scenario))
	return server
}

// containers are counted, so that each test has one of its own.
var containers struct {
	sync.Mutex
	n int
}

func blobSite(t *testing.T, service http.Handler) site {
	t.Helper()
	containers.Lock()
	containers.n++
	name := fmt.Sprintf("fleetctl-%d-%d", containers.n, time.Now().UnixNano())
	containers.Unlock()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPut, "/blob/"+account+"/"+name+"?restype=container", nil)
	req.Header.Set("X-Ms-Version", "2024-11-04")
	service.ServeHTTP(w, req)
	require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	return site{open: func() (*Place, *wire) {
		wire := &wire{service: service}
		endpoint := httptest.NewServer(wire)
		t.Cleanup(endpoint.Close)
		client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
			return map[string]string{azure.EndpointVariable: endpoint.URL}[name]
		}})
		require.NoError(t, err)
		p, err := At("https://"+account+".blob.core.windows.net/"+name+"/pay/prod", client, nil)
		require.NoError(t, err)
		return p, wire
	}}
}

// What a wire does with a request.
const (
	carry     = iota
	dropped   // never arrives
	unheard   // arrives, and its answer is lost
	doubled   // arrives twice, and the first answer is lost
	overtaken // does not arrive, and does after the next one
)

// A wire is what the requests of one process go over.
type wire struct {
	service http.Handler

	mu    sync.Mutex
	asked []string
	bytes int                              // of all answers
	fate  func(n int, r *http.Request) int // of the n-th request, from 1; nil: all are carried
	late  []func()
}

// count is how many requests there were.
func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func (w *wire) setFate(fate func(n int, r *http.Request) int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.fate = nil, fate
}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	send := func() *httptest.ResponseRecorder {
		again := r.Clone(context.Background())
		again.Body, again.RequestURI = io.NopCloser(bytes.NewReader(body)), ""
		answer := httptest.NewRecorder()
		w.service.ServeHTTP(answer, again)
		return answer
	}
	w.mu.Lock()
	w.asked = append(w.asked, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
	fate := carry
	if w.fate != nil {
		fate = w.fate(len(w.asked), r)
	}
	late := w.late
	w.late = nil
	if fate == overtaken {
		w.late = append(w.late, func() { send() })
	}
	w.mu.Unlock()
	switch fate {
	case dropped, overtaken:
		panic(http.ErrAbortHandler)
	case unheard:
		send()
		panic(http.ErrAbortHandler)
	case doubled:
		send()
	}
	answer := send()
	w.mu.Lock()
	w.bytes += answer.Body.Len()
	w.mu.Unlock()
	for _, deliver := range late {
		deliver()
	}
	maps.Copy(out.Header(), answer.Header())
	out.WriteHeader(answer.Code)
	_, _ = out.Write(answer.Body.Bytes())
}

// entries are the texts of all entries, as somebody sees them who has just come.
func (s site) entries(t *testing.T, id string) []string {
	t.Helper()
	p, _ := s.open()
	return texts(t, journalOf(t, p, id))
}

// A reader is a Journal or a Lock.
type reader interface {
	Entries(ctx context.Context) ([]json.RawMessage, error)
}

// texts are the entries as text.
func texts(t *testing.T, j reader) []string {
	t.Helper()
	all, err := j.Entries(t.Context())
	require.NoError(t, err)
	var found []string
	for _, e := range all {
		found = append(found, string(e))
	}
	return found
}

func journalOf(t *testing.T, p *Place, id string) *Journal {
	t.Helper()
	j, err := p.Journal(id)
	require.NoError(t, err)
	return j
}

// taken is a lock of somebody.
func taken(t *testing.T, p *Place, id, who string) *Lock {
	t.Helper()
	l, err := journalOf(t, p, id).Acquire(t.Context(), Owner{Name: who, Host: "build-7", PID: 812})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Release(context.Background()) }) // of a lock that is lost, too
	return l
}

func appended(t *testing.T, l *Lock, entries ...string) {
	t.Helper()
	for _, e := range entries {
		require.NoError(t, l.Append(t.Context(), json.RawMessage(e)))
	}
}

// told collects what a place tells.
func told(p *Place) *[]string {
	var mu sync.Mutex
	all := &[]string{}
	p.tell = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		*all = append(*all, text)
	}
	return all
}

func TestWords(t *testing.T) {
	at := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	require.Equal(t, "at work on this rollout: ada on build-7 (process 812), since 2026-11-02 09:00:00 UTC (4m0s)",
		(&HeldError{Owner: Owner{"ada", "build-7", 812}, Since: at, Age: 4 * time.Minute}).Error())
	require.Equal(t, "somebody who has not said who is at work on this rollout", (&HeldError{}).Error())
	for address, want := range map[string]string{
		"":                                     "needs a directory",
		"https://example.com/c/p":              "is not the URL of a blob",
		"http://stpay.blob.core.windows.net/c": "is not the URL of a blob",
		"https://stpay.blob.core.windows.net/": "names no path in a container",
		"https://stpay.blob.core.windows.net/c/a/../b": "names no path in a container",
		"https://stpay.blob.core.windows.net/c/p":      "needs a sign-in",
	} {
		_, err := At(address, nil, nil)
		require.ErrorContains(t, err, want, address)
	}
	p, err := At(t.TempDir(), nil, nil)
	require.NoError(t, err)
	for _, id := range []string{"", ".", "..", "a/b", "A", ".x", strings.Repeat("x", 65), "a b", "é"} {
		_, err := p.Journal(id)
		require.ErrorContains(t, err, "is no id of a rollout", id)
	}
}
