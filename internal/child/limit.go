package child

import (
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// wrapper is prlimit(1), which sets a limit on itself and becomes the program.
	wrapper     = "prlimit"
	wrapperFile = "/usr/bin/prlimit" // of util-linux, which Debian calls essential
)

// limitTasks puts a bound on the tasks of the user that cmd may bring about, and
// reports whether it did.
//
// A Go program that gets no new thread aborts. So a check that forks without end
// would take the agent with it, when the control group's pids.max is reached:
// programs get RLIMIT_NPROC below that. It counts the processes and threads of the
// user, the agent's with them, and binds at fork, so that it has to be on the
// program and on nobody else: on the agent it would bring the abort earlier.
// Nothing but a wrapper sets it before the program runs. Root is not bound by
// RLIMIT_NPROC.
func limitTasks(cmd *exec.Cmd, limit uint64) bool {
	var now unix.Rlimit
	if limit == 0 || os.Geteuid() == 0 || unix.Getrlimit(unix.RLIMIT_NPROC, &now) != nil || now.Cur <= limit {
		return false
	}
	if unix.Access(wrapperFile, unix.X_OK) != nil {
		return false
	}
	program, err := filepath.Abs(cmd.Path) // not to be taken for an option
	if err != nil {
		return false
	}
	cmd.Args = append([]string{wrapper, "--nproc=" + strconv.FormatUint(limit, 10), program}, cmd.Args[1:]...)
	cmd.Path = wrapperFile
	return true
}

// taskLimit is how many tasks the user may have when a program makes one more: three
// quarters of what the control group of this process may have; 0: nobody limits it.
// The rest is for the agent's own threads, of which each program that runs takes
// one. The files are those of /proc/self/cgroup and of both versions of cgroup,
// below root.
func taskLimit(root string) uint64 {
	group, base := pidsGroup(root)
	if base == "" {
		return 0
	}
	least := uint64(math.MaxUint64)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) { // a limit above binds, too
		text, err := readBounded(filepath.Join(root, base, dir, "pids.max"), 64)
		if err == nil {
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // or "max"
				least = min(least, n)
			}
		}
		if dir == "/" {
			break
		}
	}
	if least == math.MaxUint64 {
		return 0
	}
	return max(1, least-least/4)
}

// pidsGroup returns the control group that counts this process's tasks, and where
// its hierarchy is mounted.
func pidsGroup(root string) (group, base string) {
	text, err := readBounded(filepath.Join(root, "proc/self/cgroup"), 64<<10)
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[1] == "" && base == "":
			group, base = f[2], "sys/fs/cgroup"
		case strings.Contains(","+f[1]+",", ",pids,"):
			return f[2], "sys/fs/cgroup/pids"
		}
	}
	return group, base
}
