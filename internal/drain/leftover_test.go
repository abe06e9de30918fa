package drain

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// unitSteps makes steps from "NAME=UNIT".
func unitSteps(t *testing.T, units Units, words ...string) []StepConfig {
	t.Helper()
	var steps []StepConfig
	for _, w := range words {
		name, unit, _ := strings.Cut(w, "=")
		step, err := UnitStep(units, unit)
		require.NoError(t, err)
		steps = append(steps, StepConfig{Name: name, Kind: "unit", Max: 60 * time.Second, Step: step})
	}
	return steps
}

func (f *fakeUnits) started() []string {
	var names []string
	for _, call := range f.calls {
		if name, ok := strings.CutPrefix(call, "start "); ok {
			names = append(names, name)
		}
	}
	return names
}

// TestUndrainStartsWhatAnOldPlanStopped: steps that were dropped, renamed or
// given another unit after a drain are taken back by the unit that it stopped.
func TestUndrainStartsWhatAnOldPlanStopped(t *testing.T) {
	t.Parallel()
	before := []string{"web=web.service", "cache=cache.service", "db=db.service", "app=one.service"}
	now := []string{"web=web.service", "database=db.service", "app=two.service"}
	want := []string{"one.service", "db.service", "cache.service", "web.service"}
	operator := Request{Cause: Cause{Kind: Operator, By: "root"}}
	event := Cause{Kind: ScheduledEvent, EventID: "E1", EventType: "Terminate"}

	type story func(t *testing.T, w *world, units *fakeUnits, p *process) *process
	start := func(w *world, units Units, words []string) *process {
		return w.start(0, func(*process) []StepConfig { return unitSteps(w.t, units, words...) })
	}
	restart := func(w *world, units Units, p *process) *process {
		p.stop()
		p = start(w, units, now)
		_, _, err := p.runner.Resume(p.ctx)
		require.NoError(w.t, err)
		return p
	}
	reload := func(t *testing.T, units Units, p *process) {
		t.Helper()
		plan, err := NewPlan(unitSteps(t, units, now...))
		require.NoError(t, err)
		p.runner.SetPlan(plan, 0)
	}
	for name, tell := range map[string]story{
		"restart": func(_ *testing.T, w *world, units *fakeUnits, p *process) *process {
			return restart(w, units, p)
		},
		"two restarts": func(_ *testing.T, w *world, units *fakeUnits, p *process) *process {
			return restart(w, units, restart(w, units, p))
		},
		"reload, and an undrain that a drain superseded": func(t *testing.T, _ *world, units *fakeUnits, p *process) *process {
			t.Helper()
			reload(t, units, p)
			units.stopFor = map[string]time.Duration{"one.service": time.Minute}
			ended := make(chan error)
			go func() { ended <- p.runner.Undrain(p.ctx, "", "") }()
			synctest.Wait() // until it starts one.service
			// There is no time for a step: what is started is what was stopped before.
			_, err := p.runner.Drain(p.ctx, Request{Cause: event, Deadline: time.Now()})
			require.NoError(t, err)
			require.ErrorIs(t, <-ended, ErrSuperseded)
			units.stopFor, units.calls = nil, nil
			return p
		},
	} {
		for _, after := range []string{"", ", then a restart"} {
			t.Run(name+after, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					units := &fakeUnits{}
					w := newWorld(t)
					w.units = units
					p := start(w, units, before)
					_, err := p.runner.Drain(p.ctx, operator)
					require.NoError(t, err)
					p = tell(t, w, units, p)
					if after != "" {
						p = restart(w, units, p)
					}
					require.NoError(t, p.runner.Undrain(p.ctx, "", ""))
					require.NoError(t, p.runner.UndrainError())
					require.Equal(t, want, units.started())
					require.False(t, p.cordoned)
				})
			})
		}
	}
}

// TestALeftoverThatDoesNotStart is reported.
func TestALeftoverThatDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		units Units
		want  error
	}{
		"systemd says no": {&fakeUnits{fails: map[string]error{"start db.service": errStep}}, errStep},
		"no systemd":      {nil, errNoUnits},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.start(0, func(*process) []StepConfig { return unitSteps(t, &fakeUnits{}, "db=db.service") })
				_, err := p.runner.Drain(p.ctx, request(0))
				require.NoError(t, err)
				p.stop()
				w.units = tc.units
				p = w.start(0, func(*process) []StepConfig { return nil })
				_, _, err = p.runner.Resume(p.ctx)
				require.NoError(t, err)
				err = p.runner.Undrain(p.ctx, "", "")
				require.ErrorIs(t, err, tc.want)
				require.ErrorContains(t, err, "take back step db, which the plan no longer has: start db.service: ")
				require.Equal(t, errors.Unwrap(err), errors.Unwrap(p.runner.UndrainError()))
				require.Contains(t, p.journal.History()[0].Error, "step db")
				require.False(t, p.cordoned)
			})
		})
	}
}
