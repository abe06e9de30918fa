package agent

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// The bounds of the model. Others test how quick the agent is when nothing
// disturbs it; these hold in any history.
const (
	pollBound  = 3500 * time.Millisecond // from a change to what is done about it; acks take turns with polls
	startBound = 1500 * time.Millisecond // from the start of the agent to its first look
	blindBound = 10 * time.Second        // from the end of a fault to the next look, and the identity
	idleBound  = 8 * time.Second         // from the end of the last cause to serving
	never      = 1000 * time.Hour
)

// The model: what is the case, and what the rules say about it. It knows nothing
// of how the agent does what it does, but for one thing: it believes the
// journal that a drain has begun for an event, and holds the agent to it.
type model struct {
	facts []*fact
	// operator says that an operator's drain is in effect; maintenance until
	// when maintenance is; shutdown by when one happens that was announced.
	operator              bool
	maintenance, shutdown time.Time
	faulty                bool
	upSince               time.Time
	met                   bool // the agent has had its first look in this boot
	// blindUntil is when the agent certainly sees what there is to see.
	blindUntil time.Time
	// busy is when there was last a reason for the node not to serve.
	busy time.Time
	// tell tells the running agent of a shutdown, untell that it was called off.
	tell   func(deadline time.Time)
	untell func()
	// instant are the drains that the journal had in effect at this very time.
	instant struct {
		at     time.Time
		drains []*drain.Record
	}
	// odd is what is odd about documents; empty: nothing. whole is since when a
	// document can say again that an event is absent.
	odd   string
	whole time.Time
	// earliest is the earliest deadline that each drain was seen with.
	earliest map[string]time.Time
	// polled is when the newest poll began that brought a document.
	polled time.Time
	// doubts has the acks that may have arrived, by when that came to be; again
	// counts those that were rightly sent again.
	doubts map[string]time.Time
	again  map[string]int
}

func newModel() model {
	return model{earliest: map[string]time.Time{}, doubts: map[string]time.Time{}, again: map[string]int{}}
}

// A fact is an event that was published, and what is to be done about it.
type fact struct {
	id, kind, source string
	resources        []string
	action           string // drain, cordon or ignore; empty: not ours, or not known
	ack              string // immediately, after-drain, after-drain-even-if-failed; empty: never
	lead             time.Duration

	changed   time.Time // by Azure
	reused    bool      // it came back under its id
	gone      time.Time // since when it is not there; zero: it is
	kept      bool      // and so soon that the agent may not have missed it, or in the drain for it
	held      bool      // it has vanished, and no document can say so
	former    bool      // there may be a drain for what it was before
	seen      bool      // the node has gone unready for it, and stays so while it is there
	dismissed bool      // nothing is done about it any more
	free      bool      // too close to call: no rule
	calm      time.Time // since when nothing keeps its ack from being sent
}

// what is the rule about an event.
func (f *fact) decide(conf *config.Config) {
	mine := slices.ContainsFunc(f.resources, func(name string) bool { return strings.EqualFold(name, self) })
	policy, known := conf.ScheduledEvents.Events[f.kind]
	if !mine || !known {
		return
	}
	f.action, f.lead = policy.Action, policy.LeadTime.D()
	switch when := policy.Ack; {
	case len(f.resources) > 1 && conf.ScheduledEvents.SharedAck == "never",
		len(f.resources) > 1 && conf.ScheduledEvents.SharedAck == "first" && f.resources[0] != self,
		when == "never", when == "user-initiated" && f.source != "User":
	case when == "user-initiated" && f.action == "drain":
		f.ack = "after-drain"
	case when == "user-initiated":
		f.ack = "immediately"
	case when == "immediately" || f.action == "drain":
		f.ack = when
	}
}

func (h *history) published(spec simimds.EventSpec, conf *config.Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.fact(spec.ID)
	if f == nil {
		f = &fact{id: spec.ID, kind: spec.Type, source: spec.Source, resources: spec.Resources}
		f.decide(conf)
		h.facts = append(h.facts, f)
	} else {
		f.kept = !h.missed(f)
		if h.agent != nil { // a drain that goes on for another cause still has this one
			f.kept = f.kept || drainsFor(h.agent.journal.State().Drain, f.id)
		}
		f.reused, f.seen, f.held, f.former = true, false, false, f.former || f.action == "drain"
		if !slices.Equal(f.resources, spec.Resources) {
			f.resources, f.action, f.ack, f.lead = spec.Resources, "", "", 0
			f.decide(conf)
		}
		f.free = f.free || f.dismissed
		delete(h.moved, f.id)
	}
	f.changed, f.calm, f.gone = time.Now(), time.Now(), time.Time{}
}

// missed reports whether the agent knows by now that the event has vanished.
func (h *history) missed(f *fact) bool {
	now := time.Now()
	return !f.gone.IsZero() && now.Sub(f.gone) >= pollBound && now.After(h.blindUntil) && !h.hides() && now.After(h.whole.Add(pollBound))
}

func (h *history) fact(id string) *fact {
	for _, f := range h.facts {
		if f.id == id {
			return f
		}
	}
	return nil
}

// A truth is what Azure says about an event now.
type truth struct {
	live, started bool
	notBefore     time.Time
}

func (h *history) truth(f *fact) truth {
	for _, e := range slices.Backward(h.sim.Events()) {
		if e.ID == f.id {
			return truth{
				live:    e.Status == simimds.Scheduled || e.Status == simimds.Started,
				started: e.Status == simimds.Started, notBefore: e.NotBefore.Add(-h.moved[f.id]),
			}
		}
	}
	return truth{}
}

// vanished are the events that could come back under their id.
func (h *history) vanished() []*fact {
	return slices.DeleteFunc(slices.Clone(h.facts), func(f *fact) bool { return h.truth(f).live })
}

// actsAt is when the event is acted on.
func (f *fact) actsAt(t truth) time.Time {
	if t.started || f.lead == 0 {
		return f.changed
	}
	return t.notBefore.Add(-f.lead)
}

// restarts reports whether the machine comes up again because of the event.
func (f *fact) restarts() bool {
	return f.action != "" && (f.kind == simimds.Reboot || f.kind == simimds.Redeploy)
}

func (h *history) begun() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upSince = time.Now()
	h.blindUntil = h.upSince.Add(startBound)
	if h.faulty {
		h.blindUntil = h.upSince.Add(never)
	}
}

func (h *history) blinded() { h.faulty, h.blindUntil = true, time.Now().Add(never) }

func (h *history) setOdd(odd string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.odd, h.whole = odd, time.Now()
}

// hides reports whether no document can say that an event is absent.
func (h *history) hides() bool { return h.odd == oddElement || h.odd == oddKey }

func (h *history) recovered() { h.faulty, h.blindUntil = false, time.Now().Add(blindBound) }

// rebooted: drains belong to the boot in which they began, and a Reboot or
// Redeploy that has started when the node comes up has happened.
func (h *history) rebooted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operator, h.shutdown, h.met = false, time.Time{}, false
	clear(h.stands)
	clear(h.effects)
	for _, f := range h.facts {
		f.seen = false
		if t := h.truth(f); t.live && t.started && f.restarts() {
			f.dismissed = true
		}
	}
}

// look compares the node with the model.
func (h *history) look() {
	h.mu.Lock()
	problems := h.problems
	if h.agent == nil {
		h.busy = time.Now()
	} else {
		h.problems = append(h.problems, h.judge()...)
		problems = h.problems
	}
	h.mu.Unlock()
	require.Empty(h.t, problems, "seed %d: the agent does what the model does not allow", h.seed)
}

func (h *history) judge() (problems []string) {
	now := time.Now()
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%8.3f  ", now.Sub(h.begin).Seconds())+fmt.Sprintf(format, args...))
	}
	state := h.agent.journal.State()
	sees := now.After(h.blindUntil)
	busy, unready := !sees || h.hides() || now.Before(h.whole.Add(pollBound)), ""
	for _, f := range h.facts {
		t := h.truth(f)
		if !t.live {
			// What was drained for and was not seen to be gone stands.
			if f.held = f.seen && !f.dismissed && h.hides(); !f.held {
				f.seen = false
			}
			f.calm = now
			if f.gone.IsZero() {
				f.gone = now
			}
			continue
		}
		// Had it started when the agent first looked, or did it start after?
		f.free = f.free || h.up < rebootedWithin && !h.met && t.started && f.restarts() && !f.dismissed
		due := now.Sub(f.actsAt(t)) // how long ago something should have been done
		acts := !f.dismissed && !f.free && (f.action == "drain" || f.action == "cordon")
		switch {
		case acts && sees && min(due, now.Sub(f.changed)) > pollBound:
			f.seen = true
		case acts && !f.reused && drainsFor(state.Drain, f.id):
			f.seen = true
		}
		if f.seen && !f.dismissed {
			unready = f.id
		}
		busy = busy || f.free || acts && due > -pollBound || f.kept && !f.dismissed && drainsFor(state.Drain, f.id)
		if n := h.accepted(f.id); n > 1+h.again[f.id] {
			wrong("%s was acked %d times", f.id, n)
		} else if n == 0 && h.ackIsDue(f, t, due, sees, state.Drain) {
			wrong("%s is not acked", f.id)
		}
	}
	h.met = state.BootSeen
	switch {
	case h.operator:
		unready = "the operator"
	case !h.shutdown.IsZero():
		unready = "the shutdown"
	case now.Before(h.maintenance):
		unready = "maintenance"
	}
	if busy || unready != "" {
		h.busy = now
	}
	switch ready := h.code("/readyz") == http.StatusOK; {
	case ready && unready != "":
		wrong("ready, in spite of %s", unready)
	case !ready && now.Sub(h.busy) > idleBound:
		wrong("not ready, and nothing says why")
	}
	if h.code("/healthz") != http.StatusOK {
		wrong("not healthy")
	}
	if d := state.Drain; d != nil {
		h.judgeDrain(d, now, wrong)
	}
	h.judgeDeadline(wrong)
	return problems
}

func drainsFor(d *drain.Record, id string) bool {
	return d != nil && !d.Undraining && slices.ContainsFunc(d.Causes, func(c drain.Cause) bool { return c.EventID == id })
}

// judgeDeadline: it only moves earlier, whatever joins and over restarts, and leaves
// nothing of the notice out.
func (h *history) judgeDeadline(wrong func(string, ...any)) {
	shown := h.agent.runner.Status()
	if shown.Phase == drain.PhaseNone {
		return
	}
	before, known := h.earliest[shown.DrainID]
	if !known || before.IsZero() {
		h.earliest[shown.DrainID] = shown.Deadline
		return
	}
	if shown.Deadline.IsZero() || shown.Deadline.After(before) {
		wrong("the deadline of drain %s moves from %s to %s", shown.DrainID, before, shown.Deadline)
		return
	}
	h.earliest[shown.DrainID] = shown.Deadline
}

// judgeDrain: only for what is ours, not past the deadline, and failed only for
// a reason.
func (h *history) judgeDrain(d *drain.Record, now time.Time, wrong func(string, ...any)) {
	for _, c := range d.Causes {
		if f := h.fact(c.EventID); c.Kind == drain.ScheduledEvent && f.action != "drain" && !f.former {
			wrong("drains for %s", c.EventID)
		}
	}
	if late := d.Deadline.Add(1500 * time.Millisecond); !d.Deadline.IsZero() && d.Result == drain.ResultNone && now.After(late) && now.After(h.upSince.Add(2*time.Second)) {
		wrong("drains past the deadline")
	}
	failing := slices.ContainsFunc(h.steps, func(s *testStep) bool { return s.fails && !s.optional })
	ample := d.Deadline.IsZero() || d.Deadline.Sub(d.StartedAt) > time.Minute
	if d.Result == drain.ResultFailed && !failing && ample {
		wrong("the drain failed without a reason: %s", d.Error)
	}
}

// ackIsDue reports whether there was time enough to ack.
func (h *history) ackIsDue(f *fact, t truth, due time.Duration, sees bool, d *drain.Record) bool {
	const enough = 25 * time.Second // settle, steps and an ack
	now := time.Now()
	waits := sees && f.ack != "" && !f.dismissed && !f.free && !t.started && due > pollBound && now.Before(t.notBefore)
	if f.ack != "immediately" {
		failed := d != nil && d.Result == drain.ResultFailed && f.ack == "after-drain"
		waits = waits && f.seen && !failed
	}
	if !waits {
		f.calm = now
	}
	return now.Sub(f.calm) > enough
}

// journaled is called after each entry of the journal.
func (h *history) journaled() {
	d := h.agent.journal.State().Drain
	h.mu.Lock()
	if thawed := h.thawed; thawed != nil {
		h.mu.Unlock()
		<-thawed
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	if now := time.Now(); !h.instant.at.Equal(now) {
		h.instant.at, h.instant.drains = now, nil
	}
	h.instant.drains = append(h.instant.drains, d)
}

// stepRuns is called when a step begins: what it needs is the case by then.
func (h *history) stepRuns(drainID, name string) {
	a := h.agent // which the step is a part of
	d := a.journal.State().Drain
	flagged := a.gate.flags.find(drainFlag, 0).raised
	h.mu.Lock()
	defer h.mu.Unlock()
	wrong := func(why string) {
		h.problems = append(h.problems, fmt.Sprintf("%8.3f  step %s of drain %s runs %s", time.Since(h.begin).Seconds(), name, drainID, why))
	}
	if h.finished[drainID][name] {
		wrong("again")
	}
	if h.code("/readyz") == http.StatusOK {
		wrong("on a ready node")
	}
	if !flagged {
		wrong("without the flag")
	}
	if d == nil || d.ID != drainID || !slices.ContainsFunc(d.Steps, func(s drain.StepRecord) bool {
		return s.Name == name && s.Status == drain.StepRunning
	}) {
		wrong("and the journal does not know")
	}
	h.effects[name] = true
}

// stepIsTakenBack is called when an Undo begins: on an unready node, where workloads
// may start again, and in reverse order.
func (h *history) stepIsTakenBack(name string) {
	flagged := h.agent.gate.flags.find(drainFlag, 0).raised
	h.mu.Lock()
	defer h.mu.Unlock()
	wrong := func(why string) {
		h.problems = append(h.problems, fmt.Sprintf("%8.3f  step %s is taken back %s", time.Since(h.begin).Seconds(), name, why))
	}
	if h.code("/readyz") == http.StatusOK {
		wrong("on a ready node")
	}
	if flagged {
		wrong("while the flag keeps workloads from starting")
	}
	for _, s := range slices.Backward(h.steps) {
		if s.name == name {
			break
		}
		if h.effects[s.name] {
			wrong("before " + s.name)
		}
	}
	delete(h.effects, name)
	delete(h.stands, name)
}

// documented is called with each document, and when the poll for it began.
func (h *history) documented(began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.polled = began
}

// answered is called with what became of an ack.
func (h *history) answered(id string, resp *http.Response, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || resp.StatusCode == http.StatusOK || resp.StatusCode >= http.StatusInternalServerError {
		h.doubts[id] = time.Now()
	}
	h.acked = true
}

// hasAcked reports whether an ack was sent since it was last asked.
func (h *history) hasAcked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	acked := h.acked
	h.acked = false
	return acked
}

// acks is called with each ack that leaves the agent.
func (h *history) acks(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if doubt, doubted := h.doubts[id]; doubted {
		if h.polled.Before(doubt) || doubt.Before(h.upSince) && h.polled.Before(h.upSince) {
			h.problems = append(h.problems, fmt.Sprintf("%8.3f  acks %s: it may have been, and no document is newer", time.Since(h.begin).Seconds(), id))
		}
		delete(h.doubts, id)
		h.again[id]++
	}
	wrong := func(why string) {
		h.problems = append(h.problems, fmt.Sprintf("%8.3f  acks %s: %s", time.Since(h.begin).Seconds(), id, why))
	}
	f := h.fact(id)
	switch {
	case f == nil || f.ack == "":
		wrong("must not")
		return
	case f.ack == "immediately":
		// An agent that has not missed the event acts at the earlier of two times.
		if t := h.truth(f); time.Until(f.actsAt(t)) > 0 && !f.kept {
			wrong("before its time has come")
		}
		return
	}
	forbidden := h.forbidsAck(f, h.agent.journal.State().Drain)
	// What forbids it at the very instant at which it leaves came too late.
	if forbidden != "" && !slices.ContainsFunc(h.drainsOfNow(), func(d *drain.Record) bool { return drainsFor(d, id) && d.Finished() }) {
		wrong(forbidden)
	}
}

// drainsOfNow are the drains that were in effect at this very instant. One that was
// finished and taken back between two looks is in the journal's history only.
func (h *history) drainsOfNow() (drains []*drain.Record) {
	now := time.Now()
	if h.instant.at.Equal(now) {
		drains = slices.Clone(h.instant.drains)
	}
	for _, r := range h.agent.journal.History() {
		if r.UndrainedAt.Equal(now) {
			drains = append(drains, &r)
		}
	}
	return drains
}

// forbidsAck says what forbids an ack after a drain; empty: nothing.
func (h *history) forbidsAck(f *fact, d *drain.Record) string {
	switch {
	case h.code("/readyz") == http.StatusOK:
		return "the node is ready"
	case !drainsFor(d, f.id):
		return "no drain is in effect for it"
	case !d.Finished():
		return "the drain has not ended"
	case f.ack == "after-drain":
		for _, s := range h.steps {
			if !s.optional && !h.stands[s.name] {
				return "step " + s.name + " is not done"
			}
		}
	}
	return ""
}

// opened is called when the agent lets traffic come again.
func (h *history) opened() {
	h.mu.Lock()
	defer h.mu.Unlock()
	wrong := func(why string) {
		h.problems = append(h.problems, fmt.Sprintf("%8.3f  opened, in spite of %s", time.Since(h.begin).Seconds(), why))
	}
	if h.operator {
		wrong("the operator")
	}
	if !h.shutdown.IsZero() {
		wrong("the shutdown")
	}
	for _, f := range h.facts {
		if f.seen && !f.dismissed && (h.truth(f).live || f.held && h.hides()) {
			wrong(f.id)
		}
	}
	for _, s := range h.steps {
		if h.effects[s.name] {
			wrong("step " + s.name + ", which is not taken back")
		}
	}
}

// undrain asks for the end of the drain as an operator does. What follows from
// that follows at once, so the model has to know first.
func (h *history) undrain(force bool, ask func() error) error {
	h.mu.Lock()
	operator, before := h.operator, make([]fact, len(h.facts))
	h.operator = false
	d := h.agent.journal.State().Drain
	for i, f := range h.facts {
		before[i] = *f
		live := h.truth(f).live || f.held && h.hides()
		cordons := f.action == "cordon" && !f.dismissed && (live || !h.missed(f))
		if force && (drainsFor(d, f.id) || cordons) {
			// For good, if it was there; else the agent may not have missed it, or
			// seen it, yet.
			known := live && (!cordons || f.seen && time.Now().After(h.blindUntil))
			f.dismissed, f.free = f.dismissed || known, f.free || f.reused || !known
			f.seen = f.seen && known
		}
	}
	h.mu.Unlock()
	err := ask()
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.operator = operator
		for i := range before {
			*h.facts[i] = before[i]
		}
	}
	return err
}
