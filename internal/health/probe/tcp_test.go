package probe

import (
	"context"
	"net"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

func TestTCP(t *testing.T) {
	up := serve(t, mute)
	p, err := TCP(TCPConfig{Address: up})
	require.NoError(t, look(t, p, err))

	down := deadAddress(t)
	p, err = TCP(TCPConfig{Address: down})
	requireSays(t, look(t, p, err), "tcp "+down+": connection refused, want a connection")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = p(ctx)
	requireSays(t, err, "tcp "+down+": canceled, want a connection")
	require.ErrorIs(t, err, context.Canceled)
}

func TestTCPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	testkit.Need(t, err == nil, "IPv6 on the loopback")
	defer l.Close()
	p, err := TCP(TCPConfig{Address: l.Addr().String()})
	require.NoError(t, look(t, p, err))
}

func TestTCPRefuses(t *testing.T) {
	for _, address := range []string{"", "localhost", ":80", "::1:80"} {
		_, err := TCP(TCPConfig{Address: address})
		require.ErrorContains(t, err, "want host:port, such as 127.0.0.1:8080 or [::1]:8080")
	}
	for _, address := range []string{"localhost:", "localhost:0", "localhost:http", "localhost:65536", "localhost:-1"} {
		_, err := TCP(TCPConfig{Address: address})
		require.EqualError(t, err, `address "`+address+`": want a port from 1 to 65535`)
	}
}
