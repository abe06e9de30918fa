package roll_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// onCommand calls a function after the n-th Run Command whose script has a text, before
// its answer is given.
func (w *world) onCommand(text string, n int, do func()) {
	seen := 0
	w.after = func(r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/runCommand") || !strings.Contains(w.last(r.URL.Path), text) {
			return false
		}
		w.mu.Lock()
		seen++
		now := seen == n
		w.mu.Unlock()
		if now {
			do()
		}
		return now && w.isDead()
	}
}

// Whoever was drained and keeps its disk is undrained, however the rollout leaves it.
func TestUndrained(t *testing.T) {
	t.Parallel()
	// A second is a runner that comes when the first one has ended with an error.
	type exit struct {
		setup  setup
		drain  int // which one is met: 1 is of the canary, 2 of the next wave
		meet   func(w *world)
		second func(w *world)
		want   rollout.Phase
		unpaid string // what is told of a debt that could not be paid
	}
	ask := func(text string) func(w *world) { return func(w *world) { w.journal.ask("r1", text) } }
	abort := ask(`{"do":"abort","by":"ops"}`)
	for name, c := range map[string]exit{
		"paused, and held":  {drain: 1, meet: ask(`{"do":"pause","by":"ops"}`), want: rollout.Held},
		"aborted":           {drain: 1, meet: abort, want: rollout.Aborted},
		"aborted later":     {drain: 2, meet: abort, want: rollout.Aborted},
		"aborted, all stay": {drain: 2, meet: ask(`{"do":"abort","keep":true,"by":"ops"}`), want: rollout.Aborted},
		"halted": {drain: 2, meet: func(w *world) {
			w.patch(definition+"/versions/"+version, map[string]any{"tags": map[string]any{fleet.TagFailed: "seen elsewhere"}})
		}, want: rollout.Halted},
		"killed, then aborted":    {drain: 1, meet: func(w *world) { w.die() }, second: abort, want: rollout.Aborted},
		"killed, then gone on":    {drain: 1, meet: func(w *world) { w.die() }, second: func(*world) {}, want: rollout.Succeeded},
		"the lock is lost":        {drain: 1, meet: func(w *world) { w.journal.hold("runner-2") }, second: func(w *world) { w.journal.hold(""); abort(w) }, want: rollout.Aborted},
		"the answer is lost":      {drain: 1, meet: func(w *world) { abort(w); panic(http.ErrAbortHandler) }, want: rollout.Aborted},
		"it hangs":                {drain: 1, setup: setup{commands: "  - {contains: fleet-agent drain, takes: 89m}\n"}, meet: abort, want: rollout.Aborted, unpaid: "the drain ended by itself"},
		"it hangs for a while":    {drain: 1, setup: setup{commands: "  - {contains: fleet-agent drain, takes: 20m}\n"}, meet: abort, want: rollout.Aborted},
		"it may not be drained":   {drain: 1, setup: setup{commands: "  - {contains: fleet-agent drain, fails: the guest agent is gone}\n"}, meet: abort, want: rollout.Aborted},
		"there is no agent":       {drain: 1, setup: setup{commands: "  - {contains: fleet-agent drain, stdout: \"fleetctl: exit 127\\n\"}\n"}, meet: abort, want: rollout.Aborted},
		"the undrain is refused":  {drain: 1, meet: func(w *world) { abort(w); w.refuse("fleet-agent undrain", 3) }, want: rollout.Aborted},
		"the undrain never works": {drain: 1, setup: setup{commands: "  - {contains: fleet-agent undrain, stdout: \"an event is coming\\nfleetctl: exit 1\\n\"}\n"}, meet: abort, want: rollout.Aborted, unpaid: "the drain ended by itself: the agent did not answer the undrain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.setup.rollout = quickly
			w := newWorld(t, c.setup)
			first := w.start()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.killed = cancel
			w.onCommand("fleet-agent drain", c.drain, func() { c.meet(w) })
			runner, log := first, first.log
			s, err := untilOver(ctx, w, first)
			if c.second != nil {
				require.Error(t, err, first.log())
				w.revive()
				c.second(w)
				runner = w.runner()
				log = func() string { return first.log() + "\n---\n" + runner.log() }
				s, err = untilOver(t.Context(), w, runner)
			}
			require.NoError(t, err, log())
			require.Equal(t, c.want, s.State.Phase, log())
			require.GreaterOrEqual(t, w.count("fleet-agent drain"), c.drain, log())
			require.Empty(t, s.State.Drains, log())
			if c.unpaid == "" {
				require.Empty(t, w.stillDrained(), log())
				require.Empty(t, s.State.Unpaid, log())
				return
			}
			require.Len(t, s.State.Unpaid, 1, log())
			require.Equal(t, c.unpaid, s.State.Unpaid[0].Why)
		})
	}
}

// untilOver is Run, which goes through long pauses with long steps.
func untilOver(ctx context.Context, w *world, c *run) (s roll.Status, err error) {
	for range 300 {
		if s, err = c.Advance(ctx); err != nil || s.State.Phase.Over() && len(s.State.Drains) == 0 && len(s.State.Ops) == 0 {
			return s, err
		}
		step := s.Again.Sub(w.clock.Now())
		if s.State.Paused != nil && len(s.State.Drains) == 0 {
			step = 6 * time.Hour
		}
		w.server.Advance(step)
	}
	return s, err
}

// refuse answers the next Run Commands whose script has a text with an error.
func (w *world) refuse(text string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused, w.refusals = text, n
}

// hold says who holds the journal's lock.
func (m *memory) hold(who string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holder = who
}
