// Command fleetctl answers, about scale sets and the images that they run: what runs
// where, what is wrong with it, and how does a new image get everywhere safely?
//
// It reads and writes Azure's control plane, and reads a file that declares a fleet. Its
// one goroutine waits for an answer on a terminal, and ends with the process when nobody
// gives one; those of internal/azure are gone when a command ends.
package main

import (
	"io"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

// run executes the command line and returns the code to exit with.
func run(args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	return newGlobals(stdout, stderr, getenv).run(args)
}

func (g *globals) run(args []string) int {
	root := newRootCommand(g)
	root.SetArgs(args)
	err := g.placed(explained(cli.Run(root.ExecuteContext)))
	return cli.Report(g.out.Err, g.out.ErrStyle, "fleetctl", err)
}
