package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
)

// A Place is where journals are kept: one a rollout.
type Place struct {
	stores stores
	tell   func(string)

	now    func() time.Time     // of what is written
	passed func() time.Duration // goes on while the machine sleeps
}

// stores is a place of one kind.
type stores interface {
	store(id string) store
	list(ctx context.Context) ([]Listed, error)
}

// A store is what keeps one rollout.
type store interface {
	// name is the journal, in errors.
	name() string
	// read returns the journal from an offset on; nil when there is none, or it ends
	// before that. A last line without an end is an error where nothing can leave one.
	read(ctx context.Context, from int64) ([]byte, error)
	// write adds a line where the journal ends, and makes the journal when there is
	// none. It asks may before whatever it sends. It is errMoved when the journal ends
	// elsewhere; after any other error the line may still arrive.
	write(ctx context.Context, at int64, line []byte, may func() error) error

	// lock takes the lock, or returns a *HeldError.
	lock(ctx context.Context, by Owner, at time.Time) (grip, error)
	// holder is who has the lock; nil: nobody.
	holder(ctx context.Context) (*HeldError, error)
	// unlock takes the lock from whoever has it.
	unlock(ctx context.Context) error

	put(ctx context.Context, name string, request []byte) error
	names(ctx context.Context) ([]string, error)
	get(ctx context.Context, name string) ([]byte, error) // nil: it is gone; at most maxRequest+1 bytes
	remove(ctx context.Context, name string) error
}

// A grip is a lock that is held.
type grip interface {
	lasts() time.Duration              // without a renewal; 0: it needs none
	renew(ctx context.Context) error   // ErrLost: it is somebody else's
	still() error                      // whether it is seen from here that it is lost
	release(ctx context.Context) error // gives it back; that it is lost is no error
}

// errMoved says that a journal does not end where its writer thinks that it ends.
var errMoved = errors.New("somebody else has written to the journal")

// ErrNoPlace says that a place is not there: its directory (the error is an
// fs.ErrNotExist, too) or its container. A directory is made for the first rollout; else
// the place is lost, or its address is wrong, and nothing is known of any rollout.
var ErrNoPlace = errors.New("the place of the journal is not there")

// Listed is a rollout of a list.
type Listed struct {
	ID      string
	Begun   time.Time
	Written time.Time // when its journal was last written to, by an entry or for a lock
}

// At returns the place that an address names: the path of a directory, or
// https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH, which needs a client. Tell gets
// what nobody asked for and somebody should know; nil: nobody does. Nothing is made and
// nothing is asked yet.
func At(address string, client *azure.Client, tell func(string)) (*Place, error) {
	p := &Place{tell: tell, now: time.Now, passed: clock}
	if tell == nil {
		p.tell = func(string) {}
	}
	if !strings.Contains(address, "://") {
		if address == "" {
			return nil, errors.New("a journal needs a directory, or the URL of a path in a container of blobs")
		}
		p.stores = directory(address)
		return p, nil
	}
	blobs, err := newBlobs(address, client)
	p.stores = blobs
	return p, err
}

// Passes has the place count by another clock how long a lock lasts: one that goes on
// while the machine sleeps, and that a test may stop.
func (p *Place) Passes(clock func() time.Duration) { p.passed = clock }

// validID is what the id of a rollout looks like: a name of files and of blobs.
var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Journal returns that of a rollout, which need not be there yet.
func (p *Place) Journal(id string) (*Journal, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("%.80q is no id of a rollout: it has at most 64 lower-case letters, digits, dots, hyphens and underscores", id)
	}
	return &Journal{store: p.stores.store(id), place: p}, nil
}

// List returns the rollouts that the place knows, by id. It does not read their
// journals. The error of a place that is not there is [ErrNoPlace].
func (p *Place) List(ctx context.Context) ([]Listed, error) { return p.stores.list(ctx) }

// A Journal is that of one rollout. It is safe for concurrent use.
type Journal struct {
	store store
	place *Place

	mu     sync.Mutex
	known  content         // as it was read last
	litter map[string]bool // by name: what lies among the requests, and is none
}

// Entries returns all entries, the first one first. A journal that is not there has
// none. Only what was added since the last time is read, from where that ended.
func (j *Journal) Entries(ctx context.Context) ([]json.RawMessage, error) {
	c, err := j.read(ctx)
	return c.entries, err
}

// Append fails: it needs a [Lock].
func (*Journal) Append(context.Context, json.RawMessage) error { return errNoLock }

// Guard fails: it needs a [Lock].
func (*Journal) Guard() error { return errNoLock }

// Used is nothing: only who has the [Lock] uses it up.
func (*Journal) Used() float64 { return 0 }

// read reads from the last line on that is known. A journal that has another one there,
// or none, is not the one that was read, and is read from its beginning.
func (j *Journal) read(ctx context.Context) (content, error) {
	j.mu.Lock()
	known := j.known
	j.mu.Unlock()
	text, err := j.store.read(ctx, known.end.size-int64(len(known.last)))
	if err != nil {
		return content{}, err
	}
	rest, same := bytes.CutPrefix(text, known.last)
	if !same {
		known = content{}
		if rest, err = j.store.read(ctx, 0); err != nil {
			return content{}, err
		}
	}
	c, err := parse(j.store.name(), known, rest)
	j.mu.Lock()
	j.known = c // nothing, if there is an error
	j.mu.Unlock()
	if c.torn {
		j.place.tell(fmt.Sprintf("%s:%d: the last line is not whole, and is left out: a crash has cut it, or it is being written", j.store.name(), c.end.lines+1))
	}
	return c, err
}

// fence reads the journal and adds a line without an entry, so that nothing fits any
// more that was sent before.
func (j *Journal) fence(ctx context.Context, writer string, may func() error) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	for range 5 { // a holder that was not stopped adds a line or two
		c, err := j.read(ctx)
		if err != nil {
			return content{}, err
		}
		if c.end.lines >= maxLines {
			return content{}, fmt.Errorf("%s is full: it has %d lines; begin a new rollout", j.store.name(), maxLines)
		}
		line := c.end.line(j.place.now(), writer, nil)
		switch err := j.store.write(ctx, c.end.size, line, may); {
		case err == nil:
			c.end = c.end.after(line)
			return c, nil
		case !errors.Is(err, errMoved):
			return content{}, err
		}
	}
	return content{}, fmt.Errorf("%s: %w, again and again", j.store.name(), errMoved)
}

// hostName is this machine's, or "".
func hostName() string {
	name, _ := os.Hostname() // unknown is a name that nobody has
	return name
}
