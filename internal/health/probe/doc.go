// Package probe answers: does this one thing work right now?
//
// There is one file per kind of check. A constructor takes the kind's
// configuration, refuses what can never work, and gives a function that looks
// once and returns nil, or an *Error that says in one line where it looked,
// what it saw and what it wanted. What may appear later (a file, a name, a
// program) is not the constructor's business but the probe's.
//
// Every probe
//   - ends soon after its context does, and is safe for concurrent use;
//   - starts from nothing: a new connection, a new process, a fresh read, since
//     it is a new client of the service for whom it asks;
//   - reads a bounded amount, follows no redirect and uses no proxy;
//   - leaves nothing behind when it returns. The one exception is the kernel's:
//     a system call on a dead network file system cannot be given up, so the
//     goroutine that made it stays until it returns, at most one per probe (see
//     call).
//
// The package keeps no goroutines. Those of a run end with the run, those
// inside net/http and net a moment later.
package probe
