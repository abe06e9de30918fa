package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// armOptions are the flags of `fleetsim arm`.
type armOptions struct {
	listen       string
	tls          bool
	caOut        string
	control      string
	subscription string
	scenario     string
	list         bool
	show         string
	schema       bool
	clock        float64
	pageSize     int
	requestLog   string
	noThrottling bool
	readyFile    string
	state        string
	machines     machineOptions
}

func newARMCommand(g *globals) *cobra.Command {
	var o armOptions
	cmd := &cobra.Command{
		Use:   "arm",
		Short: "serve Azure Resource Manager for one subscription",
		Long: `Serve a subscription as Azure Resource Manager does, until interrupted: fleetctl,
az, Terraform and Azure's SDKs can talk to it. The first line on standard output is
the URL of the endpoint.

Plain HTTP is for loopback and asks for no token. With --tls any bearer token will do;
the endpoint also issues them, as the token service of every tenant:

  POST URL/TENANT/oauth2/v2.0/token     (az: URL/adfs)
  GET  URL/metadata/endpoints?api-version=2022-09-01

Galleries, scale sets and what belongs to them behave as documented; a resource of a
type that is not known is stored and returned. What is not simulated is refused with
an error that says fleetsim.

Operations take their time. With --clock 60 a minute passes in a second, and limits of
requests fill up as much faster.

With --control an API without authentication steers the simulation, and says which
member had which version of its image, and when:

  curl -X POST CONTROL/v1/clock -d '{"advance":"10m"}'
  curl -X POST CONTROL/v1/fault -d '{"kind":"throttle","path":"/virtualMachines","count":5}'
  curl CONTROL/v1/requests
  curl CONTROL/v1/disks

What is in the subscription at the start comes from a scenario, which is a file or one
of those that --list shows. --show prints one to begin with, and --schema the JSON
Schema of the files.

A member of a scale set is what the scenario says of it, or more. With --agent each
is a process of fleet-agent, whose answers to the health extension are its health, and
which drains and acknowledges before it is evicted or deleted; the scenario has
  machines:
    sets: [boot-*]           # without it, all scale sets
    agent:
      config: {checks: [...], drain: {settle: 0s, plan: [...]}}   # or file: FILE
      versions: {"1.7.0": {file: broken.yaml}}                    # by version of the image
The agent's own time is real: with --clock 60 the notice of an eviction is half a
second. A script of Run Command runs on this host, as the user of fleetsim and with its
rights; fleet-agent is the member's own there, and sudo does nothing. Whoever reaches the
endpoint can have one run, so that it has to be on loopback.

With --machines PROG the members are machines that a program boots. It is started once for
each request, as one of
  PROG start NAME IMAGE         boot it afresh; one of that name may be left
  PROG stop NAME                end it, with its disk; one that is not there is no error
  PROG run NAME < SCRIPT        run it with sh as root, once the machine takes scripts
  PROG probe NAME PORT PATH     GET http://localhost:PORT/PATH there: a line with the
                                status code, then the body; https or tcp, where the
                                extension asks so, is one more argument
  PROG capture IMAGE            with --packer: end the build machine, keep its disk
IMAGE is build:TEMPLATE of a build by --packer, or the resource id of a version. An exit
code other than 0 is an error, of run it is the script's. What PROG leaves running has to
be in a session of its own, without FLEET_RUN in its environment.

With --packer FILE image templates are built by Packer, one at a time, on a machine that
FILE names; a build ends with the machine deprovisioned, as Image Builder does it:
  {host: 10.0.0.10, port: 22, user: packer, private_key: key}   # of a user with sudo
Validators run on a machine that boots the image: they need --machines.

run_commands in a scenario say what scripts answer to Run Command; others run on the
machine. capacity says which births fail:
  run_commands: [{contains: smoke.sh, stdout: ok}]
  capacity: [{error: AllocationFailed, set: boot-*, count: 1}]

A fault is one of error, throttle, operation, delay, hang, reset, lost, empty, truncated,
html and huge; it is limited by method, path, count, after and for.`,
		Example: `  fleetsim arm --scenario article --clock 60
  FLEETCTL_ARM_ENDPOINT=http://127.0.0.1:8080 fleetctl status -g rg-pay-prod   # with --listen 127.0.0.1:8080
  fleetsim arm --tls --ca-out ca.pem --request-log requests.jsonl
  fleetsim arm --scenario fleet.yaml --agent /usr/bin/fleet-agent`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.list:
				return listARMScenarios(g)
			case o.show != "":
				return showARMScenario(g, o.show)
			case o.schema:
				return showARMSchema(g)
			}
			return runARM(cmd, g, o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`HOST:PORT` of the endpoint; other hosts may reach it only with --tls")
	f.BoolVar(&o.tls, "tls", false, "serve HTTPS by a certificate of an authority that is made for this run")
	f.StringVar(&o.caOut, "ca-out", "", "`FILE` to write the authority's certificate to, with --tls")
	f.StringVar(&o.control, "control", "", "`HOST:PORT` of the control API, on loopback (default: none)")
	f.StringVar(&o.subscription, "subscription", arm.DefaultSubscription, "`ID` of the subscription")
	f.StringVar(&o.state, "state", "", "`DIR` in which the simulation survives a restart; its time stands still meanwhile")
	f.StringVar(&o.scenario, "scenario", "", "`FILE` or name of what is in the subscription at the start")
	f.BoolVar(&o.list, "list", false, "list the scenarios that come with fleetsim, and exit")
	f.StringVar(&o.show, "show", "", "print the file of the scenario `NAME`, a start for one of your own, and exit")
	f.BoolVar(&o.schema, "schema", false, "print the JSON Schema of scenario files, and exit")
	f.Float64Var(&o.clock, "clock", 1, "how many times as fast as real time the simulated time passes, up to 1000")
	f.IntVar(&o.pageSize, "page-size", arm.DefaultPageSize, "how many resources a page of a list has")
	f.StringVar(&o.requestLog, "request-log", "", "`FILE` that gets a line of JSON for every request")
	f.BoolVar(&o.noThrottling, "no-throttling", false, "turn the limits of requests off")
	o.machines.flags(f)
	f.StringVar(&o.readyFile, "ready-file", "", "`FILE` to write the addresses to, as JSON; it is removed at the end")
	return cmd
}

// subscriptionID is what an id of a subscription looks like.
var subscriptionID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (o *armOptions) check(cmd *cobra.Command) error {
	switch {
	case math.IsNaN(o.clock) || o.clock <= 0 || o.clock > 1000:
		return usage.Error(cmd, errors.New("--clock is above 0 and at most 1000"))
	case o.pageSize < 1 || o.pageSize > 1000:
		return usage.Error(cmd, errors.New("--page-size is at least 1 and at most 1000"))
	case !subscriptionID.MatchString(o.subscription):
		return usage.Error(cmd, fmt.Errorf("--subscription %q is no id of a subscription", o.subscription))
	case o.caOut != "" && !o.tls:
		return usage.Error(cmd, errors.New("--ca-out goes with --tls"))
	}
	loopback, err := isLoopback(o.listen)
	if err != nil {
		return err
	}
	if !loopback && !o.tls {
		return cli.Hint(fmt.Errorf("listen on %s: it is not a loopback address, and plain HTTP asks nobody for a token", o.listen), "use 127.0.0.1, or add --tls")
	}
	if !loopback && o.machines.agent != "" {
		return cli.Hint(fmt.Errorf("listen on %s: it is not a loopback address, and with --agent anybody who reaches it may run scripts on this host", o.listen), "use 127.0.0.1")
	}
	if o.control == "" {
		return nil
	}
	loopback, err = isLoopback(o.control)
	if err == nil && !loopback {
		err = cli.Hint(fmt.Errorf("listen on %s: it is not a loopback address, and anybody who reaches it may steer the simulation", o.control), "use 127.0.0.1")
	}
	return err
}

func runARM(cmd *cobra.Command, g *globals, o armOptions) (err error) {
	if err := o.check(cmd); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(g.out.Err, &slog.HandlerOptions{ReplaceAttr: narrate}))
	cfg := arm.Config{
		Subscription: o.subscription, Clock: arm.NewClock(time.Now(), o.clock), PageSize: o.pageSize,
		RequireToken: o.tls, Unthrottled: o.noThrottling, Logger: log, State: o.state,
	}
	scenario, err := o.load(cmd, &cfg)
	if err != nil {
		return err
	}
	machines, err := o.machines.prepare(cmd, scenario, &cfg)
	if err != nil {
		return err
	}
	defer machines.close()
	if o.requestLog != "" {
		f, err := os.OpenFile(o.requestLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("open the request log: %w", err)
		}
		defer f.Close()
		cfg.RequestLog = f
	}
	server, err := arm.New(cfg)
	if errors.Is(err, arm.ErrStateInUse) {
		return cli.Hint(err, "give each simulation a --state directory of its own")
	}
	if err != nil {
		return err
	}
	defer func() {
		if closed := server.Close(); err == nil {
			err = closed
		}
	}()
	if scenario != nil && !server.Restored() {
		if err := server.Apply(scenario); err != nil {
			return err
		}
	}
	// Without a token there may be pages of a browser among those that ask.
	endpoint := service{address: o.listen, handler: steer.Guard(server)}
	if o.tls {
		endpoint.handler = server
		if endpoint.tls, err = o.certificate(); err != nil {
			return err
		}
	}
	return o.serve(cmd.Context(), g.out.Out, log, machines.work(server), endpoint, service{address: o.control, handler: server.Control()})
}

// certificate makes the endpoint's certificate and writes its authority's.
func (o *armOptions) certificate() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.listen, err)
	}
	cert, ca, err := arm.NewCertificate(host)
	if err != nil {
		return nil, err
	}
	if o.caOut != "" {
		if err := writeWhole(o.caOut, ca); err != nil {
			return nil, fmt.Errorf("write the authority's certificate: %w", err)
		}
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}

// serve runs the endpoint, the work behind it and, when it has an address, the control
// API until ctx is done and all goroutines have ended.
func (o *armOptions) serve(ctx context.Context, out io.Writer, log *slog.Logger, work []func(context.Context) error, endpoint, control service) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	// A return before the end of this function stops what has been started.
	defer func() {
		cancel()
		_ = group.Wait()
	}()
	ready := readiness{Version: 1, PID: os.Getpid()}
	var err error
	if ready.Endpoint, err = start(ctx, group, log, endpoint); err != nil {
		return err
	}
	lines := ready.Endpoint + "\n"
	if control.address != "" {
		if ready.Control, err = start(ctx, group, log, control); err != nil {
			return err
		}
		lines += "control " + ready.Control + "\n"
	}
	for _, w := range work {
		group.Go(func() error { return w(ctx) })
	}
	if _, err := io.WriteString(out, lines); err != nil {
		return fmt.Errorf("print the addresses: %w", err)
	}
	if o.readyFile != "" {
		if err := writeReady(o.readyFile, ready); err != nil {
			return err
		}
		defer os.Remove(o.readyFile)
	}
	return group.Wait()
}
