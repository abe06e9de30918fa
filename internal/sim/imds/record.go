package imds

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// maxRequests bounds the requests that are remembered one by one, maxAcks the
// acks.
const (
	maxRequests = 10_000
	maxAcks     = 10_000
)

// An Ack is one event id in one POST.
type Ack struct {
	Time     time.Time `json:"time"`
	VM       string    `json:"vm"` // who sent it
	EventID  string    `json:"event_id"`
	Accepted bool      `json:"accepted"` // whether it was answered with 200
	// Status is the event's when the ack came, empty when the id is unknown.
	Status Status `json:"status,omitempty"`
	// Late says that the ack came at or after NotBefore.
	Late bool `json:"late"`
}

// A Request is one request to the service.
type Request struct {
	Time   time.Time `json:"time"` // when it came
	VM     string    `json:"vm"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"` // 0: not answered
}

// A Count is how many requests of a kind there were since the start.
type Count struct {
	VM       string `json:"vm"`
	Endpoint string `json:"endpoint"` // instance, scheduledevents or versions; empty: another path
	Method   string `json:"method"`   // GET, POST or other
	Status   int    `json:"status"`   // 0: not answered
	Count    int    `json:"count"`
}

type countKey struct {
	vm, endpoint, method string
	status               int
}

// Acks returns the last acks, oldest first, whether accepted or not.
func (s *Server) Acks() []Ack {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acks)
}

// Requests returns the last requests that have ended, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Counts returns how many requests have ended how, in a stable order.
func (s *Server) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make([]Count, 0, len(s.counts))
	for k, n := range s.counts {
		counts = append(counts, Count{VM: k.vm, Endpoint: k.endpoint, Method: k.method, Status: k.status, Count: n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.Endpoint, b.Endpoint),
			cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
	return counts
}

func (s *Server) recordRequest(r Request, endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = appendBounded(s.requests, r, maxRequests)
	method := r.Method
	if !slices.Contains([]string{http.MethodGet, http.MethodPost}, method) {
		method = "other" // whatever clients think of, the counts stay few
	}
	s.counts[countKey{r.VM, endpoint, method, r.Status}]++
	level, kind := slog.LevelDebug, countKey{vm: r.VM, endpoint: endpoint, method: method}
	if last, seen := s.lastStatus[kind]; !seen || last != r.Status {
		level = slog.LevelInfo
	}
	s.lastStatus[kind] = r.Status
	s.log.Log(context.Background(), level, "request", "vm", r.VM, "method", r.Method, "path", r.Path, "status", r.Status)
}

// recordAck notes an ack; s.mu is held.
func (s *Server) recordAck(a Ack) {
	s.acks = appendBounded(s.acks, a, maxAcks)
	s.log.Info("ack", "vm", a.VM, "event_id", a.EventID, "accepted", a.Accepted, "event_status", a.Status, "late", a.Late)
	s.notify()
}

// appendBounded appends and forgets the oldest half of a full list.
func appendBounded[T any](list []T, item T, limit int) []T {
	if len(list) >= limit {
		list = slices.Delete(list, 0, limit/2)
	}
	return append(list, item)
}
