package azure

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// ticking is a simulator whose clock runs, and a client of it.
func ticking(t *testing.T, start time.Time, factor float64) (*arm.Server, *Client) {
	t.Helper()
	server, err := arm.New(arm.Config{Clock: arm.NewClock(start, factor)})
	require.NoError(t, err)
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	return server, clientOf(t, endpoint)
}

var longAgo = time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)

func TestClockIsTheSimulators(t *testing.T) {
	require.Equal(t, arm.ClockHeader, clockHeader)
	server, client := ticking(t, longAgo, 0)
	require.Equal(t, longAgo, client.Now(), "before anything else was asked")
	server.Advance(time.Hour)
	require.Equal(t, longAgo, client.Now(), "nothing was asked since")
	_, err := client.Resource(t.Context(), setID(1), "")
	require.Error(t, err, "there is none")
	require.Equal(t, longAgo.Add(time.Hour), client.Now())
}

// A machine whose clock is wrong goes by Azure's, and one whose clock is right by its own.
func TestClockPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		date := func(ahead time.Duration) string { return time.Now().Add(ahead).UTC().Format(http.TimeFormat) }
		for _, tt := range []struct {
			date string
			skew time.Duration
		}{
			{date(0), 0},
			{date(29 * time.Second), 0}, // the answer took its time
			{date(-3 * time.Minute), -3 * time.Minute},
			{date(-170 * time.Second), -3 * time.Minute},
			{"", -3 * time.Minute},
			{"soon", -3 * time.Minute},
			{date(2 * time.Hour), 2 * time.Hour},
			{date(0), 0},
		} {
			c.take(http.Header{"Date": {tt.date}})
			now, simulated := c.now()
			require.False(t, simulated)
			require.Equal(t, tt.skew, time.Until(now), tt.date)
		}
	})
}

func TestClockRuns(t *testing.T) {
	server, client := ticking(t, longAgo, 1000)
	began := time.Now()
	require.NoError(t, client.Wait(t.Context(), 2*time.Minute))
	require.Less(t, time.Since(began), time.Minute, "two minutes take less than a second")
	require.False(t, server.Clock().Now().Before(longAgo.Add(2*time.Minute)))
	require.False(t, client.Now().Before(longAgo.Add(2*time.Minute)))
}

// A wait sees that the clock was set.
func TestWaitSeesTheClock(t *testing.T) {
	server, client := ticking(t, longAgo, 1)
	client.Now()
	server.Advance(24 * time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, client.Wait(ctx, 12*time.Hour))
}

func TestWaitEnds(t *testing.T) {
	_, client := ticking(t, longAgo, 0)
	require.NoError(t, client.Wait(t.Context(), time.Millisecond), "of a clock that stands still: in real time")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, client.Wait(ctx, time.Hour), context.Canceled)
}

// Time never goes back, and what is no time counts for nothing.
func TestClockTakes(t *testing.T) {
	var c clock
	for _, odd := range []string{"", "now", "2026-03-05T14:00:00Z", "2026-03-05T14:00:00Z x", "2026-03-05T14:00:00Z -1", "2026-03-05T14:00:00Z NaN", "2026-03-05T14:00:00Z 1e9"} {
		c.take(http.Header{clockHeader: {odd}})
		_, known := c.now()
		require.False(t, known, odd)
	}
	c.take(http.Header{clockHeader: {"2026-03-05T14:00:00Z 0"}})
	now, known := c.now()
	require.True(t, known)
	require.Equal(t, longAgo, now)
	c.take(http.Header{clockHeader: {"2026-03-05T13:00:00Z 0"}})
	now, _ = c.now()
	require.Equal(t, longAgo, now)
}

// Before an answer, Azure's time is this machine's.
func TestClockOfAzure(t *testing.T) {
	client, err := New(Config{Auth: authDefault, Getenv: env()})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), client.Now(), time.Minute)
	require.NoError(t, client.Wait(t.Context(), time.Millisecond))
}

// Whoever waits for Azure asks it nothing meanwhile, however long that takes.
func TestWaitForAzure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := sequence(answer(http.StatusOK, `{}`))
		client, err := New(Config{Auth: authDefault, Getenv: env(), testOnlyTransport: transport})
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, client.Wait(t.Context(), lookEvery))
		require.Equal(t, lookEvery, time.Since(began))
		require.Zero(t, transport.calls.Load())
	})
}

// A simulator of somebody else's, which does not tell its time, is asked once.
func TestClockOfAnother(t *testing.T) {
	canned := &canned{}
	client := clientOf(t, canned.start(t))
	for range 3 {
		require.WithinDuration(t, time.Now(), client.Now(), time.Minute)
	}
	require.Equal(t, 1, canned.count())
}
