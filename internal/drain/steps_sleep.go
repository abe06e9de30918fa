package drain

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sleepStep waits.
type sleepStep time.Duration

// SleepStep returns a step that waits for d, or for as much of that as the plan
// leaves: to be cut short is no failure.
func SleepStep(d time.Duration) (Step, error) {
	if d <= 0 || d > maxStep {
		return nil, fmt.Errorf("sleep %s is not between 0s and %s", d, maxStep)
	}
	return sleepStep(d), nil
}

func (s sleepStep) Run(ctx context.Context) error {
	if err := pause(ctx, time.Duration(s)); err != nil && !errors.Is(context.Cause(ctx), errLimit) {
		return err
	}
	return nil
}

// pause waits for d or until ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
