package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// oldJournals are journals of agents 0.1; its README says how they were recorded.
const oldJournals = "../drain/testdata/journals-0.1"

// oldEntry is what the test reads of a line itself, and not with the code under
// test.
type oldEntry struct {
	Time   time.Time
	Boot   string
	Kind   string
	Step   string
	Result string
	Cause  struct{ Kind string }
}

// oldLines reads a recorded journal.
func oldLines(t *testing.T, name string) (lines [][]byte, entries []oldEntry) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(oldJournals, name+".journal"))
	require.NoError(t, err)
	lines = slices.Collect(bytes.Lines(data))
	for _, line := range lines {
		_, text, ok := bytes.Cut(line, []byte{' '})
		require.True(t, ok)
		var e oldEntry
		require.NoError(t, json.Unmarshal(text, &e))
		entries = append(entries, e)
	}
	return lines, entries
}

// An oldStory is what was recorded: an event of which the test knows when it was
// published, and a plan.
type oldStory struct {
	event     simimds.EventSpec
	published time.Duration // since the beginning of virtual time
	steps     func() []*testStep
	result    drain.Result // of a drain that runs to its end
	from      int          // the first entry after which the agent is killed
}

// twoSteps is the plan of most stories.
func twoSteps() []*testStep {
	return []*testStep{{name: "one", takes: 3 * time.Second}, {name: "two", takes: 3 * time.Second}}
}

func oldStories() map[string]oldStory {
	event := func(kind string, notice time.Duration, resources ...string) simimds.EventSpec {
		return simimds.EventSpec{ID: "E1", Type: kind, Notice: notice, Resources: append([]string{self}, resources...), Hold: true}
	}
	const drained = drain.ResultSucceeded
	return map[string]oldStory{
		"drain":       {event(simimds.Terminate, 0), 5 * time.Second, twoSteps, drained, 3},
		"joined":      {event(simimds.Reboot, 0), 5 * time.Second, twoSteps, drained, 3},
		"ack-failed":  {event(simimds.Preempt, 30*time.Second), 5 * time.Second, twoSteps, drained, 3},
		"ack-refused": {event(simimds.Preempt, 30*time.Second), 5 * time.Second, twoSteps, drained, 3},
		"dismissed":   {event(simimds.Reboot, 0, other), 5 * time.Second, twoSteps, drained, 3},
		"shutdown":    {event("", 0), 0, twoSteps, drained, 3},
		"rebooted":    {event(simimds.Reboot, 0), 5 * time.Second, twoSteps, drained, 11},
		"superseded":  {event(simimds.Terminate, 0), 33 * time.Second, twoSteps, drained, 12},
		"failed": {event(simimds.Terminate, 0), 5 * time.Second, func() []*testStep {
			steps := twoSteps()
			steps[1].fails = true
			return steps
		}, drain.ResultFailed, 3},
		"short": {event(simimds.Preempt, 9*time.Second), 5 * time.Second, func() []*testStep {
			steps := twoSteps()
			steps[1].min, steps[1].optional = 20*time.Second, true
			return append(steps, &testStep{name: "three", takes: time.Minute})
		}, drain.ResultFailed, 3},
	}
}

// oldState is what the entries up to a kill say about the drain.
type oldState struct {
	begun, ended          map[string]bool
	result                string // of the drain; empty: it has not ended
	acked, dismissed      bool
	operator              bool // is one of the causes
	undraining, undrained bool
	drains                int // in the history
}

func stateOf(entries []oldEntry) oldState {
	s := oldState{undrained: true}
	for i, e := range entries {
		if i > 0 && e.Boot != entries[i-1].Boot {
			s = oldState{undrained: true, acked: s.acked, result: s.result, drains: s.drains}
		}
		switch e.Kind {
		case "drain-started":
			s = oldState{begun: map[string]bool{}, ended: map[string]bool{}, drains: s.drains + 1}
		case "cause-joined":
			s.operator = s.operator || e.Cause.Kind == "operator"
		case "step-started":
			s.begun[e.Step] = true
		case "step-finished":
			s.ended[e.Step] = true
		case "drain-finished":
			s.result = e.Result
		case "acked":
			s.acked = true
		case "event-dismissed":
			s.dismissed = true
		case "undrain-started":
			s.undraining = true
		case "undrain-finished":
			s.undraining, s.undrained = false, true
		}
	}
	return s
}

// What becomes of the event, or of the machine, before the next agent starts.
const (
	eventStays    = "the event stays"
	eventStarts   = "the event starts"
	eventVanishes = "the event vanishes"
	nodeReboots   = "the node reboots"
)

// TestOldJournalsAreResumed starts an agent on the journal of agent 0.1 that was
// killed after each entry of each story in turn, with the empty flag files that
// it kept. What it began is ended, what it had ended is not done again, and the
// node is never ready in between.
func TestOldJournalsAreResumed(t *testing.T) {
	for name, story := range oldStories() {
		lines, entries := oldLines(t, name)
		for k := story.from; k <= len(lines); k++ {
			for _, then := range []string{eventStays, eventStarts, eventVanishes, nodeReboots} {
				t.Run(fmt.Sprintf("%s, killed after %d %s, %s", name, k, entries[k-1].Kind, then), func(t *testing.T) {
					t.Parallel()
					inWorld(t, func(t *testing.T, w *world) {
						w.steps = story.steps()
						resumeOld(t, w, story, then, lines[:k], entries[:k])
					})
				})
			}
		}
	}
}

// resumeOld makes the machine what it was when the old agent was killed, starts an
// agent and holds it to what the old one had left.
func resumeOld(t *testing.T, w *world, story oldStory, then string, lines [][]byte, entries []oldEntry) {
	before, last := stateOf(entries), entries[len(entries)-1]
	announced := story.event.Type != ""
	if announced {
		w.pass(story.published)
		w.sim.Publish(story.event)
	}
	w.pass(time.Until(last.Time))
	if event, _ := w.sim.Event("E1"); announced && event.Status == simimds.Scheduled && (before.acked || then == eventStarts) {
		require.NoError(t, w.sim.Start("E1"))
	}
	if announced && (then == eventVanishes || then == nodeReboots) {
		require.NoError(t, w.sim.Complete("E1"))
	}

	w.boot = last.Boot
	leave(t, w.conf.StateDir, "journal", bytes.Join(lines, nil))
	switch {
	case then == nodeReboots:
		w.boot, w.up = w.boot+"+1", 20*time.Second
	case !before.undrained && !before.undraining:
		leave(t, w.conf.RunDir, "draining", nil)
		leave(t, w.conf.RunDir, "drained-healthy", nil)
	}
	event, _ := w.sim.Event("E1")
	if then == eventVanishes { // which nobody can know yet
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultStatus, Status: http.StatusInternalServerError}))
	}
	w.start()

	asks := announced && !before.dismissed && (then == eventStays || then == eventStarts)
	holds := before.operator && !before.undraining && !before.undrained || !announced
	drains := then != nodeReboots && (asks || holds)
	closed := then != nodeReboots && !before.undrained
	if then == eventVanishes {
		for range 10 {
			require.True(t, !closed || before.undraining || w.code("/readyz") == http.StatusServiceUnavailable, "not ready while nobody knows")
			w.pass(100 * time.Millisecond)
		}
		w.sim.ClearFaults()
	}
	if before.undraining {
		w.pass(250 * time.Millisecond) // it may end, and the node be ready, before the first document comes
	}
	for begin := time.Now(); time.Since(begin) < 30*time.Second; {
		if closed && drains {
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), "not ready as long as the drain lasts")
		}
		w.pass(250 * time.Millisecond)
		require.Equal(t, http.StatusOK, w.code("/healthz"))
	}

	require.NoError(t, w.agent.journal.Degraded())
	require.Zero(t, w.agent.journal.Skipped())
	runs, undone := map[string]int{}, map[string]int{}
	for _, s := range w.steps {
		runs[s.name], _, undone[s.name] = s.counts()
	}
	history := w.agent.journal.History()
	if !drains {
		require.Equal(t, control.StateServing, w.status().State)
		require.Nil(t, w.agent.journal.State().Drain)
		require.Empty(t, w.sim.Acks())
		switch result := string(history[0].Result); {
		case before.result != "":
			require.Equal(t, before.result, result)
		case then == nodeReboots:
			require.Equal(t, string(drain.ResultInterrupted), result)
		default: // it may have ended before the next document came
			require.Contains(t, []string{string(drain.ResultCancelled), string(story.result)}, result)
		}
		for _, s := range w.steps {
			switch {
			case then == nodeReboots || before.undrained:
				require.Zero(t, runs[s.name]+undone[s.name], "a new boot begins anew")
			case before.begun[s.name]:
				require.Equal(t, 1, undone[s.name], "step %s is taken back", s.name)
			}
		}
		return
	}

	fresh := before.undrained || before.undraining // a drain of its own
	if !fresh {
		require.Len(t, history, before.drains, "the same drain")
		for _, s := range w.steps {
			again := 1
			if before.ended[s.name] || s.min > 5*time.Second { // which is shed
				again = 0
			}
			require.Equal(t, again, runs[s.name], "step %s", s.name)
			require.Zero(t, undone[s.name])
		}
	}
	require.NotNil(t, w.agent.journal.State().Drain)
	result := story.result
	if fresh && story.result == drain.ResultFailed { // for an event that has started: there is no deadline, and no limit but the maximum
		return
	}
	require.Equal(t, result, history[0].Result, history[0].Error)
	acked := 0
	if asks && result == drain.ResultSucceeded && event.Status == simimds.Scheduled && len(event.Resources) == 1 {
		acked = 1
	}
	require.Equal(t, acked, w.accepted("E1"))
}

// leave writes a file as the old agent left it.
func leave(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
}

// TestOldMaintenanceLasts over the change of versions, and ends when its time is
// over.
func TestOldMaintenanceLasts(t *testing.T) {
	lines, entries := oldLines(t, "maintenance")
	for k := 3; k <= len(lines); k++ {
		inWorld(t, func(t *testing.T, w *world) {
			w.pass(time.Until(entries[k-1].Time))
			leave(t, w.conf.StateDir, "journal", bytes.Join(lines[:k], nil))
			w.start()
			on := entries[k-1].Kind == "maintenance-on"
			require.True(t, !on || w.code("/readyz") == http.StatusServiceUnavailable)
			w.pass(time.Hour)
			require.Equal(t, on, w.status().State == control.StateMaintenance)
			w.pass(time.Hour)
			require.Equal(t, control.StateServing, w.status().State)
		})
	}
}
