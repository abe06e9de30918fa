package drain

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	// startedWithin bounds how long an undrain waits for the units that it
	// started. It is longer than the 90 s after which systemd, by its default,
	// calls a start failed.
	startedWithin = 2 * time.Minute
	// firstLook is the time between the first two looks at these units; it
	// doubles up to unitEvery.
	firstLook = 25 * time.Millisecond
)

// A starter is a step whose Undo starts units.
type starter interface {
	// starts names them, and who knows their states. A target's members are
	// among them that the target does not start: those are not on their way.
	starts(ctx context.Context) (Units, []string, error)
}

// awaitStarted waits until every unit that the undo of the steps starts has no job
// left and is up, or is not going to be. The job of a target does not wait for
// members that are ordered After= it, and what a check sees of them before they
// are up says nothing. It gives up, and logs that, when that takes too long or
// systemd cannot be asked: the checks tell what became of the units. It ends with
// ctx, too.
func (r *Runner) awaitStarted(ctx context.Context, f *flight, steps []starter) {
	if len(steps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startedWithin, errLimit)
	defer cancel()
	var waiting []string
	asked := time.Now() // when systemd was last able to tell
	for every := firstLook; ; every = min(2*every, unitEvery) {
		names, err := onTheirWay(ctx, steps)
		now := time.Now()
		if err == nil {
			asked = now
			r.starting(f, names)
			waiting = names
			if len(names) == 0 {
				return
			}
		}
		blind := errors.Is(err, errNoUnits) || now.Sub(asked) >= availableWithin
		if blind || pause(ctx, every) != nil {
			if err == nil {
				err = context.Cause(ctx)
			}
			if blind || errors.Is(context.Cause(ctx), errLimit) {
				r.log.LogAttrs(ctx, slog.LevelWarn, "units not waited for any longer",
					slog.String("drain_id", f.id), slog.Any("units", waiting), slog.Any("err", err))
			}
			return
		}
	}
}

// onTheirWay returns which of the units that the steps started are neither up nor
// down, or have a job that may change what they are.
func onTheirWay(ctx context.Context, steps []starter) ([]string, error) {
	var waiting []string
	for _, step := range steps {
		units, names, err := step.starts(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			s, err := units.UnitState(ctx, name)
			if err != nil {
				return nil, err
			}
			if (s.Job || s.Active == "activating" || s.Active == "deactivating") && !slices.Contains(waiting, name) {
				waiting = append(waiting, name)
			}
		}
	}
	return waiting, nil
}

// starting shows what an undrain waits for.
func (r *Runner) starting(f *flight, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(f.starting, names) {
		f.starting = names
		r.notify()
	}
}
