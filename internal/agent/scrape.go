package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fleet-agent/fleet-agent/internal/server"
)

const (
	// metricsRetry is how often a metrics address that is taken is tried again.
	metricsRetry = 5 * time.Second
	// scrapeBound is how long a scrape may take, and be read.
	scrapeBound = 10 * time.Second
)

// A metricsListener serves the metrics. Without an address to serve them on the agent
// goes on, warns, and tries again.
type metricsListener struct {
	address string
	listen  func(ctx context.Context, address string) (net.Listener, error)
	handler http.Handler
	logger  *slog.Logger

	bound   atomic.Pointer[string] // what it listens on; nil: nothing
	problem atomic.Pointer[string] // why; nil: none
	first   net.Listener           // of open, for Run
}

func (a *Agent) newMetricsListener(address string) *metricsListener {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4,
		Timeout:             scrapeBound,
	}))
	return &metricsListener{address: address, listen: listen, handler: mux, logger: a.logger}
}

// open tries to listen for the first time.
func (m *metricsListener) open(ctx context.Context) { m.first = m.try(ctx) }

// Run serves until ctx is done.
func (m *metricsListener) Run(ctx context.Context) error {
	for l := m.first; ; l = m.try(ctx) {
		if l != nil {
			err := server.New(server.Config{
				Handler: m.handler, MaxConns: connLimits(maxDescriptors()).metrics,
				WriteTimeout: 2 * scrapeBound, Logger: m.logger,
			}).Run(ctx, l)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the agent stops
			}
			m.note(nil, err)
		}
		if !sleep(ctx, metricsRetry) {
			return nil
		}
	}
}

// try listens, and returns nil when it cannot.
func (m *metricsListener) try(ctx context.Context) net.Listener {
	l, err := m.listen(ctx, m.address)
	m.note(l, err)
	return l
}

// note remembers what came of it, and logs what is new.
func (m *metricsListener) note(l net.Listener, err error) {
	if l != nil && err == nil {
		address := l.Addr().String()
		m.bound.Store(&address)
		if m.problem.Swap(nil) != nil {
			m.logger.Info("metrics are served", "address", address)
		}
		return
	}
	m.bound.Store(nil)
	text := "the listener ended"
	if err != nil {
		text = err.Error()
	}
	if old := m.problem.Swap(&text); old == nil || *old != text {
		m.logger.Warn("metrics are not served, trying again", "every", metricsRetry, "err", text)
	}
}

// warning says why there are no metrics, or "".
func (m *metricsListener) warning() string {
	problem := m.problem.Load()
	if problem == nil {
		return ""
	}
	return "metrics are not served, trying again every " + metricsRetry.String() + ": " + *problem +
		"; sudo ss -ltnp shows who has the port"
}
