package drain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// An EntryKind says what an [Entry] records.
type EntryKind string

// The kinds of entry. What goes with each is in brackets.
const (
	DrainStarted  EntryKind = "drain-started"  // [drain_id cause not_before deadline urgent inherited]
	CauseJoined   EntryKind = "cause-joined"   // [drain_id cause not_before deadline urgent]
	StepStarted   EntryKind = "step-started"   // [drain_id step step_kind unit limit]
	StepFinished  EntryKind = "step-finished"  // [drain_id step step_kind result error]
	DrainFinished EntryKind = "drain-finished" // [drain_id result error]

	UndrainStarted  EntryKind = "undrain-started"  // [drain_id by reason]
	UndrainFinished EntryKind = "undrain-finished" // [drain_id error]

	AckIntended    EntryKind = "ack-intended"    // [event_id]
	Acked          EntryKind = "acked"           // [event_id reason]
	AckFailed      EntryKind = "ack-failed"      // [event_id error]
	EventDismissed EntryKind = "event-dismissed" // [event_id by reason]

	BootSeen       EntryKind = "boot-seen"       // this boot's first document was looked at
	VMSeen         EntryKind = "vm-seen"         // [vm]
	NameSeen       EntryKind = "name-seen"       // [name]
	MaintenanceOn  EntryKind = "maintenance-on"  // [until by reason]
	MaintenanceOff EntryKind = "maintenance-off" // [by reason]
)

// An Entry is one line of the journal. Append fills in Seq, Time and Boot.
type Entry struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Boot string    `json:"boot"`
	Kind EntryKind `json:"kind"`

	VM        string        `json:"vm,omitempty"`
	Name      string        `json:"name,omitempty"`
	DrainID   string        `json:"drain_id,omitempty"`
	Cause     *Cause        `json:"cause,omitempty"`
	NotBefore *time.Time    `json:"not_before,omitempty"`
	Deadline  *time.Time    `json:"deadline,omitempty"`
	Urgent    bool          `json:"urgent,omitempty"`
	Inherited []Leftover    `json:"inherited,omitempty"` // see Record
	Step      string        `json:"step,omitempty"`
	StepKind  string        `json:"step_kind,omitempty"`
	Unit      string        `json:"unit,omitempty"` // what takes the step back when it is started
	Limit     time.Duration `json:"limit_ns,omitempty"`
	Result    string        `json:"result,omitempty"` // a Result, or a StepStatus for a step
	Error     string        `json:"error,omitempty"`
	EventID   string        `json:"event_id,omitempty"`
	Until     *time.Time    `json:"until,omitempty"` // nil: until it is ended
	By        string        `json:"by,omitempty"`
	Reason    string        `json:"reason,omitempty"`
}

const (
	// maxText bounds a free text of an entry, in bytes.
	maxText = 1 << 10
	// maxLine bounds a line that is read. No entry comes near it.
	maxLine = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode appends the line of an entry to buf: the CRC-32C of the JSON in eight
// hexadecimal digits, a space, the JSON, a newline.
func encode(buf []byte, e Entry) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return buf, fmt.Errorf("encode a journal entry: %w", err)
	}
	buf = fmt.Appendf(buf, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(buf, body...), '\n'), nil
}

// decode is the inverse of encode, for a line without its newline.
func decode(line []byte) (Entry, error) {
	var e Entry
	sum, body, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(sum) != 8 {
		return e, errors.New("no checksum")
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil {
		return e, errors.New("no checksum")
	}
	if crc32.Checksum(body, castagnoli) != uint32(want) {
		return e, errors.New("wrong checksum")
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("right checksum, but no entry: %w", err)
	}
	if e.Seq >= 1<<62 {
		return e, errors.New("sequence number out of range")
	}
	return e, nil
}

// A replay is what a journal file holds.
type replay struct {
	entries []Entry
	// bad counts the lines that are no entries; firstBad is the first of them,
	// counted from 1, and firstError what is wrong with it.
	bad        int
	firstBad   int
	firstError error
	// torn says that the last line has no newline, badEnd that it is no entry
	// either.
	torn, badEnd bool
}

// parse reads every entry that is whole. An entry that was written twice, which
// is what a retry after a failed fsync does, is read once.
func parse(data []byte) replay {
	var r replay
	type identity struct {
		seq uint64
		sum uint32
	}
	seen := make(map[identity]bool)
	r.torn = len(data) > 0 && data[len(data)-1] != '\n'
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		if len(line) == 0 {
			continue // ends a torn line
		}
		e, err := Entry{}, errors.New("line too long")
		if len(line) <= maxLine {
			e, err = decode(line)
		}
		if err != nil {
			if r.bad++; r.bad == 1 {
				r.firstBad, r.firstError = n, err
			}
			r.badEnd = r.torn && len(data) == 0
			continue
		}
		id := identity{e.Seq, crc32.Checksum(line, castagnoli)}
		if !seen[id] {
			seen[id] = true
			r.entries = append(r.entries, e)
		}
	}
	return r
}

// bound cuts the free texts of an entry to size.
func bound(e Entry) Entry {
	e.Error = cut(e.Error)
	e.Reason = cut(e.Reason)
	e.By = cut(e.By)
	e.EventID = cut(e.EventID)
	if e.Cause != nil {
		c := *e.Cause
		c.EventID, c.EventType, c.By, c.Reason = cut(c.EventID), cut(c.EventType), cut(c.By), cut(c.Reason)
		e.Cause = &c
	}
	return e
}

func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}
