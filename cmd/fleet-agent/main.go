// Command fleet-agent answers, on a VM of an Azure scale set: can this node
// serve, is Azure about to take it away, and what is being done about it?
//
// `fleet-agent run` is the daemon. Every other command either asks the daemon
// over its control socket or works on the configuration alone.
//
// Only `run` starts goroutines, and waits for them, unless nobody reads its log;
// most belong to internal/agent.
package main

import (
	"io"
	"os"
	"time"

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
	return report(stderr, g, err)
}

// report prints err and returns the code to exit with.
func report(stderr io.Writer, g *globals, err error) int {
	if g.lastWords == 0 {
		return cli.Report(stderr, g.out.ErrStyle, "fleet-agent", err)
	}
	code := make(chan int, 1)
	go func() { code <- cli.Report(stderr, g.out.ErrStyle, "fleet-agent", err) }()
	select {
	case c := <-code:
		return c
	case <-time.After(g.lastWords): // left behind: nobody reads stderr
		return cli.ExitError
	}
}
