// Package agent answers: how do the parts of the node agent work together?
//
// It is the only package that wires the node side: configuration, health,
// scheduled events, drain, metadata service, systemd and the control socket.
// The coordinator decides what the node does about events; everything else here
// connects, reports or listens.
//
// Run owns every goroutine of the daemon and returns when all of them are gone.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/health"
	"github.com/fleet-agent/fleet-agent/internal/imds"
	"github.com/fleet-agent/fleet-agent/internal/safefile"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// Config is what an Agent is made of.
type Config struct {
	Config *config.Config
	// Load reads the configuration again for a reload; nil where there is
	// nothing to read.
	Load    func() (*config.Config, error)
	Version string
	// Notifier speaks to the service manager; nil is fine.
	Notifier *systemd.Notifier
	// Listeners are sockets that systemd passed, by name; "probe" is used.
	Listeners map[string][]net.Listener
	Logger    *slog.Logger
	// LogDropped counts the log lines that never reached the log; nil where that
	// is not counted.
	LogDropped func() uint64

	// For tests: the boot id and the uptime of the machine, the way to the
	// metadata service, the address of the system bus, what makes the plan, and
	// what is called after each durable journal entry. Zero values mean the
	// real ones.
	BootID      string
	Uptime      func() time.Duration
	Transport   http.RoundTripper
	BusAddress  string
	Plan        func(*config.Config) (*drain.Plan, error)
	AfterAppend func(seq uint64)
}

// An Agent is the daemon.
type Agent struct {
	cfg      Config
	logger   *slog.Logger
	started  time.Time
	registry *prometheus.Registry
	live     liveness

	conf        atomic.Pointer[config.Config] // in force
	answers     *health.Answers
	monitor     *health.Monitor
	sources     atomic.Pointer[sources]
	client      *imds.Client
	poller      *scheduledevents.Poller
	journal     *drain.Journal
	runner      *drain.Runner
	gate        *gate
	coordinator *coordinator
	manager     *systemd.Manager
	inhibitor   *systemd.Inhibitor
	observer    *observer
	bus         *busWatch
	sockets     *socketWatch
	herald      *herald
	certificate *certificate // nil for plain HTTP
	metrics     *metrics
	scrapes     *metricsListener // nil: metrics are off
	runDir      *runDirWatch
	port        *portWatch

	instance atomic.Pointer[imds.Instance] // nil until the metadata service told

	flag      found     // of a drain, from before a restart
	restoring sync.Once // see restored

	reloading sync.Mutex
	ready     atomic.Bool            // systemd was told
	reload    atomic.Pointer[string] // why the last reload was refused; nil when it was not
	probeAddr atomic.Pointer[string]
}

// New returns an agent that has started nothing. The directory of the run is made
// if it is missing.
func New(cfg Config) (*Agent, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.LogDropped == nil {
		cfg.LogDropped = func() uint64 { return 0 }
	}
	if cfg.Uptime == nil {
		cfg.Uptime = uptime
	}
	if cfg.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, fmt.Errorf("read boot id: %w", err)
		}
		cfg.BootID = strings.TrimSpace(string(id))
	}
	a := &Agent{cfg: cfg, logger: cfg.Logger, started: time.Now(), registry: prometheus.NewRegistry()}
	if cfg.Plan == nil {
		a.cfg.Plan = func(conf *config.Config) (*drain.Plan, error) { return buildPlan(conf, a.planContext()) }
	}
	a.conf.Store(cfg.Config)
	a.metrics = newMetrics(a.registry, cfg.Version, cfg.LogDropped)

	if err := os.MkdirAll(cfg.Config.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	if err := safefile.CheckDir(cfg.Config.RunDir); err != nil {
		return nil, fmt.Errorf("run_dir: %w", err)
	}
	for _, step := range []func() error{a.newHealth, a.newEvents, a.newDrain} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	a.observer = newObserver(a)
	a.bus = &busWatch{a: a, root: "/"}
	a.sockets = &socketWatch{a: a}
	a.runDir = &runDirWatch{
		dir: cfg.Config.RunDir, flags: a.gate.flags, accounts: newAccounts(), logger: cfg.Logger,
		mayRestart: func() bool { return cfg.Notifier.Managed() && !a.gate.flags.any() },
	}
	a.port = &portWatch{state: a.manager.UnitState}
	if address := cfg.Config.Listen.Metrics; address != "" {
		a.scrapes = a.newMetricsListener(address)
	}
	a.herald = newHerald(a)
	return a, nil
}

// newHealth makes the monitor, its answers and the connection to systemd that
// unit checks and drain steps share.
func (a *Agent) newHealth() error {
	a.manager = systemd.NewManager(systemd.ManagerConfig{Address: a.cfg.BusAddress, Bridge: systemd.BridgeSocket, Logger: a.logger})
	a.answers = health.NewAnswers(health.AnswersConfig{Live: a.live.alive, Uncounted: control.DoctorUserAgent})
	cfg, sources, err := healthConfig(a.conf.Load(), probeUnits{a.manager}, nil)
	if err != nil {
		return err
	}
	a.sources.Store(sources)
	cfg.Answers, cfg.Logger = a.answers, a.logger
	cfg.Beat = a.live.loop("checks", 30*time.Second).beat
	if a.monitor, err = health.New(cfg); err != nil {
		return err
	}
	return errors.Join(a.registry.Register(a.monitor), a.registry.Register(a.answers))
}

// newEvents makes the metadata client and the poller.
func (a *Agent) newEvents() error {
	conf := a.conf.Load()
	var err error
	a.client, err = imds.New(imds.Config{
		Endpoint: conf.IMDS.Endpoint, Transport: a.cfg.Transport, Logger: a.logger, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	cfg := pollerConfig(conf)
	cfg.Client, cfg.Logger, cfg.Registerer = a.client, a.logger, a.registry
	cfg.Beat = a.live.loop("poll", 30*time.Second).beat
	a.poller, err = scheduledevents.New(cfg)
	return err
}

// pollerConfig is the part of the poller's configuration that a reload applies.
func pollerConfig(conf *config.Config) scheduledevents.Config {
	return scheduledevents.Config{
		Interval:   conf.ScheduledEvents.PollInterval.D(),
		APIVersion: conf.ScheduledEvents.APIVersion,
	}
}

// newDrain makes the journal, the runner and the coordinator.
func (a *Agent) newDrain() error {
	conf := a.conf.Load()
	var err error
	a.journal, err = drain.NewJournal(drain.JournalConfig{
		Dir: conf.StateDir, BootID: a.cfg.BootID, Logger: a.logger, AfterAppend: a.cfg.AfterAppend,
	})
	if err != nil {
		return err
	}
	plan, err := a.cfg.Plan(conf)
	if err != nil {
		return err
	}
	a.gate = &gate{
		flags:       newFlags(conf.RunDir),
		setDraining: a.monitor.SetDraining, setCordoned: a.monitor.SetCordoned, setMaintenance: a.monitor.SetMaintenance,
		healthy: func() bool { return a.monitor.Report().State == health.Healthy },
		held:    a.monitor.Held,
	}
	a.runner, err = drain.New(drain.Config{
		Plan:       plan,
		Journal:    a.journal,
		Units:      drainUnits{a.manager},
		Settle:     conf.Drain.Settle.D(),
		Cordon:     func(_ context.Context, flag *drain.Flag) error { return a.gate.setDrain(flag) },
		Release:    func(context.Context) error { return a.gate.release() },
		Logger:     a.logger,
		Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.coordinator = &coordinator{
		runner:  a.runner,
		journal: a.journal,
		gate:    a.gate,
		ack:     a.poller.Ack,
		polled: func() (attempted, succeeded time.Time) {
			s := a.poller.Status()
			return s.LastAttempt, s.LastSuccess
		},
		named:    a.poller.SetName,
		uptime:   a.cfg.Uptime,
		staysUp:  a.staysUp,
		loop:     a.live.loop("coordinator", 30*time.Second),
		logger:   a.logger,
		inbox:    make(chan task),
		policy:   eventPolicy(conf),
		asked:    map[string]time.Time{},
		acks:     map[string]*ackAttempt{},
		cordoned: map[string]string{},
	}
	a.inhibitor = systemd.NewInhibitor(systemd.InhibitorConfig{
		Address: a.cfg.BusAddress,
		Who:     "fleet-agent", Why: "drain the node before it goes down",
		OnShutdown: a.shutdown, OnCalledOff: a.coordinator.ShutdownCalledOff,
		Logger: a.logger,
	})
	return nil
}

func (a *Agent) planContext() planContext {
	return planContext{
		units:  drainUnits{a.manager},
		runDir: a.cfg.Config.RunDir, // of the start: a reload does not move it
		node:   func() string { return a.node().Name },
	}
}

// Run runs the daemon until ctx is done. It drains nothing on the way out: a
// drain under way is taken up again by the next start.
func (a *Agent) Run(ctx context.Context) error {
	defer a.journal.Close()
	a.closeGate()
	probes, err := a.listenProbe(ctx)
	if err != nil {
		return err
	}
	services := []service{{"probe listener", probes}}
	if a.scrapes != nil {
		a.scrapes.open(ctx)
		services = append(services, service{"metrics listener", a.scrapes.Run})
	}
	control, err := a.listenControl(ctx)
	if err != nil {
		return err
	}
	watchdog := systemd.NewWatchdog(systemd.WatchdogConfig{Notifier: a.cfg.Notifier, Alive: a.live.alive, Logger: a.logger})
	services = append(services,
		service{"control socket", control},
		service{"watch on the run directory", a.runDir.Run},
		service{"watchdog", watchdog.Run},
		service{"systemd connection", a.manager.Run},
	)
	services = append(services, a.core()...)
	// The last service is the first to end: it tells systemd that the agent
	// really stops, and begins to ask for time while the others do.
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	var extending sync.WaitGroup
	announceStop := func(ctx context.Context) error {
		<-ctx.Done()
		a.cfg.Notifier.Stopping()
		extending.Go(func() {
			_ = systemd.NewExtender(a.cfg.Notifier, extendStep, stoppingBound).Run(stopped) // always nil
		})
		return nil
	}
	services = append(services,
		service{"inhibitor", a.inhibitor.Run}, service{"shutdown delay", a.bus.Run}, service{"adopted sockets", a.sockets.Run},
		service{"probe port", a.port.Run}, service{"heap", returnHeap}, service{"stop notice", announceStop})
	a.logger.Info("agent started", "version", a.cfg.Version, "probe", *a.probeAddr.Load(), "config_files", a.conf.Load().Files())
	err = serve(ctx, services...)
	stop()
	extending.Wait()
	a.logger.Info("agent stopped")
	return err
}

// core is what decides; the rest of Run connects it with the world.
func (a *Agent) core() []service {
	return []service{
		{"held health", a.restored(a.keepHold)},
		{"checks", a.restored(a.monitor.Run)},
		{"notifications", a.restored(a.herald.Run)}, // stops after what it tells of
		{"coordinator", a.restored(a.coordinator.Run)},
		{"observer", a.restored(a.observer.Run)},
		{"identity", a.identify},
		{"scheduled events", func(ctx context.Context) error { return a.poller.Run(ctx, a.coordinator.observe) }},
	}
}

// closeGate restores, before the first probe is answered, what kept the node out
// of service when the last agent ended, as far as the run directory knows.
func (a *Agent) closeGate() {
	a.flag = a.gate.flags.find(drainFlag, drain.MaxFlag)
	held := a.gate.flags.find(healthFlag, maxMoment)
	if a.flag.raised {
		if a.flag.err != nil {
			a.logger.Error("drain flag cannot be read: out of service until no event asks for a drain", "err", a.flag.err)
		}
		if held.raised {
			a.monitor.HoldHealthy()
		}
		a.gate.stayClosed()
	} else if held.raised {
		a.monitor.HoldReturning(backSince(held.text))
	}
	if a.gate.flags.find(cordonFlag, 0).raised {
		if err := a.gate.setCordon(true); err != nil {
			a.logger.Error("cordon flag not kept", "err", err)
		}
	}
	if a.gate.flags.find(maintenanceFlag, 0).raised {
		if err := a.gate.maintain(true); err != nil {
			a.logger.Error("maintenance flag not kept", "err", err)
		}
	}
}

// restored lets a service begin when it is known what the last agent left. Probes
// are answered before, and nobody is told that the node is ready.
func (a *Agent) restored(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		a.restoring.Do(a.restore)
		return run(ctx)
	}
}

// restore reads the journal, for as long as a disk that hangs may take, and brings
// the gate in line with it. Where the journal does not know the drain of the flag,
// because there was no time to write it down, the flag is believed.
func (a *Agent) restore() {
	read := a.journal.Open()
	flag, err := drain.ParseFlag(a.flag.text)
	known := a.flag.raised && err == nil
	if !known {
		a.runner.Restore(nil)
	} else if a.runner.Restore(&flag) && a.runner.Status().Believed {
		a.logger.Warn("journal does not know the drain of the flag, taking it up again", "drain_id", flag.DrainID)
	}
	a.herald.last = a.drainStatus()
	state := a.journal.State()
	switch {
	case state.Drain != nil: // the runner takes it up
		a.gate.stayClosed()
		// The flag may be gone, with the run directory; and from here on it is known
		// that it should be there.
		if flag := a.runner.Flag(); flag != nil {
			if err := a.gate.flags.raise(drainFlag, flag.Encode()); err != nil {
				a.logger.Error("drain flag not kept", "err", err)
			}
		}
	case a.flag.raised && (!known || !read):
		a.coordinator.forgotten = true
	case a.flag.raised: // whatever the flag was for is over
		if err := a.gate.setDrain(nil); err != nil {
			a.logger.Error("drain flag not lowered", "err", err)
		}
	}
	if read {
		if err := a.gate.maintain(state.Maintenance != nil); err != nil {
			a.logger.Error("maintenance flag not kept", "err", err)
		}
	}
}

// shutdown drains in the window that logind's delay gives, which the deadline
// of ctx tells.
func (a *Agent) shutdown(ctx context.Context) {
	end, ok := ctx.Deadline()
	if !ok {
		return // not held up: systemd stops everything by its own rules
	}
	window := time.Until(end)
	a.logger.Info("system is going down", "window", window.Round(time.Millisecond))
	a.coordinator.Shutdown(ctx, end.Add(-shutdownReserve(a.conf.Load().Drain.Reserve.D(), window)))
}

// staysUp reports whether logind says that no shutdown is under way.
func (a *Agent) staysUp() bool {
	state := a.inhibitor.Status().State
	return state == systemd.InhibitorHolding || state == systemd.InhibitorRefused
}

// uptime is the time since the machine booted, suspensions included.
func uptime() time.Duration {
	var ts unix.Timespec
	// Fails only for an unknown clock, which this one is not on Linux.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
