package scheduledevents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// run is the state of one call of Run. It belongs to Run's goroutine.
type run struct {
	p        *Poller
	onChange func(context.Context, Document)
	settings settings
	polls    sync.WaitGroup
	answers  chan answer

	flights  []*flight // under way, at most two
	patient  bool      // a poll may still be the one that switches events on
	hold     time.Time // no poll before this
	failures int       // in a row
	lastErr  error     // of the last of these
	began    time.Time // the start
	validAt  time.Time // the last valid document, or the start
	last     *Document // handed on
	skew     time.Duration
	dated    bool // skew is known
}

// flight is one poll under way.
type flight struct {
	began, deadline time.Time
	patient         bool // it may take two minutes
	cancel          context.CancelFunc
}

// answer is the outcome of one poll.
type answer struct {
	flight *flight
	doc    Document
	got    imds.Answer
	err    error
}

// Run polls until ctx ends and then returns nil. It calls onChange with the
// first valid document and with every one that tells something else than the one
// before, in their order, from its own goroutine: polling stands still until
// onChange returns. An event is handed on within one interval and the duration
// of one request from its publication.
//
// At most one poll begins in an interval on average. One is under way at a time,
// except that the first call on a VM, which may take two minutes, holds up the
// others no longer than Timeout. A failed poll is followed by the next at its
// usual time, except that a Retry-After is obeyed for up to five seconds. Run
// may be called once.
func (p *Poller) Run(ctx context.Context, onChange func(ctx context.Context, doc Document)) error {
	r := &run{
		p:        p,
		onChange: onChange,
		settings: p.current(),
		answers:  make(chan answer),
		patient:  true,
		began:    time.Now(),
	}
	r.validAt = r.began
	ctx, cancel := context.WithCancel(ctx)
	defer r.polls.Wait()
	defer cancel()
	ticks := time.NewTicker(r.settings.interval)
	defer ticks.Stop()
	pulses := time.NewTicker(pulse)
	defer pulses.Stop()

	for due := true; ; {
		now := time.Now()
		if due && r.mayPoll(now) {
			r.poll(ctx, now)
			due = false
		}
		if !r.stuck(now) {
			p.beat()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			due = true
		case <-pulses.C:
			r.look()
		case <-p.named:
			r.look()
		case a := <-r.answers:
			r.take(ctx, a)
		case <-p.applied:
			r.settings = p.current()
			ticks.Reset(r.settings.interval)
			due = true
		}
	}
}

// mayPoll says whether a poll that is due may begin.
func (r *run) mayPoll(now time.Time) bool {
	switch {
	case now.Before(r.hold):
		return false
	case len(r.flights) == 0:
		return true
	default:
		return len(r.flights) == 1 && r.flights[0].patient && now.Sub(r.flights[0].began) >= r.settings.timeout
	}
}

// stuck says whether a request ignores its deadline.
func (r *run) stuck(now time.Time) bool {
	return slices.ContainsFunc(r.flights, func(f *flight) bool { return now.After(f.deadline.Add(stuckAfter)) })
}

// poll begins a poll.
func (r *run) poll(ctx context.Context, now time.Time) {
	f := &flight{began: now, patient: r.patient && len(r.flights) == 0}
	f.deadline = now.Add(r.settings.timeout)
	if f.patient {
		f.deadline = now.Add(max(r.settings.timeout, firstTimeout))
	}
	flightCtx, cancel := context.WithDeadline(ctx, f.deadline)
	f.cancel = cancel
	r.flights = append(r.flights, f)
	r.p.attempted(now)
	version := r.settings.apiVersion
	r.polls.Go(func() {
		defer cancel()
		doc, got, err := r.p.poll(flightCtx, version)
		select {
		case r.answers <- answer{f, doc, got, err}:
		case <-ctx.Done():
		}
	})
}

// take deals with the outcome of a poll.
func (r *run) take(ctx context.Context, a answer) {
	i := slices.Index(r.flights, a.flight)
	if i < 0 || ctx.Err() != nil {
		return // overtaken by another poll, or cut short by ourselves
	}
	r.flights = slices.Delete(r.flights, i, i+1)
	class := imds.Classify(a.err)
	r.p.metrics.polls.WithLabelValues(string(class)).Inc()
	r.p.log.Debug("scheduled events polled", "result", string(class), "elapsed", time.Since(a.flight.began),
		"incarnation", a.doc.Incarnation, "events", len(a.doc.Events))
	if a.err != nil {
		r.fail(a.flight, a.err, class)
		return
	}
	// What the other poll would say may be older than what this one said.
	for _, f := range r.flights {
		f.cancel()
	}
	r.flights, r.patient, r.failures, r.lastErr, r.validAt = nil, false, 0, nil, time.Now()
	r.compareClocks(a.got)
	a.doc.ahead(r.skew)
	r.p.answered(r.validAt, r.skew, a.doc.Oddities)
	before := r.last
	r.last = &a.doc
	r.look()
	if before != nil && same(before, r.last) {
		return
	}
	r.p.metrics.setEvents(a.doc)
	r.onChange(ctx, a.doc)
}

// compareClocks follows the service's clock, but not its fractions of a second.
func (r *run) compareClocks(got imds.Answer) {
	ahead, ok := got.Ahead()
	if !ok {
		return
	}
	if change := ahead - r.skew; !r.dated || change > skewRise || change < -skewFall {
		r.skew, r.dated = ahead, true
	}
}

// fail deals with a poll that brought no valid document.
func (r *run) fail(f *flight, err error, class imds.Class) {
	r.failures++
	r.lastErr = err
	if f.patient && class == imds.ClassTimeout {
		r.patient = false // it has switched events on all the same
	}
	if e, ok := errors.AsType[*imds.Error](err); ok && e.RetryAfter > 0 {
		r.hold = time.Now().Add(min(e.RetryAfter, maxHold))
	}
	r.look()
}

// look finds out whether this VM's events are known, and says so when it changes.
func (r *run) look() {
	r.p.become(r.sight(r.p.currentName(), time.Since(r.began), time.Since(r.validAt)))
}

// sight says whether the VM with that name knows its events, and if it does not,
// why. Polls have been made for age; silence is how long there was no document.
func (r *run) sight(name string, age, silence time.Duration) (State, imds.Class, error) {
	early := age < firstTimeout
	switch {
	case r.last == nil && early && (r.lastErr == nil || imds.Classify(r.lastErr) == imds.ClassTimeout):
		return StateStarting, imds.ClassOK, nil
	case r.failures >= blindAfter, r.lastErr != nil && silence > r.settings.interval+r.settings.timeout:
		return StateBlind, imds.Classify(r.lastErr), r.lastErr
	case silence > r.settings.interval+r.settings.timeout:
		return StateBlind, imds.ClassTimeout, fmt.Errorf("poll scheduled events: %w", &imds.Error{
			Class: imds.ClassTimeout, Err: fmt.Errorf("still waiting after %s", silence.Round(time.Second)),
		})
	case r.last == nil, name == "" && early:
		return StateStarting, imds.ClassOK, nil
	case name == "":
		return StateBlind, ClassNameless, errNameless
	}
	if err := r.last.Blind(name); err != nil {
		return StateBlind, imds.ClassInvalid, fmt.Errorf("read scheduled events: %w", err)
	}
	return StateOK, imds.ClassOK, nil
}

func (p *Poller) current() settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings
}

func (p *Poller) currentName() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

func (p *Poller) attempted(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.LastAttempt = now
}

// answered records a valid document. What of it does not read is logged once.
func (p *Poller) answered(now time.Time, skew time.Duration, oddities []string) {
	p.mu.Lock()
	news := !slices.Equal(p.status.Oddities, oddities)
	p.status.LastSuccess, p.status.Skew, p.status.Oddities = now, skew, oddities
	p.mu.Unlock()
	p.metrics.lastSuccess.Set(float64(now.UnixMilli()) / 1000)
	if news && len(oddities) > 0 {
		p.log.Warn("scheduled events do not read", "what", strings.Join(oddities, "; "))
	}
}

// become records whether the events are known, and tells of a change.
func (p *Poller) become(state State, class imds.Class, err error) {
	p.mu.Lock()
	before := p.status
	p.status.State, p.status.Class, p.status.Err = state, class, err
	if before.State == state && before.Class == class {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	switch {
	case state != StateBlind:
		p.status.BlindSince = time.Time{}
	case before.State != StateBlind:
		p.status.BlindSince = now
	}
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()

	if state == StateBlind {
		p.metrics.blind.Set(1)
		p.log.Warn("imds blind", "class", string(class), "err", err)
		return
	}
	p.metrics.blind.Set(0)
	if before.State == StateBlind {
		p.log.Info("imds recovered", "class", string(before.Class), "blind_for", now.Sub(before.BlindSince))
	}
}
