package scheduledevents

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// TestBlind: whatever is not a whole document is never taken for "no events".
// The agent says once that it is blind and why, goes on polling, and acts on an
// event in the first poll after recovery.
func TestBlind(t *testing.T) {
	throttled := roundTripper(func(*http.Request) (*http.Response, error) {
		r := respond(429, "")
		r.Header.Set("Retry-After", "600")
		return r, nil
	})
	refused := roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	})
	tests := map[string]struct {
		fault http.RoundTripper
		class imds.Class
		text  string
		polls int           // at least, in the minute
		after time.Duration // at most, from recovery to the first good poll
	}{
		"400":           {fixed(400, `{"error":"bad"}`), imds.ClassBadRequest, "answer 400 Bad Request", 60, time.Second},
		"403":           {fixed(403, ""), imds.ClassDenied, "denied by policy (Metadata Security Protocol)", 60, time.Second},
		"404":           {fixed(404, ""), imds.ClassNotFound, "answer 404 Not Found", 60, time.Second},
		"410":           {fixed(410, ""), imds.ClassGone, "the metadata service is moving", 60, time.Second},
		"421":           {fixed(421, ""), imds.ClassDenied, "denied by policy (Metadata Security Protocol)", 60, time.Second},
		"429":           {fixed(429, ""), imds.ClassThrottled, "more than 5 times a second", 60, time.Second},
		"429 with wait": {throttled, imds.ClassThrottled, "more than 5 times a second", 12, 5 * time.Second},
		"500":           {fixed(500, "oops"), imds.ClassServerError, "answer 500 Internal Server Error", 60, time.Second},
		"refused":       {refused, imds.ClassUnreachable, "connection refused", 60, time.Second},
		"silence":       {silence, imds.ClassTimeout, "no answer in time", 12, 5 * time.Second},
		"empty body":    {fixed(200, ""), imds.ClassEmpty, "an empty body", 60, time.Second},
		"not JSON":      {fixed(200, "<html>"), imds.ClassInvalid, "not JSON", 60, time.Second},
		"cut short":     {fixed(200, documented[:100]), imds.ClassInvalid, "not JSON", 60, time.Second},
		"empty object":  {fixed(200, "{}"), imds.ClassInvalid, "partial: no Events", 60, time.Second},
		"no events key": {fixed(200, `{"DocumentIncarnation":9}`), imds.ClassInvalid, "partial: no Events", 60, time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{}
				s.publish(event("a", Scheduled))
				w := start(t, s, nil)
				w.sleep(10*time.Second + 500*time.Millisecond)
				require.Equal(t, StateOK, w.Status().State)
				require.Zero(t, gauge(t, w.registry, "fleet_agent_imds_blind"))
				lastGood := w.Status().LastSuccess
				changed := w.Changed()
				before := len(s.polls)

				s.set(test.fault)
				s.publish(event("b", Started)) // a is over and b is there, which nobody can know
				w.sleep(8 * time.Second)
				<-changed
				status := w.Status()
				require.Equal(t, StateBlind, status.State)
				require.Equal(t, test.class, status.Class)
				require.ErrorContains(t, status.Err, test.text)
				require.Equal(t, lastGood, status.LastSuccess)
				require.WithinRange(t, status.BlindSince, lastGood.Add(3*time.Second), lastGood.Add(7*time.Second))
				require.InDelta(t, 1, gauge(t, w.registry, "fleet_agent_imds_blind"), 0)
				w.sleep(52 * time.Second)
				require.Len(t, w.seen, 1, "nothing is handed on while blind")
				require.GreaterOrEqual(t, len(s.polls)-before, test.polls)
				require.Equal(t, 1, strings.Count(w.logs.String(), "imds blind"), w.logs)
				require.Contains(t, w.logs.String(), "class="+string(test.class))

				s.set(nil)
				changed = w.Changed()
				recovered := time.Now()
				w.sleep(6 * time.Second)
				<-changed
				status = w.Status()
				require.Equal(t, StateOK, status.State)
				require.Equal(t, imds.ClassOK, status.Class)
				require.NoError(t, status.Err)
				require.Zero(t, status.BlindSince)
				require.Equal(t, [][]string{{"a Scheduled"}, {"b Started"}}, w.ids())
				require.LessOrEqual(t, w.seen[1].at.Sub(recovered), test.after)
				require.Zero(t, gauge(t, w.registry, "fleet_agent_imds_blind"))
				require.Equal(t, 1, strings.Count(w.logs.String(), "imds recovered"), w.logs)
				require.LessOrEqual(t, busiestMinute(s.requests), 72)
			})
		})
	}
}

// TestBlindFromTheStart: an agent that never saw a document is not one without
// events.
func TestBlindFromTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		fault http.RoundTripper
		after time.Duration
	}{
		"403":     {fixed(403, ""), 8 * time.Second},
		"refused": {fixed(500, ""), 8 * time.Second},
		"silence": {silence, 131 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{fault: c.fault}
				s.publish(event("a", Scheduled))
				w := start(t, s, nil)
				require.Equal(t, StateStarting, w.Status().State)
				require.Equal(t, w.start, w.Status().LastAttempt)
				if c.after > firstTimeout {
					w.sleep(2 * time.Minute)
					require.Equal(t, StateStarting, w.Status().State, "the first answer may take two minutes")
					w.sleep(c.after - 2*time.Minute)
				} else {
					w.sleep(c.after)
				}
				require.Equal(t, StateBlind, w.Status().State)
				require.Zero(t, w.Status().LastSuccess)
				require.Empty(t, w.seen)
				s.set(nil)
				w.sleep(6 * time.Second)
				require.Equal(t, StateOK, w.Status().State)
				require.Equal(t, [][]string{{"a Scheduled"}}, w.ids())
			})
		})
	}
}

// TestOneLostPollIsNoNews: two failed polls in a row change no state.
func TestOneLostPollIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		require.Equal(t, StateOK, w.Status().State)
		changed := w.Changed()
		for range 5 {
			w.sleep(10*time.Second + 500*time.Millisecond)
			s.set(fixed(500, ""))
			w.sleep(2 * time.Second)
			s.set(nil)
			w.sleep(1500 * time.Millisecond)
			require.Equal(t, StateOK, w.Status().State)
		}
		select {
		case <-changed:
			t.Fatal("the state changed")
		default:
		}
		require.Equal(t, map[string]float64{"ok": 61, "server-error": 10}, counts(t, w.registry, "fleet_agent_scheduled_events_polls_total"))
		require.Empty(t, w.logs.String())
	})
}

// TestTheThirdLostPollIsNews: not the second, and not the fourth.
func TestTheThirdLostPollIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		w.sleep(10*time.Second + 500*time.Millisecond)
		s.set(fixed(500, ""))
		w.sleep(2 * time.Second)
		require.Equal(t, StateOK, w.Status().State)
		w.sleep(500 * time.Millisecond)
		require.Equal(t, StateBlind, w.Status().State)
		require.Equal(t, w.start.Add(13*time.Second), w.Status().BlindSince, "with the poll, and not after")
	})
}

// TestClassChangeWhileBlind: a new reason is news, the same again is not.
func TestClassChangeWhileBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{fault: fixed(500, "")}
		w := start(t, s, nil)
		w.sleep(10 * time.Second)
		since := w.Status().BlindSince
		changed := w.Changed()
		s.set(fixed(403, ""))
		w.sleep(10 * time.Second)
		<-changed
		require.Equal(t, imds.ClassDenied, w.Status().Class)
		require.Equal(t, since, w.Status().BlindSince, "blind all the time")
		require.Equal(t, 2, strings.Count(w.logs.String(), "imds blind"))
	})
}

// TestSlowFirstCall: the first call on a VM takes two minutes. It is waited
// for, it is the only patient one, the agent says meanwhile that it is starting,
// and its watchdog is fed.
func TestSlowFirstCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{latency: 2 * time.Minute}
		s.publish(event("a", Scheduled))
		w := start(t, s, nil)
		for range 119 {
			w.sleep(time.Second)
			require.Equal(t, StateStarting, w.Status().State)
			require.Zero(t, gauge(t, w.registry, "fleet_agent_imds_blind"))
		}
		w.sleep(2 * time.Second)
		require.Equal(t, StateOK, w.Status().State)
		require.Equal(t, [][]string{{"a Scheduled"}}, w.ids())
		require.Equal(t, 2*time.Minute, w.seen[0].at.Sub(w.start))
		require.LessOrEqual(t, s.most, 2)
		require.LessOrEqual(t, longestGap(w.beats), time.Second)

		// From now on a poll has five seconds.
		before := len(s.polls)
		w.sleep(time.Minute)
		require.InDelta(t, 12, len(s.polls)-before, 2)
		require.Equal(t, 1, s.inFlight)
		w.stop()
		require.Zero(t, s.inFlight)
	})
}

// TestLostFirstCall: a first call that is never answered holds up the others no
// longer than a poll's timeout.
func TestLostFirstCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{fault: silence}
		w := start(t, s, nil)
		s.set(nil)
		s.publish(event("a", Scheduled))
		w.sleep(6 * time.Second)
		require.Equal(t, [][]string{{"a Scheduled"}}, w.ids())
		require.Zero(t, s.inFlight, "the lost call is given up as soon as another is answered")
		w.sleep(200 * time.Second)
		require.Equal(t, StateOK, w.Status().State)
	})
}

// TestOvertakenAnswerIsIgnored: what the first call says after another poll was
// answered may be older than that answer.
func TestOvertakenAnswerIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stale := roundTripper(func(*http.Request) (*http.Response, error) {
			time.Sleep(30 * time.Second) // and does not notice that nobody waits any more
			return respond(200, string(encode(Document{}))), nil
		})
		s := &service{fault: stale}
		w := start(t, s, nil)
		s.set(nil)
		s.publish(event("a", Scheduled))
		w.sleep(time.Minute)
		require.Equal(t, [][]string{{"a Scheduled"}}, w.ids())
	})
}
