package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fleet-agent/fleet-agent/internal/health"
)

// stopBound is how long a server may take to end the requests in flight.
const stopBound = 2 * time.Second

// listenProbe opens the probe listener, or takes those that systemd passed, and
// returns what serves them.
func (a *Agent) listenProbe(ctx context.Context) (func(context.Context) error, error) {
	conf := a.conf.Load()
	if files := conf.Listen.TLS; files.CertFile != "" {
		cert, err := loadCertificate(files.CertFile, files.KeyFile, a.logger)
		if err != nil {
			return nil, err
		}
		a.certificate = cert
	}
	listeners := slices.Clone(a.cfg.Listeners["probe"])
	if len(listeners) == 0 {
		l, err := listen(ctx, conf.Listen.Probe)
		if err != nil {
			return nil, fmt.Errorf("listen for probes: %w", err)
		}
		listeners = []net.Listener{l}
	}
	address := listeners[0].Addr().String()
	a.probeAddr.Store(&address)
	if a.certificate != nil {
		for i, l := range listeners {
			listeners[i] = tls.NewListener(l, a.certificate.tlsConfig())
		}
	}
	server := health.NewServer(health.ServerConfig{Handler: a.answers.Handler(), Logger: a.logger})
	return serveHTTP(server, listeners...), nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// listenMetrics opens the metrics listener.
func (a *Agent) listenMetrics(ctx context.Context, address string) (func(context.Context) error, error) {
	listener, err := listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	bound := listener.Addr().String()
	a.metrAddr.Store(&bound)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	return serveHTTP(&http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}, listener), nil
}

// listenControl opens the control socket.
func (a *Agent) listenControl(ctx context.Context) (func(context.Context) error, error) {
	listener, err := listenControl(ctx, a.conf.Load().RunDir)
	if err != nil {
		return nil, err
	}
	return serveHTTP(newControlServer(&controlOps{a}, a.logger), listener), nil
}

// serveHTTP serves until its context is done, or a listener fails, and then lets
// the requests in flight end, for a bounded time.
func serveHTTP(server *http.Server, listeners ...net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		served := make(chan error, len(listeners))
		for _, l := range listeners {
			go func() { served <- server.Serve(l) }()
		}
		var errs []error
		select {
		case err := <-served:
			errs = append(errs, err)
		case <-ctx.Done():
		}
		bound, stop := context.WithTimeout(context.WithoutCancel(ctx), stopBound)
		defer stop()
		if server.Shutdown(bound) != nil {
			_ = server.Close() // what did not end in time is cut off
		}
		for len(errs) < len(listeners) {
			errs = append(errs, <-served)
		}
		for _, err := range errs {
			if !errors.Is(err, http.ErrServerClosed) {
				return err
			}
		}
		return nil
	}
}
