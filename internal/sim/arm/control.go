package arm

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// maxFactor bounds the speed of the clock, and maxAdvance one step of it.
const (
	maxFactor  = 1000
	maxAdvance = 366 * 24 * time.Hour
)

// Control returns the API by which tests and operators steer the simulation. It
// belongs on a listener of its own, on loopback: it has no authentication, and lets in
// no page of a browser.
//
//	GET    /healthz       204
//	GET    /v1/clock      {"now": "2026-11-02T09:00:00Z", "factor": 1}
//	POST   /v1/clock      {"factor": 60, "advance": "10m"}, each may be left out -> as GET
//	POST   /v1/fault      a fault: kind, method, path, status, code, message, ... -> 204
//	GET    /v1/fault      {"faults": [...]}, with what is left of them
//	DELETE /v1/fault      204
//	GET    /v1/requests   {"counts": [Count], "requests": [Request]}
//	GET    /v1/disks      {"disks": [Disk]}: which member had which version of its image, and when
//	POST   /v1/patch      {"id": "/subscriptions/...", "body": {...}} -> what Azure answers to
//	                      another tool's PATCH
//
// Bodies are JSON, spans are written like "30s" and are simulated time, unknown keys
// are refused. An error is {"error": "..."} with 400, or 413 for too much.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /v1/clock", func(w http.ResponseWriter, _ *http.Request) { s.replyClock(w) })
	mux.HandleFunc("POST /v1/clock", s.controlClock)
	mux.HandleFunc("POST /v1/fault", func(w http.ResponseWriter, r *http.Request) {
		var f faultBody
		err := steer.Decode(w, r, &f)
		if err == nil {
			err = s.SetFault(f.fault())
		}
		replyEmpty(w, err)
	})
	mux.HandleFunc("GET /v1/fault", func(w http.ResponseWriter, _ *http.Request) {
		faults := []faultBody{}
		for _, f := range s.Faults() {
			faults = append(faults, newFaultBody(f))
		}
		steer.Reply(w, http.StatusOK, map[string]any{"faults": faults})
	})
	mux.HandleFunc("DELETE /v1/fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		replyEmpty(w, nil)
	})
	mux.HandleFunc("GET /v1/requests", func(w http.ResponseWriter, _ *http.Request) {
		steer.Reply(w, http.StatusOK, map[string]any{"counts": s.Counts(), "requests": append([]Request{}, s.Requests()...)})
	})
	mux.HandleFunc("GET /v1/disks", func(w http.ResponseWriter, _ *http.Request) {
		all, err := s.Disks()
		if err != nil {
			replyEmpty(w, err)
			return
		}
		steer.Reply(w, http.StatusOK, map[string]any{"disks": append([]Disk{}, all...)})
	})
	mux.HandleFunc("POST /v1/patch", s.controlPatch)
	return steer.Guard(mux)
}

func replyEmpty(w http.ResponseWriter, err error) {
	if err != nil {
		steer.ReplyError(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) replyClock(w http.ResponseWriter) {
	steer.Reply(w, http.StatusOK, map[string]any{"now": s.clock.Now(), "factor": s.clock.Factor()})
}

func (s *Server) controlClock(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Factor  *float64   `json:"factor"`
		Advance steer.Span `json:"advance"`
	}
	err := steer.Decode(w, r, &body)
	switch {
	case err != nil:
	case body.Factor != nil && (*body.Factor < 0 || *body.Factor > maxFactor):
		err = fmt.Errorf("set the clock: factor is at least 0, which stops it, and at most %d", maxFactor)
	case body.Advance < 0 || time.Duration(body.Advance) > maxAdvance:
		err = errors.New("set the clock: advance is at most a year, and never back")
	}
	if err != nil {
		replyEmpty(w, err)
		return
	}
	if body.Factor != nil {
		s.clock.SetFactor(*body.Factor)
	}
	s.Advance(time.Duration(body.Advance))
	s.replyClock(w)
}

// Advance moves the clock forward and lets everything happen that is due then.
func (s *Server) Advance(d time.Duration) {
	s.clock.Advance(d)
	_ = s.within(func(*txn) error { return nil }) // which settles, and returns what the function does
}

// controlPatch is a PATCH by another tool: it is neither throttled nor met by faults.
func (s *Server) controlPatch(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ID   string `json:"id"`
		Body object `json:"body"`
	}
	if err := steer.Decode(w, r, &body); err != nil {
		replyEmpty(w, err)
		return
	}
	c := &call{Method: http.MethodPatch, Query: url.Values{}, Header: http.Header{}, APIVersion: "2026-04-01", Body: body.Body, base: base(r), path: body.ID}
	var a answer
	target, err := parsePath(body.ID)
	if err == nil {
		err = checkDepth(body.Body)
	}
	if err == nil {
		c.Target = target
		err = s.within(func(tx *txn) error {
			a, err = s.route(tx, c)
			return err
		})
	}
	if err != nil {
		a = s.refusal(err)
	}
	steer.Reply(w, a.Status, a.Body)
}

// faultBody is a Fault in JSON.
type faultBody struct {
	Kind       FaultKind  `json:"kind"`
	Method     string     `json:"method,omitempty"`
	Path       string     `json:"path,omitempty"`
	Status     int        `json:"status,omitempty"`
	Code       string     `json:"code,omitempty"`
	Message    string     `json:"message,omitempty"`
	RetryAfter steer.Span `json:"retry_after,omitzero"`
	Delay      steer.Span `json:"delay,omitzero"`
	After      steer.Span `json:"after,omitzero"`
	Count      int        `json:"count,omitempty"`
	For        steer.Span `json:"for,omitzero"`
}

func (f faultBody) fault() Fault {
	return Fault{
		Kind: f.Kind, Method: f.Method, Path: f.Path, Status: f.Status, Code: f.Code, Message: f.Message,
		RetryAfter: time.Duration(f.RetryAfter), Delay: time.Duration(f.Delay), After: time.Duration(f.After),
		Count: f.Count, For: time.Duration(f.For),
	}
}

func newFaultBody(f Fault) faultBody {
	return faultBody{
		Kind: f.Kind, Method: f.Method, Path: f.Path, Status: f.Status, Code: f.Code, Message: f.Message,
		RetryAfter: steer.Span(f.RetryAfter), Delay: steer.Span(f.Delay), After: steer.Span(f.After),
		Count: f.Count, For: steer.Span(f.For),
	}
}
