package rollout

import (
	"fmt"
	"strings"
	"time"
)

// gates shows what the rollout asks before it goes on: of its members, of people and of
// Prometheus.
func (l *looker) gates() []GateView {
	list := []GateView{l.healthy(), l.vanished()}
	if l.plan.Window {
		list = append(list, l.window())
	}
	for i := range l.plan.Waves {
		if l.plan.Waves[i].Approve {
			list = append(list, l.approval())
			break
		}
	}
	for i := range l.plan.Gates {
		list = append(list, l.prometheus(&l.plan.Gates[i]))
	}
	return list
}

// healthy is what becomes of the members on the version.
func (l *looker) healthy() GateView {
	v := GateView{Name: "healthy", Asked: l.observed(), Verdict: Waiting}
	on, verified, failed, ill := 0, 0, 0, 0
	for _, r := range l.s.Runs {
		switch {
		case r.Failed != "":
			failed++
		case !r.Runs[len(r.Runs)-1].To.IsZero():
			continue
		case r.serves():
			verified++
		case !r.Ill.IsZero():
			ill++
		}
		on++
	}
	limits := &l.plan.Limits
	v.Why = "nobody runs " + l.plan.Version
	if on > 0 {
		v.Why = fmt.Sprintf("%d of %d verified", verified, on)
	}
	switch {
	case failed > 0:
		v.Verdict = Fail
		v.Why += fmt.Sprintf(", %d failed", failed)
	case on > 0 && verified == on:
		v.Verdict = Pass
	}
	if ill > 0 {
		v.Why += fmt.Sprintf(", %d not Healthy yet", ill)
	}
	v.Why += fmt.Sprintf("; Healthy within %s, for %s", short(limits.HealthyWithin), short(limits.HealthyFor))
	return v
}

// vanished is what became of members that ran the version and are not there.
func (l *looker) vanished() GateView {
	v := GateView{Name: "vanished", Asked: l.observed(), Verdict: Pass, Why: "nobody on the version left"}
	causes := make(map[string]int)
	gone := 0
	for key, r := range l.s.Runs {
		run := &r.Runs[len(r.Runs)-1]
		if run.To.IsZero() || l.back[key] != "" && strings.HasPrefix(run.Ended, ranBack) {
			continue
		}
		gone++
		causes[run.Ended]++
		if run.Ended == string(Repaired) {
			v.Verdict = Fail
		}
	}
	if gone == 0 {
		return v
	}
	var told []string
	for _, cause := range sorted(causes) {
		told = append(told, fmt.Sprintf("%d %s", causes[cause], orNotKnown(cause)))
	}
	v.Why = strings.Join(told, ", ")
	return v
}

func orNotKnown(cause string) string {
	if cause == "" {
		return "for a cause that is not known"
	}
	return cause
}

func (l *looker) window() GateView {
	v := GateView{Name: "window", Asked: l.observed(), Verdict: Unknown}
	switch {
	case !l.read:
		v.Why = "it is looked at when the rollout goes on"
	case l.m.obs.WindowOpen:
		v.Verdict, v.Why = Pass, "open"
	case l.m.obs.Opens.IsZero():
		v.Verdict, v.Why = Waiting, "closed, and it is not known when it opens"
	default:
		v.Verdict, v.Why = Waiting, "closed, opens "+l.m.obs.Opens.UTC().Format("Mon 2006-01-02 15:04")+" UTC"
	}
	return v
}

// approval is that of the first wave which still needs one.
func (l *looker) approval() GateView {
	v := GateView{Name: "approval", Verdict: Pass}
	for i := range l.plan.Waves {
		w, ws := &l.plan.Waves[i], &l.s.Waves[i]
		if !w.Approve {
			continue
		}
		if !ws.Approved {
			return GateView{Name: "approval", Verdict: Waiting, Why: "wave " + w.Name + " is not approved"}
		}
		v.Why = "wave " + w.Name + " was approved by " + by(l.by[w.Name])
	}
	return v
}

func by(name string) string {
	if name == "" {
		return "an operator"
	}
	return name
}

func (l *looker) prometheus(g *Gate) GateView {
	a := l.s.Gates[g.Name]
	v := GateView{Name: g.Name, Asked: a.At, Verdict: g.verdict(a), Why: a.Why}
	if a.Text == "" {
		v.Asked, v.Verdict, v.Why = time.Time{}, Waiting, "not asked yet: it is asked before the first batch, and while members run the version"
	}
	return v
}

// short is a duration without the units that are zero.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
