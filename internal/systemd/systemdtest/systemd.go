package systemdtest

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
	systemdUnit    = "org.freedesktop.systemd1.Unit"
	propertiesName = "org.freedesktop.DBus.Properties"
)

// Unit is a unit of the fake systemd.
type Unit struct {
	Name  string
	Alias string // one more name; may be empty
	// PartOf names the targets whose stop and start jobs the unit follows; it
	// is ordered after them.
	PartOf []string
	// Unwanted is a unit that the start jobs of those targets pass over.
	Unwanted bool
	// Triggers is what a socket starts; empty means nothing.
	Triggers string
	// ActiveState and Result as systemd names them; empty means inactive and
	// success.
	ActiveState, Result string
	TimeoutStop         time.Duration // 0 stands for infinity
	// OnStart and OnStop say how jobs go.
	OnStart, OnStop Behavior
}

// Behavior is how a job of a unit goes. The zero value succeeds at once.
type Behavior struct {
	// Delay is how long the job takes.
	Delay time.Duration
	// Hold keeps the job going until Finish.
	Hold bool
	// Job is the job's result; empty means done.
	Job string
	// ActiveState and Result are the unit's afterwards; empty means active or
	// inactive, and success.
	ActiveState, Result string
}

// Systemd is a fake org.freedesktop.systemd1. Its units are named; any other name
// is a unit that is not found.
type Systemd struct {
	service

	units       map[string]*Unit
	jobs        map[string]*job // by unit
	lastJob     uint32
	calls       []string
	denied      map[string]bool
	subscribers map[string]bool
	state       string
	timers      sync.WaitGroup
	ended       chan struct{}
}

// job is a job that goes on.
type job struct {
	id    uint32
	unit  *Unit
	verb  string
	does  Behavior
	parts []*job // of a target: what it waits for
	begun bool
	done  bool
}

func (j *job) path() dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprintf("%s/job/%d", systemdPath, j.id))
}

func newSystemd(tb testing.TB, address string) *Systemd {
	tb.Helper()
	s := &Systemd{
		units:       make(map[string]*Unit),
		jobs:        make(map[string]*job),
		denied:      make(map[string]bool),
		subscribers: make(map[string]bool),
		state:       "running",
		ended:       make(chan struct{}),
	}
	s.init(tb, systemdName, address, s.call)
	return s
}

// Set adds a unit, or replaces it and tells that it has changed.
func (s *Systemd) Set(u Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.ActiveState == "" {
		u.ActiveState = "inactive"
	}
	if u.Result == "" {
		u.Result = "success"
	}
	_, known := s.units[u.Name]
	s.units[u.Name] = &u
	if known {
		s.changed(&u)
	} else {
		s.signal(systemdPath, systemdManager+".UnitNew", u.Name, unitPath(u.Name))
	}
}

// Unit returns a unit as it is now.
func (s *Systemd) Unit(name string) Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.find(name); u != nil {
		return *u
	}
	return Unit{}
}

// WaitActiveState waits until a unit is in a state.
func (s *Systemd) WaitActiveState(name, state string) {
	s.tb.Helper()
	s.await(name+" to be "+state, func() bool { u := s.find(name); return u != nil && u.ActiveState == state })
}

// Calls returns the calls that change something, in their order, such as
// "StopUnit fleet-serving.target replace" and "KillUnit a.service all 9".
func (s *Systemd) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// WaitCall waits until such a call has been made.
func (s *Systemd) WaitCall(call string) {
	s.tb.Helper()
	s.await("call "+call, func() bool { return slices.Contains(s.calls, call) })
}

// Finish ends a held job of a unit as its Behavior says.
func (s *Systemd) Finish(unit string) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[unit]
	if j == nil {
		s.tb.Errorf("%s has no job to finish", unit)
		return
	}
	s.finish(j)
}

// Deny makes a method, such as StopUnit, fail as it does without a polkit rule.
func (s *Systemd) Deny(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[method] = true
}

// SetState sets SystemState, running at first.
func (s *Systemd) SetState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// Reload tells of a daemon-reload.
func (s *Systemd) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal(systemdPath, systemdManager+".Reloading", true)
	s.signal(systemdPath, systemdManager+".Reloading", false)
}

// Leave lets systemd leave the bus, as in a re-execution; Return lets it come
// back. Jobs and units go on meanwhile.
func (s *Systemd) Leave() {
	s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.subscribers)
}

// Return is the end of Leave.
func (s *Systemd) Return() { s.join() }

// WaitSubscribers waits until n clients have subscribed on this bus.
func (s *Systemd) WaitSubscribers(n int) {
	s.tb.Helper()
	s.await(fmt.Sprintf("%d subscribers", n), func() bool { return len(s.subscribers) == n })
}

func (s *Systemd) leave() {
	s.service.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.subscribers) // systemd forgets clients that are gone
}

func (s *Systemd) end() {
	close(s.ended)
	s.timers.Wait()
}

// signal emits a signal, to subscribers only. The caller holds mu.
func (s *Systemd) signal(path dbus.ObjectPath, name string, args ...any) {
	s.cond.Broadcast()
	if len(s.subscribers) > 0 {
		s.emit(path, name, args...)
	}
}

func (s *Systemd) changed(u *Unit) {
	s.signal(unitPath(u.Name), propertiesName+".PropertiesChanged", systemdUnit,
		map[string]dbus.Variant{"ActiveState": dbus.MakeVariant(u.ActiveState)}, []string{})
}

func (s *Systemd) find(name string) *Unit {
	if u := s.units[name]; u != nil {
		return u
	}
	for _, u := range s.units {
		if name != "" && u.Alias == name {
			return u
		}
	}
	return nil
}

func (s *Systemd) call(msg *dbus.Message) ([]any, func(), *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.cond.Broadcast()
	method := member(msg)
	if s.denied[method] {
		return nil, nil, failure("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "Interactive authentication required.")
	}
	switch method {
	case "Subscribe":
		s.subscribers[sender(msg)] = true
		return nil, nil, nil
	case "LoadUnit":
		name, _ := msg.Body[0].(string)
		if u := s.find(name); u != nil {
			name = u.Name
		}
		return []any{unitPath(name)}, nil, nil
	case "StopUnit", "StartUnit", "KillUnit":
		s.calls = append(s.calls, strings.TrimSuffix(fmt.Sprintln(append([]any{method}, msg.Body...)...), "\n"))
		name, _ := msg.Body[0].(string)
		u := s.find(name)
		if u == nil {
			return nil, nil, failure("org.freedesktop.systemd1.NoSuchUnit", "Unit %s not loaded.", name)
		}
		if method == "KillUnit" {
			return nil, nil, nil
		}
		j := s.enqueue(u, strings.ToLower(strings.TrimSuffix(method, "Unit")))
		// The job begins when its caller knows about it.
		return []any{j.path()}, func() { s.begin(j) }, nil
	case "Get", "GetAll":
		table, err := s.object(objectPath(msg))
		if err != nil {
			return nil, nil, err
		}
		body, err := properties(msg, table)
		return body, nil, err
	}
	return nil, nil, unknownMethod(msg)
}

// enqueue makes a job for a unit and, as PartOf= says, for its members. A job of
// the other kind that goes on is cancelled; one of the same kind is joined.
func (s *Systemd) enqueue(u *Unit, verb string) *job {
	if old := s.jobs[u.Name]; old != nil {
		if old.verb == verb {
			return old
		}
		s.remove(old, "canceled")
	}
	s.lastJob++
	j := &job{id: s.lastJob, unit: u, verb: verb, does: u.OnStop}
	if verb == "start" {
		j.does = u.OnStart
	}
	s.jobs[u.Name] = j
	for _, member := range s.members(u.Name) {
		if verb == "start" && s.units[member].Unwanted {
			continue
		}
		part := s.enqueue(s.units[member], verb)
		if verb == "stop" {
			j.parts = append(j.parts, part) // members are ordered after the target
		}
	}
	return j
}

// begin runs a job and those that came with it.
func (s *Systemd) begin(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run(j)
	for _, member := range s.members(j.unit.Name) {
		if part := s.jobs[member]; part != nil && part.verb == j.verb {
			s.run(part)
		}
	}
}

func (s *Systemd) run(j *job) {
	if j.begun {
		return
	}
	j.begun = true
	switch {
	case len(j.parts) > 0: // waits, and keeps its state
		return
	case j.verb == "stop":
		s.setState(j.unit, "deactivating", j.unit.Result)
	default:
		s.setState(j.unit, "activating", j.unit.Result)
	}
	switch {
	case j.does.Hold:
	case j.does.Delay > 0:
		s.timers.Go(func() {
			select {
			case <-time.After(j.does.Delay):
				s.mu.Lock()
				defer s.mu.Unlock()
				s.finish(j)
			case <-s.ended:
			}
		})
	default:
		s.finish(j)
	}
}

// finish ends a job as its Behavior says.
func (s *Systemd) finish(j *job) {
	if j.done {
		return
	}
	state, result, ended := j.does.ActiveState, j.does.Result, j.does.Job
	if state == "" && j.verb == "stop" {
		state = "inactive"
	} else if state == "" {
		state = "active"
	}
	if result == "" {
		result = "success"
	}
	if ended == "" {
		ended = "done"
	}
	s.setState(j.unit, state, result)
	s.remove(j, ended)
}

// remove ends a job; the jobs that waited for it end when it was the last.
func (s *Systemd) remove(j *job, result string) {
	if j.done {
		return
	}
	j.done = true
	if s.jobs[j.unit.Name] == j {
		delete(s.jobs, j.unit.Name)
	}
	s.signal(systemdPath, systemdManager+".JobRemoved", j.id, j.path(), j.unit.Name, result)
	for _, other := range s.jobs {
		if slices.Contains(other.parts, j) && !slices.ContainsFunc(other.parts, func(p *job) bool { return !p.done }) {
			s.finish(other)
		}
	}
}

func (s *Systemd) setState(u *Unit, state, result string) {
	u.ActiveState, u.Result = state, result
	s.changed(u)
}

func (s *Systemd) members(target string) []string {
	var names []string
	for _, u := range s.units {
		if slices.Contains(u.PartOf, target) {
			names = append(names, u.Name)
		}
	}
	return names
}

// object returns the properties of an object by interface.
func (s *Systemd) object(object dbus.ObjectPath) (map[string]map[string]any, *dbus.Error) {
	if object == systemdPath {
		return map[string]map[string]any{systemdManager: {"SystemState": s.state, "Version": "252"}}, nil
	}
	for _, j := range s.jobs {
		if j.path() == object {
			return map[string]map[string]any{"org.freedesktop.systemd1.Job": {"State": "running", "Id": j.id}}, nil
		}
	}
	for _, u := range s.units {
		if unitPath(u.Name) == object || u.Alias != "" && unitPath(u.Alias) == object {
			return s.unitProperties(u), nil
		}
	}
	if name, ok := strings.CutPrefix(string(object), string(systemdPath)+"/unit/"); ok {
		return map[string]map[string]any{systemdUnit: {
			"Id": unescape(name), "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "ConsistsOf": []string{},
		}}, nil
	}
	return nil, failure("org.freedesktop.DBus.Error.UnknownObject", "Unknown object '%s'.", object)
}

func (s *Systemd) unitProperties(u *Unit) map[string]map[string]any {
	sub := map[string]string{"active": "running", "inactive": "dead", "activating": "start", "deactivating": "stop-sigterm"}[u.ActiveState]
	if sub == "" {
		sub = u.ActiveState
	}
	consistsOf, wants, triggers := []string{}, []string{}, []string{}
	for _, name := range s.members(u.Name) {
		consistsOf = append(consistsOf, name)
		if !s.units[name].Unwanted {
			wants = append(wants, name)
		}
	}
	if u.Triggers != "" {
		triggers = append(triggers, u.Triggers)
	}
	unitJob := struct {
		ID   uint32
		Path dbus.ObjectPath
	}{0, "/"}
	if j := s.jobs[u.Name]; j != nil {
		unitJob.ID, unitJob.Path = j.id, j.path()
	}
	table := map[string]map[string]any{systemdUnit: {
		"Id": u.Name, "LoadState": "loaded", "ActiveState": u.ActiveState, "SubState": sub,
		"ConsistsOf": consistsOf, "Wants": wants, "Triggers": triggers, "Job": unitJob,
	}}
	timeout := uint64(u.TimeoutStop.Microseconds())
	if timeout == 0 {
		timeout = math.MaxUint64
	}
	switch path.Ext(u.Name) {
	case ".service":
		table["org.freedesktop.systemd1.Service"] = map[string]any{"Result": u.Result, "TimeoutStopUSec": timeout}
	case ".socket":
		table["org.freedesktop.systemd1.Socket"] = map[string]any{"Result": u.Result, "TimeoutUSec": timeout}
	}
	return table
}

// unitPath escapes a name as systemd does.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	for i, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return systemdPath + "/unit/" + dbus.ObjectPath(b.String())
}

// unescape undoes unitPath.
func unescape(label string) string {
	var b strings.Builder
	for i := 0; i < len(label); i++ {
		var c byte
		if label[i] == '_' && i+2 < len(label) {
			if _, err := fmt.Sscanf(label[i+1:i+3], "%02x", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(label[i])
	}
	return b.String()
}
