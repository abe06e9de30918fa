package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A service is one part of the daemon that runs until its context ends.
type service struct {
	name string
	run  func(context.Context) error
}

// serve starts the services in order and runs them until ctx is done or one of
// them returns, which is an error unless ctx is done. Then it stops them in
// reverse order, waiting for each before it stops the next, so that the probe
// listener, being first, answers until everything else has ended. It joins the
// errors of all of them.
func serve(ctx context.Context, services ...service) error {
	type running struct {
		service
		stop context.CancelCauseFunc
		err  chan error
	}
	var (
		started []running
		ended   = make(chan struct{}, len(services))
	)
	for _, s := range services {
		// Not derived from ctx's cancellation: the order of stopping is ours.
		sctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		r := running{service: s, stop: stop, err: make(chan error, 1)}
		go func() {
			err := s.run(sctx)
			if err == nil && sctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if errors.Is(err, context.Canceled) && sctx.Err() != nil {
				err = nil
			}
			r.err <- err
			ended <- struct{}{}
		}()
		started = append(started, r)
	}

	select {
	case <-ctx.Done():
	case <-ended:
	}

	var errs []error
	for _, r := range slices.Backward(started) {
		r.stop(context.Canceled)
		if err := <-r.err; err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", r.name, err))
		}
	}
	return errors.Join(errs...)
}
