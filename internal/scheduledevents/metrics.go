package scheduledevents

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// other labels types and statuses that Azure does not document, so that the set
// of series is bounded.
const other = "other"

// metrics are the numbers of a Poller. Every series exists from the start.
type metrics struct {
	polls       *prometheus.CounterVec
	acks        *prometheus.CounterVec
	events      *prometheus.GaugeVec
	blind       prometheus.Gauge
	lastSuccess prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_scheduled_events_polls_total",
			Help: "Polls of the scheduled events, by the class of the answer; invalid includes documents with a part missing.",
		}, []string{"result"}),
		acks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_acks_total",
			Help: "Requests that acknowledge a scheduled event, by the class of the answer.",
		}, []string{"result"}),
		events: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleet_agent_scheduled_events",
			Help: "Events in the last valid document, by type and status, for this VM and others.",
		}, []string{"type", "status"}),
		blind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_imds_blind",
			Help: "1 while events of this VM may be missed: no valid document, one that does not read, or the VM's name is not known.",
		}),
		lastSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_scheduled_events_last_success_timestamp_seconds",
			Help: "Unix time of the last valid document of scheduled events; 0 before the first.",
		}),
	}
	for _, class := range imds.Classes() {
		m.polls.WithLabelValues(string(class))
		m.acks.WithLabelValues(string(class))
	}
	m.setEvents(Document{})
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.polls, m.acks, m.events, m.blind, m.lastSuccess} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// setEvents counts the events of a document.
func (m *metrics) setEvents(doc Document) {
	type labels struct{ eventType, status string }
	counts := map[labels]int{}
	for _, event := range doc.Events {
		counts[labels{orOther(event.Type, knownTypes), orOther(event.Status, knownStatuses)}]++
	}
	for _, eventType := range append(slices.Clone(knownTypes), other) {
		for _, status := range append(slices.Clone(knownStatuses), other) {
			m.events.WithLabelValues(eventType, status).Set(float64(counts[labels{eventType, status}]))
		}
	}
}

func orOther(name string, known []string) string {
	if slices.Contains(known, name) {
		return name
	}
	return other
}
