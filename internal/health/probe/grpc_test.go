package probe

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// serveGRPC runs grpc-go, the server that most services are made of.
func serveGRPC(t *testing.T, health healthpb.HealthServer, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(options...)
	if health != nil {
		healthpb.RegisterHealthServer(server, health)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return l.Addr().String()
}

func TestGRPC(t *testing.T) {
	health := grpchealth.NewServer()
	health.SetServingStatus("example.Up", healthpb.HealthCheckResponse_SERVING)
	health.SetServingStatus("example.Down", healthpb.HealthCheckResponse_NOT_SERVING)
	health.SetServingStatus("example.Odd", healthpb.HealthCheckResponse_ServingStatus(77))
	address := serveGRPC(t, health)
	without := serveGRPC(t, nil)
	root := testkit.NewAuthority(t, "Example Root")
	secure := serveGRPC(t, health, grpc.Creds(credentials.NewServerTLSFromCert(
		new(root.Issue(t, "grpc", "grpc.example", day).TLS()))))
	trust := &TLSClient{CAFile: tempFile(t, root.CertPEM), ServerName: "grpc.example"}
	dead := deadAddress(t)
	hung := serve(t, mute)

	for name, tc := range map[string]struct {
		cfg     GRPCConfig
		timeout time.Duration
		says    string
	}{
		"server":  {cfg: GRPCConfig{Address: address}},
		"service": {cfg: GRPCConfig{Address: address, Service: "example.Up"}},
		"TLS":     {cfg: GRPCConfig{Address: secure, Service: "example.Up", TLS: trust}},
		"not serving": {
			cfg:  GRPCConfig{Address: address, Service: "example.Down"},
			says: "grpc " + address + " service example.Down: status NOT_SERVING, want SERVING",
		},
		"not serving over TLS": {
			cfg:  GRPCConfig{Address: secure, Service: "example.Down", TLS: trust},
			says: "grpc " + secure + " service example.Down: status NOT_SERVING, want SERVING",
		},
		"status of the future": {
			cfg:  GRPCConfig{Address: address, Service: "example.Odd"},
			says: "grpc " + address + " service example.Odd: status 77, want SERVING",
		},
		"unknown service": {
			cfg:  GRPCConfig{Address: address, Service: "example.None"},
			says: "grpc " + address + ` service example.None: error not_found "unknown service", want SERVING`,
		},
		"no health service": {
			cfg:  GRPCConfig{Address: without},
			says: "grpc " + without + `: error unimplemented "unknown service grpc.health.v1.Health", want SERVING`,
		},
		"nobody listens": {
			cfg:  GRPCConfig{Address: dead},
			says: "grpc " + dead + ": no answer: connection refused, want SERVING",
		},
		"hung": {
			cfg: GRPCConfig{Address: hung}, timeout: 20 * time.Millisecond,
			says: "grpc " + hung + ": no answer: timed out, want SERVING",
		},
		"unknown authority": {
			cfg: GRPCConfig{Address: secure, TLS: &TLSClient{ServerName: "grpc.example"}},
			says: "grpc " + secure + ": no answer: certificate CN=grpc not valid: x509: certificate signed by unknown authority" +
				", want SERVING",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.timeout == 0 {
				tc.timeout = patience
			}
			p, err := GRPC(tc.cfg)
			err = lookFor(t, tc.timeout, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}

	for name, cfg := range map[string]GRPCConfig{
		"plaintext to TLS": {Address: secure},
		"TLS to plaintext": {Address: address, TLS: trust},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := GRPC(cfg)
			err = look(t, p, err)
			requireFinding(t, err)
			require.ErrorContains(t, err, "grpc "+cfg.Address+": no answer: ")
		})
	}
}

func TestGRPCClientCertificate(t *testing.T) {
	root := testkit.NewAuthority(t, "Example Root")
	address := serveGRPC(t, grpchealth.NewServer(), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{root.Issue(t, "grpc", "grpc.example", day).TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(), MinVersion: tls.VersionTLS13,
	})))
	dir := t.TempDir()
	client := root.Issue(t, "client", "client.example", day)
	files := TLSClient{
		CAFile:   writeFile(t, filepath.Join(dir, "ca.pem"), root.CertPEM),
		CertFile: writeFile(t, filepath.Join(dir, "cert.pem"), client.CertPEM),
		KeyFile:  writeFile(t, filepath.Join(dir, "key.pem"), client.KeyPEM),
	}
	p, err := GRPC(GRPCConfig{Address: address, TLS: &files})
	require.NoError(t, look(t, p, err))

	p, err = GRPC(GRPCConfig{Address: address, TLS: &TLSClient{CAFile: files.CAFile}})
	requireSays(t, look(t, p, err), "grpc "+address+": no answer: refused by the peer: tls: certificate required, want SERVING")
}

// wordyHealth fails with what no message should carry on.
type wordyHealth struct {
	healthpb.UnimplementedHealthServer
}

func (wordyHealth) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return nil, status.Error(codes.Internal, "first\nsecond \x1b[31m"+string(make([]byte, 8<<10)))
}

func TestGRPCKeepsMessagesShort(t *testing.T) {
	address := serveGRPC(t, wordyHealth{})
	p, err := GRPC(GRPCConfig{Address: address})
	err = look(t, p, err)
	requireFinding(t, err)
	require.ErrorContains(t, err, `error internal "first second  [31m`)
	require.LessOrEqual(t, len(err.Error()), maxMessage)
}

func TestGRPCRefuses(t *testing.T) {
	_, err := GRPC(GRPCConfig{Address: "localhost:grpc"})
	require.EqualError(t, err, `address "localhost:grpc": want a port from 1 to 65535`)
	_, err = GRPC(GRPCConfig{Address: "localhost:1", TLS: &TLSClient{KeyFile: "/k"}})
	require.EqualError(t, err, "cert_file and key_file: want both or neither")
}
