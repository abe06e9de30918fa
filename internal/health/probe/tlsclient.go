package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
)

// TLSClient describes how to speak TLS to a server. The zero value verifies it
// against the system's authorities and shows no certificate.
type TLSClient struct {
	CAFile             string // PEM; in place of the system's authorities
	CertFile, KeyFile  string // PEM; the certificate to show, with its chain
	ServerName         string // to verify and to send, default: the host connected to
	InsecureSkipVerify bool   // accept any certificate; expiry is still looked at
}

// tlsClient makes a tls.Config of the files as they are now. They are read for
// every run and parsed only when their content has changed, so that a rotated
// certificate is used at once, whatever its time stamps say.
type tlsClient struct {
	cfg  TLSClient
	call *call // has everything that follows to itself

	caPEM           []byte
	roots           *x509.CertPool
	certPEM, keyPEM []byte
	cert            *tls.Certificate
}

func newTLSClient(cfg TLSClient) (*tlsClient, error) {
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("cert_file and key_file: want both or neither")
	}
	for _, f := range []struct{ key, path string }{
		{"ca_file", cfg.CAFile}, {"cert_file", cfg.CertFile}, {"key_file", cfg.KeyFile},
	} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			return nil, fmt.Errorf("%s %q: want an absolute path", f.key, f.path)
		}
	}
	return &tlsClient{cfg: cfg, call: newCall()}, nil
}

// config returns a configuration that the caller may change.
func (c *tlsClient) config(ctx context.Context) (*tls.Config, error) {
	if c.cfg.CAFile == "" && c.cfg.CertFile == "" {
		return c.read() // which reads no file
	}
	return within(ctx, c.call, c.read)
}

func (c *tlsClient) read() (*tls.Config, error) {
	if err := c.load(); err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            c.roots,
		ServerName:         c.cfg.ServerName,
		InsecureSkipVerify: c.cfg.InsecureSkipVerify,
	}
	if c.cert != nil {
		cert := c.cert
		// Shown whatever authorities the server names: if it does not like
		// ours, its alert is a better message than its "no certificate".
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return config, nil
}

func (c *tlsClient) load() error {
	if path := c.cfg.CAFile; path != "" {
		data, err := readBounded(path, maxPEM)
		if err != nil {
			return fmt.Errorf("ca_file %s: %s", path, describe(err))
		}
		if c.roots == nil || !bytes.Equal(data, c.caPEM) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(data) {
				return fmt.Errorf("ca_file %s: no certificate in it", path)
			}
			c.caPEM, c.roots = data, roots
		}
	}
	if c.cfg.CertFile == "" {
		return nil
	}
	certPEM, err := readBounded(c.cfg.CertFile, maxPEM)
	if err != nil {
		return fmt.Errorf("cert_file %s: %s", c.cfg.CertFile, describe(err))
	}
	keyPEM, err := readBounded(c.cfg.KeyFile, maxPEM)
	if err != nil {
		return fmt.Errorf("key_file %s: %s", c.cfg.KeyFile, describe(err))
	}
	if c.cert == nil || !bytes.Equal(certPEM, c.certPEM) || !bytes.Equal(keyPEM, c.keyPEM) {
		cert, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return fmt.Errorf("cert_file %s with key_file %s: %w", c.cfg.CertFile, c.cfg.KeyFile, err)
		}
		c.certPEM, c.keyPEM, c.cert = certPEM, keyPEM, &cert
	}
	return nil
}
