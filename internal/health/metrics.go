package health

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of a Monitor. The Monitor is a Collector rather than the owner of
// vectors, so that a check that a reload removed leaves no series behind.
var (
	descStatus = prometheus.NewDesc("fleet_agent_check_status",
		"Status of a check: 1 for the status that it has, 0 for the others.", []string{"check", "status"}, nil)
	descDuration = prometheus.NewDesc("fleet_agent_check_duration_seconds",
		"Time that runs of a check took.", []string{"check"}, nil)
	descRuns = prometheus.NewDesc("fleet_agent_check_runs_total",
		"Runs of a check by result.", []string{"check", "result"}, nil)
	descTransitions = prometheus.NewDesc("fleet_agent_check_transitions_total",
		"Changes of a check's status, by the status that it changed to.", []string{"check", "to"}, nil)
	descState = prometheus.NewDesc("fleet_agent_health_state",
		"Verdict that /healthz answers: 1 for the state that it has, 0 for the others.", []string{"state"}, nil)
	descReady = prometheus.NewDesc("fleet_agent_ready",
		"1 when /readyz answers 200.", nil, nil)
)

// checkSample is what the metrics say about one check.
type checkSample struct {
	name             string
	status           Status
	passes, failures uint64
	busy             time.Duration
	transitions      [len(statuses)]uint64
}

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStatus, descDuration, descRuns, descTransitions, descState, descReady} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	checks, state, ready := m.sample()
	gauge := func(d *prometheus.Desc, on bool, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, number(on), labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, c := range checks {
		for i, s := range statuses {
			gauge(descStatus, c.status == s, c.name, string(s))
			counter(descTransitions, c.transitions[i], c.name, string(s))
		}
		counter(descRuns, c.passes, c.name, "pass")
		counter(descRuns, c.failures, c.name, "fail")
		ch <- prometheus.MustNewConstSummary(descDuration, c.passes+c.failures, c.busy.Seconds(), nil, c.name)
	}
	for _, s := range []State{Starting, Healthy, Unhealthy} {
		gauge(descState, state == s, string(s))
	}
	gauge(descReady, ready)
}

// sample copies under the lock what Collect then sends at its reader's pace.
func (m *Monitor) sample() (checks []checkSample, state State, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	checks = make([]checkSample, len(m.tasks))
	for i, t := range m.tasks {
		checks[i] = checkSample{
			name: t.check.Name, status: t.status,
			passes: t.passes, failures: t.failures, busy: t.busy, transitions: t.transitions,
		}
	}
	r := m.report(time.Now())
	return checks, r.State, r.Ready()
}

func number(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
