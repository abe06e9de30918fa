package main

import (
	"context"
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

// readiness is what --ready-file says.
type readiness struct {
	Version int       `json:"version"`
	PID     int       `json:"pid"`
	Control string    `json:"control"`
	VMs     []readyVM `json:"vms"`
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
		endpoint, err := s.start(ctx, group, addresses[i], s.server.VM(name), true)
		if err != nil {
			return err
		}
		ready.VMs = append(ready.VMs, readyVM{Name: name, Endpoint: endpoint})
	}
	if ready.Control, err = s.start(ctx, group, s.control, s.server.Control(), false); err != nil {
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

// start listens on an address, serves there until ctx is done, and returns the
// URL.
func (s *simulation) start(ctx context.Context, group *errgroup.Group, address string, h http.Handler, metadata bool) (string, error) {
	if err := s.mayListen(address, metadata); err != nil {
		return "", err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", address, err)
	}
	served := server.New(server.Config{
		Handler:      h,
		WriteTimeout: slowest,
		// A request that hangs on purpose ends with the simulation.
		BaseContext: func(net.Listener) context.Context { return ctx },
		Logger:      s.log,
	})
	group.Go(func() error {
		if err := served.Run(ctx, listener); err != nil {
			return fmt.Errorf("serve %s: %w", address, err)
		}
		return nil
	})
	return "http://" + listener.Addr().String(), nil
}

// mayListen refuses addresses that other hosts may reach. The metadata service
// may also have its real, link-local address.
func (s *simulation) mayListen(address string, metadata bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return cli.Hint(fmt.Errorf("listen on %s: %w", address, err), "write HOST:PORT, such as 127.0.0.1:0")
	}
	ip := net.ParseIP(host)
	switch {
	case host == "localhost", ip.IsLoopback(), s.allowRemote:
		return nil
	case metadata && ip.IsLinkLocalUnicast():
		s.log.Warn("metadata is served on a link-local address, which neighbours may reach", "address", address)
		return nil
	}
	return cli.Hint(fmt.Errorf("listen on %s: it is not a loopback address, and anybody who reaches it may steer the simulation", address),
		"use 127.0.0.1, or --allow-remote if you mean it")
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

// writeReady writes the file in one step, so that whoever waits for it never
// sees half of it.
func writeReady(path string, r readiness) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the ready file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("create the ready file: %w", err)
	}
	defer os.Remove(f.Name()) // gone when all went well
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	return nil
}
