package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
)

// The times of a lock.
const (
	leaseTime     = time.Minute      // of a lease
	renewEvery    = 15 * time.Second // when all is well
	renewSoon     = 3 * time.Second  // after a renewal that failed
	renewWithin   = 10 * time.Second // that a renewal may take
	guardTime     = 20 * time.Second // that Guard wants to be left
	releaseWithin = 10 * time.Second // that a release may take
)

// ErrLost says that a lock is not held any more, or was not. Its holder stops.
var ErrLost = errors.New("the lock is lost")

var errNoLock = fmt.Errorf("%w: it was never taken", ErrLost)

// lost is an ErrLost that says why.
func lost(why any) error { return fmt.Errorf("%w: %v", ErrLost, why) }

// ErrOutage says that Azure Storage was out of reach of who has a lock, or the machine slept:
// the lock is lost, or about to be, and nobody is known to have taken it. It may be taken
// again.
var ErrOutage = errors.New("the journal is out of reach")

// An outage is an ErrOutage with words of its own.
type outage struct{ error }

func (e outage) Is(target error) bool { return target == ErrOutage }
func (e outage) Unwrap() error        { return e.error }

// An Owner is who has a lock.
type Owner struct {
	Name string // of a person, or a run of a pipeline
	Host string // "": this machine
	PID  int    // 0: it does not matter
}

// A HeldError says that somebody has the lock.
type HeldError struct {
	Owner
	Since time.Time     // zero: it does not say
	Age   time.Duration // how long the lock has been held
}

func (e *HeldError) Error() string {
	if e.Name == "" && e.Host == "" {
		return "somebody who has not said who is at work on this rollout"
	}
	text := "at work on this rollout: " + e.Name
	if e.Host != "" {
		text += " on " + e.Host
	}
	if e.PID > 0 {
		text += fmt.Sprintf(" (process %d)", e.PID)
	}
	if !e.Since.IsZero() {
		text += fmt.Sprintf(", since %s (%s)", e.Since.UTC().Format("2006-01-02 15:04:05 UTC"), e.Age.Round(time.Second))
	}
	return text
}

// same says whether both are about one taking of the lock.
func (e *HeldError) same(other *HeldError) bool {
	return e != nil && other != nil && e.Owner == other.Owner && e.Since.Equal(other.Since)
}

// Holder returns who has the lock; nil: nobody has.
func (j *Journal) Holder(ctx context.Context) (*HeldError, error) { return j.store.holder(ctx) }

// Unlock takes the lock from who has it: from shown, whom Holder returned and an operator
// has seen. Who had it notices at its next append at the latest. It refuses when
// somebody else has the lock by now; when nobody has, there is nothing to do.
func (j *Journal) Unlock(ctx context.Context, shown *HeldError) error {
	held, err := j.store.holder(ctx)
	if err != nil || held == nil {
		return err
	}
	if !held.same(shown) {
		return fmt.Errorf("the lock has changed hands; it was not broken: %w", held)
	}
	if err := j.store.unlock(ctx); err != nil {
		return err
	}
	_, err = j.fence(ctx, draw(4), func() error { return nil })
	return err
}

// A Lock is the right to go on with a rollout, for as long as it is held. It is safe for
// concurrent use.
type Lock struct {
	*Journal

	grip   grip
	writer string
	stop   context.CancelFunc // of the goroutine that renews
	done   chan struct{}      // closed when that has ended

	writing sync.Mutex // one append at a time

	mu      sync.Mutex
	entries []json.RawMessage
	end     tail
	sent    time.Duration // when the renewal was sent that counts
	gone    error         // why it is lost
}

// Acquire takes the lock, reads the journal, and keeps the lock until Release, also when
// ctx has ended. When somebody has it, the error is a *[HeldError].
func (j *Journal) Acquire(ctx context.Context, by Owner) (*Lock, error) {
	if by.Host == "" {
		by.Host = hostName()
	}
	l := &Lock{Journal: j, writer: draw(4), done: make(chan struct{}), sent: j.place.passed()}
	var err error
	if l.grip, err = j.store.lock(ctx, by, j.place.now()); err != nil {
		return nil, err
	}
	c, err := j.fence(ctx, l.writer, l.held)
	if err != nil {
		return nil, errors.Join(err, l.giveBack(ctx))
	}
	l.entries, l.end = c.entries, c.end
	if left := maxEntries - c.end.lines; left < maxEntries/10 {
		j.place.tell(fmt.Sprintf("%s is almost full: it takes %d more lines", j.store.name(), max(left, 0)))
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	if l.grip.lasts() == 0 {
		close(l.done)
		return l, nil
	}
	go l.keep(keep)
	return l, nil
}

// Entries returns all entries, the first one first. They are in memory.
func (l *Lock) Entries(context.Context) ([]json.RawMessage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries), nil
}

// Append adds an entry, which is one JSON document. It is durable when Append returns.
// After an error of the journal the lock is lost: whether the entry is there is not
// known, and only reading it again tells. An entry that is refused for what it is
// changes nothing.
func (l *Lock) Append(ctx context.Context, entry json.RawMessage) error {
	text, err := compact(entry)
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	end := l.end
	l.mu.Unlock()
	line := end.line(l.place.now(), l.writer, text)
	if end.lines >= maxEntries || end.size+int64(len(line)) > maxJournal {
		return fmt.Errorf("%s is full: it takes %d lines and %d bytes; abort this rollout and begin a new one", l.store.name(), maxEntries, maxJournal)
	}
	if err := l.held(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	if err := l.store.write(ctx, end.size, line, l.held); err != nil {
		if azure.Doubtful(err) {
			err = outage{err}
		}
		return l.lose(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.end = append(l.entries, text), end.after(line)
	return nil
}

// Used is how much of what the journal takes is used, of 1. Each taking of its lock is a
// line, too.
func (l *Lock) Used() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(float64(l.end.lines)/maxEntries, float64(l.end.size)/maxJournal)
}

// Guard says whether enough of the lock is left to begin a write to Azure. An ErrLost is
// for good; any other error may be over when the lock is renewed. Both may be an ErrOutage.
func (l *Lock) Guard() error {
	if err := l.held(); err != nil {
		return err
	}
	if l.grip.lasts() == 0 {
		return nil
	}
	if left := l.left(); left < guardTime {
		return outage{fmt.Errorf("only %s of the lock are left: it could not be renewed in time", left.Round(time.Second))}
	}
	return nil
}

// held returns an ErrLost when the lock is lost, as far as it is known here.
func (l *Lock) held() error {
	l.mu.Lock()
	gone := l.gone
	l.mu.Unlock()
	if gone != nil {
		return gone
	}
	if err := l.grip.still(); err != nil {
		return l.lose(err)
	}
	if l.grip.lasts() > 0 && l.left() <= 0 {
		return l.lose(outage{fmt.Errorf("it was not renewed for %s; the machine slept, or Azure Storage was out of reach", l.grip.lasts())})
	}
	return nil
}

// left is how long the lock lasts, counted from when its last renewal was sent.
func (l *Lock) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grip.lasts() - (l.place.passed() - l.sent)
}

// lose ends the lock for good, and returns why it is lost.
func (l *Lock) lose(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == nil {
		l.gone = err
		if !errors.Is(err, ErrLost) {
			l.gone = fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	return l.gone
}

// keep renews the lock until it is lost, or ctx ends.
func (l *Lock) keep(ctx context.Context) {
	defer close(l.done)
	wait := renewEvery
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = renewEvery
		if err := l.renew(ctx); errors.Is(err, ErrLost) {
			return
		} else if err != nil {
			wait = renewSoon
		}
	}
}

// renew makes the lock last for its whole time again. A renewal that is late is not
// sent: somebody may have seen the lock free.
func (l *Lock) renew(ctx context.Context) error {
	sent := l.place.passed()
	if err := l.held(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	err := l.grip.renew(ctx)
	if errors.Is(err, ErrLost) {
		return l.lose(err)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = sent
	return l.gone
}

// Release gives the lock back, also when ctx has ended. It waits for an append that is
// under way. A lock that is lost is none to give back.
func (l *Lock) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	l.writing.Lock()
	defer l.writing.Unlock()
	_ = l.lose(errors.New("it was given back"))
	return l.giveBack(ctx)
}

func (l *Lock) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	return l.grip.release(ctx)
}

// draw returns n random bytes in hexadecimal.
func draw(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
