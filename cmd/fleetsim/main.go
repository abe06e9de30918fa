// Command fleetsim answers: how does a node behave when Azure does this to it?
//
// It simulates Azure over real HTTP: `fleetsim imds` is the Instance Metadata
// Service of one or several machines, with Scheduled Events that come from a
// scenario or are published by the other commands over its control API.
//
// The goroutines of `fleetsim imds` belong to serve; the other commands start
// none.
package main

import (
	"errors"
	"io"
	"net/url"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

// run executes the command line and returns the code to exit with.
func run(args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	g := newGlobals(stdout, stderr, getenv)
	root := newRootCommand(g)
	root.SetArgs(args)
	err := cli.Run(root.ExecuteContext)
	if _, ok := errors.AsType[*url.Error](err); ok {
		err = cli.Hint(err, "is fleetsim imds running, and is %s its control API?", g.control)
	}
	return cli.Report(stderr, g.out.ErrStyle, "fleetsim", err)
}
