package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/server"
)

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
		if a.cfg.Notifier.Managed() {
			a.port.own = l.Addr().String()
		}
	}
	address := listeners[0].Addr().String()
	a.probeAddr.Store(&address)
	if a.certificate != nil {
		for i, l := range listeners {
			listeners[i] = tls.NewListener(l, a.certificate.tlsConfig())
		}
	}
	s := server.New(server.Config{Handler: a.answers.Handler(), MaxConns: connLimits(maxDescriptors()).probe, Logger: a.logger})
	return func(ctx context.Context) error { return s.Run(ctx, listeners...) }, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// listenControl opens the control socket.
func (a *Agent) listenControl(ctx context.Context) (func(context.Context) error, error) {
	listener, err := listenControl(ctx, a.cfg.Config.RunDir)
	if err != nil {
		return nil, err
	}
	a.runDir.socket = listener
	s := newControlServer(&controlOps{a}, a.runDir.accounts, connLimits(maxDescriptors()).control, a.logger)
	return func(ctx context.Context) error { return s.Run(ctx, listener) }, nil
}
