package scheduledevents

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// TestChangesOnly: the first document is handed on, even an empty one, and then
// each whose events differ, however the incarnation moves.
func TestChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		w.sleep(3 * time.Second)
		s.publish(event("a", Scheduled))
		w.sleep(3 * time.Second)
		s.publish(event("b", Scheduled), event("a", Scheduled))
		w.sleep(3 * time.Second)
		s.publish(event("a", Scheduled), event("b", Scheduled)) // another order
		w.sleep(3 * time.Second)
		s.publishAs(1, event("a", Scheduled), event("b", Scheduled)) // Azure starts again from the beginning
		w.sleep(3 * time.Second)
		s.publishAs(1, event("a", Started), event("b", Scheduled)) // a change that the incarnation does not tell
		w.sleep(3 * time.Second)
		s.publish(event("b", Scheduled))
		w.sleep(3 * time.Second)
		s.publish()
		w.sleep(3 * time.Second)
		require.Equal(t, [][]string{
			{},
			{"a Scheduled"},
			{"b Scheduled", "a Scheduled"},
			{"a Started", "b Scheduled"},
			{"b Scheduled"},
			{},
		}, w.ids())
	})
}

// TestKeepsPollingAfterAnEvent: an event is not the end of the work; what comes
// after it, its cancellation included, is seen.
func TestKeepsPollingAfterAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.publish(event("a", Scheduled))
		w := start(t, s, nil)
		w.sleep(10 * time.Minute)
		require.Len(t, s.polls, 601)
		s.publish(event("b", Started))
		w.sleep(time.Second)
		s.publish()
		w.sleep(time.Second)
		require.Equal(t, [][]string{{"a Scheduled"}, {"b Started"}, {}}, w.ids())
	})
}

// TestEveryEventOfADocument: none hides another.
func TestEveryEventOfADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.publish(event("a", Scheduled), event("b", Started), event("c", Scheduled))
		w := start(t, s, nil)
		require.Equal(t, [][]string{{"a Scheduled", "b Started", "c Scheduled"}}, w.ids())
	})
}

// TestSeenWithinOnePoll: from publication to onChange one interval and one
// request pass at most, with any number of events for other VMs around.
func TestSeenWithinOnePoll(t *testing.T) {
	var crowd []Event
	for i := range 1000 {
		crowd = append(crowd, Event{ID: strconv.Itoa(i), Type: Freeze, Status: Started, Resources: []string{fmt.Sprintf("web_%d", 100+i)}})
	}
	tests := map[string]struct {
		latency time.Duration
		others  []Event
		rounds  int
	}{
		"instant": {0, nil, 100},
		"quick":   {40 * time.Millisecond, nil, 100},
		"slow":    {700 * time.Millisecond, nil, 100},
		"crowded": {40 * time.Millisecond, crowd, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{latency: test.latency}
				s.publish(test.others...)
				w := start(t, s, nil)
				rng := rand.New(rand.NewPCG(1, 0))
				for i := range test.rounds {
					w.sleep(time.Duration(rng.Int64N(int64(5 * time.Second))))
					published := time.Now()
					id := fmt.Sprintf("mine%d", i)
					s.publish(append(slices.Clone(test.others), event(id, Scheduled))...)
					w.sleep(time.Second + test.latency)
					last := w.seen[len(w.seen)-1]
					require.Equal(t, id, last.doc.Events[len(test.others)].ID)
					require.LessOrEqual(t, last.at.Sub(published), time.Second+test.latency)
				}
			})
		})
	}
}

// TestCadence: polls neither drift nor overlap nor pile up, however long they
// take.
func TestCadence(t *testing.T) {
	tests := map[string]struct {
		interval, latency time.Duration
		polls             int // in ten minutes
	}{
		"instant":            {time.Second, 0, 601},
		"quick":              {time.Second, 30 * time.Millisecond, 601},
		"almost an interval": {time.Second, 990 * time.Millisecond, 601},
		"over an interval":   {time.Second, 1500 * time.Millisecond, 401},
		"as slow as allowed": {time.Second, 4900 * time.Millisecond, 123},
		"rare":               {30 * time.Second, 100 * time.Millisecond, 21},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{latency: test.latency}
				w := start(t, s, func(cfg *Config) { cfg.Interval = test.interval })
				w.sleep(10*time.Minute + time.Millisecond)
				require.InDelta(t, test.polls, len(s.polls), 1)
				require.Equal(t, 1, s.most)
				if test.latency < test.interval {
					for i, at := range s.polls {
						require.Equal(t, time.Duration(i)*test.interval, at.Sub(w.start), "poll %d", i)
					}
				}
				require.Equal(t, StateOK, w.Status().State)
				require.LessOrEqual(t, longestGap(w.beats), time.Second)
				require.LessOrEqual(t, busiestMinute(s.requests), 72)
			})
		})
	}
}

// TestRateWhateverHappens: polls, retried acks, identity look-ups, reloads and
// faults together stay under 1.2 requests a second over any minute.
func TestRateWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		repeat := func(f func()) {
			wg.Go(func() {
				for ctx.Err() == nil {
					f()
					_ = pause(ctx, 50*time.Millisecond)
				}
			})
		}
		repeat(func() { _ = w.Ack(ctx, "a") })
		repeat(func() { _, _ = w.client.Instance(ctx) })
		repeat(func() { require.NoError(t, w.Apply(Config{Interval: 10 * time.Millisecond})) })
		rng := rand.New(rand.NewPCG(7, 0))
		faults := []http.RoundTripper{nil, fixed(500, ""), silence, fixed(200, ""), fixed(429, "")}
		for range 40 {
			s.set(faults[rng.IntN(len(faults))])
			w.sleep(time.Duration(rng.Int64N(int64(30 * time.Second))))
		}
		cancel()
		wg.Wait()
		require.Greater(t, len(s.polls), 100)
		require.LessOrEqual(t, busiestMinute(s.requests), 72)
	})
}

// TestStuckRequestStopsTheBeat: a request that ignores its deadline is not
// progress, and Run still waits for it in the end.
func TestStuckRequestStopsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		w.sleep(3 * time.Second)
		release := make(chan struct{})
		s.set(roundTripper(func(*http.Request) (*http.Response, error) {
			<-release
			return nil, errors.New("released")
		}))
		w.sleep(time.Minute)
		last := w.beats[len(w.beats)-1]
		require.WithinRange(t, last, w.start.Add(13*time.Second), w.start.Add(15*time.Second))
		require.Equal(t, StateBlind, w.Status().State)
		s.set(nil)
		close(release)
		w.sleep(2 * time.Second)
		require.WithinDuration(t, time.Now(), w.beats[len(w.beats)-1], time.Second)
		require.Equal(t, StateOK, w.Status().State)
	})
}

// TestStuckChangeStopsTheBeat: neither is an onChange that does not return.
func TestStuckChangeStopsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		var beats []time.Time
		client, err := imds.New(imds.Config{Transport: s})
		require.NoError(t, err)
		p, err := New(Config{Client: client, Beat: func() { beats = append(beats, time.Now()) }})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx, func(ctx context.Context, _ Document) { <-ctx.Done() }) }()
		before := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, before, beats[len(beats)-1])
		cancel()
		require.NoError(t, <-done)
	})
}

// TestOdditiesAreLogged once, not at every poll, and shown as long as they last.
func TestOdditiesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.set(fixed(200, `{"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Scheduled","Resources":["web_7"],"NotBefore":"next week"}]}`))
		w := start(t, s, nil)
		w.sleep(10 * time.Second)
		require.Equal(t, 1, strings.Count(w.logs.String(), "scheduled events do not read"), w.logs)
		require.Equal(t, []string{`event a: its NotBefore does not read, and is taken for now: "next week"`}, w.Status().Oddities)
		require.Equal(t, StateOK, w.Status().State)
		s.set(nil)
		w.sleep(2 * time.Second)
		require.Empty(t, w.Status().Oddities)
		require.Equal(t, [][]string{{"a Scheduled"}, {}}, w.ids())
	})
}

// TestOddDocumentIsHandedOn: what reads is acted on in that very poll, and the
// agent says that it may miss something.
func TestOddDocumentIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		w := start(t, s, nil)
		w.sleep(3 * time.Second)
		s.set(fixed(200, document("null", "{"+ours+"}")))
		w.sleep(time.Second)
		require.Equal(t, [][]string{{}, {"A Scheduled"}}, w.ids())
		status := w.Status()
		require.Equal(t, StateBlind, status.State)
		require.Equal(t, imds.ClassInvalid, status.Class)
		require.ErrorContains(t, status.Err, "an event that may be for this VM: its EventId does not read")
		require.Equal(t, time.Now(), status.LastSuccess)
		require.InDelta(t, 1, gauge(t, w.registry, "fleet_agent_imds_blind"), 0)

		s.set(fixed(200, document(`{"EventType":"Reboot","EventStatus":"Started","Resources":["web_1"]}`)))
		w.sleep(time.Second)
		require.Equal(t, StateOK, w.Status().State, "it is another's")
		require.False(t, w.seen[2].doc.Absent("A"))
		w.sleep(time.Minute)
		require.Len(t, w.seen, 3)
	})
}

// TestNameless: without a name no event is this VM's own, however well the
// service answers. The first two minutes are for finding out.
func TestNameless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.publish(event("a", Scheduled))
		w := start(t, s, func(*Config) {})
		w.SetName("")
		w.sleep(time.Second)
		require.Equal(t, StateStarting, w.Status().State)
		require.Len(t, w.seen, 1, "its events are shown")
		w.sleep(2 * time.Minute)
		require.Equal(t, StateStarting, w.Status().State)
		w.sleep(10 * time.Second)
		status := w.Status()
		require.Equal(t, StateBlind, status.State)
		require.Equal(t, ClassNameless, status.Class)
		require.ErrorContains(t, status.Err, "has not said what this VM is called")
		require.InDelta(t, 1, gauge(t, w.registry, "fleet_agent_imds_blind"), 0)
		require.Len(t, s.polls, 132)

		changed := w.Changed()
		w.SetName(self)
		w.sleep(0)
		<-changed
		require.Equal(t, StateOK, w.Status().State, "without another poll")
		require.Zero(t, gauge(t, w.registry, "fleet_agent_imds_blind"))
	})
}

// TestClockBehind: NotBefore is handed on by this VM's clock, as the service's
// date tells it, and not anew with each fraction of a second.
func TestClockBehind(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration // Azure's clock
		moves bool
	}{
		"five minutes behind": {5 * time.Minute, true},
		"three seconds":       {3 * time.Second, true},
		"right":               {0, false},
		"ahead":               {-5 * time.Minute, false},
		"no clock at all":     {100 * 365 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{latency: 30 * time.Millisecond}
				at := time.Now().Add(test.ahead + 30*time.Second).UTC().Truncate(time.Second)
				e := event("a", Scheduled)
				e.NotBefore = at
				s.publish(e)
				s.mu.Lock()
				s.ahead, s.dated = test.ahead, true
				s.mu.Unlock()
				w := start(t, s, nil)
				w.sleep(10*time.Minute + 130*time.Millisecond)
				got := w.seen[0].doc.Events[0].NotBefore
				if !test.moves {
					require.Equal(t, at, got)
					require.Len(t, w.seen, 1)
				} else {
					require.WithinRange(t, got, w.start.Add(29*time.Second), w.start.Add(32*time.Second))
					require.LessOrEqual(t, len(w.seen), 12, "it follows the fractions of a second only upwards")
				}
				require.InDelta(t, test.ahead.Seconds(), w.Status().Skew.Seconds(), 1.2)

				// The clock is set right: everything comes later again.
				s.mu.Lock()
				s.ahead = 0
				s.mu.Unlock()
				w.sleep(3 * time.Second)
				require.Equal(t, at, w.seen[len(w.seen)-1].doc.Events[0].NotBefore)
			})
		})
	}
}

// TestRandomHistories: events come, change, go and reappear while the service
// fails now and then. What is handed on is always a document that was
// published, nothing twice in a row, and in the end the last one.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 0))
				faults := []http.RoundTripper{nil, nil, fixed(500, ""), silence, fixed(200, ""), fixed(200, "{}"), fixed(410, "")}
				s := &service{}
				published := []Document{s.doc}
				w := start(t, s, nil)
				for range 30 {
					var events []Event
					for _, id := range []string{"a", "b", "c"} {
						switch rng.IntN(3) {
						case 0:
							events = append(events, event(id, Scheduled))
						case 1:
							events = append(events, event(id, Started))
						}
					}
					rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
					s.publishAs(rng.Int64N(100), events...)
					published = append(published, s.doc)
					s.set(faults[rng.IntN(len(faults))])
					s.mu.Lock()
					s.latency = time.Duration(rng.Int64N(int64(2 * time.Second)))
					s.mu.Unlock()
					w.sleep(time.Duration(rng.Int64N(int64(10 * time.Second))))
				}
				s.set(nil)
				w.sleep(10 * time.Second)
				for i, sighting := range w.seen {
					require.True(t, slices.ContainsFunc(published, func(doc Document) bool { return same(&doc, &sighting.doc) }))
					require.True(t, i == 0 || !same(&w.seen[i-1].doc, &sighting.doc))
				}
				require.True(t, same(&s.doc, &w.seen[len(w.seen)-1].doc))
				require.LessOrEqual(t, busiestMinute(s.requests), 72)
			})
		})
	}
}
