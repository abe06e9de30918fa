package health

import (
	"container/list"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the probe server. The clients ask every 5 s to 60 s and wait up to
// 30 s; what they send fits in a few hundred bytes.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 5 * time.Second
	writeTimeout  = 5 * time.Second
	// idleTimeout is over the longest probe interval, so that version 2 of the
	// extension keeps its one connection.
	idleTimeout    = 75 * time.Second
	maxHeaderBytes = 4 << 10
	// defaultMaxConns is far more than the clients need: version 1 of the
	// extension leaves up to seven connections open.
	defaultMaxConns = 512
	// minConnAge is how long a connection is safe from making room for others:
	// a flood of new ones must not wash away a probe before it is served.
	minConnAge = 100 * time.Millisecond
)

// ServerConfig is what a probe server serves.
type ServerConfig struct {
	Handler http.Handler
	// MaxConns bounds the open connections. One more closes the connection on
	// which no request has begun for the longest time: refusing the new one
	// would let idle or hostile clients lock out the probes. 0 means 512.
	MaxConns int
	Logger   *slog.Logger // gets broken handshakes and the like, at level debug
}

// NewServer returns an HTTP/1.1 server with limits that keep any one client
// from delaying the others. The caller serves on listeners and shuts it down;
// setting ConnState anew would take away the bound on connections.
func NewServer(cfg ServerConfig) *http.Server {
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	conns := newConnTable(cfg.MaxConns)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // no prober needs more
	return &http.Server{
		Handler:                      cfg.Handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		Protocols:                    protocols,
		ConnState:                    conns.note,
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// connTable bounds the open connections of a server.
type connTable struct {
	limit int

	mu      sync.Mutex // guards what follows
	entries map[net.Conn]*list.Element
	order   list.List // of *connEntry; by at
}

// connEntry is a connection and when it was opened or last began a request.
type connEntry struct {
	conn net.Conn
	at   time.Time
}

func newConnTable(limit int) *connTable {
	return &connTable{limit: limit, entries: make(map[net.Conn]*list.Element)}
}

// note is the server's ConnState hook.
func (c *connTable) note(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.admit(conn)
	case http.StateActive:
		c.touch(conn, time.Now())
	case http.StateIdle: // follows StateActive within microseconds
	default:
		c.forget(conn)
	}
}

// admit makes room for a new connection. It runs in the accept loop, so that
// waiting here leaves further ones in the kernel's queue.
func (c *connTable) admit(conn net.Conn) {
	if wait := c.crowded(time.Now()); wait > 0 {
		time.Sleep(wait)
	}
	victim := c.add(conn, time.Now())
	if victim == nil {
		return
	}
	// Not by way of TLS, which would wait for a client that does not read.
	if t, ok := victim.(*tls.Conn); ok {
		victim = t.NetConn()
	}
	_ = victim.Close()
}

// crowded returns how long to wait before a connection is added, so that the
// one that has to go has had minConnAge to be served.
func (c *connTable) crowded(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.order.Len() < c.limit {
		return 0
	}
	return c.order.Front().Value.(*connEntry).at.Add(minConnAge).Sub(now)
}

// add enters a new connection and returns the one that has to go, if any.
func (c *connTable) add(conn net.Conn, now time.Time) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.order.Len() >= c.limit {
		victim = c.order.Remove(c.order.Front()).(*connEntry).conn
		delete(c.entries, victim)
	}
	c.entries[conn] = c.order.PushBack(&connEntry{conn, now})
	return victim
}

// touch notes that a request has begun.
func (c *connTable) touch(conn net.Conn, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.entries[conn]; ok { // else it was closed to make room
		entry.Value.(*connEntry).at = now
		c.order.MoveToBack(entry)
	}
}

// forget drops a connection that is closed.
func (c *connTable) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.entries[conn]; ok {
		c.order.Remove(entry)
		delete(c.entries, conn)
	}
}
