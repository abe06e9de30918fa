package health

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/server"
)

// serve runs the server of the probe port on loopback until the end of the test and
// returns its base URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.New(server.Config{Handler: h}).Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return "http://" + listener.Addr().String()
}

// The models below judge answers as the two versions of the Application Health
// extension for Linux do (Azure/applicationhealth-extension-linux, 2.0.29 and
// 1.0.7): same request, same transport settings, same acceptance of the answer.

// extension2 is a prober of version 2 with its own connection pool.
type extension2 struct {
	client *http.Client
	dialed int // connections made
}

func newExtension2() *extension2 {
	e := &extension2{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		e.dialed++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	e.client = &http.Client{
		Transport: transport,
		Timeout:   30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("no redirect allowed")
		},
	}
	return e
}

// probe returns the state and, when there are any, the custom metrics.
func (e *extension2) probe(base, requestPath string) (state, customMetrics string) {
	u, err := url.Parse(base)
	if err != nil {
		return "Unknown", ""
	}
	u.Path = strings.TrimPrefix(requestPath, "/") // a query in it is escaped
	u, err = url.Parse(u.String())
	if err != nil {
		return "Unknown", ""
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"User-Agent": {"ApplicationHealthExtension/1.0"}}}
	resp, err := e.client.Do(req)
	if err != nil {
		return "Unknown", ""
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return "Unknown", "" // the body is not looked at
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "Unknown", ""
	}
	var answer struct {
		ApplicationHealthState string `json:"applicationHealthState"`
		CustomMetrics          string `json:"customMetrics"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "Unknown", ""
	}
	switch answer.ApplicationHealthState {
	case "Healthy", "Unhealthy":
		return answer.ApplicationHealthState, answer.CustomMetrics
	default:
		return "Unknown", ""
	}
}

// extension1 probes as version 1 does: a connection for each probe, left open
// and unread, and reset later. The reset is returned.
func extension1(base, requestPath string) (state string, reset func()) {
	var conn net.Conn
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return conn, err
		},
	}
	reset = func() {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
	req, err := http.NewRequest(http.MethodGet, base+requestPath, http.NoBody)
	if err != nil {
		return "unhealthy", reset
	}
	resp, err := transport.RoundTrip(req) //nolint:bodyclose // as the extension does
	if err != nil || resp.StatusCode != http.StatusOK {
		return "unhealthy", reset
	}
	return "healthy", reset
}

// TestModelOfTheExtension holds the model of version 2 against what the real
// binary was seen to do.
func TestModelOfTheExtension(t *testing.T) {
	tests := []struct {
		code int
		body string
		want string
	}{
		{200, `{"ApplicationHealthState":"Healthy"}`, "Healthy"},
		{299, `{"applicationhealthSTATE":"Healthy"}`, "Healthy"},
		{202, `{"ApplicationHealthState":"Unhealthy"}`, "Unhealthy"},
		{200, `{"ApplicationHealthState":"healthy"}`, "Unknown"},
		{200, `{"ApplicationHealthState":"Draining"}`, "Unknown"},
		{200, `{"ApplicationHealthState":null}`, "Unknown"},
		{200, `{}`, "Unknown"},
		{503, `{"ApplicationHealthState":"Healthy"}`, "Unknown"},
		{204, ``, "Unknown"},
		{200, `OK`, "Unknown"},
		{200, `[]`, "Unknown"},
		{200, "\ufeff" + `{"ApplicationHealthState":"Healthy"}`, "Unknown"},
		{200, `{"ApplicationHealthState":"Healthy"}` + "\n{}", "Unknown"},
		{301, `{"ApplicationHealthState":"Healthy"}`, "Unknown"},
		{200, `{"ApplicationHealthState":"Healthy","CustomMetrics":{}}`, "Unknown"},
		{200, `{"ApplicationHealthState":"Healthy","CustomMetrics":""}`, "Healthy"},
		{200, `{"ApplicationHealthState":"Healthy","more":{"a":1}}`, "Healthy"},
	}
	e := newExtension2()
	for _, test := range tests {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.code == 301 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(test.code)
			_, _ = io.WriteString(w, test.body)
		}))
		state, _ := e.probe(srv.URL, "/healthz")
		require.Equal(t, test.want, state, "%d %s", test.code, test.body)
		srv.Close()
	}
}

// TestWhatTheExtensionMakesOfUs is the table of both dialects, over a socket.
func TestWhatTheExtensionMakesOfUs(t *testing.T) {
	tests := map[string]struct{ v2, v1 string }{
		"starting":             {"Unknown", "unhealthy"}, // never Unhealthy: that would end the extension's grace
		"healthy":              {"Healthy", "healthy"},
		"unhealthy":            {"Unhealthy", "unhealthy"},
		"not ready":            {"Healthy", "healthy"},
		"starting, draining":   {"Unknown", "unhealthy"},
		"healthy, draining":    {"Healthy", "healthy"},
		"unhealthy, draining":  {"Unhealthy", "unhealthy"},
		"healthy, maintenance": {"Healthy", "healthy"},
	}
	require.Len(t, tests, len(situations))
	for situation, want := range tests {
		for _, custom := range []CustomMetrics{{}, {Enabled: true, Phase: 7}} {
			t.Run(situation, func(t *testing.T) {
				base := serve(t, answering(situation, custom))
				for _, path := range []string{"/healthz", "healthz", "/healthz/", "//healthz"} {
					state, metrics := newExtension2().probe(base, path)
					require.Equal(t, want.v2, state)
					if custom.Enabled && state != "Unknown" {
						requireRollingUpgrade(t, metrics, 7, situations[situation].Draining || situations[situation].Maintenance)
					} else {
						require.Empty(t, metrics)
					}
				}
				for _, path := range []string{"/healthz", "/healthz?x=1"} {
					state, reset := extension1(base, path)
					require.Equal(t, want.v1, state)
					reset()
				}
			})
		}
	}
}

// requireRollingUpgrade reads custom metrics as the platform does.
func requireRollingUpgrade(t *testing.T, text string, phase int, skip bool) {
	t.Helper()
	var metrics struct {
		RollingUpgrade struct {
			PhaseOrderingNumber int
			SkipUpgrade         bool
		} `json:"rollingUpgrade"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&metrics))
	require.Equal(t, phase, metrics.RollingUpgrade.PhaseOrderingNumber)
	require.Equal(t, skip, metrics.RollingUpgrade.SkipUpgrade)
}

// TestConnectionsOfTheExtension: version 2 keeps one connection for all its
// 2xx answers; version 1 opens one for each probe and resets it later, which
// neither log lines nor other probers notice.
func TestConnectionsOfTheExtension(t *testing.T) {
	answers := NewAnswers(AnswersConfig{})
	base := serve(t, answers.Handler())
	e := newExtension2()
	answers.show(render(situations["healthy"], CustomMetrics{}))
	var resets []func()
	for i := range 50 {
		situation := []string{"healthy", "unhealthy"}[i%2]
		answers.show(render(situations[situation], CustomMetrics{}))
		state, _ := e.probe(base, "/healthz")
		require.Equal(t, []string{"Healthy", "Unhealthy"}[i%2], state)
		state, reset := extension1(base, "/healthz")
		require.Equal(t, []string{"healthy", "unhealthy"}[i%2], state)
		resets = append(resets, reset)
		if len(resets) > 7 {
			resets[0]()
			resets = resets[1:]
		}
	}
	require.Equal(t, 1, e.dialed)
	for _, reset := range resets {
		reset()
	}
	state, _ := e.probe(base, "/healthz")
	require.Equal(t, "Unhealthy", state)
	require.Equal(t, 1, e.dialed)
}

// copyBounded reads a body of a test's own server.
func copyBounded(w io.Writer, r io.Reader) (int64, error) {
	return io.Copy(w, io.LimitReader(r, 1<<20))
}
