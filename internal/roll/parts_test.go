package roll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

func TestWindowAt(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", text)
		require.NoError(t, err)
		return v
	}
	work := fleet.WindowSpec{Days: []string{"mon", "tue", "wed", "thu"}, From: "09:00", To: "16:00", Timezone: "Europe/Berlin"}
	night := fleet.WindowSpec{Days: []string{"fri"}, From: "22:00", To: "02:00", Timezone: "UTC"}
	for name, c := range map[string]struct {
		window fleet.WindowSpec
		now    string
		opens  string // "": it is open
	}{
		"in the middle":         {work, "2026-03-05 10:00", ""},
		"its first minute":      {work, "2026-03-05 08:00", ""},
		"before":                {work, "2026-03-05 07:59", "2026-03-05 08:00"},
		"its end":               {work, "2026-03-05 15:00", "2026-03-09 08:00"},
		"the weekend":           {work, "2026-03-07 10:00", "2026-03-09 08:00"},
		"into summer time":      {work, "2026-03-28 10:00", "2026-03-30 07:00"},
		"a night":               {night, "2026-03-06 23:00", ""},
		"the morning after":     {night, "2026-03-07 01:59", ""},
		"the end of the night":  {night, "2026-03-07 02:00", "2026-03-13 22:00"},
		"a night of other days": {night, "2026-03-06 01:00", "2026-03-06 22:00"},
		"every day":             {fleet.WindowSpec{From: "00:00", To: "01:00", Timezone: "Asia/Tokyo"}, "2026-03-05 16:00", "2026-03-06 15:00"},
		"no zone":               {fleet.WindowSpec{From: "00:00", To: "23:59", Timezone: "Mars/Base"}, "2026-03-05 16:00", "0001-01-01 00:00"},
		"no time":               {fleet.WindowSpec{From: "zero", To: "23:59", Timezone: "UTC"}, "2026-03-05 16:00", "0001-01-01 00:00"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := &fleet.Spec{Rollout: &fleet.RolloutSpec{Gates: fleet.GatesSpec{Window: &c.window}}}
			open, opens := windowAt(spec, at(c.now))
			require.Equal(t, c.opens == "", open)
			if c.opens != "" {
				require.Equal(t, at(c.opens), opens.UTC())
			}
		})
	}
	open, _ := windowAt(&fleet.Spec{}, at("2026-03-05 10:00"))
	require.True(t, open, "a file without a window has none to wait for")
}

func TestOutcomes(t *testing.T) {
	answer := func(kind azure.Kind, status int, code, text string) error {
		return &azure.Error{Kind: kind, Text: code + ": " + text, Err: &azcore.ResponseError{StatusCode: status, ErrorCode: code}}
	}
	for name, c := range map[string]struct {
		err  error
		want rollout.Outcome
	}{
		"none":             {nil, rollout.Done},
		"stopped":          {context.Canceled, rollout.Lost},
		"too late":         {fmt.Errorf("wait: %w", context.DeadlineExceeded), rollout.Lost},
		"never ends":       {&azure.Error{Kind: azure.Unreachable, Text: "PATCH vmss-authz: the time of --timeout is over", Err: context.DeadlineExceeded}, rollout.Lost},
		"no answer":        {&azure.Error{Kind: azure.Unreachable, Text: "connection reset"}, rollout.Lost},
		"half an answer":   {&azure.Error{Kind: azure.Garbled, Text: "the answer ends too early"}, rollout.Lost},
		"server failed":    {answer(azure.Failed, 500, "InternalServerError", "try later"), rollout.Lost},
		"operation failed": {answer(azure.Failed, 200, "VMExtensionProvisioningError", "it failed"), rollout.Errored},
		"no room":          {answer(azure.Failed, 200, "AllocationFailed", "no capacity"), rollout.Capacity},
		"changed":          {answer(azure.Conflict, 412, "ConditionNotMet", "etag"), rollout.Changed},
		"busy":             {answer(azure.Conflict, 409, "OperationNotAllowed", "an upgrade is in progress"), rollout.Changed},
		"quota":            {answer(azure.Conflict, 409, "OperationNotAllowed", "exceeding approved Total Regional Cores quota"), rollout.Capacity},
		"throttled":        {answer(azure.Throttled, 429, "OperationNotAllowed", "throttled"), rollout.Capacity},
		"denied":           {answer(azure.Denied, 403, "AuthorizationFailed", "no"), rollout.Denied},
		"policy":           {answer(azure.Failed, 400, "RequestDisallowedByPolicy", "no"), rollout.Denied},
		"signed out":       {&azure.Error{Kind: azure.SignIn, Text: "expired"}, rollout.Denied},
		"gone":             {answer(azure.NotFound, 404, "ResourceNotFound", "no"), rollout.Errored},
		"refused here":     {&fleet.RefusedError{Reasons: []string{"marked failed"}}, rollout.Denied},
		"odd":              {errors.New("odd"), rollout.Errored},
	} {
		t.Run(name, func(t *testing.T) {
			got := outcome(c.err)
			require.Equal(t, c.want, got.Outcome)
			require.Equal(t, c.err == nil, got.Text == "")
			require.NotContains(t, got.Text, "--timeout", "the bound of an action is no flag")
		})
	}
	for kind := azure.Failed; kind <= azure.Garbled; kind++ {
		require.NotEmpty(t, outcomes[kind], kind)
	}
	require.Equal(t, rollout.Denied, (&Runner{}).perform(t.Context(), &ledger{}, &rollout.Action{Do: "dance"}).Outcome)
}

func TestDeparted(t *testing.T) {
	now := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	vm := func(name string) fleet.ResourceID {
		return fleet.ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/" + name)
	}
	log := []azure.Activity{
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "0000-app", Status: "Succeeded", Resource: vm("a")},
		{At: now.Add(-time.Minute), Operation: "Microsoft.Compute/virtualMachineScaleSets/evictSpotVM/action", Status: "Succeeded", Resource: vm("a")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "ops@example.com", Status: "Accepted", Resource: vm("b")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "Microsoft.Insights/autoscaleSettings", Status: "Succeeded", Resource: vm("c")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "someone", Status: "Succeeded", Resource: vm("d")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "ops@example.com", Status: "Failed", Resource: vm("e")},
		{At: now.Add(-time.Hour), Operation: "Microsoft.Compute/virtualMachines/deallocate/action", Caller: "ops@example.com", Status: "Succeeded", Resource: vm("F")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "0000-app", Status: "Succeeded", Resource: vm("F")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "ops@example.com", Status: "Succeeded", Resource: vm("G")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/delete", Caller: "repairs@example.com", Status: "Succeeded", Resource: vm("h")},
		{At: now, Operation: "Microsoft.Compute/virtualMachines/restart", Caller: "ops@example.com", Status: "Succeeded", Resource: vm("here")},
		{At: now, Operation: "Microsoft.Compute/virtualMachineScaleSets/write", Caller: "ops@example.com", Status: "Succeeded", Resource: "/subscriptions/s"},
	}
	seen := rollout.SetSeen{Set: fleet.Set{Members: []fleet.Member{{Name: "here", Power: fleet.Running}, {Name: "b", Power: fleet.Deallocated, Created: now.Add(-time.Hour)}}}}
	ran := func(name string) rollout.MemberState {
		return rollout.MemberState{Set: "set", Name: name, Runs: []rollout.Run{{From: now.Add(-30 * time.Minute)}}}
	}
	state := rollout.State{
		Sets: map[string]rollout.SetState{"set": {Asked: map[string]bool{"g": true}}},
		Runs: map[string]rollout.MemberState{"set/f": ran("f"), "set/b": ran("b")},
	}
	got := make(map[string]rollout.Cause)
	for _, d := range departed(log, leavers(&state, "set", &seen)) {
		got[d.Member] = d.Cause
		require.Equal(t, d.Member == "b", !d.Born.IsZero())
	}
	require.Equal(t, map[string]rollout.Cause{
		"a": rollout.Evicted, "b": rollout.Operator, "c": rollout.ScaledIn, "d": rollout.NotKnown,
		"f": rollout.NotKnown, // it was stopped and started before it ran the version
		"g": rollout.Operator, // the log has capitals
		"h": rollout.Operator, // a person, whatever their address
	}, got)
}

func TestFaults(t *testing.T) {
	failed := func(name, code string) fleet.Member {
		return fleet.Member{Name: name, Provisioning: fleet.Failed, Failure: fleet.Failure{Code: code, Message: "x"}}
	}
	got := faults([]fleet.Member{failed("image", "OSProvisioningTimedOut"), failed("room", "ZonalAllocationFailed"), failed("odd", "Odd"), {Name: "well", Provisioning: fleet.Succeeded}})
	require.Equal(t, map[string]rollout.Fault{
		"image": {Class: rollout.Bad, Text: "OSProvisioningTimedOut: x"},
		"room":  {Class: rollout.NoCapacity, Text: "ZonalAllocationFailed: x"},
		"odd":   {Class: rollout.Inconclusive, Text: "Odd: x"},
	}, got)
}

func TestDecode(t *testing.T) {
	event := `{"format":1,"at":"2026-03-05T14:00:00Z","kind":"observed"}`
	events, err := Decode([]json.RawMessage{json.RawMessage(event), json.RawMessage(" [" + event + "," + event + "]")})
	require.NoError(t, err)
	require.Len(t, events, 3)
	for _, odd := range []string{"", "[", "{}", `[{"format":2}]`, `[[]]`, "null", `[null]`} {
		_, err := Decode([]json.RawMessage{json.RawMessage(event), json.RawMessage(odd)})
		require.ErrorContains(t, err, "entry 2 of the journal", odd)
	}
}

// A kept journal only keeps.
type kept struct{ unlocked }

func (kept) Append(ctx context.Context, _ json.RawMessage) error { return ctx.Err() }

// The nodes of a whole batch are asked at once: here each question is answered when all of
// them have come.
func TestNodesAreAskedAtOnce(t *testing.T) {
	const batch = 40 // the most members of one
	var asked sync.WaitGroup
	asked.Add(batch)
	prom := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Done()
		asked.Wait()
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	}))
	defer prom.Close()
	spec := fleet.Spec{Rollout: &fleet.RolloutSpec{}}
	var actions []rollout.Action
	for i := range batch {
		name := fmt.Sprintf("gate-%d", i)
		spec.Rollout.Gates.Prometheus = append(spec.Rollout.Gates.Prometheus, fleet.PrometheusSpec{Name: name, URL: prom.URL, Query: "1"})
		actions = append(actions, rollout.Action{Op: i + 1, Do: rollout.QueryGate, Name: name})
	}
	r := &Runner{Spec: &spec, Now: time.Now}
	l := &ledger{journal: kept{}, tell: r.tell}
	require.NoError(t, l.append(t.Context(), rollout.Begin(rollout.Plan{}, time.Now())))
	require.NoError(t, r.act(t.Context(), l, actions))
	require.Len(t, l.state.Gates, batch)
	for name, answer := range l.state.Gates {
		require.Equal(t, string(rollout.NoData), answer.Text, "%s: %s", name, answer.Why)
	}
}

// A slow journal takes a while for each entry.
type slow struct{ unlocked }

func (slow) Append(ctx context.Context, _ json.RawMessage) error {
	select {
	case <-time.After(appendWithin / 2):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Each entry has its own time: what waits for others before it is not given up for them.
func TestEntriesDoNotWaitInTheTimeOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{journal: slow{}, tell: func(Event) {}}
		events := []rollout.Event{rollout.Begin(rollout.Plan{}, time.Now())}
		for range 3 {
			events = append(events, rollout.Event{Format: rollout.Format, At: time.Now(), Kind: rollout.Blocked, Class: rollout.NotOurs, Why: strings.Repeat("x", maxEntry)})
		}
		require.NoError(t, l.append(t.Context(), events...))
		require.Len(t, l.events, 4)
	})
}
