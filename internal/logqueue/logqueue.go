// Package logqueue answers: how does the agent log without waiting for its log?
//
// journald stops reading while its disk hangs, and whoever writes to it then
// waits. A [Queue] stands between the two: to log is to append to a list in
// memory, one goroutine hands the records on, and what does not fit is dropped,
// counted, and said in the log itself once it goes on.
//
// Run owns that goroutine. One that hangs in the log when Run's time is up is
// left behind.
package logqueue

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxRecords and maxBytes bound what waits: an hour of a busy drain fits.
	maxRecords = 4096
	maxBytes   = 1 << 20
	// flushBound is how long Run goes on writing after its context ended.
	flushBound = time.Second
	// recordOverhead and attrOverhead are what they take besides their text.
	recordOverhead = 256
	attrOverhead   = 64
)

// A Queue takes log records and hands them, in order, to a handler that may
// block. It holds at most 4,096 records and 1 MiB. It is safe for concurrent use.
type Queue struct {
	out slog.Handler

	mu      sync.Mutex
	changed sync.Cond // of mu
	items   []item
	bytes   int    // of items, and of the one that is being written
	missing uint64 // records dropped after the newest item
	dropped uint64 // ever
	closed  bool
}

// An item is a record that waits, the handler of its attributes and groups, and
// how many records were dropped before it.
type item struct {
	handler slog.Handler
	record  slog.Record
	bytes   int
	missing uint64
}

// New returns a Queue before out. Only Run calls its Handle; its Enabled, which
// must not block, is asked by whoever logs.
func New(out slog.Handler) *Queue {
	q := &Queue{out: out}
	q.changed.L = &q.mu
	return q
}

// Handler returns what a logger logs to. Its Handle never blocks and never
// fails. Attributes are turned into text on the way, unless they are plain
// values: what changes later does not change what was logged.
func (q *Queue) Handler() slog.Handler { return &handler{q, q.out} }

// Dropped returns how many records never reached the log: those that did not
// fit, and those that the log refused.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Run writes until ctx is done, and then what is left, for at most a second.
// Records that come before it are kept; those that come after it has been told to
// end are dropped. It must be called once.
func (q *Queue) Run(ctx context.Context) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		q.write()
	}()
	<-ctx.Done()
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	bound := time.NewTimer(flushBound)
	defer bound.Stop()
	select {
	case <-written:
	case <-bound.C: // the log hangs
	}
}

// write hands records on until the queue is closed and empty.
func (q *Queue) write() {
	ctx := context.Background()
	var unsaid uint64
	for it, ok := q.next(0); ok; it, ok = q.next(it.bytes) {
		if unsaid += it.missing; unsaid > 0 {
			notice := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped", 0)
			notice.AddAttrs(slog.Uint64("lines", unsaid))
			if q.out.Handle(ctx, notice) == nil {
				unsaid = 0
			}
		}
		if it.handler != nil && it.handler.Handle(ctx, it.record) != nil {
			unsaid++ // nobody else could be told
			q.lost()
		}
	}
}

// next waits for something to write; an item without a handler says only what is
// missing. written is the size of the item that was written before.
func (q *Queue) next(written int) (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= written
	for len(q.items) == 0 && q.missing == 0 && !q.closed {
		q.changed.Wait()
	}
	if len(q.items) > 0 {
		it := q.items[0]
		q.items[0] = item{}
		q.items = q.items[1:]
		return it, true
	}
	it := item{missing: q.missing}
	q.missing = 0
	return it, it.missing > 0
}

func (q *Queue) lost() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

func (q *Queue) add(it item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items) >= maxRecords || q.bytes+it.bytes > maxBytes {
		q.dropped++
		q.missing++
		return
	}
	it.missing, q.missing = q.missing, 0
	q.items = append(q.items, it)
	q.bytes += it.bytes
	q.changed.Signal()
}

// A handler renders and queues. Its own attributes and groups are kept by the
// handler that it writes to.
type handler struct {
	queue *Queue
	out   slog.Handler
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.out.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	it := item{
		handler: h.out, record: slog.NewRecord(r.Time, r.Level, r.Message, r.PC),
		bytes: recordOverhead + len(r.Message),
	}
	r.Attrs(func(a slog.Attr) bool {
		a = frozen(a)
		it.bytes += size(a)
		it.record.AddAttrs(a)
		return true
	})
	h.queue.add(it)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.queue, h.out.WithAttrs(frozenAll(attrs))}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.queue, h.out.WithGroup(name)}
}

// frozen is an attribute that nobody can change any more: what is not a plain
// value is the text that slog.TextHandler makes of it.
func frozen(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		v = slog.GroupValue(frozenAll(v.Group())...)
	case slog.KindAny:
		if v.Any() != nil { // an empty attribute stays one, for it is left out
			v = slog.StringValue(text(v.Any()))
		}
	default:
	}
	return slog.Attr{Key: a.Key, Value: v}
}

func frozenAll(attrs []slog.Attr) []slog.Attr {
	all := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		all[i] = frozen(a)
	}
	return all
}

func text(v any) string {
	switch v := v.(type) {
	case encoding.TextMarshaler:
		if b, err := v.MarshalText(); err == nil {
			return string(b)
		}
	case []byte:
		return string(v)
	}
	return fmt.Sprintf("%+v", v) // a panic of a method becomes text here
}

func size(a slog.Attr) int {
	n := attrOverhead + len(a.Key)
	switch a.Value.Kind() {
	case slog.KindString:
		n += len(a.Value.String())
	case slog.KindGroup:
		for _, member := range a.Value.Group() {
			n += size(member)
		}
	default:
	}
	return n
}
