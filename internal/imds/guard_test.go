package imds_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// record keeps when each request was sent, by what it is for.
type record struct {
	mu    sync.Mutex
	all   []time.Time
	acks  []time.Time
	polls []time.Time
}

func (r *record) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.all = append(r.all, now)
	switch {
	case req.Method == http.MethodPost:
		r.acks = append(r.acks, now)
	case req.URL.Path == eventsPath:
		r.polls = append(r.polls, now)
	}
	return answer(200, `{"compute":{"name":"vm_0","vmId":"id"}}`), nil
}

// busiestMinute is the most requests that any closed minute saw.
func busiestMinute(times []time.Time) int {
	most, from := 0, 0
	for to := range times {
		for times[to].Sub(times[from]) > time.Minute {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

func longestGap(times []time.Time) time.Duration {
	var gap time.Duration
	for i := 1; i < len(times); i++ {
		gap = max(gap, times[i].Sub(times[i-1]))
	}
	return gap
}

// every calls f at an interval, each call after the one before returned, and at once
// when that one lasted longer. It has no ticker: a tick that is due before anybody waits
// for it is run by the goroutine that comes for it, and the race detector crashes when
// two of a bubble do so at once (golang.org/issue/78156).
func every(ctx context.Context, interval time.Duration, f func(context.Context) error) {
	for ctx.Err() == nil {
		began := time.Now()
		_ = f(ctx)
		pause := time.Until(began.Add(interval))
		if pause <= 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// TestRateGuard holds that IMDS never sees more than 1.2 requests a second over
// any minute, and who goes first when callers ask for more.
func TestRateGuard(t *testing.T) {
	const (
		never = 24 * time.Hour
		// short is how long anything waits at most while callers ask for too
		// much: less than a poll's timeout, so that nobody seems blind for it.
		short = 3 * time.Second
	)
	tests := map[string]struct {
		poll, ack, other time.Duration // intervals of the callers
		pollers          int
		pollGap, ackGap  time.Duration // no wait is longer
	}{
		"steady":                      {time.Second, never, never, 1, time.Second, 0},
		"acks once a second":          {time.Second, time.Second, never, 1, short, short},
		"acks without a pause":        {time.Second, time.Millisecond, never, 1, short, short},
		"polls without a pause":       {time.Millisecond, 20 * time.Second, never, 1, short, 20*time.Second + short},
		"a hundred pollers":           {time.Millisecond, 20 * time.Second, never, 100, short, 20*time.Second + short},
		"others without a pause":      {time.Second, 20 * time.Second, time.Millisecond, 1, short, 20*time.Second + short},
		"everything without a pause":  {time.Millisecond, time.Millisecond, time.Millisecond, 10, short, short},
		"polls of a misconfiguration": {100 * time.Millisecond, time.Second, 5 * time.Second, 1, short, short},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := &record{}
				client := newClient(t, imds.Config{Transport: seen})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for range test.pollers {
					wg.Go(func() {
						every(ctx, test.poll, func(ctx context.Context) error {
							_, err := client.Get(ctx, eventsPath, version)
							return err
						})
					})
				}
				wg.Go(func() {
					every(ctx, test.ack, func(ctx context.Context) error {
						_, err := client.Post(ctx, eventsPath, version, []byte(`{}`))
						return err
					})
				})
				wg.Go(func() {
					every(ctx, test.other, func(ctx context.Context) error {
						_, err := client.Instance(ctx)
						return err
					})
				})
				wg.Wait()
				require.LessOrEqual(t, busiestMinute(seen.all), 72)
				slack := 50 * time.Millisecond
				require.LessOrEqual(t, longestGap(seen.polls), test.pollGap+slack, "polls")
				require.LessOrEqual(t, longestGap(seen.acks), test.ackGap+slack, "acks")
				require.GreaterOrEqual(t, len(seen.polls), 200, "polls in ten minutes")
			})
		})
	}
}

// TestAckGoesAtOnce holds that an ack does not queue behind polls, however many
// callers poll.
func TestAckGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, imds.Config{Transport: &record{}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				every(ctx, time.Millisecond, func(ctx context.Context) error {
					_, err := client.Get(ctx, eventsPath, version)
					return err
				})
			})
		}
		time.Sleep(2 * time.Minute)
		start := time.Now()
		_, err := client.Post(ctx, eventsPath, version, []byte(`{}`))
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		cancel()
		wg.Wait()
	})
}

// TestAckStormLeavesPollsOnTime holds that a few retried acks cost no poll its
// place: the burst is there for them.
func TestAckStormLeavesPollsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &record{}
		client := newClient(t, imds.Config{Transport: seen})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			every(ctx, time.Second, func(ctx context.Context) error {
				_, err := client.Get(ctx, eventsPath, version)
				return err
			})
		})
		time.Sleep(time.Minute)
		for range 4 {
			_, err := client.Post(ctx, eventsPath, version, []byte(`{}`))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		wg.Wait()
		require.Equal(t, time.Second, longestGap(seen.polls))
		require.Equal(t, time.Second, longestGap(seen.acks))
	})
}

// TestRateGuardRandomCallers tries orders of callers that nobody thought of.
func TestRateGuardRandomCallers(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := &record{}
				client := newClient(t, imds.Config{Transport: seen})
				rng := rand.New(rand.NewPCG(seed, 0))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for ctx.Err() == nil {
					for range rng.IntN(20) {
						ack := rng.IntN(3) == 0
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
							defer cancel()
							if ack {
								_, _ = client.Post(ctx, eventsPath, version, []byte(`{}`))
							} else {
								_, _ = client.Get(ctx, eventsPath, version)
							}
						})
					}
					time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Second))))
				}
				wg.Wait()
				require.True(t, slices.IsSortedFunc(seen.all, time.Time.Compare))
				require.LessOrEqual(t, busiestMinute(seen.all), 72)
			})
		})
	}
}

func TestGuardedRequestKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, imds.Config{Transport: &record{}})
		for range 8 {
			_, err := client.Get(t.Context(), eventsPath, version)
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := client.Get(ctx, eventsPath, version)
		require.Equal(t, imds.ClassTimeout, imds.Classify(err))
		require.ErrorContains(t, err, "hold back the request to stay under the rate limit")
		require.Equal(t, 100*time.Millisecond, time.Since(start))
	})
}
