package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// A Certificate is a certificate with its key, which may sign others.
type Certificate struct {
	Cert            *x509.Certificate
	CertPEM, KeyPEM []byte

	key *ecdsa.PrivateKey
}

// NewAuthority returns a root authority.
func NewAuthority(tb testing.TB, name string) *Certificate {
	tb.Helper()
	return (*Certificate)(nil).Issue(tb, name, "", 3650*day)
}

// Issue signs a certificate that began ten days ago and ends after the given
// time, which may be negative. With a host it is for servers and clients at that
// name and at 127.0.0.1, without one it is an authority. A nil certificate signs
// itself.
func (c *Certificate) Issue(tb testing.TB, name, host string, lasts time.Duration) *Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(tb, err)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-10 * day),
		NotAfter:     time.Now().Add(lasts),
	}
	if host == "" {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{host}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	parent, signer := template, key
	if c != nil {
		parent, signer = c.Cert, c.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(tb, err)
	return &Certificate{
		Cert: cert, key: key,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// TLS is the certificate for a tls.Config, with more certificates of its chain.
func (c *Certificate) TLS(chain ...*Certificate) tls.Certificate {
	cert := tls.Certificate{Certificate: [][]byte{c.Cert.Raw}, PrivateKey: c.key}
	for _, more := range chain {
		cert.Certificate = append(cert.Certificate, more.Cert.Raw)
	}
	return cert
}

// Pool trusts the certificate alone.
func (c *Certificate) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Cert)
	return pool
}
