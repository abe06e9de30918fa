package scheduledevents

import (
	"errors"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// The types of events that Azure documents. A newer api-version may send
// others.
const (
	Freeze    = "Freeze"    // the VM pauses, usually for seconds
	Reboot    = "Reboot"    // memory is lost
	Redeploy  = "Redeploy"  // the VM moves to another host: memory and temporary disk are lost
	Preempt   = "Preempt"   // a Spot VM is evicted, often within ten seconds
	Terminate = "Terminate" // the VM is deleted
)

// The statuses of events that Azure documents. There is none for completed or
// cancelled: the event vanishes from the document.
const (
	Scheduled = "Scheduled" // will start at NotBefore, or when it is acked
	Started   = "Started"   // happens now
)

// The sources of events that Azure documents.
const (
	SourceUser     = "User" // somebody asked for it
	SourcePlatform = "Platform"
)

// knownTypes are in the order of what they leave of a VM: of two that are told of
// one event, the later is believed.
var (
	knownTypes    = []string{Freeze, Reboot, Redeploy, Terminate, Preempt}
	knownStatuses = []string{Scheduled, Started}
	knownSources  = []string{SourcePlatform, SourceUser}
)

// Event is one thing that Azure is about to do, or does, to one or more VMs. What
// of it does not read is zero; Unread says whether that matters. Of the texts, ID
// and Resources are as they came, to be compared; the others are safe to show.
type Event struct {
	// ID stays the same from Scheduled to Started.
	ID string
	// Type and Status are as Azure wrote them, in the spelling of the
	// constants above where it is one of those.
	Type, Status string
	ResourceType string
	// Resources names every VM that the event is for, in Azure's order: the
	// first may be elected to ack. A name that does not read is empty, and
	// counts as another VM's.
	Resources []string
	// NotBefore is the earliest start, in UTC and by this VM's clock; zero when
	// Azure gives none, as for a started event, or none that reads: then it may
	// be now.
	NotBefore   time.Time
	Description string
	// Source is Platform or User; empty under old api-versions.
	Source string
	// DurationSeconds is the expected interruption: 0 none, -1 unknown; nil
	// under old api-versions, or when it does not read.
	DurationSeconds *int
}

// Unread says in a phrase what of the event does not read although it decides
// what is done; empty: everything does.
func (e *Event) Unread() string {
	switch {
	case e.ID == "":
		return "its EventId does not read"
	case e.Type == "":
		return "its EventType does not read"
	case e.Status == "":
		return "its EventStatus does not read"
	case e.Resources == nil:
		return "its Resources do not read"
	}
	return ""
}

// concerns reports whether the event may be for the VM named self: it names it, or
// nobody that one could read.
func (e *Event) concerns(self string) bool {
	return containsFold(e.Resources, self) || !slices.ContainsFunc(e.Resources, func(name string) bool { return name != "" })
}

// Document is what one answer of the service says. That an event stands takes an
// element that reads; that one does not stand takes a whole document: see Absent.
// It is shared and must not be changed.
type Document struct {
	// Incarnation changes with the events. Azure starts it again from the
	// beginning now and then, so it orders nothing; 0 when it does not read.
	Incarnation int64
	// Events are the events that stand, each once: every element whose EventId
	// reads.
	Events []Event
	// Strays are what else there is: elements without an EventId that reads, as
	// far as they do.
	Strays []Event
	// Oddities say what does not read, in a phrase each that is safe to show; at
	// most a few, in alphabetical order.
	Oddities []string
	// Partial says that more may stand than Events: there are strays, or a key
	// occurs twice.
	Partial bool
}

// Absent reports whether the document says that an event does not exist (any
// more). It never does while a part of the document does not read: what is not
// understood may be that event.
func (d *Document) Absent(id string) bool {
	return !d.Partial && !slices.ContainsFunc(d.Events, func(e Event) bool { return e.ID == id })
}

// Blind returns why the VM named self may miss an event of its own although it has
// this document; nil: it does not. What reads is to be acted on all the same.
func (d *Document) Blind(self string) error {
	for _, list := range [][]Event{d.Events, d.Strays} {
		for i := range list {
			if why := list[i].Unread(); why != "" && list[i].concerns(self) {
				return errors.New(list[i].label() + ": " + why)
			}
		}
	}
	return nil
}

// label names an event in a message.
func (e *Event) label() string {
	switch id := safetext.Line(e.ID, safetext.MaxID); {
	case e.ID == "" && e.Type == "":
		return "an event that may be for this VM"
	case e.ID == "":
		return "an event of type " + e.Type
	default:
		return "event " + id
	}
}

// merged is what two elements with the same EventId say together: the graver
// type, Started over Scheduled, the earlier NotBefore, every VM that either names,
// and of the rest what is certain.
func merged(a, b Event) Event {
	a.Type = graver(a.Type, b.Type, knownTypes)
	a.Status = graver(a.Status, b.Status, knownStatuses)
	a.NotBefore = earlier(a.NotBefore, b.NotBefore)
	a.Resources = union(a.Resources, b.Resources)
	if a.Source != b.Source {
		a.Source = ""
	}
	switch {
	case unknownDuration(a.DurationSeconds):
	case unknownDuration(b.DurationSeconds) || *b.DurationSeconds > *a.DurationSeconds:
		a.DurationSeconds = b.DurationSeconds
	}
	if a.ResourceType == "" {
		a.ResourceType = b.ResourceType
	}
	if a.Description == "" {
		a.Description = b.Description
	}
	return a
}

// graver returns the one of two words that comes later in a list; one that is not
// in it comes before all, and an empty one before that.
func graver(a, b string, known []string) string {
	if ia, ib := slices.Index(known, a), slices.Index(known, b); ib > ia || a == "" {
		return b
	}
	return a
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// union keeps the order. It is nil only if both lists are.
func union(a, b []string) []string {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	seen := make(map[string]bool, len(a)+len(b))
	all := make([]string, 0, len(a)+len(b))
	for _, name := range slices.Concat(a, b) {
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

func unknownDuration(seconds *int) bool { return seconds == nil || *seconds < 0 }

// ahead is the document by the clock of a VM that is so far behind Azure's: what
// is announced comes earlier. A clock that is ahead changes nothing: then there
// would be more time than there is.
func (d *Document) ahead(skew time.Duration) {
	if skew <= 0 {
		return
	}
	first := time.Unix(0, 0).UTC() // a clock that is further off is no clock
	for i := range d.Events {
		if at := &d.Events[i].NotBefore; at.After(first) {
			*at = at.Add(-skew)
			if at.Before(first) {
				*at = first
			}
		}
	}
}

// same says whether two documents tell the same, whatever the order of their
// events and their incarnation.
func same(a, b *Document) bool {
	if len(a.Events) != len(b.Events) || a.Partial != b.Partial ||
		!slices.Equal(a.Oddities, b.Oddities) || !slices.EqualFunc(a.Strays, b.Strays, equal) {
		return false
	}
	byID := make(map[string]Event, len(a.Events))
	for _, event := range a.Events {
		byID[event.ID] = event
	}
	for _, event := range b.Events {
		before, ok := byID[event.ID]
		if !ok || !equal(before, event) {
			return false
		}
	}
	return true
}

func equal(a, b Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Status == b.Status &&
		a.ResourceType == b.ResourceType && slices.Equal(a.Resources, b.Resources) && (a.Resources == nil) == (b.Resources == nil) &&
		a.NotBefore.Equal(b.NotBefore) &&
		a.Description == b.Description && a.Source == b.Source &&
		equalDuration(a.DurationSeconds, b.DurationSeconds)
}

func equalDuration(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
