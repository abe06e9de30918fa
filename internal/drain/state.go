package drain

import (
	"slices"
	"time"
)

// A Result says how a drain ended.
type Result string

// The results of a drain.
const (
	ResultNone        Result = ""            // it has not ended
	ResultSucceeded   Result = "succeeded"   // every required step is done
	ResultFailed      Result = "failed"      // a required step is not
	ResultCancelled   Result = "cancelled"   // undrained before it had ended
	ResultInterrupted Result = "interrupted" // the node rebooted before it had ended
)

// A StepStatus says what became of a step.
type StepStatus string

// The states of a step; all but the first two are final.
const (
	StepPending   StepStatus = "pending"
	StepRunning   StepStatus = "running"
	StepDone      StepStatus = "done"
	StepFailed    StepStatus = "failed"
	StepTimedOut  StepStatus = "timed-out" // stopped at its limit
	StepSkipped   StepStatus = "skipped"   // required, but its minimum did not fit any more
	StepShed      StepStatus = "shed"      // optional and left out for lack of time
	StepCancelled StepStatus = "cancelled" // stopped, or never begun, because of an undrain
)

// final reports whether the step has ended, one way or another.
func (s StepStatus) final() bool { return s != "" && s != StepPending && s != StepRunning }

// State is what the journal says is the case.
type State struct {
	// VM is the vmId under which the journal was kept; empty when not known.
	VM string
	// Name is what this VM was last called in this boot; empty when not known.
	Name string
	// BootSeen says whether this boot's first document was looked at.
	BootSeen bool
	// Drain is the drain in effect, ended or not; nil when the node is free to
	// serve. It began in this boot.
	Drain *Record
	// Events are the scheduled events that this boot dealt with, by event ID;
	// PreviousEvents those of earlier boots, with what was known then.
	Events, PreviousEvents map[string]EventState
	// Maintenance is nil when there is none, or its time is over.
	Maintenance *Maintenance
}

// A Record is one drain, as journaled.
type Record struct {
	ID   string
	Boot string
	// Causes holds what began the drain first, then what joined.
	Causes []Cause
	// NotBefore and Deadline are the earliest of all causes; zero: none.
	NotBefore, Deadline time.Time
	Urgent              bool
	StartedAt           time.Time
	// Inherited are steps that an earlier drain had begun, the undrain of
	// which this one superseded: they are to be taken back with this one.
	Inherited []Leftover
	// EndedAt is zero while Result is ResultNone, and for an interrupted
	// drain, whose end nobody saw.
	EndedAt time.Time
	Result  Result
	Error   string
	// Steps are those that were begun or decided on, in that order.
	Steps []StepRecord
	// Undraining says that the drain is being taken back, UndrainedAt when it
	// had been; zero: it has not.
	Undraining  bool
	UndrainedAt time.Time
	// UndrainBy and UndrainReason say who wanted that.
	UndrainBy, UndrainReason string
	// Ack is the last word on the acknowledgement of the event that began the
	// drain: AckIntended, Acked, AckFailed or empty. Only History fills it in.
	Ack EntryKind
}

// Finished reports whether the plan has run to its end.
func (r *Record) Finished() bool { return r.Result != ResultNone }

// A StepRecord is one step of a Record. Status is StepRunning for one that
// began and never ended.
type StepRecord struct {
	Name, Kind         string
	Unit               string // see Leftover
	Status             StepStatus
	Error              string
	Limit              time.Duration
	StartedAt, EndedAt time.Time // StartedAt is zero for a step that never began
}

// A Leftover is a step that has begun and is not taken back. Unit is what Undo of
// a step for units starts, so that the step can be taken back without the plan
// that had it.
type Leftover struct {
	Step string `json:"step"`
	Unit string `json:"unit,omitempty"`
}

// EventState is what this node did about a scheduled event.
type EventState struct {
	// DrainID names the newest drain that the event was a cause of, Drained
	// its result.
	DrainID string
	Drained Result
	// Ack is the last word on its acknowledgement: AckIntended, Acked,
	// AckFailed or empty. Acked stays.
	Ack EntryKind
	// Dismissed says that the event is not to be acted on.
	Dismissed bool
}

// Maintenance is a time out of service that an operator asked for.
type Maintenance struct {
	Since, Until time.Time // Until is zero when it lasts until it is ended
	By, Reason   string
}

const (
	// maxRecords bounds the drains that are remembered.
	maxRecords = 50
	// maxEvents bounds the events that are remembered, of this boot and of
	// earlier ones each.
	maxEvents = 256
)

// A fold is the state that entries add up to. The same entries give the same
// state; an entry that makes no sense changes nothing.
type fold struct {
	boot        string
	vm, name    string
	bootSeen    bool
	drain       *Record // in effect
	records     []*Record
	events      eventMap
	previous    eventMap
	maintenance *Maintenance
}

func newFold() *fold {
	return &fold{events: eventMap{}, previous: eventMap{}}
}

// apply adds an entry.
func (f *fold) apply(e Entry) {
	f.enter(e.Boot)
	switch e.Kind {
	case DrainStarted:
		f.drainStarted(e)
	case CauseJoined:
		if r := f.record(e.DrainID); r != nil {
			f.join(r, e)
		}
	case StepStarted, StepFinished:
		if r := f.record(e.DrainID); r != nil {
			r.step(e)
		}
	case DrainFinished:
		if r := f.record(e.DrainID); r != nil {
			f.end(r, Result(e.Result), e.Error, e.Time)
		}
	case UndrainStarted:
		if r := f.record(e.DrainID); r != nil {
			r.Undraining, r.UndrainBy, r.UndrainReason = true, e.By, e.Reason
			if r.Result == ResultNone {
				f.end(r, ResultCancelled, "", e.Time)
			}
		}
	case UndrainFinished:
		if r := f.record(e.DrainID); r != nil {
			r.Undraining, r.UndrainedAt = false, e.Time
			if e.Error != "" && r.Error == "" {
				r.Error = e.Error
			}
			if r == f.drain {
				f.drain = nil
			}
		}
	case AckIntended, Acked, AckFailed:
		f.events.update(e.EventID, func(s *EventState) {
			if s.Ack != Acked {
				s.Ack = e.Kind
			}
		})
	case EventDismissed:
		f.events.update(e.EventID, func(s *EventState) { s.Dismissed = true })
	case BootSeen:
		f.bootSeen = true
	case VMSeen:
		f.vm = e.VM
	case NameSeen:
		f.name = e.Name
	case MaintenanceOn:
		f.maintenance = &Maintenance{Since: e.Time, Until: value(e.Until), By: e.By, Reason: e.Reason}
	case MaintenanceOff:
		f.maintenance = nil
	}
}

// enter notes that a boot is the current one. What the boot before it had not
// finished never will be.
func (f *fold) enter(boot string) {
	if boot == f.boot {
		return
	}
	if r := f.drain; r != nil && r.Result == ResultNone {
		f.end(r, ResultInterrupted, "the node rebooted", time.Time{})
	}
	for _, id := range f.events.byAge() {
		newer := f.events[id].EventState
		f.previous.update(id, func(s *EventState) { s.merge(newer) })
	}
	f.boot, f.name, f.drain, f.events, f.bootSeen = boot, "", nil, eventMap{}, false
}

func (f *fold) drainStarted(e Entry) {
	if e.DrainID == "" || e.Cause == nil || f.record(e.DrainID) != nil {
		return
	}
	if r := f.drain; r != nil { // superseded while it was being taken back
		if r.Result == ResultNone {
			f.end(r, ResultCancelled, "", e.Time)
		}
		r.Undraining = false
	}
	r := &Record{ID: e.DrainID, Boot: e.Boot, StartedAt: e.Time, Urgent: e.Urgent, Inherited: e.Inherited}
	f.drain = r
	f.records = append(f.records, r)
	f.join(r, e)
	if len(f.records) > maxRecords {
		gone := f.records[0].ID
		f.records = slices.Delete(f.records, 0, 1)
		f.events.forget(gone)
		f.previous.forget(gone)
	}
}

// join adds the cause of an entry to a drain.
func (f *fold) join(r *Record, e Entry) {
	r.NotBefore = earlier(r.NotBefore, value(e.NotBefore))
	r.Deadline = earlier(r.Deadline, value(e.Deadline))
	r.Urgent = r.Urgent || e.Urgent
	if e.Cause == nil {
		return
	}
	add(&r.Causes, *e.Cause)
	f.events.update(e.Cause.EventID, func(s *EventState) { s.DrainID, s.Drained = r.ID, r.Result })
}

// end gives a drain its result, and its events theirs.
func (f *fold) end(r *Record, result Result, text string, at time.Time) {
	r.Result, r.Error, r.EndedAt = result, text, at
	for id, s := range f.events {
		if s.DrainID == r.ID {
			f.events[id].Drained = result
		}
	}
}

// record returns a drain that is remembered, or nil.
func (f *fold) record(id string) *Record {
	for _, r := range slices.Backward(f.records) {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// step notes what an entry says about a step.
func (r *Record) step(e Entry) {
	i := slices.IndexFunc(r.Steps, func(s StepRecord) bool { return s.Name == e.Step })
	if i < 0 {
		i = len(r.Steps)
		r.Steps = append(r.Steps, StepRecord{Name: e.Step, Kind: e.StepKind})
	}
	s := &r.Steps[i]
	if e.Kind == StepStarted {
		if s.Status.final() {
			return // finished is finished
		}
		s.Status, s.Limit, s.Unit = StepRunning, e.Limit, e.Unit
		if s.StartedAt.IsZero() {
			s.StartedAt = e.Time
		}
		return
	}
	if status := StepStatus(e.Result); status.final() {
		s.Status, s.Error, s.EndedAt = status, e.Error, e.Time
	}
}

// state returns a copy, as of now.
func (f *fold) state(now time.Time) State {
	s := State{
		VM: f.vm, Name: f.name, BootSeen: f.bootSeen,
		Events: f.events.states(), PreviousEvents: f.previous.states(),
	}
	if f.drain != nil {
		s.Drain = f.drain.clone()
	}
	if m := f.maintenance; m != nil && (m.Until.IsZero() || m.Until.After(now)) {
		c := *m
		s.Maintenance = &c
	}
	return s
}

// history returns copies of the records, the newest first.
func (f *fold) history() []Record {
	records := make([]Record, 0, len(f.records))
	for _, r := range slices.Backward(f.records) {
		c := r.clone()
		if len(c.Causes) > 0 {
			id, in := c.Causes[0].EventID, f.previous
			if c.Boot == f.boot {
				in = f.events
			}
			if s := in[id]; s != nil {
				c.Ack = s.Ack
			}
		}
		records = append(records, *c)
	}
	return records
}

func (r *Record) clone() *Record {
	c := *r
	c.Causes = slices.Clone(r.Causes)
	c.Inherited = slices.Clone(r.Inherited)
	c.Steps = slices.Clone(r.Steps)
	return &c
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func value(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// pointer returns nil for the zero time.
func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(0).UTC()
	return &t
}
