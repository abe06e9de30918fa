package agent

import (
	"bufio"
	"context"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trimEvery is how often the agent gives back memory that it does not need.
const trimEvery = time.Minute

// trim keeps the agent small between the few things that it does: it returns
// free heap to the system, and lets go of the pages of the program itself that
// only the start, or a burst of requests, had touched. The kernel maps sixteen
// pages around each one that is touched; those that are needed again come back
// from the page cache. On a node the agent is overhead, and it is counted by
// what is resident.
func (a *Agent) trim(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for first := time.After(5 * time.Second); ; {
		select {
		case <-first:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		debug.FreeOSMemory()
		if err := dropProgramPages(); err != nil {
			a.logger.Debug("pages of the program not dropped", "err", err)
		}
	}
}

// dropProgramPages unmaps the read-only pages of the running program.
func dropProgramPages() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for _, m := range readOnlyMappings(maps, program) {
		// Clean pages of a file: to drop them loses nothing.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED); errno != 0 {
			return errno
		}
	}
	return nil
}

type mapping struct{ start, length uintptr }

// readOnlyMappings finds in /proc/PID/maps (proc(5)) where a file is mapped
// without being writable.
func readOnlyMappings(maps io.Reader, file string) []mapping {
	var found []mapping
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			continue
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil || end <= start {
			continue
		}
		found = append(found, mapping{uintptr(start), uintptr(end - start)})
	}
	return found
}
