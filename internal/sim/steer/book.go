package steer

import (
	"context"
	"slices"
	"time"
)

// A Book holds the faults that are in force, in the order in which they were set. It
// is not safe for concurrent use; whoever owns it guards it.
type Book[F any] struct {
	entries []*Entry[F]
}

// An Entry is one fault.
type Entry[F any] struct {
	Fault F
	// Left is how many requests it still meets; -1 means any number.
	Left int
	// Until is when it ends; zero means never.
	Until time.Time

	cleared chan struct{}
}

// Set enters a fault for a number of requests, 0 for any, until a time, zero for
// ever.
func (b *Book[F]) Set(fault F, count int, until time.Time) {
	if count == 0 {
		count = -1
	}
	b.entries = append(b.entries, &Entry[F]{Fault: fault, cleared: make(chan struct{}), Left: count, Until: until})
}

// Clear takes faults out.
func (b *Book[F]) Clear(which func(F) bool) {
	b.entries = slices.DeleteFunc(b.entries, func(e *Entry[F]) bool {
		if which(e.Fault) {
			close(e.cleared)
			return true
		}
		return false
	})
}

// Take counts a request of the first fault in force that meets it, and returns the
// fault, or nil.
func (b *Book[F]) Take(now time.Time, meets func(F) bool) *Entry[F] {
	for _, e := range b.entries {
		if e.inForce(now) && meets(e.Fault) {
			if e.Left > 0 {
				e.Left--
			}
			return e
		}
	}
	return nil
}

// InForce returns the faults that still meet requests.
func (b *Book[F]) InForce(now time.Time) []*Entry[F] {
	var all []*Entry[F]
	for _, e := range b.entries {
		if e.inForce(now) {
			all = append(all, e)
		}
	}
	return all
}

// Hold waits until the fault is cleared, or ctx ends, or the rest of its time, unless
// that is 0, has passed.
func (e *Entry[F]) Hold(ctx context.Context, rest time.Duration) {
	var over <-chan time.Time
	if rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-e.cleared:
	case <-over:
	}
}

func (e *Entry[F]) inForce(now time.Time) bool {
	return e.Left != 0 && (e.Until.IsZero() || now.Before(e.Until))
}
