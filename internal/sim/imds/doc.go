// Package imds answers: what would Azure's Instance Metadata Service say to
// this virtual machine, at this moment?
//
// It is a stand-in for http://169.254.169.254/metadata, held to the published
// contract: instance metadata, Scheduled Events with their acknowledgements,
// the errors and the rate limit. It serves Go tests, over real sockets or, by
// [Server.Transport], without any, and it serves the command fleetsim.
//
// One [Server] simulates several machines. They share the events of their
// placement group; each has an [http.Handler] of its own, since the real
// service tells machines apart by where a request comes from.
//
// An event moves like this. Only the first two states are ever seen by a
// machine: the end of an event is that it is no longer in the document.
//
//	              ack of any machine that sees it,
//	              NotBefore, or Start
//	Publish ─▶ Scheduled ──────────────────────────▶ Started
//	              │                                     │ Duration, CompleteAfter
//	              │ Cancel, Complete                    │ or Complete
//	              ▼                                     ▼
//	          Cancelled                             Completed
//
// # Time
//
// Instants are those of package time, so a test in a testing/synctest bubble
// has them virtual. [Config.Speed] makes spans shorter, never instants
// different: at speed 10 a notice of 30 s is published as a NotBefore three
// seconds ahead on the reader's own clock. NotBefore has whole seconds on the
// wire, so it is rounded up, and the event starts exactly then.
//
// # Goroutines
//
// The package starts none. Events that are due move when somebody looks at the
// server; [Server.Run] looks in time, for those who wait for [Server.Changed].
package imds
