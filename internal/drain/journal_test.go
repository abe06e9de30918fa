package drain

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// openMem opens a journal on files.
func openMem(t *testing.T, files *memFiles, boot string) *Journal {
	t.Helper()
	j, err := OpenJournal(JournalConfig{Dir: "/state", BootID: boot, files: files})
	require.NoError(t, err)
	return j
}

func mustAppend(t *testing.T, j *Journal, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		require.NoError(t, j.Append(e))
	}
}

var preempt = Cause{Kind: ScheduledEvent, EventID: "E1", EventType: "Preempt"}

// wholeDrain is a drain with all that can happen in one.
func wholeDrain(id string, cause Cause) []Entry {
	deadline := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return []Entry{
		{Kind: DrainStarted, DrainID: id, Cause: &cause, Deadline: &deadline},
		{Kind: StepStarted, DrainID: id, Step: "a", StepKind: "exec", Limit: second},
		{Kind: CauseJoined, DrainID: id, Cause: &Cause{Kind: Operator, By: "uid 0 (root)"}},
		{Kind: StepFinished, DrainID: id, Step: "a", StepKind: "exec", Result: string(StepDone)},
		{Kind: StepFinished, DrainID: id, Step: "b", StepKind: "hook", Result: string(StepShed)},
		{Kind: DrainFinished, DrainID: id, Result: string(ResultSucceeded)},
		{Kind: AckIntended, EventID: cause.EventID},
		{Kind: Acked, EventID: cause.EventID},
		{Kind: UndrainStarted, DrainID: id, By: "fleet-agent", Reason: "gone"},
		{Kind: UndrainFinished, DrainID: id},
	}
}

func TestJournalOnDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	open := func() *Journal {
		j, err := OpenJournal(JournalConfig{Dir: dir, BootID: "b1"})
		require.NoError(t, err)
		require.NoError(t, j.Degraded())
		return j
	}
	j := open()
	mustAppend(t, j, Entry{Kind: MaintenanceOff})
	mustAppend(t, j, wholeDrain("d1", preempt)[:5]...)
	j.disk.limit = 1 // compacts
	mustAppend(t, j, wholeDrain("d1", preempt)[5])
	require.Len(t, j.entries, 6, "compacted")
	require.NoError(t, j.Degraded())
	state, history := j.State(), j.History()
	require.NoError(t, j.Close())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Error(t, j.Append(Entry{Kind: BootSeen}), "after Close")

	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, journalName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	j = open()
	defer j.Close()
	require.Equal(t, state, j.State())
	require.Equal(t, history, j.History())
	require.Equal(t, ResultSucceeded, state.Drain.Result)
	require.Equal(t, []Cause{preempt, {Kind: Operator, By: "uid 0 (root)"}}, state.Drain.Causes)
	require.Equal(t, EventState{DrainID: "d1", Drained: ResultSucceeded}, state.Events["E1"])
	require.Equal(t, []StepStatus{StepDone, StepShed}, []StepStatus{state.Drain.Steps[0].Status, state.Drain.Steps[1].Status})
}

// TestJournalThatIsTakenAway: what happens to the file behind the journal's back
// costs nothing that the next append cannot write again.
func TestJournalThatIsTakenAway(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir, path string){
		"the directory": func(t *testing.T, dir, _ string) { require.NoError(t, os.RemoveAll(dir)) },
		"the file":      func(t *testing.T, _, path string) { require.NoError(t, os.Remove(path)) },
		"replaced": func(t *testing.T, dir, path string) {
			other := filepath.Join(dir, "other")
			require.NoError(t, os.WriteFile(other, []byte("something else\n"), 0o600))
			require.NoError(t, os.Rename(other, path))
		},
		"truncated": func(t *testing.T, _, path string) { require.NoError(t, os.Truncate(path, 10)) },
	} {
		for _, broken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after an error %t", name, broken), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "state")
				files := &failingFiles{}
				var log testkit.Buffer
				j, err := OpenJournal(JournalConfig{Dir: dir, BootID: "b1", files: files, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				require.NoError(t, err)
				defer j.Close()
				d := wholeDrain("d1", preempt)
				mustAppend(t, j, d[:3]...)
				if broken {
					files.sync = syscall.EIO
					require.Error(t, j.Append(d[3]))
					files.sync = nil
				}
				harm(t, dir, filepath.Join(dir, journalName))
				mustAppend(t, j, d[4])
				require.NoError(t, j.Degraded())
				require.Contains(t, log.String(), "journal is gone, writing it anew")
				again, err := OpenJournal(JournalConfig{Dir: dir, BootID: "b1"})
				require.NoError(t, err)
				defer again.Close()
				require.Equal(t, j.State(), again.State())
				require.Equal(t, j.History(), again.History())
				require.Zero(t, again.Skipped())
			})
		}
	}
}

// TestJournalThatCannotBeMadeAgain says so.
func TestJournalThatCannotBeMadeAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	j, err := OpenJournal(JournalConfig{Dir: dir, BootID: "b1"})
	require.NoError(t, err)
	defer j.Close()
	mustAppend(t, j, wholeDrain("d1", preempt)[0])
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // a file in the directory's place
	require.Error(t, j.Append(Entry{Kind: BootSeen}))
	require.Error(t, j.Degraded())
	require.NoError(t, os.Remove(dir))
	mustAppend(t, j, Entry{Kind: BootSeen})
	require.NoError(t, j.Degraded())
	again, err := OpenJournal(JournalConfig{Dir: dir, BootID: "b1"})
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, j.State(), again.State())
}

// failingFiles is the machine's file system, of which files cannot be synced.
type failingFiles struct {
	osFiles
	sync error
}

type failingFile struct {
	file
	files *failingFiles
}

func (f failingFile) Sync() error {
	if f.files.sync != nil {
		return f.files.sync
	}
	return f.file.Sync()
}

func (f *failingFiles) Append(name string) (file, error) {
	opened, err := f.osFiles.Append(name)
	return failingFile{opened, f}, err
}

// TestSkippedLines: lines that are not whole are counted for an operator until
// the agent starts again, but not the torn end that a loss of power leaves.
func TestSkippedLines(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	mustAppend(t, openMem(t, files, "b1"), wholeDrain("d1", preempt)...)
	whole := files.content(journalName)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	flipped := bytes.Clone(whole)
	flipped[len(lines[0])+20] ^= 1
	for name, tc := range map[string]struct {
		content []byte
		want    int
	}{
		"none":                 {whole, 0},
		"a flipped bit":        {flipped, 1},
		"a torn end":           {whole[:len(whole)-5], 0},
		"no newline":           {whole[:len(whole)-1], 0},
		"both":                 {append(bytes.Clone(flipped), "0000"...), 1},
		"the end, with a line": {append(bytes.Clone(whole), "garbage\n"...), 1},
	} {
		files := newMemFiles()
		files.names[journalName] = &memData{now: tc.content}
		j := openMem(t, files, "b1")
		require.Equal(t, tc.want, j.Skipped(), name)
		state := j.State()
		mustAppend(t, j, Entry{Kind: "nothing"})
		require.Equal(t, tc.want, j.Skipped(), name)
		next := openMem(t, files, "b1")
		require.Zero(t, next.Skipped(), name)
		require.Equal(t, state, next.State(), name)
	}
}

func TestJournalNeedsAPlaceAndABoot(t *testing.T) {
	t.Parallel()
	_, err := OpenJournal(JournalConfig{Dir: "/x"})
	require.Error(t, err)
	_, err = OpenJournal(JournalConfig{BootID: "b"})
	require.Error(t, err)
}

func TestStateFollowsTheEntries(t *testing.T) {
	t.Parallel()
	j := openMem(t, newMemFiles(), "b1")
	var phases []string
	for _, e := range wholeDrain("d1", preempt) {
		mustAppend(t, j, e)
		s := j.State()
		text := fmt.Sprintf("%s: none", e.Kind)
		if s.Drain != nil {
			text = fmt.Sprintf("%s: %q undraining=%t", e.Kind, s.Drain.Result, s.Drain.Undraining)
		}
		phases = append(phases, fmt.Sprintf("%s ack=%q drained=%q", text, s.Events["E1"].Ack, s.Events["E1"].Drained))
	}
	require.Equal(t, []string{
		`drain-started: "" undraining=false ack="" drained=""`,
		`step-started: "" undraining=false ack="" drained=""`,
		`cause-joined: "" undraining=false ack="" drained=""`,
		`step-finished: "" undraining=false ack="" drained=""`,
		`step-finished: "" undraining=false ack="" drained=""`,
		`drain-finished: "succeeded" undraining=false ack="" drained="succeeded"`,
		`ack-intended: "succeeded" undraining=false ack="ack-intended" drained="succeeded"`,
		`acked: "succeeded" undraining=false ack="acked" drained="succeeded"`,
		`undrain-started: "succeeded" undraining=true ack="acked" drained="succeeded"`,
		`undrain-finished: none ack="acked" drained="succeeded"`,
	}, phases)
	mustAppend(t, j, Entry{Kind: AckFailed, EventID: "E1"}, Entry{Kind: EventDismissed, EventID: "E1"})
	require.Equal(t, EventState{DrainID: "d1", Drained: ResultSucceeded, Ack: Acked, Dismissed: true}, j.State().Events["E1"], "acked stays")
	require.Equal(t, Acked, j.History()[0].Ack)
}

func TestUndrainEndsAnUnfinishedDrainAsCancelled(t *testing.T) {
	t.Parallel()
	j := openMem(t, newMemFiles(), "b1")
	d := wholeDrain("d1", preempt)
	mustAppend(t, j, d[0], d[1], d[8])
	require.Equal(t, ResultCancelled, j.State().Drain.Result)
	require.Equal(t, ResultCancelled, j.State().Events["E1"].Drained)
}

func TestRebootMakesADrainHistory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entries int
		want    Result
	}{
		"in the middle": {3, ResultInterrupted},
		"after the end": {7, ResultSucceeded},
		"in an undrain": {9, ResultSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := newMemFiles()
			j := openMem(t, files, "b1")
			mustAppend(t, j, Entry{Kind: BootSeen}, Entry{Kind: VMSeen, VM: "VM1"}, Entry{Kind: NameSeen, Name: "web_1"})
			require.Equal(t, "web_1", j.State().Name)
			mustAppend(t, j, wholeDrain("d1", preempt)[:tc.entries]...)
			before := j.State().Events

			j = openMem(t, files, "b2")
			s := j.State()
			require.Nil(t, s.Drain)
			require.False(t, s.BootSeen)
			require.Empty(t, s.Name, "a clone or a move may have given it another")
			require.Empty(t, s.Events)
			require.Equal(t, "VM1", s.VM)
			want := before["E1"]
			want.Drained = tc.want
			require.Equal(t, map[string]EventState{"E1": want}, s.PreviousEvents)
			require.Equal(t, tc.want, j.History()[0].Result)
			require.Equal(t, want.Ack, j.History()[0].Ack)
		})
	}
}

func TestMaintenanceEndsByItself(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	j := openMem(t, files, "b1")
	past, future := time.Now().Add(-second), time.Now().Add(time.Hour)
	on := Entry{Kind: MaintenanceOn, Until: &future, By: "uid 0", Reason: "disk"}
	mustAppend(t, j, on)
	require.Equal(t, "disk", openMem(t, files, "b2").State().Maintenance.Reason, "it survives a reboot")
	mustAppend(t, j, Entry{Kind: MaintenanceOff})
	require.Nil(t, j.State().Maintenance)
	on.Until = &past
	mustAppend(t, j, on)
	require.Nil(t, j.State().Maintenance, "its time is over")
	on.Until = nil
	mustAppend(t, j, on)
	require.True(t, j.State().Maintenance.Until.IsZero(), "until it is ended")
}

func TestDiscardForeign(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	j := openMem(t, files, "b1")
	discarded := j.DiscardForeign("VM-A")
	require.NoError(t, j.Durable())
	require.False(t, discarded, "an empty journal is nobody's")
	mustAppend(t, j, wholeDrain("d1", preempt)...)
	mustAppend(t, j, Entry{Kind: MaintenanceOn})

	j = openMem(t, files, "b2")
	discarded = j.DiscardForeign("vm-a")
	require.NoError(t, j.Durable())
	require.False(t, discarded, "the same VM after a reboot")
	require.Len(t, j.History(), 1)

	j = openMem(t, files, "b3") // a clone
	operator := wholeDrain("d2", Cause{Kind: Operator})
	mustAppend(t, j, operator[0]) // IMDS may tell who we are only later
	discarded = j.DiscardForeign("VM-B")
	require.NoError(t, j.Durable())
	require.True(t, discarded)
	for range 2 {
		s := j.State()
		require.Equal(t, "VM-B", s.VM)
		require.Equal(t, "d2", s.Drain.ID, "what this boot journaled is this VM's")
		require.Nil(t, s.Maintenance)
		require.Empty(t, s.PreviousEvents)
		require.Len(t, j.History(), 1)
		require.NotContains(t, string(files.content(journalName)), "VM-A")
		j = openMem(t, files, "b3")
	}
}

func TestATornTailIsEndedBeforeTheNextEntry(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	mustAppend(t, openMem(t, files, "b1"), wholeDrain("d1", preempt)[:3]...)
	whole := files.content(journalName)
	for cut := range whole {
		files := newMemFiles()
		files.names[journalName] = &memData{now: bytes.Clone(whole[:cut])}
		var log testkit.Buffer
		j, err := OpenJournal(JournalConfig{Dir: "/state", BootID: "b1", files: files, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		kept := len(j.entries)
		require.Equal(t, bytes.Count(append(bytes.Clone(whole[:cut]), whole[cut]), []byte("\n")), kept, "cut at %d", cut)
		mustAppend(t, j, Entry{Kind: BootSeen})
		r := parse(files.content(journalName))
		require.Len(t, r.entries, kept+1, "cut at %d", cut)
		require.LessOrEqual(t, strings.Count(log.String(), "level="), 1)
	}
}

func TestAFlippedByteCostsAtMostItsLine(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	mustAppend(t, openMem(t, files, "b1"), wholeDrain("d1", preempt)...)
	whole := files.content(journalName)
	all := len(parse(whole).entries)
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, '\n' ^ whole[i]} {
			if flip == 0 {
				continue
			}
			bad := bytes.Clone(whole)
			bad[i] ^= flip
			r := parse(bad)
			lost := 1
			if whole[i] == '\n' { // two lines became one
				lost = 2
			}
			require.GreaterOrEqual(t, len(r.entries), all-lost, "byte %d", i)
			require.Less(t, len(r.entries), all, "byte %d", i)
		}
	}
}

func TestCompactionKeepsTheState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		for n := range uint64(40) {
			rng := rand.New(rand.NewPCG(seed, n))
			files := newMemFiles()
			boot := 1
			j := openMem(t, files, "b1")
			drains := 0
			id := ""
			for range 20 + rng.IntN(1200) {
				e := Entry{}
				switch rng.IntN(12) {
				case 0:
					if rng.IntN(4) == 0 {
						boot++
						j = openMem(t, files, fmt.Sprint("b", boot))
					}
					continue
				case 1, 2:
					drains++
					id = fmt.Sprint("d", drains)
					e = Entry{Kind: DrainStarted, DrainID: id, Cause: &Cause{Kind: ScheduledEvent, EventID: fmt.Sprint("E", rng.IntN(40))}}
				case 3:
					e = Entry{Kind: CauseJoined, DrainID: id, Cause: &Cause{Kind: ScheduledEvent, EventID: fmt.Sprint("E", rng.IntN(40))}}
				case 4:
					e = Entry{Kind: StepStarted, DrainID: id, Step: "a"}
				case 5:
					e = Entry{Kind: StepFinished, DrainID: id, Step: "a", Result: string(StepDone)}
				case 6:
					e = Entry{Kind: DrainFinished, DrainID: id, Result: string(ResultSucceeded)}
				case 7:
					e = Entry{Kind: UndrainStarted, DrainID: id}
				case 8:
					e = Entry{Kind: UndrainFinished, DrainID: id}
				case 9:
					e = Entry{Kind: []EntryKind{AckIntended, Acked, AckFailed, EventDismissed}[rng.IntN(4)], EventID: fmt.Sprint("E", rng.IntN(40))}
				case 10:
					e = Entry{Kind: []EntryKind{BootSeen, VMSeen, NameSeen}[rng.IntN(3)], VM: fmt.Sprint("vm", rng.IntN(2)), Name: fmt.Sprint("web_", rng.IntN(2))}
				case 11:
					e = Entry{Kind: []EntryKind{MaintenanceOn, MaintenanceOff}[rng.IntN(2)]}
				}
				mustAppend(t, j, e)
			}
			where := fmt.Sprintf("seed %d history %d", seed, n)
			state, history := j.State(), j.History()
			j.rewrite = true
			mustAppend(t, j, Entry{Kind: "nothing"})
			require.Equal(t, state, j.State(), where)
			again := openMem(t, files, fmt.Sprint("b", boot))
			require.Equal(t, state, again.State(), where)
			require.Equal(t, history, again.History(), where)
			require.LessOrEqual(t, len(history), maxRecords)
		}
	})
}

func TestTheFileStaysSmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := newMemFiles()
		j := openMem(t, files, "b1")
		for i := range 400 {
			id := fmt.Sprint("d", i)
			mustAppend(t, j, wholeDrain(id, Cause{Kind: ScheduledEvent, EventID: "E" + id, Reason: strings.Repeat("x", 5000)})...)
		}
		for range 3000 { // an ack that fails every second for more than an hour
			mustAppend(t, j, Entry{Kind: AckFailed, EventID: "E", Error: "throttled"})
		}
		require.Less(t, len(files.content(journalName)), 2*compactAbove)
		require.Len(t, j.History(), maxRecords)
		require.Equal(t, "d399", j.History()[0].ID)
		again := openMem(t, files, "b1")
		require.Equal(t, j.State(), again.State())
		require.Equal(t, j.History(), again.History())
	})
}

// TestAFullDiskLosesNothing fails every call for a while.
func TestAFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range []fault{faultError, faultShort} {
		synctest.Test(t, func(t *testing.T) { fullDisk(t, kind) })
	}
}

func fullDisk(t *testing.T, kind fault) {
	t.Helper()
	files := newMemFiles()
	var log testkit.Buffer
	var durable []uint64
	j, err := OpenJournal(JournalConfig{
		Dir: "/state", BootID: "b1", files: files, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		AfterAppend: func(seq uint64) { durable = append(durable, seq) },
	})
	require.NoError(t, err)
	d := wholeDrain("d1", preempt)
	mustAppend(t, j, d[0])
	files.fault = func(int) fault { return kind }
	for _, e := range d[1:7] {
		require.ErrorContains(t, j.Append(e), "no space left on device")
	}
	require.Error(t, j.Degraded())
	require.Equal(t, ResultSucceeded, j.State().Drain.Result, "the state goes on")
	require.Equal(t, []uint64{1}, durable)
	files.fault = nil
	mustAppend(t, j, d[7])
	require.NoError(t, j.Degraded())
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, durable)
	r := parse(files.content(journalName))
	require.Len(t, r.entries, 7, "written anew: ack-intended says nothing that acked does not")
	require.Zero(t, r.bad)
	require.Equal(t, j.State(), openMem(t, files, "b1").State())
	synctest.Wait() // for the log
	require.Equal(t, 1, strings.Count(log.String(), "going on in memory"), "it says so once")
	require.EqualValues(t, 6, j.failed())
}

func TestABrokenDiskIsBoundedInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := newMemFiles()
		j := openMem(t, files, "b1")
		mustAppend(t, j, wholeDrain("d1", preempt)[:6]...)
		files.fault = func(int) fault { return faultError }
		for range maxEntries + 100 {
			require.Error(t, j.Append(Entry{Kind: AckFailed, EventID: "E1"}))
		}
		require.LessOrEqual(t, len(j.entries), maxEntries)
		files.fault = nil
		mustAppend(t, j, Entry{Kind: Acked, EventID: "E1"})
		require.Equal(t, j.State(), openMem(t, files, "b1").State())
		require.Equal(t, Acked, j.State().Events["E1"].Ack)
		require.Equal(t, ResultSucceeded, j.State().Events["E1"].Drained)
	})
}

func TestAReadOnlyDirectoryDegrades(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	mustAppend(t, openMem(t, files, "b1"), wholeDrain("d1", preempt)[:2]...)
	files = files.revive(false)
	files.fault = func(int) fault { return faultError }
	j := openMem(t, files, "b1")
	require.ErrorContains(t, j.Degraded(), "no space left")
	require.Error(t, j.Append(Entry{Kind: BootSeen}))
	files.fault = nil
	mustAppend(t, j, Entry{Kind: VMSeen, VM: "v"})
	s := openMem(t, files, "b1").State()
	require.Equal(t, "d1", s.Drain.ID, "what could not be read at first is not lost")
	require.True(t, s.BootSeen)
	require.Equal(t, j.State(), s)
}

// TestEveryFileCallMayFail fails, cuts short or dies in each call of a journal's
// life in turn, compaction included, with and without losing what was not synced.
func TestEveryFileCallMayFail(t *testing.T) {
	t.Parallel()
	entries := append(wholeDrain("d1", preempt), Entry{Kind: BootSeen})
	run := func(files *memFiles) (j *Journal, durable map[uint64]bool) {
		durable = map[uint64]bool{}
		j, err := OpenJournal(JournalConfig{
			Dir: "/state", BootID: "b1", files: files,
			AfterAppend: func(seq uint64) { durable[seq] = true },
		})
		require.NoError(t, err)
		for i, e := range entries {
			if i == 4 || i == 8 {
				j.disk.limit = 1 // compacts
			}
			_ = j.Append(e) // the point is what becomes of those that fail
		}
		return j, durable
	}
	files := newMemFiles()
	_, durable := run(files)
	require.Len(t, durable, len(entries))
	require.Contains(t, files.log, "rename")

	for call := range files.calls {
		for _, kind := range []fault{faultError, faultShort, faultKill} {
			where := fmt.Sprintf("fault %d in call %d, %s", kind, call, files.log[call])
			files := newMemFiles()
			files.fault = func(n int) fault {
				if n == call {
					return kind
				}
				return faultNone
			}
			j, durable := run(files)
			state := j.State()
			if kind != faultKill {
				mustAppend(t, j, Entry{Kind: MaintenanceOff})
				require.NoError(t, j.Degraded(), where)
				require.Equal(t, state, openMem(t, files.revive(true), "b1").State(), where)
				continue
			}
			for _, powerLoss := range []bool{false, true} {
				next := openMem(t, files.revive(powerLoss), "b1")
				got := newFold()
				found := map[uint64]bool{}
				for _, e := range next.entries {
					found[e.Seq] = true
					got.apply(e)
				}
				for seq := range durable {
					if entries[seq-1].Kind == AckIntended && found[seq+1] {
						continue // acked says more
					}
					require.True(t, found[seq], "%s, power loss %t: entry %d was durable and is gone\n%v\n%s", where, powerLoss, seq, files.log, files.content(journalName))
				}
				mustAppend(t, next, Entry{Kind: MaintenanceOff})
			}
		}
	}
}

func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	files := newMemFiles()
	j := openMem(t, files, "b1")
	long := strings.Repeat("\x00é", 1<<20)
	mustAppend(t, j, Entry{
		Kind: DrainStarted, DrainID: "d", Error: long, Reason: long, By: long, EventID: long,
		Cause: &Cause{EventID: long, EventType: long, By: long, Reason: long},
	})
	require.Less(t, len(files.content(journalName)), maxLine)
	require.Len(t, parse(files.content(journalName)).entries, 1)
}

func FuzzReplay(f *testing.F) {
	files := newMemFiles()
	j, err := OpenJournal(JournalConfig{Dir: "/state", BootID: "b1", files: files})
	require.NoError(f, err)
	for _, e := range wholeDrain("d1", preempt) {
		require.NoError(f, j.Append(e))
	}
	f.Add(files.content(journalName))
	f.Add([]byte("00000000 {}\n\n\n"))
	f.Add([]byte(`{"seq":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := newMemFiles()
		files.names[journalName] = &memData{now: bytes.Clone(data)}
		j, err := OpenJournal(JournalConfig{Dir: "/state", BootID: "b1", files: files})
		require.NoError(t, err)
		before := len(j.entries)
		mustAppend(t, j, wholeDrain("fuzz", preempt)...)
		again, err := OpenJournal(JournalConfig{Dir: "/state", BootID: "b1", files: files})
		require.NoError(t, err)
		require.Len(t, again.entries, len(j.entries))
		require.Zero(t, again.Skipped())
		require.Equal(t, j.State().Events["E1"], again.State().Events["E1"])

		// A prefix holds the entries that are whole in it.
		cut := len(data) / 2
		whole := bytes.LastIndexByte(data[:cut], '\n') + 1
		require.GreaterOrEqual(t, len(parse(data[:cut]).entries), len(parse(data[:whole]).entries))
		require.LessOrEqual(t, len(parse(data[:cut]).entries), before)
	})
}
