package drain

import "context"

// stepFunc is a step made of functions; nil ones do nothing.
type stepFunc struct {
	run, undo func(ctx context.Context) error
}

func (s stepFunc) Run(ctx context.Context) error {
	if s.run == nil {
		return nil
	}
	return s.run(ctx)
}

func (s stepFunc) Undo(ctx context.Context) error {
	if s.undo == nil {
		return nil
	}
	return s.undo(ctx)
}
