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
	// appendWithin bounds one entry, also when the context of its caller has ended: what
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
	failed error // of a write
}

// Decode returns the events of a journal's entries. What it does not know is an error.
func Decode(entries []json.RawMessage) ([]rollout.Event, error) { return decodeFrom(entries, 0) }

// decodeFrom returns the events of the entries from one on.
func decodeFrom(entries []json.RawMessage, from int) ([]rollout.Event, error) {
	var events []rollout.Event
	for i := from; i < len(entries); i++ {
		entry := entries[i]
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

// A replayed is a journal as it was read last, and what it comes to.
type replayed struct {
	entries []json.RawMessage
	events  []rollout.Event
	plan    rollout.Plan
	state   rollout.State
}

// goOn takes in the entries of a journal that are not known yet. One that does not begin
// with those that are is another journal.
func (k *replayed) goOn(entries []json.RawMessage) error {
	same := func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }
	if n := len(k.entries); len(entries) < n || !slices.EqualFunc(k.entries, entries[:n], same) {
		*k = replayed{}
	}
	events, err := decodeFrom(entries, len(k.entries))
	if err != nil {
		return err
	}
	from := len(k.events)
	k.entries, k.events = entries, append(k.events, events...)
	switch {
	case len(k.events) == 0:
		return ErrNone
	case from == 0:
		k.plan, k.state, err = rollout.Fold(k.events)
		return err
	}
	return k.state.FoldIn(&k.plan, k.events, from)
}

// replay reads the journal, and goes on from what it came to when it was read last. The
// error is ErrNone when it is empty.
func (r *Runner) replay(ctx context.Context) (*ledger, error) {
	entries, err := r.Journal.Entries(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.known.goOn(entries); err != nil {
		r.known = replayed{}
		return nil, err
	}
	k := &r.known
	return &ledger{journal: r.Journal, tell: r.tell, events: slices.Clip(k.events), plan: k.plan, state: k.state.Clone()}, nil
}

// append journals events, and takes them in. Several are one entry: they were decided
// together.
func (l *ledger) append(ctx context.Context, events ...rollout.Event) error {
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
	// Its time begins here: a batch that is drained has a hundred entries wait for each other.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendWithin)
	defer cancel()
	if err := l.journal.Append(ctx, text); err != nil {
		l.failed = err
		return err
	}
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

// reached is since when members have run the version without a gap; zero: none does.
func (l *ledger) reached() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Reached()
}

// guard says whether a write to Azure may begin.
func (l *ledger) guard() error { return l.journal.Guard() }

// status is what the ledger says. What is returned does not change any more.
func (l *ledger) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Plan: l.plan, State: l.state.Clone(), Events: slices.Clip(l.events)}
}
