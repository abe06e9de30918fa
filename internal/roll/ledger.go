package roll

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// maxEntry bounds an entry of several events, in bytes.
	maxEntry = 64 << 10
	// appendWithin bounds one append, also when the context of its caller has ended: what
	// was done is to be told.
	appendWithin = 30 * time.Second
)

// A ledger is a journal that was read, and what it comes to. Its append is safe for
// concurrent use.
type ledger struct {
	journal Journal
	tell    func(Event)

	mu     sync.Mutex
	events []rollout.Event
	plan   rollout.Plan
	state  rollout.State
	lines  int   // entries
	failed error // of a write
}

// Decode returns the events of a journal's entries. What it does not know is an error.
func Decode(entries []json.RawMessage) ([]rollout.Event, error) {
	var events []rollout.Event
	for i, entry := range entries {
		list := []json.RawMessage{entry}
		if text := bytes.TrimSpace(entry); len(text) > 0 && text[0] == '[' {
			list = nil
			if err := json.Unmarshal(text, &list); err != nil {
				return nil, fmt.Errorf("entry %d of the journal: %w", i+1, err)
			}
		}
		for _, text := range list {
			e, err := rollout.DecodeEvent(text)
			if err != nil {
				return nil, fmt.Errorf("entry %d of the journal: %w", i+1, err)
			}
			events = append(events, e)
		}
	}
	return events, nil
}

// replay reads the journal. The error is ErrNone when it is empty.
func (r *Runner) replay(ctx context.Context) (*ledger, error) {
	entries, err := r.Journal.Entries(ctx)
	if err != nil {
		return nil, err
	}
	events, err := Decode(entries)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return nil, ErrNone
	}
	l := &ledger{journal: r.Journal, tell: r.tell, events: events, lines: len(entries)}
	l.plan, l.state, err = rollout.Fold(events)
	return l, err
}

// append journals events, and takes them in. Several are one entry: they were decided
// together.
func (l *ledger) append(ctx context.Context, events ...rollout.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendWithin)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	var entry []json.RawMessage
	from, size := 0, 0
	for i := range events {
		text, err := json.Marshal(&events[i])
		if err != nil {
			return fmt.Errorf("journal an event: %w", err)
		}
		if len(entry) > 0 && size+len(text) > maxEntry {
			if err := l.write(ctx, entry, events[from:i]); err != nil {
				return err
			}
			entry, from, size = nil, i, 0
		}
		entry, size = append(entry, text), size+len(text)
	}
	if len(entry) == 0 {
		return nil
	}
	return l.write(ctx, entry, events[from:])
}

// write adds one entry to the journal. Once that has failed, what the journal holds is
// not known any more, and nothing is added to it.
func (l *ledger) write(ctx context.Context, entry []json.RawMessage, events []rollout.Event) error {
	if l.failed != nil {
		return l.failed
	}
	text := entry[0]
	if len(entry) > 1 {
		var err error
		if text, err = json.Marshal(entry); err != nil {
			return fmt.Errorf("journal events: %w", err)
		}
	}
	if err := l.journal.Append(ctx, text); err != nil {
		l.failed = err
		return err
	}
	l.lines++
	for i := range events {
		e := &events[i]
		if e.Kind == rollout.Planned {
			l.plan = *e.Plan
		}
		l.state.Apply(&l.plan, e)
		l.events = append(l.events, *e)
		l.tell(Event{Entry: e})
	}
	return nil
}

// guard says whether a write to Azure may begin.
func (l *ledger) guard() error { return l.journal.Guard() }

// status is what the ledger says. What is returned does not change any more.
func (l *ledger) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	plan, state, err := rollout.Fold(l.events)
	if err != nil {
		plan, state = l.plan, l.state // not of a journal that was read or begun
	}
	return Status{Plan: plan, State: state, Events: slices.Clone(l.events)}
}
