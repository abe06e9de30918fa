package health

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// CustomMetrics is what the answers tell a rolling upgrade about this instance
// beside its health. The platform reads it at the start of an upgrade, from
// instances that are Healthy.
type CustomMetrics struct {
	Enabled bool
	// Phase orders instances: the platform upgrades phase 0 first. Not
	// negative.
	Phase int
	// SkipUpgrade is always, never, or auto (also when empty): while draining
	// or in maintenance.
	SkipUpgrade string
}

func (c CustomMetrics) validate() error {
	if c.Phase < 0 {
		return fmt.Errorf("custom_metrics: phase %d: must not be negative", c.Phase)
	}
	switch c.SkipUpgrade {
	case "", "auto", "always", "never":
		return nil
	default:
		return fmt.Errorf("custom_metrics: skip_upgrade %q: must be auto, always or never", c.SkipUpgrade)
	}
}

// text renders the metrics as the extension wants them: JSON inside a JSON
// string. An object in its place makes the extension call a healthy instance
// Unknown.
func (c CustomMetrics) text(r *Report) string {
	if !c.Enabled {
		return ""
	}
	skip := c.SkipUpgrade == "always" || c.SkipUpgrade != "never" && (r.Draining || r.Maintenance)
	return fmt.Sprintf(`{"rollingUpgrade":{"PhaseOrderingNumber":%d,"SkipUpgrade":%t}}`, c.Phase, skip)
}

// AnswersConfig is what the answers know beside the reports.
type AnswersConfig struct {
	// Live says whether the agent's own loops still turn. It is called for
	// every request of /livez, from many goroutines, and must be cheap; nil
	// means always.
	Live func() bool
	// Uncounted is the User-Agent whose requests are answered and not counted:
	// looking whether the node is probed is no probe. Empty: all count.
	Uncounted string
}

// Answers is the HTTP side: it serves what the newest Report was rendered to.
// It outlives configurations and Monitors. Before the first report it answers
// that the node is starting.
//
// It is a prometheus.Collector of the requests that it answers.
type Answers struct {
	live      func() bool
	uncounted string
	pages     atomic.Pointer[pages]
	requests  requestCounts
}

// NewAnswers returns Answers that say starting.
func NewAnswers(cfg AnswersConfig) *Answers {
	a := &Answers{live: cfg.Live, uncounted: cfg.Uncounted, requests: requestCounts{epoch: time.Now()}}
	if a.live == nil {
		a.live = func() bool { return true }
	}
	a.show(render(&Report{State: Starting, ReadyState: Starting}, CustomMetrics{}))
	return a
}

// show makes p what every request from now on is answered with.
func (a *Answers) show(p *pages) { a.pages.Store(p) }

// pages are all answers for one state of the report.
type pages struct {
	health, ready endpoint
}

// endpoint is the answer of one path, for programs and for people.
type endpoint struct {
	plain, verbose page
}

// page is one finished answer. Its slices are shared by all requests and never
// written to.
type page struct {
	code        int
	contentType []string
	body        []byte
}

var (
	typeJSON = []string{"application/json"}
	typeText = []string{"text/plain; charset=utf-8"}
	pageLive = newPage(http.StatusOK, typeJSON, `{"Live":true}`+"\n")
	pageDead = newPage(http.StatusServiceUnavailable, typeJSON, `{"Live":false}`+"\n")
	pageNone = newPage(http.StatusNotFound, typeJSON, `{"Error":"not found","Paths":["/healthz","/readyz","/livez"]}`+"\n")
	pageVerb = newPage(http.StatusMethodNotAllowed, typeText, "method not allowed: use GET or HEAD\n")
	getHead  = []string{"GET, HEAD"}
)

func newPage(code int, contentType []string, body string) page {
	return page{code: code, contentType: contentType, body: []byte(body)}
}

// ServeHTTP answers from what was rendered earlier.
func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = p.contentType // and no more: each header costs every request
	w.WriteHeader(p.code)
	_, _ = w.Write(p.body) // the client may be gone: its loss
}

// Handler returns the probe endpoint:
//
//	path               starting  healthy  unhealthy  draining or maintenance
//	/healthz           503       200      202        as if not draining
//	/readyz, /ready    503       200      503        503
//	/livez             200       200      200        200
//
// 200 and 202 make one endpoint right for both versions of the Application
// Health extension and for Azure load balancers: v1 and load balancers want
// exactly 200, v2 any 2xx and a valid body. Starting is a 503 because an
// Unhealthy during the boot ends the extension's grace period. /livez answers
// 503 when AnswersConfig.Live says false.
//
// Slashes before and after the name do not matter, since a redirect to the
// right path would count as a failed probe. With the query verbose the answer
// has a line for each check. Any other path is a 404 that names these.
func (a *Answers) Handler() http.Handler { return http.HandlerFunc(a.serve) }

func (a *Answers) serve(w http.ResponseWriter, r *http.Request) {
	ask, p := a.answer(r)
	if ask != askOther && r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header()["Allow"] = getHead
		p = &pageVerb
	}
	if by := r.Header["User-Agent"]; a.uncounted == "" || len(by) != 1 || by[0] != a.uncounted {
		a.requests.count(ask, p.code, r)
	}
	p.ServeHTTP(w, r)
}

func (a *Answers) answer(r *http.Request) (ask int, p *page) {
	now := a.pages.Load()
	var e *endpoint
	switch strings.Trim(r.URL.Path, "/") {
	case "healthz":
		ask, e = askHealth, &now.health
	case "readyz", "ready":
		ask, e = askReady, &now.ready
	case "livez":
		if a.live() {
			return askLive, &pageLive
		}
		return askLive, &pageDead
	default:
		return askOther, &pageNone
	}
	if r.URL.RawQuery != "" && r.URL.Query().Has("verbose") {
		return ask, &e.verbose
	}
	return ask, &e.plain
}

// render prepares every answer for a report.
func render(r *Report, custom CustomMetrics) *pages {
	metrics := custom.text(r)
	health := map[State]int{Starting: http.StatusServiceUnavailable, Healthy: http.StatusOK, Unhealthy: http.StatusAccepted}
	ready := http.StatusServiceUnavailable
	state, word := r.ReadyState, string(r.ReadyState)
	if r.Ready() {
		ready = http.StatusOK
	}
	switch {
	case r.Draining:
		word = "draining"
	case r.Maintenance:
		word = "in maintenance"
	}
	if state == Healthy && !r.Ready() {
		state = Unhealthy
	}
	return &pages{
		health: endpoint{
			plain:   newPage(health[r.State], typeJSON, stateBody(r.State, metrics)),
			verbose: newPage(health[r.State], typeText, checkList(r, gateHealth)+"healthz: "+string(r.State)+"\n"),
		},
		ready: endpoint{
			plain:   newPage(ready, typeJSON, stateBody(state, metrics)),
			verbose: newPage(ready, typeText, checkList(r, gateReady)+"readyz: "+word+"\n"),
		},
	}
}

// stateBody is the body that version 2 of the extension reads. While starting
// it lacks the key that the extension looks for, so that nothing can take it
// for a verdict.
func stateBody(s State, metrics string) string {
	var body any
	switch s {
	case Healthy:
		body = richState{"Healthy", metrics}
	case Unhealthy:
		body = richState{"Unhealthy", metrics}
	default:
		body = struct{ State string }{"Starting"}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// richState is the body as the extension defines it. Only these two values of
// the state are valid, letter by letter.
type richState struct {
	ApplicationHealthState string
	CustomMetrics          string `json:",omitempty"`
}

// checkList has a line for each check. Why one failed is for the control
// socket, not for the network.
func checkList(r *Report, g gate) string {
	const lineBytes = 64 // a guess that spares growing
	b := make([]byte, 0, len(r.Checks)*lineBytes)
	for i := range r.Checks {
		c := &r.Checks[i]
		switch c.Status {
		case Passing:
			b = append(append(append(b, "[+]"...), c.Name...), " ok"...)
		case Failing:
			b = append(append(append(b, "[-]"...), c.Name...), " failed"...)
		case Blocked:
			b = append(append(append(b, "[ ]"...), c.Name...), " blocked by "...)
			b = append(b, strings.Join(c.BlockedBy, ", ")...)
		default:
			b = append(append(append(b, "[ ]"...), c.Name...), " unknown"...)
		}
		if !gates(c.Severity, c.Gates, g) {
			b = append(b, " (gates nothing here)"...)
		}
		b = append(b, '\n')
	}
	return string(b)
}
