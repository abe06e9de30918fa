package roll

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A prometheus answers range queries with the values of a series, the last of them now.
type prometheus struct {
	series map[string][][]string // by query: series of values, "" is a gap
	status int
	raw    string
	hang   func() // it does not answer, and says so

	asked  []string
	header http.Header
}

func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.header = r.Header
	_ = r.ParseForm()
	p.asked = append(p.asked, r.Form.Get("query"))
	switch {
	case p.hang != nil:
		p.hang()
		<-r.Context().Done()
		return
	case p.status == http.StatusFound:
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", p.status)
		return
	case p.status != 0:
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.raw)
		return
	case p.raw != "":
		_, _ = io.WriteString(w, p.raw)
		return
	}
	start, _ := strconv.ParseFloat(r.Form.Get("start"), 64)
	end, _ := strconv.ParseFloat(r.Form.Get("end"), 64)
	step, _ := strconv.ParseFloat(r.Form.Get("step"), 64)
	count := int((end-start)/step) + 1
	result := []any{}
	for _, values := range p.series[r.Form.Get("query")] {
		points := []any{}
		for i := range count {
			j := len(values) - count + i
			if j < 0 || values[j] == "" {
				continue
			}
			points = append(points, []any{start + float64(i)*step, values[j]})
		}
		result = append(result, map[string]any{"metric": map[string]any{}, "values": points})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": result}})
}

func TestGates(t *testing.T) {
	one := func(values ...string) [][]string { return [][]string{values} }
	bad := func(query string, values [][]string) *prometheus {
		return &prometheus{series: map[string][][]string{"errors 1.7.1": values, "requests": one(query)}}
	}
	for name, c := range map[string]struct {
		server *prometheus
		gate   fleet.PrometheusSpec
		want   rollout.Verdict
		why    string
	}{
		"well":               {server: bad("9", one("0", "0", "0")), want: rollout.Pass, why: "0 is not above 0.5"},
		"wrong once":         {server: bad("9", one("0", "0", "1")), want: rollout.Pass, why: "1 is above 0.5, 1 of 3 times in a row"},
		"wrong, and well":    {server: bad("9", one("1", "1", "0")), want: rollout.Pass, why: "0 is not above 0.5"},
		"wrong in a row":     {server: bad("9", one("0", "1", "2", "3")), want: rollout.Fail, why: "3 is above 0.5, 3 times in a row"},
		"a gap between":      {server: bad("9", one("1", "", "1")), want: rollout.Pass, why: "1 of 3"},
		"no answer lately":   {server: bad("9", one("1", "1", "")), want: rollout.NoData, why: "no number"},
		"not a number":       {server: bad("9", one("1", "1", "NaN")), want: rollout.NoData, why: "no number"},
		"infinitely many":    {server: bad("9", one("+Inf", "+Inf", "+Inf")), want: rollout.Fail, why: "+Inf is above"},
		"no series":          {server: bad("9", nil), want: rollout.NoData, why: "no number"},
		"two series":         {server: bad("9", [][]string{{"0"}, {"0"}}), want: rollout.Unknown, why: "2 series"},
		"no traffic":         {server: bad("0", one("1", "1", "1")), want: rollout.NoData, why: "traffic is 0"},
		"traffic unknown":    {server: &prometheus{series: map[string][][]string{"errors 1.7.1": one("1", "1", "1")}}, want: rollout.NoData, why: "the traffic"},
		"traffic not told":   {server: bad("NaN", one("1", "1", "1")), want: rollout.NoData, why: "the traffic"},
		"below":              {server: bad("9", one("0", "0", "0")), gate: fleet.PrometheusSpec{Below: new(0.1)}, want: rollout.Fail, why: "0 is below 0.1, 3 times"},
		"not below":          {server: bad("9", one("0", "0", "1")), gate: fleet.PrometheusSpec{Below: new(0.1)}, want: rollout.Pass, why: "1 is not below 0.1"},
		"refused":            {server: &prometheus{status: 422, raw: `{"status":"error","errorType":"bad_data","error":"parse error"}`}, want: rollout.Unknown, why: "422: bad_data: parse error"},
		"not signed in":      {server: &prometheus{status: 401}, want: rollout.Unknown, why: "401 Unauthorized"},
		"failed":             {server: &prometheus{status: 503, raw: "<html>"}, want: rollout.Unknown, why: "503 Service Unavailable"},
		"led elsewhere":      {server: &prometheus{status: http.StatusFound}, want: rollout.Unknown, why: "302 Found"},
		"a web page":         {server: &prometheus{raw: "<html>"}, want: rollout.Unknown, why: "not one of Prometheus"},
		"another answer":     {server: &prometheus{raw: `{"status":"success","data":{"resultType":"vector","result":[]}}`}, want: rollout.Unknown, why: "not one of Prometheus"},
		"odd values":         {server: &prometheus{raw: `{"status":"success","data":{"resultType":"matrix","result":[{"values":[["a",7],[1e300,"1"],[1772719200,1]]}]}}`}, want: rollout.NoData, why: "no number"},
		"values are no list": {server: &prometheus{raw: `{"status":"success","data":{"resultType":"matrix","result":[{"values":7}]}}`}, want: rollout.Unknown, why: "not one of Prometheus"},
		"without end":        {server: &prometheus{raw: strings.Repeat("1", maxReply+2)}, want: rollout.Unknown, why: "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.server)
			defer server.Close()
			g := c.gate
			g.Name, g.URL, g.Query, g.Step, g.For = "errors", server.URL+"/", "errors {{.Version}}", time.Minute, 3
			g.Headers = map[string]string{"Authorization": "Bearer s3cret"}
			if g.Below == nil {
				g.Above = new(0.5)
			}
			g.Traffic = &fleet.TrafficSpec{Query: "requests", AtLeast: 1}
			r := gateRunner(g)
			result := queryGate(t.Context(), r, &rollout.Plan{Version: "1.7.1"}, &rollout.Action{Name: "errors"})
			require.Equal(t, rollout.Done, result.Outcome)
			require.Equal(t, string(c.want), result.Answer, result.Text)
			require.Contains(t, result.Text, c.why)
			require.NotContains(t, result.Text, "s3cret")
			require.Equal(t, "Bearer s3cret", c.server.header.Get("Authorization"))
			require.Equal(t, "requests", c.server.asked[0])
		})
	}
}

// What was wrong before any member ran the version is not held against it.
func TestGateBeforeTheVersion(t *testing.T) {
	server := httptest.NewServer(&prometheus{series: map[string][][]string{"errors": {{"1", "1", "1"}}}})
	defer server.Close()
	r := gateRunner(fleet.PrometheusSpec{Name: "errors", URL: server.URL, Query: "errors", Above: new(0.5), Step: time.Minute, For: 3})
	for ago, want := range map[time.Duration]rollout.Verdict{time.Hour: rollout.Fail, 2 * time.Minute: rollout.Fail, 90 * time.Second: rollout.Pass} {
		later := rollout.Run{From: r.Now()}
		r.ledger = &ledger{state: rollout.State{Runs: map[string]rollout.MemberState{
			"a/1": {Runs: []rollout.Run{later}}, "a/2": {Runs: []rollout.Run{{From: r.Now().Add(-ago)}, later}},
		}}}
		result := queryGate(t.Context(), r, &rollout.Plan{}, &rollout.Action{Name: "errors"})
		require.Equal(t, string(want), result.Answer, "%s: %s", ago, result.Text)
	}
}

func gateRunner(g fleet.PrometheusSpec) *Runner {
	return &Runner{
		Spec: &fleet.Spec{Rollout: &fleet.RolloutSpec{Gates: fleet.GatesSpec{Prometheus: []fleet.PrometheusSpec{g}}}},
		Now:  func() time.Time { return time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC) },
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// A server that is not there, or does not answer, is not known to be well.
func TestGateOutage(t *testing.T) {
	gone := httptest.NewServer(&prometheus{})
	gone.Close()
	hanging := &prometheus{}
	hangs := httptest.NewServer(hanging)
	defer hangs.Close()
	for name, c := range map[string]struct{ url, why string }{
		"gone":  {gone.URL, "connection refused"},
		"hangs": {hangs.URL, "no answer"},
		"none":  {"http://\x7f", "URL"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, expire := testkit.Expiring(t.Context())
			hanging.hang = expire
			r := gateRunner(fleet.PrometheusSpec{Name: "errors", URL: c.url, Query: "up", Above: new(1.0)})
			result := queryGate(ctx, r, &rollout.Plan{}, &rollout.Action{Name: "errors"})
			require.Equal(t, string(rollout.Unknown), result.Answer)
			require.Contains(t, result.Text, c.why)
		})
	}
	r := gateRunner(fleet.PrometheusSpec{Name: "errors"})
	require.Equal(t, rollout.Denied, queryGate(t.Context(), r, &rollout.Plan{}, &rollout.Action{Name: "other"}).Outcome)
	r.Spec.Rollout = nil
	require.Equal(t, rollout.Denied, queryGate(t.Context(), r, &rollout.Plan{}, &rollout.Action{Name: "errors"}).Outcome)
}

// The webhook is told a few times, and its address is in no text.
func TestNotify(t *testing.T) {
	for name, c := range map[string]struct {
		answers []int
		asked   int
		want    rollout.Outcome
	}{
		"told":          {[]int{204}, 1, rollout.Done},
		"told later":    {[]int{500, 429, 200}, 3, rollout.Done},
		"never":         {[]int{500, 500, 500, 500}, 3, rollout.Errored},
		"not wanted":    {[]int{404}, 1, rollout.Errored},
		"led elsewhere": {[]int{302}, 1, rollout.Errored},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			var told notice
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				body, _ := io.ReadAll(r.Body)
				_ = json.Unmarshal(body, &told)
				w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
				w.WriteHeader(c.answers[asked-1])
			}))
			defer server.Close()
			r := gateRunner(fleet.PrometheusSpec{})
			r.Spec.Rollout.OnHalt.Notify = server.URL + "/s3cret?token=s3cret"
			result := notify(t.Context(), r, &rollout.Plan{Fleet: "pay", Version: "1.7.1"}, &rollout.Action{Name: "halted", Why: "it is Unhealthy"})
			require.Equal(t, c.want, result.Outcome, result.Text)
			require.Equal(t, c.asked, asked)
			require.NotContains(t, result.Text, "s3cret")
			require.Equal(t, "fleet pay, rollout of 1.7.1: halted: it is Unhealthy", told.Text)
		})
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r := gateRunner(fleet.PrometheusSpec{})
	r.Spec.Rollout.OnHalt.Notify = gone.URL + "/s3cret"
	result := notify(t.Context(), r, &rollout.Plan{}, &rollout.Action{})
	require.Equal(t, rollout.Errored, result.Outcome)
	require.NotContains(t, result.Text, "s3cret")
	r.Spec.Rollout.OnHalt.Notify = ""
	require.Equal(t, rollout.Denied, notify(t.Context(), r, &rollout.Plan{}, &rollout.Action{}).Outcome)
}

func FuzzReply(f *testing.F) {
	f.Add(`{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1772719200,"1"]]}]}}`)
	f.Add(`{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1e308,"NaN"],[-1e308,"x"]]}]}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		r := gateRunner(fleet.PrometheusSpec{Name: "g", URL: "http://prometheus", Query: "up", Above: new(1.0), For: 3, Step: time.Minute})
		r.HTTP = &http.Client{Transport: answering(raw)}
		result := queryGate(t.Context(), r, &rollout.Plan{}, &rollout.Action{Name: "g"})
		require.Contains(t, []string{"pass", "fail", "no-data", "unknown"}, result.Answer)
	})
}

// answering answers every request with a text.
type answering string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a))), Request: r, Header: make(http.Header)}, nil
}
