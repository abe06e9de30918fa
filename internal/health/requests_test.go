package health

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// requestSeries are the values of a scrape, by path and code.
func requestSeries(t *testing.T, a *Answers) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(a))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	series := make(map[string]float64)
	for _, m := range families[0].GetMetric() {
		labels := make(map[string]string)
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		series[labels["path"]+" "+labels["code"]] = m.GetCounter().GetValue()
	}
	return series
}

// TestRequestsAreCounted asks for everything in every situation: what was answered
// is what is counted, and every series is there from the start.
func TestRequestsAreCounted(t *testing.T) {
	live := true
	a := NewAnswers(AnswersConfig{Live: func() bool { return live }, Uncounted: "doctor"})
	want := requestSeries(t, a)
	require.Equal(t, map[string]float64{
		"/healthz 200": 0, "/healthz 202": 0, "/healthz 405": 0, "/healthz 503": 0,
		"/readyz 200": 0, "/readyz 405": 0, "/readyz 503": 0,
		"/livez 200": 0, "/livez 405": 0, "/livez 503": 0,
		"other 404": 0,
	}, want)
	problems, err := testutil.CollectAndLint(a)
	require.NoError(t, err)
	require.Empty(t, problems)

	for _, live = range []bool{true, false} {
		for name, report := range situations {
			a.show(render(report, CustomMetrics{}))
			for path, as := range map[string]string{
				"/healthz": "/healthz", "//healthz/?verbose": "/healthz", "/readyz": "/readyz", "/ready": "/readyz", "/livez": "/livez",
				"/": "other", "/healthz/x": "other", "/healthz%3Fverbose": "other", "/%00": "other",
			} {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
					w := httptest.NewRecorder()
					a.Handler().ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
					series := fmt.Sprint(as, " ", w.Code)
					require.Contains(t, want, series, "%s %s, %s", method, path, name)
					want[series]++
				}
			}
		}
	}
	require.Equal(t, want, requestSeries(t, a))

	r := httptest.NewRequest(http.MethodGet, "/healthz", http.NoBody)
	r.Header.Set("User-Agent", "doctor")
	a.Handler().ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, want, requestSeries(t, a), "doctor looks, and is no probe")
}

func TestRequestsWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAnswers(AnswersConfig{})
		start := time.Now()
		require.Equal(t, Requests{Paths: []PathRequests{{Path: "/healthz"}, {Path: "/readyz"}, {Path: "/livez"}, {Path: "other"}}}, a.Requests())
		get(a.Handler(), "/livez")
		time.Sleep(time.Minute)
		get(a.Handler(), "/healthz")
		get(a.Handler(), "/healthz")
		get(a.Handler(), "/old")
		time.Sleep(time.Second)
		get(a.Handler(), "/"+strings.Repeat("x", 5000)+"?secret")
		r := a.Requests()
		require.Equal(t, "/"+strings.Repeat("x", maxNotFound-1), r.NotFound, "the last one, bounded")
		require.Equal(t, PathRequests{Path: "/healthz", Total: 2, Last: start.Add(time.Minute)}, r.Paths[askHealth])
		require.Equal(t, PathRequests{Path: "/readyz"}, r.Paths[askReady])
		require.Equal(t, PathRequests{Path: "other", Total: 2, Last: start.Add(61 * time.Second)}, r.Paths[askOther])
		require.WithinDuration(t, start, r.Paths[askLive].Last, time.Microsecond)
		require.EqualValues(t, 1, r.Paths[askLive].Total)
	})
}

// TestNotFoundNamesThePaths: whoever configured a wrong path reads the right ones.
func TestNotFoundNamesThePaths(t *testing.T) {
	h := answering("healthy", CustomMetrics{})
	w := get(h, "/health")
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.NotContains(t, body, "ApplicationHealthState")
	for _, path := range body["Paths"].([]any) {
		require.Equal(t, http.StatusOK, get(h, path.(string)).Code, path)
	}
	require.Len(t, body["Paths"], len(asks)-1)
}
