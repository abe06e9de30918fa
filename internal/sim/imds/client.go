package imds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// A ControlClient speaks to the control API of a simulation in another
// process.
type ControlClient struct {
	base string
	http *http.Client
}

// NewControlClient returns a client for a control API at a URL such as
// http://127.0.0.1:9100. A bare host:port will do.
func NewControlClient(base string) *ControlClient {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return &ControlClient{
		base: strings.TrimRight(base, "/"),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}, // no proxy
	}
}

// Publish publishes an event.
func (c *ControlClient) Publish(ctx context.Context, spec EventSpec) (Event, error) {
	var e Event
	return e, c.call(ctx, http.MethodPost, "/v1/events", newEventRequest(spec), &e)
}

// Start moves a scheduled event to Started.
func (c *ControlClient) Start(ctx context.Context, id string) (Event, error) {
	return c.move(ctx, id, "start")
}

// Complete makes an event vanish.
func (c *ControlClient) Complete(ctx context.Context, id string) (Event, error) {
	return c.move(ctx, id, "complete")
}

// Cancel makes a scheduled event vanish before it started.
func (c *ControlClient) Cancel(ctx context.Context, id string) (Event, error) {
	return c.move(ctx, id, "cancel")
}

func (c *ControlClient) move(ctx context.Context, id, verb string) (Event, error) {
	var e Event
	return e, c.call(ctx, http.MethodPost, "/v1/events/"+url.PathEscape(id)+"/"+verb, nil, &e)
}

// Events returns all events.
func (c *ControlClient) Events(ctx context.Context) ([]Event, error) {
	var r eventsReply
	return r.Events, c.call(ctx, http.MethodGet, "/v1/events", nil, &r)
}

// SetFault makes the service misbehave.
func (c *ControlClient) SetFault(ctx context.Context, f Fault) error {
	return c.call(ctx, http.MethodPut, "/v1/fault", newFaultRequest(f), nil)
}

// Faults returns the faults in force.
func (c *ControlClient) Faults(ctx context.Context) ([]Fault, error) {
	var r faultsReply
	if err := c.call(ctx, http.MethodGet, "/v1/fault", nil, &r); err != nil {
		return nil, err
	}
	faults := make([]Fault, len(r.Faults))
	for i, f := range r.Faults {
		faults[i] = f.fault()
	}
	return faults, nil
}

// ClearFaults ends all faults.
func (c *ControlClient) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/fault", nil, nil)
}

// Acks returns the acks that came.
func (c *ControlClient) Acks(ctx context.Context) ([]Ack, error) {
	var r acksReply
	return r.Acks, c.call(ctx, http.MethodGet, "/v1/acks", nil, &r)
}

// Counts returns how many requests have ended how.
func (c *ControlClient) Counts(ctx context.Context) ([]Count, error) {
	var r requestsReply
	return r.Counts, c.call(ctx, http.MethodGet, "/v1/requests", nil, &r)
}

func (c *ControlClient) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("address the control API: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reach the control API: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("read the control API's answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		var e steer.ErrorReply
		if json.Unmarshal(data, &e) != nil || e.Error == "" {
			return fmt.Errorf("%s %s: the control API answered %s", method, path, resp.Status)
		}
		return fmt.Errorf("the control API refused: %s", e.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the control API's answer: %w", err)
	}
	return nil
}
