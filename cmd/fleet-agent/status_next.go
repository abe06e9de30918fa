package main

import (
	"fmt"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// suggestion is a command that an operator is likely to want next.
type suggestion struct{ command, why string }

// next adds the commands to run next, the likeliest first.
func (p *page) next(self string, s *control.Status) {
	p.Blank()
	table := &cli.Table{}
	label := "next:"
	for _, one := range suggestions(self, s) {
		table.Add(painted(cli.Bold, label), painted(cli.Cyan, one.command), painted(cli.Dim, one.why))
		label = ""
	}
	p.Table(table)
}

// suggestions returns at most two commands that fit the state.
func suggestions(self string, s *control.Status) []suggestion {
	journal := suggestion{"journalctl -u fleet-agent -n 50", "what the agent logged"}
	switch s.State {
	case control.StateStarting:
		if name, ok := firstWith(s.Health, checkFailing); ok {
			return []suggestion{{self + " explain " + name, "why it does not pass"}}
		}
		if len(s.Health.Returning) > 0 {
			return []suggestion{{self + " status --wait-for serving", "wait for the return to service"}}
		}
		return []suggestion{{self + " status --wait-for serving", "wait for the first verdict"}}
	case control.StateDegraded, control.StateUnhealthy:
		name, ok := firstWith(s.Health, checkFailing)
		if len(s.Health.Roots) > 0 {
			name, ok = s.Health.Roots[0], true
		}
		if ok {
			return []suggestion{{self + " explain " + name, "why it does not pass"}, {self + " check " + name, "run it now"}}
		}
		return []suggestion{journal}
	case control.StateMaintenance:
		return []suggestion{{self + " maintenance off", "return to service now"}}
	case control.StateDraining:
		return drainSuggestions(self, s, journal)
	case control.StateDrained:
		if pendingEvent(s) {
			return []suggestion{
				{self + " events", "what Azure is about to do"},
				{self + " undrain --force", "return to service in spite of it"},
			}
		}
		return []suggestion{{self + " undrain", "return to service"}}
	case control.StateServing:
		for _, e := range s.Events {
			switch {
			case e.Mine && e.Action == "":
				return []suggestion{{self + " events", "what Azure is about to do, and why nothing is done about it"}}
			case e.Mine:
				return []suggestion{{fmt.Sprintf("%s plan --event %s", self, shellQuote(e.Type)), "what would be done about it"}}
			}
		}
		if s.Node.Priority == "Spot" {
			return []suggestion{{self + " plan --event Preempt --notice 30s", "what an eviction would do"}}
		}
		return []suggestion{{self + " plan --event Reboot --notice 15m", "what a reboot would do"}}
	}
	return []suggestion{journal}
}

func drainSuggestions(self string, s *control.Status, journal suggestion) []suggestion {
	undrain := suggestion{self + " undrain", "return to service"}
	if pendingEvent(s) {
		undrain = suggestion{self + " undrain --force", "return to service in spite of the event"}
	}
	if s.Drain == nil { // cordoned
		return []suggestion{{self + " events", "what Azure is about to do"}}
	}
	switch s.Drain.Phase {
	case phaseFailed:
		return []suggestion{journal, undrain}
	case phaseUndraining:
		return []suggestion{{self + " status --wait-for serving", "wait for the return to service"}}
	}
	return []suggestion{{self + " status --watch", "follow it"}, undrain}
}

// pendingEvent reports whether an event still asks for the node to be out of
// service: undrain refuses to go against it.
func pendingEvent(s *control.Status) bool {
	return slices.ContainsFunc(s.Events, func(e control.Event) bool {
		return e.Mine && (e.Action == "drain" || e.Action == "cordon")
	})
}

// firstWith returns the first check that has the status.
func firstWith(h control.Health, status string) (name string, ok bool) {
	i := slices.IndexFunc(h.Checks, func(c control.Check) bool { return c.Status == status })
	if i < 0 {
		return "", false
	}
	return h.Checks[i].Name, true
}
