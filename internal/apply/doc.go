// Package apply answers: how does Azure come to what a file says, one write at a time?
//
// Read reads what a plan of internal/fleet is about. An Applier makes one change of the
// plan, puts what came of it into what was read, and plans again, until nothing is left
// that can be done. Everything is in Azure: an Applier that was killed leaves nothing
// behind but what it has written, and the next one goes on from there.
package apply
