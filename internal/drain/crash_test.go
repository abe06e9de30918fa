package drain

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// crashPlan has steps in a row and beside each other, and one that is shed.
func crashPlan(p *process) []StepConfig {
	steps := three(p)
	steps[1].After, steps[1].AfterSet = []string{}, true
	return append(steps, p.taking("late", second, optional, limits(70*second, 80*second)))
}

var crashSteps = []string{"a", "b", "c", "d"}

// live is what the rest of the agent makes of a node whose event lasts until
// minute 2: it resumes, drains while the event is there, and undrains after. It
// returns when the node serves again, or its process is dead.
func live(p *process) {
	gone := p.began.Add(2 * time.Minute)
	req := Request{Cause: preempt, NotBefore: p.began.Add(60 * second), Deadline: p.began.Add(58 * second)}
	if _, _, err := p.runner.Resume(p.ctx); p.dead() {
		return
	} else if err != nil {
		require.ErrorIs(p.t, err, ErrInterrupted)
	}
	if time.Now().Before(gone) {
		o, err := p.runner.Drain(p.ctx, req)
		if p.dead() {
			return
		}
		require.NoError(p.t, err)
		require.NotEmpty(p.t, o.Result)
		time.Sleep(time.Until(gone))
	}
	if p.dead() {
		return
	}
	if err := p.runner.Undrain(p.ctx, "fleet-agent", "the event is gone"); !p.dead() {
		require.NoError(p.t, err)
	}
}

// outlive lives on with new processes until one of them is not killed.
func (w *world) outlive(first *process) *process {
	w.t.Helper()
	p := first
	for n := 0; ; n++ {
		require.Less(w.t, n, 5, "the node never comes to rest")
		live(p)
		if !p.dead() {
			return p
		}
		w.files = w.files.revive(false)
		w.note("agent killed")
		p = w.start(10*second, crashPlan)
	}
}

// settled checks what holds after any number of crashes.
func (w *world) settled(p *process, where string) {
	w.t.Helper()
	require.NoError(w.t, p.journal.Degraded(), where)
	require.Nil(w.t, p.journal.State().Drain, where)
	require.False(w.t, w.cordoned, where)
	require.Equal(w.t, 1, w.count(DrainStarted, ""), where)
	require.Equal(w.t, 1, w.count(DrainFinished, ""), where)
	require.Equal(w.t, 1, w.count(UndrainStarted, ""), where)
	require.Equal(w.t, 1, w.count(UndrainFinished, ""), where)
	for _, name := range crashSteps {
		require.Equal(w.t, 1, w.count(StepFinished, name), "%s: step %s", where, name)
		require.GreaterOrEqual(w.t, w.runs[name], 1, "%s: step %s", where, name)
		require.LessOrEqual(w.t, w.runs[name], 2, "%s: step %s", where, name)
		require.GreaterOrEqual(w.t, w.undos[name], 1, "%s: step %s", where, name)
	}
	h := p.journal.History()
	require.Len(w.t, h, 1, where)
	require.Equal(w.t, ResultSucceeded, h[0].Result, "%s: %s", where, h[0].Error)
	require.Equal(w.t, ResultSucceeded, p.journal.State().Events["E1"].Drained, where)
}

// TestKilledAfterEveryEntry kills the agent after each entry of a whole drain and
// undrain in turn.
func TestKilledAfterEveryEntry(t *testing.T) {
	t.Parallel()
	total := 0
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.settled(w.outlive(w.start(10*second, crashPlan)), "undisturbed")
		require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}, w.runs)
		require.Equal(t, 1, w.count(StepFinished, "late"))
		total = len(w.entriesOf())
	})
	require.Equal(t, 13, total)
	for k := 1; k <= total; k++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.start(10*second, crashPlan, func(p *process) { p.killAfter = k })
			w.settled(w.outlive(p), fmt.Sprintf("killed after entry %d: %v", k, w.log))
			require.True(t, p.dead())
		})
	}
}

// TestEveryFileCallOfADrainMayFail fails, cuts short or dies in every I/O call of
// a whole drain in turn. After an error the drain has gone on and nothing is
// missing in the journal; after a death the next process has taken over.
func TestEveryFileCallOfADrainMayFail(t *testing.T) {
	t.Parallel()
	var log []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.settled(w.outlive(w.start(10*second, crashPlan)), "undisturbed")
		log = w.files.log
	})
	require.Greater(t, len(log), 25)
	for call := range log {
		for _, kind := range []fault{faultError, faultShort, faultKill} {
			synctest.Test(t, func(t *testing.T) {
				where := fmt.Sprintf("fault %d in call %d, %s", kind, call, log[call])
				w := newWorld(t)
				var p *process
				w.files.fault = func(n int) fault {
					switch {
					case n != call:
						return faultNone
					case kind == faultKill && p != nil:
						p.gone.Store(true)
						p.stop()
					case kind == faultKill:
						return faultError // while opening: no process yet that could die
					}
					return kind
				}
				p = w.start(10*second, crashPlan)
				last := w.outlive(p)
				if kind != faultKill {
					// What the last call could not write, the next one does.
					require.NoError(t, last.journal.Append(Entry{Kind: BootSeen}), where)
				}
				w.settled(last, fmt.Sprint(where, w.log))
			})
		}
	}
}

// TestAFullDiskDrainsAllTheSame fails every call from some point on.
func TestAFullDiskDrainsAllTheSame(t *testing.T) {
	t.Parallel()
	for from := range 30 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.files.fault = func(n int) fault {
				if n >= from {
					return faultError
				}
				return faultNone
			}
			p := w.start(10*second, crashPlan)
			live(p)
			require.Error(t, p.journal.Degraded())
			require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}, w.runs)
			require.Equal(t, ResultSucceeded, p.journal.History()[0].Result)
			w.files.fault = nil
			require.NoError(t, p.journal.Append(Entry{Kind: BootSeen}))
			w.settled(p, fmt.Sprintf("full from call %d", from))
		})
	}
}

// TestKilledTwice kills the agent, and the next one too.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	for k := 1; k <= 13; k++ {
		for l := 1; l <= 13-k; l++ {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.start(10*second, crashPlan, func(p *process) { p.killAfter = k })
				live(p)
				require.True(t, p.dead())
				w.files = w.files.revive(false)
				p = w.start(10*second, crashPlan, func(p *process) { p.killAfter = l })
				p = w.outlive(p)
				require.Nil(t, p.journal.State().Drain)
				require.Equal(t, 1, w.count(DrainFinished, ""))
				require.Equal(t, 1, w.count(UndrainFinished, ""))
				require.Equal(t, ResultSucceeded, p.journal.History()[0].Result)
			})
		}
	}
}

func TestPowerLossIsAReboot(t *testing.T) {
	t.Parallel()
	for k := 1; k <= 13; k++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.start(10*second, crashPlan, func(p *process) { p.killAfter = k })
			live(p)
			require.True(t, p.dead())
			w.files, w.boot = w.files.revive(true), "b2"
			p = w.start(10*second, crashPlan)
			require.Len(t, p.journal.entries, k, "what was durable is there")
			require.Nil(t, p.journal.State().Drain)
			_, resumed, err := p.runner.Resume(p.ctx)
			require.NoError(t, err)
			require.False(t, resumed)
			require.False(t, w.cordoned)
			require.NotEmpty(t, p.journal.History()[0].Result)
			require.Contains(t, p.journal.State().PreviousEvents, "E1")
		})
	}
}
