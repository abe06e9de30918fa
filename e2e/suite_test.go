//go:build e2e

// Package e2e checks the packages on machines with a real systemd as PID 1, real
// D-Bus, logind, polkit and journald: systemd-nspawn containers that node.sh boots
// and run.sh builds everything for. README.md says how to run it.
//
// Checks come in groups. A group has a node of its own, freshly booted, on which
// its checks run one after another; groups run beside each other. Every check is a
// line, ok or FAIL; below one that failed is what was wrong and the journal.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings say what is checked; run.sh gives them.
var settings struct {
	full, short string // suites, separated by spaces
	root        string // of the repository
	oldDeb      string // as it ships
	newDeb      string // counts what is covered
	notifyd     string
	systemdTest string // the tests of internal/systemd
	fleetctl    string // the program
	fleetsim    string // the program
	coverage    string // directory for the counters
	nodes       int    // how many groups run at once
}

// A groupOfChecks is what one node goes through.
type groupOfChecks struct {
	name  string
	short bool // part of the short leg
	run   func(g *group)
}

// groups begins with those that take longest.
var groups = []groupOfChecks{
	{"cut", false, checkCut},
	{"cut-after", false, checkCutAfter},
	{"faults", false, checkFaults},
	{"hang", true, checkHang},
	{"events", false, checkEvents},
	{"adopt", true, checkAdopt},
	{"golden", false, checkGolden},
	{"bake", false, checkBake},
	{"install", true, checkInstall},
	{"preempt", true, checkPreempt},
	{"probe", true, checkProbe},
	{"shutdown", true, checkShutdown},
	{"order", true, checkOrder},
	{"hardening", false, checkHardening},
	{"limits", false, checkLimits},
	{"systemd", true, checkSystemd},
}

func TestMain(m *testing.M) {
	flag.StringVar(&settings.full, "full", "", "suites for all checks")
	flag.StringVar(&settings.short, "short-leg", "", "suites for the short leg")
	flag.StringVar(&settings.root, "root", "", "root of the repository")
	flag.StringVar(&settings.oldDeb, "old", "", "package that is upgraded from")
	flag.StringVar(&settings.newDeb, "new", "", "package that is upgraded to")
	flag.StringVar(&settings.notifyd, "notifyd", "", "the program notifyd")
	flag.StringVar(&settings.systemdTest, "systemd-test", "", "the tests of internal/systemd, compiled")
	flag.StringVar(&settings.fleetctl, "fleetctl", "", "the program fleetctl")
	flag.StringVar(&settings.fleetsim, "fleetsim", "", "the program fleetsim")
	flag.StringVar(&settings.coverage, "coverage", "", "directory for what the agent covers")
	flag.IntVar(&settings.nodes, "nodes", 1, "how many groups run at once")
	flag.Parse()
	if settings.root == "" || os.Getenv("E2E_STATE") == "" {
		fmt.Fprintln(os.Stderr, "e2e: run these checks with e2e/run.sh, which builds what they need")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

func TestSuites(t *testing.T) {
	var out report
	defer func() {
		out.summary()
		require.NotZero(t, out.passed+out.failed, "no check is called %s", flag.Lookup("test.run").Value)
	}()
	// Not t.Parallel(), which starts the groups in any order: the longest go first.
	queue := make(chan func())
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(queue)
	for range settings.nodes {
		workers.Go(func() {
			for run := range queue {
				run()
			}
		})
	}
	for _, leg := range []struct {
		suites string
		full   bool
	}{{settings.full, true}, {settings.short, false}} {
		for suite := range strings.FieldsSeq(leg.suites) {
			for _, c := range groups {
				if !leg.full && !c.short {
					continue
				}
				queue <- func() {
					t.Run(suite+"/"+c.name, func(t *testing.T) { c.run(newGroup(t, &out, suite, c.name)) })
				}
			}
		}
	}
}
