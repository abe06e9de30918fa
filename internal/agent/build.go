package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/health"
	"github.com/fleet-agent/fleet-agent/internal/health/probe"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// sources are the checks that hold something beyond a run: a watch on a unit, an
// application's last report, a call to a file system that has not returned, of which
// a reload must not make a second one. They are kept by the check's fingerprint, so
// that a reload that does not change a check does not touch them. Immutable once
// built.
type sources struct {
	probes     map[string]health.Probe // of the kinds without more than that
	units      map[string]*probe.Unit
	heartbeats map[string]*probe.Heartbeat
	byName     map[string]*probe.Heartbeat
}

// closeExcept ends the watches that are not also in other.
func (s *sources) closeExcept(other *sources) {
	for key, u := range s.units {
		if other == nil || other.units[key] != u {
			u.Close()
		}
	}
}

// healthConfig turns the configured checks into probes. It takes over from old
// what did not change, and changes nothing in it; old may be nil.
func healthConfig(conf *config.Config, units probe.Units, old *sources) (health.Config, *sources, error) {
	cfg := health.Config{
		StartGrace:    conf.Health.StartGrace.D(),
		MaxConcurrent: conf.Health.MaxConcurrent,
		CustomMetrics: health.CustomMetrics{
			Enabled:     conf.Health.CustomMetrics.Enabled,
			Phase:       conf.Health.CustomMetrics.Phase,
			SkipUpgrade: conf.Health.CustomMetrics.SkipUpgrade,
		},
	}
	if old == nil {
		old = &sources{}
	}
	b := probeBuilder{units: units, old: old, next: &sources{
		probes: map[string]health.Probe{}, units: map[string]*probe.Unit{}, heartbeats: map[string]*probe.Heartbeat{}, byName: map[string]*probe.Heartbeat{},
	}}
	for _, c := range conf.Checks {
		check, err := b.check(c)
		if err != nil {
			b.next.closeExcept(old)
			return health.Config{}, nil, fmt.Errorf("check %q: %s: %w", c.Name, c.Kind(), err)
		}
		cfg.Checks = append(cfg.Checks, check)
	}
	return cfg, b.next, nil
}

// A probeBuilder makes the probes of one configuration.
type probeBuilder struct {
	units     probe.Units
	old, next *sources
}

func (b *probeBuilder) check(c config.Check) (health.Check, error) {
	fingerprint, err := json.Marshal(c)
	if err != nil {
		return health.Check{}, err
	}
	check := health.Check{
		Name:        c.Name,
		Kind:        c.Kind(),
		Interval:    c.Interval.D(),
		Timeout:     c.Timeout.D(),
		FailAfter:   c.FailAfter,
		PassAfter:   c.PassAfter,
		Severity:    health.Severity(c.Severity),
		DependsOn:   c.DependsOn,
		Fingerprint: string(fingerprint),
		Process:     c.Exec != nil,
	}
	for _, g := range c.Gates {
		check.Gates.Health = check.Gates.Health || g == "health"
		check.Gates.Ready = check.Gates.Ready || g == "ready"
	}
	err = b.probe(&check, c)
	return check, err
}

// probe fills in what the check runs, what its messages call the place and, for
// the kinds that learn of changes by themselves, what wakes it.
func (b *probeBuilder) probe(check *health.Check, c config.Check) error {
	switch {
	case c.HTTP != nil:
		cfg := probe.HTTPConfig{
			URL: c.HTTP.URL, Method: c.HTTP.Method, ExpectBody: c.HTTP.ExpectBody,
			Headers: c.HTTP.Headers, UnixSocket: c.HTTP.UnixSocket,
		}
		for _, r := range c.HTTP.ExpectStatus {
			cfg.ExpectStatus = append(cfg.ExpectStatus, probe.StatusRange(r))
		}
		if t := clientTLS(c.HTTP.TLS); t != nil {
			cfg.TLS = *t
		}
		return fill(b, check, probe.HTTP, cfg)
	case c.TCP != nil:
		return fill(b, check, probe.TCP, probe.TCPConfig{Address: c.TCP.Address})
	case c.TLS != nil:
		return fill(b, check, probe.TLS, probe.TLSConfig{
			Address: c.TLS.Address, ExpiresWithin: c.TLS.ExpiresWithin.D(),
			Client: probe.TLSClient{CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, ServerName: c.TLS.ServerName},
		})
	case c.GRPC != nil:
		return fill(b, check, probe.GRPC, probe.GRPCConfig{Address: c.GRPC.Address, Service: c.GRPC.Service, TLS: clientTLS(c.GRPC.TLS)})
	case c.DNS != nil:
		return fill(b, check, probe.DNS, probe.DNSConfig{Name: c.DNS.Name, Type: c.DNS.Type, Server: c.DNS.Server, Expect: c.DNS.Expect})
	case c.Exec != nil:
		return fill(b, check, probe.Exec, probe.ExecConfig{Command: c.Exec.Command, Env: c.Exec.Env})
	case c.Disk != nil:
		return fill(b, check, probe.Disk, probe.DiskConfig{Path: c.Disk.Path, MinFree: probeSize(c.Disk.MinFree), MinFreeInodes: probeSize(c.Disk.MinFreeInodes), Writable: c.Disk.Writable})
	case c.File != nil:
		return fill(b, check, probe.File, probe.FileConfig{Path: c.File.Path, Absent: c.File.Absent, MaxAge: c.File.MaxAge.D()})
	case c.Certificate != nil:
		return fill(b, check, probe.Certificate, probe.CertificateConfig{File: c.Certificate.File, ExpiresWithin: c.Certificate.ExpiresWithin.D()})
	case c.Pressure != nil:
		return fill(b, check, probe.Pressure, probe.PressureConfig{Resource: c.Pressure.Resource, Avg10Below: c.Pressure.Avg10Below})
	case c.Clock != nil:
		return fill(b, check, probe.Clock, probe.ClockConfig{MaxOffset: c.Clock.MaxOffset.D(), Synchronized: c.Clock.Synchronized})
	case c.Unit != nil:
		return b.unit(check, c)
	case c.Heartbeat != nil:
		return b.heartbeat(check, c)
	default:
		return fmt.Errorf("kind %q has no probe", c.Kind())
	}
}

// fill makes the probe of one kind, or takes over the one that there is.
func fill[C interface{ Target() string }](b *probeBuilder, check *health.Check, newProbe func(C) (func(context.Context) error, error), cfg C) error {
	p := b.old.probes[check.Fingerprint]
	if p == nil {
		var err error
		if p, err = newProbe(cfg); err != nil {
			return err
		}
	}
	b.next.probes[check.Fingerprint] = p
	check.Probe, check.Target = p, cfg.Target()
	return nil
}

func (b *probeBuilder) unit(check *health.Check, c config.Check) error {
	cfg := probe.UnitConfig{Units: b.units, Name: c.Unit.Name}
	u := b.old.units[check.Fingerprint]
	if u == nil {
		var err error
		if u, err = probe.NewUnit(cfg); err != nil {
			return err
		}
	}
	b.next.units[check.Fingerprint] = u
	check.Probe, check.Wake, check.Target = u.Probe, u.Wake(), cfg.Target()
	return nil
}

func (b *probeBuilder) heartbeat(check *health.Check, c config.Check) error {
	cfg := probe.HeartbeatConfig{TTL: c.Heartbeat.TTL.D()}
	h := b.old.heartbeats[check.Fingerprint]
	if h == nil {
		var err error
		if h, err = probe.NewHeartbeat(cfg); err != nil {
			return err
		}
	}
	b.next.heartbeats[check.Fingerprint], b.next.byName[c.Name] = h, h
	check.Probe, check.Wake, check.Forget, check.Target = h.Probe, h.Wake(), h.Forget, cfg.Target()
	return nil
}

func clientTLS(c *config.ClientTLS) *probe.TLSClient {
	if c == nil {
		return nil
	}
	return &probe.TLSClient{
		CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify,
	}
}

func probeSize(s config.Size) probe.Size { return probe.Size(s) }

// probeUnits is systemd as unit checks see it.
type probeUnits struct{ *systemd.Manager }

// UnitState implements probe.Units.
func (u probeUnits) UnitState(ctx context.Context, name string) (probe.UnitState, error) {
	s, err := u.Manager.UnitState(ctx, name)
	return probe.UnitState{Load: s.LoadState, Active: s.ActiveState, Sub: s.SubState, Result: s.Result}, err
}

// eventPolicy is the part of the configuration that the coordinator follows.
func eventPolicy(conf *config.Config) policy {
	rules := make(map[string]scheduledevents.Rule, len(conf.ScheduledEvents.Events))
	for name, e := range conf.ScheduledEvents.Events {
		rules[name] = scheduledevents.Rule{
			Action:      scheduledevents.Action(e.Action),
			Ack:         scheduledevents.AckPolicy(e.Ack),
			LeadTime:    e.LeadTime.D(),
			MinDuration: e.MinDuration.D(),
		}
	}
	return policy{
		events:  scheduledevents.Policy{Rules: rules, SharedAck: scheduledevents.SharedAck(conf.ScheduledEvents.SharedAck)},
		reserve: conf.Drain.Reserve.D(),
	}
}

// A planContext is what steps need beside their configuration.
type planContext struct {
	units  drain.Units // nil: steps that need systemd fail and say so
	runDir string
	node   func() string // this VM's name, for webhooks
}

// buildPlan turns the configured steps into a plan.
func buildPlan(conf *config.Config, pc planContext) (*drain.Plan, error) {
	steps := make([]drain.StepConfig, 0, len(conf.Drain.Plan))
	for _, s := range conf.Drain.Plan {
		step, err := pc.step(s)
		if err != nil {
			return nil, fmt.Errorf("drain step %q: %s: %w", s.Name, s.Kind(), err)
		}
		c := drain.StepConfig{Name: s.Name, Kind: s.Kind(), Min: s.Min.D(), Max: s.Max.D(), Optional: s.Optional, Step: step}
		if s.After != nil {
			c.After, c.AfterSet = *s.After, true
		}
		steps = append(steps, c)
	}
	return drain.NewPlan(steps)
}

func (pc planContext) step(s config.Step) (drain.Step, error) {
	switch {
	case s.Target != "":
		return drain.TargetStep(pc.units, s.Target)
	case s.Unit != "":
		return drain.UnitStep(pc.units, s.Unit)
	case s.Hook != "":
		return drain.HookStep(drain.HookConfig{Units: pc.units, Name: s.Hook, EnvFile: filepath.Join(pc.runDir, hookEnvFile)})
	case s.Exec != nil:
		return drain.ExecStep(s.Exec.Command, s.Exec.Env)
	case s.Connections != nil:
		return drain.ConnectionsStep(drain.ConnectionsConfig{Ports: s.Connections.Ports, AtMost: s.Connections.AtMost})
	case s.Webhook != nil:
		return drain.WebhookStep(drain.WebhookConfig{URL: s.Webhook.URL, Headers: s.Webhook.Headers, Node: pc.node})
	case s.Sleep != 0:
		return drain.SleepStep(s.Sleep.D())
	default:
		return nil, fmt.Errorf("kind %q has no step", s.Kind())
	}
}

// hookEnvFile is where hooks find the cause, in the run directory.
const hookEnvFile = "hook.env"

// drainUnits is systemd as drain steps see it.
type drainUnits struct{ *systemd.Manager }

// StopUnit implements drain.Units.
func (u drainUnits) StopUnit(ctx context.Context, name string) error {
	return unavailable(u.Manager.StopUnit(ctx, name))
}

// StartUnit implements drain.Units.
func (u drainUnits) StartUnit(ctx context.Context, name string) error {
	return unavailable(u.Manager.StartUnit(ctx, name))
}

// Members implements drain.Units.
func (u drainUnits) Members(ctx context.Context, target string) ([]string, error) {
	names, err := u.Manager.Members(ctx, target)
	return names, unavailable(err)
}

// unavailable marks the errors after which it is worth trying again.
func unavailable(err error) error {
	if errors.Is(err, systemd.ErrNoBus) {
		return fmt.Errorf("%w: %w", drain.ErrUnavailable, err)
	}
	return err
}

// UnitState implements drain.Units.
func (u drainUnits) UnitState(ctx context.Context, name string) (drain.UnitState, error) {
	s, err := u.Manager.UnitState(ctx, name)
	return drain.UnitState{Active: s.ActiveState, Sub: s.SubState, Result: s.Result, Job: s.Job}, err
}
