package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits on what an HTTP server can make us hold, in bytes.
const (
	maxBody   = 64 << 10
	maxHeader = 64 << 10
)

// HTTPConfig describes a request and the answer that passes.
type HTTPConfig struct {
	URL    string // http or https
	Method string // default GET

	// ExpectStatus lists the codes that pass; default 200 to 299. Redirects are
	// not followed: a 3xx passes only when it is listed.
	ExpectStatus []StatusRange

	// ExpectBody is a regular expression (RE2) that has to match somewhere in
	// the first 64 KiB of the body; empty: the body is not read. The server is
	// asked for a body without encoding, unless Headers say otherwise.
	ExpectBody string

	Headers    map[string]string // Host sets the request's host
	UnixSocket string            // absolute path to connect to in place of the URL's host
	TLS        TLSClient         // for https
}

// Target is where the probe looks, as its errors name it: the URL without its
// user, query and fragment, which may hold secrets.
func (c HTTPConfig) Target() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "an invalid url"
	}
	if c.UnixSocket != "" {
		return redact(u) + " over " + c.UnixSocket
	}
	return redact(u)
}

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ From, To int }

// String writes a range as in the configuration: 200, 2xx, 200-399.
func (r StatusRange) String() string {
	switch {
	case r.From == r.To:
		return strconv.Itoa(r.From)
	case r.From%100 == 0 && r.To == r.From+99:
		return strconv.Itoa(r.From/100) + "xx"
	default:
		return fmt.Sprintf("%d-%d", r.From, r.To)
	}
}

// HTTP passes when a request over a new connection gets the expected answer.
func HTTP(cfg HTTPConfig) (func(ctx context.Context) error, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		// The error of url.Parse repeats the URL, secrets included.
		return nil, errors.New("url: want a valid URL, such as http://127.0.0.1:8080/health")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("url %s: want http://host/path or https://host/path", redact(u))
	case cfg.UnixSocket != "" && !filepath.IsAbs(cfg.UnixSocket):
		return nil, fmt.Errorf("unix_socket %q: want an absolute path", cfg.UnixSocket)
	case u.Scheme == "http" && cfg.TLS != (TLSClient{}):
		return nil, fmt.Errorf("url %s: tls is set, want an https URL", redact(u))
	}
	tlsClient, err := newTLSClient(cfg.TLS)
	if err != nil {
		return nil, err
	}
	if len(cfg.ExpectStatus) == 0 {
		cfg.ExpectStatus = []StatusRange{{200, 299}}
	}
	var statuses []string
	for _, r := range cfg.ExpectStatus {
		if r.From < 100 || r.To > 599 || r.From > r.To {
			return nil, fmt.Errorf("expect_status %s: want codes from 100 to 599", r)
		}
		statuses = append(statuses, r.String())
	}
	cfg.Method = strings.ToUpper(cfg.Method)
	body, err := regexp.Compile(cfg.ExpectBody)
	if err != nil {
		return nil, fmt.Errorf("expect_body: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		if !validHeader(name, cfg.Headers[name]) {
			return nil, fmt.Errorf("headers %q: want a header name, and a value without line breaks", name)
		}
	}
	// Building a request is the check of the method.
	if _, err := http.NewRequest(cfg.Method, u.String(), http.NoBody); err != nil { //nolint:noctx // never sent
		return nil, fmt.Errorf("method %q: want an HTTP method such as GET or HEAD", cfg.Method)
	}
	p := &httpProbe{
		cfg: cfg, url: u.String(), tls: tlsClient, body: body,
		wantStatus: "status " + strings.Join(statuses, " or "),
	}
	return p.run, nil
}

type httpProbe struct {
	cfg  HTTPConfig
	url  string
	tls  *tlsClient
	body *regexp.Regexp

	wantStatus string
}

func (p *httpProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "http", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	tlsConfig, err := p.tls.config(ctx)
	if err != nil {
		return fail(describe(err), "usable TLS files", err)
	}
	req, err := http.NewRequestWithContext(ctx, p.cfg.Method, p.url, http.NoBody)
	if err != nil {
		return fail("no request: "+describe(err), p.wantStatus, err)
	}
	req.Header.Set("User-Agent", "fleet-agent")
	req.Header.Set("Accept-Encoding", "identity") // the expression is for the text
	for name, value := range p.cfg.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
		req.Header.Set(name, value)
	}

	// A transport lives for one request: the probe asks whether a new client
	// can connect, and the certificates may have changed. It speaks HTTP/1.1
	// only, since over HTTP/2 it would not tell why a server refused our
	// certificate.
	transport := &http.Transport{
		DialContext:            systemDialer().dial,
		TLSClientConfig:        tlsConfig,
		DisableKeepAlives:      true,
		DisableCompression:     true, // the limit on the body is then one on what we hold
		MaxResponseHeaderBytes: maxHeader,
	}
	if p.cfg.UnixSocket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.cfg.UnixSocket)
		}
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail("no answer: "+describeTLS(err), p.wantStatus, err)
	}
	defer resp.Body.Close()
	if !slices.ContainsFunc(p.cfg.ExpectStatus, func(r StatusRange) bool {
		return r.From <= resp.StatusCode && resp.StatusCode <= r.To
	}) {
		seen := fmt.Sprintf("status %d", resp.StatusCode)
		if resp.Header.Get("Location") != "" {
			seen += " (a redirect, not followed)"
		}
		return fail(seen, p.wantStatus, nil)
	}
	if p.cfg.ExpectBody == "" {
		return nil
	}
	want := "a body that matches " + quote(p.cfg.ExpectBody)
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fail(fmt.Sprintf("body broken off after %d bytes: %s", len(data), describe(err)), want, err)
	}
	cut := len(data) > maxBody
	if cut {
		data = data[:maxBody]
	}
	if p.body.Match(data) {
		return nil
	}
	seen := "body " + quote(string(data))
	if encoding := strings.Join(resp.Header.Values("Content-Encoding"), ", "); encoding != "" && !strings.EqualFold(encoding, "identity") {
		seen = "body encoded as " + quote(encoding) + ", which a check does not undo"
	}
	if cut {
		seen += " (only its first 64 KiB were looked at)"
	}
	return fail(seen, want, nil)
}

// redact writes a URL without its user, query and fragment, which may hold secrets.
func redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// validHeader keeps out what net/http would refuse in every run.
func validHeader(name, value string) bool {
	token := func(r rune) bool { return isAlphanumeric(r) || strings.ContainsRune("!#$%&'*+-.^_`|~", r) }
	return name != "" &&
		!strings.ContainsFunc(name, func(r rune) bool { return !token(r) }) &&
		!strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
