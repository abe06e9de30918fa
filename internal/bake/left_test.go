package bake_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A template that hangs in Creating is left behind by name, and the bake goes on under
// the next number. When it publishes its version after all, the next bake sees to it
// that nobody uses that, and deletes the template.
func TestLeftBehind(t *testing.T) {
	w := newWorld(t, setup{builds: "  - {fails: stuck-creating, count: 1, for: 2h, publishes: true}\n"})
	c := w.newCall("a", "1.8.{n}", "one")
	result, err := c.Run(t.Context())
	require.NoError(t, err, c.told)
	require.Equal(t, "1.8.1", result.Version)
	require.True(t, slices.ContainsFunc(c.told, func(s string) bool {
		return strings.Contains(s, "ubuntu-app-1.8.0 is left behind: Creating since 2026-03-05 14:00 UTC. It may still publish 1.8.0")
	}), c.told)
	require.Equal(t, "1.8.0", w.tags("1.8.1")[fleet.TagLeft])
	w.server.Advance(5 * time.Minute)
	require.Equal(t, []string{"ubuntu-app-1.8.0"}, w.names(builds), "it cannot be deleted now")

	w.server.Advance(4 * time.Hour)
	require.Empty(t, w.tags("1.8.0")[fleet.TagFailed])
	c = w.newCall("b", "1.8.{n}", "one")
	result, err = c.Run(t.Context())
	require.NoError(t, err, c.told)
	require.Equal(t, "1.8.2", result.Version, "the content is that of 1.8.0, which is not gone on with")
	require.Equal(t, "left behind by 1.8.1", w.tags("1.8.0")[fleet.TagFailed])
	w.server.Advance(time.Hour)
	require.Empty(t, w.names(builds))
}

// A build that failed keeps its template, and so its log and its number, until the next
// number is reserved.
func TestFailedBuildIsSwept(t *testing.T) {
	w := newWorld(t, setup{builds: "  - {fails: customizer, customizer: install, exit_code: 4, count: 1}\n"})
	_, err := w.newCall("a", "1.8.{n}", "one").Run(t.Context())
	failure, ok := errors.AsType[*fleet.BakeError](err)
	require.True(t, ok, err)
	require.Equal(t, fleet.FailBuild, failure.Kind)
	require.Equal(t, "the customizer install failed: its script exited with 4", failure.Headline())
	w.server.Advance(time.Hour)
	require.Equal(t, []string{"ubuntu-app-1.8.0"}, w.names(builds))

	result, err := w.newCall("b", "1.8.{n}", "two").Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.8.1", result.Version)
	w.server.Advance(time.Hour)
	require.Empty(t, w.names(builds))
}

// A build that took too long while its version was still on the way has failed at once;
// the version is tagged when it has come, by the next bake, which needs its template to
// know.
func TestFailedWhilePublishing(t *testing.T) {
	t.Parallel() // it waits, for retries or an agent
	w := newWorld(t, setup{replication: "2h"})
	_, err := w.newCall("a", "1.8.{n}", "one").Run(t.Context())
	failure, ok := errors.AsType[*fleet.BakeError](err)
	require.True(t, ok, err)
	require.Equal(t, fleet.FailBuild, failure.Kind)
	require.Empty(t, w.tags("1.8.0")[fleet.TagFailed])

	second := w.newCall("b", "1.8.{n}", "one") // fails as well, and keeps the first template
	_, err = second.Run(t.Context())
	require.Error(t, err)
	require.Equal(t, "1.8.1", second.Version())
	require.Contains(t, w.names(builds), "ubuntu-app-1.8.0")
	w.server.Advance(4 * time.Hour)
	third := w.newCall("c", "1.8.{n}", "one")
	_, _ = third.Run(t.Context())
	require.Equal(t, "1.8.2", third.Version())
	require.Equal(t, "the build failed", w.tags("1.8.0")[fleet.TagFailed])
	require.Equal(t, "the build failed", w.tags("1.8.1")[fleet.TagFailed])
}

// Unchanged content is baked anew: its source has moved since.
func TestBakedAgain(t *testing.T) {
	w := newWorld(t, setup{})
	for _, want := range []string{"1.8.0", "1.8.1"} {
		result, err := w.newCall("call "+want, "1.8.{n}", "one").Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, result.Version)
	}
}

// A bake without a boot test is complete; one with a boot test goes on with it.
func TestBootTestLater(t *testing.T) {
	w := newWorld(t, setup{})
	c := w.newCall("a", "1.8.{n}", "one")
	c.NoBootTest = true
	result, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, bake.Untested, result.Outcome)

	result, err = w.newCall("b", "1.8.{n}", "one").Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.8.0", result.Version)
	require.Equal(t, bake.Proven, result.Outcome)
}

// A capacity that is not there says nothing of the image: the version stays untested,
// and the next call goes on with its test.
func TestInconclusive(t *testing.T) {
	w := newWorld(t, setup{})
	require.NoError(t, w.server.SetFault(arm.Fault{
		Kind: arm.FaultError, Method: http.MethodPut, Path: "/virtualMachineScaleSets/boot-", Count: 1, Status: http.StatusConflict,
		Code: "AllocationFailed", Message: "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.",
	}))
	_, err := w.newCall("a", "1.8.{n}", "one").Run(t.Context())
	failure, ok := errors.AsType[*fleet.BakeError](err)
	require.True(t, ok, err)
	require.Equal(t, fleet.FailInconclusive, failure.Kind)
	require.Empty(t, w.tags("1.8.0")[fleet.TagFailed])
	result, err := w.newCall("b", "1.8.{n}", "one").Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.8.0", result.Version)
	require.Equal(t, bake.Proven, result.Outcome)
}

// A wait in which nothing happens costs one look every ten seconds, and nothing is
// written.
func TestQuietWait(t *testing.T) {
	w := newWorld(t, setup{replication: "40m"})
	c := w.newCall("a", "1.8.{n}", "one")
	_, err := c.Run(t.Context())
	require.NoError(t, err, c.told)
	require.LessOrEqual(t, w.asked, 240+120)
	require.Equal(t, 7, w.count("PUT ")+w.count("POST ")+w.count("PATCH ")+w.count("DELETE "))
}

// After a read that failed nothing is written, whichever read it is: a wait looks again
// later, and anything else ends the call.
func TestNothingAfterAFailedRead(t *testing.T) {
	t.Parallel() // it waits, for retries or an agent
	for at := 1; ; at++ {
		w := newWorld(t, setup{})
		failed, writes := false, 0
		w.refuse = func(n int, r *http.Request) bool {
			switch {
			case r.Method == http.MethodGet && (n == at || n == at+1 && failed):
				failed = true
				return true
			case failed && n == at+1 && r.Method != http.MethodGet:
				writes++
			}
			return false
		}
		c := w.newCall("a", "1.8.{n}", "one")
		_, err := c.Run(t.Context())
		if w.asked < at {
			require.NoError(t, err)
			break
		}
		require.Zero(t, writes, "request %d: %v", at, err)
	}
}

// An instance that is gone from under a boot test was removed by another call that goes
// on with the same bake, whose verdict counts; or by somebody, and then it is booted
// once more, and once only.
func TestInstanceGone(t *testing.T) {
	const sets = group + "/providers/Microsoft.Compute/virtualMachineScaleSets"
	const set = sets + "/boot-ubuntu-app-1-8-0"
	for name, tt := range map[string]struct {
		byCall  bool
		removed int // how often somebody removes it
		boots   int
	}{
		"another call": {byCall: true, removed: 1, boots: 1},
		"somebody":     {removed: 1, boots: 2},
		"twice":        {removed: 2, boots: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{})
			c := w.newCall("first", "1.8.{n}", "one")
			wait, removed := c.Wait, 0
			c.Wait = func(ctx context.Context, d time.Duration) error {
				if _, there := w.read(set); there && removed < tt.removed && w.count("PUT "+set, " 201") > removed {
					removed++
					if tt.byCall {
						other := w.newCall("second", "1.8.{n}", "one")
						_, err := other.Run(ctx)
						require.NoError(t, err, other.told)
					} else {
						_, err := w.reader.Send(ctx, fleet.Write{Method: http.MethodDelete, ID: set})
						require.NoError(t, err)
						w.server.Advance(5 * time.Minute)
					}
				}
				return wait(ctx, d)
			}
			result, err := c.Run(t.Context())
			require.Equal(t, tt.removed, removed)
			require.Equal(t, tt.boots, w.count("PUT "+set, " 201"))
			require.Equal(t, []string{"vmss-authz"}, w.names(sets))
			if tt.removed > 1 {
				failure, ok := errors.AsType[*fleet.BakeError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, fleet.FailInconclusive, failure.Kind)
				require.Contains(t, failure.Said, "the instance is gone")
				return
			}
			require.NoError(t, err, strings.Join(c.told, "\n"))
			require.Equal(t, bake.Proven, result.Outcome)
			require.Equal(t, "1.8.0", result.Version)
		})
	}
}
