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

// Control returns the API by which tests and operators steer the simulation.
// It belongs on a listener of its own, on loopback: it has no authentication.
//
//	POST   /v1/events                 eventRequest -> 201 Event
//	GET    /v1/events                 {"events": [Event]}
//	GET    /v1/events/{id}            Event
//	POST   /v1/events/{id}/start      Event
//	POST   /v1/events/{id}/complete   Event
//	POST   /v1/events/{id}/cancel     Event
//	PUT    /v1/fault                  faultRequest -> 204
//	GET    /v1/fault                  {"faults": [faultRequest]}
//	DELETE /v1/fault                  204
//	GET    /v1/acks                   {"acks": [Ack]}
//	GET    /v1/requests               {"counts": [Count], "requests": [Request]}
//	POST   /v1/incarnation/reset      {"to": 0}, may be left out -> 204
//	GET    /v1/instance?vm=NAME       Instance
//	PUT    /v1/instance?vm=NAME       the fields of Instance to change -> Instance
//
// Bodies are JSON, spans are written like "30s", unknown keys are refused. An
// error is {"error": "..."} with 400, 404 for what does not exist, 409 for what
// an event cannot do any more, 413 for too much.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", s.controlPublish)
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		steer.Reply(w, http.StatusOK, eventsReply{Events: s.Events()})
	})
	mux.HandleFunc("GET /v1/events/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.replyEvent(w, http.StatusOK, r.PathValue("id"))
	})
	for verb, do := range map[string]func(string) error{"start": s.Start, "complete": s.Complete, "cancel": s.Cancel} {
		mux.HandleFunc("POST /v1/events/{id}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.PathValue("id")); err != nil {
				replyError(w, err)
				return
			}
			s.replyEvent(w, http.StatusOK, r.PathValue("id"))
		})
	}
	mux.HandleFunc("PUT /v1/fault", func(w http.ResponseWriter, r *http.Request) {
		var f faultRequest
		err := steer.Decode(w, r, &f)
		if err == nil {
			err = s.SetFault(f.fault())
		}
		replyEmpty(w, err)
	})
	mux.HandleFunc("GET /v1/fault", func(w http.ResponseWriter, _ *http.Request) {
		faults := []faultRequest{}
		for _, f := range s.Faults() {
			faults = append(faults, newFaultRequest(f))
		}
		steer.Reply(w, http.StatusOK, faultsReply{Faults: faults})
	})
	mux.HandleFunc("DELETE /v1/fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		replyEmpty(w, nil)
	})
	mux.HandleFunc("GET /v1/acks", func(w http.ResponseWriter, _ *http.Request) {
		steer.Reply(w, http.StatusOK, acksReply{Acks: append([]Ack{}, s.Acks()...)})
	})
	mux.HandleFunc("GET /v1/requests", func(w http.ResponseWriter, _ *http.Request) {
		steer.Reply(w, http.StatusOK, requestsReply{Counts: s.Counts(), Requests: append([]Request{}, s.Requests()...)})
	})
	mux.HandleFunc("POST /v1/incarnation/reset", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			To int64 `json:"to"`
		}
		err := steer.Decode(w, r, &body)
		if err == nil || errors.Is(err, steer.ErrNoBody) {
			s.ResetIncarnation(body.To)
			err = nil
		}
		replyEmpty(w, err)
	})
	mux.HandleFunc("GET /v1/instance", s.controlInstance)
	mux.HandleFunc("PUT /v1/instance", s.controlInstance)
	return mux
}

func (s *Server) controlPublish(w http.ResponseWriter, r *http.Request) {
	var e eventRequest
	if err := steer.Decode(w, r, &e); err != nil {
		replyError(w, err)
		return
	}
	spec := e.spec()
	if err := s.validateEvent(spec); err != nil {
		replyError(w, fmt.Errorf("publish event: %w", err))
		return
	}
	s.replyEvent(w, http.StatusCreated, s.Publish(spec))
}

// controlInstance shows the metadata of a machine and, for PUT, changes those
// fields first that the body names.
func (s *Server) controlInstance(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("vm")
	if name == "" {
		name = s.vms[0].key
	}
	if s.find(name) == nil {
		replyError(w, fmt.Errorf("find machine %q: %w", name, errNoVM))
		return
	}
	if r.Method == http.MethodPut {
		instance := s.Instance(name)
		if err := steer.Decode(w, r, &instance); err != nil {
			replyError(w, err)
			return
		}
		s.SetInstance(name, instance)
	}
	steer.Reply(w, http.StatusOK, s.Instance(name))
}

// validateEvent says what is wrong with an event that somebody typed.
func (s *Server) validateEvent(e EventSpec) error {
	errs := []error{checkEvent(e)}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := slices.ContainsFunc(s.live, func(x *event) bool { return x.ID == e.ID }) ||
		slices.ContainsFunc(s.past, func(x Event) bool { return x.ID == e.ID })
	if known {
		errs = append(errs, fmt.Errorf("id %q is taken", e.ID))
	}
	if len(s.live) >= maxEvents {
		errs = append(errs, fmt.Errorf("there are %d events already", maxEvents))
	}
	return errors.Join(errs...)
}

// checkEvent is the part of validateEvent that needs no server.
func checkEvent(e EventSpec) error {
	var errs []error
	if e.Type == "" {
		errs = append(errs, errors.New("type is missing: Preempt, Terminate, Reboot, Redeploy or Freeze"))
	}
	for known := range eventTypes {
		if e.Type != known && strings.EqualFold(e.Type, known) {
			errs = append(errs, fmt.Errorf("type %q is written %s", e.Type, known))
		}
	}
	if e.Source != "" && e.Source != "Platform" && e.Source != "User" {
		errs = append(errs, fmt.Errorf("source %q is neither Platform nor User", e.Source))
	}
	if slices.Contains(e.Resources, "") {
		errs = append(errs, errors.New("resources has an empty name"))
	}
	if e.Notice < 0 || e.StartDelay < 0 || e.CompleteAfter < 0 {
		errs = append(errs, errors.New("notice, start_delay and complete_after are not negative"))
	}
	if e.DurationSeconds != nil && *e.DurationSeconds < -1 {
		errs = append(errs, errors.New("duration_seconds is at least -1, which means unknown"))
	}
	return errors.Join(errs...)
}

var errNoVM = errors.New("no such machine")

func (s *Server) replyEvent(w http.ResponseWriter, status int, id string) {
	e, ok := s.Event(id)
	if !ok {
		replyError(w, fmt.Errorf("find event %s: %w", id, ErrNoEvent))
		return
	}
	steer.Reply(w, status, e)
}

func replyEmpty(w http.ResponseWriter, err error) {
	if err != nil {
		replyError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func replyError(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, ErrNoEvent), errors.Is(err, errNoVM):
		status = http.StatusNotFound
	case errors.Is(err, ErrTransition):
		status = http.StatusConflict
	}
	steer.ReplyError(w, status, err)
}

// The bodies of the control API. Those of requests are also the keys of
// scenario files.
type (
	eventsReply struct {
		Events []Event `json:"events"`
	}
	faultsReply struct {
		Faults []faultRequest `json:"faults"`
	}
	acksReply struct {
		Acks []Ack `json:"acks"`
	}
	requestsReply struct {
		Counts   []Count   `json:"counts"`
		Requests []Request `json:"requests"`
	}
	eventRequest struct {
		ID              string   `json:"id,omitempty" yaml:"id"`
		Type            string   `json:"type" yaml:"type"`
		Resources       []string `json:"resources,omitempty" yaml:"resources"`
		Notice          span     `json:"notice,omitzero" yaml:"notice"`
		Started         bool     `json:"started,omitempty" yaml:"started"`
		StartDelay      span     `json:"start_delay,omitzero" yaml:"start_delay"`
		Description     string   `json:"description,omitempty" yaml:"description"`
		Source          string   `json:"source,omitempty" yaml:"source"`
		DurationSeconds *int     `json:"duration_seconds,omitempty" yaml:"duration_seconds"`
		CompleteAfter   span     `json:"complete_after,omitzero" yaml:"complete_after"`
		Hold            bool     `json:"hold,omitempty" yaml:"hold"`
	}
	faultRequest struct {
		Kind       FaultKind `json:"kind" yaml:"kind"`
		Endpoint   string    `json:"endpoint,omitempty" yaml:"endpoint"`
		Method     string    `json:"method,omitempty" yaml:"method"`
		VM         string    `json:"vm,omitempty" yaml:"vm"`
		Status     int       `json:"status,omitempty" yaml:"status"`
		Delay      span      `json:"delay,omitzero" yaml:"delay"`
		RetryAfter span      `json:"retry_after,omitzero" yaml:"retry_after"`
		Omit       []string  `json:"omit,omitempty" yaml:"omit"`
		Body       string    `json:"body,omitempty" yaml:"body"`
		Ahead      span      `json:"ahead,omitzero" yaml:"ahead"`
		Count      int       `json:"count,omitempty" yaml:"count"`
		For        span      `json:"for,omitzero" yaml:"for"`
	}
)

func (e eventRequest) spec() EventSpec {
	return EventSpec{
		ID: e.ID, Type: e.Type, Resources: e.Resources,
		Notice: time.Duration(e.Notice), Started: e.Started, StartDelay: time.Duration(e.StartDelay),
		Description: e.Description, Source: e.Source,
		DurationSeconds: e.DurationSeconds, CompleteAfter: time.Duration(e.CompleteAfter), Hold: e.Hold,
	}
}

func newEventRequest(e EventSpec) eventRequest {
	return eventRequest{
		ID: e.ID, Type: e.Type, Resources: e.Resources,
		Notice: span(e.Notice), Started: e.Started, StartDelay: span(e.StartDelay),
		Description: e.Description, Source: e.Source,
		DurationSeconds: e.DurationSeconds, CompleteAfter: span(e.CompleteAfter), Hold: e.Hold,
	}
}

func (f faultRequest) fault() Fault {
	return Fault{
		Kind: f.Kind, Endpoint: f.Endpoint, Method: f.Method, VM: f.VM, Status: f.Status,
		Delay: time.Duration(f.Delay), RetryAfter: time.Duration(f.RetryAfter), Omit: f.Omit,
		Body: f.Body, Ahead: time.Duration(f.Ahead),
		Count: f.Count, For: time.Duration(f.For),
	}
}

func newFaultRequest(f Fault) faultRequest {
	return faultRequest{
		Kind: f.Kind, Endpoint: f.Endpoint, Method: f.Method, VM: f.VM, Status: f.Status,
		Delay: span(f.Delay), RetryAfter: span(f.RetryAfter), Omit: f.Omit,
		Body: f.Body, Ahead: span(f.Ahead),
		Count: f.Count, For: span(f.For),
	}
}
