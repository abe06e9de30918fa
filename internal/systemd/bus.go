package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	connectTimeout = 5 * time.Second  // dial, authenticate and subscribe
	callTimeout    = 25 * time.Second // one method call, as in libdbus
	retryInterval  = time.Second      // between attempts to connect
	// reconnectGrace is how long a call waits for a connection that was lost:
	// long enough for a restart of the bus.
	reconnectGrace = 3 * time.Second
	// callAttempts bounds how often a call is repeated when the connection is
	// lost under it. Every call of this package may be repeated.
	callAttempts = 3

	busName        = "org.freedesktop.DBus"
	propertiesName = "org.freedesktop.DBus.Properties"
)

var (
	// ErrNoBus says that there is no connection to the system bus, or that the
	// service is not on it. The text goes on with the reason.
	ErrNoBus = errors.New("systemd is not reachable over D-Bus")
	// ErrDenied says that the agent's user may not do this: polkit has no rule
	// that allows it, or is not there.
	ErrDenied = errors.New("not authorised")
	// ErrNoSuchUnit says that systemd knows no unit of that name.
	ErrNoSuchUnit = errors.New("no such unit")

	errConnecting = errors.New("not connected yet")
	errEnded      = errors.New("the connection was closed")
)

// link keeps a connection to one service on the system bus.
type link struct {
	address string // empty: the system bus of the environment
	service string
	// open subscribes to signals on a new connection, before others see it.
	open func(ctx context.Context, s *session) error
	// serve works with the connection until it ends, or fails.
	serve func(ctx context.Context, s *session) error
	// signal is called on the connection's reader, in order, for each signal
	// that the service itself sent. It must not block.
	signal func(*dbus.Signal)
	logger *slog.Logger
	grace  time.Duration // reconnectGrace, outside tests

	mu      sync.Mutex
	session *session
	err     error         // why there is no session
	lostAt  time.Time     // when the last session ended; zero: there was none
	changed chan struct{} // closed and replaced when one of the above changes
}

// session is one connection to the bus and to one owner of the service's name.
type session struct {
	service string
	conn    *dbus.Conn
	cancel  context.CancelFunc // ends the connection
	owner   atomic.Pointer[string]
	signal  func(*dbus.Signal)
}

// run keeps the connection until ctx ends. It calls open and serve from its own
// goroutine.
func (l *link) run(ctx context.Context) {
	said := "" // the failure that was logged and still stands
	for ctx.Err() == nil {
		s, err := l.connect(ctx)
		if err == nil {
			l.set(s, nil)
			if said != "" {
				said = ""
				l.logger.Info("service is reachable over the bus again", "service", l.service)
			}
			if err = l.serve(ctx, s); err == nil {
				err = errEnded
			}
			s.close()
		}
		l.set(nil, err)
		if said != err.Error() && ctx.Err() == nil {
			said = err.Error()
			l.logger.Warn("service is not reachable over the bus", "service", l.service, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
	l.set(nil, errEnded)
	l.mu.Lock()
	l.lostAt = time.Time{} // calls need not wait: nobody will connect again
	l.mu.Unlock()
}

func (l *link) set(s *session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil && s == nil {
		l.lostAt = time.Now()
	}
	l.session, l.err = s, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// connect makes a session; its connection ends with ctx at the latest.
func (l *link) connect(ctx context.Context) (*session, error) {
	connCtx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(connectTimeout, cancel)
	s := &session{service: l.service, cancel: cancel, signal: l.signal}
	err := l.establish(connCtx, s)
	if !timer.Stop() && ctx.Err() == nil {
		err = errors.Join(fmt.Errorf("no answer within %s", connectTimeout), err)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (l *link) establish(ctx context.Context, s *session) error {
	opts := []dbus.ConnOption{dbus.WithSignalHandler(s), dbus.WithContext(ctx)}
	var err error
	if l.address == "" {
		s.conn, err = dbus.ConnectSystemBus(opts...)
	} else {
		s.conn, err = dbus.Connect(l.address, opts...)
	}
	if err != nil {
		return err
	}
	// Ask to be told of a new owner first, so that none is missed.
	if err := s.match(ctx, dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, l.service)); err != nil {
		return err
	}
	var owner string
	if err := s.conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, l.service).Store(&owner); err != nil {
		return fmt.Errorf("find %s on the bus: %w", l.service, err)
	}
	s.owner.Store(&owner)
	return l.open(ctx, s)
}

// DeliverSignal implements dbus.SignalHandler. It runs on the connection's
// reader. Anyone on the bus can send a signal to anyone, so the sender counts.
func (s *session) DeliverSignal(_, _ string, sig *dbus.Signal) {
	owner := s.owner.Load()
	switch {
	case sig.Sender == busName && sig.Name == busName+".NameOwnerChanged":
		// Another owner does not know what this session subscribed to.
		if len(sig.Body) == 3 && sig.Body[0] == s.service && (owner == nil || sig.Body[2] != *owner) {
			s.cancel()
		}
	case owner != nil && sig.Sender == *owner:
		s.signal(sig)
	}
}

// match asks the bus for signals.
func (s *session) match(ctx context.Context, opts ...dbus.MatchOption) error {
	if err := s.conn.AddMatchSignalContext(ctx, opts...); err != nil {
		return fmt.Errorf("subscribe to signals: %w", err)
	}
	return nil
}

// call calls a method of the service.
func (s *session) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := s.conn.Object(*s.owner.Load(), path).CallWithContext(ctx, method, 0, args...)
	return call.Body, call.Err
}

func (s *session) done() <-chan struct{} { return s.conn.Context().Done() }

func (s *session) ended() bool { return s.conn.Context().Err() != nil }

func (s *session) close() {
	s.cancel()
	if s.conn != nil {
		_ = s.conn.Close() // says only that it was closed already
	}
}

// alive says whether there is a connection now.
func (l *link) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session != nil && !l.session.ended()
}

// nextChange is closed when the connection is next gained or lost.
func (l *link) nextChange() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// connected returns the session, and waits for it only during the first attempt
// to connect and shortly after a loss.
func (l *link) connected(ctx context.Context) (*session, error) {
	var timeout <-chan time.Time
	for {
		l.mu.Lock()
		s, err, lostAt, changed := l.session, l.err, l.lostAt, l.changed
		l.mu.Unlock()
		if s != nil && !s.ended() {
			return s, nil
		}
		wait := l.grace
		if s == nil && err != nil {
			wait -= time.Since(lostAt) // ages ago when there was none
		}
		if wait <= 0 {
			return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
		}
		if err == nil {
			err = errConnecting
		}
		if timeout == nil {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w (%w)", ErrNoBus, err, context.Cause(ctx))
		}
	}
}

// call calls a method of the service, again when the connection was lost under
// the call. Errors are those of this package where a caller can tell them apart.
func (l *link) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	for attempt := 1; ; attempt++ {
		s, err := l.connected(ctx)
		if err != nil {
			return nil, err
		}
		body, err := s.call(ctx, path, method, args...)
		switch {
		case err == nil:
			return body, nil
		case peerGone(err):
			s.cancel()
		case !s.ended() || ctx.Err() != nil:
			return nil, explain(err)
		}
		if attempt == callAttempts {
			return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
		}
	}
}

// property reads one property into value.
func (l *link) property(ctx context.Context, path dbus.ObjectPath, iface, name string, value any) error {
	body, err := l.call(ctx, path, propertiesName+".Get", iface, name)
	if err != nil {
		return err
	}
	return storeVariant(body, value)
}

func storeVariant(body []any, value any) error {
	var v dbus.Variant
	if err := dbus.Store(body, &v); err != nil {
		return err
	}
	return v.Store(value)
}

// peerGone says whether the bus answered in place of a service that left it.
func peerGone(err error) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown",
		"org.freedesktop.DBus.Error.NameHasNoOwner",
		"org.freedesktop.DBus.Error.NoReply":
		return true
	}
	return false
}

// unknownObject says whether the service has no such object.
func unknownObject(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.DBus.Error.UnknownObject"
}

// explain adds what a caller can branch on to an error of the bus.
func explain(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.AccessDenied",
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
		"org.freedesktop.DBus.Error.AuthFailed":
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case "org.freedesktop.systemd1.NoSuchUnit":
		return fmt.Errorf("%w: %w", ErrNoSuchUnit, err)
	}
	return err
}
