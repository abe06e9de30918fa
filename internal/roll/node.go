package roll

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/node"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// maxWords bounds what is kept of the words of a node.
const maxWords = 3000

// notPossible says that a node cannot be asked, whatever its state.
const notPossible = "not possible"

// ask runs the lines of a script on a member. The result is only for an answer that did
// not come.
func (r *Runner) ask(ctx context.Context, p *rollout.Plan, a *rollout.Action, lines []string) (node.Said, *rollout.Result) {
	s, err := node.Ask(ctx, r.Azure, node.Machine(p.Sets[a.Set].ID, a.Members[0]), lines)
	switch {
	case errors.Is(err, node.ErrNoAgent):
		return s, &rollout.Result{Outcome: rollout.Denied, Text: err.Error()}
	case err != nil:
		result := outcome(err)
		return s, &result
	}
	return s, nil
}

// drain has a node drained by its own agent, and waits for the end. It ends by itself
// when nobody undrains.
func drain(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, node.Drain(p.Limits.Drained, "fleetctl: rollout of "+p.Version))
	switch {
	case failed != nil:
		return *failed
	case s.Code == 0:
		return rollout.Result{Outcome: rollout.Done, Text: s.Words()}
	case s.Code == node.Late:
		return rollout.Result{Outcome: rollout.Errored, Text: fmt.Sprintf("it is not drained after %s, and goes on", node.DrainWithin)}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not drain: " + s.Output)}
}

// undrain returns a node to service.
func undrain(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, node.Undrain("fleetctl: rollout of "+p.Version))
	switch {
	case failed != nil:
		return *failed
	case s.Code == 0:
		return rollout.Result{Outcome: rollout.Done, Text: s.Words()}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not undrain: " + s.Output)}
}

// askAgent asks the agent of a node whether the node serves.
func askAgent(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, node.Status("head -n 1 | head -c 500"))
	switch {
	case failed != nil:
		return *failed
	case s.Code == node.Serves, s.Code == node.Degraded:
		return rollout.Result{Outcome: rollout.Done, Answer: rollout.Serving, Text: s.Words()}
	case s.Code == node.ServesNot:
		return rollout.Result{Outcome: rollout.Done, Answer: "not serving", Text: s.Words()}
	case s.Code == node.Unreachable:
		return rollout.Result{Outcome: rollout.Done, Answer: "no agent answers", Text: s.Words()}
	}
	return rollout.Result{Outcome: rollout.Errored, Text: line("the agent did not say how it is: " + s.Output)}
}

// diagnose asks a node for its own words, whatever state its agent is in.
func diagnose(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	s, failed := r.ask(ctx, p, a, node.Status(fmt.Sprintf("head -c %d", maxWords)))
	switch {
	case failed != nil:
		if failed.Outcome != rollout.Denied {
			failed.Text = "diagnosis " + notPossible + ": " + failed.Text
		}
		failed.Outcome = rollout.Denied
		return *failed
	case s.Output == "":
		return rollout.Result{Outcome: rollout.Denied, Text: "diagnosis " + notPossible + ": the agent said nothing"}
	}
	return rollout.Result{Outcome: rollout.Done, Answer: clean(s.Output)}
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
