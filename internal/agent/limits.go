package agent

import (
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/server"
)

// ownDescriptors is how many file descriptors the agent keeps for everything that
// is no connection of a client: sockets of its own, the journal, pipes.
const ownDescriptors = 64

// A connLimit bounds the connections of each listener.
type connLimit struct{ probe, metrics, control int }

// connLimits follows from how many descriptors the process may have: half of what
// is to spare is for probes. Where there is little to spare, a few connections are
// let in all the same: one more than that closes one.
func connLimits(descriptors uint64) connLimit {
	spare := int(min(descriptors, 1<<20)) - ownDescriptors
	return connLimit{
		probe:   max(8, min(server.DefaultMaxConns, spare/2)),
		metrics: max(4, min(64, spare/8)), // a scraper or two
		control: max(8, min(128, spare/4)),
	}
}

// maxDescriptors is the limit of this process. Go's runtime has raised the soft limit
// to the hard one by the time that main begins, and gives children the old one back.
func maxDescriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0 // it cannot fail; if it does, few connections are better than none
	}
	return limit.Cur
}
