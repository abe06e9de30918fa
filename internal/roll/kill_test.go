package roll_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

var (
	killStep  = flag.Int("kill-step", 12, "TestKilledAnywhere kills at every such place; 1: at all")
	everyRead = flag.Bool("every-read", false, "TestKilledAnywhere kills at every read, and not at one of each observation")
)

// quickly is a rollout that comes to its end soon.
const quickly = `  waves:
    - {name: canary, scale_sets: [vmss-authz], instances: 1, soak: 5m}
    - {name: all, scale_sets: [vmss-authz], soak: 5m}
  gates: {healthy_within: 1m}
  drain: run-command
`

// A place is where a runner is killed.
type place string

const (
	beforeRead  place = "before a read"
	beforeWrite place = "before a write"
	afterWrite  place = "after a write, before its answer"
	beforeEntry place = "before an entry"
	afterEntry  place = "after an entry, before it is told"
)

// A runner that is killed at any request, before it is served or after, and at any entry
// of the journal, leaves a rollout that the next one takes to the same end: halted, the
// one member back, the version marked, nothing drained or suspended, and no member
// upgraded twice.
func TestKilledAnywhere(t *testing.T) {
	for _, at := range []place{beforeRead, beforeWrite, afterWrite, beforeEntry, afterEntry} {
		t.Run(strings.ReplaceAll(string(at), " ", "-"), func(t *testing.T) {
			deaths := 0
			for n := 1; killedAt(t, at, n); n += *killStep {
				deaths++
			}
			require.GreaterOrEqual(t, deaths, 8 / *killStep, at)
			t.Logf("%d deaths %s", deaths, at)
		})
	}
}

// killedAt kills a runner at the n-th place, and lets another one finish. It is false
// when the first one came to the end.
func killedAt(t *testing.T, at place, n int) bool {
	t.Helper()
	w := newWorld(t, setup{health: "Unhealthy", rollout: quickly})
	name := fmt.Sprintf("%s, %d", at, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := w.start()
	w.killed = cancel
	seen := 0
	reads := func(r *http.Request) bool {
		return r.Method == http.MethodGet && (*everyRead || strings.HasSuffix(r.URL.Path, "/vmss-authz"))
	}
	die := func(met func(*http.Request) bool) func(*http.Request) bool {
		return func(r *http.Request) bool {
			if !met(r) {
				return false
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			seen++
			if seen == n {
				name += ": " + r.Method + " " + r.URL.Path
			}
			return seen == n
		}
	}
	writes := func(r *http.Request) bool { return r.Method != http.MethodGet }
	switch at {
	case beforeRead:
		w.before = die(reads)
	case beforeWrite:
		w.before = die(writes)
	case afterWrite:
		w.after = die(writes)
	case beforeEntry, afterEntry:
		w.journal.atEntry, w.journal.torn = len(w.journal.entries)+n, at == afterEntry
	}
	_, err := first.Run(ctx)
	died := w.isDead()
	if died {
		require.Error(t, err, name)
	} else {
		require.NoError(t, err, name)
	}
	w.revive()
	second := w.runner()
	s, err := second.Run(t.Context())
	log := name + "\n" + first.log() + "\n---\n" + second.log()
	require.NoError(t, err, log)
	w.halted(&s, log)
	return died
}

// halted checks the end of a rollout whose version is bad.
func (w *world) halted(s *roll.Status, log string) {
	t := w.t
	t.Helper()
	require.Equal(t, rollout.Halted, s.State.Phase, log)
	require.Equal(t, 3, w.on("vmss-authz", before), log)
	require.Equal(t, before, w.model("vmss-authz"), log)
	image := w.image()
	failed, _ := image.Failed()
	require.True(t, failed, log)
	require.True(t, image.Excluded, log)
	require.Len(t, rollout.Accounting(s.State), 1, log)
	require.Equal(t, 2, w.count("POST", "/manualupgrade 202"), log)
	require.Empty(t, s.State.Drains, log)

	w.mu.Lock()
	defer w.mu.Unlock()
	repairs, drained := "", map[string]bool{}
	for _, line := range w.served {
		switch {
		case strings.Contains(line, "/setOrchestrationServiceState 202"):
			repairs = line
		case strings.Contains(line, "fleet-agent drain"):
			drained[strings.Split(line, "/")[8]] = true
		case strings.Contains(line, "fleet-agent undrain"):
			delete(drained, strings.Split(line, "/")[8])
		case strings.Contains(line, "/manualupgrade 202"):
			for member := range drained {
				if strings.Contains(line, `"`+member+`"`) {
					delete(drained, member) // its disk is another
				}
			}
		}
	}
	require.Contains(t, repairs, "Resume", log)
	require.Empty(t, drained, log)
}

// No write follows from a failed read: whatever read fails for good, from whatever
// moment on, nothing is written to what cannot be read.
func TestFailedReads(t *testing.T) {
	for _, part := range []string{"/virtualMachineScaleSets/vmss-authz", "/vmss-authz/virtualMachines", "/providers/Microsoft.Compute/virtualMachines", "/rollingUpgrades/latest", "/versions/1.7.1"} {
		for _, from := range []int{0, 2, 4, 7} {
			t.Run(fmt.Sprint(strings.Trim(strings.ReplaceAll(part, "/", "."), "."), from), func(t *testing.T) {
				w := newWorld(t, setup{rollout: quickly})
				c := w.start()
				for range from {
					s, err := c.Advance(t.Context())
					require.NoError(t, err)
					w.server.Advance(s.Again.Sub(w.clock.Now()))
				}
				w.faulty = func(r *http.Request) bool { return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, part) }
				already := len(w.servedNow())
				for range 30 {
					s, err := c.Advance(t.Context())
					require.NoError(t, err)
					w.server.Advance(s.Again.Sub(w.clock.Now()))
				}
				about := "/vmss-authz"
				if strings.Contains(part, "/versions/") {
					about = part
				}
				for _, line := range w.servedNow()[already:] {
					require.False(t, !strings.HasPrefix(line, "GET ") && strings.Contains(line, about), "%s\n%s", line, c.log())
				}
			})
		}
	}
}

func (w *world) servedNow() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.served)
}
