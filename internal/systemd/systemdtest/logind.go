package systemdtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	logindName    = "org.freedesktop.login1"
	logindPath    = dbus.ObjectPath("/org/freedesktop/login1")
	logindManager = "org.freedesktop.login1.Manager"
)

// Lock is an inhibitor lock that a client holds.
type Lock struct{ What, Who, Why, Mode string }

// Logind is a fake org.freedesktop.login1.
type Logind struct {
	service

	locks     map[*os.File]Lock // by the end of the pipe that we read
	preparing bool
	maxDelay  time.Duration
	refuse    bool
	readers   sync.WaitGroup // each waits for the release of a lock
}

func newLogind(tb testing.TB, address string) *Logind {
	tb.Helper()
	l := &Logind{locks: make(map[*os.File]Lock), maxDelay: 5 * time.Second}
	l.init(tb, logindName, address, l.call)
	return l
}

// Locks returns the locks that are held.
func (l *Logind) Locks() []Lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	locks := make([]Lock, 0, len(l.locks))
	for _, lock := range l.locks {
		locks = append(locks, lock)
	}
	return locks
}

// WaitLocks waits until n locks are held.
func (l *Logind) WaitLocks(n int) {
	l.tb.Helper()
	l.await(fmt.Sprintf("%d locks", n), func() bool { return len(l.locks) == n })
}

// SetMaxDelay sets InhibitDelayMaxUSec, 5 s at first.
func (l *Logind) SetMaxDelay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxDelay = d
}

// Refuse makes Inhibit fail as it does without polkit, or succeed again.
func (l *Logind) Refuse(refuse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

// PrepareForShutdown announces a shutdown, or its end, and waits for nothing.
func (l *Logind) PrepareForShutdown(active bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.preparing = active
	l.emit(logindPath, logindManager+".PrepareForShutdown", active)
}

// Shutdown announces a shutdown and waits as logind does, until all locks are
// released, but no longer than the maximal delay. It reports whether they were.
func (l *Logind) Shutdown() (released bool) {
	l.PrepareForShutdown(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	over := false
	timer := time.AfterFunc(l.maxDelay, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		over = true
		l.cond.Broadcast()
	})
	defer timer.Stop()
	for len(l.locks) > 0 && !over {
		l.cond.Wait()
	}
	return len(l.locks) == 0
}

// Leave lets logind leave the bus; locks survive it. Return lets it come back.
func (l *Logind) Leave() { l.leave() }

// Return is the end of Leave.
func (l *Logind) Return() { l.join() }

// end ends what is left of the fake.
func (l *Logind) end() {
	l.mu.Lock()
	for r := range l.locks {
		_ = r.Close() // wakes its reader
	}
	l.mu.Unlock()
	l.readers.Wait()
}

func (l *Logind) call(msg *dbus.Message) ([]any, func(), *dbus.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch member(msg) {
	case "Inhibit":
		return l.inhibit(msg)
	case "Get", "GetAll":
		body, err := properties(msg, map[string]map[string]any{logindManager: {
			"PreparingForShutdown": l.preparing,
			"InhibitDelayMaxUSec":  uint64(l.maxDelay.Microseconds()),
		}})
		return body, nil, err
	}
	return nil, nil, unknownMethod(msg)
}

func (l *Logind) inhibit(msg *dbus.Message) ([]any, func(), *dbus.Error) {
	var lock Lock
	if err := dbus.Store(msg.Body, &lock.What, &lock.Who, &lock.Why, &lock.Mode); err != nil {
		return nil, nil, failure("org.freedesktop.DBus.Error.InvalidArgs", "%v", err)
	}
	if l.refuse {
		return nil, nil, failure("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
	}
	if l.preparing {
		return nil, nil, failure("org.freedesktop.login1.OperationInProgress",
			"The operation inhibition has been requested for is already running")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, failure("org.freedesktop.DBus.Error.Failed", "%v", err)
	}
	l.locks[r] = lock
	l.cond.Broadcast()
	l.readers.Go(func() {
		_, _ = r.Read(make([]byte, 1)) // nobody writes: it ends with the last write end
		l.mu.Lock()
		delete(l.locks, r)
		l.cond.Broadcast()
		l.mu.Unlock()
		_ = r.Close()
	})
	return []any{dbus.UnixFD(w.Fd())}, func() { _ = w.Close() }, nil
}
