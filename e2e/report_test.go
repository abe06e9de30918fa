//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// A report is the output of the run: a line for every check, and at the end how
// many there were. What was skipped has not passed.
type report struct {
	mu                      sync.Mutex
	passed, failed, skipped int
	facts                   []string
}

func (r *report) line(prefix, verdict string, took time.Duration, name string, details ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("%-4s %6.1fs  %-19s %s\n", verdict, took.Seconds(), prefix, name)
	for _, d := range details {
		for line := range strings.Lines(strings.TrimRight(d, "\n")) {
			fmt.Printf("              | %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

func (r *report) summary() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fact := range r.facts {
		fmt.Println(fact)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}

// A group is a run of checks on one node. It has the node's methods.
type group struct {
	*node
	t     *testing.T
	out   *report
	label string // suite/group
}

// newGroup creates the node of a group and boots it.
func newGroup(t *testing.T, out *report, suite, name string) *group {
	g := &group{t: t, out: out, label: suite + "/" + name}
	g.node = newNode(t, suite, name, "")
	g.must("the node boots", func(c *check) { g.start(c) })
	return g
}

// fact notes a number for the end of the report.
func (g *group) fact(format string, args ...any) {
	g.out.mu.Lock()
	defer g.out.mu.Unlock()
	g.out.facts = append(g.out.facts, "note "+g.entry(format, args...))
}

// skip notes for the end of the report what cannot be checked here, and why.
func (g *group) skip(name, why string) {
	g.out.mu.Lock()
	defer g.out.mu.Unlock()
	g.out.skipped++
	g.out.facts = append(g.out.facts, "skip "+g.entry("%s: %s", name, why))
}

func (g *group) entry(format string, args ...any) string {
	return fmt.Sprintf("%8s %-19s ", "", g.label) + fmt.Sprintf(format, args...)
}

// check runs one check, and goes on whatever it says.
func (g *group) check(name string, f func(c *check)) bool {
	return g.t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
		c := &check{T: t, node: g.node}
		start := time.Now()
		defer func() {
			g.out.mu.Lock()
			if t.Failed() {
				g.out.failed++
			} else {
				g.out.passed++
			}
			g.out.mu.Unlock()
			if t.Failed() {
				g.calm()
				g.out.line(g.label, "FAIL", time.Since(start), name, append(c.wrong, "journal of the units since the check began:", g.journal(start))...)
				return
			}
			g.out.line(g.label, "ok", time.Since(start), name)
		}()
		f(c)
	})
}

// calm ends what a check that failed may have left, for the sake of the next.
func (g *group) calm() {
	for _, e := range g.imds.Events() {
		_ = g.imds.Complete(e.ID) // which may have ended
	}
	_ = exec.Command("ip", "-n", g.name+"-imds", "link", "set", "eth0", "up").Run() // it may be up
}

// must runs a check that all later ones need.
func (g *group) must(name string, f func(c *check)) {
	if !g.check(name, f) {
		g.t.FailNow()
	}
}

// A check is a test that keeps what was wrong, to say it at once.
type check struct {
	*testing.T
	node  *node
	wrong []string
}

// Errorf and FailNow make it what require wants.
func (c *check) Errorf(format string, args ...any) {
	c.Helper()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	c.Fail()
}

// poll is how often a state is looked at that is waited for.
const poll = 100 * time.Millisecond

// eventually waits until f has no error, for at most the bound.
func (c *check) eventually(bound time.Duration, f func() error) {
	c.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	deadline := time.Now().Add(bound)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Errorf("after %v: %v", bound, err)
			c.FailNow()
		}
		<-tick.C
	}
}

// stays looks once a second, for as long as the span, whether f goes on to have no
// error.
func (c *check) stays(span time.Duration, f func() error) {
	c.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end); <-tick.C {
		if err := f(); err != nil {
			c.Errorf("it did not last: %v", err)
			c.FailNow()
		}
	}
}
