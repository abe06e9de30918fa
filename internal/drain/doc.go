// Package drain answers: how does this node finish its work before it goes
// away, and what has been done about that so far?
//
// A [Runner] carries out a [Plan] of steps because of a [Cause], inside a
// deadline that can only move earlier. What is about to happen is in the
// [Journal], with fsync, before it happens, so that an agent that is killed at
// any point goes on where it stood.
//
// # A drain, as the journal sees it
//
//	drain-started ─▶ cordon on, settle ─▶ for every step:      ─▶ drain-finished
//	                                        step-started
//	                                        step-finished
//	undrain-started ─▶ steps taken back in reverse ─▶ undrain-finished ─▶ cordon off
//
// Causes that arrive on the way are cause-joined. A step without step-finished
// runs again after a crash, which is why steps are idempotent; one with
// step-finished never does.
//
// # The runner's states
//
//	            Drain                 settled           last step ended
//	(none) ───────────────▶ settling ─────────▶ running ────────────────▶ finished
//	  ▲                        │ │                │ │                     or failed
//	  │                        │ └── ctx ended ───┘ │                        │
//	  │                        │         ▼          │ Undrain                │ Undrain
//	  │                        │    (interrupted:   │                        │
//	  │                        │  Resume goes on)   ▼                        │
//	  └─────────────────────── └──────────────▶ undraining ◀─────────────────┘
//	cordon lifted, last of all                      │
//	                                                └── Drain ──▶ settling, a new
//	                                                    drain; the undrain stops
//
// A drain belongs to the boot in which it began. After a reboot the unfinished
// one is history (interrupted) and the node is free to serve; within a boot it
// is in effect until it is undrained, whether it has ended or not.
//
// # Goroutines
//
// [Runner.Drain] and [Runner.Resume] run a drain in the caller's goroutine and
// every step in one of its own, for which they wait. The exception is a step
// that goes on although its context has ended: it is abandoned after a short
// bound and reported, for the node does not have the time to wait for it. The
// journal starts none.
package drain
