package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// The unit that holds the probe port, and the one command that puts a change of it
// into force or brings it back. The agent's service is a part of it and restarted in
// the same transaction; two units named in one systemctl are two, and the first fails:
// systemd opens no socket while its service is active.
const (
	AgentSocket = "fleet-agent.socket"
	ApplySocket = "sudo systemctl restart fleet-agent.socket"
)

// Listeners takes over the listening sockets that systemd passed to this
// process, by the name that FileDescriptorName= of the socket unit gives them.
// The environment variables of the protocol are removed, so that no child
// believes to have been passed anything. Outside socket activation the map is
// empty. Call it once, early, before other files are opened.
//
// A descriptor that is no listening stream socket is an error that names it;
// nothing is then returned and every passed descriptor is closed.
func Listeners() (map[string][]net.Listener, error) {
	listeners := make(map[string][]net.Listener)
	var errs []error
	for _, f := range activation.Files(true) {
		l, err := takeListener(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("take over passed socket %q: %w", f.Name(), err))
			continue
		}
		listeners[f.Name()] = append(listeners[f.Name()], l)
	}
	if err := errors.Join(errs...); err != nil {
		for _, ls := range listeners {
			for _, l := range ls {
				_ = l.Close() // nothing is lost
			}
		}
		return nil, err
	}
	return listeners, nil
}

// takeListener turns a passed descriptor into a listener and closes the
// descriptor, which net.FileListener duplicates.
func takeListener(f *os.File) (net.Listener, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	// net.FileListener takes any stream socket, one that does not listen too.
	var accepts int
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		accepts, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	}); err != nil {
		return nil, err
	}
	if optErr != nil {
		return nil, optErr
	}
	if accepts == 0 {
		return nil, errors.New("it does not listen (a socket unit with Accept=yes, or a datagram socket?)")
	}
	return net.FileListener(f)
}
