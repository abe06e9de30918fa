// Package arm answers: what would Azure Resource Manager say to this request, at
// this moment?
//
// It is a stand-in for https://management.azure.com, over real HTTP, for clients
// that nobody here wrote: it shares no type with what it judges and imports no
// Azure SDK. What it does not know it refuses with an error that names fleetsim;
// nothing succeeds silently. Resource types that it does not know are stored and
// returned as they are.
//
// A [Server] is an [net/http.Handler] and starts nothing. One request at a time is
// answered:
//
//	request ─▶ wire: log, faults, token, body ─▶ settle ─▶ route ─▶ kind ─▶ answer
//	                                               │                  │
//	                                  what is due by now          store, heap
//
// A kind (table.go) is what the simulator knows of one resource type; its functions
// get a txn, which is undone when they fail.
//
// # Time
//
// Time is that of a [Clock]. Whatever happens later (the end of an operation, a
// region that is replicated) is an entry in a heap: data with a name, which is
// looked up among its kind's transitions when it is due. Every request first settles
// what is due, in order, each entry at its own instant. So the package has no
// goroutine, a test moves time by hand, and a snapshot of store and heap is all that
// a restart needs.
package arm
