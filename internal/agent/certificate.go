package agent

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheckEvery bounds how often the files of a certificate are looked
// at, so that a storm of handshakes is not a storm of stat calls.
const certificateCheckEvery = time.Second

// A certificate serves a key pair from disk and follows its changes: the pair
// is read again when either file changes, and when the new pair is broken the
// old one goes on and a warning is logged. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	checked time.Time
	seen    fingerprint
	problem error
}

// A fingerprint tells whether a pair of files has changed.
type fingerprint struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// loadCertificate reads the pair for the first time; then a broken pair is an error.
func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger, checked: time.Now()}
	seen, err := c.stat()
	if err != nil {
		return nil, fmt.Errorf("load probe certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load probe certificate %s with key %s: %w", certFile, keyFile, err)
	}
	c.seen, c.pair = seen, &pair
	return c, nil
}

func (c *certificate) stat() (fingerprint, error) {
	cert, err := os.Stat(c.certFile)
	if err != nil {
		return fingerprint{}, err
	}
	key, err := os.Stat(c.keyFile)
	if err != nil {
		return fingerprint{}, err
	}
	return fingerprint{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

// get is a tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) >= certificateCheckEvery {
		c.checked = time.Now()
		c.refresh()
	}
	return c.pair, nil
}

// refresh reads the pair again if it changed. The caller holds mu.
func (c *certificate) refresh() {
	seen, err := c.stat()
	if err == nil {
		if seen == c.seen {
			return
		}
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.seen, c.pair, c.problem = seen, &pair, nil
			c.logger.Info("probe certificate reloaded", "cert_file", c.certFile)
			return
		}
	}
	if c.problem == nil || c.problem.Error() != err.Error() {
		c.logger.Warn("probe certificate not reloaded, the old one goes on", "cert_file", c.certFile, "err", err)
	}
	c.problem = err
}

// warning says what is wrong with the pair on disk, or "".
func (c *certificate) warning() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem == nil {
		return ""
	}
	return fmt.Sprintf("the probe certificate on disk is broken, the old one goes on: %v", c.problem)
}

// tlsConfig is the server side of the probe listener. The extension accepts TLS
// 1.0 to 1.3 and does not verify; nothing that probes a node needs less than 1.2.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}
