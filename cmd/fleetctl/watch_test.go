package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

// watch runs status --watch on looks that take no time, for a time, and returns what
// it wrote, screen by screen.
func watch(t *testing.T, format command.Format, looks ...func() (fleet.Fleet, error)) (screens []string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, stdout := seeing(t, cli.Style{}, 80, looks...)
		g.format = format
		start := time.Now()
		g.now = func() time.Time { return fleettest.Now.Add(time.Since(start)) }
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		err = g.watchStatus(ctx, statusFlags{interval: defaultInterval})
		separator := "\n\n"
		if format == command.JSON {
			separator = "\n"
		}
		screens = strings.Split(strings.TrimRight(strings.ReplaceAll(stdout.String(), "\n\n  SCALE", "\n  SCALE"), "\n"), separator)
	})
	return screens, err
}

// TestWatch: a look that fails leaves the last table with its age and the error, and
// the next one that succeeds takes them away.
func TestWatch(t *testing.T) {
	failing := func() (fleet.Fleet, error) {
		return fleet.Fleet{}, errors.New("read scale sets: 429 Too Many Requests " + strings.Repeat("again ", 1000))
	}
	screens, err := watch(t, command.Text, reads(fleettest.Article()), failing, reads(fleettest.WrongVersion()))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, screens, 4) // the second one has a blank line of its own
	require.Contains(t, screens[0], "3 scale sets as they should be")
	require.Contains(t, screens[1], "! this is 15s old, and the last look failed\n  read scale sets: 429 Too Many Requests again")
	require.Len(t, strings.Split(screens[1], "\n"), 4, "an error of any length takes three lines")
	require.Contains(t, screens[2], "3 scale sets as they should be")
	require.Contains(t, screens[3], "1 of 3 scale sets failing")
	require.NotContains(t, screens[3], "old")
}

// TestWatchFirst: there is nothing to keep when the first look fails.
func TestWatchFirst(t *testing.T) {
	boom := errors.New("boom")
	_, err := watch(t, command.Text, func() (fleet.Fleet, error) { return fleet.Fleet{}, boom })
	require.ErrorIs(t, err, boom)
}

// TestWatchJSON: one document a line, that of a look that failed included.
func TestWatchJSON(t *testing.T) {
	failing := func() (fleet.Fleet, error) { return fleet.Fleet{}, errors.New("boom") }
	lines, err := watch(t, command.JSON, reads(fleettest.Article()), failing)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, lines, 3)
	var status fleet.StatusView
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &status))
	require.Len(t, status.ScaleSets, 3)
	require.JSONEq(t, `{"version": 1, "at": "2026-07-09T03:12:59Z", "error": "boom", "last_at": "2026-07-09T03:12:44Z"}`, lines[1])
}

// TestWatchHangs: a look that does not end is ended.
func TestWatchHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := seeing(t, cli.Style{}, 80, nil)
		g.reader = hangingReader{}
		start := time.Now()
		err := g.watchStatus(t.Context(), statusFlags{interval: defaultInterval})
		require.EqualError(t, err, "no answer within 2m")
		require.Equal(t, watchTimeout, time.Since(start))
	})
}

type hangingReader struct{}

func (hangingReader) Fleet(ctx context.Context, _ azure.Scope) (fleet.Fleet, error) {
	<-ctx.Done()
	return fleet.Fleet{}, ctx.Err()
}

// seeCommand runs a command line that reads f.
func seeCommand(t *testing.T, f fleet.Fleet, args ...string) (stdout string, code int, stderr string) {
	t.Helper()
	g, out := seeing(t, cli.Style{}, 80, reads(f))
	root := newRootCommand(g)
	root.SetArgs(append(args, "-g", fleettest.Group, "--subscription", fleettest.Subscription))
	err := root.ExecuteContext(t.Context())
	var talk strings.Builder
	code = cli.Report(&talk, cli.Style{}, "fleetctl", err)
	return out.String(), code, talk.String()
}

// TestSeeExit: status and images tell, verify judges.
func TestSeeExit(t *testing.T) {
	for _, tc := range []struct {
		command string
		fleet   fleet.Fleet
		code    int
		says    string
	}{
		{"status", fleettest.WrongVersion(), 0, "x 1 of 3 scale sets failing"},
		{"images", fleettest.NotReplicated(), 0, "x 1.8.0 did not replicate to westus3"},
		{"verify", fleettest.Article(), 0, "+ all 14 checks ok"},
		{"verify", fleettest.WrongVersion(), 3, "x 2 failed, 0 not known, 13 ok"},
		{"verify", fleettest.NoHealth(), 3, "? 0 failed, 4 not known, 10 ok"},
		{"verify", fleet.Fleet{At: fleettest.Now}, 3, "? 0 failed, 1 not known, 0 ok"},
		{"status", fleet.Fleet{At: fleettest.Now}, 0, "? no scale sets"},
	} {
		stdout, code, stderr := seeCommand(t, tc.fleet, tc.command)
		require.Equal(t, tc.code, code, tc.command)
		require.Contains(t, stdout, tc.says)
		require.Empty(t, stderr)
	}
}

// TestStatusOf: named scale sets, and nothing else, with their members.
func TestStatusOf(t *testing.T) {
	stdout, code, _ := seeCommand(t, fleettest.Article(), "status", "VMSS-authz")
	require.Zero(t, code)
	require.Contains(t, stdout, "+ 1 scale set as they should be")
	require.Contains(t, stdout, "MEMBER")
	require.NotContains(t, stdout, "vmss-batch")

	_, code, stderr := seeCommand(t, fleettest.Article(), "status", "vmss-autz")
	require.Equal(t, 1, code)
	require.Equal(t, "fleetctl: error: there is no scale set \"vmss-autz\"\nfleetctl: hint: did you mean vmss-authz?\n", stderr)
	_, _, stderr = seeCommand(t, fleettest.Article(), "status", "other")
	require.Contains(t, stderr, "hint: there are vmss-authz, vmss-authz-west, vmss-batch\n")
	_, _, stderr = seeCommand(t, fleettest.Thousand(), "status", "other")
	require.Contains(t, stderr, "vmss-authz-04 and 5 more\n")
	_, _, stderr = seeCommand(t, fleet.Fleet{}, "status", "other")
	require.Contains(t, stderr, "hint: there is none at all where this looks\n")
}

// TestSeeUsage: what makes no sense is wrong usage.
func TestSeeUsage(t *testing.T) {
	for _, args := range [][]string{
		{"status", "--interval", "10s"},
		{"status", "--watch", "--interval", "1s"},
		{"status", "--health-age", "-1s"},
		{"verify", "--health-age", "-1s"},
		{"images", "vmss-authz"},
		{"verify", "vmss-authz"},
	} {
		stdout, code, stderr := seeCommand(t, fleettest.Article(), args...)
		require.Equal(t, 2, code, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "hint:")
	}
}

// TestHealthAge: how old health may be is for who looks to say.
func TestHealthAge(t *testing.T) {
	stdout, code, _ := seeCommand(t, fleettest.Article(), "verify", "--health-age", "5s")
	require.Equal(t, 3, code)
	require.Contains(t, stdout, "than 5s: what hangs")
	_, code, _ = seeCommand(t, fleettest.Article(), "verify", "--health-age", "1h")
	require.Zero(t, code)
}

// TestTimeIsOver: who is told that the time is over is told which.
func TestTimeIsOver(t *testing.T) {
	var talk strings.Builder
	require.Equal(t, 1, cli.Report(&talk, cli.Style{}, "fleetctl", explained(context.DeadlineExceeded)))
	require.Equal(t, "fleetctl: error: the time of --timeout is over\nfleetctl: hint: give it more time\n", talk.String())
}

// TestWatchThrottled: a look that Azure throttles is not followed by another before
// its time.
func TestWatchThrottled(t *testing.T) {
	looks := 0
	throttled := func() (fleet.Fleet, error) {
		looks++
		return fleet.Fleet{}, &azure.Error{Kind: azure.Throttled, Text: "throttled", After: 20 * time.Minute}
	}
	screens, err := watch(t, command.Text, reads(fleettest.Article()), throttled, throttled)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, looks)
	require.Contains(t, strings.Join(screens, "\n"), "throttled")
}
