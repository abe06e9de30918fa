package roll_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// opening is when the worlds of the tests begin.
var opening = time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)

// A prometheus is a real one, with what it has scraped of a day in a world.
type prometheus struct {
	program, dir, address string
	cmd                   *exec.Cmd
}

// samples are what was scraped each minute, by series: the value at a minute after the
// opening.
var samples = map[string]func(minute int) float64{
	`errors{image="1.7.1",job="good"}`: func(int) float64 { return 0 },
	`errors{image="1.7.1",job="bad"}`: func(minute int) float64 {
		if minute < 4 {
			return 0
		}
		return 0.7
	},
	`errors{image="1.7.1",job="noisy"}`: func(minute int) float64 { return float64(minute % 2) },
	`requests{job="busy"}`:              func(int) float64 { return 50 },
	`requests{job="idle"}`:              func(int) float64 { return 0 },
	`served{zone="1"}`:                  func(int) float64 { return 0.999 },
	`served{zone="2"}`:                  func(int) float64 { return 0.9 },
}

// newPrometheus starts a Prometheus that has the samples of the day that begins half an
// hour before the opening.
func newPrometheus(t *testing.T) *prometheus {
	t.Helper()
	p := &prometheus{program: testkit.Tool(t, "prometheus", "prometheus"), dir: t.TempDir(), address: "127.0.0.1:0"}
	var text strings.Builder
	for series, value := range samples {
		for minute := -30; minute < 24*60; minute++ {
			fmt.Fprintf(&text, "%s %g %d\n", series, value(minute), opening.Add(time.Duration(minute)*time.Minute).Unix())
		}
	}
	for i := range 2500 {
		fmt.Fprintf(&text, "many{name=\"%d-%s\"} 1 %d\n", i, strings.Repeat("x", 450), opening.Unix())
	}
	text.WriteString("# EOF\n")
	scraped := filepath.Join(p.dir, "scraped")
	require.NoError(t, os.WriteFile(scraped, []byte(text.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "prometheus.yml"), nil, 0o600))
	out, err := exec.CommandContext(t.Context(), testkit.Tool(t, "promtool", "prometheus"), "tsdb", "create-blocks-from", "openmetrics", scraped, filepath.Join(p.dir, "data")).CombinedOutput()
	require.NoError(t, err, string(out))
	p.start(t)
	t.Cleanup(p.stop)
	return p
}

var (
	listens = regexp.MustCompile(`Listening on" address=(127\.0\.0\.1:\d+)`)
	isReady = regexp.MustCompile(`Server is ready to receive web requests`)
)

// start starts the program, and returns when it answers: at the address of the last
// time, if there was one.
func (p *prometheus) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.CommandContext(context.Background(), p.program, "--config.file", filepath.Join(p.dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(p.dir, "data"), "--storage.tsdb.retention.time", "100y", "--web.listen-address", p.address)
	log, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	lines := bufio.NewScanner(log)
	var said []string
	listening, ready := false, false // told in either order
	for lines.Scan() {
		said = append(said, lines.Text())
		if m := listens.FindStringSubmatch(lines.Text()); m != nil {
			p.address, listening = m[1], true
		}
		if ready = ready || isReady.MatchString(lines.Text()); ready && listening {
			go func() { // so that it can go on talking
				for lines.Scan() {
				}
			}()
			return
		}
	}
	p.stop()
	require.Fail(t, "prometheus ended", strings.Join(said, "\n"))
}

func (p *prometheus) stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

func (p *prometheus) url() string { return "http://" + p.address }

// A doorman lets in who shows a token, and leads to Prometheus; below /moved, it leads
// to the stranger.
type doorman struct {
	token    atomic.Value
	url      string
	stranger atomic.Int64 // requests at the place that /moved leads to
}

func newDoorman(t *testing.T, p *prometheus) *doorman {
	t.Helper()
	d := &doorman{}
	d.token.Store("Bearer s3cret")
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { d.stranger.Add(1) }))
	t.Cleanup(stranger.Close)
	target, err := url.Parse(p.url())
	require.NoError(t, err)
	inside := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != d.token.Load():
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, stranger.URL+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			inside.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// What gates ask a real Prometheus, and what its answers come to.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	prom := newPrometheus(t)
	door := newDoorman(t, prom)
	for name, c := range map[string]struct {
		gate   fleet.PrometheusSpec
		minute int // after the opening
		want   rollout.Verdict
		why    string
	}{
		"well":            {gate: fleet.PrometheusSpec{Query: `sum(errors{image="{{.Version}}",job="good"})`}, want: rollout.Pass, why: "0 is not above 0.5"},
		"not yet":         {gate: fleet.PrometheusSpec{Query: `sum(errors{job="bad"})`}, minute: 5, want: rollout.Pass, why: "0.7 is above 0.5, 2 of 3 times in a row"},
		"in a row":        {gate: fleet.PrometheusSpec{Query: `sum(errors{job="bad"})`}, minute: 6, want: rollout.Fail, why: "0.7 is above 0.5, 3 times in a row"},
		"now and then":    {gate: fleet.PrometheusSpec{Query: `sum(errors{job="noisy"})`}, minute: 7, want: rollout.Pass, why: "1 is above 0.5, 1 of 3 times in a row"},
		"a rate":          {gate: fleet.PrometheusSpec{Query: `sum(avg_over_time(errors{job="noisy"}[5m]))`}, minute: 30, want: rollout.Pass, why: "is not above 0.5"},
		"below":           {gate: fleet.PrometheusSpec{Query: `min(served)`, Below: new(0.95)}, want: rollout.Fail, why: "0.9 is below 0.95, 3 times in a row"},
		"not below":       {gate: fleet.PrometheusSpec{Query: `max(served)`, Below: new(0.95)}, want: rollout.Pass, why: "0.999 is not below 0.95"},
		"it is true":      {gate: fleet.PrometheusSpec{Query: `max(served) > bool 0.95`, Below: new(1.0)}, want: rollout.Pass, why: "1 is not below 1"},
		"it is not true":  {gate: fleet.PrometheusSpec{Query: `min(served) > bool 0.95`, Below: new(1.0)}, want: rollout.Fail, why: "0 is below 1, 3 times in a row"},
		"filtered away":   {gate: fleet.PrometheusSpec{Query: `errors{job="good"} > 0`}, want: rollout.NoData, why: "no number"},
		"no series":       {gate: fleet.PrometheusSpec{Query: `sum(errors{image="9.9.9"})`}, want: rollout.NoData, why: "no number"},
		"before all data": {gate: fleet.PrometheusSpec{Query: `sum(errors)`}, minute: -24 * 60, want: rollout.NoData, why: "no number"},
		"not a number":    {gate: fleet.PrometheusSpec{Query: `sum(errors{job="good"}) / sum(requests{job="idle"})`}, want: rollout.NoData, why: "no number"},
		"infinite":        {gate: fleet.PrometheusSpec{Query: `sum(served) / sum(requests{job="idle"})`}, want: rollout.Fail, why: "+Inf is above 0.5"},
		"a number alone":  {gate: fleet.PrometheusSpec{Query: `0.25`}, want: rollout.Pass, why: "0.25 is not above 0.5"},
		"two series":      {gate: fleet.PrometheusSpec{Query: `served`}, want: rollout.Unknown, why: "2 series, and has to answer with one: aggregate it"},
		"a huge answer":   {gate: fleet.PrometheusSpec{Query: `many`}, want: rollout.Unknown, why: "larger than 1024 KiB"},
		"a text":          {gate: fleet.PrometheusSpec{Query: `"0"`}, want: rollout.Unknown, why: "invalid expression type"},
		"bad PromQL":      {gate: fleet.PrometheusSpec{Query: `sum(errors{`}, want: rollout.Unknown, why: "the server answered 400: bad_data: "},
		"it goes wrong":   {gate: fleet.PrometheusSpec{Query: `errors{job="good"} * on() served`}, want: rollout.Unknown, why: "the server answered 422: execution:"},
		"traffic":         {gate: fleet.PrometheusSpec{Query: `sum(errors{job="bad"})`, Traffic: &fleet.TrafficSpec{Query: `sum(requests{job="busy"})`, AtLeast: 1}}, minute: 60, want: rollout.Fail, why: "0.7 is above"},
		"no traffic":      {gate: fleet.PrometheusSpec{Query: `sum(errors{job="bad"})`, Traffic: &fleet.TrafficSpec{Query: `sum(requests{job="idle"})`, AtLeast: 1}}, minute: 60, want: rollout.NoData, why: "the traffic is 0, and less than 1 says nothing"},
		"traffic unknown": {gate: fleet.PrometheusSpec{Query: `sum(errors{job="bad"})`, Traffic: &fleet.TrafficSpec{Query: `sum(requests{job="?"})`, AtLeast: 1}}, minute: 60, want: rollout.NoData, why: "the traffic: the answer has no number"},
		"no token":        {gate: fleet.PrometheusSpec{Query: `0`, Headers: map[string]string{"X-Scope-Orgid": "pay"}}, want: rollout.Unknown, why: "the server answered 401 Unauthorized"},
		"wrong token":     {gate: fleet.PrometheusSpec{Query: `0`, Headers: map[string]string{"Authorization": "Bearer 0ther"}}, want: rollout.Unknown, why: "the server answered 401 Unauthorized"},
		"moved":           {gate: fleet.PrometheusSpec{Query: `0`, URL: door.url + "/moved"}, want: rollout.Unknown, why: "the server answered 307 Temporary Redirect"},
		"no API":          {gate: fleet.PrometheusSpec{Query: `0`, URL: door.url + "/graph"}, want: rollout.Unknown, why: "the server answered 404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			g := c.gate
			g.Name, g.Step, g.For = "errors", time.Minute, 3
			if g.URL == "" {
				g.URL = door.url
			}
			if g.Headers == nil {
				g.Headers = map[string]string{"Authorization": "Bearer s3cret"}
			}
			if g.Below == nil {
				g.Above = new(0.5)
			}
			got := gated(g, opening.Add(time.Duration(c.minute)*time.Minute)).Perform(t.Context(), rollout.Plan{Version: version}, rollout.Action{Do: rollout.QueryGate, Name: "errors"})
			require.Equal(t, rollout.Done, got.Outcome)
			require.Equal(t, string(c.want), got.Answer, got.Text)
			require.Contains(t, got.Text, c.why)
			require.NotContains(t, got.Text, "s3cret")
			require.NotContains(t, got.Text, "0ther")
		})
	}
	require.Zero(t, door.stranger.Load(), "a token is led nowhere")

	t.Run("a token of Azure", func(t *testing.T) {
		w := newWorld(t, setup{})
		token, err := w.reader.Token(t.Context(), "https://prometheus.monitor.azure.com/.default")
		require.NoError(t, err)
		door.token.Store("Bearer " + token)
		defer door.token.Store("Bearer s3cret")
		r := gated(fleet.PrometheusSpec{Name: "errors", URL: door.url, Auth: "azure", Query: "1", Above: new(0.5)}, opening)
		r.Azure = w.reader
		got := r.Perform(t.Context(), rollout.Plan{}, rollout.Action{Do: rollout.QueryGate, Name: "errors"})
		require.Equal(t, string(rollout.Fail), got.Answer, got.Text)
	})

	t.Run("it hangs", func(t *testing.T) {
		require.NoError(t, prom.cmd.Process.Signal(syscall.SIGSTOP))
		_, err := syscall.Wait4(prom.cmd.Process.Pid, nil, syscall.WUNTRACED, nil) // until it has stopped
		require.NoError(t, err)
		defer func() { require.NoError(t, prom.cmd.Process.Signal(syscall.SIGCONT)) }()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r := gated(fleet.PrometheusSpec{Name: "errors", URL: prom.url(), Query: "1", Above: new(0.5)}, opening)
		r.HTTP = &http.Client{Timeout: 200 * time.Millisecond}
		got := r.Perform(ctx, rollout.Plan{}, rollout.Action{Do: rollout.QueryGate, Name: "errors"})
		require.Equal(t, string(rollout.Unknown), got.Answer)
		require.Contains(t, got.Text, "no answer within")
	})

	t.Run("rollouts", func(t *testing.T) { prometheusRollouts(t, prom, door) })
}

// gated is a runner with one gate at a time of its own.
func gated(g fleet.PrometheusSpec, now time.Time) *roll.Runner {
	return &roll.Runner{
		Spec: &fleet.Spec{Rollout: &fleet.RolloutSpec{Gates: fleet.GatesSpec{Prometheus: []fleet.PrometheusSpec{g}}}},
		Now:  func() time.Time { return now },
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// gateOf is a rollout with one gate.
func gateOf(url, query, more string) setup {
	return setup{rollout: twoWaves + fmt.Sprintf(`  gates:
    prometheus:
      - {name: errors, url: %s, headers: {Authorization: Bearer s3cret}, query: '%s', above: 0.5, step: 1m, for: 3%s}
`, url, query, more)}
}

// prometheusRollouts are rollouts that a real Prometheus stops, or does not.
func prometheusRollouts(t *testing.T, prom *prometheus, door *doorman) {
	end := func(t *testing.T, s setup) (*world, *run, roll.Status) {
		t.Helper()
		w := newWorld(t, s)
		c := w.start()
		status, err := c.Run(t.Context())
		require.NoError(t, err, c.log())
		return w, c, status
	}
	t.Run("good", func(t *testing.T) {
		_, c, s := end(t, gateOf(door.url, `sum(errors{image="{{.Version}}",job="good"})`, ""))
		require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
		require.Equal(t, string(rollout.Pass), s.State.Gates["errors"].Text)
	})
	t.Run("bad", func(t *testing.T) {
		w, c, s := end(t, gateOf(door.url, `sum(errors{image="{{.Version}}",job="bad"})`, ""))
		require.Equal(t, rollout.Halted, s.State.Phase, c.log())
		require.Contains(t, s.State.Why, "gate errors: 0.7 is above 0.5, 3 times in a row")
		require.Len(t, rollout.Accounting(s.State), 1, c.log())
		require.Equal(t, 3, w.on("vmss-authz", before))
		for _, e := range s.Events {
			if e.Kind == rollout.PhaseTo && e.Phase == rollout.Halting {
				require.False(t, e.At.Before(opening.Add(6*time.Minute)), "the third minute in a row")
				require.True(t, e.At.Before(opening.Add(8*time.Minute)), "and soon after it")
			}
		}
	})
	const idle = `, traffic: {query: 'sum(requests{job="idle"})', at_least: 1}`
	for noData, want := range map[string]rollout.Phase{"pass": rollout.Succeeded, "fail": rollout.Halted} {
		t.Run("no data is "+noData, func(t *testing.T) {
			_, c, s := end(t, gateOf(door.url, `sum(errors{job="bad"})`, ", no_data: "+noData+idle))
			require.Equal(t, want, s.State.Phase, c.log())
		})
	}
	t.Run("no data is pause", func(t *testing.T) {
		w := newWorld(t, gateOf(door.url, `sum(errors{job="bad"})`, idle)) // which is what a file says that says nothing
		c := w.start()
		for range 5 {
			_, err := c.Advance(t.Context())
			require.NoError(t, err)
			w.server.Advance(2 * time.Minute)
		}
		s, err := c.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, rollout.Inconclusive, s.State.Block.Class, c.log())
		require.Contains(t, s.State.Block.Why, "the traffic is 0, and less than 1 says nothing")
	})
	// An outage pauses, marks nothing, and is over when it is over.
	t.Run("an outage overnight", func(t *testing.T) {
		w := newWorld(t, gateOf(prom.url(), `sum(errors{job="good"})`, ""))
		c := w.start()
		var s roll.Status
		tick := func() { // of a schedule
			t.Helper()
			var err error
			s, err = c.Advance(t.Context())
			require.NoError(t, err, c.log())
			w.server.Advance(4 * time.Minute)
		}
		for !w.journal.mentions(`"step":"soaking"`) {
			tick()
		}
		prom.stop()
		for range 3 {
			tick()
		}
		w.server.Advance(11 * time.Hour) // no schedule ran either
		for range 3 {
			tick()
		}
		require.Equal(t, rollout.Rolling, s.State.Phase)
		require.Equal(t, rollout.Inconclusive, s.State.Block.Class)
		require.Contains(t, s.State.Block.Why, "gate errors does not answer")
		require.Contains(t, s.State.Block.Why, "connection refused")
		require.Equal(t, 1, w.on("vmss-authz", version), "nobody else got it meanwhile")
		image := w.image()
		failed, _ := image.Failed()
		require.False(t, failed)
		prom.start(t)
		for n := 0; !s.State.Phase.Over() && n < 60; n++ {
			tick()
		}
		require.Equal(t, rollout.Succeeded, s.State.Phase, s.State.Block)
	})
}
