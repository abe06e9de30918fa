//go:build !linux

package journal

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock goes on while the machine sleeps: on macOS, CLOCK_MONOTONIC does.
func clock() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it fails for a clock that is not there
	return time.Duration(ts.Nano())
}
