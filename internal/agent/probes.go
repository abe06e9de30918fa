package agent

import (
	"fmt"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/health"
)

// unprobed is how long it may be quiet. The slowest of those that probe, the
// extension with its longest interval, asks once a minute.
const unprobed = 3 * time.Minute

// probesStatus says who asks for the node's health.
func (a *Agent) probesStatus() control.Probes {
	r := a.answers.Requests()
	p := control.Probes{Last: timeOrNil(lastProbe(r)), Paths: []control.ProbePath{}, NotFound: r.NotFound}
	for _, one := range r.Paths {
		p.Paths = append(p.Paths, control.ProbePath{Path: one.Path, Requests: one.Total, Last: timeOrNil(one.Last)})
	}
	return p
}

// lastProbe is when somebody last asked for what Azure goes by: /livez says
// nothing of the node.
func lastProbe(r health.Requests) time.Time {
	var last time.Time
	for _, one := range r.Paths {
		if (one.Path == "/healthz" || one.Path == "/readyz") && one.Last.After(last) {
			last = one.Last
		}
	}
	return last
}

// probeWarnings says that nobody probes the node, and that somebody probes what
// does not exist. It forgets the latter when it has stopped.
func probeWarnings(r health.Requests, started, now time.Time) []string {
	var list []string
	last := lastProbe(r)
	quiet, since := now.Sub(last), "since "+last.UTC().Format(time.RFC3339)
	if last.IsZero() {
		quiet, since = now.Sub(started), "since the agent started"
	}
	if quiet >= unprobed {
		list = append(list, "nothing has asked for /healthz or /readyz "+since+", so neither the health extension nor a load balancer learns of this node; sudo fleet-agent doctor says why")
	}
	for _, one := range r.Paths {
		if one.Path == "other" && one.Total > 0 && now.Sub(one.Last) < unprobed {
			list = append(list, fmt.Sprintf("something asks for %q, which does not exist (requests of that kind: %d); the paths are /healthz, /readyz and /livez", r.NotFound, one.Total))
		}
	}
	return list
}
