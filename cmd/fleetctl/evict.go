package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// evictWithin bounds the wait without --timeout: Azure evicts within 30 minutes.
	evictWithin = 35 * time.Minute
	// evictLook is the time between two looks at the machine. Azure allows twelve a
	// minute of one.
	evictLook = 10 * time.Second
	// maxBlind are the looks in a row that may fail.
	maxBlind = 5
	// agentPause is the time between two questions to the agent, each of which takes 20
	// seconds and more.
	agentPause = 2 * time.Second
	// maxAgentLines bounds what is kept of an agent's words.
	maxAgentLines = 20
)

// askEvicted is the script that has an agent say how it is.
const askEvicted = "timeout 15 fleet-agent status -o brief 2>&1 </dev/null | head -c 3500"

func newEvictCommand(g *globals) *cobra.Command {
	var ask bool
	cmd := &cobra.Command{
		Use:   "evict SET/VM",
		Short: "have Azure evict a Spot member, to see what happens",
		Long: `Have Azure evict a Spot member as if it needed the room: its own simulated
eviction. The member is told by a scheduled event (Preempt) at least 30 seconds
before, and is then deallocated or deleted, as the eviction policy of its scale
set says. Azure begins within 30 minutes, most often at once. SET is a scale set
of the file, or with --resource-group one that is there.

It waits until the member is gone. Meanwhile the node's agent is asked by Run
Command what it does, if the file allows that (rollout.drain or
rollout.on_halt.diagnose), or with --run-command. A question takes 20 seconds
and more, and an agent that is done with its drain lets the member go before:
what it did is then in fleet-agent events, once the member runs again.

A regular member is refused. So is one of a scale set that a rollout of the file
holds. A member that is deallocated already is left alone. An eviction cannot be
taken back; who interrupts the wait leaves Azure to it.

Exit codes: 0 evicted, or deallocated already, or with --no-wait asked for; 3
refused; 1 error, or not evicted in time; 2 wrong usage, 4 not authorised, 130
interrupted.`,
		Example: `  fleetctl evict vmss-batch/vmss-batch_2
  fleetctl evict vmss-batch/vmss-batch_2 --run-command --timeout 10m
  fleetctl evict -g rg-pay-prod vmss-batch/vmss-batch_2 --yes --no-wait`,
		Args: usage.Arguments("SET/VM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.evict(ctx, cmd, args, ask)
		},
	}
	g.scopeFlags(cmd)
	cmd.Flags().BoolVar(&ask, "run-command", false, "ask the agent on it by Run Command, as root")
	return cmd
}

// An evicting is an eviction under way.
type evicting struct {
	onMembers
	member memberName
	now    func() time.Time
	wait   func(context.Context, time.Duration) error
	view   fleet.EvictView
}

// evict evicts a member and waits until it is gone.
func (g *globals) evict(ctx context.Context, cmd *cobra.Command, args []string, ask bool) error {
	on, err := g.onMembers(cmd, args)
	if err != nil {
		return err
	}
	e := &evicting{onMembers: on, member: on.names[0]}
	e.now, e.wait = g.times(on.client)
	spot, err := e.begin(ctx)
	if err != nil {
		return err
	}
	if !spot.Evicted() {
		if err := e.allowed(ctx, cmd, spot); err != nil {
			return err
		}
		if err := e.run(ctx, ask || runsCommands(e.spec)); err != nil {
			return err
		}
	}
	if g.json() {
		return g.out.JSON(e.view)
	}
	return g.print(g.evictPage(&e.view))
}

// runsCommands says whether a file allows Run Command.
func runsCommands(spec *fleet.Spec) bool {
	const yes = "run-command"
	return spec != nil && spec.Rollout != nil && (spec.Rollout.Drain == yes || spec.Rollout.OnHalt.Diagnose == yes)
}

// look reads the machine.
func (e *evicting) look(ctx context.Context) (fleet.Spot, error) {
	read, err := e.client.Resource(ctx, e.member.machine(), "instanceView")
	return fleet.SpotOf(read.Body), err
}

// begin reads the member, and refuses one that Azure would not evict.
func (e *evicting) begin(ctx context.Context) (fleet.Spot, error) {
	m := e.member
	spot, err := e.look(ctx)
	if err != nil && !errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		return spot, err
	}
	if err != nil || !spot.Set.Same(m.set) {
		return spot, e.notThere(ctx, m)
	}
	e.view = fleet.EvictView{
		Version: fleet.ViewVersion, ScaleSet: m.set.Name(), Name: m.vm, ID: m.machine(), Agent: []string{},
		Policy: "Deallocate", Outcome: fleet.EvictionAlready,
	}
	if spot.Delete {
		e.view.Policy = "Delete"
	}
	return spot, spot.Evictable(m.vm)
}

// allowed asks whether the member may go: the rollout that may hold it, and whoever is
// there.
func (e *evicting) allowed(ctx context.Context, cmd *cobra.Command, spot fleet.Spot) error {
	if err := e.unheld(ctx); err != nil {
		return err
	}
	if e.g.yes {
		return nil
	}
	if err := e.g.mayAsk(cmd, "an eviction cannot be taken back: say --yes"); err != nil {
		return err
	}
	end := "deallocated"
	if spot.Delete {
		end = "deleted, with what is on it"
	}
	e.g.out.Say("fleetctl: %s is %s, health %s; once Azure has told it, it is %s", e.member.vm, cli.Clean(string(spot.Power)), spot.Health, end)
	if err := e.g.confirm(ctx, "Evict "+e.member.set.Name()+"/"+e.member.vm+"?"); err != nil {
		return err
	}
	return e.unheld(ctx) // the answer may have taken long
}

// unheld refuses a member that an unfinished rollout holds.
func (e *evicting) unheld(ctx context.Context) error {
	if e.spec == nil {
		return nil
	}
	h, err := e.g.holdToWrite(ctx, e.spec)
	if err != nil {
		return err
	}
	return h.Action(e.member.set, "the rollout would take an eviction for a failure, or wait for the member")
}

// run asks for the eviction, and waits for its end.
func (e *evicting) run(ctx context.Context, ask bool) error {
	began := e.now()
	if _, err := e.client.Send(ctx, fleet.Write{Method: http.MethodPost, ID: e.member.machine(), Action: "simulateEviction"}); err != nil {
		if azure.Unsure(err) || errors.Is(err, &azure.Error{Kind: azure.Unreachable}) {
			return cli.Hint(err, "Azure may do it all the same: look with fleetctl status %s before it is asked again", e.member.set.Name())
		}
		return err
	}
	e.view.Outcome = fleet.EvictionAsked
	if e.g.noWait {
		e.view.AgentNote = "not waited for"
		return nil
	}
	e.tell("Azure has taken it, and tells the node; waiting until it is gone")
	listening, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ask {
			e.listen(listening)
		} else {
			e.view.AgentNote = "the agent was not asked: neither rollout.drain nor rollout.on_halt.diagnose is run-command; --run-command asks it"
		}
	}()
	outcome, err := e.gone(ctx, began.Add(evictWithin))
	stop()
	<-done
	if err != nil {
		return e.unseen(ctx, err)
	}
	e.view.Outcome, e.view.Seconds = outcome, e.now().Sub(began).Round(time.Second).Seconds()
	return nil
}

// tell says how far it is.
func (e *evicting) tell(text string) {
	e.g.out.Say("%s %s", e.now().In(e.g.zone).Format(time.TimeOnly), cli.Clean(text))
}

// errStays is the error of a member that Azure did not evict.
var errStays = errors.New("it is still there")

// gone looks at the member until it is gone.
func (e *evicting) gone(ctx context.Context, until time.Time) (string, error) {
	blind := 0
	for {
		spot, err := e.look(ctx)
		switch {
		case errors.Is(err, &azure.Error{Kind: azure.NotFound}):
			return fleet.EvictionDeleted, nil
		case err == nil && spot.Evicted():
			return fleet.EvictionDeallocated, nil
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			if blind++; blind == maxBlind || errors.Is(err, &azure.Error{Kind: azure.Denied}) {
				return "", err
			}
		default:
			blind = 0
		}
		if e.now().After(until) {
			return "", errStays
		}
		if err := e.wait(ctx, evictLook); err != nil {
			return "", err
		}
	}
}

// unseen says of an eviction whose end was not seen that Azure goes on with it.
func (e *evicting) unseen(ctx context.Context, err error) error {
	hint := "Azure goes on with the eviction: fleetctl status " + e.member.set.Name() + " shows it"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.g.out.Say("fleetctl: %s", hint)
		return ctx.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = errors.New("not evicted within the time of --timeout")
	case errors.Is(err, errStays):
		err = fmt.Errorf("not evicted within %s: %w", cli.Duration(evictWithin), err)
	}
	return cli.Hint(err, "%s", hint)
}

// listen asks the agent again and again what it does, until the machine is gone or it
// cannot be asked. What it said before is not told again.
func (e *evicting) listen(ctx context.Context) {
	said := make(map[string]bool)
	for len(e.view.Agent) < maxAgentLines {
		stdout, _, err := e.client.RunCommand(ctx, e.member.machine(), []string{askEvicted})
		switch {
		case ctx.Err() != nil, errors.Is(err, &azure.Error{Kind: azure.Conflict}): // it goes
		case err != nil:
			e.view.AgentNote = "the agent could not be asked: " + err.Error()
		default:
			e.heard(stdout, said)
		}
		if err != nil || e.wait(ctx, agentPause) != nil {
			break
		}
	}
	if len(e.view.Agent) == 0 && e.view.AgentNote == "" {
		e.view.AgentNote = "the agent was not heard: the member was gone before Run Command had its answer"
	}
}

// heard keeps what an agent says that it has not said before.
func (e *evicting) heard(status string, said map[string]bool) {
	lines := fleet.AgentSays(status)
	if len(lines) == 0 && e.view.AgentNote == "" {
		first, _, _ := strings.Cut(strings.TrimSpace(status), "\n")
		e.view.AgentNote = "there is no answer of an agent: " + first
	}
	for _, line := range lines {
		what, _, _ := strings.Cut(line, " since ") // how long it is so changes with each answer
		if said[what] || len(e.view.Agent) >= maxAgentLines {
			continue
		}
		said[what] = true
		e.view.Agent = append(e.view.Agent, line)
		e.tell(e.member.vm + " says " + line)
	}
}

// evictPage tells what came of an eviction.
func (g *globals) evictPage(v *fleet.EvictView) *page {
	p := g.newPage(g.now())
	took := ""
	if v.Seconds > 0 {
		took = " after " + cli.Seconds(v.Seconds)
	}
	text := map[string]string{
		fleet.EvictionAsked:       "eviction asked for; Azure begins within 30 minutes",
		fleet.EvictionAlready:     "deallocated already; nothing was asked for",
		fleet.EvictionDeallocated: "evicted and deallocated" + took,
		fleet.EvictionDeleted:     "evicted and deleted" + took,
	}[v.Outcome]
	p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, p.cut(v.ScaleSet+"/"+v.Name, max(p.Width-2, minName))), plain(text))
	for _, line := range v.Agent {
		p.Text(2, cli.Dim, cli.Clean(line), 2)
	}
	if v.AgentNote != "" && v.Outcome != fleet.EvictionAsked {
		p.problem(2, fleet.Problem{Level: fleet.LevelInfo, Text: v.AgentNote})
	}
	if v.Outcome == fleet.EvictionDeallocated {
		p.problem(2, fleet.Problem{Level: fleet.LevelInfo, Text: "it counts as capacity, and starts again by spotRestorePolicy or by hand alone"})
	}
	return p
}
