package child

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tagPasses bounds how often the process table is read after one run. The
	// waits between the passes double from 1 ms, so that all take 127 ms at most.
	tagPasses = 8

	// maxEnviron bounds what is read of a process, in bytes: the kernel's own
	// limit for arguments and environment with the usual stack of 8 MiB.
	maxEnviron = 2 << 20
)

// variable is the name of a run's tag in the environment.
const variable = "FLEET_RUN"

// A runTag marks the environment of a run, and so of all its descendants,
// whatever their group, session or parent. It is how those that left the group
// are found. A control group would be surer, but the agent has none to give
// where systemd did not delegate one; as a subreaper it would have to tell a
// program's orphans from everybody else's and bury them all.
type runTag string

func newRunTag() runTag { return runTag(rand.Text()) }

func (t runTag) variable() string { return variable + "=" + string(t) }

// kill sends SIGKILL to every process that carries the tag, until a pass over
// the process table finds nobody who does or may do so. The leader of the run
// is still there, perhaps as a zombie: only who started after it can matter.
func (t runTag) kill(leader int) {
	since, ok := readProcess(leader)
	if !ok {
		return
	}
	for pass := range tagPasses {
		if pass > 0 {
			time.Sleep(time.Millisecond << (pass - 1))
		}
		if !t.killOnce(since.started) {
			return
		}
	}
}

// killOnce reports whether another pass is needed: for the children that the
// killed may have had, or because a process was between two programs and had
// no environment yet.
func (t runTag) killOnce(since uint64) (again bool) {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, ok := readProcess(pid)
		if !ok || p.dead || p.kernel || p.started < since {
			continue
		}
		environ, ok := readEnviron(pid)
		switch {
		case !ok:
		case len(environ) == 0:
			again = true
		case bytes.Contains(environ, []byte(t)):
			t.killProcess(pid)
			again = true
		}
	}
	return again
}

func (t runTag) killProcess(pid int) {
	// The number may have got a new owner since: hold on to the process, and
	// look again at what is now held.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if environ, ok := readEnviron(pid); ok && bytes.Contains(environ, []byte(t)) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone, or not ours to kill
	}
}

// readEnviron gives the environment that a process was started with. Those of
// other users cannot be read, nor could they be killed.
func readEnviron(pid int) (environ []byte, ok bool) {
	environ, err := readBounded("/proc/"+strconv.Itoa(pid)+"/environ", maxEnviron)
	return environ, err == nil
}

type process struct {
	dead    bool   // a zombie
	kernel  bool   // a thread of the kernel
	started uint64 // in clock ticks after the boot
}

// readProcess reads /proc/PID/stat, see proc_pid_stat(5).
func readProcess(pid int) (p process, ok bool) {
	data, err := readBounded("/proc/"+strconv.Itoa(pid)+"/stat", 4<<10)
	if err != nil {
		return process{}, false
	}
	return parseStat(string(data))
}

func parseStat(stat string) (p process, ok bool) {
	const flagKernelThread = 0x00200000 // PF_KTHREAD of linux/sched.h
	// The name in parentheses may hold anything, also parentheses and spaces.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const state, flags, startTime = 0, 6, 19 // fields 3, 9 and 22
	if len(fields) <= startTime {
		return process{}, false
	}
	bits, err := strconv.ParseUint(fields[flags], 10, 64)
	if err != nil {
		return process{}, false
	}
	p.started, err = strconv.ParseUint(fields[startTime], 10, 64)
	p.kernel = bits&flagKernelThread != 0
	p.dead = fields[state] == "Z" || fields[state] == "X"
	return p, err == nil
}

// readBounded reads a file of the kernel's, at most limit bytes of it.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
