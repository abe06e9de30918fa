package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
	systemdUnit    = "org.freedesktop.systemd1.Unit"
	systemdJob     = "org.freedesktop.systemd1.Job"
)

// ManagerConfig describes a Manager.
type ManagerConfig struct {
	// Address is a D-Bus address such as unix:path=/run/dbus/system_bus_socket.
	// Empty: the system bus, which DBUS_SYSTEM_BUS_ADDRESS can redirect.
	Address string
	// Bridge is the socket of a helper that starts and stops units when polkit
	// denies it to the agent: BridgeSocket outside tests. It is used when
	// somebody listens there. Empty: none.
	Bridge string
	// Logger is told when the connection is lost. Nil discards.
	Logger *slog.Logger
}

// Manager starts, stops, kills and observes units. Its methods are safe for
// concurrent use and need Run to be running; without a connection they fail
// with ErrNoBus.
type Manager struct {
	link   *link
	bridge string

	mu       sync.Mutex
	jobs     map[*jobWait]struct{}
	watchers map[*watcher]struct{}
	dirty    chan struct{} // capacity 1: watchers were added
}

// NewManager returns a Manager. It connects to nothing before Run.
func NewManager(cfg ManagerConfig) *Manager {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		bridge:   cfg.Bridge,
		jobs:     make(map[*jobWait]struct{}),
		watchers: make(map[*watcher]struct{}),
		dirty:    make(chan struct{}, 1),
	}
	m.link = &link{
		address: cfg.Address,
		service: systemdName,
		open:    m.open,
		serve:   m.serve,
		signal:  m.signal,
		logger:  cfg.Logger,
		grace:   reconnectGrace,
		changed: make(chan struct{}),
	}
	return m
}

// Run keeps the connection to systemd until ctx ends, and tries again every
// second while there is none. It returns nil; a missing bus is no reason to end.
func (m *Manager) Run(ctx context.Context) error {
	m.link.run(ctx)
	return nil
}

// Connected waits for the connection as a call would, and returns nil when there
// is one, else an error that wraps ErrNoBus and says why not.
func (m *Manager) Connected(ctx context.Context) error {
	_, err := m.link.connected(ctx)
	return err
}

// open subscribes to what every session needs. systemd sends signals only when
// somebody asked it to by Subscribe.
func (m *Manager) open(ctx context.Context, s *session) error {
	for _, member := range []string{"JobRemoved", "Reloading"} {
		if err := s.match(ctx, dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdManager),
			dbus.WithMatchMember(member)); err != nil {
			return err
		}
	}
	_, err := s.call(ctx, systemdPath, systemdManager+".Subscribe")
	return err
}

// serve keeps the subscriptions of this session those of the watched units.
func (m *Manager) serve(ctx context.Context, s *session) error {
	subscribed := make(map[string]subscription)
	for {
		if err := m.subscribeWatchers(ctx, s, subscribed); err != nil {
			return fmt.Errorf("watch units: %w", err)
		}
		select {
		case <-s.done():
			return nil
		case <-m.dirty:
		}
	}
}

// signal runs on the connection's reader.
func (m *Manager) signal(sig *dbus.Signal) {
	switch sig.Name {
	case systemdManager + ".JobRemoved":
		var (
			id           uint32
			job          dbus.ObjectPath
			unit, result string
		)
		if dbus.Store(sig.Body, &id, &job, &unit, &result) == nil {
			m.jobRemoved(job, result)
		}
	case systemdManager + ".Reloading":
		// Units may have changed in ways that no signal tells.
		m.wake(func(*watcher) bool { return true })
	case systemdManager + ".UnitNew", systemdManager + ".UnitRemoved":
		if len(sig.Body) == 2 {
			m.wake(func(w *watcher) bool { return w.path == sig.Body[1] })
		}
	case propertiesName + ".PropertiesChanged":
		m.wake(func(w *watcher) bool { return w.path == sig.Path })
	}
}
