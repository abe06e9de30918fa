package arm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// A FaultKind is a way in which the control plane misbehaves.
type FaultKind string

// The kinds of faults.
const (
	FaultError     FaultKind = "error"     // answers with Status, Code and Message, and does nothing
	FaultThrottle  FaultKind = "throttle"  // answers 429 as Azure does, and does nothing
	FaultOperation FaultKind = "operation" // does what was asked; the operation that it begins fails with Code and Message
	FaultDelay     FaultKind = "delay"     // answers properly after Delay
	FaultHang      FaultKind = "hang"      // does nothing and does not answer as long as the fault lasts, then resets the connection
	FaultReset     FaultKind = "reset"     // does nothing and resets the connection
	FaultLost      FaultKind = "lost"      // does what was asked, then resets the connection
	FaultEmpty     FaultKind = "empty"     // answers properly, but without the body
	FaultTruncated FaultKind = "truncated" // answers properly, but ends in the middle of the body
	FaultHTML      FaultKind = "html"      // answers as a proxy does, with a page and Status, and does nothing
	FaultHuge      FaultKind = "huge"      // answers with a gigabyte of JSON, and does nothing
)

var faultKinds = []FaultKind{
	FaultError, FaultThrottle, FaultOperation, FaultDelay, FaultHang, FaultReset, FaultLost, FaultEmpty, FaultTruncated, FaultHTML, FaultHuge,
}

// A Fault is a misbehaviour of the control plane. It meets the requests that Method
// and Path let through, from After on, until Count or For is used up.
type Fault struct {
	Kind   FaultKind
	Method string // "" means any
	Path   string // part of the path, without regard to case; "" means any

	Status     int    // for FaultError (0: 500) and FaultHTML (0: 502)
	Code       string // of the error; "" means one that goes with Status
	Message    string
	RetryAfter time.Duration // simulated; 0 means not sent, or 1 minute with FaultThrottle
	Delay      time.Duration // simulated, before the answer; for every kind

	After time.Duration // simulated, from now on
	Count int           // how many requests; 0 means any number
	For   time.Duration // simulated; 0 means until it is cleared
}

// A fault is one that was set.
type fault struct {
	Fault

	from time.Time
}

// SetFault makes the control plane misbehave. Of several faults that meet a request,
// the one that was set first counts.
func (s *Server) SetFault(f Fault) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("set fault: %w", err)
	}
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	from := s.clock.Now().Add(f.After)
	var until time.Time
	if f.For > 0 {
		until = from.Add(f.For)
	}
	s.faults.Set(fault{Fault: f, from: from}, f.Count, until)
	s.log.Info("fault set", "kind", f.Kind, "method", f.Method, "path", f.Path, "count", f.Count, "for", f.For)
	return nil
}

// ClearFaults ends all faults; requests that hang are let go.
func (s *Server) ClearFaults() {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.faults.Clear(func(fault) bool { return true })
	s.log.Info("faults cleared")
}

// Faults returns the faults in force, in the order in which they were set, with what
// is left of Count, For and After.
func (s *Server) Faults() []Fault {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	now := s.clock.Now()
	var all []Fault
	for _, e := range s.faults.InForce(now) {
		f := e.Fault.Fault
		f.Count = max(e.Left, 0)
		f.After = max(e.Fault.from.Sub(now), 0)
		if !e.Until.IsZero() {
			f.For = e.Until.Sub(now) - f.After
		}
		all = append(all, f)
	}
	return all
}

// takeFault returns the fault that meets a request, or nil.
func (s *Server) takeFault(r *http.Request) *steer.Entry[fault] {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	now := s.clock.Now()
	return s.faults.Take(now, func(f fault) bool {
		return !now.Before(f.from) && (f.Method == "" || strings.EqualFold(f.Method, r.Method)) &&
			strings.Contains(strings.ToLower(r.URL.Path), strings.ToLower(f.Path))
	})
}

func (f *Fault) check() error {
	var errs []error
	if !slices.Contains(faultKinds, f.Kind) {
		errs = append(errs, fmt.Errorf("kind %q is none of %s", f.Kind, joinWords(faultKinds)))
	}
	withStatus := f.Kind == FaultError || f.Kind == FaultHTML
	switch {
	case withStatus && f.Status != 0 && (f.Status < 200 || f.Status > 599):
		errs = append(errs, fmt.Errorf("status %d is not between 200 and 599", f.Status))
	case !withStatus && f.Status != 0:
		errs = append(errs, fmt.Errorf("status is for the kinds %s and %s only", FaultError, FaultHTML))
	}
	if (f.Code != "" || f.Message != "") && f.Kind != FaultError && f.Kind != FaultOperation {
		errs = append(errs, fmt.Errorf("code and message are for the kinds %s and %s only", FaultError, FaultOperation))
	}
	if f.Kind == FaultDelay && f.Delay <= 0 {
		errs = append(errs, errors.New("delay is missing"))
	}
	if f.Count < 0 || f.For < 0 || f.After < 0 || f.Delay < 0 || f.RetryAfter < 0 {
		errs = append(errs, errors.New("count, for, after, delay and retry_after are not negative"))
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

// failure is the error that a fault puts in the place of an answer or of an
// operation's end.
func (f *Fault) failure() *armError {
	status := cmp.Or(f.Status, http.StatusInternalServerError)
	return &armError{
		Status: status, Code: cmp.Or(f.Code, codeOf(status)),
		Message: cmp.Or(f.Message, "An internal execution error occurred. Please retry later."), RetryAfter: f.RetryAfter,
	}
}

// codeOf is a code that goes with a status.
func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "AuthenticationFailed"
	case http.StatusForbidden:
		return "AuthorizationFailed"
	case http.StatusInternalServerError:
		return "InternalExecutionError"
	}
	return strings.ReplaceAll(cmp.Or(http.StatusText(status), "Error"), " ", "")
}

// page is what a proxy says.
const page = "<!DOCTYPE html>\n<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1><p>The upstream server did not answer.</p></body></html>\n"

// hugeSize is how much FaultHuge sends.
const hugeSize = 1 << 30

// writeHuge sends JSON without end, nearly.
func writeHuge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	item := []byte(strings.Repeat(`{"name":"vmss-authz","location":"eastus"},`, 1<<10))
	if _, err := io.WriteString(w, `{"value":[`); err != nil {
		return
	}
	for sent := 0; sent < hugeSize; sent += len(item) {
		if _, err := w.Write(item); err != nil {
			return // the client has had enough
		}
	}
}

// sleep waits for a simulated span unless ctx ends first, and reports whether it
// waited.
func (s *Server) sleep(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(s.clock.wait(d))
	defer timer.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-timer.C:
		return true
	}
}
