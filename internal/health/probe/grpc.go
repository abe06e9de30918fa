package probe

import (
	"context"
	"errors"
	"net/http"
	"strconv"
)

// GRPCConfig describes a server that speaks grpc.health.v1.
type GRPCConfig struct {
	Address string     // host:port
	Service string     // empty: the server as a whole
	TLS     *TLSClient // nil: plaintext
}

// Target is where the probe looks, as its errors name it.
func (c GRPCConfig) Target() string {
	if c.Service == "" {
		return c.Address
	}
	return c.Address + " service " + c.Service
}

// GRPC passes when the server reports the service as SERVING
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
func GRPC(cfg GRPCConfig) (func(ctx context.Context) error, error) {
	if err := hostPort("address", cfg.Address); err != nil {
		return nil, err
	}
	p := &grpcProbe{cfg: cfg}
	if cfg.TLS != nil {
		client, err := newTLSClient(*cfg.TLS)
		if err != nil {
			return nil, err
		}
		p.tls = client
	}
	return p.run, nil
}

type grpcProbe struct {
	cfg GRPCConfig
	tls *tlsClient // nil: plaintext
}

const serving = 1 // HealthCheckResponse.SERVING

func (p *grpcProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "grpc", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	// As for HTTP, a transport lives for one request.
	transport := &http.Transport{
		DialContext: systemDialer().dial, Protocols: new(http.Protocols),
		MaxResponseHeaderBytes: maxHeader, DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	url := "http://" + p.cfg.Address
	transport.Protocols.SetUnencryptedHTTP2(true)
	if p.tls != nil {
		config, err := p.tls.config(ctx)
		if err != nil {
			return fail(describe(err), "usable TLS files", err)
		}
		url = "https://" + p.cfg.Address
		transport.TLSClientConfig = config
		transport.Protocols.SetUnencryptedHTTP2(false)
		transport.Protocols.SetHTTP2(true)
	}
	status, err := checkHealth(ctx, transport, url, p.cfg.Service)
	if err != nil {
		return fail(p.describe(ctx, err), "SERVING", err)
	}
	if status != serving {
		return fail("status "+servingStatus(status), "SERVING", nil)
	}
	return nil
}

func (p *grpcProbe) describe(ctx context.Context, err error) string {
	if e, ok := errors.AsType[*grpcError](err); ok { // the server's own words
		return "error " + e.Error()
	}
	if p.tls != nil && ctx.Err() == nil {
		// HTTP/2 does not pass on the alert of a server that refused our
		// certificate. A handshake on its own does.
		if config, configErr := p.tls.config(ctx); configErr == nil {
			config.NextProtos = []string{"h2"}
			if _, tlsErr := handshake(ctx, p.cfg.Address, config); tlsErr != nil {
				err = tlsErr
			}
		}
	}
	return "no answer: " + describeTLS(err)
}

func servingStatus(n uint64) string {
	names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if n >= uint64(len(names)) {
		return strconv.FormatUint(n, 10)
	}
	return names[n]
}
