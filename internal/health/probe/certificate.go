package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"time"
)

// CertificateConfig describes a certificate on disk.
type CertificateConfig struct {
	File          string        // PEM, absolute path: a certificate and, if it has one, its chain
	ExpiresWithin time.Duration // every certificate in it has to be valid for at least this long
}

// Target is where the probe looks, as its errors name it.
func (c CertificateConfig) Target() string { return c.File }

// Certificate passes when every certificate of a file is valid now and for
// long enough. Signatures are not verified: that is for a tls check to do,
// which sees what clients see.
func Certificate(cfg CertificateConfig) (func(ctx context.Context) error, error) {
	switch {
	case !filepath.IsAbs(cfg.File):
		return nil, fmt.Errorf("file %q: want an absolute path", cfg.File)
	case cfg.ExpiresWithin < 0:
		return nil, fmt.Errorf("expires_within %v: want a positive duration", cfg.ExpiresWithin)
	}
	p := &certificateProbe{cfg: cfg, call: newCall()}
	return p.run, nil
}

type certificateProbe struct {
	cfg  CertificateConfig
	call *call
}

func (p *certificateProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "certificate", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	certs, err := within(ctx, p.call, func() ([]*x509.Certificate, error) {
		data, err := readBounded(p.cfg.File, maxPEM)
		if err != nil {
			return nil, err
		}
		return parseCertificates(data)
	})
	if err != nil {
		return fail(describe(err), "a certificate in PEM", err)
	}
	if seen, want := checkValidity(certs, time.Now(), p.cfg.ExpiresWithin); seen != "" {
		return fail(seen, want, nil)
	}
	return nil
}
