package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Probe measures one thing once; nil means passing. It must return soon
// after ctx is done. The schedule never runs it twice at once, but RunCheck may run
// it beside the schedule. An error that is Undecided is neither a pass nor a
// failure: there is nothing to judge yet.
type Probe func(ctx context.Context) error

// undecided reports whether a probe could not tell yet.
func undecided(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Undecided() bool
	}](err)
	return ok && u.Undecided()
}

// Status is what a check is known to be.
type Status string

// The statuses of a check. Only passing is good: unknown is never healthy.
const (
	Unknown Status = "unknown" // no result yet
	Passing Status = "passing"
	Failing Status = "failing" // a root cause
	Blocked Status = "blocked" // a dependency is failing or blocked: not run, not a root cause
)

// statuses is every Status, in the order in which metrics show them.
var statuses = [...]Status{Unknown, Passing, Failing, Blocked}

// Severity says whether a check may gate an endpoint at all.
type Severity string

// The severities. The empty Severity means Critical.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning" // shown, gates nothing
)

// Gates are the endpoints that a critical check keeps from saying healthy.
type Gates struct {
	Health bool // /healthz
	Ready  bool // /readyz
}

// Names returns the gates as the configuration spells them.
func (g Gates) Names() []string {
	names := []string{}
	if g.Health {
		names = append(names, "health")
	}
	if g.Ready {
		names = append(names, "ready")
	}
	return names
}

// Check is a Probe with the rules for running and judging it.
type Check struct {
	Name string // unique, printable, without spaces
	// Kind and Target say in messages what is looked at, such as "tcp" and
	// "127.0.0.1:5432"; the Monitor does not look at them.
	Kind, Target string
	Probe        Probe
	// Process says that a run starts a process. At most 32 such runs are in
	// flight at once.
	Process bool
	// Wake asks for a run at once with every receive; nil for checks that
	// are only polled. Closing it ends the asking.
	Wake <-chan struct{}
	// Forget tells a probe that remembers what others told it that nothing from
	// before since counts any more; nil for probes that look anew each time. It
	// must be cheap and must not call the Monitor.
	Forget func(since time.Time)

	Interval time.Duration // from start to start; over 0
	Timeout  time.Duration // of one run; over 0
	// FailAfter failures in a row make a passing check fail, PassAfter passes
	// in a row make a failing check pass; both at least 1. The first result
	// of a check, and the first after it was blocked, decides at once.
	FailAfter int
	PassAfter int

	Severity  Severity
	Gates     Gates
	DependsOn []string // names of checks that must pass for this one to be run

	// Fingerprint says what the check measures and how: Apply keeps the
	// results of a check whose Name and Fingerprint stay the same. The empty
	// Fingerprint is never the same.
	Fingerprint string
}

// gates reports whether a check with these settings keeps the endpoint g from
// saying healthy.
func gates(severity Severity, on Gates, g gate) bool {
	if severity == Warning {
		return false
	}
	if g == gateHealth {
		return on.Health
	}
	return on.Ready
}

func (c *Check) validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Name == "" || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unprintable) {
		add("name %q: must be printable and without spaces", c.Name)
	}
	if c.Probe == nil {
		add("probe is missing")
	}
	if c.Interval <= 0 {
		add("interval %s: must be over 0", c.Interval)
	}
	if c.Timeout <= 0 {
		add("timeout %s: must be over 0", c.Timeout)
	}
	if c.FailAfter < 1 {
		add("fail_after %d: must be at least 1", c.FailAfter)
	}
	if c.PassAfter < 1 {
		add("pass_after %d: must be at least 1", c.PassAfter)
	}
	if c.Severity != "" && c.Severity != Critical && c.Severity != Warning {
		add("severity %q: must be critical or warning", c.Severity)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check %q: %w", c.Name, err)
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }

// Result is the outcome of running a probe once.
type Result struct {
	At      time.Time     // when the probe started
	Latency time.Duration // how long it took
	// Error says why the probe did not pass: one line of at most 512 bytes;
	// empty for a pass.
	Error string
}

// Passed reports whether the probe passed.
func (r Result) Passed() bool { return r.Error == "" }

// maxErrorBytes bounds the error text of a Result.
const maxErrorBytes = 512

// errorLine folds an error to one line of at most maxErrorBytes bytes. It
// never returns "", which would mean a pass.
func errorLine(err error) string {
	text := err.Error()
	if len(text) > 4*maxErrorBytes {
		text = text[:4*maxErrorBytes] // folding need not see all of a flood
	}
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return '?' // no escape sequences to terminals
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return "failed without a reason"
	}
	if len(text) <= maxErrorBytes {
		return text
	}
	const ellipsis = "…"
	cut := maxErrorBytes - len(ellipsis)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + ellipsis
}
