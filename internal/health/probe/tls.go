package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxVerdictWait bounds how long a server may take to say what it thinks of
// our certificate.
const maxVerdictWait = 500 * time.Millisecond

// TLSConfig describes a TLS server.
type TLSConfig struct {
	Address       string // host:port
	Client        TLSClient
	ExpiresWithin time.Duration // every certificate of the chain has to be valid for at least this long
}

// Target is where the probe looks, as its errors name it.
func (c TLSConfig) Target() string { return c.Address }

// TLS passes when a handshake succeeds, the server's chain is valid for its
// name and for long enough, and the server accepts our certificate.
//
// In TLS 1.3 the client's handshake is over before the server has judged the
// client's certificate. When the server asked for one, the probe therefore goes
// on to read until a session ticket, data or an orderly close shows that it was
// accepted, or an alert or a reset that it was not. A server that sends none of
// these within half of the time left, at most half a second, is taken to have
// accepted it.
func TLS(cfg TLSConfig) (func(ctx context.Context) error, error) {
	if err := hostPort("address", cfg.Address); err != nil {
		return nil, err
	}
	if cfg.ExpiresWithin < 0 {
		return nil, fmt.Errorf("expires_within %v: want a positive duration", cfg.ExpiresWithin)
	}
	client, err := newTLSClient(cfg.Client)
	if err != nil {
		return nil, err
	}
	p := &tlsProbe{cfg: cfg, client: client}
	return p.run, nil
}

type tlsProbe struct {
	cfg    TLSConfig
	client *tlsClient
}

func (p *tlsProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "tls", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	config, err := p.client.config(ctx)
	if err != nil {
		return fail(describe(err), "usable TLS files", err)
	}
	state, err := handshake(ctx, p.cfg.Address, config)
	if err != nil {
		return fail(describeTLS(err), "a TLS handshake with "+config.ServerName, err)
	}
	if seen, want := chainValidity(state, time.Now(), p.cfg.ExpiresWithin); seen != "" {
		return fail(seen, want, nil)
	}
	return nil
}

// handshake connects, shakes hands and waits until the server has accepted us.
// It changes config, where it fills in a missing name.
func handshake(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // checked by the constructor
	}
	verdict := watchVerdict(config)
	raw, err := systemDialer().dial(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	state := conn.ConnectionState()
	if state.Version >= tls.VersionTLS13 && verdict.asked {
		return state, verdict.wait(ctx, conn)
	}
	return state, nil
}

// chainValidity looks at the best of the chains that lead to a trusted
// authority, and without verification at what the server sent.
func chainValidity(state tls.ConnectionState, now time.Time, atLeast time.Duration) (seen, want string) {
	chains := state.VerifiedChains
	if len(chains) == 0 {
		chains = [][]*x509.Certificate{state.PeerCertificates}
	}
	for _, chain := range chains {
		if seen, want = checkValidity(chain, now, atLeast); seen == "" {
			return "", ""
		}
	}
	return seen, want
}

// verdict finds out what a TLS 1.3 server thinks of our certificate. It stands
// in for the session cache, since a server sends a ticket only after it has
// accepted the client.
type verdict struct {
	asked    bool // the server asked for a certificate
	accepted bool
	conn     *tls.Conn // set while waiting
}

func watchVerdict(config *tls.Config) *verdict {
	v := &verdict{}
	get := config.GetClientCertificate
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		v.asked = true
		if get == nil {
			return new(tls.Certificate), nil // as without the callback: none
		}
		return get(info)
	}
	config.ClientSessionCache = v
	return v
}

// Get offers no session: every handshake is a full one.
func (v *verdict) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put is called by Read when a ticket arrives, and ends that Read.
func (v *verdict) Put(string, *tls.ClientSessionState) {
	v.accepted = true
	if v.conn != nil {
		_ = v.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, where Read ends too
	}
}

func (v *verdict) wait(ctx context.Context, conn *tls.Conn) error {
	v.conn = conn
	limit := maxVerdictWait
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() }) // ends the Read below
	defer stop()
	_, err := conn.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case v.accepted:
		return nil
	case isAlert(err), isReset(err):
		return err
	}
	return nil // data, an orderly close, or nothing for too long
}

// describeTLS adds to describe which certificate was refused.
func describeTLS(err error) string {
	e, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return describe(err)
	}
	reason := e.Err.Error()
	if len(e.UnverifiedCertificates) == 0 {
		return reason
	}
	return certName(e.UnverifiedCertificates[0]) + " not valid: " + reason
}
