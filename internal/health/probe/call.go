package probe

import (
	"context"
	"sync"
	"time"
)

// A call runs a system call that no context can interrupt, such as statfs on a
// network file system whose server is gone, or a write to a frozen one. It gives
// up waiting with the context but starts nothing new until the call has returned:
// however long that takes, one goroutine and one thread wait for it, and whoever
// asks meanwhile is told so at once.
type call struct {
	place chan struct{} // one: who has it may call

	mu  sync.Mutex // guards out and what it points to
	out *outCall
}

// outCall is a call that has not returned.
type outCall struct {
	begun     time.Time
	abandoned bool // its context ended before
}

func newCall() *call { return &call{place: make(chan struct{}, 1)} }

// A hangError says that an earlier call has not returned.
type hangError struct{ since time.Time }

// Error gives the same text for as long as it lasts.
func (e *hangError) Error() string {
	return "hangs since " + e.since.UTC().Format(time.RFC3339)
}

// within runs f on a goroutine of its own and waits for it or for the context.
func within[T any](ctx context.Context, c *call, f func() (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if err := c.hangs(); err != nil {
		return zero, err
	}
	select {
	case c.place <- struct{}{}:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	out := c.begin()
	go func() {
		value, err := f()
		c.end()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		c.abandon(out)
		return zero, ctx.Err()
	}
}

func (c *call) begin() *outCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = &outCall{begun: time.Now()}
	return c.out
}

func (c *call) end() {
	c.mu.Lock()
	c.out = nil
	c.mu.Unlock()
	<-c.place
}

func (c *call) abandon(out *outCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out.abandoned = true // which nobody sees if it has just ended
}

func (c *call) hangs() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil && c.out.abandoned {
		return &hangError{c.out.begun}
	}
	return nil
}
