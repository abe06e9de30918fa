package health

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestApplyKeepsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, changed := &target{}, &target{}
		n := launch(t, Config{Checks: []Check{check("kept", kept), check("changed", changed), check("gone", &target{err: errDown})}})
		after(12 * time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		before := n.check(t, "kept")
		explained, _ := n.Explain("kept")
		runs := kept.count()

		replacement := &target{takes: time.Second}
		other := check("changed", replacement)
		other.Fingerprint = "2"
		require.NoError(t, n.Apply(Config{Checks: []Check{other, check("kept", kept)}}))
		require.Equal(t, before, n.check(t, "kept"))
		now, _ := n.Explain("kept")
		require.Equal(t, explained, now, "results and schedule")
		require.Equal(t, Unknown, n.status(t, "changed"))
		require.Equal(t, [2]int{202, 503}, n.codes(), "bad is kept, too, until the new check has its first result")
		require.Len(t, n.Report().Checks, 2)
		after(1100 * time.Millisecond)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.Equal(t, runs, kept.count())
		after(time.Minute)
		require.Equal(t, runs+12, kept.count())

		bad := check("bad", &target{err: errDown})
		require.NoError(t, n.Apply(Config{Checks: []Check{other, check("kept", kept), bad}}))
		after(time.Second)
		require.Equal(t, [2]int{202, 503}, n.codes())
		require.NoError(t, n.stop()) // so that no pass of the scheduler helps
		require.NoError(t, n.Apply(Config{Checks: []Check{other, check("kept", kept)}}))
		require.Equal(t, [2]int{200, 200}, n.codes(), "the answers are changed when Apply returns")
		require.Equal(t, 3, changed.count(), "the replaced probe is not run again")
	})
}

func TestApplyKeepsTheVerdictUntilNewChecksHaveResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := &target{}
		n := launch(t, Config{Checks: []Check{check("old", old)}})
		after(time.Second)
		hung := &target{takes: forever}
		require.NoError(t, n.Apply(Config{Checks: []Check{check("old", old), check("new", hung)}}))
		after(1900 * time.Millisecond)
		require.Equal(t, [2]int{200, 200}, n.codes(), "not decided yet")
		after(200 * time.Millisecond)
		require.Equal(t, [2]int{202, 503}, n.codes(), "its first result is a timeout")

		// A check that is known to fail needs no result of another one.
		hung.slow(0)
		after(5 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.NoError(t, n.Apply(Config{Checks: []Check{check("old", old), check("newer", &target{takes: forever})}}))
		c := check("newest", &target{err: errDown})
		require.NoError(t, n.Apply(Config{Checks: []Check{c, check("newer", &target{takes: forever})}}))
		after(500 * time.Millisecond)
		require.Equal(t, [2]int{202, 503}, n.codes())
	})
}

func TestApplyWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := launch(t, Config{Checks: []Check{check("a", &target{})}})
		after(time.Second)
		before := n.Report()
		require.Error(t, n.Apply(Config{Checks: []Check{check("b", &target{}), check("c", &target{}, "nobody")}}))
		require.Equal(t, before, n.Report())
		after(time.Minute)
		require.Equal(t, [2]int{200, 200}, n.codes())
	})
}

func TestApplyChangesDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, top := &target{err: errDown}, &target{}
		n := launch(t, Config{Checks: []Check{check("base", base), check("top", top, "base")}})
		after(time.Second)
		require.Equal(t, Blocked, n.status(t, "top"))
		require.NoError(t, n.Apply(Config{Checks: []Check{check("base", base), check("top", top)}}))
		synctest.Wait()
		require.Equal(t, Passing, n.status(t, "top"), "freed, so run at once")
		require.NoError(t, n.Apply(Config{Checks: []Check{check("base", base), check("top", top, "base")}}))
		require.Equal(t, Blocked, n.status(t, "top"))
	})
}

func TestApplyUsesTheNewWakeAndProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &target{}, &target{}
		c := check("unit", first)
		c.Interval = time.Hour
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Second)
		wake := make(chan struct{}, 1)
		c.Probe, c.Wake = second.probe, wake
		require.NoError(t, n.Apply(Config{Checks: []Check{c}}))
		wake <- struct{}{}
		after(time.Second)
		require.Equal(t, 1, first.count())
		require.Equal(t, 1, second.count())
	})
}

func TestApplyBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Config{Checks: []Check{check("a", &target{err: errDown})}})
		require.NoError(t, err)
		require.NoError(t, m.Apply(Config{}))
		require.Equal(t, Starting, m.Report().State)
		require.Empty(t, m.Report().Checks)
	})
}

// TestReloadStorm reloads every 50 ms of virtual time, with checks that come,
// go, change and hang, while probers ask without pause: no answer is ever
// missing or anything but healthy.
func TestReloadStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := make([]*target, 20)
		for i := range targets {
			targets[i] = &target{takes: time.Duration(i) * 20 * time.Millisecond}
		}
		hung := &target{takes: forever}
		configure := func(round int) Config {
			var checks []Check
			for i, g := range targets {
				c := check(fmt.Sprint("c", i), g)
				switch i % 4 {
				case 1:
					c.Fingerprint = strconv.Itoa(round) // never the same
				case 2:
					if round%2 == 0 {
						continue // comes and goes
					}
				}
				if i%5 == 4 {
					c.DependsOn = []string{fmt.Sprint("c", i-1)}
				}
				if i%5 == 4 && (i-1)%4 == 2 {
					c.DependsOn = nil
				}
				checks = append(checks, c)
			}
			warning := check("hung", hung)
			warning.Severity = Warning
			return Config{Checks: append(checks, warning)}
		}
		n := launch(t, configure(1))
		after(2 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())

		done := make(chan struct{})
		var probers sync.WaitGroup
		for range 4 {
			probers.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						if codes := n.codes(); codes != [2]int{200, 200} {
							t.Errorf("answers %v", codes)
							return
						}
					}
				}
			})
		}
		for round := range 400 {
			require.NoError(t, n.Apply(configure(round)))
			after(50 * time.Millisecond)
		}
		close(done)
		probers.Wait()
		require.NoError(t, n.Apply(configure(1)))
		after(5 * time.Second)
		require.Equal(t, [2]int{200, 200}, n.codes())
		require.NoError(t, n.stop())
	})
}
