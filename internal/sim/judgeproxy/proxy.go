// Package judgeproxy answers: did everything that went over this wire keep to what
// Azure publishes?
//
// A Proxy is a handler in front of another: the simulated control plane, or a proxy to
// a process that runs it. It lets every exchange through as it is, and judges it: the
// body of a PUT as a request, of a PATCH as a part of one, each resource that is
// answered, alone or in a list, as a response, and around them what every answer of
// Azure Resource Manager has. A test asks for the report at the end. With Config.Sent it
// judges only what is sent, and wants a judge for every body.
//
//	client ─▶ Proxy ─▶ simulator
//	            │
//	        Exchange ─▶ judge (pure) ─▶ Report
//
// It starts no goroutines and is for tests: bodies are held whole.
package judgeproxy

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
)

// A Config says what a [Proxy] stands before.
type Config struct {
	Next  http.Handler
	Types *armtypes.Types
	// Into returns a pointer to what a body is decoded into, or nil for nothing. What is
	// lost when it is encoded again is a finding. May be nil.
	Into func(method string, target armtypes.Target) any
	// Sent judges only what is sent, which costs little; answers go by unread. A body to
	// Azure Resource Manager that has no judge is a finding then: the body of a PUT needs
	// a published type, or else Into; that of a PATCH or POST needs Into.
	Sent bool
}

// A Proxy judges what passes through it.
type Proxy struct {
	cfg Config

	mu     sync.Mutex // guards what follows
	report Report
}

// New makes a proxy.
func New(cfg Config) *Proxy {
	return &Proxy{cfg: cfg, report: Report{Judged: map[string]int{}, Types: map[string]int{}, Sent: map[string]int{}}}
}

// To is a handler for Config.Next that leads to another server. The server sees the
// name under which the client knows the proxy, so that its links lead back here.
func To(server *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(server)
		r.Out.Host = r.In.Host
	}}
}

// A Report is what was judged so far.
type Report struct {
	Requests int
	Judged   map[string]int // bodies, by what they were judged as
	Types    map[string]int // bodies, by the type of resource
	Sent     map[string]int // bodies that were sent and judged, by "PATCH Microsoft.Compute/galleries"
	Findings []Finding
}

// String counts what was judged, in one line.
func (r Report) String() string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(r.Judged)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Judged[kind], kind))
	}
	return fmt.Sprintf("judged %d requests: %s; of %d types; %d findings", r.Requests, strings.Join(kinds, ", "), len(r.Types), len(r.Findings))
}

// A Finding is what was wrong with an exchange.
type Finding struct {
	Exchange string // PUT /subscriptions/…: 201; without the status where answers go unread
	armtypes.Finding
}

func (f Finding) String() string { return f.Exchange + ": " + f.Finding.String() }

// Kinds of findings of the proxy's own.
const (
	Envelope armtypes.Kind = "envelope" // what every answer has is not there
	Lost     armtypes.Kind = "lost"     // the client's own types do not know it
	Unjudged armtypes.Kind = "unjudged" // a body that there is no judge for
)

// Report returns a copy of what was judged so far.
func (p *Proxy) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Judged, r.Types, r.Sent, r.Findings = maps.Clone(r.Judged), maps.Clone(r.Types), maps.Clone(r.Sent), slices.Clone(r.Findings)
	return r
}

// maxBody bounds a body, either way.
const maxBody = 64 << 20

// ServeHTTP lets an exchange through and judges it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "judgeproxy: read request: "+err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	e := Exchange{Method: r.Method, URL: r.URL, Sent: sent}
	if p.cfg.Sent {
		p.judge(e)
		p.cfg.Next.ServeHTTP(w, r)
		return
	}
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	p.cfg.Next.ServeHTTP(rec, r)
	e.Status, e.Header, e.Answered = rec.status, w.Header().Clone(), rec.body.Bytes()
	p.judge(e)
}

func (p *Proxy) judge(e Exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Requests++
	j := judge{cfg: p.cfg, exchange: e, sent: p.report.Sent, count: func(what, resourceType string) {
		p.report.Judged[what]++
		if resourceType != "" {
			p.report.Types[strings.ToLower(resourceType)]++
		}
	}}
	p.report.Findings = append(p.report.Findings, j.findings()...)
}

// A recorder keeps what it passes on.
type recorder struct {
	http.ResponseWriter

	status int
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. Beyond a bound nothing is kept: the judge then
// finds the JSON cut off.
func (r *recorder) Write(data []byte) (int, error) {
	if r.body.Len()+len(data) <= maxBody {
		r.body.Write(data)
	}
	return r.ResponseWriter.Write(data)
}
