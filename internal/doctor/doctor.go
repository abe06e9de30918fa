// Package doctor answers: what is wrong with this node's set-up, what will come of
// it, and what mends it?
//
// A node can run for months with a set-up that fails at the first eviction. Examine
// looks at what breaks in practice and judges it, in two halves: facts.go and the
// files beside it read the world and judge nothing; the checks are pure functions
// from what was read to findings, one row of a table each (see checks).
//
// It only looks. It takes no lock, subscribes to nothing, and asks the metadata
// service for no events, for the first request for them would switch them on. It
// works without the daemon, without systemd and as any user: what it could not look
// at becomes a finding that says so.
//
// Examine owns the goroutines that it starts, one for each source that can be slow,
// and waits for them.
package doctor

import (
	"context"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// Severity says how much a finding matters.
type Severity string

// The severities, in ascending order.
const (
	OK      Severity = "ok"
	Note    Severity = "note"    // good to know; or it could not be looked at
	Warning Severity = "warning" // the node works, but not in every case that it is for
	Error   Severity = "error"   // a drain or a probe will go wrong
)

// Finding is what one check found out.
type Finding struct {
	Check       string   `json:"check"`
	Severity    Severity `json:"severity"`
	Found       string   `json:"found"`
	Consequence string   `json:"consequence,omitempty"` // what comes of it
	Fix         string   `json:"fix,omitempty"`         // a command that mends it, or that shows more
}

// Report is everything that was found. Every check has at least one finding.
type Report struct {
	Version  int       `json:"version"`
	Severity Severity  `json:"severity"` // the highest of the findings
	Findings []Finding `json:"findings"` // by check, in the order of the table
}

// Count returns how many findings have a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Config says what to examine.
type Config struct {
	ConfigPath string // of the main configuration file
	Socket     string // of the running agent; empty: in the configuration's run_dir
	Version    string // of this binary
	// Root is the directory that has etc, proc, run, usr and var: "/", or a
	// tree in tests. Empty means "/".
	Root string
	// BusAddress is that of the system bus; empty: that of the environment.
	BusAddress string
	// Fit plans a drain in the time between an event and its NotBefore.
	Fit func(conf *config.Config, notice time.Duration) (control.PlanPreview, error)
}

// lookTimeout bounds the looking. The slowest is a metadata service that does not
// answer; answers after three seconds have been seen.
const lookTimeout = 8 * time.Second

// Examine looks at the node and judges it. It returns an error only when ctx ends
// first.
func Examine(ctx context.Context, cfg Config) (*Report, error) {
	bounded, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	f := look(bounded, cfg)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return judge(f), nil
}

// checks is the table of what is judged, in the order of the report.
var checks = []struct {
	name  string
	judge func(*facts, *findings)
}{
	{"configuration", judgeConfiguration},
	{"agent", judgeAgent},
	{"metadata", judgeMetadata},
	{"extension", judgeExtension},
	{"shutdown", judgeShutdown},
	{"rights", judgeRights},
	{"workloads", judgeWorkloads},
	{"listeners", judgeListeners},
	{"permissions", judgePermissions},
	{"disk", judgeDisk},
	{"clock", judgeClock},
	{"pressure", judgePressure},
}

func judge(f *facts) *Report {
	var r findings
	for _, c := range checks {
		r.check, r.first = c.name, len(r.list)
		c.judge(f, &r)
	}
	report := &Report{Version: control.Version, Severity: OK, Findings: r.list}
	for _, s := range []Severity{Note, Warning, Error} {
		if report.Count(s) > 0 {
			report.Severity = s
		}
	}
	return report
}

// findings collects what the checks find.
type findings struct {
	list  []Finding
	check string // the one that judges now
	first int    // where its own begin
}

func (r *findings) add(s Severity, found, consequence, fix string) {
	r.list = append(r.list, Finding{Check: r.check, Severity: s, Found: found, Consequence: consequence, Fix: fix})
}

func (r *findings) fine(found string)                   { r.add(OK, found, "", "") }
func (r *findings) note(found, consequence, fix string) { r.add(Note, found, consequence, fix) }
func (r *findings) warn(found, consequence, fix string) { r.add(Warning, found, consequence, fix) }
func (r *findings) fail(found, consequence, fix string) { r.add(Error, found, consequence, fix) }

// orFine says what is fine, unless the check has found anything else.
func (r *findings) orFine(found string) {
	if len(r.list) == r.first {
		r.fine(found)
	}
}
