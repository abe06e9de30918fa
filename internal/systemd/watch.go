package systemd

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// watcher is one call of WatchUnit.
type watcher struct {
	name string
	wake chan struct{} // capacity 1

	// Guarded by Manager.mu, set when a session has subscribed to the unit.
	path    dbus.ObjectPath
	session *session
}

func (w *watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // woken already
	}
}

// WatchUnit returns a channel that receives when the state of a unit may have
// changed, and a function that ends the watching. Several changes may be one
// receive; read UnitState after it. There is a receive, too, when the watching
// begins, after each reconnect and after systemd reloaded its units, so that a
// reader who asks then misses nothing. The channel is never closed. WatchUnit
// may be called at any time, before Run and without a bus.
func (m *Manager) WatchUnit(name string) (wake <-chan struct{}, stop func()) {
	w := &watcher{name: name, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	m.rewatch()
	return w.wake, func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
		m.rewatch()
	}
}

// rewatch asks serve to look at the watchers again.
func (m *Manager) rewatch() {
	select {
	case m.dirty <- struct{}{}:
	default: // asked already
	}
}

// wake wakes the watchers that match. It runs on the connection's reader.
func (m *Manager) wake(match func(*watcher) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		if match(w) {
			w.notify()
		}
	}
}

// subscription is what a session has asked the bus for one unit.
type subscription struct {
	path  dbus.ObjectPath
	rules [][]dbus.MatchOption
}

// subscribeWatchers makes the session's subscriptions those of the current
// watchers, and wakes each watcher once that this session did not know yet.
func (m *Manager) subscribeWatchers(ctx context.Context, s *session, subscribed map[string]subscription) error {
	m.mu.Lock()
	wanted := make(map[string][]*watcher)
	for w := range m.watchers {
		wanted[w.name] = append(wanted[w.name], w)
	}
	m.mu.Unlock()

	for name, sub := range subscribed {
		if wanted[name] != nil {
			continue
		}
		for _, rule := range sub.rules {
			if err := s.conn.RemoveMatchSignalContext(ctx, rule...); err != nil {
				return err
			}
		}
		delete(subscribed, name)
	}
	for name, watchers := range wanted {
		sub, ok := subscribed[name]
		if !ok {
			var err error
			if sub, err = subscribe(ctx, s, name); err != nil {
				return err
			}
			subscribed[name] = sub
		}
		m.mu.Lock()
		for _, w := range watchers {
			if w.session != s {
				w.path, w.session = sub.path, s
				w.notify()
			}
		}
		m.mu.Unlock()
	}
	return nil
}

// subscribe asks the bus for the changes of one unit.
func subscribe(ctx context.Context, s *session, name string) (subscription, error) {
	// An alias leads to the object of another name; signals come from there.
	path := unitPath(name)
	if body, err := s.call(ctx, systemdPath, systemdManager+".LoadUnit", name); err == nil {
		err = dbus.Store(body, &path)
		if err != nil {
			return subscription{}, err
		}
	} // an invalid name: UnitState will say so
	sub := subscription{path: path, rules: [][]dbus.MatchOption{
		{
			dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(propertiesName),
			dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchObjectPath(path),
		},
		// UnitNew and UnitRemoved: the first change of a unit that was just
		// loaded is told by UnitNew alone.
		{
			dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdManager),
			dbus.WithMatchArgPath(1, string(path)),
		},
	}}
	for _, rule := range sub.rules {
		if err := s.match(ctx, rule...); err != nil {
			return subscription{}, err
		}
	}
	return sub, nil
}
