package scheduledevents

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// policy is the default of the product's contract.
var policy = Policy{
	Rules: map[string]Rule{
		Preempt:   {Action: ActionDrain, Ack: AckAfterDrain},
		Terminate: {Action: ActionDrain, Ack: AckAfterDrain},
		Reboot:    {Action: ActionDrain, Ack: AckAfterDrain},
		Redeploy:  {Action: ActionDrain, Ack: AckAfterDrain},
		Freeze:    {Action: ActionIgnore, Ack: AckNever},
	},
	SharedAck: SharedAckNever,
}

const self = "web_7"

var notBefore = time.Date(2026, 4, 1, 22, 26, 58, 0, time.UTC)

func mine(eventType string) Event {
	return Event{ID: "a", Type: eventType, Status: Scheduled, Resources: []string{self}, NotBefore: notBefore, Source: "Platform"}
}

// TestDefaultPolicy holds the table of the product's contract, row by row.
func TestDefaultPolicy(t *testing.T) {
	tests := map[string]struct {
		action Action
		ack    AckPolicy
		sleep  time.Duration
	}{
		Preempt:   {ActionDrain, AckAfterDrain, time.Second},
		Terminate: {ActionDrain, AckAfterDrain, 10 * time.Second},
		Reboot:    {ActionDrain, AckAfterDrain, 10 * time.Second},
		Redeploy:  {ActionDrain, AckAfterDrain, 10 * time.Second},
		Freeze:    {ActionIgnore, AckNever, 10 * time.Second},
	}
	for eventType, want := range tests {
		t.Run(eventType, func(t *testing.T) {
			d := policy.Decide(mine(eventType), self)
			require.True(t, d.Mine)
			require.True(t, d.Known)
			require.Equal(t, want.action, d.Action)
			require.Equal(t, want.ack, d.Ack)
			require.Equal(t, want.ack != AckNever, d.AckAllowed)
			require.Equal(t, want.sleep, d.MaxRetrySleep)
			require.Zero(t, d.ActAt)
		})
	}
}

// TestWhoseEvent: an event of another VM is never acted on and never acked.
func TestWhoseEvent(t *testing.T) {
	tests := map[string]struct {
		resources []string
		self      string
		mine      bool
		reason    string
	}{
		"mine":                    {[]string{"web_7"}, "web_7", true, "policy for Preempt: drain"},
		"mine in another case":    {[]string{"WEB_7"}, "web_7", true, "policy for Preempt: drain"},
		"mine among others":       {[]string{"web_1", "web_7"}, "web_7", true, "policy for Preempt: drain"},
		"another's":               {[]string{"web_1"}, "web_7", false, "names other VMs only"},
		"a longer name":           {[]string{"web_70"}, "web_7", false, "names other VMs only"},
		"nobody's":                {[]string{}, "web_7", false, "names other VMs only"},
		"before the name is here": {[]string{"web_7", ""}, "", false, "this VM's name is not known yet"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			event := mine(Preempt)
			event.Resources = test.resources
			always := policy
			always.SharedAck = SharedAckAlways
			d := always.Decide(event, test.self)
			require.Equal(t, test.mine, d.Mine)
			require.True(t, d.Known)
			require.Equal(t, test.reason, d.Reason)
			require.Equal(t, test.mine, d.AckAllowed)
			if !test.mine {
				require.Empty(t, d.Action)
				require.Equal(t, AckNever, d.Ack)
				require.Equal(t, test.reason, d.AckReason)
			}
		})
	}
}

// TestUnknown: what Azure may add is shown and otherwise ignored.
func TestUnknown(t *testing.T) {
	event := mine("SpotRebalance")
	d := policy.Decide(event, self)
	require.Equal(t, Decision{
		Mine: true, Ack: AckNever, MaxRetrySleep: 10 * time.Second,
		Reason: `unknown type "SpotRebalance"`, AckReason: `unknown type "SpotRebalance"`,
	}, d)

	event = mine(Preempt)
	event.Status = "Completed"
	d = policy.Decide(event, self)
	require.Equal(t, Decision{
		Mine: true, Unsure: true, Ack: AckNever, MaxRetrySleep: time.Second,
		Reason: `unknown status "Completed"`, AckReason: `unknown status "Completed"`,
	}, d)

	require.False(t, Policy{}.Decide(mine(Preempt), self).Known, "without rules, nothing is known")
}

// TestRuleForNewType: a rule makes a type known, which the types of other
// api-versions need.
func TestRuleForNewType(t *testing.T) {
	p := Policy{Rules: map[string]Rule{"spotrebalance": {Action: ActionCordon, Ack: AckNever}}}
	d := p.Decide(mine("SpotRebalance"), self)
	require.True(t, d.Known)
	require.Equal(t, ActionCordon, d.Action)
	require.False(t, d.AckAllowed)
}

func TestAckPolicies(t *testing.T) {
	type want struct {
		ack    AckPolicy
		reason string
	}
	tests := []struct {
		action Action
		ack    AckPolicy
		source string
		status string
		want   want
	}{
		{ActionDrain, AckAfterDrain, "Platform", Scheduled, want{AckAfterDrain, "policy: after-drain"}},
		{ActionDrain, AckAfterDrainEvenIfFailed, "Platform", Scheduled, want{AckAfterDrainEvenIfFailed, "policy: after-drain-even-if-failed"}},
		{ActionDrain, AckImmediately, "Platform", Scheduled, want{AckImmediately, "policy: immediately"}},
		{ActionDrain, AckNever, "Platform", Scheduled, want{AckNever, "policy: never"}},
		{ActionDrain, "", "Platform", Scheduled, want{AckNever, "policy: never"}},
		{ActionDrain, AckUserInitiated, "Platform", Scheduled, want{AckNever, "policy: user-initiated, and nobody asked for this event"}},
		{ActionDrain, AckUserInitiated, "", Scheduled, want{AckNever, "policy: user-initiated, and nobody asked for this event"}},
		{ActionDrain, AckUserInitiated, "User", Scheduled, want{AckAfterDrain, "user-initiated: after-drain"}},
		{ActionDrain, AckUserInitiated, "user", Scheduled, want{AckAfterDrain, "user-initiated: after-drain"}},
		{ActionIgnore, AckUserInitiated, "User", Scheduled, want{AckImmediately, "user-initiated: immediately"}},
		{ActionCordon, AckUserInitiated, "User", Scheduled, want{AckImmediately, "user-initiated: immediately"}},
		{ActionIgnore, AckImmediately, "Platform", Scheduled, want{AckImmediately, "policy: immediately"}},
		{ActionIgnore, AckAfterDrain, "Platform", Scheduled, want{AckNever, "policy: after-drain, and action ignore drains nothing"}},
		{ActionCordon, AckAfterDrainEvenIfFailed, "Platform", Scheduled, want{AckNever, "policy: after-drain-even-if-failed, and action cordon drains nothing"}},
		{ActionDrain, AckAfterDrain, "Platform", Started, want{AckNever, "already started: nothing is left to release"}},
		{ActionDrain, AckImmediately, "Platform", Started, want{AckNever, "already started: nothing is left to release"}},
		{ActionDrain, AckUserInitiated, "User", Started, want{AckNever, "already started: nothing is left to release"}},
		{ActionDrain, AckNever, "Platform", Started, want{AckNever, "policy: never"}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s/%s/%s/%s", test.action, test.ack, test.source, test.status), func(t *testing.T) {
			event := mine(Reboot)
			event.Source, event.Status = test.source, test.status
			d := Policy{Rules: map[string]Rule{Reboot: {Action: test.action, Ack: test.ack}}}.Decide(event, self)
			require.Equal(t, test.want, want{d.Ack, d.AckReason})
			require.Equal(t, test.want.ack != AckNever, d.AckAllowed)
			require.Equal(t, test.action, d.Action)
		})
	}
}

// TestSharedAck: an ack releases every VM that the event names.
func TestSharedAck(t *testing.T) {
	tests := []struct {
		shared    SharedAck
		resources []string
		allowed   bool
		reason    string
	}{
		{SharedAckNever, []string{"web_7"}, true, "policy: after-drain"},
		{SharedAckNever, []string{"web_7", "WEB_7"}, true, "policy: after-drain"},
		{SharedAckNever, []string{"web_7", "web_1"}, false, "an ack would also release another VM (shared_ack: never)"},
		{"", []string{"web_7", "web_1", "web_2", "Web_1"}, false, "an ack would also release 2 other VMs (shared_ack: never)"},
		{SharedAckFirst, []string{"web_7"}, true, "policy: after-drain"},
		{SharedAckFirst, []string{"Web_7", "web_1"}, true, "policy: after-drain, shared_ack: first"},
		{SharedAckFirst, []string{"web_1", "web_7"}, false, "shared with another VM: web_1 acks, which is listed first (shared_ack: first)"},
		{SharedAckAlways, []string{"web_1", "web_7"}, true, "policy: after-drain, shared_ack: always"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %v", test.shared, test.resources), func(t *testing.T) {
			p := policy
			p.SharedAck = test.shared
			event := mine(Redeploy)
			event.Resources = test.resources
			d := p.Decide(event, self)
			require.Equal(t, ActionDrain, d.Action, "who may ack has nothing to do with who drains")
			require.Equal(t, test.allowed, d.AckAllowed)
			require.Equal(t, test.allowed, d.Ack == AckAfterDrain)
			require.Equal(t, test.reason, d.AckReason)
		})
	}
}

// TestMinDuration: a short pause may be cheaper than a drain.
func TestMinDuration(t *testing.T) {
	tests := map[string]struct {
		min      time.Duration
		duration *int
		want     Action
	}{
		"shorter":                {10 * time.Second, new(9), ActionIgnore},
		"as long":                {10 * time.Second, new(10), ActionDrain},
		"longer":                 {10 * time.Second, new(30), ActionDrain},
		"no interruption":        {10 * time.Second, new(0), ActionIgnore},
		"unknown":                {10 * time.Second, new(-1), ActionDrain},
		"under an old version":   {10 * time.Second, nil, ActionDrain},
		"longer than a Duration": {10 * time.Second, new(1 << 40), ActionDrain},
		"no min_duration":        {0, new(0), ActionDrain},
		"part of a second":       {1500 * time.Millisecond, new(1), ActionIgnore},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			event := mine(Freeze)
			event.DurationSeconds = test.duration
			p := Policy{Rules: map[string]Rule{Freeze: {Action: ActionDrain, Ack: AckAfterDrain, MinDuration: test.min}}}
			d := p.Decide(event, self)
			require.Equal(t, test.want, d.Action)
			require.Equal(t, test.want == ActionDrain, d.AckAllowed, "what is ignored is not acked after a drain")
		})
	}
	p := Policy{Rules: map[string]Rule{Freeze: {Action: ActionDrain, MinDuration: 10 * time.Second}}}
	event := mine(Freeze)
	event.DurationSeconds = new(5)
	require.Equal(t, "expected to take 5 s, less than min_duration 10s", p.Decide(event, self).Reason)
}

// TestLeadTime: a failure predicted for next week drains nothing today.
func TestLeadTime(t *testing.T) {
	rule := Rule{Action: ActionDrain, Ack: AckAfterDrain, LeadTime: 30 * time.Minute}
	p := Policy{Rules: map[string]Rule{Redeploy: rule}}
	event := mine(Redeploy)
	require.Equal(t, notBefore.Add(-30*time.Minute), p.Decide(event, self).ActAt)

	event.Status = Started
	require.Zero(t, p.Decide(event, self).ActAt, "started: now, whatever NotBefore says")
	event.NotBefore = time.Time{}
	require.Zero(t, p.Decide(event, self).ActAt, "started without NotBefore: now, without notice")
	event.Status = Scheduled
	require.Zero(t, p.Decide(event, self).ActAt, "no NotBefore: now, since it may start any moment")

	rule.LeadTime = 0
	p.Rules[Redeploy] = rule
	require.Zero(t, p.Decide(mine(Redeploy), self).ActAt, "no lead_time: as soon as it is seen")
}

// TestEveryEventIsDecided: a document is a list, of which no event hides
// another.
func TestEveryEventIsDecided(t *testing.T) {
	doc := Document{Events: []Event{mine(Freeze), mine("New"), mine(Reboot), mine(Preempt)}}
	doc.Events[2].Resources = []string{"web_1"}
	var actions []Action
	for _, event := range doc.Events {
		actions = append(actions, policy.Decide(event, self).Action)
	}
	require.Equal(t, []Action{ActionIgnore, "", "", ActionDrain}, actions)
}
