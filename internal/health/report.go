package health

import (
	"slices"
	"time"
)

// State is the verdict over all checks that gate an endpoint.
type State string

// The verdicts. The package doc draws how they follow each other.
const (
	Starting  State = "starting" // not known yet, or start grace is running
	Healthy   State = "healthy"
	Unhealthy State = "unhealthy"
)

// Report is an immutable snapshot of all that is known.
type Report struct {
	At time.Time // when the snapshot was taken

	State State     // of the checks that gate /healthz
	Since time.Time // when State began

	ReadyState  State // of the checks that gate /readyz
	Draining    bool  // or cordoned
	Maintenance bool
	// Returning names the checks that the way back to service waits for: those
	// that gate something and have not passed since the node was out of service.
	// Empty when the node is not on its way back.
	Returning []string

	// Checks are in dependency order: a check comes after what it depends on.
	Checks []CheckReport
	// Roots names the failing checks, of any severity: what else does not
	// pass is blocked by these, or has no result yet.
	Roots []string
}

// Ready reports whether /readyz answers 200.
func (r *Report) Ready() bool {
	return r.ReadyState == Healthy && !r.Draining && !r.Maintenance
}

// RootsOf names the failing checks that keep the endpoints in g from saying
// healthy: critical checks that gate one of them, and whatever blocks such a
// check, which may itself be a warning or gate nothing. In dependency order.
func (r *Report) RootsOf(g Gates) []string {
	to := make(map[string]bool)
	for _, c := range r.Checks {
		decides := g.Health && gates(c.Severity, c.Gates, gateHealth) || g.Ready && gates(c.Severity, c.Gates, gateReady)
		if !decides {
			continue
		}
		if c.Status == Failing {
			to[c.Name] = true
		}
		for _, name := range c.BlockedBy {
			to[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(r.Roots), func(name string) bool { return !to[name] })
}

// CheckReport is one check in a Report.
type CheckReport struct {
	Name      string
	Kind      string
	Severity  Severity
	Gates     Gates
	Status    Status
	Since     time.Time     // when Status began
	Error     string        // of the newest failure; only while failing
	BlockedBy []string      // the failing checks that block this one; only while blocked
	LastRun   time.Time     // start of the newest run; zero before the first
	Latency   time.Duration // of the newest run
}

// Explanation says why a check is what it is.
type Explanation struct {
	Check CheckReport

	// The settings in force.
	Interval, Timeout    time.Duration
	FailAfter, PassAfter int
	DependsOn            []string

	// Blocks names every check that cannot run because of this one, now.
	Blocks []string
	// Consecutive counts the newest results that agree.
	Consecutive int
	// NextRun is when the check runs next; zero while it is running or
	// waits for a dependency.
	NextRun time.Time
	// Running says that the probe is at work right now.
	Running bool
	// Results are the last 10, newest first.
	Results []Result
}
