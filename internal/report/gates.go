package report

import (
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

var verdicts = looks{
	{string(rollout.Pass), look{good, "✓", "pass"}},
	{string(rollout.Fail), look{bad, "✗", "fail"}},
	{string(rollout.NoData), look{warning, "∅", "no data"}},
	{string(rollout.Unknown), look{warning, "?", "unknown"}},
	{string(rollout.Waiting), look{quiet, "…", "nothing to say yet"}},
}

// gates shows each gate with its evidence.
func (r *report) gates() {
	if len(r.v.Gates) == 0 {
		r.html("<p>Nothing was asked.</p>\n")
		return
	}
	answers := r.answers()
	heads := []markup{"Gate", "Verdict", "Asked last", "Evidence"}
	if len(answers) > 0 {
		heads = append(heads, "Answers")
	}
	t := r.table("What had to be so for the rollout to go on", heads...)
	for i := range r.v.Gates[:min(len(r.v.Gates), maxNotes)] {
		g := &r.v.Gates[i]
		class := markup("")
		if g.Verdict == rollout.Fail {
			class = bad
		}
		t.row(class)
		t.cell().text(g.Name)
		t.cell()
		r.looked(verdicts, string(g.Verdict))
		t.cell().time(g.Asked)
		t.cell().text(g.Why)
		if len(answers) > 0 {
			t.cell()
			r.tally(answers[g.Name])
		}
	}
	t.end()
	r.rest(maxNotes, len(r.v.Gates), "gates")
}

// answers counts the answers of each gate, by verdict. A question without an answer is
// unknown.
func (r *report) answers() map[string]map[string]int {
	by := make(map[string]map[string]int)
	for i := range r.events {
		e := &r.events[i]
		if e.Kind != rollout.Ended || e.Action.Do != rollout.QueryGate {
			continue
		}
		if by[e.Action.Name] == nil {
			by[e.Action.Name] = make(map[string]int)
		}
		verdict := e.Result.Answer
		if _, known := verdicts.find(verdict); !known || e.Result.Outcome != rollout.Done {
			verdict = string(rollout.Unknown)
		}
		by[e.Action.Name][verdict]++
	}
	return by
}

func (r *report) tally(n map[string]int) {
	first := true
	for i := range verdicts {
		v := &verdicts[i]
		if n[v.of] == 0 {
			continue
		}
		if !first {
			r.html(", ")
		}
		first = false
		r.number(n[v.of])
		r.html(" × ", v.words)
	}
}
