package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// states is every State, in the order in which metrics and documents show them.
var states = [...]control.State{
	control.StateStarting, control.StateServing, control.StateDegraded, control.StateUnhealthy,
	control.StateMaintenance, control.StateDraining, control.StateDrained,
}

// metrics are the series about the agent as a whole; each package has its own.
type metrics struct {
	state      *prometheus.GaugeVec
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, version string, logDropped func() uint64) *metrics {
	m := &metrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleet_agent_state",
			Help: "What the node is doing: 1 for the current state, 0 for the others.",
		}, []string{"state"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_config_last_reload_successful",
			Help: "Whether the last load of the configuration was applied.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_config_last_reload_success_timestamp_seconds",
			Help: "When a configuration was last applied, in seconds since the epoch.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "fleet_agent_build_info",
		Help:        "Always 1; the label tells the version of the agent.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "fleet_agent_log_dropped_total",
		Help: "Log lines that were dropped because the log did not take them.",
	}, func() float64 { return float64(logDropped()) })
	reg.MustRegister(m.state, m.reloadOK, m.reloadTime, info, dropped,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.show(control.StateStarting)
	m.reloaded(true)
	return m
}

// show sets the state of the node.
func (m *metrics) show(current control.State) {
	for _, s := range states {
		value := 0.0
		if s == current {
			value = 1
		}
		m.state.WithLabelValues(string(s)).Set(value)
	}
}

func (m *metrics) reloaded(ok bool) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(time.Now().Unix()))
}
