package arm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// maxBody bounds the body of a request, as Azure does.
const maxBody = 4 << 20

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := s.newRequest(r)
	defer func() { s.record(q) }()
	body, err := readBody(w, r)
	q.Size = len(body)
	met := s.takeFault(r)
	if met == nil {
		a := s.answer(r, body, err, nil)
		q.Status = a.Status
		s.write(w, r, a)
		return
	}
	s.log.Info("fault met", "kind", met.Fault.Kind, "method", r.Method, "path", r.URL.Path)
	if !s.sleep(r, met.Fault.Delay) {
		panic(http.ErrAbortHandler)
	}
	q.Status = s.misbehave(w, r, body, err, met)
	if q.Status == 0 {
		panic(http.ErrAbortHandler) // closes the connection without a word
	}
}

// misbehave answers a request that met a fault, and returns the status: 0 means that
// there is no answer.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, body []byte, err error, met *steer.Entry[fault]) int {
	f := &met.Fault.Fault
	var a answer
	switch f.Kind {
	case FaultHang:
		var rest time.Duration
		if !met.Until.IsZero() {
			rest = max(s.clock.wait(met.Until.Sub(s.clock.Now())), 1)
		}
		met.Hold(r.Context(), rest)
		return 0
	case FaultReset:
		return 0
	case FaultLost:
		s.answer(r, body, err, nil)
		return 0
	case FaultHuge:
		writeHuge(w)
		return http.StatusOK
	case FaultHTML:
		a = answer{Status: cmp.Or(f.Status, http.StatusBadGateway), HTML: page}
	case FaultThrottle:
		a = s.refusal(throttled("HighCostGetVMScaleSet30Min", s.clock.Now(), cmp.Or(f.RetryAfter, time.Minute), 1800, 2208))
	case FaultError:
		a = s.refusal(f.failure())
	case FaultEmpty:
		a = s.answer(r, body, err, nil)
		a.Body, a.Raw = nil, nil
	case FaultTruncated:
		a = s.answer(r, body, err, nil)
		a.half = true
	case FaultOperation:
		a = s.answer(r, body, err, f.failure())
	default: // FaultDelay
		a = s.answer(r, body, err, nil)
	}
	s.write(w, r, a)
	return a.Status
}

// answer is what a request is answered. An operation that it begins will fail with
// fails when that is not nil.
func (s *Server) answer(r *http.Request, body []byte, err error, fails *armError) answer {
	if p, ok := parseBlobPath(r.URL.EscapedPath()); ok {
		return s.blobService(r, p, body, err)
	}
	if err != nil {
		return s.refusal(err)
	}
	if a, ok := s.front(r, body); ok {
		return a
	}
	if e := s.authenticate(r); e != nil {
		return s.refusal(e)
	}
	a, err := s.resourceManager(r, body, fails)
	if err != nil {
		refused := s.refusal(err)
		maps.Copy(refused.Header, a.Header)
		return refused
	}
	return a
}

// readBody reads the body whole.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := int64(maxBody)
	if strings.HasPrefix(r.URL.Path, blobPrefix) {
		limit = blob.MaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			"The request content size exceeds the maximum size of %d bytes.", limit)
	}
	if err != nil {
		return nil, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read: %v", err)
	}
	return body, nil
}

// maxDepth is how deep a body may be nested. A state file has bodies some levels down,
// and no parser reads what is nested without end.
const maxDepth = 100

// checkDepth refuses a body that is nested too deep.
func checkDepth(o object) error {
	if deeper(o, maxDepth) {
		return errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is nested deeper than %d levels.", maxDepth)
	}
	return nil
}

// deeper says whether a value is nested deeper than a number of levels.
func deeper(v any, levels int) bool {
	switch v := v.(type) {
	case map[string]any:
		if levels == 0 {
			return true
		}
		for _, item := range v {
			if deeper(item, levels-1) {
				return true
			}
		}
	case []any:
		return levels == 0 || slices.ContainsFunc(v, func(item any) bool { return deeper(item, levels-1) })
	}
	return false
}

// parseBody reads a JSON object. Nothing is nil.
func parseBody(r *http.Request, body []byte) (object, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil //nolint:nilnil // no body and no error are a proper pair
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return nil, errorf(http.StatusUnsupportedMediaType, "UnsupportedMediaType",
			"The content media type '%s' is not supported. Only 'application/json' is supported.", r.Header.Get("Content-Type"))
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var o object
	err = dec.Decode(&o)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the object")
		}
	}
	if err != nil {
		return nil, errorf(http.StatusBadRequest, "InvalidRequestContent",
			"The request content was invalid and could not be deserialized: '%v'.", err)
	}
	return o, nil
}

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-zA-Z0-9.]+)?$`)

// newCall reads what every call has.
func newCall(r *http.Request, body []byte) (*call, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errorf(http.StatusBadRequest, "InvalidRequestUri", "The query of the request URI is not valid: %v", err)
	}
	c := &call{Method: r.Method, Query: url.Values{}, Header: r.Header, base: base(r), path: r.URL.EscapedPath()}
	for name, values := range query {
		lower := strings.ToLower(name)
		c.Query[lower] = append(c.Query[lower], values...)
	}
	c.APIVersion = c.query("api-version")
	switch {
	case c.APIVersion == "":
		return nil, errorf(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	case !apiVersion.MatchString(c.APIVersion):
		return nil, errorf(http.StatusBadRequest, "InvalidApiVersionParameter",
			"The api-version '%s' is invalid. The supported versions have the form 'YYYY-MM-DD' or 'YYYY-MM-DD-preview'.", c.APIVersion)
	}
	if c.Body, err = parseBody(r, body); err != nil {
		return nil, err
	}
	return c, checkDepth(c.Body)
}

// resourceManager answers what is not about tokens. The headers of its answer count
// for an error, too.
func (s *Server) resourceManager(r *http.Request, body []byte, fails *armError) (answer, error) {
	c, err := newCall(r, body)
	if err != nil {
		return answer{}, err
	}
	if c.Target, err = parsePath(r.URL.EscapedPath()); err != nil {
		return answer{}, err
	}
	left := http.Header{}
	var a answer
	err = s.within(func(tx *txn) error {
		if !s.cfg.Unthrottled {
			if e := s.throttle.take(tx.now, c.Method, c.Target, left); e != nil {
				return e
			}
		}
		if err := tx.authorize(c); err != nil {
			return err
		}
		if err := tx.authorizeLinks(c); err != nil {
			return err
		}
		if err := tx.blocked(c); err != nil {
			return err
		}
		action := actionOf(c)
		tx.by = caller(c.Header)
		if a, err = s.route(tx, c); err != nil {
			return err
		}
		tx.noteCall(action, c, a)
		if a.Operation == nil {
			return nil
		}
		if fails != nil {
			tx.update(a.Operation.ID, func(o *operation) { o.Fails = fails })
		}
		a = s.begun(tx, c, a)
		return nil
	})
	a.Header = joined(a.Header, left)
	return a, err
}

// joined has the headers of both.
func joined(a, b http.Header) http.Header {
	all := a.Clone()
	if all == nil {
		all = http.Header{}
	}
	maps.Copy(all, b)
	return all
}

// refusal makes an answer of an error.
func (s *Server) refusal(err error) answer {
	e := asARM(err)
	a := answer{Status: e.Status, Body: e.body(), Header: http.Header{}}
	a.Header.Set("X-Ms-Error-Code", e.Code)
	if e.Status == http.StatusNotFound && (e.Code == "ResourceNotFound" || e.Code == "ResourceGroupNotFound") {
		a.Header.Set("X-Ms-Failure-Cause", "gateway")
	}
	if e.RetryAfter > 0 {
		retryAfter(a.Header, s.clock.wait(e.RetryAfter))
	}
	for name, value := range e.Headers {
		a.Header.Set(name, value)
	}
	return a
}

// retryAfter says how long to wait in real time: whole seconds as Azure does, and
// the exact time for clients that know the header.
func retryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	if d < time.Second || d%time.Second != 0 {
		h.Set("Retry-After-Ms", strconv.Itoa(int(math.Ceil(d.Seconds()*1000))))
	}
}

// write writes an answer with the headers that every answer has.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	maps.Copy(h, a.Header)
	s.stampHeaders(h, r)
	data, err := a.encode(h)
	if err != nil {
		s.log.Error("answer cannot be encoded", "path", r.URL.Path, "err", err)
		a.Status = http.StatusInternalServerError
	}
	if a.half {
		data = data[:len(data)/2]
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(data)))
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // the client may be gone
	}
}

// encode is the answer's body, with the header that says what it is.
func (a *answer) encode(h http.Header) ([]byte, error) {
	switch {
	case a.Raw != nil:
		return a.Raw, nil
	case a.HTML != "":
		h.Set("Content-Type", "text/html; charset=utf-8")
		return []byte(a.HTML), nil
	case a.Body == nil:
		return nil, nil
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	data, err := json.Marshal(a.Body)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return data, nil
}

// ClockHeader tells the simulated time in every answer, and how many times as fast as
// real time it passes: "2026-11-02T09:00:00Z 60". A client can go by it.
const ClockHeader = "X-Fleetsim-Clock"

// stampHeaders sets the headers that Azure sends with everything.
func (s *Server) stampHeaders(h http.Header, r *http.Request) {
	id := guid("request", strconv.FormatInt(s.answered.Add(1), 10), s.clock.Now().String())
	correlation := cmp.Or(r.Header.Get("X-Ms-Correlation-Request-Id"), id)
	h.Set("X-Ms-Request-Id", id)
	h.Set("Date", s.clock.Now().UTC().Format(http.TimeFormat)) // simulated, as every time is
	h.Set(ClockHeader, s.clock.Now().Format(time.RFC3339Nano)+" "+strconv.FormatFloat(s.clock.Factor(), 'g', -1, 64))
	h.Set("X-Ms-Correlation-Request-Id", correlation)
	h.Set("X-Ms-Routing-Request-Id", "FLEETSIM:"+s.clock.Now().Format("20060102T150405Z")+":"+id)
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	name, value := subscriptionHeader(r.Method)
	h.Set(name, value)
	if client := r.Header.Get("X-Ms-Client-Request-Id"); client != "" && strings.EqualFold(r.Header.Get("X-Ms-Return-Client-Request-Id"), "true") {
		h.Set("X-Ms-Client-Request-Id", client)
	}
}
