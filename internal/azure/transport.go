package azure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// maxCA bounds a file of certificates.
const maxCA = 1 << 20

// transport sends requests, and bounds what it reads.
type transport struct{ client *http.Client }

// newTransport returns a transport that also trusts the certificates of caFile, if
// one is named. Redirects are answers: Azure sends none, a captive portal does.
func newTransport(caFile string) (*transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := certificates(caFile)
		if err != nil {
			return nil, usageError(fmt.Errorf("read %s: %w", CAVariable, err), "it names a file of certificates in PEM form")
		}
		config.RootCAs = pool
	}
	return &transport{client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: maxRequests, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func certificates(file string) (*x509.CertPool, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCA))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// Do sends one request.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxAnswer {
		_ = resp.Body.Close()
		return nil, final(errTooLarge)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// errTooLarge says that an answer is longer than maxAnswer.
var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)

// boundedBody fails when more is read than may be, however the answer is encoded.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, final(errTooLarge)
	}
	return n, err
}

// A finalError is not worth another try.
type finalError struct{ error }

func (finalError) NonRetriable() {}

func (e finalError) Unwrap() error { return e.error }

// final marks err as not worth another try, for our retries and for the SDK's.
func final(err error) error { return finalError{err} }

// isFinal says whether err, ours or the SDK's, is not worth another try.
func isFinal(err error) bool {
	var marked interface{ NonRetriable() }
	return errors.As(err, &marked)
}
