package imds

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// instanceVersions are the API versions of /metadata/instance, oldest first.
var instanceVersions = []string{
	"2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01",
	"2018-02-01", "2018-04-02", "2018-10-01",
	"2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
	"2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
	"2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01", "2021-11-15", "2021-12-13",
	"2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
}

// eventVersions are the API versions of /metadata/scheduledevents, oldest
// first: a list of its own in Azure.
var eventVersions = []string{
	"2017-03-01", "2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01",
}

// endpoints are the first segments of the paths below /metadata.
var endpoints = []string{EndpointInstance, EndpointScheduledEvents, endpointVersions}

const endpointVersions = "versions"

// maxBody bounds the body of an ack.
const maxBody = 64 << 10

// An answer is what the service says to one request.
type answer struct {
	status      int
	contentType string
	allow       string
	body        []byte
}

const (
	typeJSON = "application/json; charset=utf-8"
	typeText = "text/plain; charset=utf-8"
)

func jsonAnswer(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	return answer{status: status, contentType: typeJSON, body: body}
}

func errorAnswer(status int, text string) answer {
	return jsonAnswer(status, map[string]string{"error": text})
}

func badVersion(versions []string) answer {
	newest := slices.Clone(versions[len(versions)-3:])
	slices.Reverse(newest)
	return jsonAnswer(http.StatusBadRequest, map[string]any{
		"error":           "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds",
		"newest-versions": newest,
	})
}

// serve answers one request of a machine, after all that may go wrong with it.
func (s *Server) serve(m *vm, w http.ResponseWriter, r *http.Request) {
	var segments []string
	if path, ok := strings.CutPrefix(r.URL.Path, "/metadata/"); ok {
		segments = strings.Split(strings.TrimSuffix(path, "/"), "/")
	}
	endpoint := ""
	if len(segments) > 0 && slices.Contains(endpoints, segments[0]) {
		endpoint = segments[0]
	}
	record := Request{Time: time.Now(), VM: m.key, Method: r.Method, Path: r.URL.Path}
	defer func() { s.recordRequest(record, endpoint) }()

	if !s.admit(m) {
		record.Status = http.StatusTooManyRequests
		write(w, errorAnswer(record.Status, "Too many requests"), 0)
		return
	}
	if endpoint == EndpointScheduledEvents && !sleep(r.Context(), time.Until(s.enabledAt(m))) {
		reset(w)
		return
	}
	var f *fault
	if endpoint == EndpointScheduledEvents || endpoint == EndpointInstance {
		f = s.takeFault(m, endpoint, r.Method)
	}
	if f == nil {
		a := s.answer(m, r, segments, nil)
		record.Status = a.status
		write(w, a, 0)
		return
	}
	var a answer
	answered := sleep(r.Context(), s.span(f.Fault.Delay))
	if answered {
		a, answered = s.faulty(f, m, r, segments)
	}
	if !answered {
		reset(w)
		return
	}
	record.Status = a.status
	if f.Fault.Kind == FaultClock {
		w.Header().Set("Date", time.Now().Add(f.Fault.Ahead).UTC().Format(http.TimeFormat))
	}
	write(w, a, f.Fault.RetryAfter)
}

// faulty is the answer to a request that met a fault; false means none.
func (s *Server) faulty(f *fault, m *vm, r *http.Request, segments []string) (answer, bool) {
	switch f.Fault.Kind {
	case FaultStatus:
		if f.Fault.Status == http.StatusNoContent || f.Fault.Status == http.StatusNotModified {
			return answer{status: f.Fault.Status}, true
		}
		return errorAnswer(f.Fault.Status, http.StatusText(f.Fault.Status)), true
	case FaultHang:
		var rest time.Duration
		if !f.Until.IsZero() {
			rest = max(time.Until(f.Until), 1)
		}
		f.Hold(r.Context(), rest)
		return answer{}, false
	case FaultReset:
		return answer{}, false
	case FaultLost:
		s.answer(m, r, segments, nil)
		return answer{}, false
	case FaultEmpty:
		a := s.answer(m, r, segments, nil)
		a.body = nil
		return a, true
	case FaultTruncated:
		a := s.answer(m, r, segments, nil)
		a.body = a.body[:len(a.body)/2]
		return a, true
	case FaultPartial:
		omit := f.Fault.Omit
		if len(omit) == 0 {
			omit = partialFields
		}
		return s.answer(m, r, segments, omit), true
	case FaultBody:
		return answer{status: http.StatusOK, contentType: typeJSON, body: []byte(f.Fault.Body)}, true
	default: // FaultDelay, FaultClock
		return s.answer(m, r, segments, nil), true
	}
}

// answer says what the published contract says. omit is what a partial answer
// lacks; nil means that nothing is missing.
func (s *Server) answer(m *vm, r *http.Request, segments []string, omit []string) answer {
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		return errorAnswer(http.StatusBadRequest, "Bad request. Required metadata header not specified")
	}
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return errorAnswer(http.StatusBadRequest, "Bad request. X-Forwarded-For header is not allowed")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errorAnswer(http.StatusBadRequest, "Bad request. The query is malformed")
	}
	for _, values := range query {
		if len(values) > 1 {
			return errorAnswer(http.StatusBadRequest, "Bad request. Duplicate query parameter")
		}
	}
	if len(segments) == 0 {
		return notFound()
	}
	switch endpoint := segments[0]; {
	case endpoint == endpointVersions && len(segments) == 1:
		if r.Method != http.MethodGet {
			return notAllowed("GET")
		}
		return jsonAnswer(http.StatusOK, map[string]any{"apiVersions": instanceVersions})
	case endpoint == EndpointInstance:
		if r.Method != http.MethodGet {
			return notAllowed("GET")
		}
		return s.instanceAnswer(m, query, segments[1:], omit)
	case endpoint == EndpointScheduledEvents && len(segments) == 1:
		return s.eventsAnswer(m, r, query, omit)
	default:
		return notFound()
	}
}

func notFound() answer { return errorAnswer(http.StatusNotFound, "Not found") }

func notAllowed(allow string) answer {
	a := errorAnswer(http.StatusMethodNotAllowed, "Method not allowed")
	a.allow = allow
	return a
}

func (s *Server) instanceAnswer(m *vm, query url.Values, path, omit []string) answer {
	version := query.Get("api-version")
	if !slices.Contains(instanceVersions, version) {
		return badVersion(instanceVersions)
	}
	if omit != nil && strings.EqualFold(query.Get("extended"), "true") {
		return errorAnswer(http.StatusInternalServerError, "Internal server error. Part of the data is not available")
	}
	s.mu.Lock()
	instance := m.instance
	s.mu.Unlock()
	node, ok := lookup(instance.metadata(version, omit), path)
	if !ok {
		return notFound()
	}
	_, leaf := node.(string)
	switch format := strings.ToLower(query.Get("format")); {
	case format == "text":
		return answer{status: http.StatusOK, contentType: typeText, body: []byte(asText(node))}
	case format != "" && format != "json":
		return errorAnswer(http.StatusBadRequest, "Bad request. format is neither json nor text")
	case leaf:
		return errorAnswer(http.StatusBadRequest, "Bad request. A leaf node is available with format=text only")
	default:
		return jsonAnswer(http.StatusOK, node)
	}
}

func (s *Server) eventsAnswer(m *vm, r *http.Request, query url.Values, omit []string) answer {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return notAllowed("GET, POST")
	}
	version := query.Get("api-version")
	if !slices.Contains(eventVersions, version) {
		return badVersion(eventVersions)
	}
	if r.Method == http.MethodPost {
		return s.ackAnswer(m, r, version)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	doc := s.document(m, version)
	if omit != nil {
		return jsonAnswer(http.StatusOK, map[string]any{"DocumentIncarnation": doc.DocumentIncarnation})
	}
	return jsonAnswer(http.StatusOK, doc)
}

// ackAnswer takes an approval. Every id must be valid, or none is approved; an
// id that another machine approved before is valid. What the real service puts
// into the body of a success is not documented; here it is empty.
func (s *Server) ackAnswer(m *vm, r *http.Request, version string) answer {
	ids, err := parseAck(r.Body)
	if err != nil {
		return errorAnswer(http.StatusBadRequest, "Bad request. "+err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()

	now, events, valid := time.Now(), make([]*event, len(ids)), true
	for i, id := range ids {
		at := slices.IndexFunc(s.live, func(e *event) bool { return e.ID == id && s.shows(m, e, version) })
		if at < 0 {
			valid = false
			continue
		}
		events[i] = s.live[at]
	}
	for i, id := range ids {
		a := Ack{Time: now, VM: m.key, EventID: id, Accepted: valid}
		if e := events[i]; e != nil {
			a.Status = e.Status
			a.Late = !e.NotBefore.IsZero() && !now.Before(e.NotBefore)
			if valid {
				e.Acks++
				if e.Status == Scheduled && now.Add(e.startDelay).Before(e.startAt) {
					e.startAt = now.Add(e.startDelay)
				}
			}
		}
		s.recordAck(a)
	}
	if !valid {
		return errorAnswer(http.StatusBadRequest, "Bad request. EventId is not that of an event")
	}
	s.advance()
	return answer{status: http.StatusOK}
}

// parseAck reads the event ids of {"StartRequests":[{"EventId":"..."}]}.
func parseAck(r io.Reader) ([]string, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, errors.New("the body cannot be read")
	}
	var request struct {
		StartRequests []struct {
			EventID string `json:"EventId"`
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, errors.New("the body is not a JSON object with StartRequests")
	}
	if len(request.StartRequests) == 0 {
		return nil, errors.New("StartRequests is missing or empty")
	}
	ids := make([]string, len(request.StartRequests))
	for i, start := range request.StartRequests {
		if start.EventID == "" {
			return nil, errors.New("a start request has no EventId")
		}
		ids[i] = start.EventID
	}
	return ids, nil
}

// admit applies the rate limit: so many requests within any second.
func (s *Server) admit(m *vm) bool {
	if s.rateLimit < 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	m.admitted = slices.DeleteFunc(m.admitted, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(m.admitted) >= s.rateLimit {
		return false
	}
	m.admitted = append(m.admitted, now)
	return true
}

// enabledAt is when Scheduled Events begin to answer a machine, counted from
// the first request for them.
func (s *Server) enabledAt(m *vm) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.enabledAt.IsZero() {
		m.enabledAt = time.Now().Add(s.span(s.firstCallDelay))
	}
	return m.enabledAt
}

func write(w http.ResponseWriter, a answer, retryAfter time.Duration) {
	h := w.Header()
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
	}
	if len(a.body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may be gone
}

// reset ends the connection with a TCP reset where there is a connection.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
