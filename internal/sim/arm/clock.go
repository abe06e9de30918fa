package arm

import (
	"sync"
	"time"
)

// A Clock tells simulated time, which passes a number of times as fast as real time,
// or stands still.
type Clock struct {
	real func() time.Time

	mu     sync.Mutex // guards what follows
	at     time.Time  // simulated time at the real instant since
	since  time.Time
	factor float64
}

// NewClock returns a clock that shows start now and runs factor times as fast as
// real time. At factor 0 it stands still until it is told to Advance.
func NewClock(start time.Time, factor float64) *Clock {
	return newClock(start, factor, time.Now)
}

func newClock(start time.Time, factor float64, now func() time.Time) *Clock {
	return &Clock{real: now, at: start.UTC().Round(0), since: now(), factor: factor}
}

// Now is the simulated time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	return c.at.Add(time.Duration(float64(c.real().Sub(c.since)) * c.factor))
}

// Factor is how many times as fast as real time the clock runs.
func (c *Clock) Factor() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.factor
}

// SetFactor changes how fast the clock runs from now on.
func (c *Clock) SetFactor(factor float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.since, c.factor = c.now(), c.real(), factor
}

// Advance moves the clock forward. It never goes back: a negative d does nothing.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(max(d, 0))
}

// set makes the clock show at, of a simulation that is taken up again.
func (c *Clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.since = at.UTC(), c.real()
}

// wait is how long a simulated span takes in real time. A clock that stands still
// has no answer, so that the span itself has to do.
func (c *Clock) wait(d time.Duration) time.Duration {
	if f := c.Factor(); f > 0 {
		return time.Duration(float64(d) / f)
	}
	return d
}
