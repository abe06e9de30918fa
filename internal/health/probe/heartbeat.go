package probe

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// HeartbeatConfig describes how often an application has to report.
type HeartbeatConfig struct {
	TTL time.Duration // a report counts for this long
}

// Target is where the probe looks, as its errors name it.
func (HeartbeatConfig) Target() string { return "application" }

// Heartbeat judges by what an application reports about itself. Until the
// first report the probe fails with "no report yet": silence is never healthy.
// Its methods are safe for concurrent use.
type Heartbeat struct {
	cfg  HeartbeatConfig
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	last   heartbeatReport
	forgot time.Time // when Forget began to count; zero: never
}

type heartbeatReport struct {
	at      time.Time // zero: none yet
	passed  bool
	message string
}

// NewHeartbeat makes a Heartbeat that has had no report.
func NewHeartbeat(cfg HeartbeatConfig) (*Heartbeat, error) {
	if cfg.TTL <= 0 {
		return nil, fmt.Errorf("ttl %v: want a positive duration", cfg.TTL)
	}
	return &Heartbeat{cfg: cfg, wake: make(chan struct{}, 1)}, nil
}

// Report takes the application's word; of the message, at most 120 bytes are kept.
func (h *Heartbeat) Report(passed bool, message string) {
	h.mu.Lock()
	h.last = heartbeatReport{at: time.Now(), passed: passed, message: clean(message, maxQuote)}
	h.mu.Unlock()
	signal(h.wake)
}

// Forget drops the reports from before since, a time that is not in the future.
// Until the next one, or until the TTL has passed since then, the probe cannot
// tell: its error is Undecided.
func (h *Heartbeat) Forget(since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.at.After(since) {
		h.last = heartbeatReport{}
	}
	h.forgot = since
}

// Wake is received from when a report has come since the last receive.
func (h *Heartbeat) Wake() <-chan struct{} { return h.wake }

// Probe passes while the last report says so and is not older than the TTL.
func (h *Heartbeat) Probe(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "heartbeat", Target: h.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	within := "a report at least every " + h.cfg.TTL.String()
	if err := ctx.Err(); err != nil {
		return fail(describe(err), within, err)
	}
	h.mu.Lock()
	last, forgot := h.last, h.forgot
	h.mu.Unlock()
	age := time.Since(last.at)
	switch {
	case last.at.IsZero() && time.Since(forgot) < h.cfg.TTL:
		return &Error{Kind: "heartbeat", Target: h.cfg.Target(), Seen: "no report since the node was out of service", Want: within, undecided: true}
	case last.at.IsZero():
		return fail("no report yet", within, nil)
	case age > h.cfg.TTL:
		return fail("last report "+age.Truncate(time.Millisecond).String()+" ago", within, nil)
	case !last.passed && last.message == "":
		return fail("it reported a failure", "a report that passes", nil)
	case !last.passed:
		return fail("it reported a failure: "+quote(last.message), "a report that passes", nil)
	}
	return nil
}

// signal leaves a wake-up in a channel of one, where it may be already.
func signal(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
