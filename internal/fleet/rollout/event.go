package rollout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Kind is what an event tells.
type Kind string

// The kinds of events. Began and Ended are written by whoever carries actions out;
// the others come from Begin and Next.
const (
	Planned   Kind = "planned"   // Plan
	Began     Kind = "began"     // Action: before it is made
	Ended     Kind = "ended"     // Action, Result: after it
	Requested Kind = "requested" // Request: an operator's, taken up; Members and Since of resume: see State.Released, State.Resumed
	Observed  Kind = "observed"  // Members: the sets that could not be read
	PhaseTo   Kind = "phase"     // Phase, Why, and at an end what is left
	WaveTo    Kind = "wave"      // Wave, Step, Why
	BatchTo   Kind = "batch"     // Set, Step; Members when it is picked
	Touched   Kind = "touched"   // Set, Member, Why: it runs the version; since when
	Settled   Kind = "settled"   // Set, Member: its upgrade or birth has ended
	Well      Kind = "well"      // Set, Member: begins to be Healthy
	Ill       Kind = "ill"       // Set, Member: is not any more
	Verified  Kind = "verified"  // Set, Member
	Failing   Kind = "failing"   // Set, Member, Why: it has failed
	Departed  Kind = "departed"  // Set, Member, Why: gone, or does not run
	Returned  Kind = "returned"  // Set, Member, Version: runs another version; Since: health from before says nothing of it
	ModelSeen Kind = "model"     // Set, Version, Name (its profile): the model as an operator accepted it
	PolicySet Kind = "policy"    // Set: its upgrade policy is seen to be what it was
	Blocked   Kind = "blocked"   // Class, Why; a Class of "": not any more
	Given     Kind = "given-up"  // Name, Why: a debt that could not be paid
)

// An Event is one entry of a rollout's journal. Which fields it has is said by its kind.
type Event struct {
	Format  int       `json:"format"`
	At      time.Time `json:"at"`
	Kind    Kind      `json:"kind"`
	Plan    *Plan     `json:"plan,omitempty"`
	Action  *Action   `json:"action,omitempty"`
	Result  *Result   `json:"result,omitempty"`
	Request *Request  `json:"request,omitempty"`
	Phase   Phase     `json:"phase,omitempty"`
	Wave    int       `json:"wave,omitempty"`
	Step    Step      `json:"step,omitempty"`
	Set     string    `json:"set,omitempty"`
	Member  string    `json:"member,omitempty"`
	Members []string  `json:"members,omitempty"`
	Version string    `json:"version,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Name    string    `json:"name,omitempty"`
	Class   Class     `json:"class,omitempty"`
	Why     string    `json:"why,omitempty"`
	Left    []Left    `json:"left,omitempty"`
}

// kinds are all kinds that this format knows.
var kinds = []Kind{
	Planned, Began, Ended, Requested, Observed, PhaseTo, WaveTo, BatchTo, Touched, Settled,
	Well, Ill, Verified, Failing, Departed, Returned, ModelSeen, PolicySet, Blocked, Given,
}

// DecodeEvent reads an event. What it does not know it refuses: a journal that is only
// half understood is not gone on with.
func DecodeEvent(data []byte) (Event, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Event{}, fmt.Errorf("read an event: %w", err)
	}
	if head.Format != Format {
		return Event{}, fmt.Errorf("read an event: it has format %d, and this program knows %d: use the program that began the rollout", head.Format, Format)
	}
	var e Event
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Event{}, fmt.Errorf("read an event: %w", err)
	}
	return e, e.check()
}

// check says what an event lacks.
func (e *Event) check() error {
	lacks := ""
	switch {
	case !slices.Contains(kinds, e.Kind):
		return fmt.Errorf("read an event: kind %q is not known", e.Kind)
	case e.Kind == Planned && e.Plan == nil:
		lacks = "a plan"
	case (e.Kind == Began || e.Kind == Ended) && (e.Action == nil || e.Action.Do.member() && len(e.Action.Members) != 1):
		lacks = "an action"
	case e.Kind == Ended && e.Result == nil:
		lacks = "a result"
	case e.Kind == Requested && e.Request == nil:
		lacks = "a request"
	case e.Wave < 0:
		lacks = "a wave"
	}
	if lacks != "" {
		return fmt.Errorf("read an event: %s without %s", e.Kind, lacks)
	}
	return nil
}

// member says whether an action is for one member.
func (v Verb) member() bool { return v == Drain || v == Undrain || v == AskAgent || v == Diagnose }
