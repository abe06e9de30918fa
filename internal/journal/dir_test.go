package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
)

// holderVariable makes the test's program hold a lock until it is killed.
const holderVariable = "FLEETCTL_TEST_HOLDER"

func holdForever() {
	p, err := At(os.Getenv(holderVariable), nil, nil)
	if err == nil {
		var j *Journal
		if j, err = p.Journal("7"); err == nil {
			var l *Lock
			if l, err = j.Acquire(context.Background(), Owner{Name: "the dead", PID: os.Getpid()}); err == nil {
				err = l.Append(context.Background(), json.RawMessage(`"last words"`))
			}
		}
	}
	fmt.Println("held", err)
	select {}
}

// A journal whose directory is gone was not unlocked by anybody.
func TestVanishedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rollouts")
	p, err := At(dir, nil, nil)
	require.NoError(t, err)
	l, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.NoError(t, err)
	require.NoError(t, l.Guard())
	require.NoError(t, os.RemoveAll(dir))
	err = l.Append(t.Context(), json.RawMessage(`"lost"`))
	require.ErrorIs(t, err, ErrLost)
	require.ErrorContains(t, err, dir+"/7: no such file or directory")
	require.NoDirExists(t, dir)
}

// A process that is killed holds nothing, whatever its lock's file says.
func TestDeadHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held <nil>\n", line)
	p, err := At(dir, nil, nil)
	require.NoError(t, err)
	_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	held, ok := errors.AsType[*HeldError](err)
	require.True(t, ok, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, Owner{"the dead", host, cmd.Process.Pid}, held.Owner)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	text, err := os.ReadFile(filepath.Join(dir, "7/lock"))
	require.NoError(t, err)
	require.Contains(t, string(text), "the dead")
	require.Equal(t, []string{`"last words"`}, texts(t, taken(t, p, "7", "ada")))
}

// Who looks whether somebody has the lock does not have it: neither for another who looks,
// nor for who takes it, also when a dead process is written in the file.
func TestWhoLooksHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "7"), 0o755))
		name := filepath.Join(dir, "7/lock")
		require.NoError(t, os.WriteFile(name, []byte(`{"owner":"the dead"}`), 0o644))
		p, err := At(dir, nil, nil)
		require.NoError(t, err)
		j := journalOf(t, p, "7")

		looks, err := os.Open(name)
		require.NoError(t, err)
		require.NoError(t, unix.Flock(int(looks.Fd()), unix.LOCK_SH))
		held, err := j.Holder(t.Context())
		require.NoError(t, err)
		require.Nil(t, held)

		var l *Lock
		done := make(chan error, 1)
		go func() {
			var err error
			l, err = j.Acquire(t.Context(), Owner{Name: "ada"})
			done <- err
		}()
		synctest.Wait()
		require.Empty(t, done, "it waits for who looks")
		require.NoError(t, looks.Close())
		require.NoError(t, <-done)
		require.NoError(t, l.Release(t.Context()))
	})
}

// A process that was stopped in the middle, and one that was unlocked meanwhile, do not
// write over the other.
func TestUnlockOfAStoppedHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	p, err := At(dir, nil, nil)
	require.NoError(t, err)
	j := journalOf(t, p, "7")
	held, err := j.Holder(t.Context())
	require.NoError(t, err)
	require.NoError(t, j.Unlock(t.Context(), held))
	l := taken(t, p, "7", "ada")
	appended(t, l, "2")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Equal(t, []string{`"last words"`, "2"}, texts(t, l))
}

// A crash in the middle of a line leaves a line without an end; it is said, and the next
// line takes its place.
func TestTornLine(t *testing.T) {
	p, _ := directorySite(t).open()
	l := taken(t, p, "7", "ada")
	appended(t, l, "1", "2")
	require.NoError(t, l.Release(t.Context()))
	name := l.store.name()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	start := strings.LastIndex(strings.TrimSuffix(string(text), "\n"), "\n") + 1
	for cut := start + 1; cut < len(text); cut++ {
		require.NoError(t, os.WriteFile(name, text[:cut], 0o644))
		said := told(p)
		require.Equal(t, []string{"1"}, texts(t, journalOf(t, p, "7")))
		require.Equal(t, []string{name + ":3: the last line is not whole, and is left out: a crash has cut it, or it is being written"}, *said)
		l, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "grace"})
		require.NoError(t, err)
		appended(t, l, "3")
		*said = nil
		require.Equal(t, []string{"1", "3"}, texts(t, journalOf(t, p, "7")))
		require.Empty(t, *said)
		require.NoError(t, l.Release(t.Context()))
	}
}

// A disk that is full in the middle of a line leaves no half of it.
func TestFullDisk(t *testing.T) {
	good := writeAt
	t.Cleanup(func() { writeAt = good })
	p, _ := directorySite(t).open()
	l := taken(t, p, "7", "ada")
	appended(t, l, "1")
	writeAt = func(f *os.File, line []byte, at int64) error {
		return errors.Join(good(f, line[:len(line)/2], at), syscall.ENOSPC)
	}
	err := l.Append(t.Context(), json.RawMessage("2"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, err, ErrLost)
	writeAt = good
	require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("3")), syscall.ENOSPC, "an append that failed is the last")
	said := told(p)
	require.Equal(t, []string{"1"}, texts(t, journalOf(t, p, "7")))
	require.Empty(t, *said)
	require.NoError(t, l.Release(t.Context()))
	appended(t, taken(t, p, "7", "ada"), "2")
	require.Equal(t, []string{"1", "2"}, texts(t, journalOf(t, p, "7")))
}

// Odd things in the place of a journal's files are refused by name; none is waited for.
func TestOddFiles(t *testing.T) {
	makers := map[string]func(name string) error{
		"a named pipe":    func(name string) error { return syscall.Mkfifo(name, 0o644) },
		"a symbolic link": func(name string) error { return os.Symlink("/dev/null", name) },
		"a directory":     func(name string) error { return os.Mkdir(name, 0o755) },
	}
	for what, put := range makers {
		for _, file := range []string{"journal", "lock"} {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "7"), 0o755))
			odd := filepath.Join(dir, "7", file)
			require.NoError(t, put(odd))
			p, err := At(dir, nil, nil)
			require.NoError(t, err)
			_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
			refused, ok := errors.AsType[*safefile.RefusedError](err)
			require.True(t, ok, err)
			require.Equal(t, odd, refused.Path)
			require.Contains(t, refused.Why, what)
			if file == "journal" {
				_, err = journalOf(t, p, "7").Entries(t.Context())
				require.ErrorContains(t, err, what)
				held, err := journalOf(t, p, "7").Holder(t.Context())
				require.NoError(t, err)
				require.Nil(t, held, "the lock was given back")
			}
		}
	}
	dir := t.TempDir()
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "7")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "8"), nil, 0o644))
	p, err := At(dir, nil, nil)
	require.NoError(t, err)
	_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.ErrorContains(t, err, "7 is not a directory")
	_, err = journalOf(t, p, "8").Acquire(t.Context(), Owner{Name: "ada"})
	require.ErrorContains(t, err, "8 is a regular file, not a directory: move it away")
	all, err := p.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}

// asNobody makes the rest of a test work on files as a user who is not root. What it
// changes is of its thread.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	const nobody = 65534
	require.NoError(t, unix.Setfsuid(nobody))
	t.Cleanup(func() {
		require.NoError(t, unix.Setfsuid(0))
		runtime.UnlockOSThread()
	})
}

// Who may only read can read, and is told why he may not write.
func TestReadOnly(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(root), 0o755))
	p, err := At(root+"/pay", nil, nil)
	require.NoError(t, err)
	asNobody(t)
	l := taken(t, p, "7", "ada")
	appended(t, l, "1")
	require.NoError(t, l.Release(t.Context()))
	dir := filepath.Dir(l.store.name())
	require.NoError(t, os.Chmod(filepath.Join(dir, "journal"), 0o444))
	_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "7/journal")
	require.NoError(t, os.Remove(filepath.Join(dir, "lock")))
	require.NoError(t, os.Chmod(dir, 0o555))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	require.Equal(t, []string{"1"}, texts(t, journalOf(t, p, "7")))
	_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.ErrorIs(t, err, os.ErrPermission)
	_, err = journalOf(t, p, "7").Ask(t.Context(), []byte("{}"))
	require.ErrorIs(t, err, os.ErrPermission)
}

// A journal has an end, which is said before it is reached; a full one can still be
// locked, and unlocked.
func TestFullJournal(t *testing.T) {
	p, _ := directorySite(t).open()
	l := taken(t, p, "7", "ada")
	require.NoError(t, l.Release(t.Context()))
	fill := func(lines int) {
		t.Helper()
		var text []byte
		for c := (tail{}); c.lines < lines; {
			line := c.line(time.Unix(0, 0), "00000000", []byte("1"))
			text, c = append(text, line...), c.after(line)
		}
		require.NoError(t, os.WriteFile(l.store.name(), text, 0o644))
	}
	fill(maxEntries - 2)
	said := told(p)
	l = taken(t, p, "7", "ada")
	require.Equal(t, []string{l.store.name() + " is almost full: it takes 1 more lines"}, *said)
	appended(t, l, "1")
	require.ErrorContains(t, l.Append(t.Context(), json.RawMessage("1")), "is full: it takes 49000 lines")
	require.NoError(t, l.Guard())
	require.NoError(t, l.Release(t.Context()))
	require.NoError(t, taken(t, p, "7", "ada").Release(t.Context()))
	fill(maxLines)
	_, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.ErrorContains(t, err, "is full: it has 50000 lines")
	held, err := journalOf(t, p, "7").Holder(t.Context())
	require.NoError(t, err)
	require.Nil(t, held)
}
