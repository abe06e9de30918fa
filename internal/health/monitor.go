package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// Config is what a Monitor watches and tells.
type Config struct {
	Checks []Check
	// StartGrace keeps the verdict at starting, from Run on, until the first
	// healthy one; 0 for none.
	StartGrace time.Duration
	// MaxConcurrent bounds how many probes run at once; the package doc says
	// who gets a place. 0 means 256.
	MaxConcurrent int
	CustomMetrics CustomMetrics

	// Beat is called on every pass of the scheduler, at least once a second
	// while Run goes well. It must be cheap and must not call the Monitor.
	Beat func()
	// Answers is told every change before the call that made it returns; nil
	// for none.
	Answers *Answers
	Logger  *slog.Logger
}

const defaultMaxConcurrent = 256

// Monitor runs checks and judges their results. All methods may be called at
// any time from any goroutine.
type Monitor struct {
	log     *slog.Logger
	beat    func()
	answers *Answers
	poke    chan struct{} // capacity 1: asks the scheduler for a pass

	mu            sync.Mutex // guards everything that follows
	grace         time.Duration
	maxConcurrent int
	custom        CustomMetrics
	tasks         []*task // in dependency order
	byName        map[string]*task
	queue         queue   // every task that is not in waiting, by when it needs the scheduler
	waiting       []*task // due, but without a place; in the order in which they were due
	inFlight      map[*run]struct{}
	workers       sync.WaitGroup // has a goroutine for every run in flight
	generation    int            // counts Apply calls
	running       bool
	ctx           context.Context //nolint:containedctx // of Run: runs that begin outside of it end with it
	started       time.Time       // of the first Run; zero before
	graceFrom     time.Time       // when start_grace began; zero before Run
	verdicts      [gateCount]verdict
	draining      bool
	cordoned      bool
	maintenance   bool
	hold          bool      // a healthy verdict of /healthz stays; see return.go
	returns       int       // how often the node has come back to service
	backAt        time.Time // the last time that it did
	changed       chan struct{}
	unpublished   bool     // something has changed for readers of the report, not for the verdicts
	notes         []func() // log lines to write once mu is released
}

// verdict is the State of one endpoint's checks.
type verdict struct {
	state State
	since time.Time
}

// task is a check with everything that is known about it.
type task struct {
	check Check
	deps  []*task

	// What the results say; see settle.
	tracker     tracker
	status      Status
	since       time.Time
	lastFailure string   // text of the newest failure
	failure     string   // the same while the status is failing, else ""
	blockedBy   []string // failing checks
	decided     bool     // had a status other than unknown once
	passedIn    int      // Monitor.returns of the newest run that passed
	free        bool     // every dependency is passing
	epoch       int      // results of runs from an earlier epoch do not count

	// When it runs; see schedule.go and run.go.
	position int       // in the queue, or notQueued
	at       time.Time // when the scheduler looks at it next
	due      time.Time // next start on the check's own grid, which never drifts
	run      *run      // in flight
	hung     bool      // the newest run took as long as it was allowed to
	again    bool      // asked for during the run: start another when it ends
	byHand   *run      // in flight because somebody asked for it

	// For people and metrics.
	history     history
	passes      uint64
	failures    uint64
	busy        time.Duration         // in all runs together
	transitions [len(statuses)]uint64 // to each status
}

// New returns a Monitor that has started nothing. It refuses checks with
// impossible settings, names that are given twice or unknown, and cycles; the
// error joins all that is wrong.
func New(cfg Config) (*Monitor, error) {
	order, err := validate(cfg)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	m := &Monitor{
		log:      cfg.Logger,
		beat:     cfg.Beat,
		answers:  cfg.Answers,
		poke:     make(chan struct{}, 1),
		inFlight: make(map[*run]struct{}),
		changed:  make(chan struct{}),
		byName:   make(map[string]*task),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.beat == nil {
		m.beat = func() {}
	}
	for g := range m.verdicts {
		m.verdicts[g] = verdict{Starting, now}
	}
	m.adopt(cfg, order, now)
	return m, nil
}

// validate returns the dependency order of the checks.
func validate(cfg Config) ([]int, error) {
	var errs []error
	nodes := make([]graph.Node, len(cfg.Checks))
	for i := range cfg.Checks {
		c := &cfg.Checks[i]
		errs = append(errs, c.validate())
		nodes[i] = graph.Node{Name: c.Name, DependsOn: c.DependsOn}
	}
	order, err := graph.Order(nodes)
	if err != nil {
		errs = append(errs, fmt.Errorf("order checks: %w", err))
	}
	if cfg.StartGrace < 0 {
		errs = append(errs, fmt.Errorf("start_grace %s: must not be negative", cfg.StartGrace))
	}
	if cfg.MaxConcurrent < 0 {
		errs = append(errs, fmt.Errorf("max_concurrent %d: must not be negative", cfg.MaxConcurrent))
	}
	errs = append(errs, cfg.CustomMetrics.validate())
	return order, errors.Join(errs...)
}

// Apply replaces the configuration, whole or not at all; Beat, Answers and
// Logger stay those of New. A check whose name and fingerprint are the same
// keeps its results and its schedule (its Probe and Wake are the new ones from
// the next run on); any other is unknown until its first result, and meanwhile
// the verdict is not changed on its account.
func (m *Monitor) Apply(cfg Config) error {
	order, err := validate(cfg)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.unlock()
	now := time.Now()
	m.adopt(cfg, order, now)
	m.settle(now)
	m.judge(now)
	m.publish()
	m.wakeScheduler()
	return nil
}

// adopt takes over a valid configuration.
func (m *Monitor) adopt(cfg Config, order []int, now time.Time) {
	m.generation++
	m.grace = cfg.StartGrace
	m.custom = cfg.CustomMetrics
	m.maxConcurrent = cfg.MaxConcurrent
	if m.maxConcurrent == 0 {
		m.maxConcurrent = defaultMaxConcurrent
	}

	old := m.byName
	m.byName = make(map[string]*task, len(order))
	m.tasks = make([]*task, 0, len(order))
	for place, i := range order {
		c := cfg.Checks[i]
		if c.Severity == "" {
			c.Severity = Critical
		}
		c.DependsOn = slices.Clone(c.DependsOn)
		t, same := old[c.Name], false
		if t != nil && t.check.Fingerprint != "" && t.check.Fingerprint == c.Fingerprint {
			same = true
			delete(old, c.Name)
		}
		if !same {
			t = newTask(t, now)
		}
		t.check = c
		t.deps = t.deps[:0]
		for _, name := range c.DependsOn {
			t.deps = append(t.deps, m.byName[name]) // known: order has dependencies first
		}
		if !same {
			t.free = len(t.deps) == 0
			t.stagger(place, len(order), now)
		}
		m.tasks = append(m.tasks, t)
		m.byName[c.Name] = t
	}
	for _, t := range old {
		m.retire(t)
	}
	m.requeue()
}

// newTask returns a task that knows nothing yet. Counters go on from those of
// the task that it replaces, if any: a counter that falls back would be a lie.
func newTask(replaced *task, now time.Time) *task {
	t := &task{status: Unknown, since: now}
	if replaced != nil {
		t.passes, t.failures, t.busy = replaced.passes, replaced.failures, replaced.busy
		t.transitions = replaced.transitions
	}
	return t
}

// retire ends a task that the configuration no longer has.
func (m *Monitor) retire(t *task) {
	if t.run != nil {
		t.run.cancel()
		t.run.stale = true
	}
}

// Changed returns a channel that is closed when the report next differs in
// anything but times and latencies. Take the channel before the Report, so
// that no change falls between them.
func (m *Monitor) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// publish renders the answers and tells that the report has changed.
func (m *Monitor) publish() {
	m.unpublished = false
	if m.answers != nil {
		m.answers.show(render(m.report(time.Now()), m.custom))
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Report returns what is known now.
func (m *Monitor) Report() *Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.report(time.Now())
}

func (m *Monitor) report(now time.Time) *Report {
	r := &Report{
		At:          now,
		State:       m.verdicts[gateHealth].state,
		Since:       m.verdicts[gateHealth].since,
		ReadyState:  m.verdicts[gateReady].state,
		Draining:    m.draining || m.cordoned,
		Maintenance: m.maintenance,
		Returning:   m.returning(),
		Checks:      make([]CheckReport, len(m.tasks)),
		Roots:       m.roots(),
	}
	for i, t := range m.tasks {
		r.Checks[i] = t.report()
	}
	return r
}

// roots names the failing checks.
func (m *Monitor) roots() []string {
	names := []string{}
	for _, t := range m.tasks {
		if t.status == Failing {
			names = append(names, t.check.Name)
		}
	}
	return names
}

func (t *task) report() CheckReport {
	newest := t.history.newest()
	return CheckReport{
		Name:      t.check.Name,
		Kind:      t.check.Kind,
		Severity:  t.check.Severity,
		Gates:     t.check.Gates,
		Status:    t.status,
		Since:     t.since,
		Error:     t.failure,
		BlockedBy: t.blockedBy, // settle makes a new one each time
		LastRun:   newest.At,
		Latency:   newest.Latency,
	}
}

// Explain says why the named check is what it is; false when there is no such
// check.
func (m *Monitor) Explain(name string) (Explanation, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.byName[name]
	if !ok {
		return Explanation{}, false
	}
	e := Explanation{
		Check:       t.report(),
		Interval:    t.check.Interval,
		Timeout:     t.check.Timeout,
		FailAfter:   t.check.FailAfter,
		PassAfter:   t.check.PassAfter,
		DependsOn:   slices.Clone(t.check.DependsOn),
		Consecutive: t.tracker.streak,
		Running:     t.run != nil,
		Results:     t.history.all(),
	}
	for _, other := range m.tasks {
		if slices.Contains(other.blockedBy, name) {
			e.Blocks = append(e.Blocks, other.check.Name)
		}
	}
	if m.running && t.free && t.run == nil {
		e.NextRun = t.at
	}
	return e, true
}

// noteStatus leaves a log line about a check for unlock to write: what an
// operator wants to hear about is a failure and its end; the rest follows.
func (m *Monitor) noteStatus(t *task, to Status) {
	level := slog.LevelDebug
	if to == Failing || t.status == Failing && to == Passing {
		level = slog.LevelInfo
	}
	name, from, failure, blockedBy := t.check.Name, t.status, t.failure, t.blockedBy
	m.notes = append(m.notes, func() {
		m.log.Log(context.Background(), level, "check changed",
			"check", name, "from", from, "to", to, "err", failure, "blocked_by", blockedBy)
	})
}

// noteVerdict leaves a log line about a verdict for unlock to write.
func (m *Monitor) noteVerdict(g gate, from, to State) {
	roots := m.roots()
	m.notes = append(m.notes, func() {
		m.log.Info("verdict changed", "gate", g.String(), "from", from, "to", to, "roots", roots)
	})
}

// unlock releases mu and then writes the log lines that were left meanwhile: a
// log that blocks must not hold up a change of the answers.
func (m *Monitor) unlock() {
	notes := m.notes
	m.notes = nil
	m.mu.Unlock()
	for _, note := range notes {
		note()
	}
}
