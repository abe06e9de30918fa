package agent

import (
	"context"
	"net"
	"sync"
)

// maxPeerConns bounds the connections that the processes of one user hold to
// the control socket, so that no user can lock out another, or fill the agent's
// memory.
const maxPeerConns = 32

// A peerListener accepts connections together with who made them. A connection
// whose peer cannot be read, or has too many already, is closed.
type peerListener struct {
	net.Listener

	mu    sync.Mutex
	conns map[uint32]int // by uid
}

// A peerConn is a connection of a known peer.
type peerConn struct {
	net.Conn
	peer peer

	release func()
}

// Accept returns the next connection, as a *peerConn.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn := l.admit(c); conn != nil {
			return conn, nil
		}
		_ = c.Close()
	}
}

// admit returns nil for a connection that is not wanted.
func (l *peerListener) admit(c net.Conn) *peerConn {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	p, err := peerOf(u)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[p.uid] >= maxPeerConns {
		return nil
	}
	if l.conns == nil {
		l.conns = map[uint32]int{}
	}
	l.conns[p.uid]++
	return &peerConn{Conn: c, peer: p, release: sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conns[p.uid]--; l.conns[p.uid] == 0 {
			delete(l.conns, p.uid)
		}
	})}
}

// Close closes the connection and makes room for another of its peer.
func (c *peerConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

type peerKey struct{}

// withPeer is the ConnContext of the control server.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*peerConn); ok {
		return context.WithValue(ctx, peerKey{}, pc.peer)
	}
	return ctx // a request without a peer is refused
}
