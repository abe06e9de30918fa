package health

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// waysOut are the ways out of service.
var waysOut = map[string]func(*Monitor, bool){
	"drain":       (*Monitor).SetDraining,
	"cordon":      (*Monitor).SetCordoned,
	"maintenance": (*Monitor).SetMaintenance,
}

// TestReadyOnlyOnEvidenceFromAfter: what passed before says nothing about a node
// that was out of service, however it was.
func TestReadyOnlyOnEvidenceFromAfter(t *testing.T) {
	for name, set := range waysOut {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app, slow := &target{}, &target{}
				rare := check("slow", slow)
				rare.Interval = time.Hour
				n := launch(t, Config{Checks: []Check{check("app", app), rare}})
				after(time.Second)
				require.Equal(t, [2]int{200, 200}, n.codes())

				set(n.Monitor, true)
				after(time.Second)
				app.set(errDown) // and no check has noticed
				slow.slow(time.Second)
				set(n.Monitor, false)
				for range 20 {
					require.Equal(t, 503, n.codes()[1])
					after(100 * time.Millisecond)
				}
				require.Equal(t, 2, slow.count(), "every check is run at once, and once")
				app.set(nil)
				after(5 * time.Second)
				require.Equal(t, [2]int{200, 200}, n.codes())
			})
		})
	}
}

// TestARunFromBeforeProvesNothing: a probe that looked before the node came back
// is cut short and run again.
func TestARunFromBeforeProvesNothing(t *testing.T) {
	for name, set := range waysOut {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				var runs atomic.Int32
				c := check("app", nil)
				c.Probe = func(ctx context.Context) error { // looks, and then takes its time
					runs.Add(1)
					seen := down.Load()
					select {
					case <-time.After(1500 * time.Millisecond):
					case <-ctx.Done():
					}
					if seen {
						return errDown
					}
					return nil
				}
				n := launch(t, Config{Checks: []Check{c}})
				after(2 * time.Second)
				require.Equal(t, [2]int{200, 200}, n.codes())
				set(n.Monitor, true)
				after(3500 * time.Millisecond) // in the middle of the second run
				require.EqualValues(t, 2, runs.Load())
				down.Store(true)
				set(n.Monitor, false)
				after(0)
				e, _ := n.Explain("app")
				require.Len(t, e.Results, 1, "what was cut short is no result")
				after(100 * time.Millisecond)
				require.EqualValues(t, 3, runs.Load(), "it did not wait for the run from before")
				for range 100 {
					require.Equal(t, 503, n.codes()[1])
					after(100 * time.Millisecond)
				}
			})
		})
	}
}

// TestBackFromADrain: the rule of starting, for a /healthz that was held.
func TestBackFromADrain(t *testing.T) {
	const (
		grace = 30 * time.Second
		ms    = time.Millisecond
	)
	type look struct {
		at      time.Duration // after the undrain
		answers [2]int
	}
	for name, tc := range map[string]struct {
		grace  time.Duration
		before error         // what the check found before the drain
		up     time.Duration // when the application is up, after the undrain
		looks  []look
	}{
		"up at once": {
			looks: []look{{0, [2]int{200, 503}}, {ms, [2]int{200, 200}}},
		},
		"never up, without start_grace": {
			up:    forever,
			looks: []look{{0, [2]int{200, 503}}, {ms, [2]int{202, 503}}, {time.Minute, [2]int{202, 503}}},
		},
		"up within start_grace": {
			grace: grace, up: 20 * time.Second,
			looks: []look{{0, [2]int{200, 503}}, {ms, [2]int{200, 503}}, {20*time.Second - ms, [2]int{200, 503}}, {21 * time.Second, [2]int{200, 200}}},
		},
		"not up within start_grace": {
			grace: grace, up: forever,
			looks: []look{{0, [2]int{200, 503}}, {grace - ms, [2]int{200, 503}}, {grace + ms, [2]int{202, 503}}},
		},
		"unhealthy before": {
			grace: grace, before: errDown, up: 20 * time.Second,
			looks: []look{{0, [2]int{202, 503}}, {ms, [2]int{202, 503}}, {20*time.Second - ms, [2]int{202, 503}}, {21 * time.Second, [2]int{200, 200}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := &target{err: tc.before}
				c := check("app", app)
				c.Interval = time.Second
				app.slow(ms / 10) // nothing is known in the moment of the undrain
				n := launch(t, Config{Checks: []Check{c}, StartGrace: tc.grace})
				after(2 * grace)
				n.SetDraining(true)
				app.set(errDown)
				after(time.Minute + 900*ms)
				if tc.up == 0 {
					app.set(nil)
				}
				n.SetDraining(false)
				begin := time.Now()
				for _, look := range tc.looks {
					if up := begin.Add(tc.up); tc.up > 0 && tc.up <= look.at {
						after(time.Until(up))
						app.set(nil)
					}
					if look.at > 0 {
						after(time.Until(begin.Add(look.at)))
					}
					require.Equal(t, look.answers, n.codes(), "%s after the undrain", look.at)
					r := n.Report()
					held, since := n.Held()
					require.Equal(t, r.ReadyState == Starting || held, len(r.Returning) > 0)
					require.Equal(t, held, since.Equal(begin))
				}
				held, _ := n.Held()
				require.False(t, held, "the hold ends")
			})
		})
	}
}

// TestBackFromADrainAfterARestart: the hold goes on with the grace that is left.
func TestBackFromADrainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{err: errDown}
		c := check("app", app)
		answers := NewAnswers(AnswersConfig{})
		m, err := New(Config{Answers: answers, Checks: []Check{c}, StartGrace: 30 * time.Second})
		require.NoError(t, err)
		n := &node{Monitor: m, answers: answers}
		m.HoldReturning(time.Now().Add(-10 * time.Second))
		require.Equal(t, [2]int{200, 503}, n.codes(), "before anything runs")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = m.Run(ctx) }()
		after(19 * time.Second)
		require.Equal(t, [2]int{200, 503}, n.codes())
		require.Equal(t, []string{"app"}, n.Report().Returning)
		after(2 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		require.Empty(t, n.Report().Returning)
	})
}

// TestDrainOnTheWayBack: a node that is held is held by the next drain, too.
func TestDrainOnTheWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{}
		n := launch(t, Config{Checks: []Check{check("app", app)}, StartGrace: 30 * time.Second})
		after(time.Minute)
		n.SetDraining(true)
		app.set(errDown)
		for range 3 {
			after(time.Minute)
			n.SetDraining(false)
			after(10 * time.Second)
			require.Equal(t, [2]int{200, 503}, n.codes())
			n.SetDraining(true)
			require.Empty(t, n.Report().Returning)
		}
		after(time.Hour)
		require.Equal(t, [2]int{200, 503}, n.codes())
	})
}

// TestRecoveredInTheDrain: a node that was unhealthy when the drain began is not
// held when it recovers meanwhile either.
func TestRecoveredInTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{err: errDown}
		n := launch(t, Config{Checks: []Check{check("app", app)}, StartGrace: 30 * time.Second})
		after(time.Minute)
		n.SetDraining(true)
		app.set(nil)
		after(10 * time.Second)
		require.Equal(t, [2]int{200, 503}, n.codes())
		app.set(errDown)
		after(10 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		n.SetDraining(false)
		after(time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
	})
}

// TestAFlakeAfterACordon: no workload was touched, so one bad result is worth as
// much as on any other day: /healthz keeps to fail_after. /readyz waits.
func TestAFlakeAfterACordon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{}
		n := launch(t, Config{Checks: []Check{check("app", app)}})
		after(time.Second)
		n.SetCordoned(true)
		after(time.Minute)
		app.set(errDown)
		n.SetCordoned(false)
		after(time.Second)
		require.Equal(t, [2]int{200, 503}, n.codes())
		require.Equal(t, []string{"app"}, n.Report().Returning)
		app.set(nil)
		after(5 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
	})
}

// undecidedError is the error of a probe that cannot tell yet.
type undecidedError struct{}

func (undecidedError) Error() string   { return "nothing yet" }
func (undecidedError) Undecided() bool { return true }

// TestUndecidedIsNoResult, and a probe that remembers is told to forget.
func TestUndecidedIsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var forgot []time.Time
		var told, failed atomic.Bool
		told.Store(true)
		c := check("app", nil)
		c.Forget = func(since time.Time) {
			forgot = append(forgot, since)
			told.Store(false)
		}
		c.Probe = func(context.Context) error {
			switch {
			case failed.Load():
				return errors.New("it says that it failed")
			case !told.Load():
				return fmt.Errorf("wrapped: %w", undecidedError{})
			}
			return nil
		}
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Second)
		n.SetDraining(true)
		require.Empty(t, forgot)
		n.SetDraining(false)
		require.Equal(t, []time.Time{time.Now()}, forgot)
		after(time.Minute)
		require.Equal(t, [2]int{200, 503}, n.codes(), "silence is neither good nor bad")
		require.Equal(t, Unknown, n.status(t, "app"))
		result, err := n.RunCheck(t.Context(), "app")
		require.NoError(t, err)
		require.Equal(t, "wrapped: nothing yet", result.Error)
		failed.Store(true)
		after(5 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
	})
}

// TestALittleLateOnTheWayBack: an application that is up a moment after the undrain
// is not waited for until its check's next time, and one that never comes up costs
// a few runs more. A cordon is no reason to hurry: fail_after counts on.
func TestALittleLateOnTheWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{}
		n := launch(t, Config{Checks: []Check{check("app", app)}, StartGrace: time.Minute})
		after(2 * time.Minute)
		out := func(set func(bool)) {
			set(true)
			after(time.Second + time.Millisecond)
			app.set(errDown)
			set(false)
		}
		for _, late := range []time.Duration{50, 150, 300, 1000, 2000} {
			late *= time.Millisecond
			out(n.SetDraining)
			after(late)
			app.set(nil)
			after(late + firstRetry)
			require.Equal(t, [2]int{200, 200}, n.codes(), late)
		}
		before := app.count()
		out(n.SetDraining)
		after(time.Minute)
		require.InDelta(t, 12+6, app.count()-before, 2)
		before = app.count()
		after(time.Hour)
		require.InDelta(t, 720, app.count()-before, 1, "every 5 s again")
	})
	for name, set := range waysOut {
		if name == "drain" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			app := &target{}
			c := check("app", app)
			c.Interval = time.Minute
			n := launch(t, Config{Checks: []Check{c}})
			after(10 * time.Second)
			set(n.Monitor, true)
			app.set(errDown)
			set(n.Monitor, false)
			after(40 * time.Second)
			require.Equal(t, 2, app.count(), "%s: one run at once, and no other before its time", name)
			require.Equal(t, [2]int{200, 503}, n.codes(), name)
		})
	}
}

// TestManyChecksComeBackAtOnce, within the bounds of what runs at once.
func TestManyChecksComeBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		for i := range 200 {
			checks = append(checks, check(fmt.Sprintf("c%d", i), &target{takes: 10 * time.Millisecond}))
		}
		n := launch(t, Config{Checks: checks})
		after(10 * time.Second)
		n.SetDraining(true)
		after(time.Minute)
		n.SetDraining(false)
		require.Len(t, n.Report().Returning, 200)
		after(time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
	})
}
