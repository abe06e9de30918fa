package report

import (
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

var verdicts = map[rollout.Verdict]look{
	rollout.Pass:    {good, "✓", "pass"},
	rollout.Fail:    {bad, "✗", "fail"},
	rollout.NoData:  {warning, "∅", "no data"},
	rollout.Unknown: {warning, "?", "unknown"},
	rollout.Waiting: {quiet, "…", "nothing to say yet"},
}

// order is that of the verdicts in a line.
var order = []rollout.Verdict{rollout.Pass, rollout.Fail, rollout.NoData, rollout.Unknown}

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
		row := []func(){
			func() { r.text(g.Name) },
			func() {
				if l, ok := verdicts[g.Verdict]; ok {
					r.look(l)
				} else {
					r.text(string(g.Verdict))
				}
			},
			func() { r.time(g.Asked) },
			func() { r.text(g.Why) },
		}
		if len(answers) > 0 {
			row = append(row, func() { r.tally(answers[g.Name]) })
		}
		t.row(class, row...)
	}
	t.end()
	r.rest(maxNotes, len(r.v.Gates), "gates")
}

// answers counts the answers of each gate. A question without an answer is unknown.
func (r *report) answers() map[string]map[rollout.Verdict]int {
	by := make(map[string]map[rollout.Verdict]int)
	for i := range r.events {
		e := &r.events[i]
		if e.Kind != rollout.Ended || e.Action == nil || e.Result == nil || e.Action.Do != rollout.QueryGate {
			continue
		}
		if by[e.Action.Name] == nil {
			by[e.Action.Name] = make(map[rollout.Verdict]int)
		}
		verdict := rollout.Verdict(e.Result.Answer)
		if _, known := verdicts[verdict]; !known || e.Result.Outcome != rollout.Done {
			verdict = rollout.Unknown
		}
		by[e.Action.Name][verdict]++
	}
	return by
}

func (r *report) tally(n map[rollout.Verdict]int) {
	first := true
	for _, v := range order {
		if n[v] == 0 {
			continue
		}
		if !first {
			r.html(", ")
		}
		first = false
		r.number(n[v])
		r.html(" × ", verdicts[v].words)
	}
}
