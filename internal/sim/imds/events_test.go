package imds

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLifeOfAnEvent(t *testing.T) {
	five := 5
	tests := map[string]struct {
		spec  EventSpec
		do    func(t *testing.T, s *Server, m *machine, id string) // between publishing and the checks
		start time.Duration                                        // after publishing; -1: never
		end   time.Duration                                        // after publishing; -1: not within an hour
		how   Status
	}{
		"starts at NotBefore and lasts until it is completed": {
			spec: EventSpec{Type: Preempt}, start: 30 * second, end: -1,
		},
		"a Freeze lasts as long as it says": {
			spec: EventSpec{Type: Freeze}, start: 15 * time.Minute, end: 15*time.Minute + 5*second, how: Completed,
		},
		"unless it is held": {
			spec: EventSpec{Type: Freeze, Hold: true}, start: 15 * time.Minute, end: -1,
		},
		"documented notice of Reboot":    {spec: EventSpec{Type: Reboot}, start: 15 * time.Minute, end: -1},
		"documented notice of Redeploy":  {spec: EventSpec{Type: Redeploy}, start: 10 * time.Minute, end: -1},
		"documented notice of Terminate": {spec: EventSpec{Type: Terminate}, start: 5 * time.Minute, end: -1},
		"an unknown type":                {spec: EventSpec{Type: "Rebalance"}, start: time.Minute, end: -1},
		"a notice of days":               {spec: EventSpec{Type: Redeploy, Notice: 168 * time.Hour}, start: -1, end: -1},
		"an ack starts it": {
			spec: EventSpec{Type: Preempt, CompleteAfter: 2 * second},
			do: func(t *testing.T, _ *Server, m *machine, id string) {
				t.Helper()
				time.Sleep(4 * second)
				require.Equal(t, 200, m.ack(id))
			},
			start: 4 * second, end: 6 * second, how: Completed,
		},
		"an ack starts it after a while": {
			spec: EventSpec{Type: Preempt, StartDelay: 10 * second},
			do: func(t *testing.T, s *Server, m *machine, id string) {
				t.Helper()
				require.Equal(t, 200, m.ack(id))
				require.Equal(t, Scheduled, statusOf(t, s, id))
				time.Sleep(5 * second)
				require.Equal(t, 200, m.ack(id), "a second ack is as good, and does not put it off")
			},
			start: 10 * second, end: -1,
		},
		"but not later than NotBefore": {
			spec: EventSpec{Type: Preempt, StartDelay: time.Minute},
			do: func(t *testing.T, _ *Server, m *machine, id string) {
				t.Helper()
				require.Equal(t, 200, m.ack(id))
			},
			start: 30 * second, end: -1,
		},
		"published as started": {
			spec: EventSpec{Type: Reboot, Started: true, DurationSeconds: &five}, start: 0, end: 5 * second, how: Completed,
		},
		"started by control": {
			spec: EventSpec{Type: Reboot},
			do: func(t *testing.T, s *Server, _ *machine, id string) {
				t.Helper()
				require.NoError(t, s.Start(id))
			},
			start: 0, end: -1,
		},
		"cancelled": {
			spec: EventSpec{Type: Reboot},
			do: func(t *testing.T, s *Server, _ *machine, id string) {
				t.Helper()
				time.Sleep(8 * time.Minute)
				require.NoError(t, s.Cancel(id))
			},
			start: -1, end: 8 * time.Minute, how: Cancelled,
		},
		"over before it started": {
			spec: EventSpec{Type: Reboot},
			do: func(t *testing.T, s *Server, _ *machine, id string) {
				t.Helper()
				require.NoError(t, s.Complete(id))
			},
			start: -1, end: 0, how: Completed,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(unlimited())
				m := within(t, s, "web_0")
				begin := time.Now()
				id := s.Publish(tt.spec)
				if tt.do != nil {
					tt.do(t, s, m, id)
				}
				time.Sleep(time.Hour)
				e, ok := s.Event(id)
				require.True(t, ok)
				if tt.start < 0 {
					require.Zero(t, e.StartedAt)
				} else {
					require.Equal(t, tt.start, e.StartedAt.Sub(begin))
				}
				if tt.end < 0 {
					require.Zero(t, e.EndedAt)
					require.Len(t, m.events().Events, 1)
					return
				}
				require.Equal(t, tt.end, e.EndedAt.Sub(begin))
				require.Equal(t, tt.how, e.Status)
				require.Empty(t, m.events().Events, "completion is that the event vanishes")
			})
		})
	}
}

// TestUnlikeTheOfficialMock: an event keeps its id, NotBefore is RFC 1123 and
// blank once it has started, and every StartRequest counts.
func TestUnlikeTheOfficialMock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		m := within(t, s, "web_0")
		require.Equal(t, wireDocument{DocumentIncarnation: 1, Events: []wireEvent{}}, m.events())

		a, b := s.Publish(EventSpec{Type: Preempt}), s.Publish(EventSpec{Type: Terminate})
		require.Regexp(t, `^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`, a)
		require.NotEqual(t, a, b)
		before := m.events()
		require.Equal(t, []string{a, b}, []string{before.Events[0].EventID, before.Events[1].EventID})
		require.Equal(t, "Sat, 01 Jan 2000 00:00:30 GMT", before.Events[0].NotBefore)

		require.Equal(t, 200, m.ack(a, b))
		after := m.events()
		for i, e := range after.Events {
			require.Equal(t, before.Events[i].EventID, e.EventID)
			require.Equal(t, Started, e.EventStatus)
			require.Empty(t, e.NotBefore)
		}
		require.Equal(t, before.DocumentIncarnation+2, after.DocumentIncarnation)

		require.NoError(t, s.Complete(a))
		require.Equal(t, 400, m.ack(a), "it has vanished")
		require.Equal(t, 400, m.ack(a, b), "one that has vanished spoils the request")
	})
}

// TestSharedEvents: machines see the events of their placement group, whoever
// they are for, and the ack of one releases all.
func TestSharedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited(
			Instance{Name: "web_0", Zone: "1"}, Instance{Name: "web_1", Zone: "2"},
			Instance{Name: "web_2", PlacementGroup: "other"},
			Instance{Name: "db_0"},
		))
		require.Equal(t, []string{"web_0", "web_1", "web_2", "db_0"}, s.VMs())
		web0, web1, web2, db := within(t, s, "web_0"), within(t, s, "WEB_1"), within(t, s, "web_2"), within(t, s, "db_0")

		id := s.Publish(EventSpec{Type: Terminate, Resources: []string{"web_0", "WEB_1"}})
		require.Equal(t, []string{"web_0", "WEB_1"}, web0.events().Events[0].Resources)
		require.Equal(t, web0.events(), web1.events())
		for _, m := range []*machine{web2, db} {
			require.Empty(t, m.events().Events)
			require.EqualValues(t, 1, m.events().DocumentIncarnation)
			require.Equal(t, 400, m.ack(id), "not its event")
		}

		alone := s.Publish(EventSpec{Type: Redeploy, Resources: []string{"web_0"}})
		require.Equal(t, alone, web1.events().Events[1].EventID, "also those that name another machine only")

		time.Sleep(second)
		require.Equal(t, 200, web1.ack(id))
		require.Equal(t, Started, web0.events().Events[0].EventStatus)
		require.Equal(t, 200, web0.ack(id), "although another machine approved it")

		now := time.Now()
		require.Equal(t, []Ack{
			{Time: now.Add(-second), VM: "web_2", EventID: id},
			{Time: now.Add(-second), VM: "db_0", EventID: id},
			{Time: now, VM: "web_1", EventID: id, Accepted: true, Status: Scheduled},
			{Time: now, VM: "web_0", EventID: id, Accepted: true, Status: Started},
		}, s.Acks())
		e, _ := s.Event(id)
		require.Equal(t, 2, e.Acks)

		// A name that is not simulated may be of any group.
		s.Publish(EventSpec{Type: Preempt, Resources: []string{"stranger_7"}})
		require.Len(t, db.events().Events, 1)
		require.Len(t, web2.events().Events, 1)
	})
}

func TestLateAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		m := within(t, s, "web_0")
		id := s.Publish(EventSpec{Type: Preempt})
		time.Sleep(30*second - 1)
		require.Equal(t, 200, m.ack(id))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 200, m.ack(id))
		acks := s.Acks()
		require.False(t, acks[0].Late)
		require.True(t, acks[1].Late)
	})
}

func TestImpossibleMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		require.ErrorIs(t, s.Start("x"), ErrNoEvent)
		id := s.Publish(EventSpec{Type: Preempt})
		require.NoError(t, s.Start(id))
		require.ErrorIs(t, s.Start(id), ErrTransition)
		require.ErrorIs(t, s.Cancel(id), ErrTransition)
		require.NoError(t, s.Complete(id))
		require.ErrorIs(t, s.Complete(id), ErrTransition)
		require.EqualError(t, s.Cancel(id), "change event "+id+": the event cannot do that now: it has vanished")
	})
}

func TestResetIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		m := within(t, s, "web_0")
		s.Publish(EventSpec{Type: Preempt})
		s.Publish(EventSpec{Type: Freeze})
		require.EqualValues(t, 3, m.events().DocumentIncarnation)
		s.ResetIncarnation(1)
		require.EqualValues(t, 1, m.events().DocumentIncarnation)
		require.Len(t, m.events().Events, 2)
	})
}

// TestSpeed: spans are divided, and NotBefore is on the reader's own clock, in
// whole seconds, never early.
func TestSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Speed: 10})
		time.Sleep(300 * time.Millisecond)
		begin := time.Now()
		id := s.Publish(EventSpec{Type: Preempt, CompleteAfter: 20 * second})
		e, _ := s.Event(id)
		require.Equal(t, "00:00:04.000", e.NotBefore.UTC().Format("15:04:05.000"), "3.3 s, rounded up")
		require.Equal(t, "Sat, 01 Jan 2000 00:00:04 GMT", within(t, s, "web_0").events().Events[0].NotBefore)
		time.Sleep(time.Until(e.NotBefore) - 1)
		require.Equal(t, Scheduled, statusOf(t, s, id))
		time.Sleep(time.Nanosecond)
		require.Equal(t, Started, statusOf(t, s, id))
		time.Sleep(2 * second)
		e, _ = s.Event(id)
		require.Equal(t, Completed, e.Status)
		require.Equal(t, 5700*time.Millisecond, e.EndedAt.Sub(begin))
	})
}

// TestRun: whoever waits for Changed hears of moves that nobody asked for.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		begin := time.Now()
		id := s.Publish(EventSpec{Type: Freeze, Notice: 10 * second})
		for _, want := range []struct {
			status Status
			at     time.Duration
		}{{Started, 10 * second}, {Completed, 15 * second}} {
			<-s.Changed()
			require.Equal(t, want.at, time.Since(begin))
			require.Equal(t, want.status, statusOf(t, s, id))
		}
		cancel()
		require.NoError(t, <-done)
	})
}

func TestPastIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(unlimited())
		for range maxPast + 10 {
			require.NoError(t, s.Complete(s.Publish(EventSpec{Type: Freeze})))
		}
		require.Len(t, s.Events(), maxPast)
	})
}
