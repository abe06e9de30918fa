package roll

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// gateWithin bounds the questions of one gate together, askWithin each of them.
	gateWithin = 30 * time.Second
	askWithin  = 10 * time.Second
	// maxReply bounds an answer: it is one series.
	maxReply = 1 << 20
	// prometheusScope is whom a token for an Azure Monitor workspace is for.
	prometheusScope = "https://prometheus.monitor.azure.com/.default"
)

// queryGate asks Prometheus. The same history of the service gives the same verdict:
// nothing is kept here between two questions.
func queryGate(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	if r.Spec.Rollout == nil {
		return rollout.Result{Outcome: rollout.Denied, Text: "the file has no rollout any more"}
	}
	gates := r.Spec.Rollout.Gates.Prometheus
	i := slices.IndexFunc(gates, func(g fleet.PrometheusSpec) bool { return g.Name == a.Name })
	if i < 0 {
		return rollout.Result{Outcome: rollout.Denied, Text: "the file has no gate " + a.Name + " any more"}
	}
	var since time.Time
	if r.ledger != nil {
		since = r.ledger.reached()
	}
	verdict, why := r.judge(ctx, &gates[i], p.Version, since)
	return rollout.Result{Outcome: rollout.Done, Answer: string(verdict), Text: line(why)}
}

// judge asks what a gate asks, and judges the answers: the gate fails when the last
// `for` answers, a step apart, are all beyond what it allows, and none of them is from
// before members ran the version.
func (r *Runner) judge(ctx context.Context, g *fleet.PrometheusSpec, version string, since time.Time) (verdict rollout.Verdict, why string) {
	now := r.now()
	step, in := cmp.Or(g.Step, time.Minute), max(g.For, 1)
	if t := g.Traffic; t != nil {
		points, err := r.query(ctx, g, t.Query, version, now, step, 1)
		switch {
		case err != nil:
			return rollout.Unknown, "the traffic: " + err.Error()
		case math.IsNaN(points[0]):
			return rollout.NoData, "the traffic: the answer has no number"
		case points[0] < t.AtLeast:
			return rollout.NoData, fmt.Sprintf("the traffic is %s, and less than %s says nothing", number(points[0]), number(t.AtLeast))
		}
	}
	points, err := r.query(ctx, g, g.Query, version, now, step, in)
	if err != nil {
		return rollout.Unknown, err.Error()
	}
	last := points[len(points)-1]
	if math.IsNaN(last) {
		return rollout.NoData, "the answer has no number"
	}
	wrong := 0 // in a row, up to the last
	for wrong < len(points) && beyond(g, points[len(points)-1-wrong]) && !now.Add(-time.Duration(wrong)*step).Before(since) {
		wrong++
	}
	why = number(last) + " is " + limitOf(g)
	switch {
	case wrong == 0:
		return rollout.Pass, number(last) + " is not " + limitOf(g)
	case wrong < in:
		return rollout.Pass, fmt.Sprintf("%s, %d of %d times in a row", why, wrong, in)
	}
	return rollout.Fail, fmt.Sprintf("%s, %d times in a row", why, in)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// beyond says whether an answer is beyond what a gate allows. No number is not.
func beyond(g *fleet.PrometheusSpec, v float64) bool {
	return g.Above != nil && v > *g.Above || g.Below != nil && v < *g.Below
}

func limitOf(g *fleet.PrometheusSpec) string {
	if g.Above != nil {
		return "above " + number(*g.Above)
	}
	if g.Below != nil {
		return "below " + number(*g.Below)
	}
	return "beyond a limit that is not given"
}

// A reply is what Prometheus answers to a range query.
type reply struct {
	Status    string `json:"status"`
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
	Data      struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Values [][2]any `json:"values"` // a time in seconds, and a number as text
		} `json:"result"`
	} `json:"data"`
}

// query asks for so many answers to one question, a step apart, the last of them now.
// Where there is none, or none that is a number, the answer is not a number.
func (r *Runner) query(ctx context.Context, g *fleet.PrometheusSpec, text, version string, now time.Time, step time.Duration, count int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	start := now.Add(-time.Duration(count-1) * step)
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	form := url.Values{
		"query": {strings.ReplaceAll(text, "{{.Version}}", version)},
		"start": {stamp(start)}, "end": {stamp(now)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(g.URL, "/")+"/api/v1/query_range", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the URL of the gate is none")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := r.authorize(ctx, req, g); err != nil {
		return nil, err
	}
	body, status, err := r.exchange(req)
	if err != nil {
		return nil, err
	}
	var answer reply
	switch err := json.Unmarshal(body, &answer); {
	case status != http.StatusOK && answer.Error != "":
		return nil, fmt.Errorf("the server answered %d: %s: %s", status, answer.ErrorType, answer.Error)
	case status != http.StatusOK:
		return nil, fmt.Errorf("the server answered %d %s", status, http.StatusText(status))
	case err != nil, answer.Status != "success", answer.Data.ResultType != "matrix":
		return nil, errors.New("the answer is not one of Prometheus")
	case len(answer.Data.Result) > 1:
		return nil, fmt.Errorf("the query answers with %d series, and has to answer with one: aggregate it", len(answer.Data.Result))
	}
	points := make([]float64, count)
	for i := range points {
		points[i] = math.NaN()
	}
	if len(answer.Data.Result) == 0 {
		return points, nil
	}
	for _, v := range answer.Data.Result[0].Values {
		at, ok := v[0].(float64)
		i := int(math.Round((at - float64(start.UnixMilli())/1000) / step.Seconds()))
		if !ok || i < 0 || i >= count {
			continue
		}
		s, _ := v[1].(string)
		if value, err := strconv.ParseFloat(s, 64); err == nil {
			points[i] = value
		}
	}
	return points, nil
}

// authorize adds what the server wants to see.
func (r *Runner) authorize(ctx context.Context, req *http.Request, g *fleet.PrometheusSpec) error {
	for name, value := range g.Headers {
		req.Header.Set(name, value)
	}
	if g.Auth != "azure" {
		return nil
	}
	token, err := r.Azure.Token(ctx, prometheusScope)
	if err != nil {
		return fmt.Errorf("no token for the server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// exchange sends a request to a service that is not Azure, and reads a bounded answer.
// The error has no URL: it may be a secret.
func (r *Runner) exchange(req *http.Request) (body []byte, status int, err error) {
	client := r.HTTP
	if client == nil {
		client = &http.Client{}
	}
	stays := *client // a redirect would lead a token, or a report, elsewhere
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := stays.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", askWithin)
		}
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("read the answer: %w", err)
	case len(body) > maxReply:
		return nil, 0, fmt.Errorf("the answer is larger than %d KiB", maxReply>>10)
	}
	return body, resp.StatusCode, nil
}
