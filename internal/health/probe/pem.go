package probe

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxPEM bounds a PEM file, in bytes: a bundle of all public authorities is a
// quarter of it.
const maxPEM = 1 << 20

// readBounded reads a file of at most limit bytes, a bigger one is an error.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return data, nil
}

// parseCertificates reads every certificate of a PEM bundle, which may hold
// keys and parameters as well.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the file: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

// checkValidity looks at each certificate of a chain and reports the worst: one
// that is not valid yet, or else the first to expire if it does so within less
// than atLeast. Seen is empty when all is well.
func checkValidity(chain []*x509.Certificate, now time.Time, atLeast time.Duration) (seen, want string) {
	var first *x509.Certificate
	for _, cert := range chain {
		if now.Before(cert.NotBefore) {
			return fmt.Sprintf("%s is valid only in %s", certName(cert), days(cert.NotBefore.Sub(now))), "one that is valid now"
		}
		if first == nil || cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	left := first.NotAfter.Sub(now)
	switch {
	case left < 0:
		return fmt.Sprintf("%s expired %s ago", certName(first), days(-left)), "one that is valid now"
	case left < atLeast:
		return fmt.Sprintf("%s expires in %s", certName(first), days(left)), "at least " + days(atLeast)
	}
	return "", ""
}

// certName says which certificate is meant, as people know it.
func certName(cert *x509.Certificate) string {
	switch {
	case cert.Subject.String() != "":
		return "certificate " + clean(cert.Subject.String(), maxQuote)
	case len(cert.DNSNames) > 0:
		return "certificate for " + clean(cert.DNSNames[0], maxQuote)
	default:
		return fmt.Sprintf("certificate with serial %x", cert.SerialNumber)
	}
}
