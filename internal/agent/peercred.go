package agent

import (
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A peer is the process at the other end of the control socket, as the kernel
// knew it when it connected (unix(7): SO_PEERCRED and SO_PEERGROUPS).
type peer struct {
	uid, gid uint32
	pid      int32
	groups   []uint32 // supplementary
}

// maxGroups bounds what is read of a peer's supplementary groups; NGROUPS_MAX
// of Linux (limits.h).
const maxGroups = 65536

// peerOf reads the credentials of the process that connected c.
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var p peer
	var inner error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		p = peer{uid: cred.Uid, gid: cred.Gid, pid: cred.Pid}
		p.groups, inner = peerGroups(fd)
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	return p, nil
}

// peerGroups reads SO_PEERGROUPS, for which x/sys/unix has no wrapper.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && size/4 <= maxGroups: // size is now what it takes
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// in reports whether the peer is a member of the group gid.
func (p peer) in(gid uint32) bool {
	return p.gid == gid || slices.Contains(p.groups, gid)
}
