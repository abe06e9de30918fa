package testkit

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Established reports whether neither side has closed a TCP connection. It asks the
// kernel, which knows that at once, however slow the test is.
func Established(tb testing.TB, conn net.Conn) bool {
	tb.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(tb, err)
	var info *unix.TCPInfo
	var asked error
	require.NoError(tb, raw.Control(func(fd uintptr) {
		info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}))
	require.NoError(tb, asked)
	return info.State == unix.BPF_TCP_ESTABLISHED
}
