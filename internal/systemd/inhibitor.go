package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	logindName    = "org.freedesktop.login1"
	logindPath    = dbus.ObjectPath("/org/freedesktop/login1")
	logindManager = "org.freedesktop.login1.Manager"

	lockTimeout = 10 * time.Second // for logind to grant a lock
	// delayTimeout is for logind to say how long it waits.
	delayTimeout = time.Second
	lockRetry    = 30 * time.Second // after a refusal: polkit may start late
)

// ErrCalledOff is the cause of the end of OnShutdown's context when the
// shutdown will not happen after all.
var ErrCalledOff = errors.New("the shutdown was called off")

// InhibitorConfig describes an Inhibitor.
type InhibitorConfig struct {
	// Address is a D-Bus address; empty: the system bus, as in ManagerConfig.
	Address string
	// Who and Why are shown by `systemd-inhibit --list`.
	Who, Why string
	// OnShutdown is called when the machine is about to shut down or reboot,
	// once for each announcement. The lock is held until it returns, but no
	// longer than its context: that ends when logind stops waiting, which its
	// deadline says; with the cause ErrCalledOff when the shutdown will not
	// happen; or with Run. OnShutdown must then return soon.
	OnShutdown func(ctx context.Context)
	// OnCalledOff is called when a shutdown that OnShutdown was called for
	// will not happen after all. Nil is allowed.
	OnCalledOff func(ctx context.Context)
	// Logger is told of transitions. Nil discards.
	Logger *slog.Logger
}

// InhibitorState is the one word for what an Inhibitor can do now.
type InhibitorState string

// The states of an Inhibitor.
const (
	// InhibitorUnreachable: there is no connection to logind; a shutdown comes
	// unannounced.
	InhibitorUnreachable InhibitorState = "unreachable"
	// InhibitorRefused: logind does not grant the lock, for want of polkit
	// for example. Shutdowns are heard of, but not delayed.
	InhibitorRefused InhibitorState = "refused"
	// InhibitorHolding: a shutdown is announced, and waits.
	InhibitorHolding InhibitorState = "holding"
	// InhibitorShuttingDown: a shutdown was announced.
	InhibitorShuttingDown InhibitorState = "shutting-down"
)

// InhibitorStatus is a snapshot for operators.
type InhibitorStatus struct {
	State InhibitorState
	// Err says why the state is unreachable or refused.
	Err error
	// MaxDelay is how long logind lets a lock delay a shutdown, as of the last
	// connection; 0: not known.
	MaxDelay time.Duration
}

// Inhibitor holds a delay lock of logind for shutdowns, and tells when one is
// announced:
//
//	         lock taken             PrepareForShutdown(true)
//	waiting -----------> holding ------------------------------> preparing
//	   ^                                                             |
//	   |                                OnShutdown returned, or the  |
//	   |                                delay is over: lock released |
//	   |                                                             v
//	   +------------------------------------------------------- shutting down
//	     PrepareForShutdown(false), and systemd is not stopping
//
// The lock is a file descriptor and outlives restarts of the bus and of logind;
// the listening does not. So the connection is made anew every second while
// there is none, and what was announced meanwhile is then read.
type Inhibitor struct {
	cfg  InhibitorConfig
	link *link

	mu        sync.Mutex
	preparing bool          // the last that logind said
	signals   int           // how many signals have said it
	session   *session      // the one whose state has been read
	changed   chan struct{} // capacity 1: one of the above has changed
	lock      *os.File
	refusal   error // why there is no lock
	maxDelay  time.Duration

	delayTimeout time.Duration // delayTimeout, outside tests
}

// NewInhibitor returns an Inhibitor. It takes no lock before Run.
func NewInhibitor(cfg InhibitorConfig) *Inhibitor {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnCalledOff == nil {
		cfg.OnCalledOff = func(context.Context) {}
	}
	i := &Inhibitor{cfg: cfg, changed: make(chan struct{}, 1), delayTimeout: delayTimeout}
	i.link = &link{
		address: cfg.Address,
		service: logindName,
		open:    i.open,
		serve:   i.serve,
		signal:  i.signal,
		logger:  cfg.Logger,
		grace:   reconnectGrace,
		changed: make(chan struct{}),
	}
	return i
}

// Status says what the Inhibitor can do now. It never blocks.
func (i *Inhibitor) Status() InhibitorStatus {
	i.link.mu.Lock()
	linkErr := i.link.err
	i.link.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	st := InhibitorStatus{MaxDelay: i.maxDelay}
	switch {
	case i.preparing:
		st.State = InhibitorShuttingDown
	case linkErr != nil:
		st.State, st.Err = InhibitorUnreachable, linkErr
	case i.refusal != nil:
		st.State, st.Err = InhibitorRefused, i.refusal
	case i.lock == nil:
		st.State, st.Err = InhibitorUnreachable, errConnecting
	default:
		st.State = InhibitorHolding
	}
	return st
}

// MaxDelay asks logind how long a lock can delay a shutdown: the effective
// InhibitDelayMaxSec=. See InhibitDelayConfig for where it is set.
func (i *Inhibitor) MaxDelay(ctx context.Context) (time.Duration, error) {
	var usec uint64
	if err := i.link.property(ctx, logindPath, logindManager, "InhibitDelayMaxUSec", &usec); err != nil {
		return 0, fmt.Errorf("read the inhibitor delay of logind: %w", err)
	}
	return duration(usec), nil
}

// Run holds the lock and listens until ctx ends; then it waits for OnShutdown to
// return and releases the lock. It returns nil: neither a missing bus nor a
// refused lock is a reason to end.
func (i *Inhibitor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { i.link.run(ctx) })
	defer wg.Wait()
	defer i.release()

	told := false // OnShutdown was called for the announcement that stands
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.changed:
		case <-retry.C:
		}
		preparing, s := i.current()
		switch {
		case preparing && told:
			// Nothing more to do: the shutdown goes on.
		case preparing:
			told = true
			i.prepare(ctx)
			i.release()
		case told && i.stopping(ctx, s):
			i.cfg.Logger.Info("shutdown goes on without logind")
		default:
			if told {
				told = false
				i.cfg.Logger.Info("shutdown was called off")
				i.cfg.OnCalledOff(ctx)
			}
			i.takeLock(s)
		}
	}
}

// current returns what is known now; the session is nil when there is none.
func (i *Inhibitor) current() (preparing bool, s *session) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.preparing, i.session
}

// prepare calls OnShutdown and returns when it has returned or its time is over.
func (i *Inhibitor) prepare(ctx context.Context) {
	announced := time.Now()
	limit := i.refreshDelay(ctx)
	i.mu.Lock()
	locked := i.lock != nil
	i.mu.Unlock()
	i.cfg.Logger.Info("shutdown announced", "max_delay", limit, "locked", locked)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if limit > 0 && limit < Infinite {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, announced.Add(limit))
		defer stop()
	}
	returned := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(returned)
		i.cfg.OnShutdown(ctx)
	})
	defer wg.Wait()
	for {
		select {
		case <-returned:
			return
		case <-ctx.Done():
			i.cfg.Logger.Warn("work before the shutdown was cut off", "err", context.Cause(ctx))
			i.release() // logind goes on anyway
			return
		case <-i.changed:
			if preparing, _ := i.current(); !preparing {
				i.notify() // for Run
				cancel(ErrCalledOff)
				return
			}
		}
	}
}

// refreshDelay asks logind for its limit, which may have been changed since the
// connection was made, and returns the last one known where it does not answer
// soon: the time runs.
func (i *Inhibitor) refreshDelay(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, i.delayTimeout)
	defer cancel()
	limit, err := i.MaxDelay(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		i.maxDelay = limit
	}
	return i.maxDelay
}

// takeLock takes the lock unless it is held. The reply carries a descriptor that
// must not be lost, or nobody could release the lock while the process lives: the
// call is never given up, its connection is.
func (i *Inhibitor) takeLock(s *session) {
	i.mu.Lock()
	held, before := i.lock != nil, i.refusal
	i.mu.Unlock()
	if held || s == nil || s.ended() {
		return
	}
	timer := time.AfterFunc(lockTimeout, s.cancel)
	defer timer.Stop()
	var fd dbus.UnixFD
	err := s.conn.Object(*s.owner.Load(), logindPath).
		Call(logindManager+".Inhibit", 0, "shutdown", i.cfg.Who, i.cfg.Why, "delay").Store(&fd)
	if err != nil && s.ended() {
		return // the next session tries again
	}
	i.mu.Lock()
	i.refusal = explain(err)
	if err == nil {
		i.lock = os.NewFile(uintptr(fd), "shutdown delay lock")
	}
	i.mu.Unlock()
	switch {
	case err == nil:
		i.cfg.Logger.Info("shutdown delay lock taken")
	case before == nil:
		i.cfg.Logger.Warn("shutdown delay lock was refused, a shutdown will not wait for a drain", "err", err)
	}
}

func (i *Inhibitor) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lock != nil {
		_ = i.lock.Close() // a pipe: nothing is written back
		i.lock = nil
	}
}

// stopping asks systemd whether the machine goes down. logind says
// PrepareForShutdown(false) when its part has ended, too.
func (i *Inhibitor) stopping(ctx context.Context, s *session) bool {
	if s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var state dbus.Variant
	err := s.conn.Object(systemdName, systemdPath).
		CallWithContext(ctx, propertiesName+".Get", 0, systemdManager, "SystemState").Store(&state)
	return err == nil && state.Value() == "stopping"
}

func (i *Inhibitor) notify() {
	select {
	case i.changed <- struct{}{}:
	default: // noticed already
	}
}

// open subscribes to announcements.
func (i *Inhibitor) open(ctx context.Context, s *session) error {
	return s.match(ctx, dbus.WithMatchSender(logindName), dbus.WithMatchInterface(logindManager),
		dbus.WithMatchMember("PrepareForShutdown"))
}

// serve reads what was announced before the session listened, and then only
// waits: announcements come by signal.
func (i *Inhibitor) serve(ctx context.Context, s *session) error {
	i.mu.Lock()
	signals := i.signals
	i.mu.Unlock()
	body, err := s.call(ctx, logindPath, propertiesName+".GetAll", logindManager)
	var props map[string]dbus.Variant
	if err == nil {
		err = dbus.Store(body, &props)
	}
	if err != nil {
		return fmt.Errorf("read the state of logind: %w", err)
	}
	preparing, ok := props["PreparingForShutdown"].Value().(bool)
	if !ok {
		return errors.New("read the state of logind: property PreparingForShutdown is missing")
	}
	usec, _ := props["InhibitDelayMaxUSec"].Value().(uint64)
	i.mu.Lock()
	if i.signals == signals { // else a signal has said it later
		i.preparing = preparing
	}
	i.maxDelay = duration(usec)
	i.session = s
	i.mu.Unlock()
	i.notify()
	<-s.done()
	return nil
}

// signal runs on the connection's reader.
func (i *Inhibitor) signal(sig *dbus.Signal) {
	var preparing bool
	if sig.Name != logindManager+".PrepareForShutdown" || dbus.Store(sig.Body, &preparing) != nil {
		return
	}
	i.mu.Lock()
	i.preparing = preparing
	i.signals++
	i.mu.Unlock()
	i.notify()
}
