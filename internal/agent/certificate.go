package agent

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// certificateCheckEvery bounds how often the files of a certificate are
	// read, so that a storm of handshakes is not a storm of reads.
	certificateCheckEvery = 100 * time.Millisecond
	// maxPEM bounds a certificate file or a key file, in bytes.
	maxPEM = 1 << 20
)

// A certificate serves a key pair from disk and follows its changes: the files
// are looked at when somebody shakes hands or asks for warnings, and when the
// new pair is broken the old one goes on and a warning is logged. Content
// counts, not time stamps. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	pair    atomic.Pointer[tls.Certificate] // in force
	problem atomic.Pointer[string]          // with the files; nil for none

	refreshing      sync.Mutex // guards what follows
	checked         time.Time
	certPEM, keyPEM []byte // of the pair in force
}

// loadCertificate reads the pair for the first time; then a broken pair is an error.
func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger, checked: time.Now()}
	if _, err := c.load(); err != nil {
		return nil, fmt.Errorf("load probe certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return c, nil
}

// load puts what the files hold in force, if it is another pair and a good one.
func (c *certificate) load() (changed bool, err error) {
	certPEM, err := readPEM(c.certFile)
	if err != nil {
		return false, err
	}
	keyPEM, err := readPEM(c.keyFile)
	if err != nil {
		return false, err
	}
	if bytes.Equal(certPEM, c.certPEM) && bytes.Equal(keyPEM, c.keyPEM) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return false, err
	}
	c.certPEM, c.keyPEM = certPEM, keyPEM
	c.pair.Store(&pair)
	return true, nil
}

func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPEM))
}

// get is a tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.refresh()
	return c.pair.Load(), nil
}

// refresh looks at the files, unless somebody did a moment ago or is at it: a
// disk that hangs must not hold up more than one handshake.
func (c *certificate) refresh() {
	if !c.refreshing.TryLock() {
		return
	}
	defer c.refreshing.Unlock()
	if time.Since(c.checked) < certificateCheckEvery {
		return
	}
	c.checked = time.Now()
	changed, err := c.load()
	switch {
	case err == nil:
		c.problem.Store(nil)
	case c.problem.Load() == nil || *c.problem.Load() != err.Error():
		text := err.Error()
		c.problem.Store(&text)
		c.logger.Warn("probe certificate not reloaded, the old one goes on", "cert_file", c.certFile, "err", err)
	}
	if changed {
		c.logger.Info("probe certificate reloaded", "cert_file", c.certFile)
	}
}

// warning says what is wrong with the pair on disk, or "".
func (c *certificate) warning() string {
	c.refresh()
	problem := c.problem.Load()
	if problem == nil {
		return ""
	}
	return "the probe certificate on disk is broken, the old one goes on: " + *problem
}

// tlsConfig is the server side of the probe listener. The extension accepts TLS
// 1.0 to 1.3 and does not verify; nothing that probes a node needs less than 1.2.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}
