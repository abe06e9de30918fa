// Package server answers: how do our HTTP servers take connections in, and how do
// they let go of them?
//
// Every listener of ours is served by a [Server]. What one client can take of it is
// bounded in time, in bytes and in connections, so that no client delays another or
// fills the memory; and when it stops, every request on a connection that was
// accepted gets its answer:
//
//	     accepted                the request was read             answered
//	────────────────▶ new ──────────────────────────▶ active ────────────────▶ idle
//	                   │                                 ▲  request              │
//	                   │                                 └───────────────────────┤
//	    stop: waited for, a second       stop: waited for, two;     stop: closed ▼
//	                                     its answer is the last
//
// http.Server.Shutdown alone does not do that: a request that is read after it was
// called is dropped without an answer, although its connection was accepted before.
//
// Run owns all goroutines of a Server, but for handlers that are still at work when
// the time for stopping is over.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of every server. The clients send a few hundred bytes and wait for 5 s to
// 30 s.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 5 * time.Second
	writeTimeout   = 5 * time.Second
	maxHeaderBytes = 4 << 10
	// idleTimeout is over the longest interval of the health extension, so that
	// version 2 of it keeps its one connection.
	idleTimeout = 75 * time.Second
	// DefaultMaxConns is far more than the clients need: version 1 of the
	// extension leaves up to seven connections open.
	DefaultMaxConns = 512
)

// How a server stops.
const (
	// newBound is how long a connection that was accepted may take to send its
	// first request, and answerBound how long answers may take.
	newBound    = time.Second
	answerBound = 2 * time.Second
)

// acceptPause is the time between two tries to accept when the first failed for
// lack of something that comes back.
const acceptPause = 20 * time.Millisecond

// Config is what a server serves.
type Config struct {
	Handler http.Handler
	// MaxConns bounds the open connections; 0 means DefaultMaxConns. One more
	// closes the connection on which no request has begun for the longest time:
	// refusing the new one would let idle or hostile clients lock out the others.
	MaxConns int
	// Quota shares the connections out among their owners. Nil: anybody's
	// connection makes room for anybody's.
	Quota *Quota
	// WriteTimeout bounds the time from the end of a request's header to the end
	// of its answer; 0 means 5 s. A handler that needs longer sets the deadline
	// anew by an http.ResponseController before it writes.
	WriteTimeout time.Duration
	// MaxHeaderBytes bounds the header of a request; 0 means 4 KiB, which all clients
	// of probes keep to.
	MaxHeaderBytes int
	// BaseContext and ConnContext are those of http.Server; nil is fine.
	BaseContext func(net.Listener) context.Context
	ConnContext func(context.Context, net.Conn) context.Context
	// Logger is told, at level debug, of broken handshakes and the like, and, as a
	// warning, of what keeps connections from being accepted. Nil discards.
	Logger *slog.Logger
}

// A Server is an HTTP/1.1 server.
type Server struct {
	http   *http.Server
	conns  *connTable
	logger *slog.Logger
}

// New returns a server that has started nothing.
func New(cfg Config) *Server {
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = writeTimeout
	}
	if cfg.MaxHeaderBytes == 0 {
		cfg.MaxHeaderBytes = maxHeaderBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	conns := newConnTable(cfg.MaxConns, cfg.Quota)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // no client of ours needs more
	return &Server{conns: conns, logger: cfg.Logger, http: &http.Server{
		Handler:                      cfg.Handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 cfg.WriteTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               cfg.MaxHeaderBytes,
		Protocols:                    protocols,
		BaseContext:                  cfg.BaseContext,
		ConnContext:                  cfg.ConnContext,
		ConnState:                    conns.note,
		ErrorLog:                     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}
}

// Run serves on the listeners until ctx is done, which is no error, or one of them
// fails, and closes them. Then nothing more is accepted, so that what waits in the
// queue of a socket that another process holds too is left to that process; what
// was accepted is answered, within a second for connections that have not sent a
// request yet and two for the others; and idle connections are closed. It can be
// called once.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	stopping := make(chan struct{})
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- s.http.Serve(&patientListener{Listener: l, server: s, stopping: stopping}) }()
	}
	running := len(listeners)
	var failed error
	select {
	case failed = <-served:
		running--
	case <-ctx.Done():
	}
	close(stopping)
	for _, l := range listeners {
		_ = l.Close() // the one that failed is closed already
	}
	// When Serve has returned, every connection that it accepted is in the table.
	for range running {
		if err := <-served; failed == nil && !errors.Is(err, net.ErrClosed) {
			failed = err
		}
	}
	s.http.SetKeepAlivesEnabled(false) // closes what is idle; every answer from here on is the last
	s.conns.settle(newBound, answerBound)
	_ = s.http.Close() // what did not end in time is cut off
	return failed
}

// A patientListener does not give up on errors that pass (accept(2)). It makes room
// when this process has no descriptors left.
type patientListener struct {
	net.Listener

	server   *Server
	stopping chan struct{}

	failing bool // of Accept, which one goroutine calls
}

// passing are the errors of accept(2) that say nothing against the listener.
var passing = []error{
	unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, // out of something
	unix.EPERM,                                                                        // a firewall
	unix.ECONNABORTED, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ETIMEDOUT, // of the new connection
	unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET,
}

// Accept returns the next connection.
func (l *patientListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			l.failing = false
			return c, nil
		}
		if !slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) }) {
			return nil, err
		}
		if !l.failing {
			l.failing = true
			l.server.logger.Warn("connections are not accepted for now", "address", l.Addr().String(), "err", err)
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			l.server.conns.shed(time.Now())
		}
		select {
		case <-time.After(acceptPause):
		case <-l.stopping:
			return nil, net.ErrClosed
		}
	}
}
