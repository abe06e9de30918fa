package roll_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

var (
	killStep  = flag.Int("kill-step", 30*rarer, "TestKilledAnywhere kills at every such place, and at fewer where they are many; 1: at all")
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
	beforeBlob  place = "before a request to the journal's blobs"
	afterBlob   place = "after a request to the journal's blobs, before its answer"
)

// A victim is a rollout of a bad version whose runner is killed.
type victim struct {
	setup  setup
	places []place
	least  int // deaths at each place, when it is killed at all
	rare   int // of so many places of a step one is taken when not all are
}

var victims = map[string]victim{
	"batches": {
		setup:  setup{rollout: quickly},
		places: []place{beforeRead, beforeWrite, afterWrite, beforeEntry, afterEntry}, least: 8, rare: 1,
	},
	"blobs": {
		setup:  setup{rollout: quickly},
		places: []place{beforeBlob, afterBlob, afterWrite}, least: 8, rare: 3,
	},
	"platform-rolling": {
		setup:  platform,
		places: []place{beforeRead, beforeWrite, afterWrite, beforeEntry, afterEntry}, least: 5, rare: 2,
	},
	"platform-auto-os": {
		setup:  automatic,
		places: []place{beforeRead, beforeWrite, afterWrite, beforeEntry, afterEntry}, least: 5, rare: 2,
	},
}

// A runner that is killed at any request, before it is served or after, and at any entry
// of the journal, leaves a rollout that the next one takes to the same end: halted, the
// one member back, the version marked, nothing drained or suspended, and no member
// upgraded twice.
func TestKilledAnywhere(t *testing.T) {
	for name, v := range victims {
		v.setup.health = "Unhealthy"
		step := *killStep
		if step > 1 {
			step *= v.rare
		}
		for _, at := range v.places {
			t.Run(name+"/"+strings.ReplaceAll(string(at), " ", "-"), func(t *testing.T) {
				t.Parallel()
				deaths, step := 0, step
				if at == beforeWrite || at == afterWrite {
					step = max(step/3, 1) // there are not many
				}
				for n := max(step/4/rarer, 1); v.killedAt(t, name, at, n); n += step {
					deaths++
				}
				require.GreaterOrEqual(t, deaths, max(v.least/step, 1), at)
				t.Logf("%d deaths %s", deaths, at)
			})
		}
	}
}

// killedAt kills a runner at the n-th place, and lets another one finish. It is false
// when the first one came to the end.
func (v *victim) killedAt(t *testing.T, name string, at place, n int) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	blobs := name == "blobs"
	name = fmt.Sprintf("%s, %s, %d", name, at, n)
	setup := v.setup
	setup.unjudged = n%5 != 1 // the judge takes half of the time, and hears much the same again
	var s *site               // with a journal of blobs
	var w *world
	var first *run
	host := "" // of the first one's client
	if blobs {
		s = blobSite(t, setup, nil)
		w = s.world
		p := s.process()
		p.begins(t.Context(), "the first")
		first, host = p.run, p.host
	} else {
		w = newWorld(t, setup)
		first = w.start()
	}
	seen := 0
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
				w.graves = map[string]bool{host: true}
			}
			return seen == n
		}
	}
	reads := func(r *http.Request) bool {
		return r.Method == http.MethodGet && !isBlob(r) && (*everyRead || strings.HasSuffix(r.URL.Path, "/vmss-authz"))
	}
	writes := func(r *http.Request) bool { return r.Method != http.MethodGet && !isBlob(r) }
	w.mu.Lock()
	w.killed = cancel
	switch at {
	case beforeRead:
		w.before = die(reads)
	case beforeWrite:
		w.before = die(writes)
	case afterWrite:
		w.after = die(writes)
	case beforeEntry, afterEntry:
		w.journal.atEntry, w.journal.torn = len(w.journal.entries)+n, at == afterEntry
	case beforeBlob:
		w.before = die(isBlob)
	case afterBlob:
		w.after = die(isBlob)
	}
	w.mu.Unlock()
	_, err := first.Run(ctx)
	died := w.isDead()
	if died {
		require.Error(t, err, name)
	} else {
		require.NoError(t, err, name)
	}
	w.revive()
	second := w.runner
	if s != nil {
		second = func() *run {
			w.server.Advance(time.Minute + time.Second) // until the lease of the dead is over
			p := s.process()
			require.NoError(t, p.take(t.Context(), "the second"), name)
			return p.run
		}
	}
	c := second()
	status, err := c.Run(t.Context())
	log := name + "\n" + first.log() + "\n---\n" + c.log()
	require.NoError(t, err, log)
	w.halted(&status, log)
	return died
}

// halted checks the end of a rollout whose version is bad.
func (w *world) halted(s *roll.Status, log string) {
	t := w.t
	t.Helper()
	require.Equal(t, rollout.Halted, s.State.Phase, log)
	require.Equal(t, 3, w.on("vmss-authz", before), log)
	set, err := w.reader.ScaleSet(context.Background(), sets+"/vmss-authz")
	require.NoError(t, err, log)
	was := s.Plan.Sets["vmss-authz"]
	require.Equal(t, was.Mode, set.Upgrade.Mode, log)
	require.Equal(t, was.Model, w.model("vmss-authz"), log)
	require.Equal(t, w.setup.latest, set.Upgrade.AutoOS, log)
	image := w.image()
	failed, _ := image.Failed()
	require.True(t, failed, log)
	require.True(t, image.Excluded || image.Region("eastus").Excluded && image.Region("westus3").Excluded, log)
	require.Len(t, rollout.Accounting(s.State), 1, log)
	if was.Driver == fleet.DriverBatches {
		require.Equal(t, 2, w.count("POST", "/manualupgrade 202"), log)
	}
	require.Empty(t, s.State.Drains, log)
	w.blast(s.Events, log)

	require.Contains(t, w.last("/setOrchestrationServiceState 202"), "Resume", log)
	require.Empty(t, w.stillDrained(), log)
}

// last is the last request that was served whose text has a part.
func (w *world) last(part string) string {
	for _, line := range slices.Backward(w.servedNow()) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// stillDrained are the members that were drained, whose disk is the old one, and that
// nobody has undrained.
func (w *world) stillDrained() []string {
	drained := map[string]bool{}
	for _, line := range w.servedNow() {
		switch {
		case strings.Contains(line, "/runCommand 202") && strings.Contains(line, "fleet-agent drain"):
			drained[strings.Split(line, "/")[8]] = true
		case strings.Contains(line, "/runCommand 202") && strings.Contains(line, "fleet-agent undrain"):
			delete(drained, strings.Split(line, "/")[8])
		case strings.Contains(line, "/manualupgrade 202"):
			for member := range drained {
				if strings.Contains(line, `"`+member+`"`) {
					delete(drained, member) // its disk is another
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(drained))
}

// No write follows from a failed read: whatever read fails for good, from whatever
// moment on, nothing is written to what cannot be read.
func TestFailedReads(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"/virtualMachineScaleSets/vmss-authz", "/vmss-authz/virtualMachines", "/providers/Microsoft.Compute/virtualMachines", "/rollingUpgrades/latest", "/versions/1.7.1"} {
		for _, from := range []int{0, 2, 4, 7}[:4/rarer] {
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
