package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/server"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// slowest bounds answers that are slow on purpose.
const slowest = time.Hour

// A simulation is one run of `fleetsim imds`.
type simulation struct {
	server      *imds.Server
	scenario    *imds.Scenario
	listen      []string // one address, or one for each machine
	control     string
	allowRemote bool
	readyFile   string // empty: none
	out         io.Writer
	log         *slog.Logger
}

// A service is one listener and what is served on it.
type service struct {
	address string
	handler http.Handler
	tls     *tls.Config // nil: plain HTTP
}

// readiness is what --ready-file says.
type readiness struct {
	Version int       `json:"version"`
	PID     int       `json:"pid"`
	Control string    `json:"control"`
	VMs     []readyVM `json:"vms,omitempty"`
	// Endpoint is that of Azure Resource Manager, of fleetsim arm.
	Endpoint string `json:"endpoint,omitempty"`
}

type readyVM struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
}

// lines are the addresses as standard output has them.
func (r readiness) lines() string {
	var b strings.Builder
	for _, m := range r.VMs {
		b.WriteString(m.Name + " " + m.Endpoint + "\n")
	}
	return b.String() + "control " + r.Control + "\n"
}

// serve runs the simulation until ctx is done and all its goroutines have
// ended.
func (s *simulation) serve(ctx context.Context) error {
	names := s.server.VMs()
	addresses, err := spread(s.listen, len(names))
	if err != nil {
		return err
	}
	ready := readiness{Version: 1, PID: os.Getpid()}
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	// A return before the end of this function stops what has been started.
	defer func() {
		cancel()
		_ = group.Wait()
	}()

	for i, name := range names {
		if err := s.mayListen(addresses[i], true); err != nil {
			return err
		}
		endpoint, err := start(ctx, group, s.log, service{address: addresses[i], handler: s.server.VM(name)})
		if err != nil {
			return err
		}
		ready.VMs = append(ready.VMs, readyVM{Name: name, Endpoint: endpoint})
	}
	if err := s.mayListen(s.control, false); err != nil {
		return err
	}
	if ready.Control, err = start(ctx, group, s.log, service{address: s.control, handler: s.server.Control()}); err != nil {
		return err
	}
	if _, err := io.WriteString(s.out, ready.lines()); err != nil {
		return fmt.Errorf("print the addresses: %w", err)
	}
	if s.readyFile != "" {
		if err := writeReady(s.readyFile, ready); err != nil {
			return err
		}
		defer os.Remove(s.readyFile)
	}

	group.Go(func() error { return s.server.Run(ctx) })
	if s.scenario.Name != "" {
		s.log.Info("scenario started", "scenario", s.scenario.Name)
		group.Go(func() error { return s.server.Play(ctx, s.scenario) })
	}
	return group.Wait()
}

// maxHeader bounds the header of a request: tokens are long.
const maxHeader = 64 << 10

// start listens on an address, serves there until ctx is done, and returns the
// URL.
func start(ctx context.Context, group *errgroup.Group, log *slog.Logger, s service) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.address)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", s.address, err)
	}
	url := "http://" + listener.Addr().String()
	if s.tls != nil {
		url = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, s.tls)
	}
	served := server.New(server.Config{
		Handler:        s.handler,
		WriteTimeout:   slowest,
		MaxHeaderBytes: maxHeader,
		// A request that hangs on purpose ends with the simulation.
		BaseContext: func(net.Listener) context.Context { return ctx },
		Logger:      log,
	})
	group.Go(func() error {
		if err := served.Run(ctx, listener); err != nil {
			return fmt.Errorf("serve %s: %w", s.address, err)
		}
		return nil
	})
	return url, nil
}

// mayListen refuses addresses that other hosts may reach. The metadata service
// may also have its real, link-local address.
func (s *simulation) mayListen(address string, metadata bool) error {
	loopback, err := isLoopback(address)
	host, _, _ := net.SplitHostPort(address) // isLoopback says what is wrong with it
	switch {
	case err != nil:
		return err
	case loopback, s.allowRemote:
		return nil
	case metadata && net.ParseIP(host).IsLinkLocalUnicast():
		s.log.Warn("metadata is served on a link-local address, which neighbours may reach", "address", address)
		return nil
	}
	return cli.Hint(fmt.Errorf("listen on %s: it is not a loopback address, and anybody who reaches it may steer the simulation", address),
		"use 127.0.0.1, or --allow-remote if you mean it")
}

// isLoopback says whether only this host can reach an address.
func isLoopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, cli.Hint(fmt.Errorf("listen on %s: %w", address, err), "write HOST:PORT, such as 127.0.0.1:0")
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback(), nil
}

// spread gives n machines an address each: their own, or consecutive ports.
func spread(addresses []string, n int) ([]string, error) {
	if len(addresses) == n {
		return addresses, nil
	}
	if len(addresses) != 1 {
		return nil, fmt.Errorf("listen on %d addresses: there are %d machines; give one address, or one for each", len(addresses), n)
	}
	host, text, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addresses[0], err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port != 0 && port+n-1 > 65535 {
		return nil, fmt.Errorf("listen on %s: %q is not a port that leaves room for %d machines", addresses[0], text, n)
	}
	all := make([]string, n)
	for i := range all {
		all[i] = net.JoinHostPort(host, strconv.Itoa(port))
		if port != 0 {
			port++
		}
	}
	return all, nil
}

// writeReady writes what --ready-file says.
func writeReady(path string, r readiness) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the ready file: %w", err)
	}
	if err := writeWhole(path, append(data, '\n')); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	return nil
}

// writeWhole writes a file in one step, so that whoever waits for it never sees half
// of it.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
