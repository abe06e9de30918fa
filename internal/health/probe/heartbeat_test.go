package probe

import (
	"context"
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
