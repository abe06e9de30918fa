// Package bake answers: how is an image baked, and how is a bake taken up again?
//
// A [Runner] looks at Azure, asks package fleet for the next step, takes it, and looks
// again, until the bake has ended. It keeps nothing: all that is known of a bake is in
// Azure, so that the next Runner goes on wherever the last one died.
//
//	look ─▶ fleet.NextBake ─▶ step ─▶ tell ─┐
//	  ▲                                     │
//	  └─────────────────────────────────────┘
//
// Every wait is bounded, ends with its context, and looks no more often than Azure
// asks for. Nothing is written after a read that failed. The package starts no
// goroutines.
package bake
