package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	webhookAttempt = 5 * time.Second // the longest that one attempt takes
	webhookWaitMin = 200 * time.Millisecond
	webhookWaitMax = time.Second // a Preempt leaves no time to wait longer
	webhookRetries = 1000        // the step's time is the bound
)

// A WebhookConfig configures a Webhook or a WebhookStep.
type WebhookConfig struct {
	// URL is http or https. It may hold secrets, as may Headers: neither is in
	// errors, but for the URL's scheme and host.
	URL     string
	Headers map[string]string
	// Node, if set, names this node; it may not be known when the step is made.
	Node func() string
	// Transport carries the requests; nil: one without a proxy.
	Transport http.RoundTripper
}

// A Webhook posts JSON to one URL. It is safe for concurrent use.
type Webhook struct {
	url     string
	place   string // scheme and host: what may be shown
	headers map[string]string
	client  *http.Client
}

type webhookStep struct {
	hook *Webhook
	node func() string
}

// WebhookMessage is the body that a WebhookStep posts.
type WebhookMessage struct {
	Version   int        `json:"version"` // 1
	Node      string     `json:"node"`
	DrainID   string     `json:"drain_id"`
	Cause     CauseKind  `json:"cause"`
	EventID   string     `json:"event_id,omitempty"`
	EventType string     `json:"event_type,omitempty"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty"`
}

// WebhookStep returns a step that posts the cause to a Webhook.
func WebhookStep(cfg WebhookConfig) (Step, error) {
	hook, err := NewWebhook(cfg)
	if err != nil {
		return nil, err
	}
	return webhookStep{hook: hook, node: cfg.Node}, nil
}

// NewWebhook returns a Webhook; it refuses a URL that is not http or https.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("the webhook's URL is not that of a host by http or https")
	}
	transport := cfg.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone() // net/http documents the type
		t.Proxy = nil                                        // as for IMDS: the environment's proxy is not the agent's
		t.DisableKeepAlives = true                           // one request a drain
		transport = t
	}
	client := &http.Client{
		Transport: transport,
		Timeout:   webhookAttempt,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	return &Webhook{
		url: cfg.URL, place: u.Scheme + "://" + u.Host,
		headers: maps.Clone(cfg.Headers), client: client,
	}, nil
}

func (s webhookStep) Run(ctx context.Context) error {
	b := BriefFrom(ctx)
	m := WebhookMessage{
		Version: 1, DrainID: b.DrainID, Cause: b.Cause.Kind, EventID: b.Cause.EventID, EventType: b.Cause.EventType,
		NotBefore: pointer(b.NotBefore), Deadline: pointer(b.Deadline),
	}
	if s.node != nil {
		m.Node = s.node()
	}
	return s.hook.Post(ctx, m)
}

// Post posts a message as JSON and waits for an answer of 2xx. Until ctx is done
// it tries again after errors of the connection and answers of 429 and 5xx.
// Redirects are not followed. Errors name scheme and host only.
func (s *Webhook) Post(ctx context.Context, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode the webhook's body: %w", err)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post to %s: %w", s.place, withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "fleet-agent")
	for k, v := range s.headers {
		req.Header.Set(k, v)
	}
	var last error // what the newest attempt came to
	client := retryablehttp.NewClient()
	client.HTTPClient = s.client
	client.Logger = nil // it would log the URL
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = webhookRetries, webhookWaitMin, webhookWaitMax
	client.Backoff = func(low, high time.Duration, attempt int, _ *http.Response) time.Duration {
		return retryablehttp.DefaultBackoff(low, high, attempt, nil) // whatever Retry-After says
	}
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler // its own error holds the URL
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if ctx.Err() == nil { // or the attempt says no more than that time is up
			last = err
			if resp != nil {
				last = fmt.Errorf("the answer was %s", resp.Status)
			}
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		if last != nil && ctx.Err() != nil {
			err = last
		}
		return fmt.Errorf("post to %s: %w", s.place, withoutURL(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // what it says does not matter
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post to %s: the answer was %s", s.place, resp.Status)
	}
	return nil
}

// withoutURL returns what went wrong without the URL that it went wrong for.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
