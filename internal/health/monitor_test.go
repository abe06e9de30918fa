package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFirstVerdict(t *testing.T) {
	t.Run("no checks: healthy at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := launch(t, Config{})
			after(0)
			require.Equal(t, [2]int{200, 200}, n.codes())
		})
	})
	t.Run("before Run: starting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			answers := NewAnswers(AnswersConfig{})
			m, err := New(Config{Answers: answers})
			require.NoError(t, err)
			m.SetDraining(true)
			m.SetDraining(false)
			n := &node{Monitor: m, answers: answers}
			require.Equal(t, [2]int{503, 503}, n.codes())
			require.Equal(t, Starting, m.Report().State)
		})
	})
	t.Run("every gating check has its first result", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fast, slow := &target{}, &target{takes: time.Second}
			n := launch(t, Config{Checks: []Check{check("fast", fast), check("slow", slow)}})
			after(900 * time.Millisecond)
			require.Equal(t, [2]int{503, 503}, n.codes())
			require.Equal(t, Unknown, n.status(t, "slow"))
			after(200 * time.Millisecond)
			require.Equal(t, [2]int{200, 200}, n.codes())
		})
	})
	t.Run("a failing first result decides at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := launch(t, Config{Checks: []Check{check("a", &target{err: errDown})}})
			after(time.Millisecond)
			require.Equal(t, [2]int{202, 503}, n.codes())
			require.Equal(t, []string{"a"}, n.Report().Roots)
			require.Equal(t, "down", n.check(t, "a").Error)
		})
	})
	t.Run("a hung dependency decides at its timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := launch(t, Config{Checks: []Check{check("top", &target{}, "base"), check("base", &target{takes: forever})}})
			after(1900 * time.Millisecond)
			require.Equal(t, [2]int{503, 503}, n.codes(), "a check that waits for an unknown one is not decided")
			require.Equal(t, Unknown, n.status(t, "top"))
			after(200 * time.Millisecond)
			require.Equal(t, [2]int{202, 503}, n.codes(), "blocked is decided, and does not pass")
			require.Equal(t, Blocked, n.status(t, "top"))
			require.Equal(t, []string{"base"}, n.Report().Roots)
			require.Equal(t, "timed out after 2s: context deadline exceeded", n.check(t, "base").Error)
		})
	})
	t.Run("a chain is decided without waiting for intervals", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := launch(t, Config{Checks: []Check{
				check("d", &target{}, "c"), check("c", &target{}, "b"), check("b", &target{}, "a"), check("a", &target{}),
			}})
			after(10 * time.Millisecond)
			require.Equal(t, [2]int{200, 200}, n.codes())
		})
	})
}

func TestStartGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &target{err: errDown}
		n := launch(t, Config{Checks: []Check{check("a", a)}, StartGrace: 59*time.Second + time.Millisecond})
		after(59 * time.Second)
		require.Equal(t, [2]int{503, 503}, n.codes(), "unhealthy in the grace would burn the extension's own")
		require.Equal(t, Starting, n.Report().State)
		require.Equal(t, Failing, n.status(t, "a"))
		after(time.Millisecond)
		require.Equal(t, [2]int{202, 503}, n.codes(), "the grace ends on time, not at the next result")
	})
	synctest.Test(t, func(t *testing.T) {
		a := &target{}
		n := launch(t, Config{Checks: []Check{check("a", a)}, StartGrace: time.Minute})
		after(time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		a.set(errDown)
		after(11 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes(), "the first healthy verdict ends the grace")
	})
}

func TestHysteresisInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &target{}
		c := check("a", a)
		c.FailAfter, c.PassAfter = 3, 2
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Second)
		since := n.Report().Since
		passing := n.check(t, "a").Since

		a.set(errDown)
		after(10 * time.Second) // failures at 5 s and 10 s
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.Empty(t, n.check(t, "a").Error, "still passing")
		require.Equal(t, since, n.Report().Since)
		require.Equal(t, passing, n.check(t, "a").Since)
		after(5 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		since = n.check(t, "a").Since
		require.Equal(t, since, n.Report().Since)

		a.set(errors.New("down, but otherwise"))
		after(5 * time.Second)
		require.Equal(t, "down, but otherwise", n.check(t, "a").Error)
		require.Equal(t, since, n.check(t, "a").Since, "since survives repeats")

		a.set(nil)
		after(5 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		after(5 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.Greater(t, n.Report().Since, since)
	})
}

func TestSeverityAndGates(t *testing.T) {
	tests := map[string]struct {
		severity Severity
		gates    Gates
		want     [2]int
	}{
		"critical, both":   {Critical, Gates{Health: true, Ready: true}, [2]int{202, 503}},
		"default, both":    {"", Gates{Health: true, Ready: true}, [2]int{202, 503}},
		"critical, health": {Critical, Gates{Health: true}, [2]int{202, 200}},
		"critical, ready":  {Critical, Gates{Ready: true}, [2]int{200, 503}},
		"critical, none":   {Critical, Gates{}, [2]int{200, 200}},
		"warning, both":    {Warning, Gates{Health: true, Ready: true}, [2]int{200, 200}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := check("a", &target{err: errDown})
				c.Severity, c.Gates = test.severity, test.gates
				n := launch(t, Config{Checks: []Check{c, check("b", &target{})}})
				after(time.Second)
				require.Equal(t, test.want, n.codes())
				require.Equal(t, Failing, n.status(t, "a"))
				require.Equal(t, []string{"a"}, n.Report().Roots, "a root is named whatever it gates")
			})
		})
	}
}

func TestBlockedChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns, hsm, app, other := &target{}, &target{}, &target{}, &target{}
		n := launch(t, Config{Checks: []Check{
			check("app", app, "hsm", "other"), check("hsm", hsm, "dns"), check("dns", dns), check("other", other),
		}})
		after(time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		names := []string{}
		for _, c := range n.Report().Checks {
			names = append(names, c.Name)
		}
		require.Equal(t, []string{"dns", "hsm", "other", "app"}, names, "dependencies first")

		dns.set(errDown)
		after(12 * time.Second)
		require.Equal(t, Failing, n.status(t, "dns"))
		require.Equal(t, Blocked, n.status(t, "hsm"))
		require.Equal(t, Blocked, n.status(t, "app"))
		require.Equal(t, Passing, n.status(t, "other"))
		require.Equal(t, []string{"dns"}, n.Report().Roots)
		require.Equal(t, []string{"dns"}, n.check(t, "app").BlockedBy, "the root, not the link between")
		require.Equal(t, [2]int{202, 503}, n.codes())
		explanation, ok := n.Explain("dns")
		require.True(t, ok)
		require.Equal(t, []string{"hsm", "app"}, explanation.Blocks)

		runs := hsm.count()
		after(time.Minute)
		require.Equal(t, runs, hsm.count(), "blocked checks are not run")

		// Two roots at once are both named.
		other.set(errDown)
		after(12 * time.Second)
		require.Equal(t, []string{"dns", "other"}, n.Report().Roots)
		require.Equal(t, []string{"dns", "other"}, n.check(t, "app").BlockedBy)
		other.set(nil)
		after(6 * time.Second)
		require.Equal(t, []string{"dns"}, n.check(t, "app").BlockedBy)

		// The way back: each link is run as soon as the one before it passes,
		// and nothing is healthy before all of them have been measured anew.
		hsm.slow(time.Second)
		dns.set(nil)
		for n.status(t, "dns") != Passing {
			after(100 * time.Millisecond)
		}
		require.Equal(t, Unknown, n.status(t, "hsm"))
		require.Equal(t, [2]int{202, 503}, n.codes(), "what was known before the block does not count")
		after(time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.Equal(t, Passing, n.status(t, "app"))
	})
}

// TestRootsOf: what is shown as the reason is what decides.
func TestRootsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := func(name string, gates Gates, dependsOn ...string) Check {
			c := check(name, &target{err: errDown}, dependsOn...)
			c.Gates = gates
			return c
		}
		warns := down("warns", Gates{Health: true, Ready: true})
		warns.Severity = Warning
		link := down("link", Gates{Health: true, Ready: true}, "fine")
		link.Severity = Warning
		n := launch(t, Config{Checks: []Check{
			warns,
			down("disk", Gates{Health: true, Ready: true}),
			down("node", Gates{Health: true}),
			down("database", Gates{Ready: true}),
			down("nothing", Gates{}),
			check("fine", &target{}),
			link,                                    // a warning in itself, but
			down("app", Gates{Ready: true}, "link"), // not for what depends on it
		}})
		after(time.Second)
		r := n.Report()
		require.Equal(t, []string{"warns", "disk", "node", "database", "nothing", "link"}, r.Roots)
		require.Equal(t, []string{"disk", "node"}, r.RootsOf(Gates{Health: true}))
		require.Equal(t, []string{"disk", "database", "link"}, r.RootsOf(Gates{Ready: true}))
		require.Equal(t, []string{"disk", "node", "database", "link"}, r.RootsOf(Gates{Health: true, Ready: true}))
		require.Empty(t, r.RootsOf(Gates{}))
		require.Len(t, r.Roots, 6, "the report stays what it was")
	})
}

// TestStaleResultDoesNotCount lets a run begin before its check is blocked and
// end after it was freed again.
func TestStaleResultDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, top := &target{}, &target{}
		b, c := check("base", base), check("top", top, "base")
		b.Interval, b.FailAfter = time.Second, 1
		c.Timeout, c.PassAfter = 4*time.Second, 2 // so that one pass does not undo a failure
		n := launch(t, Config{Checks: []Check{b, c}})
		after(4900 * time.Millisecond)
		top.slow(forever)
		after(200 * time.Millisecond) // top hangs from 5 s on, until 9 s
		base.set(errDown)
		after(time.Second)
		require.Equal(t, Blocked, n.status(t, "top"))
		base.set(nil)
		top.slow(0)
		after(time.Second)
		require.Equal(t, Unknown, n.status(t, "top"), "its run from before the block goes on")
		after(2 * time.Second)
		require.Equal(t, Passing, n.status(t, "top"), "the old run's timeout decided nothing, and a new run began at once")
		explanation, _ := n.Explain("top")
		require.Contains(t, explanation.Results[1].Error, "timed out", "but it is remembered")
	})
}

func TestDrainingAndMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &target{takes: time.Millisecond} // not over while this goroutine runs
		n := launch(t, Config{Checks: []Check{check("a", a)}})
		after(time.Second)
		for name, set := range map[string]func(bool){"draining": n.SetDraining, "maintenance": n.SetMaintenance} {
			set(true) // no waiting from here on: it takes effect before it returns
			require.Equal(t, [2]int{200, 503}, n.codes(), name)
			require.False(t, n.Report().Ready())
			require.Equal(t, Healthy, n.Report().State)
			set(false)
			require.Equal(t, [2]int{200, 503}, n.codes(), name+": nothing has been seen since")
			require.Equal(t, []string{"a"}, n.Report().Returning)
			after(time.Millisecond)
			require.Equal(t, [2]int{200, 200}, n.codes(), name)
			require.Empty(t, n.Report().Returning)
			after(time.Second)
		}
		n.SetDraining(true)
		n.SetMaintenance(true)
		n.SetDraining(false)
		require.Equal(t, [2]int{200, 503}, n.codes(), "one is enough")

		a.set(errDown)
		after(10 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes(), "the verdict goes on meanwhile")
		a.set(nil)
		after(10 * time.Second)
		require.Equal(t, [2]int{200, 503}, n.codes())
	})
	synctest.Test(t, func(t *testing.T) { // before Run, as after a restart in mid-drain
		answers := NewAnswers(AnswersConfig{})
		m, err := New(Config{Answers: answers})
		require.NoError(t, err)
		m.SetDraining(true)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = m.Run(ctx) }()
		after(time.Second)
		require.Equal(t, [2]int{200, 503}, (&node{Monitor: m, answers: answers}).codes())
		cancel()
	})
}

// TestACordonHoldsNothing: no workload was stopped, so what fails has failed.
func TestACordonHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &target{}
		n := launch(t, Config{Checks: []Check{check("app", app)}})
		after(time.Second)
		n.SetCordoned(true)
		require.Equal(t, [2]int{200, 503}, n.codes())
		app.set(errDown)
		after(time.Minute)
		require.Equal(t, [2]int{202, 503}, n.codes())
		n.SetCordoned(false)
		app.set(nil)
		after(time.Minute)
		require.Equal(t, [2]int{200, 200}, n.codes())
	})
}

// TestAProbeThatHangsOverTheEndOfADrain: no result is not a good one.
func TestAProbeThatHangsOverTheEndOfADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		release := make(chan struct{})
		c := check("hsm", nil)
		c.Probe = func(context.Context) error { // deaf, as a process in the kernel is
			if hang.Load() {
				<-release
			}
			return nil
		}
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Second)
		n.SetDraining(true)
		hang.Store(true)
		after(time.Minute)
		require.Equal(t, [2]int{200, 503}, n.codes())
		n.SetDraining(false)
		after(time.Minute)
		require.Equal(t, [2]int{202, 503}, n.codes())
		close(release)
	})
}

// TestStoppingSaysNothingAboutAProbe: a run that the end of the agent cuts short is
// no failure, neither in the verdict and the report nor in a log or a counter.
func TestStoppingSaysNothingAboutAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &target{}
		c := check("a", slow)
		c.FailAfter = 1
		var log bytes.Buffer
		n := launch(t, Config{Checks: []Check{c}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		after(4 * time.Second)
		slow.slow(forever)
		after(2 * time.Second) // the second run is under way since 5 s
		require.Equal(t, 2, slow.count())
		log.Reset()
		require.NoError(t, n.stop())
		require.Equal(t, Passing, n.status(t, "a"))
		require.Equal(t, [2]int{200, 200}, n.codes())
		e, ok := n.Explain("a")
		require.True(t, ok)
		require.Len(t, e.Results, 1)
		require.Empty(t, log.String())
	})
}

// TestALogThatHangsHoldsNothingUp: what is logged is logged when the monitor's lock
// is free, so that a log which blocks (journald's disk does) keeps nobody from the
// answers. In real time: virtual time stands still when a lock is waited for.
func TestALogThatHangsHoldsNothingUp(t *testing.T) {
	release, hangs := make(chan struct{}), make(chan struct{})
	down := &target{err: errDown}
	answers := NewAnswers(AnswersConfig{})
	m, err := New(Config{
		Checks: []Check{check("a", down)}, Answers: answers,
		Logger: slog.New(blockingLog{func() {
			select {
			case hangs <- struct{}{}:
			case <-release:
			}
			<-release
		}}),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	<-hangs
	told := make(chan struct{})
	go func() {
		m.SetDraining(true)
		m.SetMaintenance(true)
		_ = m.Report()
		close(told)
	}()
	select {
	case <-told:
		require.Equal(t, 503, get(answers.Handler(), "/readyz").Code)
	case <-time.After(10 * time.Second):
		t.Error("the monitor's lock is held while it logs")
	}
	close(release)
	cancel()
	require.NoError(t, <-ended)
}

// blockingLog is a log handler that calls write for every line.
type blockingLog struct{ write func() }

func (l blockingLog) Enabled(context.Context, slog.Level) bool { return true }
func (l blockingLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l blockingLog) WithGroup(string) slog.Handler            { return l }

func (l blockingLog) Handle(context.Context, slog.Record) error {
	l.write()
	return nil
}

// TestHealthIsHeldInADrain: the drain stops what a check looks at. /healthz does
// not change because of it, and afterwards tells the truth again; /readyz never
// says ready before the checks do.
func TestHealthIsHeldInADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, page := &target{}, &target{}
		n := launch(t, Config{Checks: []Check{check("app", app), check("page", page, "app")}})
		after(time.Second)
		n.SetDraining(true)
		app.set(errDown)
		after(time.Minute)
		require.Equal(t, Failing, n.status(t, "app"))
		require.Equal(t, Blocked, n.status(t, "page"))
		require.Equal(t, [2]int{200, 503}, n.codes())

		app.slow(300 * time.Millisecond) // it comes back, and takes a moment to say so
		app.set(nil)
		n.SetDraining(false)
		require.Equal(t, [2]int{200, 503}, n.codes(), "nothing is known yet")
		after(100 * time.Millisecond)
		require.Equal(t, [2]int{200, 503}, n.codes(), "nothing is known yet")
		after(time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())

		n.SetDraining(true)
		app.set(errDown)
		after(time.Minute)
		n.SetDraining(false)
		after(time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes(), "it did not come back")
		n.SetDraining(true)
		after(time.Minute)
		require.Equal(t, [2]int{202, 503}, n.codes(), "what was unhealthy before is not made healthy")
	})
	synctest.Test(t, func(t *testing.T) { // over a restart in mid-drain
		answers := NewAnswers(AnswersConfig{})
		m, err := New(Config{Answers: answers, Checks: []Check{check("app", &target{err: errDown})}})
		require.NoError(t, err)
		m.HoldHealthy()
		m.SetDraining(true)
		n := &node{Monitor: m, answers: answers}
		require.Equal(t, [2]int{200, 503}, n.codes())
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = m.Run(ctx) }()
		after(time.Minute)
		require.Equal(t, [2]int{200, 503}, n.codes())
		cancel()
	})
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &target{}
		n := launch(t, Config{Checks: []Check{check("a", a)}})
		closed := func(ch <-chan struct{}) bool {
			select {
			case <-ch:
				return true
			default:
				return false
			}
		}
		after(time.Second)
		changed := n.Changed()
		after(time.Hour)
		require.False(t, closed(changed), "results that say the same are no news")
		n.SetDraining(false)
		require.False(t, closed(changed))
		n.SetDraining(true)
		require.True(t, closed(changed))

		changed = n.Changed()
		a.set(errDown)
		after(5 * time.Second)
		require.False(t, closed(changed), "below fail_after")
		after(5 * time.Second)
		require.True(t, closed(changed))

		changed = n.Changed()
		a.set(errors.New("down in another way"))
		after(5 * time.Second)
		require.True(t, closed(changed), "the reason is part of the report")
	})
}

func TestReportIsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &target{err: errDown}
		n := launch(t, Config{Checks: []Check{check("base", base), check("top", &target{}, "base")}})
		after(time.Second)
		before := n.Report()
		base.set(nil)
		after(10 * time.Second)
		require.Equal(t, Failing, before.Checks[0].Status)
		require.Equal(t, []string{"base"}, before.Checks[1].BlockedBy)
		require.Equal(t, Healthy, n.Report().State)
	})
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &target{takes: 30 * time.Millisecond}
		n := launch(t, Config{Checks: []Check{check("a", a)}})
		_, ok := n.Explain("b")
		require.False(t, ok)
		after(61 * time.Second)
		a.set(errDown)
		after(10 * time.Second)
		e, ok := n.Explain("a")
		require.True(t, ok)
		require.Equal(t, Failing, e.Check.Status)
		require.Equal(t, 30*time.Millisecond, e.Check.Latency)
		require.Equal(t, 2, e.Consecutive)
		require.Equal(t, 5*time.Second, e.Interval)
		require.Len(t, e.Results, 10)
		require.Equal(t, "down", e.Results[1].Error)
		require.True(t, e.Results[2].Passed())
		for i, r := range e.Results {
			require.Equal(t, 30*time.Millisecond, r.Latency)
			if i > 0 {
				require.Equal(t, 5*time.Second, e.Results[i-1].At.Sub(r.At), "newest first")
			}
		}
		require.Equal(t, e.Results[0].At.Add(5*time.Second), e.NextRun)
		require.False(t, e.Running)
	})
}

func TestPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := check("a", &target{})
		c.Probe = func(context.Context) error {
			return make([]error, 1)[time.Now().Year()]
		}
		n := launch(t, Config{Checks: []Check{c, check("b", &target{})}})
		after(time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		require.Contains(t, n.check(t, "a").Error, "test: probe panicked: runtime error: index out of range")
		require.Contains(t, n.check(t, "a").Error, "monitor_test.go:", "the place is named")
		require.Equal(t, Passing, n.status(t, "b"))
	})
}
