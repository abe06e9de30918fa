package probe

import (
	"cmp"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// deafUnits is a systemd that says nothing until the caller gives up.
type deafUnits struct{ fakeUnits }

func (*deafUnits) UnitState(ctx context.Context, _ string) (UnitState, error) {
	<-ctx.Done()
	return UnitState{}, ctx.Err()
}

// TestFindings holds every kind to the rule for its errors: they name where it
// looked, what was seen and what was wanted, when the thing is bad, when it hangs
// until the timeout, and when there was no time left to look at all. A kind whose
// thing cannot hang has no case for that.
func TestFindings(t *testing.T) {
	hangs := serve(t, mute)
	dead := deadAddress(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // a name server that never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	missing := filepath.Join(t.TempDir(), "missing")
	fifo := filepath.Join(t.TempDir(), "fifo") // to open it waits for a writer
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	t.Cleanup(func() {
		if fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			_ = unix.Close(fd)
		}
	})

	type cfg interface{ Target() string }
	type aCase struct {
		cfg    cfg
		target string
		want   string
	}
	tests := map[string]struct {
		kind string
		// nil: cannot be brought about here. idle is for kinds with neither.
		bad, hangs, idle *aCase
	}{
		"http": {
			bad:   &aCase{HTTPConfig{URL: "http://user:secret@" + dead + "/up?key=secret#secret"}, "http://" + dead + "/up", "status 2xx"},
			hangs: &aCase{HTTPConfig{URL: "http://" + hangs + "/up"}, "http://" + hangs + "/up", "status 2xx"},
		},
		"http over a socket": {
			kind: "http",
			bad:  &aCase{HTTPConfig{URL: "http://app/up", UnixSocket: missing}, "http://app/up over " + missing, "status 2xx"},
		},
		"tcp": {bad: &aCase{TCPConfig{Address: dead}, dead, "a connection"}},
		"tls": {
			bad:   &aCase{TLSConfig{Address: dead}, dead, "a TLS handshake with 127.0.0.1"},
			hangs: &aCase{TLSConfig{Address: hangs}, hangs, "a TLS handshake with 127.0.0.1"},
		},
		"grpc": {
			bad:   &aCase{GRPCConfig{Address: dead, Service: "orders"}, dead + " service orders", "SERVING"},
			hangs: &aCase{GRPCConfig{Address: hangs}, hangs, "SERVING"},
		},
		"grpc over TLS": {
			kind:  "grpc",
			hangs: &aCase{GRPCConfig{Address: hangs, TLS: &TLSClient{}}, hangs, "SERVING"},
		},
		"dns": {
			bad:   &aCase{DNSConfig{Name: "hsm.example", Server: dead}, "hsm.example at " + dead, "an address"},
			hangs: &aCase{DNSConfig{Name: "hsm.example", Type: "SRV", Server: silent.LocalAddr().String()}, "hsm.example at " + silent.LocalAddr().String(), "an answer of type SRV"},
		},
		"exec": {
			bad:   &aCase{ExecConfig{Command: shell("exit 3 # secret")}, "/bin/sh", "exit code 0"},
			hangs: &aCase{ExecConfig{Command: shell("sleep 1000 # secret")}, "/bin/sh", "exit code 0"},
		},
		"unit": {
			bad:   &aCase{UnitConfig{Units: &fakeUnits{state: UnitState{Load: "loaded", Active: "failed", Sub: "failed"}}, Name: "nginx.service"}, "nginx.service", "active"},
			hangs: &aCase{UnitConfig{Units: &deafUnits{}, Name: "nginx.service"}, "nginx.service", "active"},
		},
		"disk": {bad: &aCase{DiskConfig{Path: missing, MinFree: Size{Percent: 5}}, missing, "a readable file system"}},
		"file": {bad: &aCase{FileConfig{Path: missing}, missing, "present"}},
		"certificate": {
			bad:   &aCase{CertificateConfig{File: missing}, missing, "a certificate in PEM"},
			hangs: &aCase{CertificateConfig{File: fifo}, fifo, "a certificate in PEM"},
		},
		"pressure":  {idle: &aCase{PressureConfig{Resource: "io", Avg10Below: 5}, "io", "below 5%"}},
		"clock":     {idle: &aCase{ClockConfig{Synchronized: true}, "realtime", "synchronized"}},
		"heartbeat": {bad: &aCase{HeartbeatConfig{TTL: time.Minute}, "application", "a report at least every 1m0s"}},
	}
	for name, tc := range tests {
		if tc.kind == "" {
			tc.kind = name
		}
		says := func(t *testing.T, c *aCase, err error) {
			t.Helper()
			requireFinding(t, err)
			require.Equal(t, c.target, c.cfg.Target())
			require.True(t, strings.HasPrefix(err.Error(), tc.kind+" "+c.target+": "), err)
			require.Contains(t, err.Error(), ", want "+c.want)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), c.target+": ,", "what was seen")
		}
		if c := tc.bad; c != nil {
			t.Run(name+"/bad", func(t *testing.T) {
				says(t, c, lookFor(t, patience, newProbe(t, c.cfg), nil))
			})
		}
		if c := tc.hangs; c != nil {
			t.Run(name+"/hangs", func(t *testing.T) {
				err := lookFor(t, 50*time.Millisecond, newProbe(t, c.cfg), nil)
				says(t, c, err)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Contains(t, err.Error(), "timed out")
			})
		}
		if c := cmp.Or(tc.hangs, tc.idle, tc.bad); c != nil {
			t.Run(name+"/no time left", func(t *testing.T) {
				err := lookFor(t, 0, newProbe(t, c.cfg), nil)
				says(t, c, err)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Contains(t, err.Error(), "timed out")
			})
		}
	}
}

// newProbe makes the probe of any kind's configuration.
func newProbe(t *testing.T, cfg any) probeFunc {
	t.Helper()
	var p probeFunc
	var err error
	switch cfg := cfg.(type) {
	case HTTPConfig:
		p, err = HTTP(cfg)
	case TCPConfig:
		p, err = TCP(cfg)
	case TLSConfig:
		p, err = TLS(cfg)
	case GRPCConfig:
		p, err = GRPC(cfg)
	case DNSConfig:
		p, err = DNS(cfg)
	case ExecConfig:
		p, err = Exec(cfg)
	case DiskConfig:
		p, err = Disk(cfg)
	case FileConfig:
		p, err = File(cfg)
	case CertificateConfig:
		p, err = Certificate(cfg)
	case PressureConfig:
		p, err = Pressure(cfg)
	case ClockConfig:
		p, err = Clock(cfg)
	case UnitConfig:
		var u *Unit
		u, err = NewUnit(cfg)
		require.NoError(t, err)
		t.Cleanup(u.Close)
		p = u.Probe
	case HeartbeatConfig:
		var h *Heartbeat
		h, err = NewHeartbeat(cfg)
		require.NoError(t, err)
		p = h.Probe
	default:
		require.Failf(t, "no such kind", "%T", cfg)
	}
	require.NoError(t, err)
	return p
}

// TestFindingsAreNeverCutShort: however long its parts are, a message ends with
// what was wanted.
func TestFindingsAreNeverCutShort(t *testing.T) {
	long := strings.Repeat("ä\n", 1000)
	err := &Error{Kind: "certificate", Target: long, Seen: long, Want: long}
	text := err.Error()
	require.LessOrEqual(t, len(text), maxMessage)
	require.Equal(t, 3, strings.Count(text, "…"), "each part is cut by itself")
	require.Contains(t, text, ", want ä")
	require.NotContains(t, text, "\n")
	err.Target, err.Want = "/etc/ssl/app.crt", "at least 14d"
	require.True(t, strings.HasPrefix(err.Error(), "certificate /etc/ssl/app.crt: ä"))
	require.True(t, strings.HasSuffix(err.Error(), "…, want at least 14d"))
	require.Greater(t, len(err.Error()), maxMessage-8, "what is seen gets the room that is left")
}
