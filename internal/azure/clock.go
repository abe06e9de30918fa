package azure

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	// clockHeader is where fleetsim tells its time: "2026-11-02T09:00:00Z 60".
	clockHeader = "X-Fleetsim-Clock"
	// mostFactor bounds how many times as fast as real time a simulator's time passes.
	mostFactor = 1000
	// lookWithin bounds the question what time it is in a simulation, and lookEvery is
	// how often it is asked while somebody waits: the clock may be set.
	lookWithin = 5 * time.Second
	lookEvery  = time.Second
	// skewed is by how much this machine's clock has to differ from Azure's to be taken
	// for wrong: an answer takes its time, and its date has no fractions of a second.
	skewed = 30 * time.Second
)

// A clock is the time that Azure goes by. That is this machine's, as far as it is right:
// what Azure says was Healthy at a time is compared with it, and a clock that is ahead
// would take no health for new. A simulator says in its answers that it has a time of its
// own, which never goes back.
type clock struct {
	first sync.Once // somebody asked for the time before anything was answered

	mu     sync.Mutex    // guards what follows
	skew   time.Duration // what Azure's time is ahead of this machine's; 0: next to nothing
	known  bool          // a simulator has told its time
	at     time.Time     // simulated time at the real instant since
	since  time.Time
	factor float64
	last   time.Time // of at, that was told by now
}

// Do takes the time from the answer.
func (c *clock) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err == nil {
		c.take(resp.Header)
	}
	return resp, err
}

// take takes the time from the header of an answer. One that is not understood is none.
func (c *clock) take(h http.Header) {
	told, speed, _ := strings.Cut(h.Get(clockHeader), " ")
	at, err := time.Parse(time.RFC3339Nano, told)
	factor, bad := strconv.ParseFloat(speed, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || bad != nil || !(factor >= 0 && factor <= mostFactor) {
		date, err := http.ParseTime(h.Get("Date"))
		if skew := time.Until(date); err == nil && (skew-c.skew).Abs() >= skewed {
			c.skew = skew
		}
		return
	}
	c.known, c.at, c.since, c.factor = true, at.UTC(), time.Now(), factor
}

func (c *clock) now() (now time.Time, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return time.Now().Add(c.skew), false
	}
	if now = c.at.Add(time.Duration(float64(time.Since(c.since)) * c.factor)); now.After(c.last) {
		c.last = now
	}
	return c.last, true
}

// real is how long a span of this time takes. While the clock stands still there is no
// answer, and the span itself has to do.
func (c *clock) real(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || c.factor == 0 {
		return d
	}
	return time.Duration(float64(d) / c.factor)
}

// stands says whether the clock stands still.
func (c *clock) stands() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known && c.factor == 0
}

// Now is the time that Azure goes by: this machine's, put right by the dates of answers
// where it is wrong by half a minute, or that of a simulator, which may run faster.
func (c *Client) Now() time.Time {
	now, known := c.clock.now()
	if known || !c.simulator {
		return now
	}
	c.clock.first.Do(func() { c.lookAtClock(context.Background()) }) // one that does not say goes by real time
	now, _ = c.clock.now()
	return now
}

// Wait waits for a span of the time that Azure goes by. The error is that of ctx.
func (c *Client) Wait(ctx context.Context, d time.Duration) error {
	began, until := time.Now(), c.Now().Add(d)
	for ctx.Err() == nil {
		left := c.clock.real(until.Sub(c.Now()))
		if !c.simulator || c.clock.stands() {
			left = d - time.Since(began)
		}
		if left <= 0 {
			return nil
		}
		if c.simulator {
			left = min(left, lookEvery)
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
		}
		if c.simulator && left == lookEvery {
			c.lookAtClock(ctx)
		}
	}
	return ctx.Err()
}

// lookAtClock asks a simulator for its time.
func (c *Client) lookAtClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint+"/metadata/endpoints?api-version=2022-09-01", http.NoBody)
	if err != nil {
		return
	}
	resp, err := c.options.Transport.Do(req)
	if err != nil {
		return // what is known has to do
	}
	_, _ = io.Copy(io.Discard, resp.Body) // the transport bounds it
	_ = resp.Body.Close()
	c.clock.take(resp.Header)
}
