package imds

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// DefaultRateLimit is the documented limit of the service: requests per second
// and machine, all its processes together.
const DefaultRateLimit = 5

// Config says what a [Server] simulates. The zero value is one machine named
// web_0 in the scale set web, at real speed.
type Config struct {
	// VMs are the machines. Their names must differ, case aside.
	VMs []Instance
	// RateLimit is the number of requests in a second that a machine is
	// allowed; more are answered with 429. Zero means DefaultRateLimit, a
	// negative number no limit. Speed does not change it.
	RateLimit int
	// FirstCallDelay is how long Scheduled Events take to be enabled by a
	// machine's first request for them: up to two minutes in Azure. Requests
	// that come meanwhile wait as well. Zero means no delay.
	FirstCallDelay time.Duration
	// Speed divides every span that the simulation waits for: notices,
	// durations, delays, the times of a scenario. Zero means 1.
	Speed float64
	// Logger receives what happens: events, acks and faults as Info, requests
	// as Debug unless they are answered otherwise than the one before. Nil
	// discards.
	Logger *slog.Logger
}

// A Server simulates the metadata service of several machines. All its methods
// may be called at any time from any goroutine.
type Server struct {
	log            *slog.Logger
	speed          float64
	rateLimit      int
	firstCallDelay time.Duration

	mu         sync.Mutex
	vms        []*vm
	live       []*event // those that are in documents, in order of publication
	past       []Event  // those that have vanished, at most maxPast
	faults     steer.Book[Fault]
	acks       []Ack     // the last ones, at most maxAcks
	requests   []Request // the last ones, at most maxRequests
	counts     map[countKey]int
	lastStatus map[countKey]int // by a key without a status
	changed    chan struct{}
}

// A vm is one simulated machine.
type vm struct {
	key         string // the name that the machine was configured with
	instance    Instance
	incarnation int64
	enabledAt   time.Time   // when Scheduled Events begin to answer; zero: never asked for
	admitted    []time.Time // of the requests within the last second
}

// New makes a server; it listens on nothing. It panics when two machines have
// the same name.
func New(cfg Config) *Server {
	s := &Server{
		log:            cfg.Logger,
		speed:          cfg.Speed,
		rateLimit:      cfg.RateLimit,
		firstCallDelay: cfg.FirstCallDelay,
		counts:         map[countKey]int{},
		lastStatus:     map[countKey]int{},
		changed:        make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.speed <= 0 {
		s.speed = 1
	}
	if s.rateLimit == 0 {
		s.rateLimit = DefaultRateLimit
	}
	machines := cfg.VMs
	if len(machines) == 0 {
		machines = []Instance{{}}
	}
	for _, m := range machines {
		m = m.withDefaults()
		if s.find(m.Name) != nil {
			panic(fmt.Sprintf("imds: two machines named %q", m.Name))
		}
		s.vms = append(s.vms, &vm{key: m.Name, instance: m, incarnation: 1})
	}
	return s
}

// ServeHTTP answers as the first machine's metadata service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serve(s.vms[0], w, r)
}

// VM returns the metadata service as the machine with that name sees it, for a
// listener of its own. It panics when there is no such machine.
func (s *Server) VM(name string) http.Handler {
	m := s.mustFind(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(m, w, r) })
}

// VMs returns the names that the machines were configured with, in order.
func (s *Server) VMs() []string {
	names := make([]string, len(s.vms))
	for i, m := range s.vms {
		names[i] = m.key
	}
	return names
}

// Changed returns a channel that is closed when an event, an ack or a fault
// changes next. Take the channel before looking at the state.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.changed
}

// Run moves events when they are due, whether or not somebody looks, until ctx
// is done. It returns nil then.
func (s *Server) Run(ctx context.Context) error {
	s.await(ctx, func() bool { return false })
	return nil
}

// await moves events when they are due until done says yes, and reports
// whether it did before ctx ended. done is asked after every change.
func (s *Server) await(ctx context.Context, done func() bool) bool {
	for {
		s.mu.Lock()
		s.advance()
		changed, due := s.changed, s.nextDue()
		s.mu.Unlock()
		if done() {
			return true
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-timer:
		}
	}
}

// notify wakes those who wait for a change; s.mu is held.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// span is how long d takes at the server's speed.
func (s *Server) span(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.speed)
}

// find returns the machine that was configured with that name, or nil. The
// list never changes after New.
func (s *Server) find(name string) *vm {
	i := slices.IndexFunc(s.vms, func(m *vm) bool { return strings.EqualFold(m.key, name) })
	if i < 0 {
		return nil
	}
	return s.vms[i]
}

func (s *Server) mustFind(name string) *vm {
	m := s.find(name)
	if m == nil {
		panic(fmt.Sprintf("imds: no machine named %q", name))
	}
	return m
}

// sleep waits for d unless ctx ends first, and reports whether it waited.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
