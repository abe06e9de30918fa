package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Flag is what the run directory says of the drain in effect, in the file whose
// presence keeps workloads from starting. It is not on the journal's disk: after
// a SIGKILL it tells of a drain that the journal had no time to write down.
type Flag struct {
	DrainID   string     `json:"drain_id"`
	Boot      string     `json:"boot"`
	Causes    []Cause    `json:"causes"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty"`
}

// MaxFlag bounds the text of a flag, in bytes.
const MaxFlag = 64 << 10

// maxFlagCauses bounds the causes that a flag names: no node has more.
const maxFlagCauses = 16

// Encode returns the text of the flag, one line of JSON of at most MaxFlag bytes.
func (f Flag) Encode() []byte {
	f.Causes = slices.Clone(f.Causes[:min(len(f.Causes), maxFlagCauses)])
	for i, c := range f.Causes {
		f.Causes[i] = *bound(Entry{Cause: &c}).Cause
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil // a flag without a text still is one; times out of range do this
	}
	return append(text, '\n')
}

// ParseFlag is the inverse of Encode.
func ParseFlag(text []byte) (Flag, error) {
	var f Flag
	if err := json.Unmarshal(text, &f); err != nil {
		return Flag{}, fmt.Errorf("parse the flag of a drain: %w", err)
	}
	if f.DrainID == "" || f.Boot == "" || len(f.Causes) == 0 {
		return Flag{}, errors.New("parse the flag of a drain: it does not say for what")
	}
	return f, nil
}

// flag tells of a flight. Runner.mu is held.
func (r *Runner) flag(f *flight) *Flag {
	return &Flag{
		DrainID: f.id, Boot: r.cfg.Journal.cfg.BootID, Causes: slices.Clone(f.causes),
		NotBefore: pointer(f.notBefore), Deadline: pointer(f.deadline),
	}
}

// Flag tells of the drain in effect; nil when there is none, or when it is being taken
// back, so that nothing is to keep workloads from starting.
func (r *Runner) Flag() *Flag {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight == nil || r.flight.undraining {
		return nil
	}
	return r.flag(r.flight)
}

// Restore takes note of the drain that is in effect, as the journal says, and
// reports whether one is; nothing is done about it until Resume or Drain. It is
// for a journal that was opened after New.
//
// A flag, if not nil, that tells of a drain of this boot which the journal does
// not know is believed: what is known of that drain is journaled anew, and which
// of its steps had begun is not known, so that all count as begun.
func (r *Runner) Restore(flag *Flag) bool {
	r.admit.Lock()
	defer r.admit.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	news := flag != nil && flag.Boot == r.cfg.Journal.cfg.BootID && !r.cfg.Journal.knows(flag.DrainID)
	if news {
		r.believe(*flag)
	}
	if news || r.flight == nil {
		r.flight = r.restore()
		r.notify()
	}
	if r.flight == nil {
		return false
	}
	r.flight.believed = news
	if f := r.flight; flag != nil && f.id == flag.DrainID && !f.undraining {
		for _, cause := range flag.Causes { // one may have joined that is not durable
			if add(&f.causes, cause) {
				r.cfg.Journal.Note(Entry{Kind: CauseJoined, DrainID: f.id, Cause: &cause})
			}
		}
	}
	return true
}

// believe journals the drain of a flag.
func (r *Runner) believe(flag Flag) {
	var begun []Leftover
	for _, s := range r.plan.steps {
		if _, ok := s.Step.(Undoer); ok {
			begun = append(begun, Leftover{s.Name, undoneBy(s.Step)})
		}
	}
	kind := DrainStarted
	for _, cause := range flag.Causes {
		e := Entry{Kind: kind, DrainID: flag.DrainID, Cause: &cause}
		if kind == DrainStarted {
			e.NotBefore, e.Deadline, e.Inherited = flag.NotBefore, flag.Deadline, begun
		}
		r.cfg.Journal.Note(e)
		kind = CauseJoined
	}
}

// knows reports whether the journal has a drain.
func (j *Journal) knows(drainID string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.record(drainID) != nil
}
