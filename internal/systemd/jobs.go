package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// jobRecheck is how often a waiting call asks whether its job still exists, in
// case the signal of its end was lost with a connection.
const jobRecheck = 5 * time.Second

// JobError is the end of a job other than done, as JobRemoved of
// org.freedesktop.systemd1(5) tells it.
type JobError struct {
	Unit string
	Type string // start or stop
	// Result is systemd's word: canceled, timeout, failed, dependency, skipped,
	// or one of the rarer ones such as assert.
	Result string
}

// Error says what became of the job.
func (e *JobError) Error() string {
	return fmt.Sprintf("%s job of %s ended with result %q", e.Type, e.Unit, e.Result)
}

// StopUnit stops a unit and waits until its stop job has ended. The error is a
// *JobError when the job did not end well, ErrNoSuchUnit, ErrDenied, ErrNoBus,
// or that of ctx. The end of ctx ends the waiting, not the job.
//
// A unit that had to be killed still ends its job with done: look at UnitState
// for how it went. The job of a target ends when every member that is ordered
// After= it has stopped, whatever became of the members.
func (m *Manager) StopUnit(ctx context.Context, name string) error {
	return m.runJob(ctx, "stop", name)
}

// StartUnit starts a unit and waits until its start job has ended; for a oneshot
// service that is when its process has. It otherwise is like StopUnit. A unit
// that a condition keeps from starting ends its job with done and stays inactive.
func (m *Manager) StartUnit(ctx context.Context, name string) error {
	return m.runJob(ctx, "start", name)
}

// KillUnit sends a signal to every process of a unit, and waits for nothing.
func (m *Manager) KillUnit(ctx context.Context, name string, signal syscall.Signal) error {
	if _, err := m.link.call(ctx, systemdPath, systemdManager+".KillUnit", name, "all", int32(signal)); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	return nil
}

// jobWait is a call that waits for a job. All fields are guarded by Manager.mu.
type jobWait struct {
	path dbus.ObjectPath // empty until systemd has said which job it is
	// early are the results of jobs that ended before path was known.
	early map[dbus.ObjectPath]string
	done  chan string // capacity 1: the reader of the connection never waits
}

func (m *Manager) runJob(ctx context.Context, verb, name string) error {
	w := &jobWait{early: make(map[dbus.ObjectPath]string), done: make(chan string, 1)}
	m.mu.Lock()
	m.jobs[w] = struct{}{} // before the call: the job may end before the reply is seen
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.jobs, w)
		m.mu.Unlock()
	}()

	method := ".StartUnit"
	if verb == "stop" {
		method = ".StopUnit"
	}
	var path dbus.ObjectPath
	body, err := m.link.call(ctx, systemdPath, systemdManager+method, name, "replace")
	if err == nil {
		err = dbus.Store(body, &path)
	}
	if errors.Is(err, ErrDenied) {
		if bridged := m.bridgeJob(ctx, verb, name); !errors.Is(bridged, errNoBridge) {
			if bridged != nil {
				return fmt.Errorf("%s %s: %w", verb, name, bridged)
			}
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
	m.expectJob(w, path)
	result, err := m.awaitJob(ctx, w, verb, name, path)
	if err != nil {
		return fmt.Errorf("wait for the %s job of %s: %w", verb, name, err)
	}
	if result != "done" {
		return &JobError{Unit: name, Type: verb, Result: result}
	}
	return nil
}

// expectJob tells the reader which job w waits for.
func (m *Manager) expectJob(w *jobWait, path dbus.ObjectPath) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.path = path
	if result, ok := w.early[path]; ok {
		w.done <- result
	}
	w.early = nil
}

// jobRemoved runs on the connection's reader.
func (m *Manager) jobRemoved(path dbus.ObjectPath, result string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.jobs {
		switch w.path {
		case "":
			w.early[path] = result
		case path:
			select {
			case w.done <- result:
			default: // told already
			}
		}
	}
}

// awaitJob waits for the result of a job. The job goes on without the bus, so a
// lost connection does not end the waiting. When the signal that tells the
// result was lost, the job is gone all the same, and the unit's state tells.
func (m *Manager) awaitJob(ctx context.Context, w *jobWait, verb, name string, path dbus.ObjectPath) (string, error) {
	ticker := time.NewTicker(jobRecheck)
	defer ticker.Stop()
	var err error // of the last look at the job
	for {
		select {
		case result := <-w.done:
			return result, nil
		case <-ctx.Done():
			if errors.Is(err, ErrNoBus) {
				return "", fmt.Errorf("%w: %w", err, context.Cause(ctx))
			}
			return "", context.Cause(ctx)
		case <-m.link.nextChange():
		case <-ticker.C:
		}
		var state string
		if err = m.link.property(ctx, path, systemdJob, "State", &state); !unknownObject(err) {
			continue // it goes on, or there is no telling now
		}
		select {
		case result := <-w.done: // came in before the answer
			return result, nil
		default:
			return m.inferResult(ctx, verb, name)
		}
	}
}

// inferResult tells from the unit's state how a job must have ended.
func (m *Manager) inferResult(ctx context.Context, verb, name string) (string, error) {
	u, err := m.UnitState(ctx, name)
	if err != nil {
		return "", err
	}
	switch {
	case verb == "stop" && (u.ActiveState == "inactive" || u.ActiveState == "failed"),
		verb == "start" && u.ActiveState == "active",
		// A oneshot that ended well, or a condition that did not hold.
		verb == "start" && u.ActiveState == "inactive" && u.Result == "success":
		return "done", nil
	case u.ActiveState == "failed":
		return "failed", nil
	}
	return "canceled", nil
}

// Members returns the names of the loaded units that are PartOf= the target,
// sorted.
func (m *Manager) Members(ctx context.Context, target string) ([]string, error) {
	var names []string
	if err := m.link.property(ctx, unitPath(target), systemdUnit, "ConsistsOf", &names); err != nil {
		return nil, fmt.Errorf("list the members of %s: %w", target, err)
	}
	return slices.Sorted(slices.Values(names)), nil
}
