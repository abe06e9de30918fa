package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	// requestTimeout bounds a request that the agent answers from memory or
	// after one write to its journal. An agent that takes longer hangs.
	requestTimeout = 10 * time.Second
	// runTimeout bounds a request that waits for a probe, whose own timeout
	// the client doesn't know.
	runTimeout = 5 * time.Minute
	// maxAnswer bounds an answer: 500 checks, each with an error of a few
	// KiB and its history, fit.
	maxAnswer = 8 << 20
)

// Client speaks to the daemon over its control socket. Every call opens a
// connection of its own, so that a client outlives any number of restarts of
// the daemon. Its methods may be called concurrently. Their errors are
//
//   - *UnreachableError when nobody answered at the socket,
//   - *Error when the agent answered and refused,
//   - the context's own error when the caller gave up,
//   - anything else when the answer made no sense.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the socket at the given path. It does not
// connect.
func NewClient(socket string) *Client {
	var dialer net.Dialer
	return &Client{
		socket: socket,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, "unix", socket)
				},
				DisableKeepAlives:  true,
				DisableCompression: true,
			},
			// The agent never redirects.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Socket returns the path of the socket.
func (c *Client) Socket() string { return c.socket }

// Status returns what the node is doing.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, request{http.MethodGet, "/v1/status", nil, requestTimeout})
}

// Events returns what is scheduled and what was done about past events.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	return call[Events](ctx, c, request{http.MethodGet, "/v1/events", nil, requestTimeout})
}

// Explain returns why a check has the status that it has.
func (c *Client) Explain(ctx context.Context, check string) (*Explanation, error) {
	return call[Explanation](ctx, c, request{http.MethodGet, checkPath(check), nil, requestTimeout})
}

// RunCheck runs a check's probe once, now, and waits for its outcome. The
// outcome changes nothing: it does not count towards the check's status.
func (c *Client) RunCheck(ctx context.Context, check string) (*CheckResult, error) {
	return call[CheckResult](ctx, c, request{http.MethodPost, checkPath(check) + "/run", struct{}{}, runTimeout})
}

// Report reports for a check of kind heartbeat.
func (c *Client) Report(ctx context.Context, check string, body HeartbeatRequest) (*Accepted, error) {
	return call[Accepted](ctx, c, request{http.MethodPost, checkPath(check) + "/report", body, requestTimeout})
}

// Drain begins a drain, or joins the one under way, and returns without
// waiting for its end.
func (c *Client) Drain(ctx context.Context, body DrainRequest) (*Accepted, error) {
	return call[Accepted](ctx, c, request{http.MethodPost, "/v1/drain", body, requestTimeout})
}

// Undrain begins the return to service.
func (c *Client) Undrain(ctx context.Context, body UndrainRequest) (*Accepted, error) {
	return call[Accepted](ctx, c, request{http.MethodPost, "/v1/undrain", body, requestTimeout})
}

// Maintenance begins or ends maintenance.
func (c *Client) Maintenance(ctx context.Context, body MaintenanceRequest) (*Accepted, error) {
	return call[Accepted](ctx, c, request{http.MethodPost, "/v1/maintenance", body, requestTimeout})
}

func checkPath(name string) string { return "/v1/checks/" + url.PathEscape(name) }

type request struct {
	method, path string
	body         any // nil: none
	timeout      time.Duration
}

// call sends the request and decodes its answer. Keys that this version does
// not know are ignored: the daemon may be newer.
func call[T any](ctx context.Context, c *Client, r request) (*T, error) {
	data, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	var document struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("decode the agent's answer to %s %s: %w", r.method, r.path, err)
	}
	// A CheckResult has no version of its own.
	if document.Version != Version && document.Version != 0 {
		return nil, fmt.Errorf("the agent speaks version %d of the control protocol, this command version %d", document.Version, Version)
	}
	answer := new(T)
	if err := json.Unmarshal(data, answer); err != nil {
		return nil, fmt.Errorf("decode the agent's answer to %s %s: %w", r.method, r.path, err)
	}
	return answer, nil
}

func (c *Client) do(ctx context.Context, r request) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()

	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(bounded, r.method, "http://fleet-agent"+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, r, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(ctx, r, err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the agent's answer to %s %s is larger than %d MiB", r.method, r.path, maxAnswer>>20)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusal(resp, data)
	}
	return data, nil
}

// unreachable gives a transport's error its meaning. ctx is the caller's.
func (c *Client) unreachable(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The URL that net/http puts around an error is made up.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	reason := err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		reason = "no such file"
	case errors.Is(err, fs.ErrPermission):
		reason = "permission denied"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused"
	case errors.Is(err, context.DeadlineExceeded):
		reason = fmt.Sprintf("no answer within %s", r.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		reason = "the agent closed the connection without an answer"
	}
	return &UnreachableError{Socket: c.socket, Reason: reason, Err: err}
}

// refusal decodes the Error that goes with a status other than 2xx.
func refusal(resp *http.Response, data []byte) error {
	answer := &Error{Status: resp.StatusCode}
	if err := json.Unmarshal(data, answer); err != nil || answer.Message == "" {
		return &Error{
			Status:  resp.StatusCode,
			Code:    "internal",
			Message: fmt.Sprintf("the agent answered %s without saying why", resp.Status),
		}
	}
	return answer
}

// UnreachableError says that nobody answered at the control socket: the agent
// does not run, hangs, or lets the caller not in.
type UnreachableError struct {
	Socket string
	Reason string // in a few words, such as "connection refused"
	// Err is the cause; errors.Is tells fs.ErrNotExist, fs.ErrPermission,
	// syscall.ECONNREFUSED and context.DeadlineExceeded apart.
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("reach the agent at %s: %s", e.Socket, e.Reason)
}

func (e *UnreachableError) Unwrap() error { return e.Err }
