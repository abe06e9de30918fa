package health

import (
	"slices"
	"time"
)

// A tracker turns single results into a status, with hysteresis both ways.
// The zero tracker has seen nothing.
type tracker struct {
	status Status // "" until the first result
	passed bool   // the newest result
	streak int    // how many of the newest results agree with it
}

// add takes in a result. The first one decides at once: waiting for more
// would leave the check unknown for whole intervals.
func (t *tracker) add(passed bool, failAfter, passAfter int) {
	if t.streak > 0 && t.passed == passed {
		t.streak++
	} else {
		t.passed, t.streak = passed, 1
	}
	switch {
	case passed && (t.status == "" || t.streak >= passAfter):
		t.status = Passing
	case !passed && (t.status == "" || t.streak >= failAfter):
		t.status = Failing
	}
}

// current is the status that the results alone give.
func (t *tracker) current() Status {
	if t.status == "" {
		return Unknown
	}
	return t.status
}

// gate is one of the two endpoints that checks gate.
type gate int

const (
	gateHealth gate = iota
	gateReady
	gateCount
)

func (g gate) String() string {
	if g == gateHealth {
		return "health"
	}
	return "ready"
}

// A tally is what the gating checks of one endpoint amount to.
type tally struct {
	undecided bool // a check has no result that counts, nor is blocked
	bad       bool // a check that has been decided does not pass
}

// next is the whole state machine of a verdict; the package doc draws it. held
// says that a healthy verdict is held.
func (v State) next(t tally, inGrace, held bool) State {
	switch {
	case held && v == Healthy:
		return Healthy
	case !t.undecided && !t.bad:
		return Healthy
	case v == Starting && (t.undecided || inGrace):
		return Starting
	case t.bad:
		return Unhealthy
	default:
		return v // a reload brought a check without a result: the verdict is kept
	}
}

// settle derives every task's status from the results and from the
// dependencies, in one pass in dependency order. It returns whether anything
// changed that a reader of the report would see. The caller holds m.mu.
func (m *Monitor) settle(now time.Time) bool {
	changed := false
	for _, t := range m.tasks {
		var blockedBy []string
		free := true
		for _, dep := range t.deps {
			switch dep.status {
			case Passing:
			case Failing:
				free = false
				blockedBy = appendNew(blockedBy, dep.check.Name)
			case Blocked:
				free = false
				for _, root := range dep.blockedBy {
					blockedBy = appendNew(blockedBy, root)
				}
			default:
				free = false
			}
		}
		if len(blockedBy) > 0 && t.status != Blocked {
			// What was known before the block says nothing about afterwards.
			t.tracker = tracker{}
			t.epoch++
		}
		if free && !t.free {
			m.schedule(t, now)
		}
		t.free = free
		if m.setStatus(t, blockedBy, now) {
			changed = true
		}
	}
	return changed
}

// setStatus stores a task's status as its results and its blockers give it. It
// reports whether a reader of the report would see a difference.
func (m *Monitor) setStatus(t *task, blockedBy []string, now time.Time) bool {
	status := t.tracker.current()
	if len(blockedBy) > 0 {
		status = Blocked
	}
	failure := ""
	if status == Failing {
		failure = t.lastFailure
	}
	changed := status != t.status || failure != t.failure || !slices.Equal(blockedBy, t.blockedBy)
	t.failure, t.blockedBy = failure, blockedBy
	if status != Unknown {
		t.decided = true
	}
	if status != t.status {
		m.noteStatus(t, status)
		t.status, t.since = status, now
		t.transitions[slices.Index(statuses[:], status)]++
	}
	return changed
}

// starting reports whether a verdict can change without a result.
func (m *Monitor) starting() bool {
	return m.verdicts[gateHealth].state == Starting || m.verdicts[gateReady].state == Starting || m.hold && !m.draining
}

// sum adds up the checks that gate an endpoint. For /readyz, a pass from before
// the node was last out of service is none.
func (m *Monitor) sum(g gate) tally {
	var sum tally
	for _, t := range m.tasks {
		switch {
		case !gates(t.check.Severity, t.check.Gates, g):
		case !t.decided:
			sum.undecided = true
		case t.status != Passing:
			sum.bad = true
		case g == gateReady && t.passedIn != m.returns:
			sum.undecided = true
		}
	}
	return sum
}

// judge brings both verdicts up to date. It reports whether one changed. The
// caller holds m.mu.
func (m *Monitor) judge(now time.Time) bool {
	if m.started.IsZero() {
		return false // not before Run: nothing is being measured
	}
	inGrace := now.Before(m.graceFrom.Add(m.grace))
	changed := false
	for g := range gateCount {
		sum := m.sum(g)
		if g == gateHealth && m.hold && !m.draining && !sum.undecided && (!sum.bad || !inGrace) {
			m.hold, changed = false, true // the way back is over
		}
		v := &m.verdicts[g]
		if state := v.state.next(sum, inGrace, m.hold && g == gateHealth); state != v.state {
			m.noteVerdict(g, v.state, state)
			v.state, v.since = state, now
			changed = true
		}
	}
	return changed
}

// appendNew appends a name unless it is there.
func appendNew(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
