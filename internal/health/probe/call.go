package probe

import "context"

// A call runs a system call that no context can interrupt, such as statfs on a
// network file system whose server is gone. It gives up waiting with the
// context but starts nothing new until the call has returned: however long the
// server is gone, one goroutine and one thread wait for it.
type call chan struct{}

func newCall() call { return make(call, 1) }

// within runs f on a goroutine of its own and waits for it or for the context.
func within[T any](ctx context.Context, c call, f func() (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	select {
	case c <- struct{}{}:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-c }()
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}
