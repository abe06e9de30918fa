package drain

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the runner's and its journal's.
type metrics struct {
	drains       *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	stepDuration *prometheus.HistogramVec
}

// The values that labels take. What is none of these is "other".
var (
	causeLabels  = []CauseKind{ScheduledEvent, Shutdown, Operator}
	resultLabels = []Result{ResultSucceeded, ResultFailed, ResultCancelled}
	statusLabels = []StepStatus{StepDone, StepFailed, StepTimedOut, StepCancelled}
	kindLabels   = []string{"target", "unit", "hook", "exec", "connections", "webhook", "sleep", "other"}
)

func newMetrics(reg prometheus.Registerer, r *Runner) (*metrics, error) {
	buckets := []float64{1, 5, 15, 60, 300}
	m := &metrics{
		drains: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_drains_total",
			Help: "Drains that have ended, by the kind of cause that began them and by result.",
		}, []string{"cause", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_agent_drain_duration_seconds",
			Help:    "Time from the intent to drain to the end of the plan, by result.",
			Buckets: buckets,
		}, []string{"result"}),
		stepDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_agent_drain_step_duration_seconds",
			Help:    "Time that drain steps took, by kind of step and by result.",
			Buckets: buckets,
		}, []string{"kind", "result"}),
	}
	for _, result := range resultLabels {
		m.duration.WithLabelValues(string(result))
		for _, cause := range causeLabels {
			m.drains.WithLabelValues(string(cause), string(result))
		}
	}
	for _, kind := range kindLabels {
		for _, status := range statusLabels {
			m.stepDuration.WithLabelValues(kind, string(status))
		}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.drains, m.duration, m.stepDuration,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_agent_drain_in_progress",
			Help: "Whether a drain or an undrain is under way.",
		}, func() float64 {
			if r.Status().underWay() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_agent_drain_deadline_timestamp_seconds",
			Help: "When the drain under way has to have ended, in seconds since the epoch; 0 when there is no drain or no deadline.",
		}, func() float64 {
			if s := r.Status(); s.underWay() && !s.Deadline.IsZero() {
				return float64(s.Deadline.UnixMilli()) / 1000
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleet_agent_journal_degraded",
			Help: "Whether the journal is behind on disk, which a crash of the machine would show.",
		}, func() float64 {
			if r.cfg.Journal.Degraded() != nil {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "fleet_agent_journal_errors_total",
			Help: "Attempts to read or write the journal that failed.",
		}, func() float64 { return float64(r.cfg.Journal.failed()) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s Status) underWay() bool {
	return s.Phase == PhaseSettling || s.Phase == PhaseRunning || s.Phase == PhaseUndraining
}

func (m *metrics) drainEnded(cause CauseKind, result Result, took time.Duration) {
	m.drains.WithLabelValues(string(cause), string(result)).Inc()
	m.duration.WithLabelValues(string(result)).Observe(took.Seconds())
}

func (m *metrics) stepEnded(kind string, status StepStatus, took time.Duration) {
	if !slices.Contains(kindLabels, kind) {
		kind = "other"
	}
	m.stepDuration.WithLabelValues(kind, string(status)).Observe(took.Seconds())
}
