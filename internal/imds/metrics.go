package imds

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the numbers of a Client. Every series exists from the start.
type metrics struct {
	requests    *prometheus.CounterVec
	duration    prometheus.Histogram
	lastSuccess prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_imds_requests_total",
			Help: "Requests to the instance metadata service, by operation and by the class of the answer.",
		}, []string{"operation", "result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fleet_agent_imds_request_duration_seconds",
			Help:    "Time from the start of a request to the instance metadata service to its whole answer or its failure.",
			Buckets: []float64{0.01, 0.05, 0.25, 1, 5, 30, 150},
		}),
		lastSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_imds_last_success_timestamp_seconds",
			Help: "Unix time of the last good answer from the instance metadata service; 0 before the first.",
		}),
	}
	for _, op := range operations {
		for _, class := range Classes() {
			m.requests.WithLabelValues(string(op), string(class))
		}
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.lastSuccess} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// observe records one request; elapsed is 0 for one that was never sent.
func (m *metrics) observe(op operation, err error, elapsed time.Duration) {
	m.requests.WithLabelValues(string(op), string(Classify(err))).Inc()
	if elapsed > 0 {
		m.duration.Observe(elapsed.Seconds())
	}
	if err == nil {
		m.lastSuccess.SetToCurrentTime()
	}
}
