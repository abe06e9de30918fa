package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The addresses under which members reach the HSM. Those of 1.7.0 have one of their own,
// so that what its baseline does to them can be done to them alone.
const (
	usual  = "127.0.0.1"
	barred = "127.0.0.2"
)

// patient bounds what may take its time on a busy machine.
const patient = time.Minute

// An hsm stands in for a hardware security module: it speaks TLS, and wants to see a
// client certificate of its own authority. It has a door for each address, which can be
// shut: then nobody listens there, as behind a firewall that rejects.
type hsm struct {
	port   int
	config *tls.Config
	pool   *x509.CertPool
	files  string         // the directory of ca.pem, client.crt and client.key
	served atomic.Int64   // handshakes with a client certificate
	ended  sync.WaitGroup // of all connections

	mu    sync.Mutex
	doors map[string]net.Listener
}

// newHSM makes an HSM whose files for clients are in a directory. Its usual door is open.
func newHSM(ctx context.Context, dir string) (*hsm, error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	server, err := authority.issue("hsm.internal", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	client, err := authority.issue("authz", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	h := &hsm{files: dir, pool: x509.NewCertPool(), doors: make(map[string]net.Listener)}
	h.pool.AddCert(authority.certificate)
	h.config = &tls.Config{
		Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: h.pool,
	}
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		return nil, err
	}
	for name, block := range map[string]pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: authority.certificate.Raw},
		"client.crt": {Type: "CERTIFICATE", Bytes: client.Certificate[0]},
		"client.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			return nil, err
		}
	}
	return h, h.open(ctx, usual)
}

// address is where members find the HSM behind a door.
func (h *hsm) address(door string) string { return net.JoinHostPort(door, strconv.Itoa(h.port)) }

// open opens a door. The first one that is opened chooses the port of all.
func (h *hsm) open(ctx context.Context, door string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doors[door] != nil {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", h.address(door))
	if err != nil {
		return fmt.Errorf("open the port of the HSM: %w", err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
		h.port = tcp.Port
	}
	h.doors[door] = listener
	h.ended.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it was shut
			}
			h.ended.Go(func() { h.serve(ctx, conn) })
		}
	})
	return nil
}

// shut shuts a door.
func (h *hsm) shut(door string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doors[door] != nil {
		_ = h.doors[door].Close()
		delete(h.doors, door)
	}
}

// close ends it.
func (h *hsm) close() {
	h.shut(usual)
	h.shut(barred)
	h.ended.Wait() // each connection is bounded
}

// serve shakes hands with a client, and bids it welcome.
func (h *hsm) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patient))
	secured := tls.Server(conn, h.config)
	if secured.HandshakeContext(ctx) != nil {
		return
	}
	h.served.Add(1)
	_, _ = secured.Write([]byte("welcome\n"))
	_, _ = secured.Read(make([]byte, 1)) // until the client leaves
}

// refusesStrangers says, as an error, if the HSM serves somebody without a certificate.
func (h *hsm) refusesStrangers(ctx context.Context) error {
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: h.pool, ServerName: "hsm.internal", MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(ctx, "tcp", h.address(usual))
	if err != nil {
		return nil // it is what is wanted
	}
	defer conn.Close()
	// In TLS 1.3 the client hears of it with the first answer.
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	var refused *net.OpError
	if _, err = conn.Read(make([]byte, 1)); errors.As(err, &refused) && !refused.Timeout() {
		return nil
	}
	return errors.New("the HSM lets in a client without a certificate")
}

// An authority issues certificates that are good for a day.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key}
	template := certificate("HSM authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err == nil {
		a.certificate, err = x509.ParseCertificate(raw)
	}
	return a, err
}

// issue makes a certificate for a name.
func (a *authority) issue(name string, usage x509.ExtKeyUsage) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := certificate(name)
	template.DNSNames, template.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{usage}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // there is no randomness
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}
