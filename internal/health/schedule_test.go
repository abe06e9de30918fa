package health

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIntervalsDoNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := make([]*target, 10)
		var checks []Check
		for i := range targets {
			targets[i] = &target{takes: time.Duration(i) * 137 * time.Millisecond}
			checks = append(checks, check(fmt.Sprint("c", i), targets[i]))
		}
		launch(t, Config{Checks: checks})
		begun := time.Now()
		after(time.Hour)
		offsets := map[time.Duration]bool{}
		for i, g := range targets {
			starts := g.started()
			require.Equal(t, begun, starts[0], "the first run is at once")
			for k := 2; k < len(starts); k++ {
				require.Equal(t, 5*time.Second, starts[k].Sub(starts[k-1]), "check %d, run %d", i, k)
			}
			require.GreaterOrEqual(t, len(starts), 720)
			offsets[starts[1].Sub(begun)] = true
		}
		require.Len(t, offsets, len(targets), "the later runs are spread over the interval")
	})
}

// TestFirstVerdictWaitsForNoTimer: checks that answer at once, more than may begin
// together, are all run and judged in no time.
func TestFirstVerdictWaitsForNoTimer(t *testing.T) {
	for name, maxConcurrent := range map[string]int{"default": 0, "few places": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var checks []Check
				for i := range 100 {
					checks = append(checks, check(fmt.Sprint("c", i), &target{}))
				}
				m := launch(t, Config{Checks: checks, MaxConcurrent: maxConcurrent})
				synctest.Wait() // and not a moment later
				require.Equal(t, Healthy, m.Report().State)
			})
		})
	}
}

// TestHungChecksStarveNobody is the promise for 500 checks of which half hang
// to their timeout each time: those that do not hang keep their interval. The
// others do as well, as long as half of the places are enough for them.
func TestHungChecksStarveNobody(t *testing.T) {
	tests := map[string]struct {
		maxConcurrent int
		process       bool
		hungEvery     time.Duration // about what their places allow
		mostHung      int
	}{
		"default":        {hungEvery: 5 * time.Second, mostHung: 128},
		"with a process": {process: true, hungEvery: 250 * 2 * time.Second / 16, mostHung: 16},
		"few places":     {maxConcurrent: 8, hungEvery: 250 * 2 * time.Second / 4, mostHung: 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 500
				targets := make([]*target, n)
				hung := &target{takes: forever} // counts all that hang
				var checks []Check
				for i := range targets {
					targets[i] = &target{}
					c := check(fmt.Sprint("c", i), targets[i])
					if i%2 == 0 {
						targets[i].takes = forever
						c.Probe = func(ctx context.Context) error {
							_ = hung.probe(ctx)
							return targets[i].probe(ctx)
						}
					}
					c.Process = test.process
					checks = append(checks, c)
				}
				m := launch(t, Config{Checks: checks, MaxConcurrent: test.maxConcurrent})
				after(10*time.Second + 2*test.hungEvery) // until it is known who hangs
				warmedUp := time.Now()
				hung.forgetMost()
				after(time.Minute + 2*test.hungEvery)
				for i, g := range targets {
					starts := slices.DeleteFunc(g.started(), func(s time.Time) bool { return s.Before(warmedUp) })
					require.LessOrEqual(t, g.most, 1, "never twice at once")
					interval := 5 * time.Second
					if i%2 == 0 {
						interval = test.hungEvery
					}
					require.GreaterOrEqual(t, len(starts), 2, "check %d", i)
					for k := 1; k < len(starts); k++ {
						require.InDelta(t, interval, starts[k].Sub(starts[k-1]), float64(interval)/5, "check %d: within 20 %%", i)
					}
				}
				require.LessOrEqual(t, hung.most, test.mostHung)
				for i, c := range m.Report().Checks {
					require.Equal(t, map[bool]Status{true: Failing, false: Passing}[i%2 == 0], c.Status)
				}

				for _, g := range targets { // places for checks that hang hold up none that no longer does
					g.slow(0)
				}
				hung.slow(0)
				after(8 * time.Second)
				for _, c := range m.Report().Checks {
					require.Equal(t, Passing, c.Status, c.Name)
				}
			})
		})
	}
}

// TestAllHungAtOnce begins with everything hung: the first verdict of the
// checks behind them in the queue must not wait for timeouts.
func TestAllHungAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := &target{}
		var checks []Check
		for i := range 250 {
			checks = append(checks, check(fmt.Sprint("hung", i), &target{takes: forever}))
		}
		checks = append(checks, check("last", last))
		n := launch(t, Config{Checks: checks})
		after(900 * time.Millisecond)
		require.Equal(t, Passing, n.status(t, "last"), "250 hung probes at 32 for each 100 ms")
	})
}

// TestMaxConcurrent counts probes that take far longer than any scheduler looks
// away.
func TestMaxConcurrent(t *testing.T) {
	tests := map[string]struct {
		takes time.Duration
		cfg   Config
		proc  bool
		want  int
	}{
		"short":                     {takes: 90 * time.Millisecond, cfg: Config{MaxConcurrent: 7}, want: 7},
		"long":                      {takes: 1200 * time.Millisecond, cfg: Config{MaxConcurrent: 7}, want: 7},
		"hung":                      {takes: forever, cfg: Config{MaxConcurrent: 7}, want: 7},
		"one":                       {takes: 1200 * time.Millisecond, cfg: Config{MaxConcurrent: 1}, want: 1},
		"default":                   {takes: 1990 * time.Millisecond, want: 256},
		"short, default":            {takes: 90 * time.Millisecond, want: 32},
		"long, with a process":      {takes: 1200 * time.Millisecond, proc: true, want: 32},
		"hung, with a process":      {takes: forever, proc: true, want: 32},
		"few, long, with a process": {takes: 1200 * time.Millisecond, cfg: Config{MaxConcurrent: 4}, proc: true, want: 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &target{takes: test.takes} // counts how many run at once
				counts := make([]int, max(60, test.want+20))
				for i := range counts {
					c := check(fmt.Sprint("c", i), g)
					c.Process = test.proc
					c.Probe = func(ctx context.Context) error {
						counts[i]++ // a check has one run at once
						return g.probe(ctx)
					}
					test.cfg.Checks = append(test.cfg.Checks, c)
				}
				n := launch(t, test.cfg)
				after(3 * time.Minute)
				require.Equal(t, test.want, g.most)
				require.NoError(t, n.stop())
				require.Positive(t, slices.Min(counts))
				require.LessOrEqual(t, slices.Max(counts)-slices.Min(counts), 2, "each in its turn")
			})
		})
	}
}

// TestDeafProbesGiveUpTheirPlace: what ignores its time limit may never end.
func TestDeafProbesGiveUpTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var checks []Check
		for i := range 10 {
			c := check(fmt.Sprint("deaf", i), &target{})
			c.Probe = func(context.Context) error { <-release; return nil }
			c.Process = true
			checks = append(checks, c)
		}
		well, hung := &target{}, &target{takes: forever}
		checks = append(checks, check("well", well), check("hung", hung))
		n := launch(t, Config{Checks: checks, MaxConcurrent: 2})
		after(time.Minute)
		require.Equal(t, Passing, n.status(t, "well"))
		require.Equal(t, Failing, n.status(t, "deaf9"))
		wells, hungs := well.count(), hung.count()
		after(time.Minute)
		require.Equal(t, 12, well.count()-wells)
		require.Equal(t, 12, hung.count()-hungs)
		close(release)
	})
}

func TestNoPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &target{takes: 7 * time.Second}
		c := check("slow", g)
		c.Interval, c.Timeout = time.Second, 10*time.Second
		launch(t, Config{Checks: []Check{c}})
		after(time.Minute)
		require.Equal(t, 1, g.most)
		starts := g.started()
		for k := 1; k < len(starts); k++ {
			require.Equal(t, 8*time.Second, starts[k].Sub(starts[k-1]), "the next time of the grid, and nothing made up for")
		}
	})
}

func TestDependentsAreRecheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, top := &target{err: errDown}, &target{}
		b, c := check("base", base), check("top", top, "base")
		b.Interval, c.Interval = time.Second, time.Hour
		n := launch(t, Config{Checks: []Check{b, c}})
		after(10*time.Second + 500*time.Millisecond)
		base.set(nil)
		after(time.Second)
		require.Equal(t, 1, top.count())
		require.Equal(t, base.started()[len(base.started())-1], top.started()[0])
		require.Equal(t, [2]int{200, 200}, n.codes())
	})
}

func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &target{}
		wake := make(chan struct{}, 1)
		c := check("unit", g)
		c.Interval, c.FailAfter, c.Wake = time.Hour, 1, wake
		n := launch(t, Config{Checks: []Check{c, check("other", &target{})}})
		after(time.Minute)
		require.Equal(t, 1, g.count())
		g.set(errDown)
		wake <- struct{}{}
		synctest.Wait()
		require.Equal(t, [2]int{202, 503}, n.codes(), "at once")

		// A wake during a run may tell of something that the run did not see.
		g.slow(time.Second)
		g.set(nil)
		wake <- struct{}{}
		after(500 * time.Millisecond)
		g.set(errDown)
		wake <- struct{}{}
		after(2 * time.Second)
		require.Equal(t, 4, g.count())
		require.Equal(t, Failing, n.status(t, "unit"))
		g.slow(0)

		// However often it is woken, a check is not run in a tight loop.
		runs := g.count()
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			select {
			case wake <- struct{}{}:
			default:
			}
			after(100 * time.Microsecond)
		}
		require.InDelta(t, 20, g.count()-runs, 2)

		close(wake) // must not spin either
		runs = g.count()
		after(time.Minute)
		require.LessOrEqual(t, g.count()-runs, 1)
		require.NoError(t, n.stop())
	})
}

// TestProbeThatIgnoresItsContext is reported, is never run twice at once, and
// does not hold up the end of Run for ever.
func TestProbeThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := &target{}
		c := check("deaf", g)
		c.Target = "somewhere"
		c.Probe = func(ctx context.Context) error {
			_ = g.probe(ctx)
			if g.count() > 1 {
				<-release
			}
			return nil
		}
		n := launch(t, Config{Checks: []Check{c, check("other", &target{})}})
		after(4 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		after(20 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes(), "each interval that it goes on counts as a failure")
		require.Equal(t, "test somewhere: still running more than 1s after its timeout, want a result within 2s", n.check(t, "deaf").Error)
		require.Equal(t, 2, g.count())
		result, err := n.RunCheck(t.Context(), "deaf")
		require.NoError(t, err)
		require.False(t, result.Passed())

		begun := time.Now()
		err = n.stop()
		require.EqualError(t, err, "stop checks: probes ignore their context and still run: deaf")
		require.Equal(t, stopPatience, time.Since(begun))
		close(release)
		synctest.Wait()
		require.Equal(t, Failing, n.status(t, "deaf"), "a result after the end is nobody's")
	})
	synctest.Test(t, func(t *testing.T) { // one that comes back is run again
		release := make(chan struct{})
		g := &target{}
		c := check("deaf", g)
		c.Probe = func(ctx context.Context) error {
			<-release
			return g.probe(ctx)
		}
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Minute)
		require.Equal(t, [2]int{202, 503}, n.codes())
		require.Equal(t, 0, g.count())
		close(release)
		synctest.Wait()
		require.Equal(t, Failing, n.status(t, "deaf"), "its late pass is no pass")
		require.Equal(t, "test: passed, but too late, want a result within 2s", n.check(t, "deaf").Error)
		after(5 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.NoError(t, n.stop())
	})
}

func TestRunEndsWithItsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		for i := range 50 {
			checks = append(checks, check(fmt.Sprint("c", i), &target{takes: forever}))
		}
		n := launch(t, Config{Checks: checks})
		after(500 * time.Millisecond)
		begun := time.Now()
		require.NoError(t, n.stop())
		require.Zero(t, time.Since(begun))
		for _, c := range n.Report().Checks {
			require.Equal(t, Unknown, c.Status, "a run that the end cut short says nothing")
		}
		require.Equal(t, [2]int{503, 503}, n.codes(), "the answers stay")
	})
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := launch(t, Config{})
		after(time.Second)
		require.ErrorContains(t, n.Run(t.Context()), "already running")
		require.NoError(t, n.stop())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, n.Run(ctx), "one after the other is fine")
	})
}

func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var beats []time.Time
		n := launch(t, Config{Beat: func() { beats = append(beats, time.Now()) }})
		begun := time.Now()
		after(time.Minute)
		require.NoError(t, n.stop())
		require.GreaterOrEqual(t, len(beats), 60)
		for i, b := range beats {
			if i > 0 {
				begun = beats[i-1]
			}
			require.LessOrEqual(t, b.Sub(begun), maxPause)
		}
	})
}

// TestRandomHistories runs random graphs of checks through random weather and
// holds every report against what the words in the package doc say.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 0))
				targets := make([]*target, 12)
				var checks []Check
				for i := range targets {
					targets[i] = &target{}
					c := check(fmt.Sprint("c", i), targets[i])
					c.Interval = time.Duration(1+rnd.IntN(10)) * time.Second
					c.FailAfter, c.PassAfter = 1+rnd.IntN(3), 1+rnd.IntN(3)
					c.Gates = Gates{Health: rnd.IntN(3) > 0, Ready: rnd.IntN(3) > 0}
					if rnd.IntN(4) == 0 {
						c.Severity = Warning
					}
					for d := range i {
						if rnd.IntN(4) == 0 {
							c.DependsOn = append(c.DependsOn, fmt.Sprint("c", d))
						}
					}
					checks = append(checks, c)
				}
				n := launch(t, Config{Checks: checks})
				for range 300 {
					g := targets[rnd.IntN(len(targets))]
					switch rnd.IntN(4) {
					case 0:
						g.set(errDown)
					case 1:
						g.slow(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					default:
						g.set(nil)
						g.slow(0)
					}
					after(time.Duration(rnd.IntN(4000)) * time.Millisecond)
					requireConsistent(t, checks, n.Report())
				}
			})
		})
	}
}

// requireConsistent checks a report without reloads against the definitions.
func requireConsistent(t *testing.T, checks []Check, r *Report) {
	t.Helper()
	byName := map[string]CheckReport{}
	var roots []string
	for _, c := range r.Checks {
		byName[c.Name] = c
		if c.Status == Failing {
			roots = append(roots, c.Name)
		}
	}
	require.ElementsMatch(t, roots, r.Roots)
	healthy, ready := true, true
	for _, c := range checks {
		got := byName[c.Name]
		blocked := false
		for _, d := range c.DependsOn {
			s := byName[d].Status
			blocked = blocked || s == Failing || s == Blocked
		}
		require.Equal(t, blocked, got.Status == Blocked, "%s is %s", c.Name, got.Status)
		require.Equal(t, got.Status == Failing, got.Error != "")
		require.Equal(t, blocked, len(got.BlockedBy) > 0)
		for _, root := range got.BlockedBy {
			require.Contains(t, roots, root)
		}
		if c.Severity != Warning && got.Status != Passing {
			healthy = healthy && !c.Gates.Health
			ready = ready && !c.Gates.Ready
		}
	}
	require.Equal(t, healthy, r.State == Healthy)
	require.Equal(t, ready, r.ReadyState == Healthy)
}
