package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// minConnAge is how long a connection is safe from making room for somebody else's:
// a flood of new ones must not wash away a request before it is read.
const minConnAge = 100 * time.Millisecond

// A Quota shares a server's connections out among their owners. An owner who has
// all that it may have closes its own oldest connection without a request in
// flight, never another's; where it has none of these, its new one is closed.
type Quota struct {
	// Each is how many connections an owner may have.
	Each int
	// Kept is how many of all connections only the privileged may take.
	Kept int
	// Of says who owns a connection, and whether that owner is privileged. It is
	// asked before the next connection is accepted, and must not wait for anything.
	Of func(net.Conn) (owner uint32, privileged bool)
}

// connTable knows the open connections of a server, and bounds them.
type connTable struct {
	limit int
	quota *Quota // nil: none

	mu      sync.Mutex // guards what follows
	entries map[net.Conn]*list.Element
	order   list.List     // of *connEntry; by at
	changed chan struct{} // capacity 1: a connection was answered, or has ended
}

// connEntry is a connection and when it was opened or last began a request.
type connEntry struct {
	conn  net.Conn
	at    time.Time
	state http.ConnState // new, active or idle
	owner uint32
}

func newConnTable(limit int, quota *Quota) *connTable {
	return &connTable{limit: limit, quota: quota, entries: make(map[net.Conn]*list.Element), changed: make(chan struct{}, 1)}
}

// note is the server's ConnState hook.
func (c *connTable) note(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.admit(conn)
	case http.StateActive, http.StateIdle:
		c.touch(conn, state, time.Now())
	default:
		c.forget(conn)
	}
}

// admit makes room for a new connection, which may itself be the one that has to
// go. It runs in the accept loop, so that waiting here leaves further ones in the
// kernel's queue.
func (c *connTable) admit(conn net.Conn) {
	var victim net.Conn
	if c.quota != nil {
		owner, privileged := c.quota.Of(conn)
		victim = c.addOwned(conn, owner, privileged, time.Now())
	} else {
		if wait := c.crowded(time.Now()); wait > 0 {
			time.Sleep(wait)
		}
		victim = c.add(conn, time.Now())
	}
	cut(victim)
}

// cut closes a connection, if there is one.
func cut(conn net.Conn) {
	// Not by way of TLS, which would wait for a client that does not read.
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if conn != nil {
		_ = conn.Close()
	}
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
		victim = c.drop(c.order.Front())
	}
	c.enter(&connEntry{conn: conn, at: now})
	return victim
}

// addOwned is add under the quota.
func (c *connTable) addOwned(conn net.Conn, owner uint32, privileged bool, now time.Time) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.limit
	if !privileged {
		limit -= c.quota.Kept
	}
	own := 0
	var oldest *list.Element // of its own, without a request in flight
	for e := c.order.Front(); e != nil; e = e.Next() {
		entry := e.Value.(*connEntry)
		if entry.owner != owner {
			continue
		}
		own++
		if oldest == nil && entry.state != http.StateActive {
			oldest = e
		}
	}
	if own >= c.quota.Each || c.order.Len() >= limit {
		if oldest == nil {
			return conn
		}
		victim = c.drop(oldest)
	}
	c.enter(&connEntry{conn: conn, at: now, owner: owner})
	return victim
}

func (c *connTable) enter(entry *connEntry) {
	entry.state = http.StateNew
	c.entries[entry.conn] = c.order.PushBack(entry)
}

func (c *connTable) drop(e *list.Element) net.Conn {
	conn := c.order.Remove(e).(*connEntry).conn
	delete(c.entries, conn)
	return conn
}

// shed closes the stalest connection without a request in flight, for its
// descriptor, unless it is new or others than its owner would have the use of it.
func (c *connTable) shed(now time.Time) {
	if c.quota != nil {
		return
	}
	cut(c.stalest(now))
}

func (c *connTable) stalest(now time.Time) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; e = e.Next() {
		entry := e.Value.(*connEntry)
		if now.Sub(entry.at) < minConnAge {
			return nil // and so are all that follow
		}
		if entry.state != http.StateActive {
			return c.drop(e)
		}
	}
	return nil
}

// touch notes that a request has begun or was answered.
func (c *connTable) touch(conn net.Conn, state http.ConnState, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[conn]
	if !ok {
		return // it was closed to make room
	}
	entry := e.Value.(*connEntry)
	entry.state = state
	if state == http.StateActive {
		entry.at = now
		c.order.MoveToBack(e)
	}
	c.poke()
}

// forget drops a connection that is closed.
func (c *connTable) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[conn]; ok {
		c.drop(e)
		c.poke()
	}
}

// poke wakes settle.
func (c *connTable) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// settle waits until no connection is without the answer that it is owed: for
// newBound at most while some have not sent a request yet, for answerBound while
// requests are in flight. Keep-alive has to be off, and nothing may be accepted any
// more.
func (c *connTable) settle(newBound, answerBound time.Duration) {
	patience, end := time.NewTimer(newBound), time.NewTimer(answerBound)
	defer patience.Stop()
	defer end.Stop()
	impatient := false
	for {
		waiting, inFlight := c.owed()
		if inFlight == 0 && (waiting == 0 || impatient) {
			return
		}
		select {
		case <-c.changed:
		case <-patience.C:
			impatient = true
		case <-end.C:
			return
		}
	}
}

// owed counts the connections that wait for their first request, and those whose
// request is in flight.
func (c *connTable) owed() (waiting, inFlight int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; e = e.Next() {
		switch e.Value.(*connEntry).state {
		case http.StateNew:
			waiting++
		case http.StateActive:
			inFlight++
		default:
		}
	}
	return waiting, inFlight
}
