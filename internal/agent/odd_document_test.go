package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// says makes the metadata service answer with a body, whatever is the case. Acks are
// taken.
func (w *world) says(body string) {
	w.t.Helper()
	require.NoError(w.t, w.sim.SetFault(simimds.Fault{
		Kind: simimds.FaultBody, Endpoint: simimds.EndpointScheduledEvents, Method: http.MethodGet, Body: body,
	}))
}

// eviction is an event for this VM, with the values of some keys changed.
func eviction(changes ...string) string {
	values := map[string]string{
		"EventId": `"A"`, "EventType": `"Preempt"`, "EventStatus": `"Scheduled"`, "ResourceType": `"VirtualMachine"`,
		"Resources": `["` + self + `"]`, "Description": `""`, "EventSource": `"Platform"`, "DurationInSeconds": `-1`,
		"NotBefore": `"` + time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat) + `"`,
	}
	for i := 0; i < len(changes); i += 2 {
		values[changes[i]] = changes[i+1]
	}
	var pairs []string
	for key, value := range values {
		if value != "" {
			pairs = append(pairs, fmt.Sprintf("%q:%s", key, value))
		}
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func events(elements ...string) string {
	return `{"DocumentIncarnation":7,"Events":[` + strings.Join(elements, ",") + `]}`
}

// TestOddValuesHideNoEviction: what decides nothing may be anything.
func TestOddValuesHideNoEviction(t *testing.T) {
	for name, c := range map[string]struct {
		body  func() string
		blind bool
	}{
		"duration empty":      {func() string { return events(eviction("DurationInSeconds", `""`)) }, false},
		"duration a fraction": {func() string { return events(eviction("DurationInSeconds", `1.5`)) }, false},
		"NotBefore in 10000":  {func() string { return events(eviction("NotBefore", `"9999-12-31T23:59:59-14:00"`)) }, false},
		"NotBefore a list":    {func() string { return events(eviction("NotBefore", `[]`)) }, false},
		"null beside it":      {func() string { return events("null", eviction()) }, true},
		"a second list":       {func() string { return `{"Events":[` + eviction() + `],"events":[]}` }, true},
		"a huge description":  {func() string { return events(eviction("Description", `"`+strings.Repeat("x", 900<<10)+`"`)) }, false},
		"an id to be feared":  {func() string { return events(eviction("EventId", `"a\u0000\n\u001b[2J"`)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.serving()
				w.says(c.body())
				w.awaitCode("/readyz", http.StatusServiceUnavailable, 2*time.Second)
				w.awaitState(control.StateDrained, 30*time.Second)
				s := w.status()
				text, err := json.Marshal(s)
				require.NoError(t, err)
				require.Less(t, len(text), 16<<10)
				_, err = json.Marshal(w.ops().Events())
				require.NoError(t, err)
				require.Equal(t, c.blind, s.IMDS.State == "blind", s.IMDS.Error)
				require.Less(t, len(w.log.String()), 256<<10)

				w.says(events())
				w.awaitState(control.StateServing, 5*time.Second)
			})
		})
	}
}

// TestOnlyAWholeDocumentEndsADrain: an event that is drained for is not over
// because something else is told, or nothing that reads.
func TestOnlyAWholeDocumentEndsADrain(t *testing.T) {
	for name, body := range map[string]string{
		"unknown status":      events(eviction("EventStatus", `"Zzz"`)),
		"no status":           events(eviction("EventStatus", ``)),
		"another type":        events(eviction("EventType", `"Freeze"`)),
		"a type of no kind":   events(eviction("EventType", `7`)),
		"for others now":      events(eviction("Resources", `["`+other+`"]`)),
		"for nobody readable": events(eviction("Resources", `"`+self+`"`)),
		"an id of no kind":    events(eviction("EventId", `7`)),
		"another's, unnamed":  events(eviction("EventId", ``, "Resources", `["`+other+`"]`)),
		"empty, and null":     events("null"),
		"a list twice":        `{"Events":[],"events":[]}`,
		"a key twice":         `{"Events":[],"x":1,"X":2}`,
		"a key twice inside":  events(`{"EventId":"B","EventType":"Freeze","EventStatus":"Started","Resources":["` + other + `"],"z":1,"Z":1}`),
		"no list":             `{"Events":{}}`,
		"not JSON":            `{"Events":[]} x`,
		"half of it":          `{"Events":[]`,
		"nothing":             `{}`,
	} {
		for action, kind := range map[string]string{"drain": "Preempt", "cordon": "Redeploy"} {
			t.Run(name+" in a "+action, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.conf.ScheduledEvents.Events["Redeploy"] = config.EventPolicy{Action: "cordon", Ack: "never"}
					body := strings.ReplaceAll(body, "Preempt", kind)
					w.serving()
					w.says(events(eviction("EventType", `"`+kind+`"`)))
					w.awaitCode("/readyz", http.StatusServiceUnavailable, 3*time.Second)
					w.pass(15 * time.Second)
					w.says(body)
					for range 40 {
						w.pass(500 * time.Millisecond)
						require.Equal(t, http.StatusServiceUnavailable, w.code("/readyz"))
					}
					if action == "drain" {
						require.Equal(t, control.StateDrained, w.status().State)
						w.restart()
						w.pass(20 * time.Second)
						require.Equal(t, control.StateDrained, w.status().State, "after a restart, too")
					}
					w.says(events())
					w.awaitState(control.StateServing, 10*time.Second)
				})
			})
		}
	}
}

// TestUndrainForcesWhatIsInDoubt: an operator can end what an odd document holds.
func TestUndrainForcesWhatIsInDoubt(t *testing.T) {
	for action, kind := range map[string]string{"drain": "Preempt", "cordon": "Redeploy"} {
		t.Run(action, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.conf.ScheduledEvents.Events["Redeploy"] = config.EventPolicy{Action: "cordon", Ack: "never"}
				w.serving()
				w.says(events(eviction("EventType", `"`+kind+`"`)))
				w.pass(15 * time.Second)
				w.says(events("null"))
				w.pass(5 * time.Second)
				_, err := w.ops().Undrain(t.Context(), root, control.UndrainRequest{})
				require.ErrorContains(t, err, "event A ("+kind+") still keeps the node out of service")
				_, err = w.ops().Undrain(t.Context(), root, control.UndrainRequest{Force: true})
				require.NoError(t, err)
				w.awaitCode("/readyz", http.StatusOK, 10*time.Second)
			})
		})
	}
}

// TestReasons: status and events say what is done about each event, and why.
func TestReasons(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["SpotRebalance"] = config.EventPolicy{Action: "cordon", Ack: "never"}
		w.serving()
		element := func(id, kind, status, resources string) string {
			return fmt.Sprintf(`{"EventId":%q,"EventType":%s,"EventStatus":%q,"Resources":%s,"NotBefore":%q,"DurationInSeconds":5}`,
				id, kind, status, resources, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		}
		mine := `["` + self + `"]`
		w.says(events(
			element("freeze", `"Freeze"`, "Scheduled", mine),
			element("new", `"Rebalance"`, "Scheduled", mine),
			element("named", `"spotRebalance"`, "Started", mine),
			element("odd", `7`, "Scheduled", mine),
			element("later", `"Reboot"`, "Scheduled", mine),
			element("zzz", `"Reboot"`, "Zzz", mine),
			element("theirs", `"Reboot"`, "Scheduled", `["`+other+`"]`),
			element("nobody's", `"Reboot"`, "Scheduled", `7`),
		))
		w.pass(2 * time.Second)
		from := ", from " + time.Now().Add(time.Hour-2*time.Second-15*time.Minute).UTC().Format("2006-01-02T15:04:05Z") + " on"
		want := map[string][2]string{
			"freeze":   {"ignore", "policy for Freeze: ignore"},
			"new":      {"", `unknown type "Rebalance"`},
			"named":    {"cordon", "policy for spotRebalance: cordon"},
			"odd":      {"", "its EventType does not read"},
			"later":    {"drain", "policy for Reboot: drain" + from},
			"zzz":      {"", `unknown status "Zzz"`},
			"theirs":   {"", "names other VMs only"},
			"nobody's": {"", "its Resources do not read"},
		}
		for _, list := range [][]control.Event{w.status().Events, w.ops().Events().Events} {
			got := map[string][2]string{}
			for _, e := range list {
				got[e.ID] = [2]string{e.Action, e.Reason}
			}
			require.Equal(t, want, got)
		}
		require.Equal(t, []string{
			`event nobody's: its Resources do not read`, `event odd: its EventType does not read`,
		}, w.status().IMDS.Unread)
		require.Equal(t, "blind", w.status().IMDS.State)
		w.says(events(element("named", `"spotRebalance"`, "Zzz", mine)))
		w.pass(2 * time.Second)
		require.Equal(t, `unknown status "Zzz"; it is not over, so what was begun for it stays`, w.status().Events[0].Reason)
	})
}

// TestNamedTypeIsFollowed: a type that the agent does not know is done what the
// configuration says about it, its ack included.
func TestNamedTypeIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.conf.ScheduledEvents.Events["SpotRebalance"] = config.EventPolicy{Action: "drain", Ack: "after-drain"}
		w.serving()
		id := w.sim.Publish(simimds.EventSpec{Type: "SpotRebalance", Resources: []string{self}, Notice: 5 * time.Minute, Hold: true})
		w.awaitState(control.StateDrained, 30*time.Second)
		w.pass(5 * time.Second)
		require.Equal(t, 1, w.accepted(id))
	})
}

// TestNamelessIsBlind: while nobody says what this VM is called, machines see that.
// A restart of the agent goes on with the name of this boot.
func TestNamelessIsBlind(t *testing.T) {
	nameless := simimds.Fault{Kind: simimds.FaultPartial, Endpoint: simimds.EndpointInstance}
	preempt := simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: 30 * time.Second, Hold: true}
	inWorld(t, func(t *testing.T, w *world) {
		require.NoError(t, w.sim.SetFault(nameless))
		w.start()
		w.pass(2 * time.Minute)
		require.Equal(t, "starting", w.status().IMDS.State)
		w.pass(20 * time.Second)
		s := w.status()
		require.Equal(t, "blind", s.IMDS.State)
		require.Equal(t, "no-name", s.IMDS.Class)
		require.Equal(t, control.StateDegraded, s.State)
		require.Contains(t, s.Reason, "blind: the metadata service has not said what this VM is called")
		require.Equal(t, http.StatusOK, w.code("/readyz"), "probes do not depend on it")
		require.Equal(t, http.StatusOK, w.code("/healthz"))

		w.sim.ClearFaults()
		w.awaitState(control.StateServing, 15*time.Second)
		require.NoError(t, w.sim.SetFault(nameless))
		w.restart()
		w.pass(3 * time.Second)
		require.Equal(t, "ok", w.status().IMDS.State)
		require.Equal(t, self, w.status().Node.Name)
		w.sim.Publish(preempt)
		w.awaitState(control.StateDrained, 30*time.Second)
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, w.sim.SetFault(nameless))
		w.reboot()
		w.pass(3 * time.Second)
		require.Equal(t, "starting", w.status().IMDS.State, "another boot may have another name")
		require.Empty(t, w.status().Node.Name)
	})
}

// TestBlindIsDegraded: the node serves, and says to machines that it is not as it
// should be.
func TestBlindIsDegraded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serving()
		require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultStatus, Status: 403, Endpoint: simimds.EndpointScheduledEvents}))
		w.awaitState(control.StateDegraded, 10*time.Second)
		require.Contains(t, w.status().Reason, "blind: poll scheduled events: answer 403 Forbidden")
		require.Equal(t, http.StatusOK, w.code("/readyz"))
		w.sim.ClearFaults()
		w.awaitState(control.StateServing, 10*time.Second)
	})
}

// TestTheClockIsBehind: a notice of thirty seconds leaves thirty seconds, whatever
// this VM's clock shows.
func TestTheClockIsBehind(t *testing.T) {
	for _, ahead := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.steps = []*testStep{{name: "long", takes: 10 * time.Minute, min: time.Second, max: 10 * time.Minute}}
				w.serving()
				require.NoError(t, w.sim.SetFault(simimds.Fault{Kind: simimds.FaultClock, Ahead: ahead, Method: http.MethodGet}))
				w.pass(2 * time.Second)
				warned := strings.Contains(strings.Join(w.status().Warnings, "\n"), "this VM's clock is 5m0s")
				require.Equal(t, ahead != 0, warned, "%v", w.status().Warnings)
				require.InDelta(t, ahead.Seconds(), w.status().IMDS.ClockSkewSeconds, 1.1)

				// NotBefore is by Azure's clock.
				notice := 30*time.Second + max(0, ahead)
				w.sim.Publish(simimds.EventSpec{Type: simimds.Preempt, Resources: []string{self}, Notice: notice, Hold: true})
				w.awaitCode("/readyz", http.StatusServiceUnavailable, 3*time.Second)
				d := w.status().Drain
				require.NotNil(t, d.Deadline)
				require.InDelta(t, 28, time.Until(*d.Deadline).Seconds(), 2.2)
				w.pass(31 * time.Second)
				require.Equal(t, "failed", w.status().Drain.Phase, "it was stopped at its deadline")
			})
		})
	}
}
