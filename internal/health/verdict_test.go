package health

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestTrackerHysteresis(t *testing.T) {
	tests := map[string]struct {
		failAfter, passAfter int
		results              string // + and -
		want                 string // status after each: p or f
	}{
		"first pass decides at once":       {3, 3, "+", "p"},
		"first failure decides at once":    {3, 3, "-", "f"},
		"fails after two in a row":         {2, 1, "+--", "ppf"},
		"a pass between starts over":       {2, 1, "+-+-+--", "ppppppf"},
		"passes after three in a row":      {1, 3, "-+++", "fffp"},
		"a failure between starts over":    {1, 3, "-++-+++", "ffffffp"},
		"both ways":                        {2, 2, "+--++--", "ppffppf"},
		"one is enough":                    {1, 1, "+-+-", "pfpf"},
		"the first failure counts to none": {2, 2, "-+-+-", "fffff"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var tr tracker
			require.Equal(t, Unknown, tr.current())
			var got strings.Builder
			for _, r := range test.results {
				tr.add(r == '+', test.failAfter, test.passAfter)
				got.WriteString(string(tr.current()[:1]))
			}
			require.Equal(t, test.want, got.String())
		})
	}
}

// TestVerdictNext is the drawing in the package doc, every edge of it.
func TestVerdictNext(t *testing.T) {
	const undecided, bad, grace = 1, 2, 4
	tests := map[State][8]State{ // indexed by the sum of what holds
		//         none     undecided  bad        both       grace    g+und     g+bad      all
		Starting:  {Healthy, Starting, Unhealthy, Starting, Healthy, Starting, Starting, Starting},
		Healthy:   {Healthy, Healthy, Unhealthy, Unhealthy, Healthy, Healthy, Unhealthy, Unhealthy},
		Unhealthy: {Healthy, Unhealthy, Unhealthy, Unhealthy, Healthy, Unhealthy, Unhealthy, Unhealthy},
	}
	for from, row := range tests {
		for what, want := range row {
			sum := tally{undecided: what&undecided != 0, bad: what&bad != 0}
			require.Equal(t, want, from.next(sum, what&grace != 0, false), "%s with %+v, grace %t", from, sum, what&grace != 0)
			if from == Healthy {
				want = Healthy // held in a drain; the other two are not
			}
			require.Equal(t, want, from.next(sum, what&grace != 0, true), "held: %s with %+v, grace %t", from, sum, what&grace != 0)
		}
	}
}

func TestErrorLine(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"plain":           {"dial tcp 127.0.0.1:1: refused", "dial tcp 127.0.0.1:1: refused"},
		"several lines":   {"one\ntwo\r\n\tthree\n", "one two three"},
		"nothing":         {" \n", "failed without a reason"},
		"escape sequence": {"\x1b[31mred", "?[31mred"},
		"not utf-8":       {"a\xffb", "a?b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, errorLine(errors.New(test.in)))
		})
	}
	for _, flood := range []string{strings.Repeat("x", 1<<20), strings.Repeat("é", 1<<20), strings.Repeat("x\n", 1<<20)} {
		line := errorLine(errors.New(flood))
		require.LessOrEqual(t, len(line), maxErrorBytes)
		require.Greater(t, len(line), maxErrorBytes-4)
		require.True(t, strings.HasSuffix(line, "…"))
		require.True(t, utf8.ValidString(line))
	}
}

func TestNewRefuses(t *testing.T) {
	g := &target{}
	bad := check("bad", g)
	bad.Name, bad.Probe, bad.Interval, bad.Timeout, bad.FailAfter, bad.PassAfter, bad.Severity = "a b", nil, 0, 0, 0, 0, "fatal"
	tests := map[string]struct {
		cfg  Config
		want []string
	}{
		"settings":       {Config{Checks: []Check{bad}}, []string{"name", "probe", "interval", "timeout", "fail_after", "pass_after", "severity"}},
		"duplicate":      {Config{Checks: []Check{check("a", g), check("a", g)}}, []string{`"a" is given twice`}},
		"unknown":        {Config{Checks: []Check{check("dns", g), check("a", g, "dsn")}}, []string{`"dsn"`, `did you mean "dns"`}},
		"cycle":          {Config{Checks: []Check{check("a", g, "b"), check("b", g, "a")}}, []string{"a -> b -> a"}},
		"grace":          {Config{StartGrace: -1}, []string{"start_grace"}},
		"concurrency":    {Config{MaxConcurrent: -1}, []string{"max_concurrent"}},
		"phase":          {Config{CustomMetrics: CustomMetrics{Phase: -1}}, []string{"phase -1"}},
		"skip":           {Config{CustomMetrics: CustomMetrics{SkipUpgrade: "yes"}}, []string{`skip_upgrade "yes"`}},
		"all at once":    {Config{StartGrace: -1, Checks: []Check{bad, check("a", g, "a")}}, []string{"probe", "a -> a", "start_grace"}},
		"negative times": {Config{Checks: []Check{{Name: "x", Probe: g.probe, Interval: -1, Timeout: -1, FailAfter: 1, PassAfter: 1}}}, []string{"interval", "timeout"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(test.cfg)
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}
