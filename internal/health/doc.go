// Package health answers: can this node serve, and how does it say so?
//
// A [Monitor] runs checks on a schedule and judges their results; [Answers]
// serves the verdict over HTTP from bytes that were rendered when it changed,
// so that a slow or hung check costs a probe nothing.
//
// # A check
//
// The results of a check decide its status, with hysteresis both ways; the
// statuses of its dependencies decide whether it is run at all:
//
//	          first result: pass
//	unknown ----------------------> passing <--+
//	  ^  |                             |       | pass_after passes
//	  |  |                 fail_after  |       | in a row
//	  |  |                 failures    |       |
//	  |  |  first result:  in a row    v       |
//	  |  +--------------------------> failing -+
//	  |             fail
//	  |
//	  |  no dependency is failing or blocked any more
//	  +-------------------------------------------- blocked
//	                                                  ^
//	   any status: a dependency is failing or blocked |
//
// A check whose dependency is unknown is not run either, but keeps its status.
// As soon as all dependencies pass it is run at once. What was known before a
// block says nothing about afterwards, so the next result decides alone, like
// the first. Only failing checks are roots.
//
// # The verdict
//
// Each endpoint has a verdict over the critical checks that gate it:
//
//	            every gating check passes
//	starting -----------------------------> healthy
//	   |                                     ^   |
//	   | every gating check has been         |   | a gating check
//	   | decided, one does not pass, and     |   | does not pass
//	   | start_grace is over                 |   v
//	   +----------------------------------> unhealthy
//	                      every gating check passes
//
// A check is decided once it has had a result or has been blocked: a check
// that waits for a dependency without a result is not decided, one whose
// dependency has failed is. Unknown is never healthy: a check that came with a
// reload and is not decided yet keeps the verdict where it is, good or bad, and
// any other check that does not pass makes it unhealthy at once.
//
// Draining and maintenance are no states of this machine: while either is on,
// /readyz answers 503 whatever the verdict. /healthz goes on as it was, and while
// draining a healthy verdict of /healthz is held: the drain stops the workloads
// that checks look at, and an Unhealthy node would be replaced in the middle of
// it.
//
// # The way back
//
// Ready is said only on evidence that was gathered after the last time that the
// node was out of service. Whenever a drain, a cordon or maintenance ends, the
// verdict of /readyz is starting again, every check is run at once, a run that is
// in flight is cut short, and only passes of runs that began since count for
// /readyz. A probe that remembers, a heartbeat, is told to forget.
//
// A drain has stopped workloads, so after one the checks are undecided as well,
// and start_grace begins anew. A /healthz that was held goes on to be, until it
// would no longer be starting if it had started then:
//
//	 healthy,  the drain ends   held, for as long as a gating check   every one
//	 held in ------------------> is undecided, or does not pass and --------> healthy
//	the drain                    start_grace runs                     passes
//	                                            |
//	                                            +---------> unhealthy
//
// A cordon and maintenance touch no workload: the checks have looked at running
// ones all along, and what they know, fail_after with it, still decides /healthz.
//
// # How many at once
//
// Every check has a time at which it is due, on a grid of its own; those that are
// due are started in that order, and each when there is a place for it:
//
//   - At most MaxConcurrent runs are in flight, of which at most 32 with a
//     process.
//   - Checks that hang, which are those whose newest run took all of its timeout,
//     get at most half of either. When more hang than that, they are run less often,
//     each in its turn; what does not hang finds the other half and keeps its
//     interval. Checks that begin to hang all at once are not known yet, and can
//     fill every place until their timeout.
//   - At most 32 runs are in their first 100 ms, which is when a probe costs CPU
//     time. This delays, by a moment, what is due when many others are.
//
// A run that ignores its time limit gives its place up a second after it: it may
// last for ever, and then others would never be run again. There is at most one
// of these for each check.
//
// A run that somebody asked for by RunCheck decides nothing and is no part of all
// this: at most 8 of them are in flight, one of a check, in places of their own.
//
// # Goroutines
//
// [Monitor.Run] owns them all: itself, the scheduler, and one for each probe in
// flight, of which a check has at most one, and one more by hand. A probe that ignores its context
// is reported as failing and is not started again before it has returned; when
// Run ends, it waits 2 s for such a probe and then names it in its error.
package health
