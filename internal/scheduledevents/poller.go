// Package scheduledevents answers: what is Azure about to do to this VM, and
// what should be done about it?
//
// A Poller asks the metadata service once a second and hands on each document
// that differs from the one before. The document is level-triggered: it is the
// whole truth, events are told apart by their content, and an event that is no
// longer in it is over. Presence and absence take different proofs. What reads in
// a document stands, whatever is odd beside it; that an event is over is said by a
// document only that reads as a whole, never by an error, an empty body or silence
// (Document.Absent).
//
// A Poller that cannot tell this VM's events says that it is blind:
//
//	            a document, and the VM's name
//	starting ────────────────────────────────▶ ok
//	    │                                     │  ▲
//	    │  three failed polls in a row        │  │  a document that
//	    │  no document for interval + timeout │  │  reads, and the
//	    │  an element that does not read,     │  │  VM's name
//	    │    and may be for this VM           │  │
//	    │  no name after two minutes          ▼  │
//	    └──────────────────────────────────▶ blind
//
// One lost poll is no news. The first answer on a VM may take two minutes: until
// then silence is starting, not blindness. The first document after blindness is
// handed on like any other: what changed meanwhile is acted on in that very poll.
//
// A Policy decides what to do about one event: whether it is this VM's, the
// action, when to begin, and whether an ack may be sent. It is a pure function.
//
// Poller.Run owns a goroutine for each request under way, at most two, which are
// gone when Run returns. Everything else may be called from anywhere.
package scheduledevents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

const (
	// DefaultInterval is what Azure recommends.
	DefaultInterval = time.Second
	// DefaultTimeout bounds one poll. It is longer than the interval, since
	// answers after three seconds have been seen, and shorter than a Spot VM's
	// notice, since nothing is known while a poll hangs.
	DefaultTimeout = 5 * time.Second
	// DefaultAPIVersion is the first that knows DurationInSeconds.
	DefaultAPIVersion = "2020-07-01"

	path = "/metadata/scheduledevents"
	// firstTimeout bounds the first poll, and how long silence is no blindness:
	// Azure switches scheduled events on for a VM when they are first asked for,
	// and takes up to two minutes to answer.
	firstTimeout = 130 * time.Second
	// skewRise and skewFall are by how much the service's clock must be further
	// ahead, or less, than it was to be believed: its times are whole seconds,
	// and an answer may be on its way for a while.
	skewRise = 100 * time.Millisecond
	skewFall = 2 * time.Second
	// blindAfter is how many failed polls in a row make the agent blind.
	blindAfter = 3
	// maxHold bounds how long a Retry-After is obeyed: longer would lose a
	// Preempt.
	maxHold = 5 * time.Second
	// pulse is how often Run looks after itself between polls.
	pulse = time.Second
	// stuckAfter is how long past its deadline a request may take to return
	// before Run no longer vouches for itself.
	stuckAfter = 5 * time.Second
)

// Config configures a Poller.
type Config struct {
	// Client makes the requests.
	Client *imds.Client
	// Interval is from the start of one poll to the start of the next; 0 means
	// DefaultInterval.
	Interval time.Duration
	// Timeout bounds one poll or ack, apart from Interval; 0 means
	// DefaultTimeout.
	Timeout time.Duration
	// APIVersion is what the service is asked for; empty means
	// DefaultAPIVersion.
	APIVersion string
	// Beat is called at least once a second while Run makes progress; may be
	// nil.
	Beat func()
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer receives the metrics; nil means that nobody wants them.
	Registerer prometheus.Registerer
}

// ClassNameless is the Class of a Status that is blind because nobody has said what
// this VM is called: no event can be told to be its own. No request has it.
const ClassNameless imds.Class = "no-name"

var errNameless = errors.New("the metadata service has not said what this VM is called, so no event can be told to be its own")

// State says whether this VM's events are known.
type State string

// The states.
const (
	StateStarting State = "starting" // no answer yet, or no name
	StateOK       State = "ok"
	StateBlind    State = "blind"
)

// Status is how fresh a Poller's knowledge is.
type Status struct {
	State State
	// Class and Err say why it is blind; imds.ClassOK and nil otherwise.
	Class imds.Class
	Err   error
	// BlindSince is when it became blind; zero otherwise.
	BlindSince time.Time
	// LastSuccess is when the last valid document arrived; zero before the
	// first.
	LastSuccess time.Time
	// LastAttempt is when the last poll began; zero before the first.
	LastAttempt time.Time
	// Oddities are those of the last document.
	Oddities []string
	// Skew is how far Azure's clock is ahead of this VM's, less a second at
	// most; negative: behind. 0 while no answer had a date.
	Skew time.Duration
}

// Poller watches the scheduled events of a VM.
type Poller struct {
	client  *imds.Client
	beat    func()
	log     *slog.Logger
	metrics *metrics
	applied chan struct{} // holds a token when settings changed
	named   chan struct{} // holds a token when the name changed

	// mu guards everything that follows.
	mu       sync.Mutex
	name     string // of this VM; empty: not known
	settings settings
	status   Status
	changed  chan struct{}
}

type settings struct {
	interval, timeout time.Duration
	apiVersion        string
}

// New returns a Poller. It makes no request.
func New(cfg Config) (*Poller, error) {
	if cfg.Client == nil {
		return nil, errors.New("scheduled events need an imds client")
	}
	settings, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	p := &Poller{
		client:   cfg.Client,
		beat:     cfg.Beat,
		log:      cfg.Logger,
		metrics:  newMetrics(),
		applied:  make(chan struct{}, 1),
		named:    make(chan struct{}, 1),
		settings: settings,
		status:   Status{State: StateStarting, Class: imds.ClassOK},
		changed:  make(chan struct{}),
	}
	if p.beat == nil {
		p.beat = func() {}
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer != nil {
		if err := p.metrics.register(cfg.Registerer); err != nil {
			return nil, fmt.Errorf("register scheduled events metrics: %w", err)
		}
	}
	return p, nil
}

func (cfg *Config) settings() (settings, error) {
	s := settings{interval: cfg.Interval, timeout: cfg.Timeout, apiVersion: cfg.APIVersion}
	if s.interval == 0 {
		s.interval = DefaultInterval
	}
	if s.timeout == 0 {
		s.timeout = DefaultTimeout
	}
	if s.apiVersion == "" {
		s.apiVersion = DefaultAPIVersion
	}
	if s.interval < 0 || s.timeout < 0 {
		return s, fmt.Errorf("scheduled events interval %s and timeout %s must be positive", s.interval, s.timeout)
	}
	return s, nil
}

// Apply changes Interval, Timeout and APIVersion for the polls that follow; the
// rest of the Config is not looked at.
func (p *Poller) Apply(cfg Config) error {
	settings, err := cfg.settings()
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.settings = settings
	p.mu.Unlock()
	select {
	case p.applied <- struct{}{}:
	default:
	}
	return nil
}

// SetName tells what this VM is called: without a name, no event is its own.
func (p *Poller) SetName(name string) {
	p.mu.Lock()
	p.name = name
	p.mu.Unlock()
	select {
	case p.named <- struct{}{}:
	default:
	}
}

// Status returns how fresh the knowledge is.
func (p *Poller) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Changed returns a channel that is closed when the State or the Class of the
// status next changes.
func (p *Poller) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Ack tells Azure that an event may start now, for every VM that it names. It
// sends one request, which Timeout bounds, and never retries; an error is an
// *imds.Error or the context's, except for an empty ID.
func (p *Poller) Ack(ctx context.Context, eventID string) error {
	if eventID == "" {
		return errors.New("ack scheduled event: no event id")
	}
	type startRequest struct {
		EventID string `json:"EventId"`
	}
	body, err := json.Marshal(struct{ StartRequests []startRequest }{[]startRequest{{eventID}}})
	if err != nil {
		return fmt.Errorf("ack scheduled event: %w", err)
	}
	settings := p.current()
	ctx, cancel := context.WithTimeout(ctx, settings.timeout)
	defer cancel()
	_, err = p.client.Post(ctx, path, settings.apiVersion, body)
	if !errors.Is(err, context.Canceled) {
		p.metrics.acks.WithLabelValues(string(imds.Classify(err))).Inc()
	}
	if err != nil {
		return fmt.Errorf("ack scheduled event: %w", err)
	}
	return nil
}

// poll asks once and reads the document.
func (p *Poller) poll(ctx context.Context, version string) (Document, imds.Answer, error) {
	got, err := p.client.Get(ctx, path, version)
	if err != nil {
		return Document{}, got, fmt.Errorf("poll scheduled events: %w", err)
	}
	doc, err := Parse(got.Body)
	if err != nil {
		err = &imds.Error{Class: imds.ClassInvalid, Status: http.StatusOK, Err: err}
		return Document{}, got, fmt.Errorf("poll scheduled events: %w", err)
	}
	return doc, got, nil
}
