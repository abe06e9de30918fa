package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// A controlListener listens on the control socket and accepts connections together
// with who made them. When its file is taken away, renew makes it again. Safe for
// concurrent use.
type controlListener struct {
	path string

	mu     sync.Mutex
	socket *net.UnixListener
	file   fs.FileInfo // of socket, to tell it from another's
	closed bool
}

// A peerConn is a connection of a known peer.
type peerConn struct {
	net.Conn
	peer peer
}

// listenControl makes the control socket in runDir. Every local user may
// connect, so that whoever is not allowed is told why; accessOf decides. A
// socket that no agent answers at is replaced.
func listenControl(ctx context.Context, runDir string) (*controlListener, error) {
	l := &controlListener{path: filepath.Join(runDir, control.SocketName)}
	if err := l.renew(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// renew listens anew at the path. Connections that are open go on.
func (l *controlListener) renew(ctx context.Context) error {
	if answers(ctx, l.path) {
		return fmt.Errorf("listen on control socket %s: another agent answers there", l.path)
	}
	socket, file, err := bindControl(l.path)
	if err != nil {
		return fmt.Errorf("listen on control socket: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.socket
	l.socket, l.file = socket, file
	if l.closed {
		old = socket
	}
	if old != nil {
		_ = old.Close() // wakes Accept
	}
	return nil
}

// bindControl makes the socket, in the place of whatever has its name.
func bindControl(path string) (*net.UnixListener, fs.FileInfo, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	socket.SetUnlinkOnClose(false) // the name may be another's by then
	err = os.Chmod(path, 0o666)
	file, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	return socket, file, nil
}

// isThere reports whether the file of the socket is where clients look for it.
func (l *controlListener) isThere() bool {
	file, err := os.Lstat(l.path)
	l.mu.Lock()
	defer l.mu.Unlock()
	return err == nil && os.SameFile(file, l.file)
}

func (l *controlListener) current() (socket *net.UnixListener, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.socket, l.closed
}

// Accept returns the next connection, as a *peerConn. One whose peer cannot be read
// is closed.
func (l *controlListener) Accept() (net.Conn, error) {
	for {
		socket, closed := l.current()
		if closed {
			return nil, net.ErrClosed
		}
		c, err := socket.AcceptUnix()
		if err != nil {
			if now, _ := l.current(); now != socket {
				continue // it was renewed
			}
			return nil, err
		}
		if p, err := peerOf(c); err == nil {
			return &peerConn{Conn: c, peer: p}, nil
		}
		_ = c.Close()
	}
}

// Addr is the address of the socket.
func (l *controlListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket. Where the run directory hangs the next
// agent replaces it.
func (l *controlListener) Close() error {
	l.mu.Lock()
	socket, closed := l.socket, l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	err := socket.Close()
	removed := make(chan struct{})
	go func() {
		defer close(removed)
		if l.isThere() {
			_ = os.Remove(l.path) // else it is replaced, too
		}
	}()
	select {
	case <-removed:
	case <-time.After(flagPatience):
	}
	return err
}

type peerKey struct{}

// withPeer is the ConnContext of the control server.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*peerConn); ok {
		return context.WithValue(ctx, peerKey{}, pc.peer)
	}
	return ctx // a request without a peer is refused
}
