package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestJudge is the control of the soak: every kind of wrong answer is found.
func TestJudge(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	// Published at 100 s, acked at 103 s, gone at 104 s; and one that is there.
	past := happening{id: "A", published: at(100), acked: at(103), gone: at(104)}
	stands := happening{id: "B", published: at(200)}
	for name, c := range map[string]struct {
		path string
		at   float64
		code int
		err  string
		want string
	}{
		"healthy":                     {healthz, 50, 200, "", ""},
		"healthy in a drain":          {healthz, 103.5, 200, "", ""},
		"unhealthy":                   {healthz, 50, 202, "", "202 although all checks pass"},
		"starting":                    {verbose, 50, 503, "", "503 although all checks pass"},
		"dead":                        {livez, 50, 503, "", "503 although all checks pass"},
		"no answer":                   {healthz, 50, 0, "connection refused", "no answer: connection refused"},
		"ready":                       {readyz, 50, 200, "", ""},
		"not seen yet":                {readyz, 101, 200, "", ""},
		"seen at once":                {readyz, 101, 503, "", ""},
		"ready after the ack":         {readyz, 103.5, 200, "", "ready in spite of A, which is acked"},
		"ready too long":              {readyz, 205, 200, "", "ready in spite of B"},
		"unready for long":            {readyz, 300, 503, "", ""},
		"on the way back":             {readyz, 110, 503, "", ""},
		"back at once":                {readyz, 104.5, 200, "", ""},
		"not back":                    {readyz, 115, 503, "", "not ready, and nothing says why"},
		"not ready without any event": {readyz, 50, 503, "", "not ready, and nothing says why"},
		"no code of this path":        {readyz, 50, 404, "", "404, which is no answer of /readyz"},
	} {
		t.Run(name, func(t *testing.T) {
			p := probe{path: c.path, begun: at(c.at), ended: at(c.at + 0.01), code: c.code, err: c.err}
			require.Equal(t, c.want, judge(p, []happening{past, stands}))
		})
	}
	require.Empty(t, past.judgeAck(1))
	require.Equal(t, "event A was acked 2 times", past.judgeAck(2))
	require.Equal(t, "event B was not acked within 15s", stands.judgeAck(0))
}

// TestCases: both kinds of event are there, and times of quiet.
func TestCases(t *testing.T) {
	own, most, quiet := 0, 0, 0
	for i := range 450 {
		if spec, drains := eventOf(i); drains {
			own, quiet = own+1, 0
			require.Equal(t, []string{self}, spec.Resources)
			continue
		}
		quiet++
		most = max(most, quiet)
	}
	require.Greater(t, own, 50)
	require.GreaterOrEqual(t, time.Duration(most)*eventEvery, ackWithin+backWithin, "else the way back is never judged")
}
