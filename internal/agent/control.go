package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/server"
)

// The groups whose members may use the control socket.
const (
	readGroup  = "fleet-agent"
	adminGroup = "fleet-admin"
)

// maxControlBody bounds a request on the control socket.
const maxControlBody = 64 << 10

// access is what a caller of the control socket may do.
type access int

const (
	none   access = iota
	read          // see, and report heartbeats
	change        // drain, undrain, maintenance, run a check
)

// accessOf decides by the credentials that the kernel gave. owner is the user
// that the agent runs as; group looks up a group on every call, for it may be
// made after the agent started.
func accessOf(p peer, owner uint32, group func(name string) (gid uint32, ok bool)) access {
	if p.uid == 0 || p.uid == owner {
		return change
	}
	if gid, ok := group(adminGroup); ok && p.in(gid) {
		return change
	}
	if gid, ok := group(readGroup); ok && p.in(gid) {
		return read
	}
	return none
}

// operations is what the control socket can ask of the agent.
type operations interface {
	Status() control.Status
	Events() control.Events
	Explain(name string) (control.Explanation, error)
	RunCheck(ctx context.Context, name string) (control.CheckResult, error)
	ReportHeartbeat(name string, r control.HeartbeatRequest) (control.Accepted, error)
	Drain(ctx context.Context, by string, r control.DrainRequest) (control.Accepted, error)
	Undrain(ctx context.Context, by string, r control.UndrainRequest) (control.Accepted, error)
	Maintenance(ctx context.Context, by string, r control.MaintenanceRequest) (control.Accepted, error)
}

// answerBound is how long an agent may take to answer at its control socket
// before another takes it to be dead.
const answerBound = time.Second

// answers reports whether an agent answers at the socket. To be connected says
// nothing: a process that was killed keeps its socket for as long as a thread of
// it hangs in the kernel, on a disk say, and the kernel connects whoever asks.
func answers(ctx context.Context, socket string) bool {
	ctx, stop := context.WithTimeout(ctx, answerBound)
	defer stop()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); !ok || c.SetDeadline(deadline) != nil {
		return false
	}
	// No such path: the answer waits for nothing that the agent does.
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return false
	}
	_, err = io.ReadFull(c, make([]byte, len("HTTP/1.0")))
	return err == nil
}

// The connections to the control socket: a quarter of them is kept for those who may
// change the node, and nobody has more than an eighth, so that no user can lock out
// another, or fill the agent's memory.
func controlQuota(conns int, a *accounts) *server.Quota {
	return &server.Quota{
		Each: max(2, conns/8), Kept: conns / 4,
		Of: func(c net.Conn) (owner uint32, privileged bool) {
			pc, ok := c.(*peerConn)
			if !ok {
				return math.MaxUint32, false // nobody's
			}
			return pc.peer.uid, a.privileged(pc.peer)
		},
	}
}

// controlWriteBound is how long a client may take to read its answer.
const controlWriteBound = 10 * time.Second

// newControlServer serves ops over the control socket, on that many connections.
func newControlServer(ops operations, a *accounts, conns int, logger *slog.Logger) *server.Server {
	s := &controlServer{ops: ops, accounts: a, logger: logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.handle(read, func(*http.Request, peer) (any, error) {
		return ops.Status(), nil
	}))
	mux.HandleFunc("GET /v1/events", s.handle(read, func(*http.Request, peer) (any, error) {
		return ops.Events(), nil
	}))
	mux.HandleFunc("GET /v1/checks/{name}", s.handle(read, func(r *http.Request, _ peer) (any, error) {
		return ops.Explain(r.PathValue("name"))
	}))
	mux.HandleFunc("POST /v1/checks/{name}/run", s.handle(change, func(r *http.Request, _ peer) (any, error) {
		return ops.RunCheck(r.Context(), r.PathValue("name"))
	}))
	mux.HandleFunc("POST /v1/checks/{name}/report", s.handle(read, func(r *http.Request, _ peer) (any, error) {
		return body(r, func(req control.HeartbeatRequest) (control.Accepted, error) {
			return ops.ReportHeartbeat(r.PathValue("name"), req)
		})
	}))
	mux.HandleFunc("POST /v1/drain", s.handle(change, func(r *http.Request, p peer) (any, error) {
		return body(r, func(req control.DrainRequest) (control.Accepted, error) {
			return ops.Drain(r.Context(), a.describe(p), req)
		})
	}))
	mux.HandleFunc("POST /v1/undrain", s.handle(change, func(r *http.Request, p peer) (any, error) {
		return body(r, func(req control.UndrainRequest) (control.Accepted, error) {
			return ops.Undrain(r.Context(), a.describe(p), req)
		})
	}))
	mux.HandleFunc("POST /v1/maintenance", s.handle(change, func(r *http.Request, p peer) (any, error) {
		return body(r, func(req control.MaintenanceRequest) (control.Accepted, error) {
			return ops.Maintenance(r.Context(), a.describe(p), req)
		})
	}))
	return server.New(server.Config{
		Handler: mux, MaxConns: conns, Quota: controlQuota(conns, a),
		WriteTimeout: controlWriteBound, ConnContext: withPeer, Logger: logger,
	})
}

type controlServer struct {
	ops      operations
	accounts *accounts
	logger   *slog.Logger

	mu       sync.Mutex
	refused  time.Time // when a refusal was last logged
	unlogged int       // how many were not, since
}

// refusalPause is the time between two log lines about refusals: whoever may not
// ask is not to push the lines of a drain out of the journal either.
const refusalPause = time.Minute

// handle checks the caller, logs changes, and encodes the answer.
func (s *controlServer) handle(need access, do func(*http.Request, peer) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		if !ok {
			s.answer(w, nil, &control.Error{Status: http.StatusForbidden, Code: "forbidden", Message: "the caller's credentials cannot be read"})
			return
		}
		if accessOf(p, s.accounts.owner, s.accounts.group) < need {
			s.noteRefusal(p, r)
			s.answer(w, nil, refusal(s.accounts.describe(p), need))
			return
		}
		answer, err := do(r, p)
		if need == change {
			s.logger.Info("control request", "uid", p.uid, "pid", p.pid, "request", r.Method+" "+r.URL.Path, "err", err)
		}
		s.answer(w, answer, err)
	}
}

func (s *controlServer) noteRefusal(p peer, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.refused.IsZero() && now.Sub(s.refused) < refusalPause {
		s.unlogged++
		return
	}
	s.logger.Warn("control request refused", "uid", p.uid, "pid", p.pid, "request", r.Method+" "+r.URL.Path, "not_logged_before", s.unlogged)
	s.refused, s.unlogged = now, 0
}

func refusal(who string, need access) *control.Error {
	if need == change {
		return &control.Error{
			Status: http.StatusForbidden, Code: "forbidden",
			Message: who + " may not change this node",
			Hint:    "use sudo, or join the group " + adminGroup,
		}
	}
	return &control.Error{
		Status: http.StatusForbidden, Code: "forbidden",
		Message: who + " may not read this node's status",
		Hint:    "use sudo, or join the group " + readGroup,
	}
}

func (s *controlServer) answer(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		e, ok := errors.AsType[*control.Error](err)
		if !ok {
			e = &control.Error{Status: http.StatusInternalServerError, Code: "internal", Message: err.Error()}
		}
		status, answer = e.Status, e
	}
	data, err := json.Marshal(answer)
	if err != nil {
		s.logger.Error("control answer not encoded", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	// A check that was run may have taken longer than the bound.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(controlWriteBound)) // only a test's writer has none
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller went away: nothing to do
}

// body decodes the request strictly and passes it on.
func body[T any](r *http.Request, do func(T) (control.Accepted, error)) (any, error) {
	var req T
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxControlBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return nil, badRequest("the request body: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("the request body: something follows the JSON object")
	}
	return do(req)
}

func badRequest(format string, args ...any) *control.Error {
	return &control.Error{Status: http.StatusBadRequest, Code: "bad-request", Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *control.Error {
	return &control.Error{Status: http.StatusNotFound, Code: "not-found", Message: fmt.Sprintf(format, args...)}
}

func conflict(hint, format string, args ...any) *control.Error {
	return &control.Error{Status: http.StatusConflict, Code: "conflict", Message: fmt.Sprintf(format, args...), Hint: hint}
}
