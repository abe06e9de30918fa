package imds

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Status is what an event has come to. A machine sees only Scheduled and
// Started; the other two are the simulation's words for why an event vanished.
type Status string

// The statuses of an event.
const (
	Scheduled Status = "Scheduled"
	Started   Status = "Started"
	Completed Status = "Completed"
	Cancelled Status = "Cancelled"
)

// The types of events that Azure documents.
const (
	Freeze    = "Freeze"
	Reboot    = "Reboot"
	Redeploy  = "Redeploy"
	Preempt   = "Preempt"
	Terminate = "Terminate"
)

// maxEvents bounds the events in a document, maxPast those remembered after
// they vanished.
const (
	maxEvents = 1000
	maxPast   = 1000
)

// Errors of the methods that change an event.
var (
	ErrNoEvent    = errors.New("no such event")
	ErrTransition = errors.New("the event cannot do that now")
)

// An EventSpec describes an event to publish. Only Type is needed.
type EventSpec struct {
	// ID is the event's identity, kept for its whole life. Empty means a new
	// random GUID.
	ID string
	// Type is one of the documented types, or any other, to see what a reader
	// makes of it.
	Type string
	// Resources are the names of the machines concerned. Empty means the first
	// machine. A name that is not simulated counts as a member of every
	// placement group.
	Resources []string
	// Notice is the span from now to NotBefore. Zero means the documented
	// minimum of the type, and one minute for another type.
	Notice time.Duration
	// Started publishes the event as already under way, without a NotBefore:
	// how a failure of the host shows itself.
	Started bool
	// StartDelay is how long after an ack the event starts, never later than at
	// NotBefore: Azure may wait for the other machines on the host.
	StartDelay time.Duration
	// Description and Source are passed on. Empty means the usual ones.
	Description string
	Source      string // Platform or User
	// DurationSeconds is the expected impact: 0 none, -1 unknown. Nil means the
	// usual one of the type.
	DurationSeconds *int
	// CompleteAfter is how long after its start the event vanishes. Zero means
	// DurationSeconds when that is positive, and otherwise until Complete.
	CompleteAfter time.Duration
	// Hold keeps a started event until Complete, whatever its duration.
	Hold bool
}

// An Event is a published event.
type Event struct {
	ID              string    `json:"id"`
	Type            string    `json:"type"`
	Status          Status    `json:"status"`
	Resources       []string  `json:"resources"`
	NotBefore       time.Time `json:"not_before,omitzero"` // kept after the start, unlike on the wire
	Description     string    `json:"description,omitempty"`
	Source          string    `json:"source"`
	DurationSeconds int       `json:"duration_seconds"`
	PublishedAt     time.Time `json:"published_at"`
	StartedAt       time.Time `json:"started_at,omitzero"`
	EndedAt         time.Time `json:"ended_at,omitzero"`
	Acks            int       `json:"acks"`
}

// An event is a published event that has not vanished.
type event struct {
	Event
	startAt       time.Time // zero: no longer waiting to start
	endAt         time.Time // zero: until Complete
	startDelay    time.Duration
	completeAfter time.Duration
}

// eventType is what Azure documents about a type of event.
type eventType struct {
	since       string // the first API version that shows it
	notice      time.Duration
	duration    int
	description string
}

var eventTypes = map[string]eventType{
	Freeze:    {"2017-03-01", 15 * time.Minute, 5, "Virtual machine is being paused because of a memory-preserving Live Migration operation."},
	Reboot:    {"2017-03-01", 15 * time.Minute, -1, "Virtual machine is going to be restarted as requested by authorized user."},
	Redeploy:  {"2017-03-01", 10 * time.Minute, -1, "Virtual machine is being redeployed to another host."},
	Preempt:   {"2017-11-01", 30 * time.Second, -1, "Spot virtual machine is being evicted."},
	Terminate: {"2019-01-01", 5 * time.Minute, -1, "Virtual machine is going to be deleted."},
}

// otherType stands for every type that is not documented.
var otherType = eventType{since: "2017-03-01", notice: time.Minute, duration: -1}

func typeOf(name string) eventType {
	if t, ok := eventTypes[name]; ok {
		return t
	}
	return otherType
}

// Publish puts an event into the documents of all machines that see it and
// returns its id.
func (s *Server) Publish(spec EventSpec) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()

	now, kind := time.Now(), typeOf(spec.Type)
	e := &event{
		Event: Event{
			ID: spec.ID, Type: spec.Type, Status: Scheduled, Resources: slices.Clone(spec.Resources),
			Description: spec.Description, Source: spec.Source, DurationSeconds: kind.duration,
			PublishedAt: now,
		},
		startDelay:    s.span(spec.StartDelay),
		completeAfter: spec.CompleteAfter,
	}
	if e.ID == "" {
		e.ID = newGUID()
	}
	if len(e.Resources) == 0 {
		e.Resources = []string{s.vms[0].instance.Name}
	}
	if e.Description == "" {
		e.Description = kind.description
	}
	if e.Source == "" {
		e.Source = "Platform"
	}
	if spec.DurationSeconds != nil {
		e.DurationSeconds = *spec.DurationSeconds
	}
	if e.completeAfter == 0 && e.DurationSeconds > 0 {
		e.completeAfter = time.Duration(e.DurationSeconds) * time.Second
	}
	if spec.Hold {
		e.completeAfter = 0
	}
	e.completeAfter = s.span(e.completeAfter)

	s.live = append(s.live, e)
	s.log.Info("event published", "event_id", e.ID, "type", e.Type, "resources", e.Resources)
	if spec.Started {
		s.start(e, now, "published as started")
		return e.ID
	}
	notice := spec.Notice
	if notice == 0 {
		notice = kind.notice
	}
	e.NotBefore = ceilSecond(now.Add(s.span(notice)))
	e.startAt = e.NotBefore
	s.eventChanged(e)
	s.advance() // a NotBefore in the past
	return e.ID
}

// Start moves a scheduled event to Started at once.
func (s *Server) Start(id string) error {
	return s.change(id, func(e *event) error {
		if e.Status != Scheduled {
			return fmt.Errorf("start event %s: %w: it has started", id, ErrTransition)
		}
		s.start(e, time.Now(), "control")
		return nil
	})
}

// Complete makes an event vanish, as Azure does when it is over.
func (s *Server) Complete(id string) error {
	return s.change(id, func(e *event) error {
		s.end(e, time.Now(), Completed)
		return nil
	})
}

// Cancel makes a scheduled event vanish before it started.
func (s *Server) Cancel(id string) error {
	return s.change(id, func(e *event) error {
		if e.Status != Scheduled {
			return fmt.Errorf("cancel event %s: %w: it has started", id, ErrTransition)
		}
		s.end(e, time.Now(), Cancelled)
		return nil
	})
}

// Events returns all events in order of publication, also the last thousand
// that have vanished.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	all := slices.Clone(s.past)
	for _, e := range s.live {
		all = append(all, e.Event)
	}
	slices.SortStableFunc(all, func(a, b Event) int { return a.PublishedAt.Compare(b.PublishedAt) })
	return all
}

// Event returns one event by its id.
func (s *Server) Event(id string) (Event, bool) {
	for _, e := range s.Events() {
		if e.ID == id {
			return e, true
		}
	}
	return Event{}, false
}

// ResetIncarnation sets the DocumentIncarnation of every machine to n, as
// happens in Azure when Scheduled Events were off for a while.
func (s *Server) ResetIncarnation(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.vms {
		m.incarnation = n
	}
	s.notify()
}

func (s *Server) change(id string, do func(*event) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	for _, e := range s.live {
		if e.ID == id {
			return do(e)
		}
	}
	if slices.ContainsFunc(s.past, func(e Event) bool { return e.ID == id }) {
		return fmt.Errorf("change event %s: %w: it has vanished", id, ErrTransition)
	}
	return fmt.Errorf("change event %s: %w", id, ErrNoEvent)
}

// advance makes the moves that are due; s.mu is held.
func (s *Server) advance() {
	now := time.Now()
	for _, e := range slices.Clone(s.live) {
		if !e.startAt.IsZero() && !now.Before(e.startAt) {
			s.start(e, e.startAt, "due")
		}
		if !e.endAt.IsZero() && !now.Before(e.endAt) {
			s.end(e, e.endAt, Completed)
		}
	}
}

// nextDue is when advance has something to do next, or zero; s.mu is held.
func (s *Server) nextDue() time.Time {
	var next time.Time
	for _, e := range s.live {
		for _, t := range []time.Time{e.startAt, e.endAt} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

func (s *Server) start(e *event, at time.Time, why string) {
	e.Status, e.StartedAt, e.startAt = Started, at, time.Time{}
	if e.completeAfter > 0 {
		e.endAt = at.Add(e.completeAfter)
	}
	s.log.Info("event started", "event_id", e.ID, "type", e.Type, "reason", why)
	s.eventChanged(e)
}

func (s *Server) end(e *event, at time.Time, how Status) {
	e.Status, e.EndedAt = how, at
	s.live = slices.DeleteFunc(s.live, func(x *event) bool { return x == e })
	s.past = append(s.past, e.Event)
	if len(s.past) > maxPast {
		s.past = slices.Delete(s.past, 0, len(s.past)-maxPast)
	}
	s.log.Info("event vanished", "event_id", e.ID, "type", e.Type, "reason", strings.ToLower(string(how)))
	s.eventChanged(e)
}

// eventChanged moves the incarnation of every document that shows e.
func (s *Server) eventChanged(e *event) {
	for _, m := range s.vms {
		if s.sees(m, e) {
			m.incarnation++
		}
	}
	s.notify()
}

// sees reports whether e concerns m's placement group.
func (s *Server) sees(m *vm, e *event) bool {
	return slices.ContainsFunc(e.Resources, func(name string) bool {
		for _, other := range s.vms {
			if strings.EqualFold(other.instance.Name, name) {
				return strings.EqualFold(other.instance.group(), m.instance.group())
			}
		}
		return true
	})
}

// newGUID returns a random GUID as Azure writes event ids: in upper case.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ceilSecond rounds up to a whole second, so that a notice is never shorter
// than was asked for.
func ceilSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t.Round(0)
}
