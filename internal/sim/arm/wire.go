package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds the body of a request, as Azure does.
const maxBody = 4 << 20

// serve reads a request, has it answered and writes the answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	var a answer
	if err == nil {
		a, err = s.answer(r, body)
	}
	if err != nil {
		a = refusal(err)
	}
	s.reply(w, r, a, len(body))
}

// readBody reads the body whole.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			"The request content size exceeds the maximum size of %d bytes.", maxBody)
	}
	if err != nil {
		return nil, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read: %v", err)
	}
	return body, nil
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
	return c, nil
}

// answer has a request answered.
func (s *Server) answer(r *http.Request, body []byte) (answer, error) {
	c, err := newCall(r, body)
	if err != nil {
		return answer{}, err
	}
	if c.Target, err = parsePath(r.URL.EscapedPath()); err != nil {
		return answer{}, err
	}
	var a answer
	err = s.within(func(tx *txn) error {
		a, err = s.route(tx, c)
		if err != nil {
			return err
		}
		if a.Operation != nil {
			a = s.begun(c, a)
		}
		return nil
	})
	return a, err
}

// refusal makes an answer of an error.
func refusal(err error) answer {
	e := asARM(err)
	a := answer{Status: e.Status, Body: e.body(), Header: http.Header{}}
	a.Header.Set("X-Ms-Error-Code", e.Code)
	if e.Status == http.StatusNotFound && (e.Code == "ResourceNotFound" || e.Code == "ResourceGroupNotFound") {
		a.Header.Set("X-Ms-Failure-Cause", "gateway")
	}
	if e.RetryAfter > 0 {
		retryAfter(a.Header, e.RetryAfter)
	}
	return a
}

// retryAfter says how long to wait in real time: whole seconds as Azure does, and
// the exact time for clients that know the header.
func retryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	if d < time.Second || d%time.Second != 0 {
		h.Set("Retry-After-Ms", strconv.FormatInt(max(d.Milliseconds(), 1), 10))
	}
}

// reply writes an answer with the headers that every answer has.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, a answer, size int) {
	h := w.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	id := guid("request", r.URL.Path, strconv.FormatInt(time.Now().UnixNano(), 10))
	correlation := r.Header.Get("X-Ms-Correlation-Request-Id")
	if correlation == "" {
		correlation = id
	}
	h.Set("X-Ms-Request-Id", id)
	h.Set("X-Ms-Correlation-Request-Id", correlation)
	h.Set("X-Ms-Routing-Request-Id", "FLEETSIM:"+s.clock.Now().Format("20060102T150405Z")+":"+id)
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	if client := r.Header.Get("X-Ms-Client-Request-Id"); client != "" && strings.EqualFold(r.Header.Get("X-Ms-Return-Client-Request-Id"), "true") {
		h.Set("X-Ms-Client-Request-Id", client)
	}
	var data []byte
	if a.Body != nil {
		var err error
		if data, err = json.Marshal(a.Body); err != nil {
			a.Status, data = http.StatusInternalServerError, []byte(fmt.Sprintf(`{"error":{"code":"InternalServerError","message":"fleetsim failed to encode its answer: %T"}}`, err))
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		h.Del("Content-Length")
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // the client may be gone
	}
	_ = size
}
