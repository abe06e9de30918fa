package health

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRunCheckDecidesNothing: a node in service stays in service whatever is run
// by hand, and one out of service stays out; neither counters nor history nor the
// schedule know of it.
func TestRunCheckDecidesNothing(t *testing.T) {
	for _, known := range []error{nil, errDown} {
		synctest.Test(t, func(t *testing.T) {
			g := &target{err: known}
			c := check("app", g)
			c.FailAfter = 1
			n := launch(t, Config{Checks: []Check{c}})
			after(7 * time.Second)
			report, explanation, codes := n.Report(), explain(t, n, "app"), n.codes()

			g.set(map[bool]error{true: errDown, false: nil}[known == nil]) // the opposite
			for range 5 {
				begun := time.Now()
				result, err := n.RunCheck(t.Context(), "app")
				require.NoError(t, err)
				require.Equal(t, begun, result.At)
				require.Equal(t, known != nil, result.Passed())
			}
			synctest.Wait()
			require.Equal(t, report, n.Report())
			require.Equal(t, explanation, explain(t, n, "app"))
			require.Equal(t, codes, n.codes())

			after(3 * time.Second) // the schedule's own run finds it
			require.NotEqual(t, codes, n.codes())
			require.Len(t, g.started(), 2+5+1)
			require.Equal(t, explanation.NextRun, g.started()[7])
		})
	}
}

func explain(t *testing.T, n *node, name string) Explanation {
	t.Helper()
	e, ok := n.Explain(name)
	require.True(t, ok)
	return e
}

func TestRunCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, top := &target{}, &target{takes: time.Second}
		n := launch(t, Config{Checks: []Check{check("base", base), check("top", top, "base")}})
		after(3 * time.Second)
		_, err := n.RunCheck(t.Context(), "bottom")
		require.ErrorIs(t, err, ErrUnknownCheck)

		top.set(errDown)
		begun := time.Now()
		result, err := n.RunCheck(t.Context(), "top")
		require.NoError(t, err)
		require.Equal(t, Result{At: begun, Latency: time.Second, Error: "down"}, result)

		// Somebody else's run in flight began too early; the answer is the next one's.
		top.set(nil)
		first := make(chan Result)
		go func() {
			r, err := n.RunCheck(t.Context(), "top")
			if err == nil {
				first <- r
			}
		}()
		after(500 * time.Millisecond)
		top.set(errDown)
		result, err = n.RunCheck(t.Context(), "top")
		require.NoError(t, err)
		require.Equal(t, "down", result.Error)
		require.True(t, (<-first).Passed())

		// A blocked check can be run.
		top.set(nil)
		base.set(errDown)
		after(12 * time.Second)
		require.Equal(t, Blocked, n.status(t, "top"))
		result, err = n.RunCheck(t.Context(), "top")
		require.NoError(t, err)
		require.True(t, result.Passed())
		require.Equal(t, Blocked, n.status(t, "top"))

		// The caller's patience, which ends the run, and the end of the monitor.
		top.slow(forever)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.RunCheck(ctx, "top")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.Zero(t, top.active)
		ended := make(chan error)
		go func() {
			_, err := n.RunCheck(t.Context(), "top")
			ended <- err
		}()
		after(100 * time.Millisecond)
		require.NoError(t, n.stop())
		require.ErrorContains(t, <-ended, "stopped before it had a result")
		_, err = n.RunCheck(t.Context(), "top")
		require.ErrorContains(t, err, "not running")
	})
}

// TestAskingForACheckThatHangs: an operator does not wait behind the others, and
// they do not wait for the operator.
func TestAskingForACheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		for i := range 100 {
			checks = append(checks, check(fmt.Sprint("hung", i), &target{takes: forever}))
		}
		good := &target{}
		n := launch(t, Config{Checks: append(checks, check("good", good)), MaxConcurrent: 4})
		after(10 * time.Minute)
		runs := good.count()
		for _, name := range []string{"hung0", "hung50", "hung99"} {
			begun := time.Now()
			result, err := n.RunCheck(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, "timed out after 2s: context deadline exceeded", result.Error)
			require.Equal(t, 2*time.Second, time.Since(begun))
		}

		answers := make(chan error, 2*maxByHand)
		for i := range cap(answers) {
			go func() {
				_, err := n.RunCheck(t.Context(), fmt.Sprint("hung", i))
				answers <- err
			}()
		}
		refused := 0
		for range cap(answers) {
			if err := <-answers; err != nil {
				require.ErrorContains(t, err, "8 checks are being run by hand already")
				refused++
			}
		}
		require.Equal(t, maxByHand, refused)
		require.InDelta(t, runs+8/5, good.count(), 1, "the schedule of the others goes on")
	})
}

// TestAskingForADeafCheck: a probe that ignores its context is told of as the
// schedule tells of it, and is not started by hand a second time.
func TestAskingForADeafCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := &target{}
		c := check("deaf", g)
		c.Interval, c.Probe = time.Hour, func(ctx context.Context) error {
			_ = g.probe(ctx)
			if g.count() > 1 {
				<-release
			}
			return nil
		}
		n := launch(t, Config{Checks: []Check{c}})
		after(time.Second)
		for range 3 {
			result, err := n.RunCheck(t.Context(), "deaf")
			require.NoError(t, err)
			require.Equal(t, "test: still running more than 1s after its timeout, want a result within 2s", result.Error)
		}
		require.Equal(t, 2, g.count())
		require.Equal(t, Passing, n.status(t, "deaf"))
		require.EqualError(t, n.stop(), "stop checks: probes ignore their context and still run: deaf")
		close(release)
	})
}
