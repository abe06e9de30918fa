package health

import "time"

// places says how many more runs there may be in flight. The package doc has
// the rules, docs/adr/0012-probes-at-once.md the reasons.
type places struct {
	beginning int       // runs that are younger than that
	begun     time.Time // when the oldest of these is no longer

	all, processes bound
}

// bound is a number of places, of which checks that hang may have half.
type bound struct{ limit, used, hung int }

func (b *bound) open(hung bool) bool {
	return b.used < b.limit && (!hung || b.hung < max(1, b.limit/2))
}

func (b *bound) take(hung bool) {
	b.used++
	if hung {
		b.hung++
	}
}

// places counts the runs in flight. The caller holds m.mu.
func (m *Monitor) places(now time.Time) *places {
	p := &places{all: bound{limit: m.maxConcurrent}, processes: bound{limit: maxProcesses}}
	for r := range m.inFlight {
		if !r.byHand {
			p.take(r, now)
		}
	}
	return p
}

// open reports whether t may be started.
func (p *places) open(t *task) bool {
	return p.beginning < maxBeginning && p.all.open(t.hung) && (!t.check.Process || p.processes.open(t.hung))
}

// take counts a run. One that has ignored its time limit has no place any more:
// it may last for ever, and others would never be run again.
func (p *places) take(r *run, now time.Time) {
	if !now.Before(r.expires) {
		return
	}
	p.all.take(r.hung)
	if r.process {
		p.processes.take(r.hung)
	}
	if old := r.started.Add(beginning); now.Before(old) {
		if p.beginning == 0 || old.Before(p.begun) {
			p.begun = old
		}
		p.beginning++
	}
}
