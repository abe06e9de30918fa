package probe

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

// serveTLS shakes hands with everyone, and keeps accepted connections open.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	return serve(t, func(raw net.Conn) {
		conn := tls.Server(raw, config)
		if conn.Handshake() == nil {
			mute(conn)
		}
	})
}

func TestTLS(t *testing.T) {
	root := testkit.NewAuthority(t, "Example Root")
	leaf := root.Issue(t, "hsm", "hsm.example", 20*day+time.Hour)
	shortLived := root.Issue(t, "Example Intermediate", "", 5*day+time.Hour)
	dir := t.TempDir()
	ca := writeFile(t, filepath.Join(dir, "ca.pem"), root.CertPEM)

	valid := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}})
	expired := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{root.Issue(t, "old", "hsm.example", -day).TLS()}})
	chained := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{
		shortLived.Issue(t, "leaf", "hsm.example", 100*day).TLS(shortLived),
	}})
	old := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	plain := serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1024))
		_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
	})
	dead := deadAddress(t)
	hung := serve(t, mute)
	trust := TLSClient{CAFile: ca, ServerName: "hsm.example"}

	for name, tc := range map[string]struct {
		cfg     TLSConfig
		timeout time.Duration
		says    string
	}{
		"valid":              {cfg: TLSConfig{Address: valid, Client: trust, ExpiresWithin: 20 * day}},
		"by address":         {cfg: TLSConfig{Address: valid, Client: TLSClient{CAFile: ca}}},
		"intermediate holds": {cfg: TLSConfig{Address: chained, Client: trust, ExpiresWithin: 5 * day}},
		"not verified":       {cfg: TLSConfig{Address: valid, Client: TLSClient{InsecureSkipVerify: true}}},
		"leaf expires": {
			cfg:  TLSConfig{Address: valid, Client: trust, ExpiresWithin: 21 * day},
			says: "tls " + valid + ": certificate CN=hsm expires in 20d, want at least 21d",
		},
		"intermediate expires": {
			cfg:  TLSConfig{Address: chained, Client: trust, ExpiresWithin: 14 * day},
			says: "tls " + chained + ": certificate CN=Example Intermediate expires in 5d, want at least 14d",
		},
		"not verified but expired": {
			cfg:  TLSConfig{Address: expired, Client: TLSClient{InsecureSkipVerify: true}},
			says: "tls " + expired + ": certificate CN=old expired 1d ago, want one that is valid now",
		},
		"other name": {
			cfg: TLSConfig{Address: valid, Client: TLSClient{CAFile: ca, ServerName: "other.example"}},
			says: "tls " + valid + ": certificate CN=hsm not valid: x509: certificate is valid for hsm.example, not other.example" +
				", want a TLS handshake with other.example",
		},
		"unknown authority": {
			cfg: TLSConfig{Address: valid, Client: TLSClient{ServerName: "hsm.example"}},
			says: "tls " + valid + ": certificate CN=hsm not valid: x509: certificate signed by unknown authority" +
				", want a TLS handshake with hsm.example",
		},
		"old protocol": {
			cfg:  TLSConfig{Address: old, Client: trust},
			says: "tls " + old + ": refused by the peer: tls: protocol version not supported, want a TLS handshake with hsm.example",
		},
		"not TLS": {
			cfg:  TLSConfig{Address: plain, Client: trust},
			says: "tls " + plain + ": tls: first record does not look like a TLS handshake, want a TLS handshake with hsm.example",
		},
		"nobody listens": {
			cfg:  TLSConfig{Address: dead, Client: trust},
			says: "tls " + dead + ": connection refused, want a TLS handshake with hsm.example",
		},
		"hung": {
			cfg: TLSConfig{Address: hung, Client: trust}, timeout: 20 * time.Millisecond,
			says: "tls " + hung + ": timed out, want a TLS handshake with hsm.example",
		},
		"no CA file": {
			cfg:  TLSConfig{Address: valid, Client: TLSClient{CAFile: "/nonexistent/ca.pem"}},
			says: "tls " + valid + ": ca_file /nonexistent/ca.pem: no such file or directory, want usable TLS files",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.timeout == 0 {
				tc.timeout = patience
			}
			p, err := TLS(tc.cfg)
			err = lookFor(t, tc.timeout, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}

	t.Run("expired", func(t *testing.T) {
		p, err := TLS(TLSConfig{Address: expired, Client: trust})
		err = look(t, p, err)
		requireFinding(t, err)
		require.ErrorContains(t, err, "tls "+expired+": certificate CN=old not valid: x509: certificate has expired")
	})
}

// A network HSM demands a client certificate. In TLS 1.3 it says only after the
// handshake what it thinks of ours.
func TestTLSClientCertificate(t *testing.T) {
	root, stranger := testkit.NewAuthority(t, "Example Root"), testkit.NewAuthority(t, "Example Root")
	dir := t.TempDir()
	files := func(name string, a *testkit.Certificate) TLSClient {
		return TLSClient{
			CAFile:   writeFile(t, filepath.Join(dir, "ca.pem"), root.CertPEM),
			CertFile: writeFile(t, filepath.Join(dir, name+".pem"), a.CertPEM),
			KeyFile:  writeFile(t, filepath.Join(dir, name+".key"), a.KeyPEM),
		}
	}
	known := files("known", root.Issue(t, "agent", "agent.example", day))
	unknown := files("unknown", stranger.Issue(t, "agent", "agent.example", day))
	none := TLSClient{CAFile: known.CAFile}

	for name, tc := range map[string]struct {
		version   uint16
		noTickets bool
		client    TLSClient
		reason    string
	}{
		"1.2":                       {version: tls.VersionTLS12, client: known},
		"1.2 none":                  {version: tls.VersionTLS12, client: none, reason: "handshake failure"},
		"1.2 unknown":               {version: tls.VersionTLS12, client: unknown, reason: "unknown certificate authority"},
		"1.3":                       {version: tls.VersionTLS13, client: known},
		"1.3 none":                  {version: tls.VersionTLS13, client: none, reason: "certificate required"},
		"1.3 unknown":               {version: tls.VersionTLS13, client: unknown, reason: "unknown certificate authority"},
		"1.3 without tickets":       {version: tls.VersionTLS13, client: known, noTickets: true},
		"1.3 without tickets, none": {version: tls.VersionTLS13, client: none, noTickets: true, reason: "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveTLS(t, &tls.Config{
				Certificates: []tls.Certificate{root.Issue(t, "hsm", "hsm.example", day).TLS()},
				ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(),
				MinVersion: tc.version, MaxVersion: tc.version, SessionTicketsDisabled: tc.noTickets,
			})
			p, err := TLS(TLSConfig{Address: address, Client: tc.client})
			err = look(t, p, err)
			if tc.reason == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, "tls "+address+": refused by the peer: tls: "+tc.reason+", want a TLS handshake with 127.0.0.1")
		})
	}
}

func TestTLSTicketEndsTheWait(t *testing.T) {
	root := testkit.NewAuthority(t, "Example Root")
	config := &tls.Config{ServerName: "hsm.example", RootCAs: root.Pool(), MinVersion: tls.VersionTLS13}
	address := serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{root.Issue(t, "hsm", "hsm.example", day).TLS()},
		ClientAuth:   tls.RequestClientCert, MinVersion: tls.VersionTLS13,
	})
	_, err := handshake(t.Context(), address, config)
	require.NoError(t, err)
	require.True(t, config.ClientSessionCache.(*verdict).accepted)
}

func TestTLSCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		cancel()
		mute(conn)
	})
	p, err := TLS(TLSConfig{Address: address})
	require.NoError(t, err)
	err = p(ctx)
	requireSays(t, err, "tls "+address+": canceled, want a TLS handshake with 127.0.0.1")
	require.ErrorIs(t, err, context.Canceled)
}

func TestTLSRefuses(t *testing.T) {
	_, err := TLS(TLSConfig{Address: "hsm"})
	require.EqualError(t, err, `address "hsm": want host:port, such as 127.0.0.1:8080 or [::1]:8080`)
	_, err = TLS(TLSConfig{Address: "hsm:1792", ExpiresWithin: -1})
	require.EqualError(t, err, "expires_within -1ns: want a positive duration")
	_, err = TLS(TLSConfig{Address: "hsm:1792", Client: TLSClient{KeyFile: "/k"}})
	require.EqualError(t, err, "cert_file and key_file: want both or neither")
}
