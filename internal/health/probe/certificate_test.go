package probe

import (
	"bytes"
	"crypto/x509"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	root := testkit.NewAuthority(t, "Example Root")
	leaf := root.Issue(t, "leaf", "app.example", 30*day+time.Hour)
	write := func(name string, parts ...[]byte) string {
		return writeFile(t, filepath.Join(dir, name), slices.Concat(parts...))
	}
	chain := write("chain.pem", []byte("# the leaf\n"), leaf.KeyPEM, leaf.CertPEM, root.CertPEM)
	expired := write("expired.pem", leaf.CertPEM, root.Issue(t, "old", "", -2*day).CertPEM)
	unnamed := write("unnamed.pem", root.Issue(t, "", "app.example", day+time.Hour).CertPEM)
	keyOnly := write("key.pem", leaf.KeyPEM)
	broken := write("broken.pem", leaf.CertPEM, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	big := write("big.pem", bytes.Repeat([]byte("\n"), maxPEM+1))
	missing := filepath.Join(dir, "missing.pem")

	for name, tc := range map[string]struct {
		cfg  CertificateConfig
		says string
	}{
		"valid":           {cfg: CertificateConfig{File: chain}},
		"valid for long":  {cfg: CertificateConfig{File: chain, ExpiresWithin: 30 * day}},
		"expires":         {cfg: CertificateConfig{File: chain, ExpiresWithin: 31 * day}, says: "certificate " + chain + ": certificate CN=leaf expires in 30d, want at least 31d"},
		"chain expired":   {cfg: CertificateConfig{File: expired}, says: "certificate " + expired + ": certificate CN=old expired 2d ago, want one that is valid now"},
		"named by domain": {cfg: CertificateConfig{File: unnamed, ExpiresWithin: 2 * day}, says: "certificate " + unnamed + ": certificate for app.example expires in 1d, want at least 2d"},
		"no certificate":  {cfg: CertificateConfig{File: keyOnly}, says: "certificate " + keyOnly + ": no certificate in it, want a certificate in PEM"},
		"broken":          {cfg: CertificateConfig{File: broken}, says: "certificate " + broken + ": certificate 2 of the file: x509: malformed certificate, want a certificate in PEM"},
		"too big":         {cfg: CertificateConfig{File: big}, says: "certificate " + big + ": larger than 1048576 bytes, want a certificate in PEM"},
		"missing":         {cfg: CertificateConfig{File: missing}, says: "certificate " + missing + ": no such file or directory, want a certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Certificate(tc.cfg)
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}
}

func TestCheckValidity(t *testing.T) {
	root := testkit.NewAuthority(t, "Example Root")
	leaf := root.Issue(t, "leaf", "app.example", 30*day)
	chain := []*x509.Certificate{leaf.Cert, root.Cert}

	seen, want := checkValidity(chain, leaf.Cert.NotBefore.Add(-36*time.Hour), 0)
	require.Equal(t, "certificate CN=leaf is valid only in 1d12h", seen)
	require.Equal(t, "one that is valid now", want)

	seen, _ = checkValidity(chain, leaf.Cert.NotAfter, 0)
	require.Empty(t, seen, "NotAfter itself is still valid, RFC 5280, 4.1.2.5")
	seen, _ = checkValidity(chain, leaf.Cert.NotAfter.Add(time.Second), 0)
	require.Equal(t, "certificate CN=leaf expired 1s ago", seen)
}

func TestCertificateRefuses(t *testing.T) {
	_, err := Certificate(CertificateConfig{File: "x.pem"})
	require.EqualError(t, err, `file "x.pem": want an absolute path`)
	_, err = Certificate(CertificateConfig{File: "/x.pem", ExpiresWithin: -1})
	require.EqualError(t, err, "expires_within -1ns: want a positive duration")
}

func FuzzParseCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := parseCertificates(data)
		require.Equal(t, err == nil, len(certs) > 0)
		if err == nil {
			seen, want := checkValidity(certs, time.Now(), day)
			require.Equal(t, seen == "", want == "")
		}
	})
}
