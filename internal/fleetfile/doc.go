// Package fleetfile answers: what does this fleet.yaml say, and what is wrong with
// it?
//
// It reads the file into a fleet.Spec with the strictness of the agent's
// configuration (package strict): variables of the environment are put in, the
// section defaults is merged under every scale set, what is left out is filled in,
// and every fault is told at once, with its place and what to write instead. It also
// writes a first file: the example of `fleetctl init`, or one from what runs.
//
// One table (see fields.go) says for every key what it means, what it may be and
// what it is when nobody says; the JSON Schema and docs/fleet-yaml.md come from it.
//
// The package reads the one file, asks nobody else, and starts no goroutines.
package fleetfile
