package health

import "time"

// How the node leaves service and comes back. Ready is said only on evidence
// that was gathered after the last time that it was out of service.

// firstRetry is the shortest time after which a check is run again that fails on
// the way back.
const firstRetry = 100 * time.Millisecond

// retryAfter is that time: as long as the way back has taken, which waits for an
// application no longer than it took to start, and costs a few runs; until that is
// over the check's interval. An application is ready a moment after its unit is up.
// The caller holds m.mu.
func (m *Monitor) retryAfter(t *task, now time.Time) time.Duration {
	pause := max(firstRetry, now.Sub(m.backAt))
	if t.status != Failing || t.passedIn == m.returns {
		return t.check.Interval
	}
	return min(pause, t.check.Interval)
}

// SetDraining says whether the node is draining. When it returns, the answers
// say so. While it does, a healthy /healthz stays so: the drain stops what the
// checks look at, and a node that leaves in order is not to be repaired.
//
// The end of the drain is the moment from which evidence counts: every check
// forgets what it knows and is run at once. A /healthz that was held goes on to
// be, by the rule of starting: until every gating check has a result and, while
// StartGrace runs, which begins anew, until all of them pass. A node that was
// unhealthy when the drain began is not held.
func (m *Monitor) SetDraining(on bool) {
	m.mu.Lock()
	defer m.unlock()
	if m.draining == on {
		return
	}
	m.draining = on
	health := m.verdicts[gateHealth].state
	if on {
		m.hold = health != Unhealthy
	} else {
		now := time.Now()
		m.hold = m.hold && health == Healthy
		m.graceFrom = now
		for _, t := range m.tasks {
			t.tracker, t.decided = tracker{}, false
			t.epoch++
		}
		m.settle(now)
		m.back(now)
	}
	m.publish()
}

// SetCordoned says whether the node is to be unready and nothing else: no
// workload is stopped, and nothing is held. When it returns, the answers say so.
// When the cordon is lifted, /readyz waits until every check that gates it has
// passed once more; what is known of the checks is not forgotten, for they have
// looked at running workloads all along.
func (m *Monitor) SetCordoned(on bool) { m.setUnready(&m.cordoned, on) }

// SetMaintenance says whether the node is in maintenance. It is like a cordon
// otherwise.
func (m *Monitor) SetMaintenance(on bool) { m.setUnready(&m.maintenance, on) }

func (m *Monitor) setUnready(why *bool, on bool) {
	m.mu.Lock()
	defer m.unlock()
	if *why == on {
		return
	}
	*why = on
	if !on {
		m.back(time.Now())
	}
	m.publish()
}

// back begins the way back to service, with a run of every check. The caller
// holds m.mu and publishes.
func (m *Monitor) back(now time.Time) {
	m.returns++
	m.backAt = now
	m.verdicts[gateReady] = verdict{Starting, now}
	for _, t := range m.tasks {
		if t.check.Forget != nil {
			t.check.Forget(now)
		}
		if t.run != nil { // it may have looked before
			t.run.cut = true
			t.run.cancel()
		}
		m.schedule(t, now)
	}
	m.judge(now)
	m.wakeScheduler()
}

// Held reports whether /healthz says healthy whatever the checks find, because of
// a drain, and when the way back from it began; zero while the drain lasts.
func (m *Monitor) Held() (held bool, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held = m.hold && m.verdicts[gateHealth].state == Healthy
	if held && !m.draining {
		since = m.graceFrom
	}
	return held, since
}

// HoldHealthy says, before Run and with SetDraining, that the node was healthy
// when the drain began that the agent was restarted in.
func (m *Monitor) HoldHealthy() {
	m.mu.Lock()
	defer m.unlock()
	m.verdicts[gateHealth] = verdict{Healthy, time.Now()}
	m.publish()
}

// HoldReturning says, before Run, that the agent was restarted while a healthy
// /healthz was held on the way back from a drain, and from when on evidence
// counts.
func (m *Monitor) HoldReturning(since time.Time) {
	m.mu.Lock()
	defer m.unlock()
	m.verdicts[gateHealth] = verdict{Healthy, since}
	m.hold, m.graceFrom, m.backAt = true, since, since
	m.returns++
	for _, t := range m.tasks {
		if t.check.Forget != nil {
			t.check.Forget(since)
		}
	}
	m.publish()
}

// returning names the checks that the way back waits for. The caller holds m.mu.
func (m *Monitor) returning() []string {
	var names []string
	switch {
	case m.returns == 0, m.draining, m.cordoned, m.maintenance:
	case m.verdicts[gateReady].state == Starting, m.hold:
		for _, t := range m.tasks {
			gating := gates(t.check.Severity, t.check.Gates, gateHealth) || gates(t.check.Severity, t.check.Gates, gateReady)
			if gating && (t.status != Passing || t.passedIn != m.returns) {
				names = append(names, t.check.Name)
			}
		}
	}
	return names
}
