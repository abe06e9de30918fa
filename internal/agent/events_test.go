package agent

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

func removeAll(dir string) error { return os.RemoveAll(dir) }

// TestPreempt follows the main job from the announcement to the return to service.
func TestPreempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 30 * time.Second, Hold: true})

		took := w.awaitCode("/readyz", http.StatusServiceUnavailable, 3*time.Second)
		require.LessOrEqual(t, took, w.conf.ScheduledEvents.PollInterval.D()+100*time.Millisecond)
		require.Equal(t, http.StatusOK, w.code("/healthz"), "a drain does not change /healthz")
		require.Equal(t, control.StateDraining, w.status().State)
		require.Zero(t, w.accepted(id), "not before the drain has ended")

		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(time.Second)
		require.Equal(t, 1, w.accepted(id))
		require.Equal(t, http.StatusOK, w.code("/healthz"))

		w.pass(10 * time.Minute)
		require.Equal(t, 1, w.accepted(id), "acked once, however long the event stays")
		require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))

		require.NoError(t, w.sim.Complete(id))
		w.awaitState(control.StateServing, 5*time.Second)
		require.Equal(t, http.StatusOK, w.code("/readyz"))
		begun, ended, undone := w.steps[0].counts()
		require.Equal(t, [3]int{1, 1, 1}, [3]int{begun, ended, undone})
	})
}

// TestEventsThatAreNotActedOn: the node goes on serving and nothing is acked.
func TestEventsThatAreNotActedOn(t *testing.T) {
	zero := 0
	for name, spec := range map[string]simimds.EventSpec{
		"of another vm":               {Type: simimds.Preempt, Resources: []string{other}},
		"of an unknown type":          {Type: "Rebalance", Resources: []string{self}},
		"freeze, by default":          {Type: simimds.Freeze, Resources: []string{self}},
		"freeze without interruption": {Type: simimds.Freeze, Resources: []string{self}, DurationSeconds: &zero},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				w.sim.Publish(spec)
				for range 120 {
					w.pass(500 * time.Millisecond)
					require.Equal(t, http.StatusOK, w.code("/readyz"))
				}
				require.Empty(t, w.sim.Acks())
				require.Len(t, w.status().Events, 1, "it is shown all the same")
				begun, _, _ := w.steps[0].counts()
				require.Zero(t, begun)
			})
		})
	}
}

// TestSharedEventIsNotAcked: an ack would release the other VM too.
func TestSharedEventIsNotAcked(t *testing.T) {
	for policy, want := range map[string]int{"never": 0, "first": 1, "always": 1} {
		t.Run(policy, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.conf.ScheduledEvents.SharedAck = policy
				w.serving()
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self, other}, Hold: true})
				w.awaitState(control.StateDrained, 30*time.Second)
				w.pass(time.Minute)
				require.Equal(t, want, w.accepted(id))
			})
		})
	}
}

// TestIdentityIsAskedOnce: a node that starts has few requests to spare.
func TestIdentityIsAskedOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		w.pass(time.Minute)
		asked := 0
		for _, r := range w.sim.Requests() {
			if strings.HasSuffix(r.Path, "/instance") {
				asked++
			}
		}
		require.Equal(t, 1, asked)
	})
}

// TestFailedDrainIsNotAcked, unless the policy says so.
func TestFailedDrainIsNotAcked(t *testing.T) {
	for policy, want := range map[string]int{"after-drain": 0, "after-drain-even-if-failed": 1} {
		t.Run(policy, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.conf.ScheduledEvents.Events["Reboot"] = config.EventPolicy{Action: "drain", Ack: policy}
				w.steps = []*testStep{{name: "bad", takes: time.Second, fails: true}, {name: "good", takes: time.Second}}
				w.serving()
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
				w.pass(time.Minute)
				require.Equal(t, want, w.accepted(id))
				_, ended, _ := w.steps[1].counts()
				require.Equal(t, 1, ended, "the rest of the plan runs")
				s := w.status()
				require.Equal(t, control.StateDraining, s.State)
				require.Equal(t, "failed", s.Drain.Phase)
				require.Contains(t, s.Drain.Error, "it did not work")
				require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
			})
		})
	}
}

// TestAckWaitsForTheSecondTry: the ack of a drain that has failed, allowed by the
// policy, is not sent while another cause makes the agent try again.
func TestAckWaitsForTheSecondTry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["Reboot"] = config.EventPolicy{Action: "drain", Ack: "after-drain-even-if-failed"}
		w.steps = []*testStep{{name: "slow", takes: 20 * time.Second, fails: true}}
		w.serving()
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultStatus, Status: 429, Method: http.MethodPost}))
		first := w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}, Hold: true})
		failed := func() bool { d := w.status().Drain; return d != nil && d.Phase == "failed" }
		for !failed() {
			w.pass(time.Second)
		}
		w.pass(5 * time.Second)
		require.Equal(t, ackSending, w.status().Events[0].Ack)

		w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
		w.pass(3 * time.Second)
		require.False(t, failed(), "it is tried again")
		w.sim.ClearFaults()
		for !failed() {
			require.Zero(t, w.accepted(first))
			w.pass(time.Second)
		}
		w.pass(5 * time.Second)
		require.Equal(t, 1, w.accepted(first))
	})
}

// TestAckIsOfTheDrainInEffect: an event comes back under the id that it had, for this
// machine alone now, after its drain was taken back. That drain is no reason to ack
// it: the workloads run again.
func TestAckIsOfTheDrainInEffect(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		event := simimds.EventSpec{ID: "E1", Type: simimds.Terminate, Resources: []string{self, other}, Notice: 10 * time.Minute, Hold: true}
		w.sim.Publish(event)
		w.awaitState(control.StateDrained, 30*time.Second)
		require.NoError(t, w.sim.Complete("E1"))
		w.awaitState(control.StateServing, 5*time.Second)
		require.Empty(t, w.sim.Acks())

		event.Resources = []string{self}
		w.sim.Publish(event)
		w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
		for w.status().State != control.StateDrained {
			require.Empty(t, w.sim.Acks(), "not before the new drain has ended")
			w.pass(10 * time.Millisecond)
		}
		w.pass(5 * time.Second)
		require.Equal(t, 1, w.accepted("E1"))
		_, ended, _ := w.steps[0].counts()
		require.Equal(t, 2, ended)
	})
}

// TestRebootThatStartsUnannounced: an event may be Started when it is first seen,
// and only one that a boot can be the result of is taken for done.
func TestRebootThatStartsUnannounced(t *testing.T) {
	for _, kind := range []string{simimds.Reboot, simimds.Redeploy} {
		for name, c := range map[string]struct {
			up   time.Duration
			want control.State
		}{
			"long after boot": {time.Hour, control.StateDrained},
			"after a boot":    {5 * time.Minute, control.StateServing},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.up = c.up
					w.sim.Publish(simimds.EventSpec{Type: kind, Resources: []string{self}, Started: true, Hold: true})
					w.start()
					w.pass(20 * time.Second)
					require.Equal(t, c.want, w.status().State)
					begun, _, _ := w.steps[0].counts()
					require.Equal(t, c.want == control.StateDrained, begun == 1)
					require.Empty(t, w.sim.Acks())
				})
			})
		}
	}
}

// TestAnAckInDoubtWaitsForADocument: the agent was killed before it heard what
// became of an ack. The next agent does not ack again before it has seen a document
// that is newer than its own start, and not at all when that shows that the ack had
// arrived.
func TestAnAckInDoubtWaitsForADocument(t *testing.T) {
	for arrived, acks := range map[bool]int{true: 1, false: 2} {
		t.Run(fmt.Sprintf("arrived %t", arrived), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				fault := simimds.Fault{Kind: simimds.FaultLost, Method: http.MethodPost, Count: 1}
				if !arrived {
					fault.Kind, fault.Status = simimds.FaultStatus, http.StatusInternalServerError
				}
				require.NoError(t, w.sim.SetFault(fault))
				w.sim.Publish(simimds.EventSpec{ID: "E1", Type: simimds.Terminate, Resources: []string{self}, StartDelay: 700 * time.Millisecond, Hold: true})
				posts := func() (n int) {
					for _, r := range w.sim.Requests() {
						if r.Method == http.MethodPost {
							n++
						}
					}
					return n
				}
				for posts() == 0 {
					w.pass(time.Millisecond)
				}
				w.restart()
				w.pass(500 * time.Millisecond)
				require.Equal(t, 1, posts(), "what the first document says may be older than the ack")
				w.pass(10 * time.Second)
				require.Equal(t, acks, posts())
				require.Equal(t, 1, w.accepted("E1"))
				require.Equal(t, drain.Acked, w.agent.journal.State().Events["E1"].Ack)
				require.Equal(t, control.StateDrained, w.status().State)
			})
		})
	}
}

// TestStoppingDrainsNothing: SIGTERM ends the agent, not the node's work.
func TestStoppingDrainsNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		w.restart()
		w.awaitState(control.StateServing, 5*time.Second)
		begun, _, _ := w.steps[0].counts()
		require.Zero(t, begun)
		require.Empty(t, w.agent.journal.History())
		require.Empty(t, w.sim.Acks())
	})
}

// TestRestartInTheMiddleGoesOn: the node is unready from the first answer on, a
// finished step does not run again, and the ack is sent once.
func TestRestartInTheMiddleGoesOn(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"settling": 2 * time.Second, "first step": 4 * time.Second, "second step": 7 * time.Second, "drained": 12 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.steps = []*testStep{{name: "one", takes: 3 * time.Second}, {name: "two", takes: 3 * time.Second}}
				w.serving()
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
				w.pass(at)
				w.kill()
				_, firstEnded, _ := w.steps[0].counts()

				w.start()
				require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"), "before anything ran")
				for i := 0; w.status().State != control.StateDrained; i++ {
					require.Less(t, i, 200)
					require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
					w.pass(100 * time.Millisecond)
				}
				w.pass(10 * time.Second)
				begun, ended, _ := w.steps[0].counts()
				require.Equal(t, 1, ended, "a finished step does not run again")
				if firstEnded == 1 {
					require.Equal(t, 1, begun)
				}
				require.Equal(t, 1, w.accepted(id))
			})
		})
	}
}

// TestBlind: whatever the metadata service does for a minute, probes are
// answered, the agent says that it is blind, takes nothing for "no events", and
// acts in the first poll after.
func TestBlind(t *testing.T) {
	for name, c := range map[string]struct {
		fault simimds.Fault
		class string
	}{
		"403":     {simimds.Fault{Kind: simimds.FaultStatus, Status: 403}, "denied"},
		"421":     {simimds.Fault{Kind: simimds.FaultStatus, Status: 421}, "denied"},
		"410":     {simimds.Fault{Kind: simimds.FaultStatus, Status: 410}, "gone"},
		"429":     {simimds.Fault{Kind: simimds.FaultStatus, Status: 429}, "throttled"},
		"500":     {simimds.Fault{Kind: simimds.FaultStatus, Status: 500}, "server-error"},
		"silence": {simimds.Fault{Kind: simimds.FaultHang}, "timeout"},
		"reset":   {simimds.Fault{Kind: simimds.FaultReset}, "unreachable"},
		"empty":   {simimds.Fault{Kind: simimds.FaultEmpty}, "empty"},
		"partial": {simimds.Fault{Kind: simimds.FaultPartial}, "invalid"},
		"cut":     {simimds.Fault{Kind: simimds.FaultTruncated}, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				c.fault.Endpoint, c.fault.Method = simimds.EndpointScheduledEvents, http.MethodGet
				require.NoError(t, w.sim.SetFault(c.fault))
				w.pass(30 * time.Second)
				id := w.sim.Publish(simimds.EventSpec{Type: simimds.Terminate, Resources: []string{self}, Hold: true})
				for range 300 {
					w.pass(100 * time.Millisecond)
					require.Equal(t, http.StatusOK, w.code("/healthz"))
					require.Equal(t, http.StatusOK, w.code("/readyz"))
				}
				s := w.status()
				require.Equal(t, "blind", s.IMDS.State)
				require.Equal(t, c.class, s.IMDS.Class)
				require.NotEmpty(t, s.IMDS.Error)
				require.Equal(t, 1, countLines(w.log.String(), "level=WARN", "blind"), "one line, not one a poll")

				w.sim.ClearFaults()
				took := w.awaitCode("/readyz", http.StatusServiceUnavailable, 10*time.Second)
				require.LessOrEqual(t, took, 6*time.Second, "the first poll after recovery; one that hangs has to time out first")
				w.awaitState(control.StateDrained, 30*time.Second)
				require.Equal(t, "ok", w.status().IMDS.State)

				// Blind again, in the middle of an event: nothing has vanished.
				require.NoError(t, w.sim.SetFault(c.fault))
				w.pass(time.Minute)
				require.Equal(t, control.StateDrained, w.status().State)
				w.sim.ClearFaults()
				require.NoError(t, w.sim.Complete(id))
				w.awaitState(control.StateServing, 15*time.Second)
			})
		})
	}
}

// countLines counts the lines that contain every part.
func countLines(text string, parts ...string) int {
	n := 0
	for line := range strings.Lines(text) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}
