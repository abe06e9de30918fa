package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDialAnyAddress: a check of two seconds connects when any address answers in
// time, whatever the others and the name server do.
func TestDialAnyAddress(t *testing.T) {
	errRefused, errNone := errors.New("refused"), &net.DNSError{Err: "no such host", IsNotFound: true}
	type reply struct {
		addrs []string
		err   error
		hangs bool
	}
	for name, tc := range map[string]struct {
		v4, v6 reply
		alive  string // connects at once
		dead   string // is refused; all others are silent
		takes  time.Duration
		err    error
	}{
		"one address":                 {v4: reply{addrs: []string{"10.0.0.1"}}, alive: "10.0.0.1:443"},
		"silent first":                {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2"}}, alive: "10.0.0.2:443", takes: nextAddress},
		"silent until the fourth":     {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}, alive: "10.0.0.4:443", takes: 3 * nextAddress},
		"refused first":               {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2"}}, dead: "10.0.0.1:443", alive: "10.0.0.2:443"},
		"families in turn":            {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2"}}, v6: reply{addrs: []string{"fd00::1"}}, alive: "[fd00::1]:443", takes: nextAddress},
		"name server silent on AAAA":  {v4: reply{addrs: []string{"10.0.0.1"}}, v6: reply{hangs: true}, alive: "10.0.0.1:443", takes: time.Second / 2},
		"name server broken for A":    {v4: reply{err: errors.New("server misbehaving")}, v6: reply{addrs: []string{"fd00::1"}}, alive: "[fd00::1]:443"},
		"only one family":             {v4: reply{addrs: []string{"10.0.0.1"}}, v6: reply{err: errNone}, alive: "10.0.0.1:443"},
		"no such name":                {v4: reply{err: errNone}, v6: reply{err: errNone}, err: errNone},
		"a failure tells more":        {v4: reply{err: errNone}, v6: reply{err: errRefused}, err: errRefused},
		"name server silent":          {v4: reply{hangs: true}, v6: reply{hangs: true}, takes: 2 * time.Second, err: context.DeadlineExceeded},
		"nobody, and the first no":    {v4: reply{addrs: []string{"10.0.0.1"}}, dead: "10.0.0.1:443", err: errRefused},
		"nobody answers":              {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2"}}, takes: 2 * time.Second, err: context.DeadlineExceeded},
		"silent beside one that said": {v4: reply{addrs: []string{"10.0.0.1", "10.0.0.2"}}, dead: "10.0.0.1:443", takes: 2 * time.Second, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				d := dialer{
					lookup: func(ctx context.Context, network, host string) ([]netip.Addr, error) {
						require.Equal(t, "app.internal", host)
						r := map[string]reply{"ip4": tc.v4, "ip6": tc.v6}[network]
						if r.hangs {
							<-ctx.Done()
							return nil, ctx.Err()
						}
						var addrs []netip.Addr
						for _, a := range r.addrs {
							addrs = append(addrs, netip.MustParseAddr(a))
						}
						return addrs, r.err
					},
					connect: func(ctx context.Context, network, address string) (net.Conn, error) {
						require.Equal(t, "tcp", network)
						switch address {
						case tc.alive:
							conn, _ := net.Pipe()
							return conn, nil
						case tc.dead:
							return nil, errRefused
						}
						<-ctx.Done()
						return nil, ctx.Err()
					},
				}
				begun := time.Now()
				conn, err := d.dial(ctx, "tcp", "app.internal:443")
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.takes, time.Since(begun))
				if tc.err == nil {
					require.NoError(t, conn.Close())
				}
			})
		})
	}
}
