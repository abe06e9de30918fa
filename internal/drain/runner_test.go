package drain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func request(notice time.Duration) Request {
	r := Request{Cause: preempt}
	if notice != 0 {
		r.NotBefore = time.Now().Add(notice)
		r.Deadline = r.NotBefore.Add(-2 * second)
	}
	return r
}

func three(p *process) []StepConfig {
	return []StepConfig{p.taking("a", 3*second), p.taking("b", 4*second), p.taking("c", second, after("a")), p.taking("d", second, after("b", "c"))}
}

func TestDrainInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(10*second, func(p *process) []StepConfig {
			steps := three(p)
			steps[1].After, steps[1].AfterSet = []string{}, true
			return steps
		})
		o, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.Equal(t, ResultSucceeded, o.Result)
		require.Equal(t, []string{
			"0s cordon true", "10s a runs", "10s b runs", "13s a done", "13s c runs", "14s b done", "14s c done", "14s d runs", "15s d done",
		}, sorted(p.log))
		s := p.runner.Status()
		require.Equal(t, PhaseFinished, s.Phase)
		require.Equal(t, 3*second, s.Steps[0].Elapsed)
		require.Equal(t, 60*second, s.Steps[0].Limit)
		require.Equal(t, DrainStarted, p.entriesOf()[0].Kind)

		// Every event keeps its own result, without a second drain.
		again, err := p.runner.Drain(p.ctx, Request{Cause: Cause{Kind: ScheduledEvent, EventID: "E2"}})
		require.NoError(t, err)
		require.Equal(t, o, again)
		require.Equal(t, ResultSucceeded, p.journal.State().Events["E2"].Drained)
		n := len(p.entriesOf())
		_, err = p.runner.Drain(p.ctx, Request{Cause: Cause{Kind: ScheduledEvent, EventID: "E2"}})
		require.NoError(t, err)
		require.Len(t, p.entriesOf(), n, "the same cause joins once")
	})
}

// sorted puts lines of the same moment into order.
func sorted(log []string) []string {
	log = append([]string(nil), log...)
	for i := 1; i < len(log); i++ {
		for j := i; j > 0 && moment(log[j]) == moment(log[j-1]) && log[j] < log[j-1]; j-- {
			log[j], log[j-1] = log[j-1], log[j]
		}
	}
	return log
}

func moment(line string) string { return strings.Fields(line)[0] }

func TestDrainWithLittleTime(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		notice time.Duration
		steps  func(p *process) []StepConfig
		want   map[string]StepStatus
		result Result
		took   time.Duration
	}{
		"a preempt of 8 s and a plan of 60 s": {
			8 * second,
			func(p *process) []StepConfig {
				return []StepConfig{
					p.taking("warn", 20*second, optional, limits(2*second, 20*second)),
					p.taking("stop", 4*second, limits(5*second, 30*second)),
					p.taking("report", 10*second, optional, limits(second, 10*second)),
				}
			},
			map[string]StepStatus{"warn": StepShed, "stop": StepDone, "report": StepTimedOut},
			ResultSucceeded, 6 * second,
		},
		"a required step that needs too long": {
			8 * second,
			func(p *process) []StepConfig {
				return []StepConfig{p.taking("stop", 20*second), p.taking("last", 20*second, limits(2*second, 2*second))}
			},
			map[string]StepStatus{"stop": StepTimedOut, "last": StepTimedOut},
			ResultFailed, 6 * second,
		},
		"a deadline that has passed": {
			time.Second,
			func(p *process) []StepConfig { return []StepConfig{p.taking("a", 0), p.taking("b", 0, optional)} },
			map[string]StepStatus{"a": StepSkipped, "b": StepShed},
			ResultFailed, 0,
		},
		"a required step whose minimum does not fit": {
			9 * second,
			func(p *process) []StepConfig {
				return []StepConfig{
					p.taking("flush", 20*second, limits(3*second, 20*second)),
					p.taking("stop", second, limits(5*second, 9*second)),
					p.taking("report", 0, optional),
				}
			},
			map[string]StepStatus{"flush": StepTimedOut, "stop": StepSkipped, "report": StepShed},
			ResultFailed, 7 * second,
		},
		"a required step that fits after all": {
			9 * second,
			func(p *process) []StepConfig {
				return []StepConfig{
					p.taking("flush", second, limits(3*second, 20*second)),
					p.taking("stop", 2*second, limits(5*second, 9*second)),
					p.taking("report", second, optional),
				}
			},
			map[string]StepStatus{"flush": StepDone, "stop": StepDone, "report": StepDone},
			ResultSucceeded, 4 * second,
		},
		"an optional step that would leave nothing": {
			7 * second,
			func(p *process) []StepConfig {
				return []StepConfig{p.taking("nice", second, optional, limits(5*second, 5*second)), p.taking("must", second)}
			},
			map[string]StepStatus{"nice": StepShed, "must": StepDone},
			ResultSucceeded, second,
		},
		"time that one step leaves goes to the next": {
			12 * second,
			func(p *process) []StepConfig {
				return []StepConfig{p.taking("a", second, limits(5*second, 9*second)), p.taking("b", 8*second, limits(second, 30*second)), p.taking("c", second, optional, limits(second, second))}
			},
			map[string]StepStatus{"a": StepDone, "b": StepDone, "c": StepDone},
			ResultSucceeded, 10 * second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newWorld(t).start(0, tc.steps)
				o, err := p.runner.Drain(p.ctx, request(tc.notice))
				require.NoError(t, err)
				require.Equal(t, tc.want, results(o))
				require.Equal(t, tc.result, o.Result)
				require.Equal(t, tc.took, time.Since(p.began))
			})
		})
	}
}

// TestLatenessCostsNoStep: the moment that a step is late, at its limit, does not
// cost the next one, whose minimum did fit. Nothing passes the deadline for it.
func TestLatenessCostsNoStep(t *testing.T) {
	t.Parallel()
	for late, want := range map[time.Duration]StepStatus{lateness: StepDone, lateness + 1: StepSkipped} {
		synctest.Test(t, func(t *testing.T) {
			var limit time.Duration
			p := newWorld(t).start(0, func(*process) []StepConfig {
				slow := stepFunc{run: func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(late)
					return nil
				}}
				next := stepFunc{run: func(ctx context.Context) error {
					end, _ := ctx.Deadline()
					limit = time.Until(end)
					return nil
				}}
				return []StepConfig{{Name: "slow", Min: 5 * second, Step: slow}, {Name: "next", Min: 5 * second, Step: next}}
			})
			o, err := p.runner.Drain(p.ctx, request(12*second))
			require.NoError(t, err)
			require.Equal(t, map[string]StepStatus{"slow": StepDone, "next": want}, results(o))
			if want == StepDone {
				require.Equal(t, 5*second-late, limit)
			} else {
				require.Equal(t, "step next: skipped: its minimum of 5s does not fit", o.Error)
			}
		})
	}
}

// TestDrainsHold checks on random plans what the runner makes of the planner's
// promises: a step is begun with its minimum or not at all, no required one is left
// out of a plan that fits, and it is over at the deadline.
func TestDrainsHold(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	for n := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, n))
		steps := randomSteps(rng)
		available := time.Duration(rng.Int64N(int64(upTo(rng, 300*second))))
		settle := time.Duration(rng.Int64N(int64(20 * second)))
		synctest.Test(t, func(t *testing.T) {
			p := newWorld(t).start(settle, func(p *process) []StepConfig {
				for i, s := range steps {
					low, high := limits(s.Min, s.Max), time.Duration(rng.Int64N(int64(2*s.Max)))
					steps[i] = p.taking(s.Name, high, low, func(c *StepConfig) { c.Optional, c.After, c.AfterSet = s.Optional, s.After, s.AfterSet })
				}
				return steps
			})
			plan := p.runner.plan
			want := plan.FitAfter(settle, available, false)
			o, err := p.runner.Drain(p.ctx, Request{Cause: preempt, Deadline: p.began.Add(available)})
			require.NoError(t, err)
			where := fmt.Sprintf("seed %d drain %d: %s in %s: %s", seed, n, show(want), available, p.log)
			require.LessOrEqual(t, time.Since(p.began), available, where)
			for i, s := range o.Steps {
				c := plan.steps[i]
				switch s.Status {
				case StepShed:
					require.True(t, c.Optional, where)
				case StepSkipped:
					require.False(t, c.Optional || want.Enough, where)
				case StepDone, StepTimedOut:
					late := time.Duration(0)
					if !want.Enough {
						late = lateness
					}
					require.GreaterOrEqual(t, s.Limit, c.Min-late, where)
					require.LessOrEqual(t, s.Limit, c.Max, where)
				default:
					require.Fail(t, "a step has not ended", where)
				}
			}
		})
	}
}

func TestUrgentDoesNotSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(10*second, func(p *process) []StepConfig { return []StepConfig{p.taking("a", second)} })
		_, err := p.runner.Drain(p.ctx, Request{Cause: preempt, Urgent: true})
		require.NoError(t, err)
		require.Equal(t, []string{"0s cordon true", "0s a runs", "1s a done"}, p.log)
	})
}

func TestAFailedStepDoesNotStopTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			breaks := stepFunc{run: func(context.Context) error { return errStep }}
			return []StepConfig{
				{Name: "soft", Kind: "exec", Step: breaks, Optional: true},
				{Name: "hard", Kind: "exec", Step: breaks},
				p.taking("rest", second),
			}
		})
		o, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.Equal(t, ResultFailed, o.Result)
		require.Equal(t, "step hard: failed: it broke", o.Error)
		require.Equal(t, map[string]StepStatus{"soft": StepFailed, "hard": StepFailed, "rest": StepDone}, results(o))
		require.Equal(t, ResultFailed, p.journal.State().Events["E1"].Drained)
		require.Equal(t, PhaseFailed, p.runner.Status().Phase)
	})
}

func TestASecondCauseCanOnlyTightenTheDeadline(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at   time.Duration // when the second cause comes
		end  time.Duration // its deadline, from the start
		want []string
	}{
		"later changes nothing":       {second, 60 * second, []string{"0s cordon true", "10s a runs", "20s a done", "20s b runs", "25s b done"}},
		"earlier while settling":      {second, 16 * second, []string{"0s cordon true", "3s a runs", "9.1s b runs"}},
		"earlier in the first step":   {15 * second, 21 * second, []string{"0s cordon true", "10s a runs", "16.4s b runs"}},
		"so early that nothing is on": {15 * second, 15 * second, []string{"0s cordon true", "10s a runs"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newWorld(t).start(10*second, func(p *process) []StepConfig {
					return []StepConfig{p.taking("a", 10*second, limits(2*second, 20*second)), p.taking("b", 5*second, limits(3*second, 20*second))}
				})
				var both sync.WaitGroup
				start := time.Now()
				both.Go(func() {
					o, err := p.runner.Drain(p.ctx, request(0))
					require.NoError(t, err)
					require.NotEmpty(t, o.Result)
				})
				time.Sleep(tc.at)
				o, err := p.runner.Drain(p.ctx, Request{Cause: Cause{Kind: Shutdown}, Deadline: start.Add(tc.end)})
				require.NoError(t, err)
				both.Wait()
				require.NotEmpty(t, o.Result)
				require.LessOrEqual(t, time.Since(start), max(tc.end, tc.at)+patience)
				for i, line := range tc.want {
					require.Equal(t, line, round(p.log[i]), "%v", p.log)
				}
				require.Equal(t, start.Add(tc.end).UTC().Round(0), p.journal.State().Drain.Deadline)
			})
		})
	}
}

// TestTheClockIsSetInTheMiddle: the deadline is the earlier of what the wall clock
// and the monotonic one say, while traffic settles and while a step runs.
func TestTheClockIsSetInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at    time.Duration // when the clock is set
		ahead time.Duration // by how much
		ends  time.Duration // when the drain has ended
	}{
		"ahead, while settling":    {2 * second, 40 * second, 18 * second},
		"ahead, in a step":         {15 * second, 30 * second, 28 * second},
		"far ahead, in a step":     {15 * second, time.Hour, 16 * second},
		"back, while settling":     {2 * second, -time.Hour, 58 * second},
		"back, in a step":          {15 * second, -time.Hour, 58 * second},
		"a little back, in a step": {15 * second, -5 * second, 58 * second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newWorld(t).start(10*second, func(p *process) []StepConfig {
					return []StepConfig{p.taking("a", 10*time.Minute, limits(second, 10*time.Minute))}
				})
				start := time.Now()
				var drain sync.WaitGroup
				drain.Go(func() {
					_, err := p.runner.Drain(p.ctx, request(60*second))
					require.NoError(t, err)
				})
				time.Sleep(tc.at)
				// A wall clock that is set ahead reaches the deadline sooner.
				p.runner.mu.Lock()
				p.runner.flight.deadline = p.runner.flight.deadline.Add(-tc.ahead)
				p.runner.mu.Unlock()
				drain.Wait()
				require.InDelta(t, tc.ends.Seconds(), time.Since(start).Seconds(), 1.6)
			})
		})
	}
}

// TestDeadlinesOnlyMoveEarlier: whatever joins, in whatever order, and over a restart
// of the agent: what is acted on, what is shown and what is journaled is the earliest
// deadline that was asked for.
func TestDeadlinesOnlyMoveEarlier(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string][]time.Duration{ // from the start; 0: none
		"a later one":         {30 * second, 60 * second},
		"none":                {30 * second, 0},
		"down, up and down":   {60 * second, 20 * second, 40 * second, 15 * second, 0, 50 * second},
		"none, late, earlier": {0, 300 * second, 25 * second, 0},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", name, restart), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					plan := func(p *process) []StepConfig {
						return []StepConfig{p.taking("a", time.Hour, limits(second, 24*time.Hour))}
					}
					p := w.start(0, plan)
					earliest := time.Time{}
					var calls sync.WaitGroup
					for i, d := range asked {
						req := Request{Cause: Cause{Kind: ScheduledEvent, EventID: fmt.Sprint("E", i)}}
						if d > 0 {
							req.NotBefore, req.Deadline = w.began.Add(d+second), w.began.Add(d)
							if earliest.IsZero() || req.Deadline.Before(earliest) {
								earliest = req.Deadline
							}
						}
						calls.Go(func() { _, _ = p.runner.Drain(p.ctx, req) })
						time.Sleep(second)
						if restart {
							p.stop()
							calls.Wait()
							p = w.start(0, plan)
							calls.Go(func() { _, _, _ = p.runner.Resume(p.ctx) })
							synctest.Wait()
						}
						shown, journaled := p.runner.Status(), p.journal.State().Drain
						require.True(t, earliest.Equal(shown.Deadline), "after request %d: %s", i, shown.Deadline)
						require.True(t, earliest.Equal(journaled.Deadline), "after request %d: %s", i, journaled.Deadline)
						if !earliest.IsZero() {
							require.True(t, earliest.Add(second).Equal(journaled.NotBefore))
						}
					}
					calls.Wait()
					require.Equal(t, ResultFailed, p.journal.History()[0].Result)
					require.WithinDuration(t, earliest, time.Now(), patience, "and it is over then")
				})
			})
		}
	}
}

// TestDeadlinesAreKeptByTheMonotonicClock: a clock that is set while a drain is
// under way moves no deadline later. Round(0) takes the reading of the monotonic
// clock from a time, so a time that it changes has one.
func TestDeadlinesAreKeptByTheMonotonicClock(t *testing.T) {
	t.Parallel()
	monotonic := func(t *testing.T, f *flight) {
		t.Helper()
		require.NotEqual(t, f.end.Round(0), f.end)
		require.True(t, f.end.Equal(f.deadline))
	}
	w := newWorld(t)
	plan := func(*process) []StepConfig {
		return []StepConfig{{Name: "a", Kind: "exec", Step: stepFunc{run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}}}
	}
	p := w.start(0, plan)
	far := w.began.Round(0).Add(time.Hour) // as an event's: of the wall clock
	f, _, _ := p.runner.request(p.ctx, Request{Cause: preempt, Deadline: far})
	monotonic(t, f)
	_, _, _ = p.runner.request(p.ctx, Request{Cause: Cause{Kind: Shutdown}, Deadline: far.Add(-time.Minute)})
	require.Equal(t, far.Add(-time.Minute), f.deadline)
	monotonic(t, f)
	p.stop()
	p = w.start(0, plan)
	monotonic(t, p.runner.flight)
}

// TestADeadlineBelowTheMinimum: the step that runs has all of what is left, and the
// next ones nothing.
func TestADeadlineBelowTheMinimum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			return []StepConfig{p.taking("a", 10*second, limits(8*second, 20*second)), p.taking("b", second, limits(second, 20*second)), p.taking("c", second, optional)}
		})
		var both sync.WaitGroup
		both.Go(func() {
			o, err := p.runner.Drain(p.ctx, request(0))
			require.NoError(t, err)
			require.Equal(t, map[string]StepStatus{"a": StepTimedOut, "b": StepSkipped, "c": StepShed}, results(o))
			require.Equal(t, "step a: timed-out: not done after 5s; step b: skipped: its minimum of 1s does not fit", o.Error)
		})
		time.Sleep(3 * second)
		_, err := p.runner.Drain(p.ctx, Request{Cause: Cause{Kind: Shutdown}, Deadline: p.began.Add(5 * second)})
		require.NoError(t, err)
		both.Wait()
		require.Equal(t, 5*second, time.Since(p.began))
	})
}

// round shortens the moment of a line to a tenth of a second.
func round(line string) string {
	m, rest, _ := strings.Cut(line, " ")
	d, err := time.ParseDuration(m)
	if err != nil {
		return line
	}
	return d.Round(second/10).String() + " " + rest
}

func TestAStepThatIgnoresItsEndIsAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			return []StepConfig{
				{Name: "deaf", Kind: "exec", Max: 5 * second, Step: stepFunc{run: func(context.Context) error { <-release; return nil }}},
				p.taking("next", second),
			}
		})
		o, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.Equal(t, map[string]StepStatus{"deaf": StepTimedOut, "next": StepDone}, results(o))
		require.Contains(t, o.Error, "abandoned")
		require.Equal(t, []string{"0s cordon true", "5.5s next runs", "6.5s next done"}, p.log)
	})
}

func TestUndrain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after  time.Duration
		result Result
		want   []string
	}{
		"while settling":    {time.Second, ResultCancelled, []string{"0s cordon true", "1s cordon false"}},
		"in a step":         {14 * second, ResultCancelled, []string{"0s cordon true", "10s a runs", "13s a done", "13s b runs", "14s b undone", "14s a undone", "14s cordon false"}},
		"after the plan":    {time.Minute, ResultSucceeded, []string{"0s cordon true", "10s a runs", "13s a done", "13s b runs", "17s b done", "1m0s b undone", "1m0s a undone", "1m0s cordon false"}},
		"right at the step": {13 * second, ResultCancelled, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newWorld(t).start(10*second, func(p *process) []StepConfig {
					return []StepConfig{p.taking("a", 3*second), p.taking("b", 4*second)}
				})
				var drain sync.WaitGroup
				drain.Go(func() {
					o, err := p.runner.Drain(p.ctx, request(0))
					require.NoError(t, err)
					require.Equal(t, tc.result, o.Result)
				})
				time.Sleep(tc.after)
				require.NoError(t, p.runner.Undrain(p.ctx, "fleet-agent", "the event is gone"))
				drain.Wait()
				if tc.want != nil {
					require.Equal(t, tc.want, p.log)
				}
				require.Nil(t, p.journal.State().Drain)
				require.Equal(t, Status{}, p.runner.Status())
				h := p.journal.History()[0]
				require.Equal(t, tc.result, h.Result)
				require.Equal(t, "the event is gone", h.UndrainReason)
				require.False(t, h.UndrainedAt.IsZero())

				require.NoError(t, p.runner.Undrain(p.ctx, "", ""), "nothing to undrain")
				_, err := p.runner.Drain(p.ctx, request(0))
				require.NoError(t, err)
				require.Len(t, p.journal.History(), 2, "a new drain")
			})
		})
	}
}

func TestUndrainReportsWhatItCouldNotTakeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			return []StepConfig{p.taking("a", 0), {Name: "b", Kind: "unit", Step: stepFunc{undo: func(context.Context) error { return errStep }}}}
		})
		_, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		err = p.runner.Undrain(p.ctx, "", "")
		require.ErrorIs(t, err, errStep)
		require.ErrorContains(t, err, "take back step b")
		require.Equal(t, 1, p.undos["a"])
		require.False(t, p.cordoned)
		require.Contains(t, p.journal.History()[0].Error, "take back step b")
	})
}

func TestADrainDoesNotWaitForAnUndrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := stepFunc{undo: func(ctx context.Context) error { return pause(ctx, 50*second) }}
		p := newWorld(t).start(0, func(*process) []StepConfig { return []StepConfig{{Name: "a", Kind: "unit", Step: slow}} })
		first, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		var undrain sync.WaitGroup
		undrain.Go(func() { require.ErrorIs(t, p.runner.Undrain(p.ctx, "", ""), ErrSuperseded) })
		undrain.Go(func() {
			time.Sleep(second / 2)
			require.ErrorIs(t, p.runner.Undrain(p.ctx, "", ""), ErrSuperseded, "the second waits for the first")
		})
		time.Sleep(second)
		require.Equal(t, PhaseUndraining, p.runner.Status().Phase)
		second, err := p.runner.Drain(p.ctx, request(8*time.Second))
		require.NoError(t, err)
		undrain.Wait()
		require.NotEqual(t, first.DrainID, second.DrainID)
		require.True(t, p.cordoned)
		require.Equal(t, time.Second, time.Since(p.began))
		require.Equal(t, second.DrainID, p.journal.State().Drain.ID)
		require.False(t, p.journal.History()[1].Undraining)
	})
}

// TestStoppingTheAgentEndsNothing is SIGTERM in the middle of a step.
func TestStoppingTheAgentEndsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		plan := func(p *process) []StepConfig {
			return []StepConfig{p.taking("a", 3*second), p.taking("b", 4*second), p.taking("c", second)}
		}
		p := w.start(10*second, plan)
		deadline := time.Now().Add(300 * second)
		var calls sync.WaitGroup
		for n, ctx := range []context.Context{p.ctx, t.Context()} {
			calls.Go(func() {
				time.Sleep(time.Duration(n))
				_, err := p.runner.Drain(ctx, Request{Cause: preempt, Deadline: deadline})
				require.ErrorIs(t, err, ErrInterrupted)
			})
		}
		time.Sleep(14 * second)
		p.stop()
		calls.Wait()
		require.Equal(t, StepStarted, w.entriesOf()[len(w.entriesOf())-1].Kind)
		require.Equal(t, 14*second, time.Since(w.began))

		time.Sleep(2 * second)
		p = w.start(10*second, plan)
		require.Equal(t, PhaseRunning, p.runner.Status().Phase)
		o, resumed, err := p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.True(t, resumed)
		require.True(t, o.Resumed)
		require.Equal(t, ResultSucceeded, o.Result)
		require.Equal(t, map[string]int{"a": 1, "b": 2, "c": 1}, w.runs)
		require.Equal(t, 21*second, time.Since(w.began), "no second wait")
		require.True(t, p.runner.Status().Deadline.Equal(deadline))
		require.Equal(t, 1, w.count(DrainFinished, ""))

		// An agent that starts on a drained node keeps it so.
		w.cordoned = false // as a listener that has just started
		p = w.start(10*second, plan)
		o, resumed, err = p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.True(t, resumed)
		require.Equal(t, ResultSucceeded, o.Result)
		require.True(t, w.cordoned)
	})
}

func TestResumeWhileSettling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		plan := func(p *process) []StepConfig { return []StepConfig{p.taking("a", second)} }
		p := w.start(10*second, plan)
		time.AfterFunc(4*second, p.stop)
		_, err := p.runner.Drain(p.ctx, request(0))
		require.ErrorIs(t, err, ErrInterrupted)
		p = w.start(10*second, plan)
		require.Equal(t, PhaseSettling, p.runner.Status().Phase)
		// The event is still there, and asks before anyone resumes.
		o, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.True(t, o.Resumed)
		require.Equal(t, []string{"0s cordon true", "10s a runs", "11s a done"}, w.log)
		require.Equal(t, 1, w.count(DrainStarted, ""))
	})
}

// TestUndrainBesideResume: an agent that starts finds that the cause of the drain
// has gone before it has resumed it. In whichever order the two come, the node
// is back in service.
func TestUndrainBesideResume(t *testing.T) {
	t.Parallel()
	for _, ended := range []bool{false, true} {
		for range 500 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				plan := func(p *process) []StepConfig { return []StepConfig{p.taking("a", second)} }
				p := w.start(0, plan)
				if !ended {
					time.AfterFunc(second/2, p.stop)
				}
				_, err := p.runner.Drain(p.ctx, request(0))
				require.Equal(t, ended, err == nil)
				p = w.start(0, plan)
				var undrained error
				var calls sync.WaitGroup
				calls.Go(func() { _, _, _ = p.runner.Resume(p.ctx) })
				calls.Go(func() { undrained = p.runner.Undrain(p.ctx, "test", "gone") })
				calls.Wait()
				require.NoError(t, undrained)
				require.False(t, w.cordoned)
				require.Equal(t, PhaseNone, p.runner.Status().Phase)
			})
		}
	}
}

// TestWhatWasNotTakenBackIsNotForgotten: an undrain cannot start db, and is
// superseded; the undrain of the drain that came after starts it.
func TestWhatWasNotTakenBackIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken, starting := true, make(chan struct{}, 1)
		up := map[string]bool{}
		step := func(name string, undo func(ctx context.Context) error) StepConfig {
			return StepConfig{Name: name, Kind: "unit", Max: time.Minute, Step: stepFunc{
				run: func(context.Context) error { up[name] = false; return nil },
				undo: func(ctx context.Context) error {
					if broken {
						return undo(ctx)
					}
					up[name] = true
					return nil
				},
			}}
		}
		w := newWorld(t)
		plan := func(*process) []StepConfig {
			return []StepConfig{
				step("web", func(ctx context.Context) error {
					starting <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}),
				step("db", func(context.Context) error { return errors.New("start db.service: job failed") }),
			}
		}
		p := w.start(0, plan)
		_, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		var calls sync.WaitGroup
		var superseded error
		calls.Go(func() { superseded = p.runner.Undrain(p.ctx, "test", "gone") })
		<-starting // so db was tried
		p.runner.SetPlan(p.runner.plan, time.Hour)
		calls.Go(func() { _, _ = p.runner.Drain(p.ctx, request(0)) })
		synctest.Wait()
		require.ErrorIs(t, superseded, ErrSuperseded)
		require.Equal(t, PhaseSettling, p.runner.Status().Phase)
		broken = false
		require.NoError(t, p.runner.Undrain(p.ctx, "test", "gone"))
		require.Equal(t, map[string]bool{"web": true, "db": true}, up)
		calls.Wait()
	})
}

func TestAfterARebootTheNodeServes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		plan := func(p *process) []StepConfig { return []StepConfig{p.taking("a", 5*second)} }
		p := w.start(0, plan)
		time.AfterFunc(second, p.stop)
		_, err := p.runner.Drain(p.ctx, request(0))
		require.ErrorIs(t, err, ErrInterrupted)

		w.boot = "b2"
		p = w.start(0, plan)
		_, resumed, err := p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.False(t, resumed)
		require.False(t, w.cordoned, "a cordon that was left behind is lifted")
		require.Equal(t, ResultInterrupted, p.journal.History()[0].Result)
		require.Equal(t, 1, w.runs["a"])
	})
}

func TestResumeWithAnotherPlan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.start(0, func(p *process) []StepConfig {
			return []StepConfig{p.taking("a", second), p.taking("old", second), p.taking("b", 5*second)}
		})
		time.AfterFunc(3*second, p.stop)
		_, err := p.runner.Drain(p.ctx, request(0))
		require.ErrorIs(t, err, ErrInterrupted)
		p = w.start(0, func(p *process) []StepConfig {
			return []StepConfig{p.taking("a", second), p.taking("new", second), p.taking("b", second)}
		})
		o, _, err := p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]StepStatus{"a": StepDone, "old": StepDone, "new": StepDone, "b": StepDone}, results(o))
		require.Equal(t, map[string]int{"a": 1, "old": 1, "new": 1, "b": 2}, w.runs)
	})
}

func TestSetPlanLeavesTheDrainInEffectAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig { return []StepConfig{p.taking("a", 3*second)} })
		next, err := NewPlan([]StepConfig{p.taking("b", second)})
		require.NoError(t, err)
		time.AfterFunc(second, func() { p.runner.SetPlan(next, 7*second) })
		_, err = p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.NoError(t, p.runner.Undrain(p.ctx, "", ""))
		_, err = p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1, "b": 1}, p.runs)
		require.Equal(t, 11*second, time.Since(p.began))
	})
}

func TestAFailingCordonDoesNotStopTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan, err := NewPlan([]StepConfig{{Name: "a", Step: nothing}})
		require.NoError(t, err)
		r, err := New(Config{
			Plan: plan, Journal: openMem(t, newMemFiles(), "b1"),
			Cordon: func(context.Context, *Flag) error { return errStep },
		})
		require.NoError(t, err)
		o, err := r.Drain(t.Context(), request(0))
		require.NoError(t, err)
		require.Equal(t, ResultSucceeded, o.Result)
		require.Equal(t, "cordon: it broke", r.Status().Error)
		require.ErrorIs(t, r.Undrain(t.Context(), "", ""), errStep)
	})
}

func TestReleaseComesBeforeTheStepsAreTakenBack(t *testing.T) {
	t.Parallel()
	var order []string
	plan, err := NewPlan([]StepConfig{{Name: "a", Step: stepFunc{undo: func(context.Context) error { order = append(order, "undo"); return nil }}}})
	require.NoError(t, err)
	r, err := New(Config{
		Plan: plan, Journal: openMem(t, newMemFiles(), "b1"),
		Cordon: func(_ context.Context, f *Flag) error {
			order = append(order, fmt.Sprint("cordon ", f != nil))
			return nil
		},
		Release: func(context.Context) error { order = append(order, "release"); return nil },
	})
	require.NoError(t, err)
	_, err = r.Drain(t.Context(), request(0))
	require.NoError(t, err)
	require.NoError(t, r.Undrain(t.Context(), "", ""))
	require.Equal(t, []string{"cordon true", "release", "undo", "cordon false"}, order)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	plan, err := NewPlan(nil)
	require.NoError(t, err)
	j := openMem(t, newMemFiles(), "b1")
	cordon := func(context.Context, *Flag) error { return nil }
	for name, cfg := range map[string]Config{
		"plan":    {Journal: j, Cordon: cordon},
		"journal": {Plan: plan, Cordon: cordon},
		"cordon":  {Plan: plan, Journal: j},
		"settle":  {Plan: plan, Journal: j, Cordon: cordon, Settle: -1},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, name)
	}
}

func TestAJoinerMayStopWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig { return []StepConfig{p.taking("a", 9*second)} })
		var first sync.WaitGroup
		first.Go(func() {
			o, err := p.runner.Drain(p.ctx, request(0))
			require.NoError(t, err)
			require.Equal(t, ResultSucceeded, o.Result)
		})
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(p.ctx)
		time.AfterFunc(second, func() { cancel(errStep) })
		_, err := p.runner.Drain(ctx, Request{Cause: Cause{Kind: Operator}})
		require.ErrorIs(t, err, errStep)
		require.NotErrorIs(t, err, ErrInterrupted)
		changed := p.runner.Changed()
		first.Wait()
		select {
		case <-changed:
		default:
			require.Fail(t, "the end is no change")
		}
		require.Len(t, p.journal.State().Drain.Causes, 2)
	})
}

func TestStepsAreToldTheCause(t *testing.T) {
	t.Parallel()
	var got Brief
	plan, err := NewPlan([]StepConfig{{Name: "a", Step: stepFunc{run: func(ctx context.Context) error {
		got = BriefFrom(ctx)
		_, bounded := ctx.Deadline()
		if !bounded || CauseFrom(ctx) != got.Cause {
			return errors.New("no deadline or another cause")
		}
		return nil
	}}}})
	require.NoError(t, err)
	r, err := New(Config{Plan: plan, Journal: openMem(t, newMemFiles(), "b1"), Cordon: func(context.Context, *Flag) error { return nil }})
	require.NoError(t, err)
	req := request(time.Hour)
	o, err := r.Drain(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, ResultSucceeded, o.Result, o.Error)
	require.Equal(t, Brief{DrainID: o.DrainID, Cause: preempt, NotBefore: req.NotBefore, Deadline: req.Deadline, StopWithin: patience}, got)
	require.Equal(t, []string{
		"FLEET_CAUSE=scheduled-event", "FLEET_EVENT_ID=E1", "FLEET_EVENT_TYPE=Preempt",
		"FLEET_DEADLINE=" + req.Deadline.UTC().Format(time.RFC3339),
	}, environment(got))
	require.Equal(t, Brief{}, BriefFrom(t.Context()))
}

// TestANewCauseTriesAFailedDrainAgain: what is not done gets the time that the
// new cause brings; what is done is not done again, and the causes stay.
func TestANewCauseTriesAFailedDrainAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		plan := func(p *process) []StepConfig {
			return []StepConfig{p.taking("quick", time.Second, limits(0, 20*second)), p.taking("slow", 10*second, limits(0, 20*second))}
		}
		p := w.start(0, plan)
		first := Request{Cause: Cause{Kind: ScheduledEvent, EventID: "E0", EventType: "Reboot"}, Deadline: time.Now().Add(4 * second)}
		o, err := p.runner.Drain(p.ctx, first)
		require.NoError(t, err)
		require.Equal(t, ResultFailed, o.Result)

		again, err := p.runner.Drain(p.ctx, first)
		require.NoError(t, err)
		require.Equal(t, o.DrainID, again.DrainID, "the same cause is told the same outcome")

		event := Request{Cause: Cause{Kind: ScheduledEvent, EventID: "E1", EventType: "Terminate"}, Deadline: time.Now().Add(5 * time.Minute)}
		o, err = p.runner.Drain(p.ctx, event)
		require.NoError(t, err)
		require.Equal(t, ResultSucceeded, o.Result)
		require.Equal(t, 1, w.count(StepStarted, "quick"))
		require.Equal(t, 2, w.count(StepStarted, "slow"))
		d := p.journal.State().Drain
		require.Equal(t, []Cause{event.Cause, first.Cause}, d.Causes)
		require.Equal(t, ResultSucceeded, p.journal.State().Events["E1"].Drained)
		require.Len(t, p.journal.History(), 2)
	})
}
