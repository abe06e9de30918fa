package imds

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// A FaultKind is a way in which the service misbehaves.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus    FaultKind = "status"    // answers with Status, whatever was asked
	FaultDelay     FaultKind = "delay"     // answers properly after Delay
	FaultHang      FaultKind = "hang"      // does not answer as long as the fault lasts, then closes the connection
	FaultReset     FaultKind = "reset"     // resets the connection without having looked at the request
	FaultLost      FaultKind = "lost"      // does what was asked, then resets the connection
	FaultEmpty     FaultKind = "empty"     // 200 without a body
	FaultTruncated FaultKind = "truncated" // the first half of the body
	FaultPartial   FaultKind = "partial"   // 200 with data missing; with extended=true, 500
	FaultBody      FaultKind = "body"      // 200 with Body, whatever was asked
	FaultClock     FaultKind = "clock"     // answers properly, by a clock that is Ahead
)

var faultKinds = []FaultKind{
	FaultStatus, FaultDelay, FaultHang, FaultReset, FaultLost, FaultEmpty, FaultTruncated, FaultPartial,
	FaultBody, FaultClock,
}

// The endpoints that a fault can be limited to.
const (
	EndpointInstance        = "instance"
	EndpointScheduledEvents = "scheduledevents"
)

// A Fault is a misbehaviour of the service. It meets the requests that all of
// Endpoint, Method and VM let through, until Count or For is used up.
//
// A Go client repeats a GET by itself when a kept connection is reset, and so
// uses up two of Count.
type Fault struct {
	Kind     FaultKind
	Endpoint string // EndpointInstance or EndpointScheduledEvents; empty: both
	Method   string // GET or POST; empty: both
	VM       string // empty: every machine

	Status     int           // for FaultStatus
	Delay      time.Duration // before the answer; for every kind
	RetryAfter time.Duration // sent as Retry-After in whole seconds, not divided by Speed; zero: not sent
	Omit       []string      // for FaultPartial of the instance: compute fields; empty: name, vmId and others

	Body  string        // for FaultBody
	Ahead time.Duration // for FaultClock: how far the Date of an answer is ahead, not divided by Speed; negative: behind

	Count int           // how many requests; zero: any number
	For   time.Duration // for how long; zero: until it is cleared
}

// A fault is one that was set.
type fault = steer.Entry[Fault]

// SetFault makes the service misbehave. It takes the place of a fault with the
// same Endpoint, Method and VM; of several that meet a request, the one set
// first counts.
func (s *Server) SetFault(f Fault) error {
	if err := s.validateFault(f); err != nil {
		return fmt.Errorf("set fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Clear(func(old Fault) bool {
		return old.Endpoint == f.Endpoint && old.Method == f.Method && strings.EqualFold(old.VM, f.VM)
	})
	var until time.Time
	if f.For > 0 {
		until = time.Now().Add(s.span(f.For))
	}
	s.faults.Set(f, f.Count, until)
	s.log.Info("fault set", "kind", f.Kind, "endpoint", f.Endpoint, "status", f.Status, "count", f.Count, "for", f.For)
	s.notify()
	return nil
}

// ClearFaults ends all faults; requests that hang are closed.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Clear(func(Fault) bool { return true })
	s.log.Info("faults cleared")
	s.notify()
}

// Faults returns the faults in force, in the order in which they were set,
// with what is left of Count and For.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var inForce []Fault
	for _, f := range s.faults.InForce(now) {
		left := f.Fault
		left.Count = max(f.Left, 0)
		if !f.Until.IsZero() {
			left.For = time.Duration(float64(f.Until.Sub(now)) * s.speed)
		}
		inForce = append(inForce, left)
	}
	return inForce
}

// takeFault returns the fault that meets a request, or nil.
func (s *Server) takeFault(m *vm, endpoint, method string) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.Take(time.Now(), func(f Fault) bool {
		return (f.Endpoint == "" || f.Endpoint == endpoint) &&
			(f.Method == "" || f.Method == method) &&
			(f.VM == "" || strings.EqualFold(f.VM, m.key))
	})
}

func (s *Server) validateFault(f Fault) error {
	var errs []error
	if !slices.Contains(faultKinds, f.Kind) {
		errs = append(errs, fmt.Errorf("kind %q is none of %s", f.Kind, joinWords(faultKinds)))
	}
	switch {
	case f.Kind == FaultStatus && (f.Status < 200 || f.Status > 599):
		errs = append(errs, fmt.Errorf("status %d is not between 200 and 599", f.Status))
	case f.Kind != FaultStatus && f.Status != 0:
		errs = append(errs, fmt.Errorf("status is for kind %s only", FaultStatus))
	}
	switch {
	case f.Kind != FaultBody && f.Body != "":
		errs = append(errs, fmt.Errorf("body is for kind %s only", FaultBody))
	case f.Kind != FaultClock && f.Ahead != 0:
		errs = append(errs, fmt.Errorf("ahead is for kind %s only", FaultClock))
	}
	if f.Kind == FaultDelay && f.Delay <= 0 {
		errs = append(errs, errors.New("delay is missing"))
	}
	if !slices.Contains([]string{"", EndpointInstance, EndpointScheduledEvents}, f.Endpoint) {
		errs = append(errs, fmt.Errorf("endpoint %q is neither %s nor %s", f.Endpoint, EndpointInstance, EndpointScheduledEvents))
	}
	if !slices.Contains([]string{"", http.MethodGet, http.MethodPost}, f.Method) {
		errs = append(errs, fmt.Errorf("method %q is neither GET nor POST", f.Method))
	}
	if f.VM != "" && s.find(f.VM) == nil {
		errs = append(errs, fmt.Errorf("there is no machine %q", f.VM))
	}
	if f.Count < 0 || f.For < 0 || f.Delay < 0 || f.RetryAfter < 0 {
		errs = append(errs, errors.New("count, for, delay and retry_after are not negative"))
	}
	return errors.Join(errs...)
}

// joinWords lists words for a message.
func joinWords[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}
