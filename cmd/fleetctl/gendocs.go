//go:build gendocs

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/manual"
)

// main, in the place of the command's own, writes its manual pages and
// completions: internal/packaging runs it as it builds the packages. It is left
// out of the command, which ships without the means to write them.
func main() {
	root := newRootCommand(newGlobals(io.Discard, io.Discard, func(string) string { return "" }))
	if err := manual.Generate(os.Args[1:], root); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs: error:", err)
		os.Exit(1)
	}
}
