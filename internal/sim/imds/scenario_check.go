package imds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// checkScenario collects what is wrong with a scenario that could be decoded.
func checkScenario(c *strict.Checker, f *scenarioFile) {
	if f.FirstCallDelay < 0 {
		c.Fail(`it is not negative`, "first_call_delay")
	}
	names := map[string]bool{}
	for i, m := range f.VMs {
		name := strings.ToLower(m.withDefaults().Name)
		if names[name] {
			c.Fail(fmt.Sprintf("there are two machines named %q", m.Name), "vms", i)
		}
		names[name] = true
	}
	server := New(Config{VMs: dedupe(f.VMs)}) // knows which faults and machines are possible

	events, last := map[string]bool{}, span(0)
	for i, step := range f.Timeline {
		if step.At != nil {
			if *step.At < last {
				c.Fail(fmt.Sprintf("steps happen in the order of the file, and one before this is at %v", time.Duration(last)), "timeline", i, "at")
			}
			last = max(last, *step.At)
		}
		if step.After < 0 {
			c.Fail("it is not negative", "timeline", i, "after")
		}
		if n := step.actions(); n != 1 {
			c.Fail(fmt.Sprintf("a step does exactly one of publish, start, complete, cancel, fault, clear_faults, reset_incarnation and set_instance; this one does %d", n), "timeline", i)
		}
		for _, use := range []struct{ key, id string }{
			{"when", step.When.event}, {"start", step.Start}, {"complete", step.Complete}, {"cancel", step.Cancel},
		} {
			if use.id != "" && !events[use.id] {
				c.Fail(fmt.Sprintf("no step before this publishes %q", use.id), "timeline", i, use.key)
			}
		}
		switch {
		case step.Publish != nil:
			c.Check(checkEvent(step.Publish.spec()), "timeline", i, "publish")
			if id := step.Publish.ID; id != "" && events[id] {
				c.Fail(fmt.Sprintf("the id %q is taken", id), "timeline", i, "publish", "id")
			}
			events[step.Publish.ID] = true
		case step.Fault != nil:
			c.Check(server.validateFault(step.Fault.fault()), "timeline", i, "fault")
		case step.SetInstance != nil && server.find(step.SetInstance.VM) == nil:
			c.Fail(fmt.Sprintf("there is no machine %q", step.SetInstance.VM), "timeline", i, "set_instance")
		}
	}
}

func (s scenarioStep) actions() int {
	n := 0
	for _, has := range []bool{
		s.Publish != nil, s.Start != "", s.Complete != "", s.Cancel != "",
		s.Fault != nil, s.ClearFaults, s.ResetIncarnation != nil, s.SetInstance != nil,
	} {
		if has {
			n++
		}
	}
	return n
}

// dedupe leaves out machines whose name came before.
func dedupe(vms []Instance) []Instance {
	var unique []Instance
	for _, m := range vms {
		same := func(o Instance) bool { return strings.EqualFold(o.withDefaults().Name, m.withDefaults().Name) }
		if !slices.ContainsFunc(unique, same) {
			unique = append(unique, m)
		}
	}
	return unique
}
