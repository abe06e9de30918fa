package testkit

import (
	"context"
	"sync"
)

// Expiring returns a context whose time is over when expire is called. It is for what
// has to be under way by then, however slow the machine is.
func Expiring(parent context.Context) (ctx context.Context, expire func()) {
	e := &expiring{Context: parent, over: make(chan struct{})}
	return e, sync.OnceFunc(func() { close(e.over) })
}

type expiring struct {
	context.Context //nolint:containedctx // it is one

	over chan struct{}
}

func (e *expiring) Done() <-chan struct{} { return e.over }

func (e *expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
