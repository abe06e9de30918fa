package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// returnEvery is how often the agent gives back the heap that it does not need.
const returnEvery = time.Minute

// returnHeap keeps the agent small between the few things that it does: after the
// start, or a burst of requests, a third of its memory is free heap, which the
// runtime alone would keep for the next burst. Pages of the program are the
// kernel's to take: what a drain is made of is not to be read back from a disk
// that hangs.
func returnHeap(ctx context.Context) error {
	tick := time.NewTicker(returnEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			debug.FreeOSMemory()
		case <-ctx.Done():
			return nil
		}
	}
}
