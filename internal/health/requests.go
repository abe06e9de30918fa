package health

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests are counted by what they ask for and by the code of the answer, so
// that an agent can say whether anybody probes it. The sets are fixed: what is
// asked for comes from the network and must not make a series.
const (
	askHealth = iota
	askReady
	askLive
	askOther // a path that does not exist
)

// asks is what can be asked for, and the codes that answer it.
var asks = [...]struct {
	path  string
	codes []int
}{
	askHealth: {"/healthz", []int{http.StatusOK, http.StatusAccepted, http.StatusMethodNotAllowed, http.StatusServiceUnavailable}},
	askReady:  {"/readyz", []int{http.StatusOK, http.StatusMethodNotAllowed, http.StatusServiceUnavailable}},
	askLive:   {"/livez", []int{http.StatusOK, http.StatusMethodNotAllowed, http.StatusServiceUnavailable}},
	askOther:  {"other", []int{http.StatusNotFound}},
}

// maxCodes is how many codes one path can have.
const maxCodes = 4

// maxNotFound bounds what is kept of a path that does not exist, in bytes.
const maxNotFound = 64

var descRequests = prometheus.NewDesc("fleet_agent_probe_requests_total",
	"Requests that the probe listener answered, by path and status code; those of doctor are left out.", []string{"path", "code"}, nil)

// requestCounts counts requests by path and code. The zero value with an epoch is
// ready.
type requestCounts struct {
	epoch time.Time
	asks  [len(asks)]struct {
		codes [maxCodes]atomic.Uint64 // as in asks
		last  atomic.Int64            // nanoseconds since epoch; 0: never
	}
	notFound atomic.Pointer[string] // the last path that does not exist
}

// count is on the path of every request: two additions and a look at the clock.
func (t *requestCounts) count(ask, code int, r *http.Request) {
	t.asks[ask].codes[slices.Index(asks[ask].codes, code)].Add(1)
	t.asks[ask].last.Store(max(int64(time.Since(t.epoch)), 1))
	if ask == askOther {
		text := r.RequestURI[:min(len(r.RequestURI), maxNotFound)]
		if last := t.notFound.Load(); last == nil || *last != text {
			kept := strings.Clone(text) // not the rest of the request with it
			t.notFound.Store(&kept)
		}
	}
}

// Requests says who asked for what, as far as the probe listener can tell.
type Requests struct {
	// Paths has /healthz, /readyz (and its alias /ready), /livez, and "other"
	// for every path that does not exist.
	Paths []PathRequests
	// NotFound is the last path that does not exist as it was asked for, its
	// first 64 bytes: text from the network. Empty when there was none.
	NotFound string
}

// PathRequests counts the requests for one path.
type PathRequests struct {
	Path  string
	Total uint64
	Last  time.Time // zero: never
}

// Requests returns what was asked so far, without what AnswersConfig leaves
// uncounted. It may be called from any goroutine.
func (a *Answers) Requests() Requests {
	t := &a.requests
	r := Requests{Paths: make([]PathRequests, len(asks))}
	for i := range asks {
		p := PathRequests{Path: asks[i].path}
		for j := range asks[i].codes {
			p.Total += t.asks[i].codes[j].Load()
		}
		if last := t.asks[i].last.Load(); last > 0 {
			p.Last = t.epoch.Add(time.Duration(last))
		}
		r.Paths[i] = p
	}
	if text := t.notFound.Load(); text != nil {
		r.NotFound = *text
	}
	return r
}

// Describe implements prometheus.Collector.
func (a *Answers) Describe(ch chan<- *prometheus.Desc) { ch <- descRequests }

// Collect implements prometheus.Collector.
func (a *Answers) Collect(ch chan<- prometheus.Metric) {
	for i := range asks {
		for j, code := range asks[i].codes {
			ch <- prometheus.MustNewConstMetric(descRequests, prometheus.CounterValue,
				float64(a.requests.asks[i].codes[j].Load()), asks[i].path, strconv.Itoa(code))
		}
	}
}
