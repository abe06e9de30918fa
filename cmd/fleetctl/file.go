package main

import (
	"os"

	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

// readFile reads the file that declares the fleet. Its variables are those of the
// process, where set to nothing is told from not set.
func (g *globals) readFile() (*fleetfile.File, error) {
	f, err := fleetfile.Load(g.file, os.LookupEnv)
	return f, command.Faults(err)
}
