// Package fleet answers: what does a fleet of scale sets look like, and what is
// wrong with it? It is pure: it has no clock, network, file or goroutine of its own,
// and imports nothing of this module.
//
// The words are Microsoft's where Azure has one. A ScaleSet is a Flexible scale
// set's model, whether it was read from Azure or declared in fleet.yaml; a Member is
// one of its virtual machines; a Gallery holds Definitions, which hold Versions. A
// Fleet is all that was read at one moment. Traps look at a Fleet, a file or both.
//
// A Spec is what fleet.yaml says, complete. Its durations are those of package time,
// as everywhere here: how they are written is the reader's matter.
//
// What Azure did not say is not made up: a bool that may be missing is a *bool, and
// text that may be missing is empty.
package fleet
