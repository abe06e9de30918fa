// Package imds answers: what does Azure say about this VM, and if it says
// nothing, why?
//
// It speaks to the Azure Instance Metadata Service, the HTTP server that every
// VM reaches at 169.254.169.254. The service has rules of its own, which the
// Client keeps so that nobody else has to know them: the header Metadata: true
// on every request, never a proxy (whatever the environment says), never a
// redirect, never an X-Forwarded-For header, and at most five requests a second
// from all processes of the VM together, of which this one takes at most 72 in
// any minute (see guard).
//
// Every failure has a Class, because what an operator has to do differs: a
// request refused by policy needs a changed policy, a throttled one needs
// patience, and an empty answer is not an answer.
//
// The package starts no goroutines. A Client is safe for concurrent use. A
// process has one, which outlives any one configuration: the limit of requests
// is the Client's.
package imds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// DefaultEndpoint is where Azure serves metadata inside every VM.
	DefaultEndpoint = "http://169.254.169.254"
	// DefaultTimeout bounds a request whose context has no deadline. Answers
	// usually come within milliseconds, but answers after three seconds have
	// been seen, and giving up early was a bug in other agents.
	DefaultTimeout = 10 * time.Second

	// maxBody bounds the answers that are read. A document of a thousand
	// events is a third of it.
	maxBody = 1 << 20
	// maxErrorBody bounds what an Error keeps of an answer.
	maxErrorBody = 256
	// dialTimeout bounds the connect, which is to this VM's own host. It is
	// shorter than any request's deadline, so that a lost SYN is sent again.
	dialTimeout = 3 * time.Second
)

// Config configures a Client.
type Config struct {
	// Endpoint is the scheme and address of the service; empty means
	// DefaultEndpoint.
	Endpoint string
	// Timeout bounds a request whose context has no deadline; 0 means
	// DefaultTimeout.
	Timeout time.Duration
	// Transport replaces the HTTP transport; nil means one that uses no proxy.
	Transport http.RoundTripper
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means that nobody wants them.
	Registerer prometheus.Registerer
}

// Client makes requests to the metadata service.
type Client struct {
	endpoint atomic.Pointer[url.URL]
	timeout  time.Duration
	http     *http.Client
	guard    *guard
	log      *slog.Logger
	metrics  *metrics
}

// New returns a Client. It makes no request.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("imds timeout %s is negative", cfg.Timeout)
	}
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport()
	}
	c := &Client{
		timeout: cfg.Timeout,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		guard:   newGuard(time.Now()),
		log:     cfg.Logger,
		metrics: newMetrics(),
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	if err := c.SetEndpoint(endpoint); err != nil {
		return nil, err
	}
	if cfg.Registerer != nil {
		if err := c.metrics.register(cfg.Registerer); err != nil {
			return nil, fmt.Errorf("register imds metrics: %w", err)
		}
	}
	return c, nil
}

// newTransport is http.DefaultTransport without what the service forbids or
// does not need. Proxy stays nil: a proxy would answer for another VM, and the
// service refuses requests that came through one.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		DisableCompression:     true,
		MaxIdleConns:           4,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// SetEndpoint changes the scheme and address of the service for the requests
// that follow.
func (c *Client) SetEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("read imds endpoint: %w", err)
	}
	if u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("imds endpoint %q: want http://ADDRESS[:PORT] and nothing more", endpoint)
	}
	c.endpoint.Store(&url.URL{Scheme: u.Scheme, Host: u.Host})
	return nil
}

// Endpoint returns the scheme and address in use.
func (c *Client) Endpoint() string { return c.endpoint.Load().String() }

// An Answer is a document, and when it was given.
type Answer struct {
	Body []byte
	// Date is what the service's clock said, in whole seconds; zero when the
	// answer has no date, or none that reads.
	Date time.Time
	// Received is when the answer began to arrive.
	Received time.Time
}

// Ahead returns how far the service's clock is ahead of this VM's, negative when
// it is behind: up to a second, and what the answer took to arrive, too little. It
// reports false when the answer has no date.
func (a Answer) Ahead() (time.Duration, bool) {
	return a.Date.Sub(a.Received.Round(0)), !a.Date.IsZero() // the wall clock's
}

// Get returns the JSON document at path. Every error that is the service's
// doing is an *Error; a context that was cancelled is returned as such. Get
// makes one request and never retries: how long to wait, and for what, is the
// caller's to know.
func (c *Client) Get(ctx context.Context, path, apiVersion string) (Answer, error) {
	return c.do(ctx, http.MethodGet, path, url.Values{"api-version": {apiVersion}}, nil)
}

// Post sends a JSON body to path and returns what comes back, which may be
// empty. It makes one request and never retries.
func (c *Client) Post(ctx context.Context, path, apiVersion string, body []byte) ([]byte, error) {
	answer, err := c.do(ctx, http.MethodPost, path, url.Values{"api-version": {apiVersion}}, body)
	return answer.Body, err
}

// do makes one request, as soon as the guard lets it.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) (Answer, error) {
	op := operationOf(method, path)
	if err := c.guard.admit(ctx, op); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = &Error{Class: ClassTimeout, Err: fmt.Errorf("hold back the request to stay under the rate limit: %w", err)}
			c.metrics.observe(op, err, 0)
		}
		return Answer{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	start := time.Now()
	answer, err := c.send(ctx, method, path, query, body)
	if err == nil && method == http.MethodGet {
		err = validate(answer.Body)
	}
	elapsed := time.Since(start)
	if errors.Is(err, context.Canceled) {
		return Answer{}, err // our own doing: it says nothing about the service
	}
	c.metrics.observe(op, err, elapsed)
	c.log.Debug("imds request", "operation", string(op), "result", string(Classify(err)), "elapsed", elapsed)
	if err != nil {
		return Answer{}, err
	}
	return answer, nil
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte) (Answer, error) {
	u := *c.endpoint.Load()
	u.Path, u.RawQuery = path, query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Metadata", "true")
	req.Header.Set("User-Agent", "fleet-agent")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, transportError(err)
	}
	defer resp.Body.Close()
	got := Answer{Received: time.Now()}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		got.Date = date
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if resp.StatusCode != http.StatusOK {
		return got, statusError(resp, answer) // the status says more than a body cut short
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return got, &Error{Class: ClassInvalid, Status: resp.StatusCode, Err: errors.New("the connection ended in the middle of the answer")}
	case err != nil:
		return got, transportError(err)
	case len(answer) > maxBody:
		return got, &Error{Class: ClassInvalid, Status: resp.StatusCode, Err: fmt.Errorf("the answer is longer than %d bytes", maxBody)}
	}
	got.Body = answer
	return got, nil
}

// validate refuses a 200 that carries no document. The service has been seen to
// answer so while one of its own sources fails.
func validate(answer []byte) error {
	if len(bytes.TrimSpace(answer)) == 0 {
		return &Error{Class: ClassEmpty, Status: http.StatusOK}
	}
	if !json.Valid(answer) {
		return &Error{Class: ClassInvalid, Status: http.StatusOK, Body: snippet(answer), Err: errors.New("the answer is not JSON, or only a part of it")}
	}
	return nil
}
