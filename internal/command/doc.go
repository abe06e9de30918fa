// Package command answers: what is the same in every command of the project?
//
// The commands of fleet-agent, fleetsim and fleetctl are cobra's. Here is what they
// share: how arguments are asked for and what is said when they are wrong, the forms
// of output, the usage text, and the commands version and completion. How a command
// speaks to people and to scripts is internal/cli's.
//
// The package starts no goroutines.
package command
