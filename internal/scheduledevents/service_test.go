package scheduledevents

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// service is a metadata service without sockets, for virtual time.
type service struct {
	mu      sync.Mutex
	doc     Document
	body    string // of doc; empty: not published yet
	latency time.Duration
	ahead   time.Duration     // of its clock
	dated   bool              // it says what its clock shows
	fault   http.RoundTripper // answers instead of the document; nil: none

	polls    []time.Time // when they arrived
	requests []time.Time // of all kinds
	inFlight int
	most     int // in flight at once
	acks     []string
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	fault, latency := s.fault, s.latency
	s.requests = append(s.requests, time.Now())
	if r.Method == http.MethodGet && r.URL.Path == path {
		s.polls = append(s.polls, time.Now())
	}
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight--
	}()
	if fault != nil {
		return fault.RoundTrip(r)
	}
	if err := pause(r.Context(), latency); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acks = append(s.acks, r.URL.RawQuery+" "+string(body))
		return respond(200, ""), err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == "" {
		s.body = string(encode(s.doc))
	}
	resp := respond(200, s.body)
	if s.dated {
		resp.Header.Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	}
	return resp, nil
}

// publish replaces the events.
func (s *service) publish(events ...Event) {
	s.publishAs(s.doc.Incarnation+1, events...)
}

// publishAs does so under an incarnation of any value, as Azure may.
func (s *service) publishAs(incarnation int64, events ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doc, s.body = Document{Incarnation: incarnation, Events: events}, ""
}

func (s *service) set(fault http.RoundTripper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func fixed(code int, body string) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) { return respond(code, body), nil })
}

// silence swallows requests.
var silence = roundTripper(func(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
})

// sighting is one call of onChange.
type sighting struct {
	at  time.Time
	doc Document
}

// watch is a Poller that runs, and what it reported.
type watch struct {
	*Poller
	service  *service
	client   *imds.Client
	registry *prometheus.Registry
	logs     *bytes.Buffer
	start    time.Time
	stop     func() // ends Run and waits for it

	mu    sync.Mutex // held by whoever writes what follows
	seen  []sighting
	beats []time.Time
}

// start runs a Poller in the test's bubble.
func start(t *testing.T, s *service, change func(*Config)) *watch {
	t.Helper()
	w := &watch{service: s, registry: prometheus.NewRegistry(), logs: &bytes.Buffer{}, start: time.Now()}
	var err error
	w.client, err = imds.New(imds.Config{Transport: s})
	require.NoError(t, err)
	cfg := Config{
		Client: w.client,
		Beat: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.beats = append(w.beats, time.Now())
		},
		Logger:     slog.New(slog.NewTextHandler(w.logs, nil)),
		Registerer: w.registry,
	}
	if change != nil {
		change(&cfg)
	}
	w.Poller, err = New(cfg)
	require.NoError(t, err)
	w.SetName(self)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func(_ context.Context, doc Document) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, sighting{time.Now(), doc})
		})
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(w.stop)
	synctest.Wait()
	return w
}

// ids returns the events of each sighting.
func (w *watch) ids() [][]string {
	var all [][]string
	for _, s := range w.seen {
		ids := []string{}
		for _, event := range s.doc.Events {
			ids = append(ids, event.ID+" "+event.Status)
		}
		all = append(all, ids)
	}
	return all
}

// sleep lets virtual time pass until everything at its end has happened. What
// the poller and the service wrote may be read between two calls without a lock.
func (w *watch) sleep(d time.Duration) {
	for _, mu := range []*sync.Mutex{&w.mu, &w.service.mu} {
		mu.Lock()   // the reads so far come before the writes that follow
		mu.Unlock() //nolint:staticcheck // an empty critical section is the point
	}
	time.Sleep(d)
	synctest.Wait()
}

func event(id, status string) Event {
	e := Event{ID: id, Type: Reboot, Status: status, Resources: []string{self}}
	if status == Scheduled {
		e.NotBefore = notBefore
	}
	return e
}

func longestGap(times []time.Time) time.Duration {
	var gap time.Duration
	for i := 1; i < len(times); i++ {
		gap = max(gap, times[i].Sub(times[i-1]))
	}
	return gap
}

// busiestMinute is the most requests that any closed minute saw.
func busiestMinute(times []time.Time) int {
	most, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) > time.Minute {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}
