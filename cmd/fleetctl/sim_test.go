package main

import (
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// simStart is what the clock of a simulation shows, which stands still.
func simStart() time.Time { return time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC) }

type simKey struct{}

// simulator is the Azure of a script.
type simulator struct {
	env      *testscript.Env
	server   *arm.Server
	endpoint *httptest.Server
}

// simCommand is a simulated Azure in scripts:
//
//	sim SCENARIO [PAGE-SIZE]      what fleetctl speaks to from now on: an example's name, or a file
//	sim speed N                   time runs N times as fast from now on; it stands still before
//	sim advance TIME              moves the clock
//	sim fault KIND [STATUS [CODE [MESSAGE]]]
//	sim clear                     ends all faults
//	sim requests MOST             fails if there were more since the start
func simCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: sim SCENARIO [PAGE-SIZE] | sim speed N | sim advance TIME | sim fault KIND [STATUS [CODE [MESSAGE]]] | sim clear | sim requests MOST")
	}
	sim, _ := ts.Value(simKey{}).(*simulator)
	switch args[0] {
	case "fault":
		ts.Check(sim.server.SetFault(faultOf(ts, args[1:])))
	case "speed":
		speed, err := strconv.ParseFloat(args[1], 64)
		ts.Check(err)
		sim.server.Clock().SetFactor(speed)
	case "advance":
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		sim.server.Advance(d)
	case "clear":
		sim.server.ClearFaults()
	case "requests":
		most, err := strconv.Atoi(args[1])
		ts.Check(err)
		n := 0
		for _, c := range sim.server.Counts() {
			n += c.Count
		}
		ts.Logf("%d requests", n)
		if n > most {
			ts.Fatalf("%d requests, at most %d were allowed", n, most)
		}
	default:
		size := arm.DefaultPageSize
		if len(args) > 1 {
			var err error
			size, err = strconv.Atoi(args[1])
			ts.Check(err)
		}
		scenario, err := scenarioOf(ts, args[0])
		ts.Check(err)
		ts.Check(sim.start(scenario, size))
		ts.Setenv(azure.EndpointVariable, sim.endpoint.URL)
		ts.Setenv(subscriptionVariable, arm.DefaultSubscription)
	}
}

func faultOf(ts *testscript.TestScript, args []string) arm.Fault {
	args = append(args, make([]string, 4)...)
	f := arm.Fault{Kind: arm.FaultKind(args[0]), Code: args[2], Message: args[3]}
	if args[1] != "" {
		var err error
		f.Status, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	return f
}

// scenarioOf is an example, or a file of the script.
func scenarioOf(ts *testscript.TestScript, name string) (*arm.Scenario, error) {
	if !strings.HasSuffix(name, ".yaml") {
		return arm.Example(name)
	}
	return arm.LoadScenario(ts.MkAbs(name))
}

// start begins a simulation in the place of the one before.
func (s *simulator) start(scenario *arm.Scenario, pageSize int) error {
	server, err := arm.New(arm.Config{Clock: arm.NewClock(simStart(), 0), PageSize: pageSize, Rules: scenario.Rules()})
	if err != nil {
		return err
	}
	if err := server.Apply(scenario); err != nil {
		return err
	}
	s.server, s.endpoint = server, armjudge.Serve(scriptTB{s.env}, server)
	s.env.Defer(server.ClearFaults) // or what hangs would keep it
	return nil
}

// scriptTB is what a judge needs of a script.
type scriptTB struct{ env *testscript.Env }

func (scriptTB) Helper() {}

func (s scriptTB) Cleanup(f func()) { s.env.Defer(f) }

func (s scriptTB) Errorf(format string, args ...any) { s.env.T().Fatal(fmt.Sprintf(format, args...)) }
