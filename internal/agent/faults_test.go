package agent

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// TestFirstStepInTime: from the publication to the first step it takes one poll,
// the wait for traffic to settle, and 50 ms, however full the document is of
// what concerns others.
func TestFirstStepInTime(t *testing.T) {
	for _, others := range []int{0, 10, 999} {
		t.Run(fmt.Sprintf("%d others", others), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				for i := range others {
					w.sim.Publish(simimds.EventSpec{
						Type: simimds.Reboot, Resources: []string{other, fmt.Sprintf("db_%d", i)}, Notice: time.Hour, Hold: true,
					})
				}
				w.pass(5*time.Second + 137*time.Millisecond) // not in step with the polls
				begin := time.Now()
				w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				bound := w.conf.ScheduledEvents.PollInterval.D() + w.conf.Drain.Settle.D() + 50*time.Millisecond
				for {
					if begun, _, _ := w.steps[0].counts(); begun == 1 {
						break
					}
					require.Less(t, time.Since(begin), bound)
					w.pass(time.Millisecond)
				}
				require.LessOrEqual(t, time.Since(begin), bound)
				require.Len(t, w.status().Events, others+1)
			})
		})
	}
}

// TestPreemptWithEightSeconds for a plan that wants sixty: what is required has
// its minimum, what is optional is shed, and the ack leaves before NotBefore.
func TestPreemptWithEightSeconds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.Drain.Settle = config.Duration(10 * time.Second)
		w.steps = []*testStep{
			{name: "stop taking jobs", takes: 500 * time.Millisecond, min: time.Second, max: 10 * time.Second},
			{name: "upload caches", takes: 20 * time.Second, min: 15 * time.Second, max: 20 * time.Second, optional: true},
			{name: "stop workloads", takes: 2 * time.Second, min: 3 * time.Second, max: 15 * time.Second},
			{name: "say goodbye", takes: 5 * time.Second, min: 5 * time.Second, max: 5 * time.Second, optional: true},
		}
		w.serving()
		w.pass(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 900*time.Millisecond)))
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 8 * time.Second, Hold: true})
		event, _ := w.sim.Event(id)
		w.pass(time.Until(event.NotBefore) - time.Millisecond)

		steps := map[string]control.Step{}
		for _, s := range w.status().Drain.Steps {
			steps[s.Name] = s
		}
		for _, s := range w.steps {
			if s.optional {
				require.Equal(t, "shed", steps[s.name].Status, s.name)
				continue
			}
			require.Equal(t, "done", steps[s.name].Status, s.name)
			require.GreaterOrEqual(t, steps[s.name].LimitSeconds, s.min.Seconds(), s.name)
		}
		require.Equal(t, control.StateDrained, w.status().State)
		acks := w.sim.Acks()
		require.Len(t, acks, 1)
		require.True(t, acks[0].Accepted)
		require.False(t, acks[0].Late)
	})
}

// TestPreemptAckIsNotLeftToWait: while the service refuses acks of a Preempt, the
// next is never more than a second away, and one more poll when it is not known
// whether the last one arrived; it stops with the notice.
func TestPreemptAckIsNotLeftToWait(t *testing.T) {
	for status, longest := range map[int]time.Duration{
		http.StatusTooManyRequests:     time.Second + 900*time.Millisecond, // a token of the guard
		http.StatusInternalServerError: 2*time.Second + 100*time.Millisecond,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				require.NoError(t, w.sim.SetFault(simimds.Fault{
					Kind: simimds.FaultStatus, Status: status, Endpoint: simimds.EndpointScheduledEvents, Method: http.MethodPost,
				}))
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 30 * time.Second, Hold: true})
				event, _ := w.sim.Event(id)
				w.pass(time.Until(event.NotBefore) + 20*time.Second)

				var posts []time.Time
				for _, r := range w.sim.Requests() {
					if r.Method == http.MethodPost {
						posts = append(posts, r.Time)
					}
				}
				require.Greater(t, len(posts), 8)
				for i := 1; i < len(posts); i++ {
					require.LessOrEqual(t, posts[i].Sub(posts[i-1]), longest, "attempt %d", i)
				}
				require.False(t, posts[len(posts)-1].After(event.NotBefore), "within the notice")
				require.Less(t, event.NotBefore.Sub(posts[len(posts)-1]), 2*longest, "as long as the notice lasts")
				require.Zero(t, w.accepted(id))
			})
		})
	}
}

// TestFewRequests: whatever happens, the service sees at most 1.2 requests a
// second over any minute: polls, look-ups of the identity, acks of many events
// at once and their repetitions, under every kind of fault.
func TestFewRequests(t *testing.T) {
	faults := map[string]simimds.Fault{
		"none":         {},
		"403":          {Kind: simimds.FaultStatus, Status: http.StatusForbidden},
		"410":          {Kind: simimds.FaultStatus, Status: http.StatusGone},
		"429":          {Kind: simimds.FaultStatus, Status: http.StatusTooManyRequests},
		"500":          {Kind: simimds.FaultStatus, Status: http.StatusInternalServerError},
		"400 to all":   {Kind: simimds.FaultStatus, Status: http.StatusBadRequest}, // the identity has more versions to ask for
		"reset":        {Kind: simimds.FaultReset},
		"hang":         {Kind: simimds.FaultHang},
		"lost":         {Kind: simimds.FaultLost},
		"empty":        {Kind: simimds.FaultEmpty},
		"acks refused": {Kind: simimds.FaultStatus, Status: http.StatusTooManyRequests, Method: http.MethodPost},
		"acks lost":    {Kind: simimds.FaultLost, Method: http.MethodPost},
		"half of them": {Kind: simimds.FaultReset, Method: http.MethodGet, Endpoint: simimds.EndpointInstance},
		"comes & goes": {Kind: simimds.FaultStatus, Status: http.StatusServiceUnavailable, Count: 3},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.steps[0].takes = 100 * time.Millisecond
				for kind, policy := range w.conf.ScheduledEvents.Events {
					policy.Action, policy.Ack, policy.LeadTime = "drain", "after-drain", 0
					w.conf.ScheduledEvents.Events[kind] = policy
				}
				rng := rand.New(rand.NewPCG(1, 2))
				w.serving()
				for i := range 20 {
					if fault.Kind != "" && i%10 == 5 {
						require.NoError(t, w.sim.SetFault(fault))
					}
					if i%10 == 9 {
						w.sim.ClearFaults()
					}
					for range rng.IntN(4) {
						w.sim.Publish(simimds.EventSpec{
							Type:      pick(rng, simimds.Preempt, simimds.Reboot, simimds.Freeze, simimds.Terminate),
							Resources: []string{self}, CompleteAfter: time.Duration(1+rng.IntN(20)) * time.Second,
						})
					}
					w.pass(time.Duration(rng.IntN(15000)) * time.Millisecond)
				}
				requests := w.sim.Requests()
				require.Greater(t, len(requests), 60)
				for _, first := range requests {
					n := 0
					for _, r := range requests {
						if r.Time.Sub(first.Time) >= 0 && r.Time.Sub(first.Time) < time.Minute {
							n++
						}
					}
					require.LessOrEqual(t, n, 72, "in the minute from %s", first.Time)
				}
			})
		})
	}
}

// TestMaintenanceOverEverything: unready and SkipUpgrade over restarts of the
// agent and a reboot, without touching a unit; a drain may come and go in it;
// it ends by itself.
func TestMaintenanceOverEverything(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.Health.CustomMetrics = config.CustomMetrics{Enabled: true, SkipUpgrade: "auto"}
		w.serving()
		require.NotContains(t, w.body("/healthz"), `\"SkipUpgrade\":true`)
		_, err := w.ops().Maintenance(t.Context(), root, control.MaintenanceRequest{On: true, ForSeconds: 600, Reason: "disk"})
		require.NoError(t, err)
		inMaintenance := func() {
			t.Helper()
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), "from the first answer on")
			w.pass(0) // the first verdict
			require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
			require.Equal(t, http.StatusOK, w.code("/healthz"))
			require.Contains(t, w.body("/healthz"), `\"SkipUpgrade\":true`)
		}
		inMaintenance()
		w.kill()
		w.start()
		inMaintenance()
		w.pass(time.Minute)
		inMaintenance()
		w.reboot()
		inMaintenance()
		w.pass(time.Minute)
		inMaintenance()
		begun, _, _ := w.steps[0].counts()
		require.Zero(t, begun)

		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Redeploy, Resources: []string{self}, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)
		inMaintenance()
		require.NoError(t, w.sim.Complete(id))
		w.awaitState(control.StateMaintenance, 5*time.Second)
		inMaintenance()

		w.pass(10 * time.Minute)
		require.Equal(t, control.StateServing, w.status().State)
		require.Equal(t, http.StatusOK, w.code("/readyz"))
		require.NotContains(t, w.body("/healthz"), `\"SkipUpgrade\":true`)
	})
}

// body asks a probe endpoint for what it says.
func (w *world) body(path string) string {
	w.t.Helper()
	r := httptest.NewRecorder()
	w.agent.answers.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return r.Body.String()
}
