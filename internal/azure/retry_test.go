package azure

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// sequence answers with one after the other, and then with the last.
func sequence(answers ...http.HandlerFunc) *handlerTransport {
	n := 0
	return &handlerTransport{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(n, len(answers)-1)](w, r)
		n++
	})}
}

// As long as Azure asks to wait, up to twenty minutes, is waited, and said.
func TestRetryWaitsItsTurn(t *testing.T) {
	for _, header := range []string{"120", "1200"} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait, err := time.ParseDuration(header + "s")
				require.NoError(t, err)
				client, waits := with(t, sequence(answer(429, throttling, "Retry-After", header), answer(200, `{"value":[]}`)))
				start := time.Now()
				_, err = client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
				require.NoError(t, err)
				require.Equal(t, wait, time.Since(start))
				require.Equal(t, []string{"throttled by Compute (HighCostGetVMScaleSet30Min): waiting " + wait.String()}, *waits)
			})
		})
	}
}

// A wait beyond the end of the command is not begun.
func TestRetryWithinTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, waits := with(t, sequence(answer(429, throttling, "Retry-After", "600"), answer(200, `{"value":[]}`)))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		start := time.Now()
		_, err := client.ScaleSets(ctx, subscription, "rg-pay-prod")
		require.ErrorIs(t, err, &Error{Kind: Throttled})
		require.Zero(t, time.Since(start))
		require.Empty(t, *waits)
	})
}

// A failure that passes is not told.
func TestRetryOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := sequence(answer(503, "{}"), answer(502, "{}"), answer(200, `{"value":[]}`))
		client, waits := with(t, transport)
		_, err := client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
		require.NoError(t, err)
		require.EqualValues(t, 3, transport.calls.Load())
		require.Empty(t, *waits)
	})
}

// All who wait for the same limit say it once.
func TestRetrySaysAWaitOnce(t *testing.T) {
	var told []Wait
	r := newRetry(func(w Wait) { told = append(told, w) })
	synctest.Test(t, func(*testing.T) {
		r.say(Wait{"Compute", "A", time.Minute})
		time.Sleep(time.Second)
		r.say(Wait{"Compute", "A", 59 * time.Second})
		r.say(Wait{"Compute", "B", 59 * time.Second})
		r.say(Wait{"Compute", "C", 500 * time.Millisecond})
		time.Sleep(time.Minute)
		r.say(Wait{"Compute", "A", time.Minute})
	})
	require.Equal(t, []Wait{{"Compute", "A", time.Minute}, {"Compute", "B", 59 * time.Second}, {"Compute", "A", time.Minute}}, told)
}

// No more than eight requests are under way at once.
func TestRetryBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := fleetOf(20, 3, 0, 1)
		var now, most atomic.Int32
		client, _ := with(t, transportFunc(func(req *http.Request) (*http.Response, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			select {
			case <-time.After(time.Second):
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
			return (&handlerTransport{Handler: server}).Do(req)
		}))
		_, err := client.Fleet(t.Context(), Scope{Subscription: subscription, ResourceGroup: "rg-pay-prod", Upgrades: true})
		require.NoError(t, err)
		require.Equal(t, int32(maxRequests), most.Load())
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "120", 2 * time.Minute},
		{"Retry-After", "Thu, 05 Mar 2026 14:01:30 GMT", 90 * time.Second},
		{"Retry-After", "Thu, 05 Mar 2026 13:01:30 GMT", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After", "-5", 0},
		{"Retry-After", "99999999999999999999", 0},
		{"Retry-After-Ms", "1500", 1500 * time.Millisecond},
		{"X-Ms-Retry-After-Ms", "20", 20 * time.Millisecond},
		{"X-Other", "20", 0},
	} {
		require.Equal(t, test.want, retryAfter(http.Header{test.name: {test.value}}, now), test)
	}
}

// A wait is told in one line that does nothing to a terminal.
func TestWaitIsOneLine(t *testing.T) {
	body := `{"error":{"details":[{"target":"\u001b[31mHigh\u202e\nCost"}]}}`
	require.Equal(t, `\u001b[31mHigh\u202e\u000aCost`, limitOf([]byte(body)))
	require.LessOrEqual(t, len(limitOf([]byte(`{"error":{"details":[{"target":"`+strings.Repeat("long ", 1000)+`"}]}}`))), maxLimit)
}
