package health

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// situations are the columns of the table of answers.
var situations = map[string]*Report{
	"starting":             {State: Starting, ReadyState: Starting},
	"healthy":              {State: Healthy, ReadyState: Healthy},
	"unhealthy":            {State: Unhealthy, ReadyState: Unhealthy},
	"not ready":            {State: Healthy, ReadyState: Unhealthy},
	"starting, draining":   {State: Starting, ReadyState: Starting, Draining: true},
	"healthy, draining":    {State: Healthy, ReadyState: Healthy, Draining: true},
	"unhealthy, draining":  {State: Unhealthy, ReadyState: Unhealthy, Draining: true},
	"healthy, maintenance": {State: Healthy, ReadyState: Healthy, Maintenance: true},
}

// answering returns the handler in a situation.
func answering(situation string, custom CustomMetrics) http.Handler {
	a := NewAnswers(AnswersConfig{})
	a.show(render(situations[situation], custom))
	return a.Handler()
}

const (
	bodyStarting  = `{"State":"Starting"}`
	bodyHealthy   = `{"ApplicationHealthState":"Healthy"}`
	bodyUnhealthy = `{"ApplicationHealthState":"Unhealthy"}`
)

func TestAnswersTable(t *testing.T) {
	type answer struct {
		code int
		body string
	}
	tests := map[string]struct{ health, ready answer }{
		"starting":             {answer{503, bodyStarting}, answer{503, bodyStarting}},
		"healthy":              {answer{200, bodyHealthy}, answer{200, bodyHealthy}},
		"unhealthy":            {answer{202, bodyUnhealthy}, answer{503, bodyUnhealthy}},
		"not ready":            {answer{200, bodyHealthy}, answer{503, bodyUnhealthy}},
		"starting, draining":   {answer{503, bodyStarting}, answer{503, bodyStarting}},
		"healthy, draining":    {answer{200, bodyHealthy}, answer{503, bodyUnhealthy}},
		"unhealthy, draining":  {answer{202, bodyUnhealthy}, answer{503, bodyUnhealthy}},
		"healthy, maintenance": {answer{200, bodyHealthy}, answer{503, bodyUnhealthy}},
	}
	require.Len(t, tests, len(situations))
	for situation, test := range tests {
		t.Run(situation, func(t *testing.T) {
			srv := httptest.NewServer(answering(situation, CustomMetrics{}))
			defer srv.Close()
			for path, want := range map[string]answer{
				"/healthz": test.health, "/readyz": test.ready, "/ready": test.ready, "/livez": {200, `{"Live":true}` + "\n"},
			} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					code, header, body := request(t, method, srv.URL+path)
					require.Equal(t, want.code, code, path)
					require.Equal(t, "application/json", header.Get("Content-Type"))
					require.Equal(t, strconv.Itoa(len(want.body)), header.Get("Content-Length"))
					if method == http.MethodGet {
						require.Equal(t, want.body, body)
					} else {
						require.Empty(t, body)
					}
				}
			}
		})
	}
}

// request asks over a real socket and follows no redirects.
func request(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body strings.Builder
	_, err = copyBounded(&body, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, body.String()
}

func TestPathsAndMethods(t *testing.T) {
	srv := httptest.NewServer(answering("healthy", CustomMetrics{}))
	defer srv.Close()
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/healthz", 200},
		{"GET", "/healthz/", 200},
		{"GET", "//healthz", 200}, // a redirect would be a failed probe
		{"GET", "/healthz//", 200},
		{"GET", "/healthz?x=1", 200}, // version 1 of the extension sends queries as they are
		{"GET", "/readyz?verbose", 200},
		{"GET", "/healthz%3Fx=1", 404}, // version 2 escapes them into the path
		{"GET", "/", 404},
		{"GET", "/health", 404},
		{"GET", "/healthzz", 404},
		{"GET", "/HEALTHZ", 404},
		{"GET", "/healthz/hsm", 404},
		{"GET", "/x/../healthz", 404},
		{"GET", "/metrics", 404},
		{"POST", "/healthz", 405},
		{"PUT", "/readyz", 405},
		{"DELETE", "/livez", 405},
		{"OPTIONS", "/ready", 405},
		{"BREW", "/healthz", 405},
		{"POST", "/nothing", 404},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			code, header, _ := request(t, test.method, srv.URL+test.path)
			require.Equal(t, test.want, code)
			require.Empty(t, header.Get("Location"))
			if code == 405 {
				require.Equal(t, "GET, HEAD", header.Get("Allow"))
			}
		})
	}
}

func TestLivez(t *testing.T) {
	var live atomic.Bool
	h := NewAnswers(AnswersConfig{Live: live.Load}).Handler()
	require.Equal(t, 503, get(h, "/livez").Code)
	require.Equal(t, 503, get(h, "/healthz").Code, "starting")
	live.Store(true)
	require.Equal(t, 200, get(h, "/livez").Code)
}

func TestVerboseGolden(t *testing.T) {
	r := &Report{
		State: Unhealthy, ReadyState: Unhealthy, Draining: true,
		Checks: []CheckReport{
			{Name: "dns", Severity: Critical, Gates: Gates{true, true}, Status: Passing},
			{Name: "hsm", Severity: Critical, Gates: Gates{true, true}, Status: Failing, Error: "secret reason"},
			{Name: "app", Severity: Critical, Gates: Gates{false, true}, Status: Blocked, BlockedBy: []string{"hsm", "disk"}},
			{Name: "disk", Severity: Warning, Gates: Gates{true, true}, Status: Failing, Error: "secret reason"},
			{Name: "cache", Severity: Critical, Gates: Gates{true, false}, Status: Unknown},
		},
		Roots: []string{"hsm", "disk"},
	}
	a := NewAnswers(AnswersConfig{})
	a.show(render(r, CustomMetrics{}))
	var got strings.Builder
	for _, path := range []string{"/healthz?verbose", "/readyz?verbose=1"} {
		w := get(a.Handler(), path)
		got.WriteString("GET " + path + "\n" + http.StatusText(w.Code) + "\n" + w.Header().Get("Content-Type") + "\n" + w.Body.String() + "\n")
	}
	require.NotContains(t, got.String(), "secret", "reasons are not for the network")
	golden(t, "verbose.txt", got.String())
}

func TestCustomMetrics(t *testing.T) {
	const (
		skip = `{"ApplicationHealthState":"Healthy","CustomMetrics":"{\"rollingUpgrade\":{\"PhaseOrderingNumber\":2,\"SkipUpgrade\":true}}"}`
		go2  = `{"ApplicationHealthState":"Healthy","CustomMetrics":"{\"rollingUpgrade\":{\"PhaseOrderingNumber\":2,\"SkipUpgrade\":false}}"}`
	)
	tests := []struct {
		name, situation string
		custom          CustomMetrics
		want            string
	}{
		{"off", "healthy", CustomMetrics{Phase: 2, SkipUpgrade: "always"}, bodyHealthy},
		{"serving", "healthy", CustomMetrics{Enabled: true, Phase: 2, SkipUpgrade: "auto"}, go2},
		{"auto is the default", "healthy, draining", CustomMetrics{Enabled: true, Phase: 2}, skip},
		{"draining", "healthy, draining", CustomMetrics{Enabled: true, Phase: 2, SkipUpgrade: "auto"}, skip},
		{"maintenance", "healthy, maintenance", CustomMetrics{Enabled: true, Phase: 2, SkipUpgrade: "auto"}, skip},
		{"never", "healthy, draining", CustomMetrics{Enabled: true, Phase: 2, SkipUpgrade: "never"}, go2},
		{"always", "healthy", CustomMetrics{Enabled: true, Phase: 2, SkipUpgrade: "always"}, skip},
		{"unhealthy", "unhealthy", CustomMetrics{Enabled: true, Phase: 2}, strings.Replace(go2, "Healthy", "Unhealthy", 1)},
		{"not while starting", "starting", CustomMetrics{Enabled: true, Phase: 2}, bodyStarting},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, get(answering(test.situation, test.custom), "/healthz").Body.String())
		})
	}
}

// TestCustomMetricsFollowTheMonitor turns draining on in a running monitor.
func TestCustomMetricsFollowTheMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := launch(t, Config{CustomMetrics: CustomMetrics{Enabled: true, Phase: 1}})
		after(time.Second)
		body := func() string { return get(n.answers.Handler(), "/healthz").Body.String() }
		require.Contains(t, body(), `\"SkipUpgrade\":false`)
		n.SetDraining(true)
		require.Contains(t, body(), `\"SkipUpgrade\":true`)
		n.SetDraining(false)
		require.NoError(t, n.Apply(Config{}))
		require.NotContains(t, body(), "CustomMetrics")
	})
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func TestNoAllocationOnTheRequestPath(t *testing.T) {
	h := answering("healthy", CustomMetrics{Enabled: true})
	w := discard{http.Header{}}
	for _, path := range []string{"/healthz", "/readyz", "/ready", "/livez", "/nothing"} {
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		require.Zero(t, testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }), path)
	}
}
