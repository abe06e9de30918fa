package drain

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// TestEveryFileCallOfADrainMayHang has each file call of a drain hang in turn, for
// five seconds or for ever, under a Preempt of eight seconds. Readiness closes at
// once, every step runs, and all that the disk costs is a tenth of the notice.
func TestEveryFileCallOfADrainMayHang(t *testing.T) {
	t.Parallel()
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		quick(w, w.start(0, quickPlan), "undisturbed")
		calls = len(w.files.log)
	})
	require.Greater(t, calls, 20)
	for call := range calls {
		for _, stall := range []time.Duration{5 * second, 0} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				where := fmt.Sprintf("call %d stalls for %s", call, stall)
				free := make(chan struct{})
				w.files.stall = func(n int) {
					if n == call && stall > 0 {
						time.Sleep(stall)
					} else if n == call {
						<-free
					}
				}
				p := w.start(0, quickPlan)
				quick(w, p, where)
				close(free)
				time.Sleep(stall)
				synctest.Wait()
				require.NoError(t, p.journal.Durable(), where)
				require.NoError(t, p.journal.Degraded(), where)
				require.Equal(t, p.journal.State(), openMem(t, w.files, "b1").State(), where)
				require.Equal(t, p.journal.History(), openMem(t, w.files, "b1").History(), where)
			})
		}
	}
}

// quickPlan has two steps that take a second each.
func quickPlan(p *process) []StepConfig {
	return []StepConfig{
		p.taking("a", second, limits(0, 2*second)), p.taking("b", second, limits(0, 2*second)),
	}
}

// quick drains for a Preempt that leaves eight seconds.
func quick(w *world, p *process, where string) {
	w.t.Helper()
	_, _, err := p.runner.Resume(p.ctx)
	require.NoError(w.t, err, where)
	began := time.Now()
	req := Request{Cause: preempt, NotBefore: began.Add(8 * second), Deadline: began.Add(6 * second)}
	closed := make(chan time.Duration, 1)
	go func() {
		for {
			w.mu.Lock()
			cordoned := w.cordoned
			w.mu.Unlock()
			if cordoned {
				closed <- time.Since(began)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	o, err := p.runner.Drain(p.ctx, req)
	require.NoError(w.t, err, where)
	require.Equal(w.t, ResultSucceeded, o.Result, where)
	require.LessOrEqual(w.t, <-closed, time.Millisecond, "%s: readiness", where)
	require.LessOrEqual(w.t, time.Since(began), 2*second+600*time.Millisecond+30*time.Millisecond, "%s: %v", where, w.log)
	p.journal.Note(Entry{Kind: AckIntended, EventID: preempt.EventID})
	if time.Since(began) < 4*second {
		time.Sleep(4 * second)
	}
	require.NoError(w.t, p.runner.Undrain(p.ctx, "fleet-agent", "gone"), where)
	require.False(w.t, w.cordoned, where)
}

// TestADiskThatHangsIsPaidForOnce: from the entry that used up the patience nobody
// waits, until the file has caught up.
func TestADiskThatHangsIsPaidForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files, free := newMemFiles(), make(chan struct{})
		var log lines
		j, err := OpenJournal(JournalConfig{Dir: "/state", BootID: "b1", files: files, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		j.SetPatience(400 * time.Millisecond)
		files.stall = func(int) { <-free }
		took := func(e Entry) time.Duration {
			began := time.Now()
			require.ErrorIs(t, j.Append(e), errHangs)
			return time.Since(began)
		}
		d := wholeDrain("d1", preempt)
		require.Equal(t, 400*time.Millisecond, took(d[0]))
		require.ErrorIs(t, j.Degraded(), errHangs)
		for _, e := range d[1:8] { // the drain stays in effect
			require.Zero(t, took(e))
		}
		require.Equal(t, Acked, j.State().Events["E1"].Ack, "memory goes on")
		require.Equal(t, 1, log.count("going on in memory"))

		close(free)
		synctest.Wait()
		require.NoError(t, j.Durable())
		require.NoError(t, j.Degraded())
		require.Equal(t, 1, log.count("written again"))
		require.Equal(t, j.State(), openMem(t, files, "b1").State())

		// It hangs again: the same drain has no more patience than for an answer
		// that comes promptly, and the next one has its own.
		again := make(chan struct{})
		files.stall = func(int) { <-again }
		require.Equal(t, 20*time.Millisecond, took(Entry{Kind: MaintenanceOn}))
		close(again)
		synctest.Wait()
		j.SetPatience(100 * time.Millisecond)
		last := make(chan struct{})
		files.stall = func(int) { <-last }
		require.Equal(t, 100*time.Millisecond, took(Entry{Kind: MaintenanceOff}))
		close(last)
	})
}

// TestAPromptDiskCostsNoPatience: many entries, each of which takes its time.
func TestAPromptDiskCostsNoPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := newMemFiles()
		j := openMem(t, files, "b1")
		files.stall = func(int) { time.Sleep(10 * time.Millisecond) } // 3 calls an entry
		for range 200 {
			require.NoError(t, j.Append(Entry{Kind: MaintenanceOff}))
		}
		require.NoError(t, j.Degraded())
	})
}

// TestNobodyWaitsAndItIsSaid: a disk that hangs is told of without a waiter.
func TestNobodyWaitsAndItIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files, free := newMemFiles(), make(chan struct{})
		j := openMem(t, files, "b1")
		files.stall = func(int) { <-free }
		began := time.Now()
		j.Note(Entry{Kind: BootSeen})
		require.Zero(t, time.Since(began))
		require.NoError(t, j.Degraded())
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, j.Degraded(), errHangs)
		require.ErrorIs(t, j.Close(), errHangs, "does not wait for ever either")
		close(free)
	})
}

// TestAJournalThatIsReadLate has what was appended meanwhile after what it held.
func TestAJournalThatIsReadLate(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]bool{"ours": false, "another VM's": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				files, free := newMemFiles(), make(chan struct{})
				old := openMem(t, files, "b1")
				vm := "VM-A"
				if foreign {
					vm = "VM-B"
				}
				old.DiscardForeign(vm)
				mustAppend(t, old, wholeDrain("d1", preempt)...)
				mustAppend(t, old, Entry{Kind: MaintenanceOn})

				files.stall = func(int) { <-free }
				began := time.Now()
				j, err := NewJournal(JournalConfig{Dir: "/state", BootID: "b2", files: files})
				require.NoError(t, err)
				require.False(t, j.Open())
				require.Equal(t, time.Second, time.Since(began))
				require.False(t, j.Opened())
				require.False(t, j.DiscardForeign("VM-A"))
				require.Error(t, j.Append(wholeDrain("d2", Cause{Kind: Operator})[0]))
				require.Equal(t, "d2", j.State().Drain.ID)

				close(free)
				synctest.Wait()
				require.True(t, j.Opened())
				require.NoError(t, j.Degraded())
				for _, j := range []*Journal{j, openMem(t, files, "b2")} {
					s := j.State()
					require.Equal(t, "d2", s.Drain.ID)
					require.Equal(t, "VM-A", s.VM)
					require.Equal(t, !foreign, s.Maintenance != nil)
					require.Equal(t, !foreign, len(s.PreviousEvents) > 0)
					seqs := map[uint64]bool{}
					for _, e := range j.entries {
						require.False(t, seqs[e.Seq], "a number twice")
						seqs[e.Seq] = true
					}
				}
			})
		})
	}
}

// TestTheLogIsNoPartOfADrain: readiness is closed before the first line.
func TestTheLogIsNoPartOfADrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := &stuckLog{free: make(chan struct{})}
		w.logger = slog.New(slog.NewTextHandler(log, nil))
		p := w.start(0, quickPlan)
		go func() { _, _ = p.runner.Drain(p.ctx, Request{Cause: preempt}) }()
		synctest.Wait()
		w.mu.Lock()
		require.True(t, w.cordoned)
		w.mu.Unlock()
		require.NotNil(t, p.journal.State().Drain)
		close(log.free)
	})
}

// stuckLog is a log that does not take a line before it is freed.
type stuckLog struct{ free chan struct{} }

func (l *stuckLog) Write(p []byte) (int, error) {
	<-l.free
	return len(p), nil
}

// TestTheFlagOutlivesTheJournal kills the agent while the disk hangs: nothing of
// the drain is on it. The flag is what the next process knows the drain by.
func TestTheFlagOutlivesTheJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		free := make(chan struct{})
		defer close(free)
		p := w.start(0, quickPlan)
		w.files.stall = func(int) { <-free }
		go func() { _, _ = p.runner.Drain(p.ctx, Request{Cause: preempt, Deadline: time.Now().Add(time.Hour)}) }()
		time.Sleep(1500 * time.Millisecond) // in step a
		synctest.Wait()
		w.mu.Lock()
		flag, err := ParseFlag(w.flag.Encode())
		w.mu.Unlock()
		require.NoError(t, err)
		p.kill()
		w.files = w.files.revive(false)
		require.Empty(t, w.entriesOf())

		p = w.start(0, quickPlan)
		require.True(t, p.runner.Restore(&flag))
		s := p.runner.Status()
		require.True(t, s.Believed)
		require.Equal(t, flag.DrainID, s.DrainID)
		require.Equal(t, []Cause{preempt}, s.Causes)
		require.True(t, s.Deadline.Equal(*flag.Deadline))
		o, resumed, err := p.runner.Resume(p.ctx)
		require.NoError(t, err)
		require.True(t, resumed)
		require.Equal(t, ResultSucceeded, o.Result)
		require.Equal(t, map[string]int{"a": 2, "b": 1}, w.runs)
		require.NoError(t, p.runner.Undrain(p.ctx, "fleet-agent", "gone"))
		require.Equal(t, map[string]int{"a": 1, "b": 1}, w.undos)
		require.False(t, p.runner.Restore(&flag), "the journal knows what became of it")
	})
}

// TestAFlagThatIsNotOfThisDrain is not believed.
func TestAFlagThatIsNotOfThisDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.start(0, quickPlan)
		require.False(t, p.runner.Restore(nil))
		require.False(t, p.runner.Restore(&Flag{DrainID: "d9", Boot: "b0", Causes: []Cause{preempt}}), "of another boot")
		// An undrain takes back every step: which had begun is not known.
		require.True(t, p.runner.Restore(&Flag{DrainID: "d9", Boot: "b1", Causes: []Cause{{Kind: Operator}, preempt}}))
		require.Len(t, p.journal.State().Drain.Causes, 2)
		w.cordoned = true
		require.NoError(t, p.runner.Undrain(p.ctx, "uid 0", ""))
		require.Equal(t, map[string]int{"a": 1, "b": 1}, w.undos)
		require.Empty(t, w.runs)
	})
	for _, text := range []string{"", "{}", "x", `{"drain_id":"d","boot":"b"}`, `{"drain_id":"d","causes":[{}]}`, `[]`} {
		_, err := ParseFlag([]byte(text))
		require.Error(t, err, text)
	}
	long := Flag{DrainID: "d", Boot: "b"}
	for range 1000 {
		long.Causes = append(long.Causes, Cause{Kind: Operator, Reason: string(make([]byte, 5000))})
	}
	text := long.Encode()
	require.LessOrEqual(t, len(text), 2*MaxFlag)
	_, err := ParseFlag(text)
	require.NoError(t, err)
}

// lines is a log that can be read.
type lines struct{ testkit.Buffer }

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }
