package main

import (
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

// readFile reads the file that declares the fleet. A variable that is set to nothing
// is as good as one that is not set: in a pipeline it is a secret that is missing.
func (g *globals) readFile() (*fleetfile.File, error) {
	f, err := fleetfile.Load(g.file, func(name string) (string, bool) {
		value := g.getenv(name)
		return value, value != ""
	})
	g.declared = f
	return f, command.Faults(err)
}
