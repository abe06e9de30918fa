package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fleet-agent/fleet-agent/internal/health"
)

// stopBound is how long a server may take to end the requests in flight.
const stopBound = 2 * time.Second

// listenProbe opens the probe listener, or takes the one that systemd passed,
// and returns what serves it.
func (a *Agent) listenProbe(ctx context.Context) (func(context.Context) error, error) {
	conf := a.conf.Load()
	var listener net.Listener
	if passed := a.cfg.Listeners["probe"]; len(passed) > 0 {
		listener = passed[0]
	} else {
		l, err := listen(ctx, conf.Listen.Probe)
		if err != nil {
			return nil, fmt.Errorf("listen for probes: %w", err)
		}
		listener = l
	}
	address := listener.Addr().String()
	a.probeAddr.Store(&address)
	server := health.NewServer(health.ServerConfig{Handler: a.answers.Handler(), Logger: a.logger})
	if files := conf.Listen.TLS; files.CertFile != "" {
		cert, err := loadCertificate(files.CertFile, files.KeyFile, a.logger)
		if err != nil {
			_ = listener.Close()
			return nil, err
		}
		a.certificate = cert
		listener = tls.NewListener(listener, cert.tlsConfig())
	}
	return serveHTTP(server, listener), nil
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

// serveHTTP serves until its context is done and then lets the requests in
// flight end, for a bounded time.
func serveHTTP(server *http.Server, listener net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		var err error
		select {
		case err = <-served:
		case <-ctx.Done():
			bound, stop := context.WithTimeout(context.WithoutCancel(ctx), stopBound)
			defer stop()
			if server.Shutdown(bound) != nil {
				_ = server.Close() // what did not end in time is cut off
			}
			err = <-served
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}
