// Package rollout answers: what must happen next in a rollout, so that a bad image
// reaches as few machines as possible?
//
// It is pure: no clock, no network, no file, no goroutine. A [Plan] is made once, by
// [PlanFor], and does not change. The journal is a list of [Event]s that begins with
// [Begin]; what it comes to is a [State], by [Fold]. [Next] looks at the plan, the state,
// an [Observation] of Azure and the time, and answers with a [Move]: events, which are
// decisions, and actions, which are to be carried out because of them.
//
//	        ┌──────────────────────── observe ◀───────────────────────────┐
//	        ▼                                                             │
//	Next(plan, state, observation, now) ─▶ events ─▶ journal              │
//	                                    └▶ actions: began ─▶ do ─▶ ended ─┘  until there are none
//
// Nothing is remembered but in the journal, and what Azure shows is believed before what
// the journal says was asked for: Next asks again for what is not there yet. So every
// action may be repeated, and a runner that is killed at any entry, or two that follow
// each other, go on from the same state. An action that began and has no end, or whose
// answer was lost, keeps its target to itself until its effect is seen or had the time
// to show (Limits.Settle).
//
// # The rollout
//
//	pending ─▶ rolling (waves) ─▶ promoting ─▶ succeeded
//	              │  │  │              │
//	              │  │  └── failed ────┴▶ halting ─▶ returning ─▶ demoting ─▶ halted
//	              │  │                      ▲                        │    ├─▶ halted-incomplete ─▶ returning …
//	              │  └──── abort ───────────┘  (keep: nobody returns)│    │   when what was left can be reached
//	              │                         ▲                        └────┴─▶ aborted
//	              └── paused ─(deadline)─▶ held ── abort ──┘
//	                    ▲                   │
//	                    └─── resume ────────┘
//
// Paused is no phase but a [Block] on one: the rollout watches, takes failed members for
// failed, goes back where it must, and begins nothing new. A block goes away with its
// cause; what was refused for too long, and what an operator paused, wait for an
// operator. Held is the end of a pause: models are back at the last good version,
// nothing is drained or suspended, members stay as they are.
//
// # A wave, and a batch
//
//	replicating ─▶ asking (approval, window) ─▶ batches ◀─▶ soaking ─▶ done
//	                                               └───────────────┴─▶ skipped
//	picked (repairs suspended, drained) ─▶ upgrading ─▶ verifying ─▶ batch-done
//	   └───────────────┴─▶ given-up, and an undrain is owed
//
// A wave that soaks goes back to its batches when a member that it needs as evidence is
// gone. Time counts between observations at most Limits.ObserveEvery apart; after a
// longer gap every member is verified afresh. Who looks too seldom for anything to count
// is told so by a pause.
//
// A wave whose sets have nobody to take is skipped, and stands for nothing: their models
// get the version only when it is promoted. A rollout that skipped all of its waves is
// held at once, and begins with the first one again when it is resumed.
//
// The way back begins with the version excluded and the models at the last good one.
// A batch of it that makes no step for twice Limits.Stuck is given up, and the others go
// on; whoever is left is listed. Members that the platform upgrades while the version is
// being demoted, because somebody has released it, go back first, once. An abort of what is
// halted-incomplete goes that way once more, and is its end: what is left then stays
// listed, and is taken up no more.
//
// # Who decides what
//
//   - Who runs the version is looked up in every call (account.go), whoever brought it:
//     births and the platform's upgrades are touched members like those that were picked.
//   - Whether a member failed, and whether the rollout may go on, is judged before
//     anything is begun (judge.go). Only [Bad] marks a version; the other classes pause.
//   - Where a model is to point has one answer (machine.wanted): to the version from just
//     before the POST that needs it to its end, and for good from the set's last wave on.
//     A POST that was refused has ended.
//   - How a set gets the version, and how it stops getting it, is its driver's matter:
//     batches.go, platform.go.
//   - What is owed, an undrain or repairs that we suspended, is in the state from the
//     intent on, and is paid in every phase (debts.go).
//   - No write follows from what is not known: machine.do is the only way to an action,
//     and refuses one on a set that could not be read, or that was read before the last
//     write to it.
package rollout
