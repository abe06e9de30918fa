package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// How many ran the version at once is counted from the times that each did.
func TestMost(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 5, 14, minute, 0, 0, time.UTC) }
	v := rollout.View{At: at(50), Ran: []rollout.Ran{
		{Member: "a", From: at(0), To: at(10)},
		{Member: "b", From: at(10), To: at(30)}, // as a goes
		{Member: "c", From: at(20), To: at(40)},
		{Member: "d", From: at(25)},
		{Member: "e", From: at(50)},
	}}
	r := &report{v: &v}
	for name, c := range map[string]struct{ from, to, want int }{
		"one goes as one comes":      {0, 20, 1},
		"three at once":              {0, 50, 3},
		"those from before, too":     {26, 27, 3},
		"who left before is not":     {30, 40, 2},
		"who still runs it":          {45, 50, 1},
		"what begins at the end not": {41, 50, 1},
		"none":                       {0, 0, 0},
	} {
		require.Equal(t, c.want, r.most(at(c.from), at(c.to)), name)
	}
}

// The reaction is counted from when the member that failed first was not well.
func TestReaction(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 5, 14, minute, 0, 0, time.UTC) }
	events := []rollout.Event{
		{At: at(1), Kind: rollout.Touched, Set: "s", Member: "a"},
		{At: at(2), Kind: rollout.Touched, Set: "s", Member: "b"},
		{At: at(5), Kind: rollout.Ill, Set: "s", Member: "a"},
		{At: at(9), Kind: rollout.Ill, Set: "s", Member: "b"},
		{At: at(12), Kind: rollout.Failing, Set: "s", Member: "a"},
		{At: at(13), Kind: rollout.PhaseTo, Phase: rollout.Halting, Class: rollout.Bad},
	}
	d, ok := (&report{events: events}).reaction()
	require.True(t, ok)
	require.Equal(t, 8*time.Minute, d)

	events[len(events)-1].Class = rollout.ByOperator
	_, ok = (&report{events: events}).reaction()
	require.False(t, ok, "an operator halted it")
	_, ok = (&report{events: events[:4]}).reaction()
	require.False(t, ok, "nothing did")
}
