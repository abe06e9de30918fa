package agent

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// What other interruption handlers got wrong, and what keeps this one from it.
// Each test below cites the behaviour that it rules out; the rest is proven
// where it belongs:
//
//	a failed drain is acked all the same              TestFailedDrainIsNotAcked
//	an ack releases VMs that nobody asked             TestSharedEventIsNotAcked
//	events of other VMs, or Completed ones, drain     TestEventsThatAreNotActedOn, scheduledevents.TestUnknown
//	only the last event of a document is seen         TestSeveralEvents, scheduledevents.TestEveryEventOfADocument
//	an empty answer means that there are no events    TestBlind, scheduledevents.TestParseRefuses
//	probes run checks, and time out by their own load health.TestHungChecksStarveNobody, health.TestNoAllocationOnTheRequestPath
//	a restart in the middle forgets the drain         TestRestartInTheMiddleGoesOn, TestKilledAfterEveryJournalEntry
//	a restart of the agent drains the node            TestStoppingDrainsNothing
//	metrics grow with ids, or are absent at first     TestMetrics
//	the inhibitor's delay is overridden unseen        TestDelayIsTooShort
//	a lost bus connection ends the listening          TestLogindRestarts, TestBusGoesInTheMiddle
//	the target's job hides a member that was killed   TestMemberDoesNotStopWell
//	an api-version hides types of events              scheduledevents.TestParseTolerates, here TestAnswersAreSlow

// webdevops: with its default flags, the daemon dereferences nil after its
// startup delay. Here the defaults run, and what is not there only fails the
// step that needs it.
func TestDefaultsMeetAnEvent(t *testing.T) {
	t.Parallel()
	var sim *simimds.Server
	w := outOfTime(t, "D-Bus", func(limit time.Duration) *busWorld {
		sim = simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}}})
		metadata := httptest.NewServer(sim)
		t.Cleanup(metadata.Close)
		conf := *config.Default()
		conf.Listen = config.Listen{Probe: "127.0.0.1:0"}
		conf.IMDS.Endpoint = metadata.URL
		conf.Drain.Settle = 0
		conf.Drain.Plan = append([]config.Step{}, conf.Drain.Plan...)
		conf.Drain.Plan[0].Max = config.Duration(limit)
		d := startDaemon(t, conf, nil)
		sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		return &busWorld{daemon: d}
	})
	require.Contains(t, w.status().Reason, "systemd is not reachable over D-Bus")
	require.Empty(t, sim.Acks())
}

// webdevops: a drain command that fails is run again at every poll, the event is
// posted again at every poll, and /drainz stays 503 when the event is gone.
func TestFailureIsNotRepeated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps[0].fails = true
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		w.pass(4 * time.Minute)
		begun, _, _ := w.steps[0].counts()
		require.Equal(t, 1, begun)
		require.Empty(t, w.sim.Acks())
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
		require.NoError(t, w.sim.Complete(id))
		w.awaitCode("/readyz", http.StatusOK, 3*time.Second)
	})
}

// webdevops: polls once a minute after 30 s of delay, which is a Spot VM's whole
// notice, and lets the drain command run for ever.
func TestPreemptWhileTheAgentStarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.steps = []*testStep{{name: "work", takes: time.Second}, {name: "for ever", takes: time.Hour, optional: true}}
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 10 * time.Second, Hold: true})
		event, _ := w.sim.Event(id)
		w.start()
		w.pass(100 * time.Millisecond)
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), "in the first poll")
		w.pass(time.Until(event.NotBefore) - time.Millisecond)
		require.Equal(t, control.StateDrained, w.status().State)
		require.Equal(t, "timed-out", w.status().Drain.Steps[1].Status)
		require.Equal(t, 1, w.accepted(id), "before the notice is over")
	})
}

// aks-node-termination-handler: after its first event it stops reading, so that a
// cancellation and every later event is missed, and it never acks. After a Freeze
// the node stays cordoned, and is billed.
func TestWatchesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["Freeze"] = config.EventPolicy{Action: "drain", Ack: "after-drain"}
		w.serving()
		reboot := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Notice: 10 * time.Minute, Hold: true})
		w.awaitState(control.StateDraining, 2*time.Second)
		polls := len(w.sim.Requests())
		require.NoError(t, w.sim.Cancel(reboot))
		w.awaitState(control.StateServing, 3*time.Second)
		for range 3 {
			freeze := w.sim.Publish(simimds.EventSpec{Type: simimds.Freeze, Resources: []string{self}})
			w.awaitState(control.StateDrained, 10*time.Second)
			w.awaitState(control.StateServing, 15*time.Second)
			require.Equal(t, 1, w.accepted(freeze))
		}
		w.pass(time.Minute)
		require.Greater(t, len(w.sim.Requests()), polls+60)
	})
}

// aks-node-termination-handler: when the POST of its informational event fails,
// the drain is left out, and its id is remembered as handled. Here neither a
// webhook nor the disk is in the way.
func TestNothingInformationalIsInTheWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		require.NoError(t, os.MkdirAll(filepath.Join(w.conf.StateDir, "journal"), 0o700)) // no file can be there
		w.conf.Notify = []config.Webhook{{URL: "http://127.0.0.1:9/", On: []string{drainStarted}}}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 20*time.Second)
		w.pass(time.Second)
		require.Equal(t, 1, w.accepted(id))
		require.NotEmpty(t, w.status().Warnings)
	})
}

// aks-node-termination-handler: anybody who reaches its port drains the node with
// a GET of /drainNode.
func TestNobodyDrainsOverTheNetwork(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			for _, path := range []string{"/drainNode", "/drain", "/v1/drain", "/undrain", "/v1/maintenance", "/readyz"} {
				r := httptest.NewRecorder()
				w.agent.answers.Handler().ServeHTTP(r, httptest.NewRequest(method, path, http.NoBody))
				if method != http.MethodGet || path != "/readyz" {
					require.GreaterOrEqual(t, r.Code, 400, "%s %s", method, path)
				}
			}
		}
		w.pass(5 * time.Second)
		require.Equal(t, control.StateServing, w.status().State)
	})
}

// aws-node-termination-handler panics after the third identical error of its
// monitor (and #307, #331, #545); webdevops panics in its loop.
func TestErrorsEndNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultTruncated}))
		w.pass(20 * time.Minute)
		require.Equal(t, http.StatusOK, w.code("/livez"))
		require.Equal(t, http.StatusOK, w.code("/readyz"))
		require.Equal(t, control.StateDegraded, w.status().State)
		require.Equal(t, "blind", w.status().IMDS.State)
		w.sim.ClearFaults()
		w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 7*time.Second)
	})
}

// The Pacemaker agent leaves work out while DocumentIncarnation has not grown,
// which it does not when Azure starts it anew. aws-node-termination-handler
// #1100: 151 events for one interruption.
func TestIncarnationsOrderNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sim.ResetIncarnation(5000)
		w.serving()
		w.sim.ResetIncarnation(-1)
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 10*time.Second)
		for i := range int64(151) {
			w.sim.ResetIncarnation(i % 7)
			w.pass(700 * time.Millisecond)
		}
		require.Len(t, w.agent.journal.History(), 1)
		require.Len(t, w.sim.Acks(), 1)
		begun, _, _ := w.steps[0].counts()
		require.Equal(t, 1, begun)
		w.sim.ResetIncarnation(1)
		require.NoError(t, w.sim.Complete(id))
		w.awaitState(control.StateServing, 3*time.Second)
	})
}

// aks-node-termination-handler PR 73: its second of patience is too short for a
// service that takes three; the requested api-version hides a duration.
func TestAnswersAreSlow(t *testing.T) {
	require.GreaterOrEqual(t, config.Default().ScheduledEvents.APIVersion, "2020-07-01")
	inWorld(t, func(t *testing.T, w *world) {
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultDelay, Delay: 3 * time.Second}))
		w.start()
		w.pass(20 * time.Second)
		require.Equal(t, "ok", w.status().IMDS.State)
		w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 7*time.Second)
		require.NotNil(t, w.status().Events[0].DurationSeconds)
	})
}

// told is a webhook that keeps the kinds that it was told of, in their order.
type told struct {
	mu    sync.Mutex
	kinds []string
}

func (l *told) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, kind := range []string{drainStarted, drainFinished, drainFailed} {
		if countLines(string(body), `"kind":"`+kind+`"`) > 0 {
			l.kinds = append(l.kinds, kind)
		}
	}
}

func (l *told) has(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.kinds, kind)
}

// stepFunc is a step that is a function.
type stepFunc func(ctx context.Context) error

// Run implements drain.Step.
func (f stepFunc) Run(ctx context.Context) error { return f(ctx) }

// aws-node-termination-handler 572: its webhook is called after the drain, when
// the node may be gone; 260: and not at all when the drain has failed. Here the
// plan waits for the webhook and then fails. A second webhook hangs until the
// drain has ended: nothing waits for it.
func TestWebhookOnReceiptAndOfFailure(t *testing.T) {
	var heard told
	server := httptest.NewServer(&heard)
	defer server.Close()
	ended := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}))
	defer hanging.Close()

	conf := *config.Default()
	conf.Listen = config.Listen{Probe: "127.0.0.1:0"}
	conf.IMDS.Endpoint = "http://127.0.0.1:9"
	conf.Drain.Settle = 0
	all := []string{drainStarted, drainFinished, drainFailed}
	conf.Notify = []config.Webhook{{URL: hanging.URL, On: all}, {URL: server.URL, On: all}}
	d := startDaemon(t, conf, func(*config.Config) (*drain.Plan, error) {
		return drain.NewPlan([]drain.StepConfig{{Name: "work", Kind: "exec", Step: stepFunc(func(ctx context.Context) error {
			for !heard.has(drainStarted) {
				if !sleep(ctx, 10*time.Millisecond) {
					return context.Cause(ctx)
				}
			}
			return os.ErrInvalid
		})}})
	})
	ops := &controlOps{d.Agent}
	_, err := ops.Drain(t.Context(), root, control.DrainRequest{})
	require.NoError(t, err)
	d.await("the drain has failed", func() bool { s := ops.Status(); return s.Drain != nil && s.Drain.Phase == "failed" })
	require.Contains(t, ops.Status().Drain.Error, os.ErrInvalid.Error(), "and not because its time was up")
	close(ended)
	d.await("the failure is told", func() bool { return heard.has(drainFailed) })
	heard.mu.Lock()
	defer heard.mu.Unlock()
	require.Equal(t, []string{drainStarted, drainFailed}, heard.kinds)
}
