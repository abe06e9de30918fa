package arm

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// DefaultSubscription is the subscription of a simulation that was given none.
const DefaultSubscription = "11111111-1111-1111-1111-111111111111"

// DefaultPageSize is how many resources a page of a list has.
const DefaultPageSize = 50

// Config says what a [Server] simulates. The zero value is an empty subscription in
// real time.
type Config struct {
	Subscription string // "" means DefaultSubscription
	Clock        *Clock // nil means real time
	PageSize     int    // of lists; 0 means DefaultPageSize
	// RequireToken asks every request for a bearer token, of any content.
	RequireToken bool
	// Unthrottled turns the limits of requests off.
	Unthrottled bool
	// RequestLog gets a line of JSON for every request; nil means none.
	RequestLog io.Writer
	Logger     *slog.Logger // nil discards
	// Rules say how long things take.
	Rules Rules
	// Builder says that builds of images are performed outside: NextBuild hands them
	// out. Otherwise they are scripted.
	Builder bool
	// State is a directory in which the simulation survives a restart; "" means
	// none. Close lets go of it.
	State string
}

// A Server answers as Azure Resource Manager. Its methods may be called from any
// goroutine.
type Server struct {
	cfg   Config
	clock *Clock
	log   *slog.Logger
	kinds map[string]*kind
	rules Rules
	began time.Time // when the simulation was started, simulated

	answered atomic.Int64 // requests, for their ids
	woken    chan struct{}

	mu       sync.Mutex // guards what follows; held while a request is answered
	store    *store
	contents *contents // of blobs
	throttle throttle
	state    *stateDir           // nil: none
	restored bool                // the store was taken up from the state directory
	dirty    bool                // the store has changed since it was saved
	capacity steer.Book[limited] // which births are refused
	halts    steer.Book[Halt]    // which rolling upgrades are

	faultMu sync.Mutex // guards what follows
	faults  steer.Book[fault]

	recordMu  sync.Mutex // guards what follows
	requests  []Request  // the last ones, at most maxRequests
	counts    map[countKey]int
	logFailed bool // the request log could not be written the last time
}

// New makes a server that listens on nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Subscription == "" {
		cfg.Subscription = DefaultSubscription
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(time.Now(), 1)
	}
	if cfg.PageSize <= 0 {
		cfg.PageSize = DefaultPageSize
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Rules.fill()
	s := &Server{
		rules: cfg.Rules, cfg: cfg, clock: cfg.Clock, log: cfg.Logger, kinds: kinds(), store: newStore(), contents: newContents(),
		throttle: throttle{buckets: map[string]*bucket{}}, counts: map[countKey]int{}, woken: make(chan struct{}, 1),
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.began = s.clock.Now() // which a state may have set
	s.limitCapacity()
	for _, h := range s.rules.Platform.Halts {
		s.halts.Set(h, h.Count, time.Time{})
	}
	return s, nil
}

// maxSettled bounds the transitions of one settling: more is a loop without end.
const maxSettled = 10_000_000

// settle lets everything happen that is due by now, in order. s.mu is held.
func (s *Server) settle(now time.Time) {
	for range maxSettled {
		d, ok := s.store.upcoming(now)
		if !ok {
			return
		}
		s.dirty = true
		tx := &txn{now: d.At, server: s, store: s.store}
		if d.Kind == operationKind {
			tx.endOperation(d.ID)
			continue
		}
		if happen := s.kind(d.Kind).transitions[d.Name]; happen != nil {
			happen(tx, d.ID, d.Args)
			continue
		}
		s.log.Error("scheduled transition is unknown", "kind", d.Kind, "name", d.Name)
	}
	s.log.Error("settling did not come to an end", "now", now)
}

// within runs a function on the settled store, in a transaction of now. A change that
// is not saved where it should be is an error, although it stays in memory.
func (s *Server) within(f func(tx *txn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.settle(now)
	tx := &txn{now: now, server: s, store: s.store}
	err := attempt(tx, f)
	if err == nil {
		s.dirty = s.dirty || tx.changed()
		s.settle(now)
	}
	s.store.forget(now)
	// A read that cannot be saved is no lie: what has happened by itself happens again.
	if unsaved := s.persist(now); err == nil && tx.changed() {
		err = unsaved
	}
	return err
}

// attempt runs a function that leaves nothing half done when it fails or panics.
func attempt(tx *txn, f func(tx *txn) error) error {
	failed := true
	defer func() {
		if failed {
			tx.rollback()
		}
	}()
	err := f(tx)
	failed = err != nil
	return err
}

// base is how a client reached the server.
func base(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	host := r.Host
	if strings.ContainsAny(host, "/\\ \r\n") {
		host = "invalid"
	}
	return scheme + "://" + host
}
