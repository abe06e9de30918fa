package arm

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxRequests bounds the requests that are remembered one by one, and maxCounts the
// kinds of requests that are counted.
const (
	maxRequests = 10_000
	maxCounts   = 1_000
)

// A Request is one request and how it was answered: a line of the request log.
type Request struct {
	Time     time.Time `json:"time"` // simulated
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Query    string    `json:"query,omitempty"`
	Status   int       `json:"status"` // 0: not answered
	ClientID string    `json:"client_request_id,omitempty"`
	Size     int       `json:"size"` // of the body
}

// A Count is how many requests of a kind there were since the start.
type Count struct {
	Method string `json:"method"`
	// What is the type with what was asked of it, such as
	// "Microsoft.Compute/virtualMachines" for one or for a list.
	What   string `json:"what"`
	Status int    `json:"status"`
	Count  int    `json:"count"`
}

type countKey struct {
	method, what string
	status       int
}

// Requests returns the last requests that have ended, oldest first.
func (s *Server) Requests() []Request {
	s.recordMu.Lock()
	defer s.recordMu.Unlock()
	return slices.Clone(s.requests)
}

// Counts returns how many requests have ended how, in a stable order.
func (s *Server) Counts() []Count {
	s.recordMu.Lock()
	defer s.recordMu.Unlock()
	counts := make([]Count, 0, len(s.counts))
	for k, n := range s.counts {
		counts = append(counts, Count{Method: k.method, What: k.what, Status: k.status, Count: n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
	return counts
}

// record notes a request that has ended.
func (s *Server) record(q Request) {
	line, err := json.Marshal(q)
	s.recordMu.Lock()
	defer s.recordMu.Unlock()
	if len(s.requests) >= maxRequests {
		s.requests = slices.Delete(s.requests, 0, maxRequests/2)
	}
	s.requests = append(s.requests, q)
	k := countKey{q.Method, what(q.Path), q.Status}
	if _, known := s.counts[k]; !known && len(s.counts) >= maxCounts {
		k = countKey{"other", "other", q.Status} // whatever clients think of, the counts stay few
	}
	s.counts[k]++
	if s.cfg.RequestLog == nil {
		return
	}
	if err == nil {
		_, err = s.cfg.RequestLog.Write(append(line, '\n'))
	}
	if err != nil && !s.logFailed {
		s.log.Error("request log is not written", "err", err)
	}
	s.logFailed = err != nil
}

// what is the type that a path names, without the names in it.
func what(path string) string {
	t, err := parsePath(path)
	switch {
	case strings.HasPrefix(path, blobPrefix):
		return "blobs"
	case err != nil:
		return "invalid"
	case t.namespace == "":
		words := strings.Split(strings.Trim(strings.ToLower(path), "/"), "/")
		if words[0] != "subscriptions" {
			return "tenant"
		}
		return cmp.Or(strings.Join(everySecond(words[1:]), "/"), "subscriptions")
	case len(t.types) == 0:
		return "providers"
	}
	return t.kind()
}

// everySecond leaves the words that are fixed in a path.
func everySecond(words []string) []string {
	var fixed []string
	for i := 1; i < len(words); i += 2 {
		fixed = append(fixed, words[i])
	}
	return fixed
}

// newRequest is the record of a request that has just come.
func (s *Server) newRequest(r *http.Request) Request {
	return Request{
		Time: s.clock.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		ClientID: r.Header.Get("X-Ms-Client-Request-Id"),
	}
}
