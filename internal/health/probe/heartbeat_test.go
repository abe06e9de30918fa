package probe

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := NewHeartbeat(HeartbeatConfig{TTL: 30 * time.Second})
		require.NoError(t, err)
		woken := func() bool {
			select {
			case <-h.Wake():
				return true
			default:
				return false
			}
		}
		requireSays(t, h.Probe(t.Context()), "heartbeat application: no report yet, want a report at least every 30s")
		require.False(t, woken())

		h.Report(true, "")
		h.Report(true, "")
		require.True(t, woken())
		require.False(t, woken(), "two reports are one wake-up")
		require.NoError(t, h.Probe(t.Context()))

		time.Sleep(30 * time.Second)
		require.NoError(t, h.Probe(t.Context()))
		time.Sleep(time.Millisecond)
		requireSays(t, h.Probe(t.Context()), "heartbeat application: last report 30.001s ago, want a report at least every 30s")

		h.Report(false, "queue\nfull")
		require.True(t, woken())
		requireSays(t, h.Probe(t.Context()), `heartbeat application: it reported a failure: "queue full", want a report that passes`)
		h.Report(false, "")
		requireSays(t, h.Probe(t.Context()), "heartbeat application: it reported a failure, want a report that passes")
		h.Report(true, "")
		require.NoError(t, h.Probe(t.Context()))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, h.Probe(ctx), context.Canceled)
	})
}

// TestHeartbeatForgets: a report counts only when it was made after the node was
// out of service, and silence is no finding before the ttl has passed.
func TestHeartbeatForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		undecided := func(err error) bool {
			e, ok := errors.AsType[*Error](err)
			return ok && e.Undecided()
		}
		h, err := NewHeartbeat(HeartbeatConfig{TTL: 30 * time.Second})
		require.NoError(t, err)
		require.False(t, undecided(h.Probe(t.Context())), "at the start, silence is a failure")
		h.Report(true, "")
		time.Sleep(time.Second)
		h.Forget(time.Now())
		err = h.Probe(t.Context())
		requireSays(t, err, "heartbeat application: no report since the node was out of service, want a report at least every 30s")
		require.True(t, undecided(err))
		time.Sleep(30*time.Second - time.Millisecond)
		require.True(t, undecided(h.Probe(t.Context())))
		time.Sleep(time.Millisecond)
		err = h.Probe(t.Context())
		requireSays(t, err, "heartbeat application: no report yet, want a report at least every 30s")
		require.False(t, undecided(err))

		h.Forget(time.Now())
		time.Sleep(time.Millisecond)
		h.Report(false, "")
		require.False(t, undecided(h.Probe(t.Context())), "a report is a finding")
		h.Report(true, "")
		require.NoError(t, h.Probe(t.Context()))
		h.Forget(time.Now().Add(-10 * time.Second)) // as after a restart of the agent
		require.NoError(t, h.Probe(t.Context()), "it was made after that")
	})
}

func TestHeartbeatConcurrently(t *testing.T) {
	h, err := NewHeartbeat(HeartbeatConfig{TTL: time.Hour})
	require.NoError(t, err)
	h.Report(true, "")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				h.Report(true, "fine")
			}
		})
	}
	for range 100 {
		require.NoError(t, h.Probe(t.Context()))
	}
	wg.Wait()
}

func TestHeartbeatRefuses(t *testing.T) {
	_, err := NewHeartbeat(HeartbeatConfig{})
	require.EqualError(t, err, "ttl 0s: want a positive duration")
}
