package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// inTarget returns a plan that stops a target.
func inTarget(t *testing.T, units Units) func(*process) []StepConfig {
	t.Helper()
	return func(*process) []StepConfig {
		step, err := TargetStep(units, "x.target")
		require.NoError(t, err)
		return []StepConfig{{Name: "workloads", Kind: "target", Step: step}}
	}
}

// TestUndrainWaitsForWhatItStarted: the job of the target is over long before its
// members are up, and the cordon is lifted after them.
func TestUndrainWaitsForWhatItStarted(t *testing.T) {
	t.Parallel()
	two := []string{"a.service", "b.service"}
	for name, tc := range map[string]struct {
		units *fakeUnits
		took  time.Duration
	}{
		"members are up at once":      {&fakeUnits{members: two}, 0},
		"one takes ten seconds":       {&fakeUnits{members: two, upAfter: map[string]time.Duration{"a.service": 10 * second, "b.service": second}}, 10 * second},
		"one fails after ten seconds": {&fakeUnits{members: two, upAfter: map[string]time.Duration{"a.service": 10 * second}, ends: map[string]string{"a.service": "exit-code"}}, 10 * second},
		"a job that never ends":       {&fakeUnits{members: two, upAfter: map[string]time.Duration{"a.service": time.Hour}}, startedWithin},
		"systemd does not tell":       {&fakeUnits{members: two, fails: map[string]error{"state a.service": errors.New("no reply")}}, availableWithin},
		"one that is not started":     {&fakeUnits{members: append(two, "other.service"), stopAt: map[string]time.Time{"other.service": time.Now()}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newWorld(t).start(0, inTarget(t, tc.units))
				_, err := p.runner.Drain(p.ctx, request(0))
				require.NoError(t, err)
				begin := time.Now()
				require.NoError(t, p.runner.Undrain(p.ctx, "", ""))
				require.False(t, p.cordoned)
				require.GreaterOrEqual(t, time.Since(begin), tc.took)
				require.LessOrEqual(t, time.Since(begin), tc.took+unitEvery)
				require.Nil(t, p.journal.State().Drain)
			})
		})
	}
}

// mutedBus is systemd behind a bus that takes calls and, from a time on, answers
// none.
type mutedBus struct {
	*fakeUnits
	after time.Time
}

func (b mutedBus) hang(ctx context.Context) error {
	if time.Now().Before(b.after) {
		return nil
	}
	return pause(ctx, 25*second) // what a call may take
}

func (b mutedBus) StartUnit(ctx context.Context, name string) error {
	return errors.Join(b.hang(ctx), b.fakeUnits.StartUnit(ctx, name), context.DeadlineExceeded)
}

func (b mutedBus) UnitState(ctx context.Context, name string) (UnitState, error) {
	if err := b.hang(ctx); err != nil || !time.Now().Before(b.after) {
		return UnitState{}, errors.Join(err, context.DeadlineExceeded)
	}
	return b.fakeUnits.UnitState(ctx, name)
}

// TestABusThatHangsKeepsNoNodeOut: neither before the start nor in the middle of
// the wait.
func TestABusThatHangsKeepsNoNodeOut(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]time.Duration{"before": 0, "in the wait": 5 * second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				units := &fakeUnits{members: []string{"a.service"}, upAfter: map[string]time.Duration{"a.service": time.Hour}}
				p := newWorld(t).start(0, inTarget(t, mutedBus{units, time.Now().Add(10*second + hangs)}))
				_, err := p.runner.Drain(p.ctx, request(0))
				require.NoError(t, err)
				require.NoError(t, pause(t.Context(), 10*second))
				begin := time.Now()
				_ = p.runner.Undrain(p.ctx, "", "") // it says that the start is in doubt
				require.False(t, p.cordoned)
				require.LessOrEqual(t, time.Since(begin), undoLimit+startedWithin)
			})
		})
	}
}

// TestADrainDoesNotWaitForTheWayBack, and a restart of the agent goes on with it.
func TestADrainDoesNotWaitForTheWayBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		units := &fakeUnits{members: []string{"a.service"}, upAfter: map[string]time.Duration{"a.service": time.Minute}}
		p := newWorld(t).start(0, inTarget(t, units))
		_, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		undrained := make(chan error, 1)
		go func() { undrained <- p.runner.Undrain(p.ctx, "", "") }()
		require.NoError(t, pause(t.Context(), 20*second))
		require.Equal(t, PhaseUndraining, p.runner.Status().Phase)
		require.Equal(t, []string{"a.service"}, p.runner.Status().Starting)
		begin := time.Now()
		_, err = p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.ErrorIs(t, <-undrained, ErrSuperseded)
		require.Less(t, time.Since(begin), second)
		require.True(t, p.cordoned)
		require.Empty(t, p.runner.Status().Starting)

		units.upAt = nil
		go func() { undrained <- p.runner.Undrain(p.ctx, "", "") }()
		require.NoError(t, pause(t.Context(), 20*second))
		require.Equal(t, PhaseUndraining, p.runner.Status().Phase)
		p.kill()
		require.ErrorIs(t, <-undrained, ErrInterrupted)
		w := p.world
		w.files = w.files.revive(false)
		p = w.start(0, inTarget(t, units))
		require.True(t, p.cordoned)
		begin = time.Now()
		_, resumed, err := p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.True(t, resumed)
		require.False(t, p.cordoned)
		require.InDelta(t, 40, time.Since(begin).Seconds(), 1)
	})
}
