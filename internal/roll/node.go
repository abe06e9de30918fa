package roll

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// commandTakes is what Run Command itself may take.
	commandTakes = time.Minute
	// nodeWithin bounds a Run Command whose script is done at once.
	nodeWithin = 90 * time.Second
	// drainWithin is how long the end of a drain is waited for in one try. A drain that
	// takes longer goes on, and the next try joins it.
	drainWithin = 2 * time.Minute
	// maxWords bounds what is kept of the words of a node.
	maxWords = 3000
)

// The exit codes of the agent, and of a shell.
const (
	agentServes      = 0
	agentDegraded    = 2 // and serves
	agentServesNot   = 3
	agentUnreachable = 4
	shellLate        = 124 // of timeout(1)
	shellNotAllowed  = 126
	shellNotFound    = 127
)

// notPossible says that a node cannot be asked, whatever its state.
const notPossible = "not possible"

// A said is what a node answered.
type said struct {
	code   int
	output string
}

// ask runs the lines of a script on a member. Run Command tells no exit code: the
// script's last line prints it. The result is only for an answer that did not come.
func (r *Runner) ask(ctx context.Context, p *rollout.Plan, a *rollout.Action, lines ...string) (said, *rollout.Result) {
	group, _, _ := strings.Cut(string(p.Sets[a.Set].ID), "/providers/")
	vm := fleet.ResourceID(group + "/providers/Microsoft.Compute/virtualMachines/" + a.Members[0])
	stdout, stderr, err := r.Azure.RunCommand(ctx, vm, lines)
	if err != nil {
		result := outcome(err)
		return said{}, &result
	}
	at := exitMark.FindStringSubmatchIndex(stdout)
	if at == nil {
		return said{}, &rollout.Result{Outcome: rollout.Errored, Text: line("Run Command does not say how the script ended: " + cmp.Or(stderr, stdout))}
	}
	code, _ := strconv.Atoi(stdout[at[2]:at[3]]) // digits
	output := strings.TrimSpace(strings.TrimSpace(stdout[:at[0]]) + "\n" + strings.TrimSpace(stderr))
	if code == shellNotFound || code == shellNotAllowed {
		return said{}, &rollout.Result{Outcome: rollout.Denied, Text: notPossible + ": there is no fleet-agent on the node"}
	}
	return said{code, output}, nil
}

// printExit prints how what was before it ended.
const printExit = `printf '\nfleetctl: exit %d\n' "$?"`

var exitMark = regexp.MustCompile(`(?:^|\n)fleetctl: exit (\d{1,3})\s*$`)

// words are the first of what a node said, in one line.
func (s said) words() string {
	first, _, _ := strings.Cut(s.output, "\n")
	return safetext.Line(strings.TrimSpace(first), safetext.MaxText)
}

// drain has a node drained by its own agent, and waits for the end. It ends by itself
// when nobody undrains.
func drain(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a,
		fmt.Sprintf(`timeout %d fleet-agent drain --for %dm --wait --reason 'fleetctl: rollout of %s' </dev/null`,
			int(drainWithin.Seconds()), int(p.Limits.Drained.Minutes()), p.Version),
		printExit)
	switch {
	case failed != nil:
		return *failed
	case s.code == 0:
		return rollout.Result{Outcome: rollout.Done, Text: s.words()}
	case s.code == shellLate:
		return rollout.Result{Outcome: rollout.Errored, Text: fmt.Sprintf("it is not drained after %s, and goes on", drainWithin)}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not drain: " + s.output)}
}

// undrain returns a node to service.
func undrain(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, fmt.Sprintf(`timeout 30 fleet-agent undrain --reason 'fleetctl: rollout of %s' </dev/null`, p.Version), printExit)
	switch {
	case failed != nil:
		return *failed
	case s.code == 0:
		return rollout.Result{Outcome: rollout.Done, Text: s.words()}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not undrain: " + s.output)}
}

// askStatus has a node's agent say how it is, and keeps as much as a filter lets
// through. An agent that does not know the short form is asked for the long one.
func askStatus(filter string) []string {
	return []string{
		`out=$(timeout 20 fleet-agent status -o brief 2>/dev/null </dev/null); code=$?`,
		`[ -n "$out" ] || { out=$(timeout 20 fleet-agent status 2>&1 </dev/null); code=$?; }`,
		`printf '%s\n' "$out" | ` + filter,
		`(exit "$code")`,
		printExit,
	}
}

// askAgent asks the agent of a node whether the node serves.
func askAgent(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, askStatus("head -n 1 | head -c 500")...)
	switch {
	case failed != nil:
		return *failed
	case s.code == agentServes, s.code == agentDegraded:
		return rollout.Result{Outcome: rollout.Done, Answer: rollout.Serving, Text: s.words()}
	case s.code == agentServesNot:
		return rollout.Result{Outcome: rollout.Done, Answer: "not serving", Text: s.words()}
	case s.code == agentUnreachable:
		return rollout.Result{Outcome: rollout.Done, Answer: "no agent answers", Text: s.words()}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not say how it is: " + s.output)}
}

// diagnose asks a node for its own words, whatever state its agent is in.
func diagnose(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, askStatus(fmt.Sprintf("head -c %d", maxWords))...)
	switch {
	case failed != nil:
		if failed.Outcome != rollout.Denied {
			failed.Text = "diagnosis " + notPossible + ": " + failed.Text
		}
		failed.Outcome = rollout.Denied
		return *failed
	case s.output == "":
		return rollout.Result{Outcome: rollout.Denied, Text: "diagnosis " + notPossible + ": the agent said nothing"}
	}
	return rollout.Result{Outcome: rollout.Done, Answer: clean(s.output)}
}

// clean makes the words of a node harmless: what they print may be anything.
func clean(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	const most = 60
	if len(lines) > most {
		lines = append(lines[:most:most], "...")
	}
	for i := range lines {
		lines[i] = safetext.Line(strings.TrimRight(lines[i], " \r"), safetext.MaxText)
	}
	return strings.Join(lines, "\n")
}
